"""Errors as RFC 9457 problem documents that say what to do next, in the reader's language."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException

from meschain.api.text import language_of, texts
from meschain.app.queries.paging import CursorInvalid
from meschain.store.unit_of_work import DATABASE_AWAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request
    from litestar.datastructures import State
    from litestar.types import ExceptionHandlersMap

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:meschain:problem:"
_BY_STATUS: Final = {
    400: "invalid",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}


class ProblemDocument(msgspec.Struct, frozen=True):
    """RFC 9457. ``type`` is stable; ``title`` and ``detail`` are for people."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[str] = msgspec.field(default_factory=list)


class ApiProblem(Exception):
    """Ends a request with the problem ``kind``, whose texts are ``problem.api.<kind>.…``."""

    def __init__(self, kind: str, status: int, headers: Mapping[str, str] | None = None) -> None:
        """``kind`` is the last part of the document's type."""
        super().__init__(kind)
        self.kind = kind
        self.status = status
        self.headers = dict(headers or {})


def on_problem(
    request: Request[object, object, State], problem: ApiProblem
) -> Response[ProblemDocument]:
    """Render one of ours."""
    return _response(request, problem.kind, problem.status, headers=problem.headers)


def on_refused(
    request: Request[object, object, State], refused: HTTPException
) -> Response[ProblemDocument]:
    """Render what the framework refuses: paths, methods, parameters, sizes."""
    kind = _BY_STATUS.get(refused.status_code, "invalid")
    errors: list[str] = []
    if isinstance(refused, ValidationException) and isinstance(refused.extra, list):
        errors = [f"{each.get('key', '')}: {each.get('message', '')}" for each in refused.extra]
    return _response(request, kind, refused.status_code, errors=errors, headers=refused.headers)


def on_cursor(
    request: Request[object, object, State], _: CursorInvalid
) -> Response[ProblemDocument]:
    """Render a cursor that is none of ours."""
    return _response(request, "cursor_invalid", 400)


def on_database_away(
    request: Request[object, object, State], away: Exception
) -> Response[ProblemDocument]:
    """Render the only thing that is worth trying again as it is."""
    log.warning("database is away", extra={"error": str(away)})
    return _response(request, "database_away", 503, headers={"retry-after": "1"})


def on_defect(
    request: Request[object, object, State], defect: Exception
) -> Response[ProblemDocument]:
    """Render our own mistake, without its insides."""
    log.error("request failed", exc_info=defect, extra={"path": request.url.path.split("/")[1]})
    return _response(request, "defect", 500)


HANDLERS: Final[ExceptionHandlersMap] = {
    ApiProblem: on_problem,
    HTTPException: on_refused,
    CursorInvalid: on_cursor,
    **dict.fromkeys(DATABASE_AWAY, on_database_away),
    Exception: on_defect,
}


def _response(
    request: Request[object, object, State],
    kind: str,
    status: int,
    *,
    errors: list[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[ProblemDocument]:
    said = texts(language_of(request.headers.get("accept-language", "")))
    document = ProblemDocument(
        _TYPE + kind.replace("_", "-"),
        said[f"problem.api.{kind}.title"],
        status,
        said[f"problem.api.{kind}.detail"],
        errors or [],
    )
    return Response(
        document, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )
