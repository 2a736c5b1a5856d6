"""The live page: one file, nothing fetched from elsewhere, nothing run that is not in it."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final

from litestar import MediaType, Response, get

_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@get("/", media_type=MediaType.HTML, include_in_schema=False)
async def page() -> Response[str]:
    """Orders, listings and problems of one merchant."""
    html, policy = _page()
    return Response(
        html,
        media_type=MediaType.HTML,
        headers={
            "content-security-policy": policy,
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
        },
    )


@cache
def _page() -> tuple[str, str]:
    html = (files("meschain.api") / "page.html").read_text(encoding="utf-8")
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return html, policy
