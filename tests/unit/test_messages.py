from __future__ import annotations

import re
import shlex
from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from string import Formatter

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from meschain.domain.money import Money
from meschain.domain.order import PackageState
from meschain.messages import LANGUAGES, Catalog, MessageMissing, language_of_environment
from meschain.messages.source import tables
from meschain.registry import marketplaces

ISTANBUL = timezone(timedelta(hours=3))


def catalog(language: str, **texts: str) -> Catalog:
    return Catalog(
        language, {key.replace("__", "."): text for key, text in texts.items()}, time_zone=ISTANBUL
    )


def parameters(text: str) -> set[tuple[str, str]]:
    return {(name, kind or "") for _, name, kind, _ in Formatter().parse(text) if name is not None}


def bases(texts: dict[str, str], language: str) -> dict[str, set[tuple[str, str]]]:
    """Parameters by key, plural forms under their common key; each must have all its forms."""
    forms: defaultdict[str, dict[str, str]] = defaultdict(dict)
    categories = {*Locale.parse(language).plural_form.tags, "other"}
    for key, text in texts.items():
        base, _, form = key.rpartition(".")
        forms[base if form in categories and f"{base}.other" in texts else key][key] = text
    found: dict[str, set[tuple[str, str]]] = {}
    for base, members in forms.items():
        plural = {key.rpartition(".")[2] for key in members} & categories
        if base not in texts and len(members) > 1:
            assert plural == categories, f"{language}: {base} lacks {categories - plural}"
        found[base] = set().union(*(parameters(text) for text in members.values()))
    return found


# — all catalogs —


def test_every_language_has_the_same_keys_with_the_same_parameters_in_every_folder() -> None:
    english = dict(tables("en"))
    for language in LANGUAGES:
        theirs = dict(tables(language))
        assert theirs.keys() == english.keys()
        for file, texts in theirs.items():
            ours, reference = bases(dict(texts), language), bases(dict(english[file]), "en")
            assert ours.keys() == reference.keys(), f"{file} [{language}]"
            differing = [key for key in ours if ours[key] != reference[key]]
            assert not differing, f"{file} [{language}]: parameters differ"


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_empty_or_defined_twice_and_every_parameter_is_of_a_known_kind(
    language: str,
) -> None:
    kinds = {"", "word", "money", "digits", "number", "percent"}
    kinds |= {"time", "time_ms", "date", "datetime"}
    owner: dict[str, str] = {}
    for file, texts in tables(language):
        for key, text in texts.items():
            assert text.strip() == text != "", f"{file}: {key}"
            assert key not in owner, f"{file} repeats {key} of {owner.get(key)}"
            owner[key] = file
            assert {kind for _, kind in parameters(text)} <= kinds, f"{file}: {key}"
            assert all(name.isidentifier() for name, _ in parameters(text)), f"{file}: {key}"


def test_turkish_texts_are_not_left_in_english() -> None:
    english, turkish = ({k: v for _, t in tables(lang) for k, v in t.items()} for lang in LANGUAGES)
    names = re.compile(r"\{[^}]*\}|\W|\d")
    same = [
        key
        for key, text in english.items()
        if turkish.get(key) == text and len(names.sub("", text)) > 12
    ]
    assert not same


# What docs/glossary.md has another word for, and why.
STRAY_TURKISH = {
    r"\bhub\b": "merkez",
    r"kimlik bilgi": "bağlantı bilgileri (the other is a person's identity)",
    r"\byetki(ler)?(i|ini|leri|lerini)? (ver|kaldır)": "devreye almak, devreden çıkarmak",
    r"\brezerv": "ayrılmış, ayırma",
    r"kullanılabilir (adet|stok|[0-9=×])": "satılabilir",
    r"\bstoku": "stoğu",
    r"\bmiktar": "adet",
    r"yayınla": "yayımla",
    r"bildirim adres": "webhook",
    r"\bmakine": "bilgisayar",
    r"ürün alım|\balım(ın|dan)?\b|ürünü alın\b": "içe aktarma (the other is a purchase)",
    r"dinlen(iyor|dir|miş)": "duraklat (the other is also: listened to)",
    r"emniyet ağı": "güvenlik ağı",
    r"dâhil": "dahil",
    "’": "'",
}

