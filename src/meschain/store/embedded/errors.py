"""What can go wrong with the embedded server: one exception, told apart by its message code."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Final

# In other languages the catalogs of those above hold them. Read now: a process that has become the
# server's user may be allowed to read nothing any more.
_ENGLISH: Final[dict[str, str]] = tomllib.loads(
    (resources.files(__package__) / "messages.toml").read_text(encoding="utf-8")
)["en"]


class EmbeddedPostgresError(Exception):
    """The embedded server cannot do what was asked; `code` and `params` say why."""

    def __init__(self, code: str, **params: object) -> None:
        assert code in _ENGLISH, code
        super().__init__(code, params)
        self.code = code
        self.params = params

    def __str__(self) -> str:
        return _ENGLISH[self.code].format(**self.params)
