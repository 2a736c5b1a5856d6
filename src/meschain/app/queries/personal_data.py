"""Buyers' personal data: whose it is, which of it has had its time, and what an erasure meets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.queries.order_detail import Person
from meschain.domain.text import fold
from meschain.sync.intake import PERSON

if TYPE_CHECKING:
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

BATCH: Final = 500  # orders a page, and a transaction
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_PHONE_DIGITS: Final = 10  # without the country: +90 532 … and 0532 … are one number

Progress = Callable[[int, int], None]


# — what has had its time —


class Term(msgspec.Struct, frozen=True):
    """How long an account keeps what it knows of buyers, from an order's last change on."""

    account_id: int
    account: str
    marketplace: str
    days: int


class AccountDue(msgspec.Struct, frozen=True, kw_only=True):
    """What an account holds beyond its term. ``open`` has not ended, whatever its age."""

    account: str
    days: int
    due: int
    open: int
    oldest_at: datetime | None


async def read_terms(database: Database, merchant_id: int) -> list[Term]:
    """Every account's, also of those that were removed."""
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows("personal_data.terms", {"merchant": merchant_id})
    return [Term(*row) for row in rows]


class Older(msgspec.Struct, frozen=True):
    """An order that was not touched within its account's term."""

    placed_at: datetime
    order_id: int
    has_ended: bool


async def older(
    database: Database, merchant_id: int, term: Term, now: datetime
) -> AsyncIterator[list[Older]]:
    """Orders that nobody has touched for the term, in pages, the oldest first."""
    after = Older(_FIRST, 0, has_ended=False)
    while True:
        params = {
            "merchant": merchant_id,
            "account": term.account_id,
            "before": now - timedelta(days=term.days),
            "after_at": after.placed_at,
            "after": after.order_id,
            "limit": BATCH,
        }
        async with database.merchant(merchant_id) as unit:
            page = [Older(*row) for row in await unit.rows("personal_data.older", params)]
        if page:
            yield page
        if len(page) < BATCH:
            return
        after = page[-1]


async def read_due(database: Database, merchant_id: int, now: datetime) -> list[AccountDue]:
    """What the next erasure by schedule would meet, by account."""
    found: list[AccountDue] = []
    for term in await read_terms(database, merchant_id):
        pages = [page async for page in older(database, merchant_id, term, now)]
        ended = [order.placed_at for page in pages for order in page if order.has_ended]
        found.append(
            AccountDue(
                account=term.account,
                days=term.days,
                due=len(ended),
                open=sum(map(len, pages)) - len(ended),
                oldest_at=min(ended, default=None),
            )
        )
    return found


class Asked(msgspec.Struct, frozen=True):
    """An order whose buyer asked, not erased yet."""

    order_id: int
    account_id: int
    number: str
    has_ended: bool


async def read_asked(database: Database, merchant_id: int) -> list[Asked]:
    """Those that wait for their end, and those that the next erasure meets."""
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows("personal_data.asked", {"merchant": merchant_id})
    return [Asked(*row) for row in rows]


# — whose it is —


@dataclass(frozen=True, slots=True)
class Wanted:
    """A buyer as somebody names them: by mail, telephone, any number of theirs, or by name."""

    text: str

    @property
    def is_name(self) -> bool:
        """Whether others may be called so, too."""
        return "@" not in self.text and not any(map(str.isdecimal, self.text))

    def is_of(self, person: Person) -> bool:
        """Whether the buyer or one of the addresses is meant."""
        buyer, text = person.buyer, self.text.strip()
        places = (buyer, person.shipping_address, person.invoice_address)
        if "@" in text:
            return fold(str(buyer.get("email", ""))) == fold(text)
        if not self.is_name:
            phone = _digits(text)
            if len(phone) == _PHONE_DIGITS and any(
                phone == _digits(str(place.get("phone", ""))) for place in places
            ):
                return True
            return any(buyer.get(name) == text for name in _NUMBERS)
        words = set(fold(text).split())
        named = (str(place.get(key, "")) for place in places for key in _NAMES)
        return bool(words) and any(words <= set(fold(each).split()) for each in named)


_NAMES: Final = ("full_name", "company_name", "company")
_NUMBERS: Final = ("external_id", "tax_number", "identity_number")


def _digits(text: str) -> str:
    """The last digits of what may be a telephone number."""
    return "".join(filter(str.isdecimal, text))[-_PHONE_DIGITS:]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An order as an erasure meets it. ``person`` None: erased, or never given."""

    order_id: int
    account_id: int
    account: str
    number: str
    placed_at: datetime
    erased_at: datetime | None
    has_ended: bool
    is_asked: bool
    person: Person | None = None


class FoundPast(msgspec.Struct, frozen=True):
    """A past order. All it has of its buyer is the customer's number."""

    source: str
    number: str
    placed_at: datetime
    erased_at: datetime | None


async def find_buyer(
    database: Database,
    keys: DataKeys,
    merchant_id: int,
    wanted: Wanted,
    on_progress: Progress = lambda _done, _total: None,
) -> list[Found]:
    """The orders of a buyer, and one of this number. Every sealed one is opened and looked at.

    Raises VaultLocked.
    """
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("personal_data.count_sealed", key)
    assert row is not None
    total, done, after = int(row[0]), 0, 0
    matching: list[int] = []
    while True:
        params = key | {"after": after, "limit": BATCH}
        async with database.merchant(merchant_id) as unit:
            rows = await unit.rows("personal_data.sealed", params)
        for order_id, key_number, sealed in rows:
            if wanted.is_of(await _opened(keys, merchant_id, key_number, bytes(sealed))):
                matching.append(order_id)
        done += len(rows)
        on_progress(done, total)
        if len(rows) < BATCH:
            break
        after = rows[-1][0]
    numbers = [wanted.text.strip()]
    return await read_found(database, keys, merchant_id, order_ids=matching, numbers=numbers)


async def read_found(
    database: Database,
    keys: DataKeys,
    merchant_id: int,
    *,
    order_ids: Sequence[int] = (),
    numbers: Sequence[str] = (),
    account_id: int | None = None,
) -> list[Found]:
    """These orders, the oldest first. Raises VaultLocked."""
    params = {
        "merchant": merchant_id,
        "orders": list(order_ids),
        "numbers": list(numbers),
        "account": account_id,
    }
    async with database.merchant(merchant_id) as unit:
        records = await unit.records("personal_data.orders", params)
    found: list[Found] = []
    for record in records:
        sealed, key_number = record.pop("person_sealed"), record.pop("key_number")
        if isinstance(sealed, bytes) and isinstance(key_number, int):
            record["person"] = await _opened(keys, merchant_id, key_number, sealed)
        found.append(msgspec.convert(record, Found))
    return found


async def _opened(keys: DataKeys, merchant_id: int, key_number: int, sealed: bytes) -> Person:
    plain = await keys.open(merchant_id, key_number, PERSON, sealed)
    return msgspec.json.decode(plain, type=Person)


async def read_past(
    database: Database, merchant_id: int, *, numbers: Sequence[str] = (), buyer: str = ""
) -> list[FoundPast]:
    """Past orders by their numbers, or by the customer's."""
    params = {"merchant": merchant_id, "numbers": list(numbers), "buyer": buyer}
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows("personal_data.past", params)
    return [FoundPast(*row) for row in rows]
