"""The mapping table as CSV: what it takes, what it refuses, and how words are looked up."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from meschain.app.commands.mapping import (
    MappingFileRefused,
    MappingPlan,
    MappingReason,
    apply_mapping,
    export_mapping,
    plan_mapping,
    read_mapping,
    write_mapping,
)
from meschain.demo.catalog import CATEGORY_PATHS
from meschain.store.unit_of_work import Database
from meschain.sync.listing.mapping import Mapped, MappingKind, MappingRow, MappingTable
from meschain.testing.shop import Shop
from tests.store.small_market import HandClock

KNOWN = frozenset({"trendyol", "n11"})
HEADER = "marketplace,kind,scope,ours,theirs,theirs_name"
FILE = f"""{HEADER}
trendyol,category,,Giyim > Kadın > Kazak,607,Kazak
trendyol,brand,,Işılbez,11073,
trendyol,attribute,,Renk,47,Renk
trendyol,value,/47,Lacivert,1005,Lacivert
n11,category,,Giyim > Kadın > Kazak,1000479,Hırka
"""


async def take(database: Database, shop: Shop, text: str, *, replaces: bool = False) -> MappingPlan:
    return await apply_mapping(
        database,
        HandClock(),
        shop.merchant_id,
        read_mapping(text.encode(), KNOWN),
        actor="user:ayse",
        replaces=replaces,
    )


def rows(*lines: str) -> MappingTable:
    text = "\n".join((HEADER, *(f"m,{line}" for line in lines)))
    reading = read_mapping(text.encode(), {"m"})
    assert not reading.refused
    return MappingTable(reading.rows)


async def test_a_file_goes_in_once_and_comes_out_the_same(
    database: Database, connection: psycopg.Connection[tuple[object, ...]], tmp_path: Path
) -> None:
    shop = Shop.open(connection)
    plan = await take(database, shop, FILE)
    assert plan.counts | {"created": 0} == MappingPlan().counts
    assert plan.counts["created"] == 5
    assert (await take(database, shop, FILE)).counts == MappingPlan(unchanged=5).counts
    written = tmp_path / "mapping.csv"
    write_mapping(written, await export_mapping(database, shop.merchant_id))
    again = read_mapping(written, KNOWN)
    assert set(again.rows) == set(read_mapping(FILE.encode(), KNOWN).rows)
    only = await export_mapping(database, shop.merchant_id, ["n11"])
    assert [row.theirs for row in only] == ["1000479"]
    runs = connection.execute(
        "SELECT kind, counts ->> 'created' FROM import_run ORDER BY import_id"
    )
    assert runs.fetchall() == [("mapping", "5"), ("mapping", "0")]


async def test_a_plan_shows_each_row_before_and_after_and_writes_nothing(
    database: Database, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    shop = Shop.open(connection)
    await take(database, shop, FILE)
    changed = read_mapping(FILE.replace("1005", "1004").encode(), KNOWN)
    plan = await plan_mapping(database, shop.merchant_id, changed)
    assert [(c.before and c.before.theirs, c.after and c.after.theirs) for c in plan.changes] == [
        ("1005", "1004")
    ]
    assert connection.execute("SELECT theirs FROM mapping WHERE ours = 'Lacivert'").fetchall() == [
        ("1005",)
    ]


async def test_replacing_takes_away_only_what_the_named_marketplaces_have_no_more(
    database: Database, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    shop = Shop.open(connection)
    await take(database, shop, FILE)
    short = f"{HEADER}\ntrendyol,brand,,Işılbez,11073,\n"
    assert (await take(database, shop, short)).counts["removed"] == 0
    plan = await take(database, shop, short, replaces=True)
    assert (plan.counts["removed"], plan.unchanged) == (3, 1)
    kept = connection.execute("SELECT marketplace, kind FROM mapping ORDER BY 1").fetchall()
    assert kept == [("n11", "category"), ("trendyol", "brand")]


async def test_two_merchants_map_the_same_words_differently(
    database: Database, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    kaya, demir = Shop.open(connection, "Kaya"), Shop.open(connection, "Demir")
    await take(database, kaya, FILE)
    await take(database, demir, FILE.replace("607", "606"), replaces=True)
    for shop, theirs in ((kaya, "607"), (demir, "606")):
        table = MappingTable(await export_mapping(database, shop.merchant_id, ["trendyol"]))
        assert table.category("giyim > KADIN > kazak") == theirs


def test_bad_rows_are_refused_with_their_reason_and_block_nothing() -> None:
    lines = [
        "Marketplace;Kind;Scope;Ours;Theirs;Theirs Name",
        "amazon;category;;A;1;",
        "trendyol;colour;;A;1;",
        "trendyol;category;7;A;1;",
        "trendyol;attribute;7/47;A;1;",
        "trendyol;value;47;A;1;",
        "trendyol;category;;;1;",
        "trendyol;attribute;;Renk;;",
        "trendyol;attribute;;@price;9;",
        "trendyol;brand;;IŞIL;1;",
        "trendyol;brand;;ışıl;2;",
        "trendyol;brand;;x",
        'trendyol;brand;;"never closed;1;',
        "trendyol;attribute;;@origin_country;1192;Menşei",
    ]
    text = "\r\n".join(lines)
    reading = read_mapping(text.encode("cp1254"), KNOWN)
    assert [(refused.row_number, refused.reason) for refused in reading.refused] == [
        (2, MappingReason.MARKETPLACE_UNKNOWN),
        (3, MappingReason.KIND_UNKNOWN),
        (4, MappingReason.SCOPE_UNEXPECTED),
        (5, MappingReason.SCOPE_UNREADABLE),
        (6, MappingReason.SCOPE_UNREADABLE),
        (7, MappingReason.OURS_MISSING),
        (8, MappingReason.THEIRS_MISSING),
        (9, MappingReason.FIELD_UNKNOWN),
        (11, MappingReason.DUPLICATE),
        (12, MappingReason.FIELD_COUNT),
        (13, MappingReason.QUOTING),
    ]
    assert [row.ours for row in reading.rows] == ["IŞIL", "@origin_country"]
    assert reading.refused[8].params == {"row": "10"}


def test_a_file_without_our_columns_is_refused_as_a_whole() -> None:
    with pytest.raises(MappingFileRefused) as refused:
        read_mapping(b"ours,theirs\na,b\n", KNOWN)
    assert refused.value.missing == "marketplace, kind, scope"


def test_words_meet_by_turkish_rules() -> None:
    table = rows("category,,Giyim > İç Çamaşırı,9,", "brand,,IŞIK,7,Işık")
    assert table.category("GİYİM > iç çamaşırı") == "9"
    assert table.brand("ışık") == Mapped("7", "Işık")
    assert table.brand("Işık Tekstil") is None


def test_the_most_particular_row_counts() -> None:
    table = rows(
        "attribute,,Renk,47,",
        "attribute,604,Renk,99,",
        "value,/47,Mavi,1,",
        "value,604/47,Mavi,2,",
        "value,604/47,*,3,",
        "value,/47,Siyah,4,",
        "value,/48,,5,",
        "value,/701,*,,",
    )
    assert table.attributes("604") == {"renk": "99"}
    assert table.attributes("1") == {"renk": "47"}
    found = [
        table.value(category, "47", word)
        for category, word in (("604", "mavi"), ("1", "mavi"), ("604", "siyah"), ("604", "mor"))
    ]
    assert [each and each.theirs_id for each in found] == ["2", "1", "4", "3"]
    assert table.value("1", "47", "mor") is None


def test_what_is_not_stated_takes_only_a_row_of_its_own() -> None:
    table = rows("value,/48,,5,", "value,/47,*,3,", "value,/701,*,,", "brand,,,10,Diğer")
    assert table.value("1", "48", "") == Mapped("5", "")
    assert table.value("1", "47", "") is None
    assert table.value("1", "701", "Orhan Kemal") == Mapped(None, "Orhan Kemal")
    assert table.brand("") == Mapped("10", "Diğer")


def test_a_row_knows_its_key() -> None:
    row = MappingRow("m", MappingKind.BRAND, "", "İnceyünel", "1")
    assert row.key == ("m", "brand", "", "inceyunel")


def test_the_mappings_of_the_demo_can_be_read_whole() -> None:
    folder = files("meschain.demo") / "mapping"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".csv")]
    assert found
    for entry in found:
        name = entry.name.removesuffix(".csv")
        reading = read_mapping(entry.read_bytes(), {name})
        assert not reading.refused
        table = MappingTable(reading.rows)
        assert all(table.category(path) for path in CATEGORY_PATHS)
