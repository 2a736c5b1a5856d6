"""A merchant moves to another hub and behaves the same there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql

from meschain.app.commands.merchant_archive import read
from meschain.app.commands.merchant_archive.form import Seal
from meschain.app.feeds.feed import SOURCE
from meschain.bootstrap import Hub, HubSettings
from meschain.cli.tree import root
from meschain.store.archive import LEFT_OUT, TABLES
from meschain.testing.database import DatabaseServer
from meschain.testing.shop import NOW, NOW_US, Shop
from tests.store.test_isolation import fill

Connection = psycopg.Connection[tuple[Any, ...]]


class House:
    """A hub with its database, home and master key."""

    def __init__(self, url: str, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.url = url
        self.home = home
        self._patch = patch

    def invoke(self, *words: str, status: int = 0) -> Result:
        self._patch.setenv("DATABASE_URL", self.url)
        self._patch.setenv("MESCHAIN_HOME", str(self.home))
        result = CliRunner().invoke(root, words)
        assert "Traceback" not in result.output
        assert result.exit_code == status, result.output
        return result

    def document(self, *words: str) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.invoke(*words, "--json").stdout)
        return read

    def rows(self, table: str, merchant_id: int, *without: str) -> list[str]:
        """Rows as JSON texts, without the merchant and the columns named."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET timezone = 'UTC'")
            query = sql.SQL(
                "SELECT (to_jsonb(t) - %s::text[])::text FROM {} t WHERE merchant_id = %s"
            )
            found = connection.execute(
                query.format(sql.Identifier(table)), (["merchant_id", *without], merchant_id)
            ).fetchall()
        return sorted(str(row) for (row,) in found)

    def execute(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def old(
    database_url: str, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[House, Shop]:
    """A merchant in the middle of trade: sales, a request on its way, a refusal, history."""
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    house = House(database_url, tmp_path / "old", monkeypatch)
    shop = Shop.open(connection)
    shop.variant("A", on_hand=5)
    shop.variant("B\\ 'x'", on_hand=8)
    shop.bundle("SET", {"A": 1, "B\\ 'x'": 2})
    shop.account("east", marketplace="trendyol", lowers_own_shelf=True)
    shop.account("west", marketplace="n11")
    for account in ("east", "west"):
        shop.list_on(account, ["A", "B\\ 'x'", "SET"])
        connection.execute(
            "INSERT INTO lane (merchant_id, account_id, name, interval_s, batch_size, importance)"
            " VALUES (%s, %s, 'stock', 300, 200, 'critical')",
            (shop.merchant_id, shop.accounts[account]),
        )
        connection.execute(
            "INSERT INTO ownership (merchant_id, account_id, owner, epoch)"
            " VALUES (%s, %s, 'us', 3)",
            (shop.merchant_id, shop.accounts[account]),
        )
        connection.execute(
            "INSERT INTO order_cursor VALUES (%s, %s, %s, %s)",
            (shop.merchant_id, shop.accounts[account], NOW_US, NOW_US),
        )
    asyncio.run(trade(house, shop))
    connection.execute(
        "INSERT INTO offer_inflight (merchant_id, account_id, listing_id, field, ticket_id,"
        " revision, quantity, since_us) VALUES (%s, %s, %s, 1, 7, 1, 5, %s)",
        (shop.merchant_id, shop.accounts["west"], shop.listings["west", "SET"], NOW_US),
    )
    connection.execute(
        "DELETE FROM offer_dirty WHERE listing_id = %s", (shop.listings["west", "SET"],)
    )
    connection.execute(
        "INSERT INTO offer_refusal (merchant_id, account_id, listing_id, field, revision, code,"
        " words, advice, refused_us) VALUES (%s, %s, %s, 2, 1, 'E', 'Fiyat \\ düşük', '', %s)",
        (shop.merchant_id, shop.accounts["east"], shop.listings["east", "A"], NOW_US),
    )
    history = tmp_path / "history.csv"
    history.write_text(
        "order_number;placed_at;sku;units;unit_price;source\n1;2025-03-01;A;2;33,3333;shop\n",
        encoding="utf-8",
    )
    house.invoke("import", "orders", str(history))
    return house, shop


async def trade(house: House, shop: Shop) -> None:
    """An order whose buyer is sealed, and credentials."""
    house.home.mkdir(parents=True)
    wired = HubSettings(house.url, house.home / "master.key", loopback_only=True)
    async with Hub.opened(wired) as hub:
        number = await hub.keys.current(shop.merchant_id)
        seal = hub.keys.vault.seal
        line = {
            "line_id": "L1", "item_key": "A", "sku": "A", "barcode": "BA", "title": "Kazak",
            "units": 2, "unit_gross": "33.333333", "unit_seller_discount": 0,
            "unit_marketplace_discount": 0, "payable": "66.666666", "vat_percent": 20,
            "commission_percent": "12.5", "state_raw": "", "extra": {"a": 1.10},
        }  # fmt: skip
        order = {
            "external_id": "O-1", "placed_at": NOW.isoformat(), "currency": "TRY",
            "payment_method": "", "micro_export": False, "is_company": False, "city": "İzmir",
            "country_code": "TR", "unknown_fields": {}, "detected_by": "poll", "actor": "test",
            "minor_factor": 100,
            "packages": [
                {
                    "external_id": "P1", "state": "created", "state_raw": "Created",
                    "modified_at": NOW.isoformat(), "carrier": "", "cargo_code": "",
                    "tracking_number": "", "tracking_url": "", "desi": None,
                    "cargo_payer": None, "origin_ids": [], "stated_total": None,
                    "ship_by": None, "lines": [line],
                }
            ],
        }  # fmt: skip
        shop.connection.execute(
            "SELECT take_order(%s, %s, %s::jsonb, %s, %s, %s, %s, %s)",
            (
                shop.merchant_id,
                shop.accounts["east"],
                json.dumps(order),
                seal(shop.merchant_id, number, "order.person", b'{"buyer": "Ay\xc5\x9fe"}'),
                seal(shop.merchant_id, number, "order.raw", b"raw"),
                number,
                NOW,
                NOW_US,
            ),
        )
        for account in shop.accounts.values():
            secret = json.dumps({"api_key": f"secret-{account}"}).encode()
            shop.connection.execute(
                "INSERT INTO account_credential VALUES (%s, %s, %s, %s, %s)",
                (
                    shop.merchant_id,
                    account,
                    seal(shop.merchant_id, number, "account.credentials", secret),
                    number,
                    NOW,
                ),
            )


@pytest.fixture
def new(
    database_server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    """Another hub, with a merchant of its own who has the same numbers."""
    with database_server.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            other = Shop.open(connection, "Öteki")
            other.variant("A", on_hand=1)
            other.account("east")
            other.list_on("east", ["A"])
        yield House(url, tmp_path / "new", monkeypatch)


def passphrase(folder: Path) -> tuple[str, str]:
    file = folder / "passphrase.txt"
    file.write_text("çok gizli\n", encoding="utf-8")
    return "--passphrase-file", str(file)


# What the new hub begins anew; see docs/reference/merchant-archive.md.
ANEW = {
    "account": ("state", "account_id"),
    "orders": ("person_sealed", "raw_sealed", "account_id"),
    "order_cursor": ("fresh_us", "account_id"),
    "package_wish": ("phase", "is_doubtful"),
    "supplier_feed": ("next_due_at", "allows_private", "source"),
}
GROWING = {"audit", "offer_dirty"}  # the import itself, and what was on its way


def test_every_table_of_a_merchant_is_in_the_archive_or_left_out_for_a_reason(
    connection: Connection,
) -> None:
    tables = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " AND a.attname = 'merchant_id' WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    found = {str(name) for (name,) in tables}
    assert found <= {*TABLES, *LEFT_OUT}, "say what becomes of a new table in store/archive.py"
    assert {*TABLES} <= found
    assert not {*TABLES} & LEFT_OUT.keys()


def test_a_merchant_behaves_the_same_in_another_hub(
    old: tuple[House, Shop], new: House, tmp_path: Path
) -> None:
    house, shop = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive), *passphrase(tmp_path))
    assert archive.stat().st_mode & 0o077 == 0
    done = new.document("merchant", "import", str(archive), *passphrase(tmp_path))
    theirs = done["merchant_id"]
    assert theirs != shop.merchant_id
    assert done["has_secrets"]

    for table in TABLES:
        without = ANEW.get(table, ("account_id",))
        if table in ("offer_dirty", "audit"):
            continue
        assert new.rows(table, theirs, *without) == house.rows(table, shop.merchant_id, *without), (
            table
        )
    # What was on its way is told again; the rest waits as it did.
    waiting = house.rows("offer_dirty", shop.merchant_id, "account_id")
    here = new.rows("offer_dirty", theirs, "account_id")
    assert set(waiting) < set(here)
    (told_again,) = set(here) - set(waiting)
    assert json.loads(told_again)["reassert"] is True
    assert json.loads(told_again)["listing_id"] == shop.listings["west", "SET"]

    # Its accounts are nobody else's, and read-only until somebody arms them here.
    accounts = new.execute("SELECT merchant_id, account_id, state FROM account")
    assert len({account for _, account, _ in accounts}) == 3
    assert {state for merchant, _, state in accounts if merchant == theirs} == {"read_only"}
    assert new.execute("SELECT count(*) FROM ownership WHERE merchant_id = %s", theirs) == [(2,)]

    # Armed, it would send the same.
    for place, merchant in ((house, shop.merchant_id), (new, theirs)):
        place.execute("UPDATE account SET state = 'armed' WHERE merchant_id = %s", merchant)
    house.execute("DELETE FROM offer_inflight")
    house.execute(
        "INSERT INTO offer_dirty (merchant_id, account_id, listing_id, field, urgency, rank,"
        " since_us, reassert) VALUES (%s, %s, %s, 1, 0, 0, %s, true)",
        shop.merchant_id, shop.accounts["west"], shop.listings["west", "SET"], NOW_US,
    )  # fmt: skip
    plans = [place.document("plan", "--merchant", "Kaya") for place in (house, new)]
    for plan in plans:
        for each in ("rows", "totals"):
            for row in plan[each]:
                account = row.pop("account_id")
                row["account"] = plan["accounts"][str(account)]
            plan[each].sort(key=str)
    assert plans[0]["rows"] == plans[1]["rows"]
    assert len(plans[0]["rows"]) == 4
    assert plans[0]["totals"] == plans[1]["totals"]

    asyncio.run(opens_secrets(new, theirs))
    # It goes on: new rows get numbers of their own.
    more = tmp_path / "more.csv"
    more.write_text("sku;title;sale_price;quantity\nYENI;Yeni;10,00;3\n", encoding="utf-8")
    counts = new.document("import", "products", str(more), "--merchant", "Kaya")["counts"]
    assert counts["variants_created"] == 1
    assert counts["refused"] == 0


async def opens_secrets(house: House, merchant_id: int) -> None:
    wired = HubSettings(house.url, house.home / "master.key", loopback_only=True)
    async with Hub.opened(wired) as hub:
        rows = house.execute(
            "SELECT key_number, person_sealed, raw_sealed FROM orders WHERE merchant_id = %s",
            merchant_id,
        )
        ((number, person, raw),) = rows
        opened = await hub.keys.open(merchant_id, number, "order.person", bytes(person))
        assert json.loads(opened) == {"buyer": "Ayşe"}
        assert await hub.keys.open(merchant_id, number, "order.raw", bytes(raw)) == b"raw"
        secrets = house.execute(
            "SELECT key_number, sealed FROM account_credential WHERE merchant_id = %s", merchant_id
        )
        plain = [
            json.loads(await hub.keys.open(merchant_id, number, "account.credentials", bytes(each)))
            for number, each in secrets
        ]
        assert sorted(each["api_key"][:7] for each in plain) == ["secret-", "secret-"]


def test_a_row_of_every_table_comes_along(
    connection: Connection,
    database_url: str,
    new: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    house = House(database_url, tmp_path / "old", monkeypatch)
    shop = Shop.open(connection, "Kaya")
    fill(shop, "X")
    connection.execute("DELETE FROM data_key")
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive))
    theirs = new.document("merchant", "import", str(archive))["merchant_id"]
    for table in TABLES:
        without = (*ANEW.get(table, ()), "account_id", "key_number")
        before = house.rows(table, shop.merchant_id, *without)
        assert before, table
        after = new.rows(table, theirs, *without)
        assert set(before) <= set(after) if table in GROWING else before == after, table
    # Each reference to an account is one to its new number; 0 is none.
    ((account,),) = new.execute("SELECT account_id FROM account WHERE merchant_id = %s", theirs)
    for table in TABLES:
        found = {json.loads(row).get("account_id", account) for row in new.rows(table, theirs)}
        assert found <= {account, None, 0}, table


