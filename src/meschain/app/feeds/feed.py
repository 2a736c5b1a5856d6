"""Feeds by their names: added, listed, removed."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from meschain.exchange import read_column_map

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

SOURCE: Final = "feed.source"


class FeedExists(ValueError):
    """The merchant has a feed of that name."""


class FeedUnknown(LookupError):
    """The merchant has no feed of that name."""


class FeedSourceWrong(ValueError):
    """Neither an http(s) address nor an absolute path."""


class FeedView(msgspec.Struct, frozen=True, kw_only=True):
    """A feed, and what keeps it from being taken in (``problem``: a message key).

    ``source`` is ``shown``.
    """

    name: str
    source: str
    every_s: int
    allows_private: bool
    next_due_at: datetime
    looked_at: datetime | None
    taken_at: datetime | None
    variants: int | None
    problem: str | None
    problem_params: dict[str, str | int] | None


def is_address(source: str) -> bool:
    """Whether it is fetched, and not read from the disk."""
    return source.startswith(("http://", "https://"))


def has_host(address: str) -> bool:
    """Whether an address names somebody to fetch from."""
    try:
        return bool(urlsplit(address).hostname)
    except ValueError:
        return False


async def sealed_source(keys: DataKeys, merchant_id: int, source: str) -> dict[str, object]:
    """The source as it is kept: an address sealed, for it may carry a key, and what is shown."""
    if not is_address(source):
        return {"source": source, "key_number": None, "source_sealed": None}
    number = await keys.current(merchant_id)
    sealed = keys.vault.seal(merchant_id, number, SOURCE, source.encode())
    return {"source": shown(source), "key_number": number, "source_sealed": sealed}


async def add_feed(
    database: Database,
    keys: DataKeys,
    clock: Clock,
    merchant_id: int,
    *,
    name: str,
    source: str,
    column_map: bytes,
    every_s: int,
    allows_private: bool,
    actor: str,
) -> None:
    """Keep it; the hub looks at it at once. Raises: FeedExists, FeedSourceWrong, FileRefused."""
    read_column_map(column_map)
    if not (has_host(source) if is_address(source) else Path(source).is_absolute()):
        raise FeedSourceWrong(shown(source))
    key: dict[str, object] = {"merchant": merchant_id, "now": clock.now()}
    about = {
        "name": name,
        **await sealed_source(keys, merchant_id, source),
        "column_map": column_map.decode("utf-8-sig"),
        "every_s": every_s,
        "allows_private": allows_private,
    }
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("feed.add", key | about)
        if row is None:
            raise FeedExists(name)
        facts = msgspec.json.encode({"name": name, "source": shown(source)}).decode()
        said = {"actor": actor, "action": "feed.add", "facts": facts}
        await unit.run("catalog.add_audit", key | said)


async def remove_feed(
    database: Database, clock: Clock, merchant_id: int, name: str, *, actor: str
) -> None:
    """Look at it no more; what it brought stays. Raises: FeedUnknown."""
    now = clock.now()
    key: dict[str, object] = {"merchant": merchant_id, "now": now}
    async with database.merchant(merchant_id) as unit:
        if await unit.row("feed.remove", key | {"name": name}) is None:
            raise FeedUnknown(name)
        gone = {"subject": subject(name), "but": "", "now_us": int(now.timestamp() * 1e6)}
        await unit.run("feed.end_problems", key | gone)
        facts = msgspec.json.encode({"name": name}).decode()
        said = {"actor": actor, "action": "feed.remove", "facts": facts}
        await unit.run("catalog.add_audit", key | said)


async def read_feeds(database: Database, merchant_id: int) -> list[FeedView]:
    """All feeds of the merchant, by name."""
    async with database.merchant(merchant_id) as unit:
        records = await unit.records("feed.list", {"merchant": merchant_id})
    # An address that is not sealed yet is kept as it was given.
    return [
        msgspec.convert(record | {"source": shown(str(record["source"]))}, FeedView)
        for record in records
    ]


def shown(source: str) -> str:
    """The source without what may be secret in it: user, password, query, fragment."""
    scheme, is_url, rest = source.partition("://")
    if not is_url:
        return source
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def subject(name: str) -> str:
    """What its problems are about, unique among alerts."""
    return f"feed {name}"
