"""S3-compatible storage for backups; see ADR 0011.

The library is an extra: it is imported by whoever opens a bucket, and by nobody else.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Self, cast

import msgspec

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import ClientConfig, S3Config, S3Store

SCHEME: Final = "s3://"
# A part is held in memory until it is sent. S3 takes 10,000 of them: 156 GiB a backup.
PART_BYTES: Final = 16 * 1024**2
_PARTS_AT_ONCE: Final = 2
_READ_BYTES: Final = 8 * 1024**2
_REQUEST_S: Final = 600  # two parts at 0.5 Mbit/s
_CONNECT_S: Final = 10
_TRIES_AGAIN: Final = 10  # of a request that found nobody, or a server in trouble: some seconds
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ANSWER: Final = re.compile(r"status(?: code:)? (\d{3})[^:]*: (.*)", re.DOTALL)
_CODE: Final = re.compile(r"<Code>([^<]+)</Code>")
_WORDS: Final = re.compile(r"<Message>([^<]+)</Message>")
# Ways in which a machine is given credentials without a key of its own.
_ROLES: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_VARIABLES: Final = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
}

Reason = Literal["extra", "address", "file", "keyless", "missing", "refused", "away", "cut"]


class BucketFailed(Exception):
    """A bucket cannot be used: why, where, and the storage's own words.

    ``extra``: the library is not installed; ``address``: it names no bucket; ``file``: s3.toml
    cannot be read; ``keyless``: no credentials; ``missing``: no such bucket or file; ``refused``;
    ``away``: no answer; ``cut``: what arrived is not what was sent.
    """

    def __init__(self, reason: Reason, address: str, words: str = "") -> None:
        super().__init__(reason, address, words)
        self.reason = reason
        self.address = address
        self.words = words


class S3Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``s3.toml`` in the data folder; the variables of the environment stand before its lines."""

    endpoint: str | None = None  # None: Amazon's, of the region
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str]) -> Self:
        """From the file, if there is one, and the environment. Raises BucketFailed."""
        try:
            file = msgspec.toml.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            file = cls()
        except msgspec.ValidationError as wrong:
            raise BucketFailed("file", str(path), str(wrong)) from wrong
        except (msgspec.MsgspecError, OSError) as wrong:
            # The words of a parser quote what it has read, and that may be the key.
            raise BucketFailed("file", str(path), type(wrong).__name__) from wrong
        given = {
            field: value
            for field, names in _VARIABLES.items()
            if (value := next(filter(None, map(environment.get, names)), None))
        }
        if {"access_key_id", "secret_access_key"} & given.keys():
            # A key and its secret come from one place.
            file = msgspec.structs.replace(
                file, access_key_id=None, secret_access_key=None, session_token=None
            )
        return msgspec.structs.replace(file, **given)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, or what lies in it below a prefix."""

    place: str  # s3://bucket/prefix
    store: S3Store
    part_bytes: int = PART_BYTES

    @classmethod
    def at(cls, address: str, s3_file: Path, environment: Mapping[str, str] | None = None) -> Self:
        """Nothing is asked before the first use. Raises BucketFailed."""
        place = address.rstrip("/")
        bucket, _, prefix = place.removeprefix(SCHEME).partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise BucketFailed("address", address)
        env = os.environ if environment is None else environment
        access = S3Access.read(s3_file, env)
        has_key = bool(access.access_key_id and access.secret_access_key)
        if not has_key and not any(map(env.get, _ROLES)):
            raise BucketFailed("keyless", place, str(s3_file))
        try:
            from obstore.store import S3Store  # noqa: PLC0415 – an extra, and not for every command
        except ImportError as absent:
            raise BucketFailed("extra", place) from absent
        config: S3Config = {"disable_bulk_delete": True}  # which not every storage knows
        for field, value in msgspec.structs.asdict(access).items():
            if value:
                config[field] = value  # type: ignore[literal-required]  # the same names
        client: ClientConfig = {
            "allow_http": (access.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "timeout": timedelta(seconds=_REQUEST_S),
        }
        with _told(place):
            store = S3Store(
                bucket,
                prefix=prefix or None,
                config=config,
                client_options=client,
                retry_config={"max_retries": _TRIES_AGAIN},
            )
        return cls(place, store)

    def address(self, name: str = "") -> str:
        return f"{self.place}/{name}" if name else self.place

    def names(self) -> list[str]:
        with _told(self.place):
            found = self.store.list_with_delimiter()["objects"]
        return [each["path"].rpartition("/")[2] for each in found]

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Goes up in parts while it is written, each signed with its SHA-256.

        The storage compares that. The file is there only once it has put the parts together.
        """
        from obstore import open_writer  # noqa: PLC0415 – as in ``at``

        address = self.address(name)
        writer = open_writer(
            self.store, name, buffer_size=self.part_bytes, max_concurrency=_PARTS_AT_ONCE
        )
        upload = _Upload(writer, address)
        broken: BaseException | None = None
        try:
            with writer:  # left by an exception, it takes back the parts
                try:
                    yield cast("BinaryIO", upload)
                except BaseException as defect:
                    broken = defect
                    raise
        except Exception as failed:
            if broken is None:
                raise _explained(failed, address) from failed
            # That the parts could not be taken back either is not what the reader must know.
            raise broken from broken.__cause__
        if self.size_bytes(name) != upload.size_bytes:
            self.delete([name])
            raise BucketFailed("cut", address)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        ranges = _Ranges(self, name, self.size_bytes(name))
        with io.BufferedReader(ranges, _READ_BYTES) as file:
            yield cast("BinaryIO", file)

    def size_bytes(self, name: str) -> int:
        with _told(self.address(name)):
            return self.store.head(name)["size"]

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with _told(self.address(name)):
                self.store.delete(name)

    def sweep(self, now: datetime) -> None:
        """Parts of an upload that was killed are no files; a rule of the bucket removes them."""