def test_without_a_passphrase_no_secret_leaves_the_hub(
    old: tuple[House, Shop], new: House, tmp_path: Path
) -> None:
    house, _ = old
    archive = tmp_path / "kaya.zip"
    said = house.invoke("merchant", "export", "--to", str(archive)).stdout
    assert "cannot be served" in said
    with zipfile.ZipFile(archive) as opened:
        everything = b"".join(opened.read(name) for name in opened.namelist())
    for secret in (b"secret-", "Ayşe".encode(), b'_sealed":'):
        assert secret not in everything
    piped = house.invoke("merchant", "export", "--to", "-")
    assert piped.stdout_bytes.startswith(b"PK")
    assert "cannot be served" in piped.stderr
    done = new.document("merchant", "import", str(archive))
    assert not done["has_secrets"]
    rows = new.execute(
        "SELECT person_sealed, raw_sealed, key_number FROM orders WHERE merchant_id = %s",
        done["merchant_id"],
    )
    assert rows == [(None, None, None)]


def test_a_wrong_passphrase_keeps_nothing(
    old: tuple[House, Shop], new: House, tmp_path: Path
) -> None:
    house, _ = old
    archive, wrong = tmp_path / "kaya.zip", tmp_path / "wrong.txt"
    house.invoke("merchant", "export", "--to", str(archive), *passphrase(tmp_path))
    wrong.write_text("yanlış", encoding="utf-8")
    before = everything(new)
    for words in ((), ("--passphrase-file", str(wrong))):
        said = new.invoke("merchant", "import", str(archive), *words, status=1).stderr
        assert "passphrase" in said
    assert everything(new) == before


