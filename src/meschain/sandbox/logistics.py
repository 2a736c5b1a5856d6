"""The carrier: scans labels, takes parcels away, delivers most of them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from meschain.sandbox.world import Impossible, OrderChanged, Parcel, ParcelState, Shop, World

if TYPE_CHECKING:
    from meschain.sandbox.agenda import Agenda

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
# Shares and durations are assumed: the usual promise of Turkish carriers is one to three days.
_AWAY: Final = frozenset(
    {ParcelState.SHIPPED, ParcelState.AT_COLLECTION_POINT, ParcelState.UNDELIVERED}
)
# Where the carrier may bring a parcel that is on the road.
ROAD: Final = frozenset(
    {
        ParcelState.DELIVERED,
        ParcelState.UNDELIVERED,
        ParcelState.AT_COLLECTION_POINT,
        ParcelState.RETURNED,
    }
)


Duration = Annotated[float, msgspec.Meta(ge=0, le=10_000)]


@dataclass(frozen=True, slots=True)
class CarrierSettings:
    """Durations in economy time; shares are probabilities."""

    auto_pickup: bool = False  # fetches every parcel that is ready, without being handed it
    pickup_minutes: tuple[Duration, Duration] = (20.0, 180.0)
    delivery_hours: tuple[Duration, Duration] = (18.0, 72.0)
    undelivered_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    return_hours: tuple[Duration, Duration] = (24.0, 72.0)


class Carrier:
    """One carrier for all shops; a parcel's fate depends on the seed and its number alone."""

    def __init__(
        self, world: World, agenda: Agenda, *, seed: int, settings: CarrierSettings | None = None
    ) -> None:
        self._world = world
        self._agenda = agenda
        self._seed = seed
        self._tracking_numbers = itertools.count(1)
        self.settings = settings or CarrierSettings()
        self.counts: Counter[str] = Counter()
        world.subscribe(self._look)

    def configure(self, settings: CarrierSettings) -> None:
        """New settings; with automatic pick-up, what is ready now is fetched too."""
        was_automatic = self.settings.auto_pickup
        self.settings = settings
        if settings.auto_pickup and not was_automatic:
            for shop in self._world.shops:
                for parcel in shop.parcels.values():
                    self._fetch_when_ready(parcel)

    def scan(self, cargo_code: str) -> Parcel:
        """Take the parcel with this label away: shipped, with the carrier's own number.

        Raises Impossible: "unknown_code", "not_ready" (the seller has not got so far),
        "already_gone", "ended". Every scan is journalled, the refused ones with their reason.
        """
        parcel = self._world.parcel_labelled(cargo_code)
        reason = _why_not(parcel)
        if reason or parcel is None:
            self.counts["scans_refused"] += 1
            self._world.note_scan(parcel, cargo_code, refused=reason)
            raise Impossible(reason)
        self.counts["scans"] += 1
        self._world.note_scan(parcel, cargo_code)
        parcel.tracking_number = f"SK{next(self._tracking_numbers):010d}"
        self._world.advance(parcel, ParcelState.SHIPPED)
        draw = self._draw(parcel)
        fate = (
            ParcelState.UNDELIVERED
            if draw.random() < self.settings.undelivered_share
            else ParcelState.DELIVERED
        )
        self._agenda.after(
            draw.uniform(*self.settings.delivery_hours) * _HOUR_S,
            partial(self._arrive, parcel, fate),
        )
        return parcel

    def hand_over(self, cargo_code: str, *, after_minutes: float) -> None:
        """The seller put the parcel out; it is scanned in ``after_minutes`` of the economy."""
        self._agenda.after(after_minutes * _MINUTE_S, partial(self._try_scan, cargo_code))

    def bring(self, parcel: Parcel, state: ParcelState) -> None:
        """End (or interrupt) a parcel's journey now. Raises Impossible("not_on_the_road")."""
        assert state in ROAD
        if parcel.state not in _AWAY or parcel.state is state:
            raise Impossible("not_on_the_road")
        self.counts[state.value] += 1
        self._world.advance(parcel, state)

    def _draw(self, parcel: Parcel) -> random.Random:
        return random.Random(f"carrier:{self._seed}:{parcel.number}")  # noqa: S311 – a simulation, no secret

    def _look(self, change: OrderChanged) -> None:
        if self.settings.auto_pickup:
            self._fetch_when_ready(change.parcel)

    def _fetch_when_ready(self, parcel: Parcel) -> None:
        # Asked at the last step before the road only, so that one parcel is fetched once.
        if parcel.state is _last_step(parcel.order.shop):
            minutes = self._draw(parcel).uniform(*self.settings.pickup_minutes)
            self.hand_over(parcel.cargo_code, after_minutes=minutes)

    def _try_scan(self, cargo_code: str) -> None:
        parcel = self._world.find_parcel(cargo_code)
        if parcel is not None and not _why_not(parcel):  # else cancelled or split meanwhile
            self.scan(cargo_code)

    def _arrive(self, parcel: Parcel, fate: ParcelState) -> None:
        if parcel.state not in _AWAY:
            return  # someone ended the journey by hand
        if parcel.state is not fate:  # someone may have brought it there by hand, too
            self.bring(parcel, fate)
        if fate is ParcelState.UNDELIVERED:
            hours = self._draw(parcel).uniform(*self.settings.return_hours)
            self._agenda.after(hours * _HOUR_S, partial(self._arrive, parcel, ParcelState.RETURNED))


def _last_step(shop: Shop) -> ParcelState:
    """A marketplace without an invoiced state says so: ``shop.facts["ships_from"] = "picking"``."""
    from_picking = shop.facts.get("ships_from") == ParcelState.PICKING.value
    return ParcelState.PICKING if from_picking else ParcelState.INVOICED


def _why_not(parcel: Parcel | None) -> str:
    if parcel is None:
        return "unknown_code"
    if parcel.state in {ParcelState.INVOICED, _last_step(parcel.order.shop)}:
        return ""
    if parcel.state in {ParcelState.AWAITING, ParcelState.CREATED, ParcelState.PICKING}:
        return "not_ready"
    return "already_gone" if parcel.state in _AWAY | ROAD else "ended"
