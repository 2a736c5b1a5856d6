"""Laws of files that are not ours: nothing crashes, nothing is lost, rules keep their word."""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meschain.exchange import (
    CatalogReading,
    FileRefused,
    ReadingOptions,
    ReadProduct,
    SourceKind,
    collect,
    read_catalog,
    read_column_map,
)
from meschain.exchange.columnmap import PriceRule, RoundingTo

DATA = Path(__file__).parent.parent / "data"
FORMATS = DATA / "formats"
PLAIN = ReadingOptions(today=date(2026, 11, 20), sheet="Ürünler")
SUPPLIER = replace(PLAIN, column_map=read_column_map(FORMATS / "supplier.toml"))
FILES = {
    "catalog.xlsx": PLAIN,
    "woocommerce.csv": PLAIN,
    "shopify.csv": PLAIN,
    "google.tsv": PLAIN,
    "google.xml": PLAIN,
    "supplier.xml": SUPPLIER,
}
DAMAGE = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 40),
        st.binary(max_size=6) | st.sampled_from([b'"', b"\n", b"\x00", b"<", b"&#0;", b",,", b";"]),
    ),
    min_size=1,
    max_size=4,
)
LETTERS = "abcçdefgğhıijklmnoöprsştuüvyzABCÇİIŞ0123456789 .,&<>\"'"


def damaged(content: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    """Some stretches cut out and something else put there."""
    for place, length, instead in damage:
        at = int(place * len(content))
        content = content[:at] + instead + content[at + length :]
    return content


def repacked(content: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    """A workbook with damage inside its sheet, the archive around it whole."""
    target = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as given_, zipfile.ZipFile(target, "w") as changed:
        for part in given_.namelist():
            text = given_.read(part)
            changed.writestr(part, damaged(text, damage) if "sheet2" in part else text)
    return target.getvalue()


def account(reading: CatalogReading) -> None:
    """What comes out holds together, whatever went in."""
    found = collect(reading.records)
    skus = [each.sku for product in found.products for each in product.draft.variants]
    assert len(skus) == len(set(skus))
    for product in found.products:
        assert isinstance(product, ReadProduct)
        assert len(product.variant_rows) == len(product.draft.variants) > 0
        assert product.draft.model_code
        for each in product.draft.variants:
            assert each.quantity is None or each.quantity >= 0
            for price in (each.list_price, each.sale_price):
                assert price is None or price.minor > 0
    for refused in found.refused:
        assert refused.raw_row


@pytest.mark.parametrize("name", FILES)
@given(damage=DAMAGE)
def test_a_damaged_file_is_refused_or_holds_together(
    name: str, damage: list[tuple[float, int, bytes]]
) -> None:
    content = damaged((FORMATS / name).read_bytes(), damage)
    try:
        account(read_catalog(content, FILES[name]))
    except FileRefused:
        return


@given(damage=DAMAGE)
def test_a_workbook_damaged_inside_is_refused_or_holds_together(
    damage: list[tuple[float, int, bytes]],
) -> None:
    content = repacked((FORMATS / "catalog.xlsx").read_bytes(), damage)
    try:
        account(read_catalog(content, PLAIN))
    except FileRefused:
        return


@pytest.mark.parametrize("kind", list(SourceKind))
@settings(max_examples=20)
@given(content=st.binary(max_size=300) | st.text(LETTERS + "\n;\t", max_size=300).map(str.encode))
def test_anything_at_all_is_refused_or_holds_together(kind: SourceKind, content: bytes) -> None:
    try:
        account(read_catalog(content, replace(PLAIN, source_kind=kind)))
    except FileRefused:
        return


@cache
def parts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("horrors", DATA / "horrors" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


texts = st.text(LETTERS, min_size=1, max_size=12).map(str.strip).filter(bool)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(texts, st.integers(1, 10**9), st.integers(0, 1_000), texts),
        min_size=1,
        max_size=6,
    )
)
def test_a_workbook_says_what_the_same_table_says_as_text(
    rows: list[tuple[str, int, int, str]],
) -> None:
    """Numbers are stored without the marks of any language; texts as they are."""
    make = parts()
    header = ("Stok Kodu", "Ürün Adı", "Fiyat", "Stok", "Özellik:Renk")
    lines = ["\t".join(header)]
    cells = {1: [make.text(name) for name in header]}
    for number, (title, minor, quantity, color) in enumerate(rows, 2):
        price = Decimal(minor) / 100
        quoted = [f'"{text.replace(chr(34), chr(34) * 2)}"' for text in (title, color)]
        decimals = f"{price:.2f}".replace(".", ",")
        lines.append(f"S-{number}\t{quoted[0]}\t{decimals}\t{quantity}\t{quoted[1]}")
        cells[number] = [
            make.text(f"S-{number}"),
            make.text(title),
            make.number(str(price)),
            make.number(str(quantity)),
            make.text(color),
        ]
    as_text = collect(read_catalog("\n".join(lines).encode(), PLAIN).records)
    workbook = make.workbook({"Ürünler": make.sheet(cells)})
    as_workbook = collect(read_catalog(workbook, PLAIN).records)
    assert as_workbook.products == tuple(
        replace(each, raw_rows=other.raw_rows)
        for each, other in zip(as_text.products, as_workbook.products, strict=True)
    )
    assert [(each.row_number, each.reason_code) for each in as_workbook.refused] == [
        (each.row_number, each.reason_code) for each in as_text.refused
    ]


amounts = st.decimals(0, 100_000, places=4, allow_nan=False)


@given(
    amounts,
    st.decimals(Decimal("0.01"), 10, places=3, allow_nan=False),
    st.sampled_from(["0.90", "0.00", "0.99", "9.90", "99.00"]),
    st.sampled_from([Decimal(0), Decimal(1), Decimal(10), Decimal(20)]),
)
def test_a_price_ends_as_asked_and_is_never_more_than_a_step_away(
    base: Decimal, times: Decimal, ending: str, vat: Decimal
) -> None:
    step = Decimal(10) ** len(ending.partition(".")[0].lstrip("0"))
    rule = PriceRule(of="", times=times, adds_vat=True, ending=Decimal(ending), step=step)
    amount = base * times * (1 + vat / 100)
    up = rule.price(base, vat)
    down = replace(rule, rounding=RoundingTo.DOWN).price(base, vat)
    nearest = replace(rule, rounding=RoundingTo.NEAREST).price(base, vat)
    for price in (up, down, nearest):
        assert (price - rule.ending) % step == 0
        assert price >= rule.ending
    assert up >= amount
    assert up - amount < step or up == rule.ending
    assert down <= amount or down == rule.ending
    assert abs(nearest - amount) <= step / 2 or nearest == rule.ending


@given(amounts, amounts, st.sampled_from(list(RoundingTo)))
def test_a_dearer_cost_never_makes_a_cheaper_price(
    one: Decimal, other: Decimal, rounding: RoundingTo
) -> None:
    rule = PriceRule(
        of="", times=Decimal("1.35"), ending=Decimal("0.90"), step=Decimal(1), rounding=rounding
    )
    low, high = sorted((one, other))
    assert rule.price(low, Decimal(0)) <= rule.price(high, Decimal(0))