def test_a_wrong_passphrase_is_found_before_anything_is_brought(
    old: tuple[House, Shop], new: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, _ = old
    archive, wrong = tmp_path / "kaya.zip", tmp_path / "wrong.txt"
    house.invoke("merchant", "export", "--to", str(archive), *passphrase(tmp_path))
    wrong.write_text("yanlış", encoding="utf-8")
    begun: list[str] = []

    async def begin(_: read._Walk, name: str) -> None:
        begun.append(name)

    monkeypatch.setattr(read._Walk, "begin", begin)  # noqa: SLF001 – the first thing written
    words = ("merchant", "import", str(archive), "--passphrase-file", str(wrong))
    assert "passphrase" in new.invoke(*words, status=1).stderr
    assert not begun


def everything(house: House) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: house.execute(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608 – of ours
        for table in (*TABLES, "merchant", "account_credential", "data_key", "ownership")
    }


def damaged(archive: Path, table: str, before: bytes, after: bytes, *, hides: bool) -> Path:
    """A copy with a table changed; ``hides``: its checksum is corrected too."""
    copy = archive.with_name("damaged.zip")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        parts = {name: source.read(name) for name in source.namelist()}
        member = f"tables/{table}.jsonl"
        assert before in parts[member]
        parts[member] = parts[member].replace(before, after)
        manifest = json.loads(parts["archive.json"])
        if hides:
            for part in manifest["tables"]:
                if part["name"] == table:
                    part["sha256"] = hashlib.sha256(parts[member]).hexdigest()
        parts["archive.json"] = json.dumps(manifest).encode()
        for name, content in parts.items():
            target.writestr(name, content)
    return copy


@pytest.mark.parametrize(
    ("table", "before", "after", "hides", "said"),
    [
        ("variant", b'"A"', b'"Z"', False, "damaged"),
        ("stock_level", b'"on_hand": 5', b'"on_hand": 6', True, "not the sum"),
        ("variant", b'"currency": "TRY"', b'"currency": null', True, "damaged"),
        ("location", b'"location_id": 1', b'"location_id": 2147483647', True, "damaged"),
    ],
)
def test_a_damaged_archive_keeps_nothing(
    old: tuple[House, Shop],
    new: House,
    tmp_path: Path,
    table: str,
    before: bytes,
    after: bytes,
    hides: bool,  # noqa: FBT001 – a parameter of the test
    said: str,
) -> None:
    house, _ = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive))
    held = everything(new)
    copy = damaged(archive, table, before, after, hides=hides)
    assert said in new.invoke("merchant", "import", str(copy), status=1).stderr
    assert everything(new) == held


