"""An S3-speaking server on loopback that is stricter than S3 where strictness finds our mistakes.

Every request must carry a Signature Version 4 over its headers and the SHA-256 of its body; parts
below 5 MiB, parts out of order and unknown uploads are refused as S3 refuses them.
Source: Amazon S3 API Reference (PutObject, UploadPart, CompleteMultipartUpload, ListObjectsV2) and
"Authenticating Requests: Using the Authorization Header", read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

PART_BYTES_MIN = 5 * 1024**2
PAGE = 2  # files a listing tells at once: so small that every listing goes on
SKEW = timedelta(minutes=15)
_EMPTY = hashlib.sha256(b"").hexdigest()
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request,"
    r" ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
Reply = tuple[int, bytes, dict[str, str]]


class Refused(Exception):
    """An answer of S3's that is an error."""

    def __init__(self, status: int, code: str, words: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.words = words


@dataclass
class Upload:
    """A file that is going up in parts."""

    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class BucketServer:
    """One bucket, and what happened to it."""

    bucket: str = "kaya-backup"
    region: str = "eu-central-1"
    key_id: str = "AKIDTEST"
    secret: str = "a secret that nobody may see"  # noqa: S105 – of this server
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    # Asked before each request, with its name; may raise Refused, or change what is stored.
    fault: Callable[[str], None] = lambda _: None
    stored: Callable[[bytes], bytes] = lambda content: content
    url: str = ""

    def environment(self) -> dict[str, str]:
        """What a client is told."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    # — authentication —

    def check(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        """Raise Refused unless the request is signed with the secret, and for just this body."""
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if found is None:
            raise Refused(403, "AccessDenied")
        key_id, day, region, signed, signature = found.groups()
        if key_id != self.key_id:
            raise Refused(403, "InvalidAccessKeyId", "The key does not exist in our records.")
        if region != self.region:
            raise Refused(400, "AuthorizationHeaderMalformed", f"expecting '{self.region}'")
        at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - at) > SKEW:  # noqa: TID251 – a server has a clock
            raise Refused(403, "RequestTimeTooSkewed")
        digest = headers.get("x-amz-content-sha256", "")
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise Refused(400, "InvalidRequest", "the body is not signed")
        names = signed.split(";")
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
            raise Refused(403, "AccessDenied", "headers are not signed")
        path, _, query = target.partition("?")
        pairs = sorted(parse_qsl(query, keep_blank_values=True))
        canonical = "\n".join(
            [
                method,
                quote(unquote(path), safe="/-_.~"),
                "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs),
                *(f"{name}:{' '.join(headers[name].split())}" for name in names),
                "",
                signed,
                digest,
            ]
        )
        scope = f"{day}/{region}/s3/aws4_request"
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256",
                headers["x-amz-date"],
                scope,
                hashlib.sha256(canonical.encode()).hexdigest(),
            ]
        )
        key = f"AWS4{self.secret}".encode()
        for part in (day, region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), signature):
            raise Refused(403, "SignatureDoesNotMatch", "The signature does not match.")
        if hashlib.sha256(body).hexdigest() != digest:
            raise Refused(400, "XAmzContentSHA256Mismatch")

    # — operations —

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """Do what is asked. Raises Refused."""
        path, _, query = target.partition("?")
        _, bucket, *rest = unquote(path).split("/", 2)
        key = rest[0] if rest else ""
        said = dict(parse_qsl(query, keep_blank_values=True))
        name = self._operation(method, key, said)
        self.requests.append(name)
        self.check(method, target, headers, body)
        self.fault(name)
        if bucket != self.bucket:
            raise Refused(404, "NoSuchBucket", "The bucket does not exist.")
        match name:
            case "ListObjectsV2":
                return 200, self._list(said), {}
            case "PutObject":
                self.objects[key] = self.stored(body)
                return 200, b"", {"ETag": _tag(body)}
            case "CreateMultipartUpload":
                upload_id = secrets.token_hex(8)
                self.uploads[upload_id] = Upload(key)
                return 200, _xml("InitiateMultipartUploadResult", UploadId=upload_id), {}
            case "UploadPart":
                self._upload(key, said).parts[int(said["partNumber"])] = body
                return 200, b"", {"ETag": _tag(body)}
            case "CompleteMultipartUpload":
                return 200, self._complete(key, said, body), {}
            case "AbortMultipartUpload":
                self._upload(key, said)
                del self.uploads[said["uploadId"]]
                return 204, b"", {}
            case "DeleteObject":
                self.objects.pop(key, None)
                return 204, b"", {}
            case "HeadObject" | "GetObject":
                return self._get(key, headers)
        raise Refused(501, "NotImplemented", name)

    @staticmethod
    def _operation(method: str, key: str, said: dict[str, str]) -> str:
        match method, bool(key), sorted(said.keys() & {"uploads", "uploadId", "list-type"}):
            case "GET", False, ["list-type"]:
                return "ListObjectsV2"
            case "POST", True, ["uploads"]:
                return "CreateMultipartUpload"
            case "PUT", True, ["uploadId"]:
                return "UploadPart"
            case "POST", True, ["uploadId"]:
                return "CompleteMultipartUpload"
            case "DELETE", True, ["uploadId"]:
                return "AbortMultipartUpload"
            case (("PUT" | "GET" | "HEAD" | "DELETE"), True, []):
                return f"{method.capitalize()}Object"
        return f"{method} {key} {sorted(said)}"

    def _upload(self, key: str, said: dict[str, str]) -> Upload:
        upload = self.uploads.get(said["uploadId"])
        if upload is None or upload.key != key:
            raise Refused(404, "NoSuchUpload")
        return upload

    def _complete(self, key: str, said: dict[str, str], body: bytes) -> bytes:
        upload = self._upload(key, said)
        parts: list[bytes] = []
        last = 0
        for each in ET.fromstring(body).iter():  # noqa: S314 – of our own client
            if not each.tag.endswith("Part"):
                continue
            told = {child.tag.rpartition("}")[2]: child.text or "" for child in each}
            number = int(told["PartNumber"])
            part = upload.parts.get(number, b"")
            if number <= last:
                raise Refused(400, "InvalidPartOrder")
            if number not in upload.parts or told["ETag"].strip('"') != _tag(part).strip('"'):
                raise Refused(400, "InvalidPart")
            parts.append(part)
            last = number
        if any(len(part) < PART_BYTES_MIN for part in parts[:-1]):
            raise Refused(400, "EntityTooSmall")
        if not parts:
            raise Refused(400, "MalformedXML")
        content = b"".join(parts)
        self.objects[key] = self.stored(content)
        del self.uploads[said["uploadId"]]
        return _xml("CompleteMultipartUploadResult", Key=key, ETag=_tag(content))

    def _list(self, said: dict[str, str]) -> bytes:
        prefix, delimiter = said.get("prefix", ""), said.get("delimiter", "")
        keys = [key for key in sorted(self.objects) if key.startswith(prefix)]
        if delimiter:
            keys = [key for key in keys if delimiter not in key.removeprefix(prefix)]
        begin = int(said.get("continuation-token", "0"))
        shown = keys[begin : begin + PAGE]
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-20T03:00:00.000Z"
            f"</LastModified><ETag>{escape(_tag(self.objects[key]))}</ETag>"
            f"<Size>{len(self.objects[key])}</Size></Contents>"
            for key in shown
        )
        goes_on = begin + PAGE < len(keys)
        rows += f"<IsTruncated>{str(goes_on).lower()}</IsTruncated>"
        if goes_on:
            rows += f"<NextContinuationToken>{begin + PAGE}</NextContinuationToken>"
        return f"<ListBucketResult>{rows}</ListBucketResult>".encode()

    def _get(self, key: str, headers: dict[str, str]) -> Reply:
        content = self.objects.get(key)
        if content is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        told = {"ETag": _tag(content), "Last-Modified": "Fri, 20 Nov 2026 03:00:00 GMT"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        if asked is None:
            return 200, content, told
        begin, end = int(asked[1]), min(int(asked[2]), len(content) - 1)
        if begin >= len(content):
            raise Refused(416, "InvalidRange")
        told["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
        return 206, content[begin : end + 1], told


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _xml(root: str, **fields: str) -> bytes:
    rows = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?><{root}>{rows}</{root}>'.encode()


@contextmanager
def serving(server: BucketServer) -> Iterator[BucketServer]:
    """The server on a port of its own, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status, content, told = server.answer(self.command, self.path, headers, body)
            except Refused as refused:
                status, told = refused.status, {}
                content = _xml("Error", Code=refused.code, Message=refused.words)
            self.send_response(status)
            for name, value in told.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 – the library's

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # a client was killed
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    http = Server(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