NO_PROSE = re.compile(r"\{[^}]*\}|“[^”]*”|^ .*$|--\w.*", re.MULTILINE)  # values and commands


def test_turkish_texts_use_the_words_of_the_glossary() -> None:
    found = [
        f"{file}: {key}: {stray} → {word}"
        for file, texts in tables("tr")
        for key, text in texts.items()
        for stray, word in STRAY_TURKISH.items()
        if re.search(stray, NO_PROSE.sub("", text), re.IGNORECASE)
    ]
    assert found == []


COMMAND = re.compile(r"meschain [^”\n]*|--(?:after|confirm) \{[^”\n]*")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_within_a_command_is_one_word_of_it(language: str) -> None:
    """“Kaya Tekstil”, pasted into a shell, stays one word; numbers and whole options may stand."""
    bare = {"id", "options"}
    commands = [
        (key, command[0])
        for _, texts in tables(language)
        for key, text in texts.items()
        for command in COMMAND.finditer(text)
    ]
    assert len(commands) > 150
    assert [
        (key, command)
        for key, command in commands
        if any(kind != "word" and name not in bare for name, kind in parameters(command))
    ] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_package_state_has_a_text(language: str) -> None:
    texts = Catalog.load(language)
    assert all(f"package_state.{state}" in texts for state in PackageState)


@pytest.mark.parametrize("language", LANGUAGES)
def test_whoever_is_asked_for_a_credential_is_told_what_it_is(language: str) -> None:
    texts = Catalog.load(language)
    asked = [
        f"credential.{name}.{credential.name}"
        for name, market in marketplaces().items()
        for credential in market.manifest.credentials
    ]
    assert asked
    assert [key for key in asked if key not in texts] == []


# — values in texts —


@pytest.mark.parametrize(
    ("minor", "currency", "turkish", "english"),
    [
        (124_990, "TRY", "1.249,90 TL", "TRY 1,249.90"),
        (0, "TRY", "0,00 TL", "TRY 0.00"),
        (-5, "TRY", "-0,05 TL", "TRY -0.05"),
        (1_000, "JPY", "1.000 JPY", "JPY 1,000"),
        (1_234, "KWD", "1,234 KWD", "KWD 1.234"),
        (9_007_199_254_740_993_01, "EUR", "9.007.199.254.740.993,01 EUR", None),
    ],
)
def test_money_is_printed_exactly(
    minor: int, currency: str, turkish: str, english: str | None
) -> None:
    price = Money(minor, currency)
    assert catalog("tr", price="{price:money}").text("price", price=price) == turkish
    if english is not None:
        assert catalog("en", price="{price:money}").text("price", price=price) == english


@given(st.integers(-(10**18), 10**18), st.sampled_from(["TRY", "JPY", "KWD"]))
def test_printed_money_reads_back_to_the_same_amount(minor: int, currency: str) -> None:
    price = Money(minor, currency)
    number = catalog("en").money(price).removeprefix(f"{currency} ").replace(",", "")
    assert Decimal(number) == price.amount


def test_numbers_percents_and_times_follow_the_language() -> None:
    at = datetime(2026, 3, 5, 11, 3, 7, 212_000, tzinfo=UTC)
    line = "{n:number} · {p:percent} · {at:time} · {at:time_ms} · {at:date} · {at:datetime} · {s}"
    filled = [
        catalog(language, line=line).text(
            "line", n=1_234_567, p=Decimal("12.5"), at=at, s="KZK-1042-M"
        )
        for language in ("tr", "en")
    ]
    assert filled == [
        "1.234.567 · %12,5 · 14:03:07 · 14:03:07.212 · 5 Mar 2026 · 5 Mar 2026 14:03 · KZK-1042-M",
        "1,234,567 · 12.5% · 14:03:07 · 14:03:07.212 · 5 Mar 2026 · 5 Mar 2026 14:03 · KZK-1042-M",
    ]


