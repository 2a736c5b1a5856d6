"""Where texts are kept: our own ``<language>.toml``, and ``messages.toml`` of other folders."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

LANGUAGES: Final = ("en", "tr")


@cache
def tables(language: str) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Every table of texts in ``language``, each with the name of its home; read once a process."""
    return tuple(_read(language))


def _read(language: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    root = files("meschain")
    yield "messages", _texts(root / "messages" / f"{language}.toml")
    # Every folder may keep the texts of what it says; there is no list to edit.
    for file in sorted(Path(str(root)).rglob("messages.toml")):
        yield str(file.relative_to(str(root))), _texts(file, language)


def _texts(file: Traversable, table: str | None = None) -> Mapping[str, str]:
    tree: object = tomllib.loads(file.read_text(encoding="utf-8"))
    if table is not None:
        tree = tree.get(table, {}) if isinstance(tree, dict) else {}
    assert isinstance(tree, dict), f"{file}: not a table of texts"
    for key, text in tree.items():
        # An unquoted a.b in TOML is a table a with a key b, which no reader of ours looks for.
        assert isinstance(text, str), f'{file}: write "{key}…" in quotation marks'
    return tree
