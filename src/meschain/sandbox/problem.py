"""Errors of the control interface: problem documents (RFC 9457) that say what to do next.

The texts stand in ``messages.toml``, English and Turkish; the interface sends the key, its
parameters and the English text, and whoever shows it may translate.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from meschain.sandbox.world import Impossible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_PREFIX: Final = "sandbox.problem."


@cache
def messages(language: str) -> Mapping[str, str]:
    """The sandbox's texts in "en" or "tr", by key."""
    text = resources.files(__package__).joinpath("messages.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text)[language], dict[str, str])


class Problem(Exception):
    """What was asked cannot be done; ``name`` is the middle of its two message keys."""

    def __init__(self, status: int, name: str, **params: str | int) -> None:
        super().__init__(name)
        self.status = status
        self.name = name
        self.params = params

    def response(self) -> web.Response:
        """The document."""
        key = _PREFIX + self.name
        texts = messages("en")
        document = {
            "type": f"urn:meschain:{key.replace('.', ':')}",
            "title": texts[f"{key}.title"],
            "status": self.status,
            "detail": texts[f"{key}.detail"].format_map(self.params),
            "key": key,
            "params": self.params,
            "reason": self.name,
        }
        return web.Response(
            body=msgspec.json.encode(document),
            status=self.status,
            content_type="application/problem+json",
        )


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn every refusal into its document."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except Impossible as impossible:
        return Problem(409, impossible.reason).response()
    except (msgspec.DecodeError, UnicodeDecodeError) as mistake:
        return Problem(400, "not_understood", mistake=str(mistake)).response()
    except web.HTTPRequestEntityTooLarge:
        return Problem(413, "too_large").response()
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as unknown:
        return Problem(
            unknown.status, "unknown_path", method=request.method, path=request.path
        ).response()
