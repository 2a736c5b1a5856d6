"""Where texts are kept: our own ``<language>.toml``, and ``messages.toml`` of other folders."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

LANGUAGES: Final = ("en", "tr")
_FOLDERS: Final = ("exchange", "sandbox")  # besides every folder of marketplaces/


def tables(language: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every table of texts in ``language``, each with the name of its home."""
    root = files("meschain")
    yield "messages", _texts(root / "messages" / f"{language}.toml")
    folders = [(name, root / name) for name in _FOLDERS]
    folders += sorted(
        (f"marketplaces/{folder.name}", folder)
        for folder in (root / "marketplaces").iterdir()
        if folder.is_dir()
    )
    for name, folder in folders:
        file = folder / "messages.toml"
        if file.is_file():
            yield f"{name}/messages.toml", _texts(file, language)


def _texts(file: Traversable, table: str | None = None) -> Mapping[str, str]:
    tree: object = tomllib.loads(file.read_text(encoding="utf-8"))
    if table is not None:
        tree = tree.get(table, {}) if isinstance(tree, dict) else {}
    assert isinstance(tree, dict), f"{file}: not a table of texts"
    for key, text in tree.items():
        # An unquoted a.b in TOML is a table a with a key b, which no reader of ours looks for.
        assert isinstance(text, str), f'{file}: write "{key}…" in quotation marks'
    return tree
