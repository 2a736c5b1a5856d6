from __future__ import annotations

import ast
import inspect
import re
import string
import tomllib
from datetime import date
from importlib import resources
from pathlib import Path

import pytest

from meschain.demo.catalog import generate_catalog
from meschain.exchange import ReadingOptions, Reason, VatProblem, collect, read_catalog, reason
from meschain.messages import Catalog

TEXTS: dict[str, dict[str, str]] = tomllib.loads(
    (resources.files("meschain.exchange") / "messages.toml").read_text(encoding="utf-8")
)
KEYS = {*Reason, *(f"vat.problem.{problem}" for problem in VatProblem)}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def documented() -> dict[str, set[str]]:
    """Reason → the params that the comment behind it names."""
    lines = inspect.getsource(reason).splitlines()
    members = re.compile(r"\s+[A-Z_]+ = (\"[a-z_.]+\")(?:  # (.*))?")
    found: dict[str, set[str]] = {}
    for line in lines:
        if match := members.fullmatch(line):
            comment = re.sub(r"\((?!and)[^)]*\)", "", match[2] or "")
            found[ast.literal_eval(match[1])] = set(re.findall(r"[a-z_]+", comment)) - {"and"}
    return found


@pytest.mark.parametrize("language", ["en", "tr"])
def test_every_reason_has_a_text(language: str) -> None:
    assert set(TEXTS[language]) == KEYS


@pytest.mark.parametrize("code", sorted(Reason))
def test_texts_use_only_what_their_reason_gives(code: Reason) -> None:
    assert placeholders(TEXTS["en"][code]) <= documented()[code]
    assert placeholders(TEXTS["tr"][code]) <= documented()[code]


@pytest.mark.parametrize("language", ["en", "tr"])
def test_a_text_says_what_happened_and_what_to_do(language: str) -> None:
    for code in Reason:
        text = TEXTS[language][code]
        assert text.endswith((".", "…")), text
        assert len(re.findall(r"[.:;…](?:\s|$)", text)) >= 2, text


@pytest.mark.slow
def test_what_the_readers_say_can_be_said_in_both_languages(tmp_path: Path) -> None:
    files = generate_catalog(tmp_path, products=900)
    opencart_3 = Path(__file__).parent.parent / "data" / "opencart3.sql"
    for path in (files.dump, files.sheet, opencart_3):
        found = collect(read_catalog(path, ReadingOptions(today=date(2026, 11, 20))).records)
        said = [(str(each.reason_code), each.params) for each in found.refused]
        said += [(each.reason_code, each.params) for each in found.warnings]
        for code, params in said:
            for language in ("en", "tr"):
                assert "{" not in Catalog.load(language).text(code, **params)
