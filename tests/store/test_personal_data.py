"""Erasing buyers: nothing of them is left, nothing comes back, and all is counted as before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.app.commands.erase_personal_data import (
    erase_due,
    erase_on_request,
    read_requests,
    set_term,
)
from meschain.app.queries.export import ORDER_COLUMNS, orders
from meschain.app.queries.order_detail import open_person, read_order
from meschain.app.queries.personal_data import (
    Wanted,
    find_buyer,
    read_asked,
    read_due,
    read_found,
    read_past,
)
from meschain.channel.clock import SystemClock
from meschain.channel.contract import WebhookDelivery
from meschain.domain.order import (
    Address,
    Buyer,
    LineObservation,
    OrderObservation,
    PackageObservation,
    PackageState,
)
from meschain.registry import marketplaces
from meschain.store.keys import DataKeys
from meschain.store.migrate import migrate, migrations
from meschain.store.unit_of_work import Database
from meschain.store.vault import Vault
from meschain.sync.intake import Intake
from meschain.sync.webhook import DELIVERY
from meschain.testing.database import DatabaseServer
from meschain.testing.markers import places_of
from meschain.testing.shop import NOW, NOW_US, Shop

S = PackageState
DAY = timedelta(days=1)


class At(SystemClock):
    """A clock that stands."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


