"""What can go wrong with the embedded server: one exception, told apart by its message code."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources


@cache
def _english() -> dict[str, str]:
    """The texts beside this module; in other languages the catalogs of those above hold them."""
    text = (resources.files(__package__) / "messages.toml").read_text(encoding="utf-8")
    texts: dict[str, str] = tomllib.loads(text)["en"]
    return texts


class EmbeddedPostgresError(Exception):
    """The embedded server cannot do what was asked; `code` and `params` say why."""

    def __init__(self, code: str, **params: object) -> None:
        assert code in _english(), code
        super().__init__(code, params)
        self.code = code
        self.params = params

    def __str__(self) -> str:
        return _english()[self.code].format(**self.params)
