"""Link what the channel already has to what we have: exact keys, no guesses, never twice.

The stock code decides, then the barcode. Whatever could mean two things is reported and left alone.
A listing whose key has changed on the channel is closed and linked anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from meschain.channel.contract import OfferPage
from meschain.sync.listing.storefront import LISTINGS_PER_CHUNK, chunks, document

if TYPE_CHECKING:
    from meschain.channel.contract import ObservedOffer
    from meschain.channel.outcome import Problem
    from meschain.store.unit_of_work import UnitOfWork
    from meschain.sync.listing.storefront import Storefront


_AWAITED: Final = frozenset({"draft", "sent", "pending"})  # not expected on the channel yet


class Conflict(StrEnum):
    """Why a listing of theirs was left alone; the texts are in ``app/messages.toml``."""

    NO_KEY = "listing.conflict.no_key"
    TWO_OF_OURS = "listing.conflict.two_of_ours"
    TWO_OF_THEIRS = "listing.conflict.two_of_theirs"
    OTHER_BARCODE = "listing.conflict.other_barcode"
    LINKED_OTHERWISE = "listing.conflict.linked_otherwise"


@dataclass(frozen=True, slots=True)
class LinkConflict:
    """One of theirs and the SKUs of ours that it might mean."""

    reason: Conflict
    offer: ObservedOffer
    skus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OurVariant:
    """A variant with its open listing on the account, if it has one."""

    variant_id: int
    sku: str
    barcode: str | None
    listing_id: int | None = None
    state: str | None = None
    push_key: str | None = None


@dataclass(slots=True)
class Matching:
    """Theirs beside ours. ``moved``: linked already, but now under another key."""

    links: list[tuple[OurVariant, ObservedOffer]] = field(default_factory=list)
    moved: list[tuple[OurVariant, ObservedOffer]] = field(default_factory=list)
    known: list[tuple[OurVariant, ObservedOffer]] = field(default_factory=list)
    conflicts: list[LinkConflict] = field(default_factory=list)
    theirs_only: list[ObservedOffer] = field(default_factory=list)
    ours_only: list[str] = field(default_factory=list)


@dataclass(slots=True)
class LinkReport:
    """What a sweep found and linked.

    With a ``problem`` nothing was linked: half a sweep could hide the second of two. ``vanished``:
    SKUs with a listing that the channel no longer shows.
    """

    matching: Matching = field(default_factory=Matching)
    vanished: list[str] = field(default_factory=list)
    swept: int = 0
    problem: Problem | None = None


async def link_listings(storefront: Storefront) -> LinkReport:
    """Sweep the account and link it; a second run changes nothing but the time of the look."""
    report = LinkReport()
    offers: dict[str, ObservedOffer] = {}
    async for page in storefront.sweep():
        if not isinstance(page, OfferPage):
            report.problem = page
            return report
        for offer in page.offers:
            report.swept += 1
            key = storefront.push_key(offer.keys)
            if not key:
                report.matching.conflicts.append(LinkConflict(Conflict.NO_KEY, offer, ()))
                continue
            offers.setdefault(key, offer)  # pages shift while they are read
    async with storefront.database.merchant(storefront.merchant_id) as unit:
        rows = await unit.rows("listing.ours", storefront.key)
        ground = await unit.row(
            "catalog.ground", {"merchant": storefront.merchant_id, "location": None}
        )
    assert ground is not None
    ours = [OurVariant(*row) for row in rows]
    no_key, report.matching = report.matching.conflicts, match(offers, ours)
    report.matching.conflicts[:0] = no_key
    moved = {variant.sku for variant, _ in report.matching.moved}
    report.vanished = [
        variant.sku
        for variant in ours
        if variant.push_key
        and variant.push_key not in offers
        and variant.state not in _AWAITED
        and variant.sku not in moved
    ]
    await _store(storefront, report.matching, currency=ground[0])
    return report


def match(offers: dict[str, ObservedOffer], ours: Sequence[OurVariant]) -> Matching:
    """Theirs (by the key they take offers under) beside ours. Pure."""
    found = Matching()
    by_sku = {variant.sku: variant for variant in ours}
    by_barcode: dict[str, list[OurVariant]] = {}
    linked: dict[str, OurVariant] = {}
    for variant in ours:
        if variant.barcode:
            by_barcode.setdefault(bare(variant.barcode), []).append(variant)
        if variant.push_key:
            linked[variant.push_key] = variant
    candidates: dict[int, list[tuple[OurVariant, ObservedOffer]]] = {}
    for key, offer in offers.items():
        named = by_sku.get(offer.keys.stock_code)
        coded = by_barcode.get(bare(offer.keys.barcode), []) if offer.keys.barcode else []
        known = linked.get(key)
        if known is not None:
            found.known.append((known, offer))
            if named is not None and named is not known:
                skus = (known.sku, named.sku)
                found.conflicts.append(LinkConflict(Conflict.LINKED_OTHERWISE, offer, skus))
            continue
        reason, meant = _meant(offer, named, coded)
        if reason is not None:
            maybe = tuple(dict.fromkeys(variant.sku for variant in meant))
            found.conflicts.append(LinkConflict(reason, offer, maybe))
        elif meant:
            candidates.setdefault(meant[0].variant_id, []).append((meant[0], offer))
        else:
            found.theirs_only.append(offer)
    for pairs in candidates.values():
        _place(pairs, offers, found)
    listed = {variant.sku for variant, _ in (*found.links, *found.moved)}
    found.ours_only = [
        variant.sku for variant in ours if not variant.push_key and variant.sku not in listed
    ]
    return found


def _meant(
    offer: ObservedOffer, named: OurVariant | None, coded: Sequence[OurVariant]
) -> tuple[Conflict | None, Sequence[OurVariant]]:
    """The one variant an offer means (or none), or why that cannot be said."""
    if named is not None:
        if any(variant is not named for variant in coded):
            return Conflict.TWO_OF_OURS, (named, *coded)
        if offer.keys.barcode and named.barcode and not coded:
            return Conflict.OTHER_BARCODE, (named,)
        return None, (named,)
    if len(coded) > 1:
        return Conflict.TWO_OF_OURS, coded
    return None, coded


def _place(
    pairs: Sequence[tuple[OurVariant, ObservedOffer]],
    offers: dict[str, ObservedOffer],
    found: Matching,
) -> None:
    """Link a variant to the one offer that means it; several, or one beside its own, conflict."""
    variant, offer = pairs[0]
    is_elsewhere = variant.push_key is not None and (
        variant.push_key in offers or variant.state in _AWAITED
    )
    if len(pairs) > 1 or is_elsewhere:
        found.conflicts += [
            LinkConflict(Conflict.TWO_OF_THEIRS, each, (variant.sku,)) for _, each in pairs
        ]
    elif variant.push_key is not None:
        found.moved.append((variant, offer))
    else:
        found.links.append((variant, offer))


def bare(barcode: str) -> str:
    """A barcode without blanks: they are how it was typed, not what it says."""
    return "".join(barcode.split())


async def _store(storefront: Storefront, matching: Matching, *, currency: str) -> None:
    for part in chunks((*matching.moved, *matching.links), LISTINGS_PER_CHUNK):
        async with storefront.database.merchant(storefront.merchant_id) as unit:
            await _link(storefront, unit, part, currency)
    for known in chunks(matching.known, LISTINGS_PER_CHUNK):
        async with storefront.database.merchant(storefront.merchant_id) as unit:
            seen = [(_listing(variant), offer) for variant, offer in known]
            await _put_keys(storefront, unit, seen)
            await storefront.record(unit, seen, currency)


def _listing(variant: OurVariant) -> int:
    assert variant.listing_id is not None, "a known key has a listing"
    return variant.listing_id


async def _link(
    storefront: Storefront,
    unit: UnitOfWork,
    pairs: Sequence[tuple[OurVariant, ObservedOffer]],
    currency: str,
) -> None:
    at = storefront.at
    closing = [_listing(variant) for variant, _ in pairs if variant.push_key is not None]
    if closing:
        await unit.run("listing.close", at | {"listings": closing})
    keys = [storefront.push_key(offer.keys) for _, offer in pairs]
    await unit.run("listing.free_keys", at | {"keys": keys})
    rows = [{"variant_id": variant.variant_id, "state": "draft"} for variant, _ in pairs]
    cursor = await unit.run("listing.put", at | {"rows": document(rows)})
    listings: dict[int, int] = dict(await cursor.fetchall())
    seen = [(listings[variant.variant_id], offer) for variant, offer in pairs]
    await _put_keys(storefront, unit, seen)
    await storefront.record(unit, seen, currency)


async def _put_keys(
    storefront: Storefront, unit: UnitOfWork, seen: Iterable[tuple[int, ObservedOffer]]
) -> None:
    rows = [
        {
            "listing_id": listing_id,
            "push_key": storefront.push_key(offer.keys),
            "barcode": offer.keys.barcode,
            "stock_code": offer.keys.stock_code,
            "remote_id": offer.keys.remote_id,
            "group_id": offer.keys.group_id,
        }
        for listing_id, offer in seen
    ]
    await unit.run("listing.put_keys", storefront.key | {"rows": document(rows)})
