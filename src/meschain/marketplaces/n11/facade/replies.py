"""Answers and error shapes. They differ per path family. Source: fact sheet §1.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Sequence

_encoder: Final = msgspec.json.Encoder(decimal_format="number")
AUTHENTICATION_FAILED: Final = "SELLER_API.authenticationFailed"
CALL_LIMIT: Final = "maxCallLimit.reached"  # of SOAP, by the manual of 2020
INVALID_INPUT: Final = "SELLER_API.invalidInput"


def as_json(content: object, *, status: int = 200) -> web.Response:
    """Any JSON answer; decimals are written as numbers."""
    return web.Response(
        body=_encoder.encode(content), status=status, content_type="application/json"
    )


def encoded(content: object) -> bytes:
    """The same JSON, to be kept or put together by the caller."""
    return _encoder.encode(content)


def html(status: int, sentence: str) -> web.Response:
    """The HTML that a proxy or the servlet container answers with."""
    text = (
        f"<html><head><title>{status}</title></head>"
        f"<body><h1>HTTP Status {status}</h1><p>{sentence}</p></body></html>"
    )
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def unknown_path() -> web.Response:
    """Every address that nothing stands behind, in all families."""
    return html(503, "Service Unavailable")


def authentication_failed_text() -> web.Response:
    """The plain answer of /cdn, and of /rest in one observation [C: S6]."""
    return web.Response(text="Authentication failed", status=403, content_type="text/plain")


def ms_error(
    status: int, type_name: str, message: str, *, reasons: Sequence[str] = ()
) -> web.Response:
    """The general error of /ms."""
    return as_json(
        {
            "@type": type_name,
            "name": type_name,
            "message": message,
            "description": message,
            "urlStack": "",
            "errors": [{"reason": reason} for reason in reasons or (message,)],
        },
        status=status,
    )


def ms_server_error(exception: str, detail: str) -> web.Response:
    """A 500 whose text names a Java exception: how /ms answers plain validation errors."""
    return ms_error(500, "InternalServerException", f"{exception}: {detail}")


def rest_failure(error_code: str, message: str, *, code: int = 400) -> web.Response:
    """The failure JSON of /rest."""
    return as_json(
        {
            "code": code,
            "status": "failure",
            "errorCode": error_code,
            "errorMessage": message,
            "errorCategory": "SELLER_API",
        },
        status=code,
    )


def over_quota(family: str, status: int) -> web.Response:
    """Too many calls. No 429 was ever seen [unconfirmed], so each family uses its own shape."""
    sentence = "İstek limiti aşıldı."
    if family == "ws":
        return soap_failure(CALL_LIMIT, sentence)
    if family == "ms":
        return ms_error(status, "TooManyRequestsException", sentence)
    if family == "rest":
        return rest_failure(CALL_LIMIT, sentence, code=status)
    return web.Response(text="Too Many Requests", status=status, content_type="text/plain")


def soap(response_name: str, inner: str) -> web.Response:
    """A SOAP answer; refusals come with HTTP 200 as well."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/">'
        "<SOAP-ENV:Header/><SOAP-ENV:Body>"
        f'<ns3:{response_name} xmlns:ns3="http://www.n11.com/ws/schemas">{inner}'
        f"</ns3:{response_name}></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )
    return web.Response(text=text, content_type="text/xml", charset="utf-8")


def soap_failure(
    error_code: str, message: str, *, response_name: str = "FailureResponse"
) -> web.Response:
    """``result`` with status failure. Texts are ours: nothing to escape in them."""
    return soap(
        response_name,
        f"<result><status>failure</status><errorCode>{error_code}</errorCode>"
        f"<errorMessage>{message}</errorMessage><errorCategory>SELLER_API</errorCategory></result>",
    )