def test_an_amount_that_was_kept_as_text_is_printed_as_its_reader_writes_it() -> None:
    kept = {"sale_price": "1068.90", "list_price": "1000.5"}
    english = Catalog.load("en").text("price.sale_above_list", **kept)
    turkish = Catalog.load("tr").text("price.sale_above_list", **kept)
    assert "1,068.90 is above the list price 1,000.5." in english
    assert "(1.068,90) liste fiyatından (1.000,5)" in turkish
    with pytest.warns(MessageMissing, match="cannot print str 'price' as 'digits'"):
        assert catalog("en", line="{price:digits}").text("line", price="dear") == "dear"


def test_a_word_of_a_command_line_is_quoted_where_a_shell_would_split_it() -> None:
    texts = catalog("en", line="meschain plan --merchant {name:word}")
    assert texts.text("line", name="kaya") == "meschain plan --merchant kaya"
    for name in ("Kaya Tekstil", "Kaya'nın", "$HOME", "Şal", ""):
        assert shlex.split(texts.text("line", name=name))[3:] == [name]


def test_decimals_keep_all_their_digits() -> None:
    assert catalog("tr").number(Decimal("1234.56789")) == "1.234,56789"
    assert catalog("en").percent(Decimal("0.125")) == "0.125%"


def test_plurals_follow_the_language() -> None:
    english = Catalog.load("en")
    assert english.text("count.orders", count=1) == "1 order"
    assert english.text("count.orders", count=1_500) == "1,500 orders"
    assert Catalog.load("tr").text("count.orders", count=1_500) == "1.500 sipariş"


def test_a_key_that_merely_ends_in_other_is_a_key_like_any() -> None:
    assert Catalog.load("tr").text("cancel_reason.other") == "başka bir neden"


def test_a_value_is_never_read_as_a_template() -> None:
    texts = catalog("en", refused="refused: {text}")
    assert texts.text("refused", text="{amount:money} {0}") == "refused: {amount:money} {0}"


def test_doubled_braces_print_one() -> None:
    assert catalog("en", json="{{{name}}}").text("json", name="a") == "{a}"


# — what is missing —


def test_an_unknown_key_prints_itself_and_warns() -> None:
    with pytest.warns(MessageMissing, match="no text 'nothing.here' in tr"):
        assert catalog("tr").text("nothing.here", count=3) == "nothing.here"


def test_a_missing_or_unfit_parameter_prints_what_there_is_and_warns() -> None:
    texts = catalog("en", line="{a} {b:money}")
    with pytest.warns(MessageMissing, match="needs 'a'"):
        assert texts.text("line", b=Money(100, "TRY")) == "{a} TRY 1.00"
    with pytest.warns(MessageMissing, match="cannot print int 'b' as 'money'"):
        assert texts.text("line", a="x", b=100) == "x 100"


# — which language —


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"MESCHAIN_LANG": "tr", "LC_ALL": "en_US.UTF-8"}, "tr"),
        ({"MESCHAIN_LANG": "en", "LANG": "tr_TR.UTF-8"}, "en"),
        ({"LC_ALL": "tr_TR.UTF-8", "LANG": "en_US"}, "tr"),
        ({"LC_ALL": "", "LC_MESSAGES": "tr_TR", "LANG": "en_US"}, "tr"),
        ({"LANG": "tr"}, "tr"),
        ({"LANG": "TR-tr"}, "tr"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_comes_from_our_variable_then_the_locale_then_english(
    environment: dict[str, str], language: str
) -> None:
    assert language_of_environment(environment) == language


def test_a_catalog_without_a_language_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MESCHAIN_LANG", "tr")
    assert Catalog.load().text("answer.yes") == "evet"