def rewritten(archive: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Path:
    """A copy whose members and manifest were changed; every checksum fits again."""
    copy = archive.with_name("rewritten.zip")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        parts = {name: source.read(name) for name in source.namelist()}
        manifest = json.loads(parts.pop("archive.json"))
        change(parts, manifest)
        for kind, folder in (("tables", "tables"), ("sealed", "sealed")):
            for part in manifest[kind]:
                content = parts[f"{folder}/{part['name']}.jsonl"]
                part["sha256"] = hashlib.sha256(content).hexdigest()
        for name, content in parts.items():
            target.writestr(name, content)
        target.writestr("archive.json", json.dumps(manifest))
    return copy


def _no_utf8(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    parts["tables/variant.jsonl"] = b"\xff\xfe" + parts["tables/variant.jsonl"]


def _no_json(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    parts["tables/account.jsonl"] = b"{]\n"


def _no_json_in_rows(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    parts["tables/variant.jsonl"] = b"{]\n"


def _no_base64(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    parts["sealed/account_credential.jsonl"] = b'{"account_id": 1, "sealed": "?"}\n'


def _no_seal(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    parts["sealed/orders.jsonl"] = b'{"order": 1}\n'


def _no_such_account(parts: dict[str, bytes], _: dict[str, Any]) -> None:
    sealed = json.loads(parts["sealed/account_credential.jsonl"].splitlines()[0])
    parts["sealed/account_credential.jsonl"] = json.dumps(
        sealed | {"account_id": 77_777}
    ).encode() + b"\n"  # fmt: skip


def _no_sealed_part(_: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["sealed"] = []


def _no_salt(_: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["salt"] = "abc"


def _no_zone(_: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["merchant"]["time_zone"] = "Europe/Nowhere"


def _no_language(_: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["merchant"]["language"] = "xx"


@pytest.mark.parametrize(
    "change",
    [
        *(_no_utf8, _no_json, _no_json_in_rows, _no_base64, _no_seal, _no_such_account),
        *(_no_salt, _no_sealed_part, _no_zone, _no_language),
    ],
)
def test_an_archive_that_was_rewritten_is_refused_in_words_and_keeps_nothing(
    old: tuple[House, Shop],
    new: House,
    tmp_path: Path,
    change: Callable[[dict[str, bytes], dict[str, Any]], None],
) -> None:
    house, _ = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive), *passphrase(tmp_path))
    held = everything(new)
    copy = rewritten(archive, change)
    words = ("merchant", "import", str(copy), *passphrase(tmp_path))
    assert "is damaged" in new.invoke(*words, status=1).stderr
    assert everything(new) == held


def test_accounts_are_served_only_when_all_of_them_is_there(
    old: tuple[House, Shop], new: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker takes an account by its row of ``ownership``, the moment there is one."""
    house, _ = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive), *passphrase(tmp_path))
    take = read._Walk.take  # noqa: SLF001 – before the merchant has its name
    seen: list[tuple[Any, ...]] = []

    async def watched(walk: read._Walk, seal: Seal | None) -> None:
        await take(walk, seal)
        seen.extend(new.execute("SELECT 1 FROM ownership WHERE merchant_id = %s", walk.merchant_id))

    monkeypatch.setattr(read._Walk, "take", watched)  # noqa: SLF001
    done = new.document("merchant", "import", str(archive), *passphrase(tmp_path))
    assert not seen
    theirs = done["merchant_id"]
    assert len(new.rows("ownership", theirs)) == 2


FEED = "https://kaya:gizli@feed.example/urunler.xml?token=belirtec"


async def sealed_address(house: House, merchant_id: int) -> str | None:
    [(number, sealed)] = house.execute(
        "SELECT key_number, source_sealed FROM supplier_feed WHERE merchant_id = %s", merchant_id
    )
    if sealed is None:
        return None
    wired = HubSettings(house.url, house.home / "master.key", loopback_only=True)
    async with Hub.opened(wired) as hub:
        return (await hub.keys.open(merchant_id, number, SOURCE, bytes(sealed))).decode()


def test_suppliers_feeds_come_along_and_wait_for_a_look(
    old: tuple[House, Shop], new: House, tmp_path: Path
) -> None:
    """Their addresses may hold secrets, and paths that mean something else here."""
    house, shop = old
    house.execute(
        "INSERT INTO supplier_feed (merchant_id, name, source, column_map, every_s,"
        " allows_private, created_at, next_due_at, content_hash, variants)"
        " VALUES (%s, 'tedarikçi', %s, '[columns]', 3600, true, %s, %s, '\\xff00', 7)",
        shop.merchant_id, FEED, NOW, NOW,
    )  # fmt: skip
    archive = tmp_path / "kaya.zip"
    address = "https://feed.example/urunler.xml"
    for words, whole in (((), None), (passphrase(tmp_path), FEED)):
        house.invoke("merchant", "export", "--to", str(archive), *words)
        with zipfile.ZipFile(archive) as opened:
            everything_in_it = b"".join(opened.read(name) for name in opened.namelist())
        assert b"gizli" not in everything_in_it
        assert b"belirtec" not in everything_in_it
        done = new.document("merchant", "import", str(archive), *words, "--name", address[:25])
        assert done["feeds"] == 1
        (feed,) = new.execute(
            "SELECT name, source, every_s, allows_private, variants, next_due_at > '2999-01-01'"
            " FROM supplier_feed WHERE merchant_id = %s",
            done["merchant_id"],
        )
        assert feed == ("tedarikçi", address, 3600, False, 7, True)
        assert asyncio.run(sealed_address(new, done["merchant_id"])) == whole
        listed = new.invoke("feed", "list", "--merchant", address[:25]).stdout
        assert "feed run 'tedarikçi'" in listed
        # Its account has no addresses: what cannot be opened does not keep it here.
        new.invoke("merchant", "delete", address[:25], "--confirm", address[:25],
                   "--without-export")  # fmt: skip


def test_two_commands_do_not_bring_one_merchant_at_once(
    old: tuple[House, Shop], new: House, tmp_path: Path
) -> None:
    house, _ = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive))
    with psycopg.connect(new.url) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('meschain merchant Kaya', 0))")
        assert "just now" in new.invoke("merchant", "import", str(archive), status=1).stderr
    new.invoke("merchant", "import", str(archive))


@pytest.mark.parametrize("name", ["Kaya (importing)", "Kaya (deleting)", " ", "a\nb", "x" * 201])
def test_no_merchant_is_called_like_half_of_another(
    old: tuple[House, Shop], new: House, tmp_path: Path, name: str
) -> None:
    """It would be taken for what a kill has left, and erased unasked."""
    house, _ = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive))
    for words in (("add", name), ("import", str(archive), "--name", name)):
        assert "cannot be" in new.invoke("merchant", *words, status=1).stderr
    assert new.execute("SELECT name FROM merchant") == [("Öteki",)]


def test_other_files_and_newer_ones_are_refused(
    old: tuple[House, Shop], new: House, tmp_path: Path
) -> None:
    house, _ = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive))
    text = tmp_path / "text.zip"
    text.write_text("no archive", encoding="utf-8")
    assert "no archive" in new.invoke("merchant", "import", str(text), status=1).stderr
    empty = tmp_path / "empty.zip"
    zipfile.ZipFile(empty, "w").close()
    assert "was not written" in new.invoke("merchant", "import", str(empty), status=1).stderr
    newer = tmp_path / "newer.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(newer, "w") as target:
        manifest = json.loads(source.read("archive.json")) | {"schema": 9_999}
        target.writestr("archive.json", json.dumps(manifest))
    assert "newer program" in new.invoke("merchant", "import", str(newer), status=1).stderr
    new.invoke("merchant", "import", str(archive))
    assert "Kaya" in new.invoke("merchant", "import", str(archive), status=1).stderr
    new.invoke("merchant", "import", str(archive), "--name", "Kaya 2", "--language", "tr")


def test_what_a_killed_import_left_is_taken_away_by_the_next(
    old: tuple[House, Shop], new: House, tmp_path: Path
) -> None:
    house, shop = old
    archive = tmp_path / "kaya.zip"
    house.invoke("merchant", "export", "--to", str(archive))
    ((half,),) = new.execute(
        "INSERT INTO merchant (name, created_at) VALUES ('Kaya (importing)', now())"
        " RETURNING merchant_id"
    )
    new.execute("INSERT INTO location (merchant_id, code, name) VALUES (%s, 'main', 'Depo')", half)
    done = new.document("merchant", "import", str(archive))
    names = new.execute("SELECT name FROM merchant ORDER BY name")
    assert names == [("Kaya",), ("Öteki",)]
    assert new.rows("variant", done["merchant_id"]) == house.rows("variant", shop.merchant_id)