@dataclass
class Desk:
    shop: Shop
    database: Database
    keys: DataKeys
    log: Path

    def intake(self, account: str = "east") -> Intake:
        """One that remembers nothing, as after a restart."""
        return Intake(
            self.database,
            self.keys,
            merchant_id=self.shop.merchant_id,
            account_id=self.shop.accounts[account],
            name=account,
        )

    async def take(
        self, order: OrderObservation, account: str = "east", by: str = "poll"
    ) -> str | None:
        taken = await self.intake(account).take(order, detected_by=by, now=NOW)
        return None if taken is None else taken.outcome

    async def erase(self, *numbers: str, now: datetime = NOW) -> list[int]:
        merchant = self.shop.merchant_id
        found = await read_found(self.database, self.keys, merchant, numbers=numbers)
        past = await read_past(self.database, merchant, numbers=numbers)
        done = await erase_on_request(
            self.database, At(now), merchant, found, past, log=self.log, actor="test"
        )
        assert done.left == 0
        return done.orders

    async def due(self, now: datetime) -> Mapping[str, int]:
        return await erase_due(self.database, At(now), self.shop.merchant_id, actor="test")

    def rows(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        return self.shop.connection.execute(statement, params).fetchall()

    def erased(self) -> list[str]:
        rows = self.rows("SELECT external_id FROM orders WHERE erased_at IS NOT NULL ORDER BY 1")
        return [number for (number,) in rows]

    def places(self, *markers: str) -> dict[str, set[str]]:
        return places_of(self.shop.connection, self.keys.vault, markers)


@pytest.fixture
def desk(shop: Shop, database: Database, tmp_path: Path) -> Desk:
    shop.variant("A", on_hand=10)
    for name in ("east", "west"):
        shop.account(name)
        shop.list_on(name, ["A"])
    keys = DataKeys(database, Vault.at(tmp_path / "master.key"), SystemClock())
    return Desk(shop, database, keys, tmp_path / "asked.jsonl")


MARKS = tuple(f"Gizli{number:02d}ğ" for number in range(24))


def marked(
    number: str,
    *packages: PackageObservation,
    marks: tuple[str, ...] = MARKS,
    placed: datetime = NOW,
) -> OrderObservation:
    """An order whose buyer has a marker in every field that a channel can fill."""
    mark = iter(marks)
    address = [
        Address(
            full_name=next(mark),
            company=next(mark),
            street=next(mark),
            neighborhood=next(mark),
            district=next(mark),
            city="İzmir",
            postal_code=next(mark),
            country_code="TR",
            phone=next(mark),
        )
        for _ in range(2)
    ]
    buyer = Buyer(
        external_id=next(mark),
        full_name=next(mark),
        email=next(mark),
        company_name=next(mark),
        tax_office=next(mark),
        tax_number=next(mark),
        identity_number=next(mark),
    )
    return OrderObservation(
        external_id=number,
        placed_at=placed,
        currency="TRY",
        packages=packages or (package(f"P{number}"),),
        buyer=buyer,
        shipping_address=address[0],
        invoice_address=address[1],
        unknown_fields={"shipmentAddress.giftTo": {"1": marks[-1]}},
        raw=f'[{{"note": "{marks[-1]}"}}]'.encode(),
    )


def package(
    number: str,
    state: PackageState = S.DELIVERED,
    *,
    units: int = 2,
    marks: tuple[str, ...] = MARKS,
    at: datetime = NOW,
) -> PackageObservation:
    line = LineObservation(
        external_id=f"L{number}",
        sku="A",
        barcode="BA",
        title="Kazak",
        quantity=units,
        unit_gross=Decimal("49.95"),
        unit_seller_discount=Decimal("1.25"),
        unit_marketplace_discount=Decimal(0),
        payable=Decimal("48.70") * units,
        vat_percent=Decimal(20),
        commission_percent=Decimal(13),
        extra={"engraving": marks[-2]},
    )
    return PackageObservation(
        external_id=number,
        state=state,
        state_raw=state.value,
        modified_at=at,
        lines=(line,),
        carrier="Aras",
        cargo_code=marks[-3],
        tracking_number=marks[-4],
        tracking_url=f"https://carrier.example/{marks[-4]}",
    )


# — nothing is left —


async def test_after_an_erasure_no_marker_is_left_in_any_column_of_any_table(desk: Desk) -> None:
    await desk.take(marked("1"))
    merchant, account = desk.shop.merchant_id, desk.shop.accounts["east"]
    ((order,),) = desk.rows("SELECT order_id FROM orders")
    desk.rows(
        "INSERT INTO invoice (merchant_id, order_id, package_id, number, issued_at, total_minor,"
        " currency, url) VALUES (%s, %s, 'P1', 'F-1', %s, 9740, 'TRY', %s) RETURNING 1",
        merchant, order, NOW, f"https://invoice.example/{MARKS[0]}",
    )  # fmt: skip
    ((claim,),) = desk.rows(
        "INSERT INTO return_claim (merchant_id, account_id, external_id, order_id, state_raw,"
        " created_at, modified_at) VALUES (%s, %s, 'R', %s, '', %s, %s) RETURNING return_id",
        merchant, account, order, NOW, NOW,
    )  # fmt: skip
    desk.rows(
        "INSERT INTO return_line (merchant_id, return_id, line_id, item_key, units, reason,"
        " state_raw) VALUES (%s, %s, 'L', 'A', 1, %s, '') RETURNING 1",
        merchant, claim, MARKS[1],
    )  # fmt: skip
    number = await desk.keys.current(merchant)
    delivery = WebhookDelivery({}, f'{{"customer": "{MARKS[2]}"}}'.encode())
    body = desk.keys.vault.seal(merchant, number, DELIVERY, delivery.body)
    desk.rows(
        "INSERT INTO webhook_inbox (merchant_id, account_id, received_us, body_sealed, key_number)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING 1",
        merchant, account, NOW_US - 1, body, number,
    )  # fmt: skip
    before = desk.places(*MARKS)
    assert set().union(*before.values()) == set(MARKS)
    assert before.keys() == {
        "orders.person_sealed", "orders.raw_sealed", "orders.unknown_fields", "package.cargo_code",
        "package.tracking_number", "package.tracking_url", "package_line.extra", "invoice.url",
        "return_line.reason", "webhook_inbox.body_sealed",
    }  # fmt: skip

    assert await desk.erase("1") == [order]
    assert desk.places(*MARKS) == {}
    assert not any(mark in desk.log.read_text() for mark in MARKS)


async def test_reports_add_up_as_before_and_say_what_was_erased(desk: Desk) -> None:
    async def exported() -> list[Mapping[str, str]]:
        pages = orders(desk.database, desk.shop.merchant_id, erased="silindi")
        return [row async for row in pages]

    books = (
        "SELECT payable, payable_minor, city, country_code, external_id FROM orders ORDER BY 5",
        "SELECT unit_gross, unit_seller_discount, payable, vat_percent, units FROM package_line",
        "SELECT sku, units_ordered FROM order_line",
        "SELECT on_hand, reserved FROM stock_level",
        "SELECT kind, on_hand_delta, reserved_delta FROM stock_movement",
        "SELECT external_id, state, carrier, modified_at FROM package ORDER BY 1",
    )
    await desk.take(marked("1"))
    await desk.take(marked("2"))
    before, told = [desk.rows(each) for each in books], await exported()
    await desk.erase("1")
    assert [desk.rows(each) for each in books] == before
    after = await exported()
    assert [row["tracking_number"] for row in after] == ["silindi", MARKS[-4]]
    rest = [name for name in ORDER_COLUMNS if name != "tracking_number"]
    assert [[row[name] for name in rest] for row in after] == [
        [row[name] for name in rest] for row in told
    ]
    merchant = desk.shop.merchant_id
    detail = await read_order(desk.database, merchant, "1")
    assert detail.erased_at == NOW
    assert await open_person(desk.database, desk.keys, merchant, detail) is None


async def test_the_audit_names_orders_and_nothing_of_their_buyers(desk: Desk) -> None:
    await desk.take(marked("1"))
    (order,) = await desk.erase("1")
    assert desk.rows("SELECT actor, action, facts FROM audit") == [
        ("test", "personal_data.erase", {"reason": "request", "orders": [order]})
    ]


async def test_what_is_left_by_a_defect_is_told(desk: Desk) -> None:
    await desk.take(marked("1"))
    await desk.take(marked("2"))
    await desk.erase("1")
    merchant = desk.shop.merchant_id
    desk.rows(
        "UPDATE package SET tracking_number = 'x' WHERE order_id IN"
        " (SELECT order_id FROM orders) RETURNING 1"
    )
    found = await read_found(desk.database, desk.keys, merchant, numbers=("1",))
    done = await erase_on_request(
        desk.database, At(NOW), merchant, found, (), log=desk.log, actor="test"
    )
    assert (done.orders, done.left) == ([], 1)


# — nothing comes back —


@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize("detected_by", ["poll", "webhook", "audit"])
async def test_what_is_seen_later_of_an_erased_order_counts_and_brings_nothing_back(
    desk: Desk, detected_by: str, *, is_whole: bool
) -> None:
    await desk.take(marked("1"))
    await desk.erase("1")
    later = tuple(f"Yeni{number:02d}ş" for number in range(24))
    back = package("P1", S.RETURNED, marks=later, at=NOW + DAY)
    again = package("P2", S.CREATED, units=1, marks=later, at=NOW + DAY)
    order = replace(marked("1", back, again, marks=later), is_whole=is_whole)
    assert await desk.take(order, by=detected_by) == "changed"
    assert desk.places(*MARKS, *later) == {}
    # Goods and money go on: the part that was sent anew is promised.
    states = "SELECT external_id, state FROM package ORDER BY 1"
    assert desk.rows(states) == [("P1", "returned"), ("P2", "created")]
    assert desk.rows("SELECT payable FROM orders") == [(Decimal("146.1"),)]
    assert desk.rows("SELECT reserved FROM stock_level") == [(1,)]
    # And the same once more: a pull overlaps with the one before.
    await desk.take(order, by=detected_by)
    assert desk.places(*MARKS, *later) == {}


async def test_an_erased_past_order_stays_so_when_its_file_comes_again(desk: Desk) -> None:
    merchant = desk.shop.merchant_id

    async def bring(city: str) -> None:
        row = (
            '[{"source": "shop", "number": "7", "placed_at": "2025-01-01T00:00:00Z",'
            f' "currency": "TRY", "buyer_ref": "{MARKS[0]}", "country": "TR", "city": "{city}"}}]'
        )
        async with desk.database.merchant(merchant) as unit:
            await unit.run("past_order.put", {"merchant": merchant, "rows": row, "import": 1})

    await bring("İzmir")
    assert desk.places(MARKS[0])
    (past,) = await read_past(desk.database, merchant, buyer=MARKS[0])
    assert (past.source, past.number) == ("shop", "7")
    await desk.erase("7")
    await bring("Ankara")
    assert desk.places(MARKS[0]) == {}
    assert desk.rows("SELECT city FROM past_order") == [("Ankara",)]
    assert await read_past(desk.database, merchant, buyer="") == []


# — orders that are under way —


async def test_an_order_under_way_is_erased_as_soon_as_it_has_ended(desk: Desk) -> None:
    await desk.take(marked("1", package("P1", S.SHIPPED)))
    assert await desk.erase("1") == []
    assert await desk.due(NOW) == {}
    assert desk.places(MARKS[0]).keys() == {"orders.person_sealed"}
    (asked,) = await read_asked(desk.database, desk.shop.merchant_id)
    assert (asked.number, asked.has_ended) == ("1", False)
    await desk.take(marked("1", package("P1", S.DELIVERED, at=NOW + DAY)))
    assert await desk.due(NOW) == {"": 1}
    assert desk.places(*MARKS) == {}
    assert await read_asked(desk.database, desk.shop.merchant_id) == []


async def test_an_order_that_is_here_only_after_its_buyer_asked_is_erased_too(desk: Desk) -> None:
    """As after a restore: the request is known, and the pull brings the order once more."""
    desk.rows(
        "INSERT INTO erasure_request (merchant_id, account_id, number, asked_at)"
        " VALUES (%s, %s, '1', %s) RETURNING 1",
        desk.shop.merchant_id, desk.shop.accounts["east"], NOW,
    )  # fmt: skip
    await desk.take(marked("1"))
    await desk.take(marked("1"), "west")  # another marketplace's order of the same number
    assert await desk.due(NOW) == {"": 1}
    assert desk.rows("SELECT account_id FROM orders WHERE erased_at IS NOT NULL") == [
        (desk.shop.accounts["east"],)
    ]


@pytest.mark.parametrize(
    ("states", "has_ended"),
    [
        ((S.DELIVERED,), True),
        ((S.RETURNED, S.CANCELLED), True),
        ((S.UNSUPPLIED,), True),
        ((S.DELIVERED, S.SUPERSEDED), True),
        ((S.SUPERSEDED,), False),
        ((S.UNDELIVERED,), False),
        ((S.DELIVERED, S.SHIPPED), False),
        ((S.AT_COLLECTION_POINT,), False),
        ((S.HELD,), False),
    ],
)
async def test_an_order_has_ended_with_all_its_packages(
    desk: Desk, states: tuple[PackageState, ...], *, has_ended: bool
) -> None:
    parts = tuple(package(f"P{place}", state) for place, state in enumerate(states))
    await desk.take(marked("1", *parts))
    assert desk.rows("SELECT order_has_ended(merchant_id, order_id) FROM orders") == [(has_ended,)]


async def test_an_order_in_a_state_that_nobody_knows_has_not_ended(desk: Desk) -> None:
    strange = replace(package("P2"), state=None, state_raw="Teleported")
    await desk.take(marked("1", package("P1"), strange))
    assert desk.rows("SELECT order_has_ended(merchant_id, order_id) FROM orders") == [(False,)]


# — by schedule —


async def test_what_is_older_than_its_accounts_term_goes_and_the_rest_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meschain.app.queries.personal_data.BATCH", 2)
    merchant = desk.shop.merchant_id
    for place in range(5):
        await desk.take(marked(f"old{place}"))
    await desk.take(marked("way", package("Pw", S.SHIPPED)))
    await desk.take(marked("late", package("Pl", S.DELIVERED, at=NOW + 8 * DAY)))
    await desk.take(marked("west"), "west")
    west, east = desk.shop.accounts["west"], desk.shop.accounts["east"]
    await set_term(desk.database, At(NOW), merchant, east, 7, actor="test")
    then = NOW + 7 * DAY
    assert await desk.due(then) == {}  # to the day, and no earlier
    assert desk.erased() == []
    then += timedelta(seconds=1)
    due = {each.account: each for each in await read_due(desk.database, merchant, then)}
    assert (due["east"].due, due["east"].open, due["east"].oldest_at) == (5, 1, NOW)
    assert (due["west"].days, due["west"].due) == (180, 0)
    assert desk.erased() == []  # to look changes nothing
    assert await desk.due(then) == {"east": 5}
    assert desk.erased() == [f"old{place}" for place in range(5)]
    assert await desk.due(then) == {}
    # An account that was removed keeps nothing longer for that.
    desk.rows("UPDATE account SET state = 'closed' WHERE account_id = %s RETURNING 1", west)
    assert await desk.due(NOW + 181 * DAY) == {"east": 1, "west": 1}
    assert desk.erased() == ["late", *(f"old{place}" for place in range(5)), "west"]


async def test_deliveries_that_nobody_took_in_go_after_a_day(desk: Desk) -> None:
    merchant, account = desk.shop.merchant_id, desk.shop.accounts["east"]
    for age_s in (2 * 86_400, 60):
        desk.rows(
            "INSERT INTO webhook_inbox (merchant_id, account_id, received_us, body_sealed,"
            " key_number) VALUES (%s, %s, %s, '', 1) RETURNING 1",
            merchant, account, NOW_US - age_s * 1_000_000,
        )  # fmt: skip
    await desk.due(NOW)
    assert desk.rows("SELECT received_us FROM webhook_inbox") == [(NOW_US - 60_000_000,)]


async def test_a_marketplace_that_states_a_longest_time_is_obeyed_from_the_beginning(
    desk: Desk,
) -> None:
    for days_max, kept in ((None, 180), (30, 30), (400, 180)):
        manifest = marketplaces()["n11"].manifest
        limits = structs.replace(manifest.orders, personal_days_max=days_max)
        added = await add_account(
            desk.database,
            desk.keys,
            At(NOW),
            desk.shop.merchant_id,
            structs.replace(manifest, orders=limits),
            NewAccount("n11", f"n11 {days_max}", {}, {}),
        )
        days = "SELECT personal_days FROM account WHERE account_id = %s"
        assert desk.rows(days, added) == [(kept,)]


def test_what_alerts_and_events_held_of_unreadable_orders_goes_with_the_migration(
    database_server: DatabaseServer,
) -> None:
    with database_server.database() as url:
        known = {each.version: each.checksum for each in migrations() if each.version < 16}
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        migrate(url, only=known)
        with psycopg.connect(url, autocommit=True) as connection:
            merchant = Shop.open(connection).merchant_id
            for subject in ('{"name": "Gizli"', "10000000123"):
                connection.execute(
                    "INSERT INTO alert (merchant_id, kind, subject, raised_us)"
                    " VALUES (%s, 'alert.order.unreadable', %s, 1)",
                    (merchant, subject),
                )
                connection.execute(
                    "INSERT INTO event (merchant_id, day, at_us, kind, facts)"
                    " VALUES (%s, %s, 1, 'alert.raised', jsonb_build_object("
                    " 'kind', 'alert.order.unreadable', 'subject', %s::text))",
                    (merchant, NOW.date(), subject),
                )
            migrate(url)
            alerts = connection.execute("SELECT subject FROM alert").fetchall()
            events = connection.execute("SELECT facts ->> 'subject' FROM event ORDER BY 1")
            assert alerts == [("10000000123",)]
            assert events.fetchall() == [("10000000123",), (None,)]


# — whose it is —


async def test_a_buyer_is_found_by_opening_every_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meschain.app.queries.personal_data.BATCH", 2)
    for number in ("1", "2", "3"):
        await desk.take(marked(number))
    ayse = replace(marked("4"), buyer=Buyer(full_name="Ayşe Kaya", email="ayse@example.com"))
    await desk.take(ayse, "west")
    told: list[tuple[int, int]] = []

    async def numbers(text: str) -> list[str]:
        found = await find_buyer(
            desk.database,
            desk.keys,
            desk.shop.merchant_id,
            Wanted(text),
            lambda done, total: told.append((done, total)),
        )
        return [each.number for each in found]

    assert await numbers("AYSE@example.com") == ["4"]
    assert told == [(2, 4), (4, 4), (4, 4)]
    assert await numbers("kaya ayse") == ["4"]
    assert await numbers("2") == ["2"]
    assert await numbers("nobody@example.com") == []
    await desk.erase("4")
    assert await numbers("AYSE@example.com") == []


async def test_requests_are_kept_beside_the_database_by_numbers_alone(desk: Desk) -> None:
    await desk.take(marked("1"))
    await desk.erase("1")
    (asked,) = read_requests(desk.log)
    key = (asked.merchant_id, asked.account_id, asked.number)
    assert key == (desk.shop.merchant_id, desk.shop.accounts["east"], "1")
    assert desk.log.stat().st_mode & 0o077 == 0
    with desk.log.open("ab") as file:
        file.write(b'{"merchant_id": 1, "acc')  # by a full disk
    assert read_requests(desk.log) == [asked]
