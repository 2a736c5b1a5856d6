"""Every ``meschain …`` that a text or a page names is a command, with options that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from meschain.cli.tree import root

ROOT = Path(__file__).parents[2]
# In quotes of a text, in backquotes, a line of a block, or what ends a sentence after a colon.
NAMED = re.compile(
    r"“(meschain [^”\n]+)”|`(meschain [^`]+)`|^\s*(?:\$ )?(meschain [^\n“”`]+)$"
    r"|[:–] (meschain [^\n“”`\"]+)",
    re.MULTILINE,
)
WORD = re.compile(r"[a-z][a-z-]*")


def places() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    yield from (ROOT / "docs").rglob("*.md")
    yield from (ROOT / "src").rglob("messages.toml")
    yield from (ROOT / "src").rglob("README.md")


def unknown_in(named: str) -> str | None:
    """What of the command does not exist."""
    command: click.Command = root
    context = click.Context(root)
    options = {"--language", "--help", "--version"}
    for word in named.split("#", maxsplit=1)[0].split()[1:]:
        if isinstance(command, click.Group):
            if word.startswith("-") or not WORD.fullmatch(word):
                break  # a placeholder, or an option of the group
            below = command.get_command(context, word)
            if below is None:
                return word
            command = below
            options |= {each for param in command.params for each in param.opts}
        elif word in {"|", ">", "&&", "||"}:
            break
        elif word.startswith("--") and (option := word.split("=")[0].rstrip(".,;)")) not in options:
            return option
    return None


def test_every_command_that_is_named_exists() -> None:
    count = 0
    wrong: list[str] = []
    for path in places():
        for found in NAMED.finditer(path.read_text(encoding="utf-8").replace('"""', "")):
            count += 1
            named = next(filter(None, found.groups()))
            unknown = unknown_in(named)
            if unknown is not None:
                wrong.append(f"{path.relative_to(ROOT)}: {named} ({unknown})")
    assert count > 400
    assert wrong == []


def test_what_does_not_exist_is_noticed() -> None:
    assert unknown_in("meschain stok set A 1") == "stok"
    assert unknown_in("meschain stock count A") == "count"
    assert unknown_in("meschain stock set A 1 --reasons x") == "--reasons"
    assert unknown_in("meschain stock set A 1 --reason=x  # counted") is None
