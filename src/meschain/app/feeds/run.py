"""One look at a feed: fetched, compared, and taken in unless it looks wrong as a whole."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.import_products import (
    ImportBusy,
    ImportOptions,
    apply_import,
    plan_import,
    terms_hash,
)
from meschain.app.feeds.feed import SOURCE, FeedUnknown, is_address, sealed_source, subject
from meschain.channel.clock import microseconds
from meschain.channel.fetch import FetchFailed, Validators, fetch
from meschain.domain.money import Money
from meschain.exchange import FileRefused, ReadingOptions, read_catalog, read_column_map
from meschain.messages import Catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.app.commands.import_products import ImportPlan, Updated
    from meschain.channel.clock import Clock
    from meschain.exchange import CatalogReading
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

# Chosen, not measured: a supplier's range changes by some per cent a day, prices by some tenths.
LOST_PERCENT_MAX: Final = 30
JUMP_PERCENT: Final = 50
JUMPS_PERCENT_MAX: Final = 5
# Another import of 100,000 products takes half a minute; longer than this is not waited for.
BUSY_LOOK_S: Final = 2.0
BUSY_S_MAX: Final = 600.0


class LookState(StrEnum):
    """What came of a look."""

    TAKEN = "taken"
    PLANNED = "planned"
    UNCHANGED = "unchanged"  # the feed is what was taken in last
    HELD = "held"  # it looks wrong as a whole, so somebody is asked
    FAILED = "failed"


class Hold(StrEnum):
    """Why nothing was taken in: the kinds of alerts, whose texts are in ``messages.toml``."""

    FETCH = "alert.feed.fetch"  # feed, detail
    FILE = "alert.feed.file"  # feed, detail
    ROWS = "alert.feed.rows"  # feed, before, after
    PRICES = "alert.feed.prices"  # feed, count, total


@dataclass(frozen=True, slots=True)
class FeedLook:
    """A look at a feed; ``plan`` is what it did, or would do."""

    state: LookState
    plan: ImportPlan | None = None
    import_id: int | None = None
    hold: Hold | None = None
    params: Mapping[str, str | int] | None = None


@dataclass(frozen=True, slots=True)
class _Feed:
    feed_id: int
    name: str
    source: str = field(repr=False)
    column_map: str
    allows_private: bool
    known: Validators
    content_hash: bytes | None
    variants: int | None


@dataclass(frozen=True, slots=True)
class _Fetched:
    path: Path
    validators: Validators
    content_hash: bytes


async def look_at_feed(
    database: Database,
    keys: DataKeys,
    clock: Clock,
    merchant_id: int,
    name: str,
    *,
    actor: str,
    is_plan: bool = False,
    allows_large: bool = False,
    waits: bool = False,
) -> FeedLook:
    """Take in what differs, or with ``is_plan`` only say it. ``allows_large``: somebody looked.

    ``waits``: for the end of another import of the merchant, up to ``BUSY_S_MAX``. What fails or is
    held back is kept as an alert and changes nothing. Raises: FeedUnknown, ImportBusy,
    LocationUnknown, VaultLocked.
    """
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("feed.one", key | {"name": name})
        about = await unit.row("catalog.ground", key | {"location": None})
        skus = await unit.rows("stock.skus", key)
    if row is None:
        raise FeedUnknown(name)
    assert about is not None
    feed_id, source, key_number, sealed, column_map, allows_private, etag, modified, *rest = row
    content_hash, variants = rest
    if sealed is not None:
        source = (await keys.open(merchant_id, key_number, SOURCE, bytes(sealed))).decode()
    elif is_address(source):
        kept = await sealed_source(keys, merchant_id, source)
        async with database.merchant(merchant_id) as unit:
            await unit.run("feed.seal", key | kept | {"feed": feed_id})
    feed = _Feed(
        *(feed_id, name, source, column_map, allows_private, Validators(etag, modified)),
        *(bytes(content_hash) if content_hash else None, variants),
    )
    options = ReadingOptions(
        today=clock.now().date(),
        currency=about[0],
        language=about[1],
        known_skus=frozenset(str(each[0]) for each in skus),
        column_map=read_column_map(column_map.encode()),
    )
    look = _Look(database, clock, merchant_id, feed, options, actor, is_plan, allows_large, waits)
    with tempfile.TemporaryDirectory(prefix="meschain-feed-") as folder:
        found = await look.at(Path(folder) / "feed")
    if not is_plan:
        await look.keep(found, Catalog.load(about[1]))
    return found


@dataclass(slots=True)
class _Look:
    database: Database
    clock: Clock
    merchant_id: int
    feed: _Feed
    options: ReadingOptions
    actor: str
    is_plan: bool
    allows_large: bool
    waits: bool
    fetched: _Fetched | None = None

    async def at(self, target: Path) -> FeedLook:
        """Fetch, compare, judge, take in."""
        try:
            self.fetched = await self._fetch(target)
            if self.fetched is None or self.fetched.content_hash == self.feed.content_hash:
                return FeedLook(LookState.UNCHANGED)
            until_s = self.clock.monotonic_s() + BUSY_S_MAX
            while True:
                try:
                    return await self._take()
                except ImportBusy:
                    if not self.waits or self.clock.monotonic_s() > until_s:
                        raise
                await self.clock.sleep(BUSY_LOOK_S)
        except FetchFailed as failed:
            return self._failed(Hold.FETCH, failed.reason, failed.params)
        except FileRefused as refused:
            return self._failed(Hold.FILE, refused.reason, refused.params)
        except OSError as lost:
            return self._failed(Hold.FETCH, "feed.fetch.disk", {"words": lost.strerror or "–"})

    async def _take(self) -> FeedLook:
        """Compare, judge, take in. Raises: ImportBusy, FileRefused, OSError."""
        plan = await plan_import(self.database, self.merchant_id, await self._read(), self._about())
        hold = None if self.allows_large else self._doubt(plan)
        if hold is not None:
            return replace(hold, plan=plan)
        if self.is_plan:
            return FeedLook(LookState.PLANNED, plan)
        done = await apply_import(
            self.database, self.clock, self.merchant_id, await self._read(), self._about()
        )
        return FeedLook(LookState.TAKEN, done.plan, done.import_id)

    def _failed(self, hold: Hold, reason: str, params: Mapping[str, str]) -> FeedLook:
        return FeedLook(LookState.FAILED, hold=hold, params={**params, "reason": reason})

    async def _fetch(self, target: Path) -> _Fetched | None:
        feed = self.feed
        path, validators = target, Validators()
        if is_address(feed.source):
            answered = await fetch(
                feed.source, target, feed.known, allows_private=feed.allows_private
            )
            if answered is None:
                return None
            validators = answered
        else:
            path = Path(feed.source)
            if not path.is_file():  # a device or pipe may have no end
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return _Fetched(path, validators, await asyncio.to_thread(_fingerprint, path, feed))

    async def _read(self) -> CatalogReading:
        assert self.fetched is not None
        return await asyncio.to_thread(read_catalog, self.fetched.path, self.options)

    def _about(self) -> ImportOptions:
        assert self.fetched is not None
        return ImportOptions(
            actor=self.actor,
            file_name=self.feed.name,
            file_hash=self.fetched.content_hash,
            terms_hash=terms_hash(self.options),
        )

    def _doubt(self, plan: ImportPlan) -> FeedLook | None:
        """Whether so much is gone, or so many prices jump, that it is more likely a mistake."""
        before, after = self.feed.variants, plan.variants
        if before and after * 100 < before * (100 - LOST_PERCENT_MAX):
            return FeedLook(
                LookState.HELD, hold=Hold.ROWS, params={"before": before, "after": after}
            )
        count = sum(_jumps(each) for each in plan.updated)
        if count * 100 > after * JUMPS_PERCENT_MAX:
            return FeedLook(
                LookState.HELD, hold=Hold.PRICES, params={"count": count, "total": after}
            )
        return None

    async def keep(self, found: FeedLook, words: Catalog) -> None:
        """What became of it, for whoever asks, and as an alert where somebody is needed."""
        now = self.clock.now()
        feed = self.feed
        key: dict[str, object] = {
            "merchant": self.merchant_id,
            "feed": feed.feed_id,
            "now": now,
            "now_us": microseconds(now),
            "subject": subject(feed.name),
        }
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("feed.looked", key)
            await unit.run("feed.end_problems", key | {"but": found.hold or ""})
            if found.hold is not None:
                params = {"feed": feed.name, **_said(found.params or {}, words)}
                raised = {"kind": found.hold, "params": msgspec.json.encode(params).decode()}
                await unit.run("feed.raise_problem", key | raised)
            if found.state is LookState.TAKEN:
                assert self.fetched is not None
                assert found.plan is not None
                taken = {
                    "etag": self.fetched.validators.etag,
                    "last_modified": self.fetched.validators.last_modified,
                    "content_hash": self.fetched.content_hash,
                    "variants": found.plan.variants,
                }
                await unit.run("feed.taken", key | taken)


def _said(params: Mapping[str, str | int], words: Catalog) -> dict[str, str | int]:
    """An alert's parameters; the reason of a failure becomes a sentence in the shop's language."""
    if "reason" not in params:
        return dict(params)
    reason = str(params["reason"])
    return {"detail": words.text(reason, **{k: v for k, v in params.items() if k != "reason"})}


def _jumps(updated: Updated) -> bool:
    for change in updated.changes:
        if not isinstance(change.before, Money) or change.field == "cost":
            continue
        if not isinstance(change.after, Money) or change.after.currency != change.before.currency:
            continue
        moved = abs(change.after.minor - change.before.minor)
        if moved * 100 > change.before.minor * JUMP_PERCENT:
            return True
    return False


def _fingerprint(path: Path, feed: _Feed) -> bytes:
    """Of the feed and its map: with another map the same feed is to be taken in anew."""
    with path.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256").digest()
    return hashlib.sha256(content + feed.column_map.encode()).digest()
