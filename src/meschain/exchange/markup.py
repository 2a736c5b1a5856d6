"""HTML of titles and descriptions."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Final

import nh3

_MARKUP: Final = re.compile(r"[<>&\r\x00\xa0]")
_BLOCK_START: Final = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|h[1-6])\b", re.IGNORECASE)
_DROPPED_WITH_CONTENT: Final = {"script", "style", "iframe", "object", "noscript"}
_DESCRIPTION: Final = nh3.Cleaner(
    tags={
        *("p", "br", "ul", "ol", "li", "b", "strong", "i", "em", "u", "h2", "h3", "h4", "div"),
        *("span", "table", "thead", "tbody", "tr", "th", "td", "img", "a", "blockquote", "hr"),
        *("sub", "sup"),
    },
    attributes={
        "a": {"href", "title"},
        "img": {"src", "alt", "width", "height"},
        "td": {"colspan", "rowspan"},
        "th": {"colspan", "rowspan"},
    },
    clean_content_tags=_DROPPED_WITH_CONTENT,
    url_schemes={"http", "https"},
    link_rel=None,
)
_TEXT: Final = nh3.Cleaner(tags=set(), attributes={}, clean_content_tags=_DROPPED_WITH_CONTENT)


# The rows of one product follow each other and repeat its texts, hence the small caches.
@lru_cache(maxsize=64)
def clean_html(description: str) -> str:
    """A description that may stand on a page: known tags only, no scripts, comments or handlers."""
    if not _MARKUP.search(description):
        return description
    return _DESCRIPTION.clean(description).strip()


@lru_cache(maxsize=64)
def plain_text(markup: str) -> str:
    """The text without tags, entities resolved, white space collapsed."""
    if _MARKUP.search(markup):
        markup = html.unescape(_TEXT.clean(_BLOCK_START.sub(r" \g<0>", markup)))
    return " ".join(markup.split())
