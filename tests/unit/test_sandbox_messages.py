"""Texts of the sandbox: complete in both languages, and present for every refusal."""

import re
import string
from pathlib import Path

import meschain.sandbox
from meschain.sandbox.problem import Problem, messages

SOURCE = Path(meschain.sandbox.__file__).parent


def parameters(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_and_parameters() -> None:
    english, turkish = messages("en"), messages("tr")
    assert english.keys() == turkish.keys()
    for key, text in english.items():
        assert parameters(text) == parameters(turkish[key]), key
        assert text != turkish[key], key


def test_every_refusal_of_the_world_and_the_control_has_its_texts() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCE.glob("*.py"))
    names = set(re.findall(r'Impossible\(\s*"(\w+)"', text))
    names |= set(re.findall(r'Problem\(\s*\d+,\s*"(\w+)"', text))
    names |= set(re.findall(r'reason = "(\w+)"', text))
    names |= {"unknown_code", "not_ready", "already_gone", "ended"}
    assert len(names) > 20
    for name in names:
        assert f"sandbox.problem.{name}.title" in messages("en"), name
        assert f"sandbox.problem.{name}.detail" in messages("en"), name


def test_a_problem_document_says_what_to_do_and_carries_its_key() -> None:
    response = Problem(404, "unknown_order", order_number="12").response()
    assert response.status == 404
    assert response.content_type == "application/problem+json"
    assert isinstance(response.body, bytes)
    assert b'"detail":"No order 12. GET /control/orders lists the orders."' in response.body
    assert b'"key":"sandbox.problem.unknown_order"' in response.body