class _Upload:
    """The writing end of a file in a bucket."""

    def __init__(self, writer: WritableFile, address: str) -> None:
        self._writer = writer
        self._address = address
        self.size_bytes = 0

    def write(self, content: bytes) -> int:
        with _told(self._address):
            self._writer.write(content)
        self.size_bytes += len(content)
        return len(content)


class _Ranges(io.RawIOBase):
    """Reads a file in ranges, each of them asked for again when it fails."""

    def __init__(self, bucket: Bucket, name: str, size_bytes: int) -> None:
        self._bucket = bucket
        self._name = name
        self._size = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(_READ_BYTES) or b"", b""))

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        end = min(self._size, self._at + len(buffer))
        if end <= self._at:
            return 0
        address = self._bucket.address(self._name)
        with _told(address):
            got = bytes(self._bucket.store.get_range(self._name, start=self._at, end=end))
        if len(got) != end - self._at:
            raise BucketFailed("cut", address)
        buffer[: len(got)] = got
        self._at = end
        return len(got)


@contextmanager
def _told(address: str) -> Iterator[None]:
    """The library's errors as ours."""
    from obstore.exceptions import BaseError  # noqa: PLC0415 – as in ``Bucket.at``

    try:
        yield
    except (BaseError, OSError) as failed:
        raise _explained(failed, address) from failed


def _explained(failed: Exception, address: str) -> BucketFailed:
    """Its words are a page of its insides: what the storage answered is kept."""
    said = str(failed).partition("\n\nDebug source:")[0]
    answer = _ANSWER.search(said)
    if isinstance(failed, FileNotFoundError) or (answer and answer[1] == "404"):
        return BucketFailed("missing", address)
    if answer is None:
        return BucketFailed("away", address, said.rpartition(" - ")[2])
    if answer[1].startswith("5"):
        return BucketFailed("away", address, answer[1])
    parts = (_CODE.search(answer[2]), _WORDS.search(answer[2]))
    return BucketFailed("refused", address, ": ".join(e[1] for e in parts if e) or answer[1])
