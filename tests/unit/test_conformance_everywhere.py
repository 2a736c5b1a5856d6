"""No marketplace folder without the conformance suite."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import meschain.marketplaces
from meschain.registry import marketplaces

ROOT = Path(next(iter(meschain.marketplaces.__path__)))


@pytest.mark.parametrize("name", sorted(marketplaces()))
def test_every_marketplace_inherits_the_whole_suite_for_itself(name: str) -> None:
    tree = ast.parse((ROOT / name / "tests" / "test_conformance.py").read_text("utf-8"))
    suites = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and node.name.startswith("Test")
        and any(isinstance(base, ast.Name) and base.id == "Conformance" for base in node.bases)
    ]
    assert len(suites) == 1
    named = {
        keyword.value.value
        for node in ast.walk(suites[0])
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "marketplace" and isinstance(keyword.value, ast.Constant)
    }
    assert named == {name}
    skipped = [
        node
        for node in ast.walk(suites[0])
        if isinstance(node, ast.Attribute) and node.attr in {"skip", "xfail", "skipif"}
    ]
    assert skipped == []
