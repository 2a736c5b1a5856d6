"""Named queries: SQL lives in ``queries/*.sql``, each query named and described there."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

_HEAD: Final = re.compile(r"^-- name: ([a-z0-9_]+)$", re.MULTILINE)


class UnknownQuery(KeyError):
    """No query of that name stands in that file."""


@cache
def _file(name: str) -> dict[str, str]:
    text = (resources.files("meschain.store") / "queries" / f"{name}.sql").read_text("utf-8")
    parts = _HEAD.split(text)[1:]
    return {parts[i]: parts[i + 1].strip() for i in range(0, len(parts), 2)}


def query(name: str) -> str:
    """The text of ``file.query``; parameters are named, ``%(merchant)s``."""
    file_name, _, query_name = name.partition(".")
    try:
        return _file(file_name)[query_name]
    except KeyError as missing:
        raise UnknownQuery(name) from missing
