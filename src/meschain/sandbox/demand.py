"""Buyers' demand: when they come, what they want, and when they change their minds.

Order number ``n`` is drawn from ``(seed, n)`` alone; which listing answers to a wish depends on
what stands on the shelves, so two worlds in the same state sell the same. All shares are assumed
and say so; they are settings.
"""

from __future__ import annotations

import random
import zlib
from bisect import insort
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from meschain.sandbox.world import (
    Impossible,
    Order,
    Parcel,
    ParcelState,
    ShelfState,
    Shop,
    World,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.sandbox.agenda import Agenda
    from meschain.sandbox.clock import SandboxClock
    from meschain.sandbox.people import People

# Relative demand by local hour and weekday (Monday first). Reported: most is bought on Mondays and
# Tuesdays and between 21 and 22 h (a large Turkish marketplace's figures for 2023, in Hürriyet
# Daily News, 2024-01-02). The rest of the shape is assumed: little at night, a plateau by day.
HOURS: Final = (
    *(75, 40, 20, 12, 10, 12, 20, 40, 70, 100, 120, 130),
    *(135, 130, 125, 125, 125, 125, 125, 135, 160, 185, 175, 131),
)
WEEKDAYS: Final = (108, 106, 101, 99, 97, 91, 98)
# Turkey has kept UTC+3 all year since September 2016.
TURKEY: Final = timezone(timedelta(hours=3))

_LINES: Final = ((1, 2, 3, 4), (70, 20, 7, 3))  # assumed
_UNITS: Final = ((1, 2, 3), (88, 9, 3))  # assumed
_TRIES: Final = 24  # listings a buyer looks at before leaving
_SHOPS_TRIED: Final = 4
_DAY_S: Final = 86_400
# Further behind than this the missed arrivals are forgone: a flood would follow instead.
_LAG_MAX_S: Final = 5.0


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]


@dataclass(frozen=True, slots=True)
class DemandSettings:
    """Rates and shares; durations in economy time. The limits hold for what comes from outside."""

    is_on: bool = False
    orders_per_day: Amount = 200.0  # of the economy, per shop that shows something
    orders_per_minute: Amount | None = None  # real minutes, all shops together; no shape then
    sold_out_share: Share = 0.02  # buyers who insist on something that is sold out
    seller_discount_share: Share = 0.20
    marketplace_discount_share: Share = 0.10
    held_share: Share = 0.05  # orders whose payment is checked first
    held_minutes: tuple[Amount, Amount] = (2.0, 30.0)
    held_fails_share: Share = 0.10
    cancel_share: Share = 0.04
    cancel_minutes_mean: Positive = 90.0
    cancel_whole_share: Share = 0.75
    micro_export_share: Share = 0.01
    orders_max: int = 1_000_000  # then nobody comes any more


def relative_demand(local: datetime) -> float:
    """Demand at this local time; its mean over a week is 1."""
    return HOURS[local.hour] * 24 / sum(HOURS) * WEEKDAYS[local.weekday()] * 7 / sum(WEEKDAYS)


PEAK: Final = max(HOURS) * 24 / sum(HOURS) * max(WEEKDAYS) * 7 / sum(WEEKDAYS)


class _Popularity:
    """A shop's listings from the most to the least wanted; the same goods everywhere."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ranked: list[tuple[int, str]] = []

    def follow(self, shop: Shop) -> None:
        """Take up listings that came since; begin anew when some went."""
        known = len(self._ranked)
        if len(shop.shelves) < known:
            self._ranked, known = [], 0
        if len(shop.shelves) > known:
            for shelf in islice(shop.shelves.values(), known, None):
                code = f"{self._seed}:{shelf.barcode or shelf.stock_code}"
                insort(self._ranked, (zlib.crc32(code.encode()), shelf.key))

    def pick(self, draw: random.Random) -> str:
        """A key: rank r with probability log((r+1)/r) / log(n+1), which is Zipf's law, 1/r."""
        rank = int((len(self._ranked) + 1) ** draw.random())
        return self._ranked[min(rank, len(self._ranked)) - 1][1]

    def __len__(self) -> int:
        return len(self._ranked)


class Demand:
    """Buyers who come by themselves."""

    def __init__(
        self,
        world: World,
        people: People,
        agenda: Agenda,
        *,
        seed: int,
        settings: DemandSettings | None = None,
    ) -> None:
        self._world = world
        self._clock: SandboxClock = world.clock
        self._people = people
        self._agenda = agenda
        self._seed = seed
        self._popularity: dict[int, _Popularity] = {}
        self._gaps = self._draw("arrivals")
        self._generation = 0  # arrivals planned under older settings are void
        self.drawn = 0
        self.counts: Counter[str] = Counter()
        self.settings = settings or DemandSettings()

    # — arrivals —
    def configure(self, settings: DemandSettings) -> None:
        """New settings, in force at once."""
        self.settings = settings
        self.restart()

    def restart(self) -> None:
        """Plan the next arrival anew (settings, the clock's factor or the shops changed)."""
        self._generation += 1
        if self.settings.is_on:
            self._plan_after(self._clock.economy_elapsed_s())

    def reset(self) -> None:
        """Begin the sequence of draws again; orders that stand, stand."""
        self.drawn = 0
        self.counts.clear()
        self._gaps = self._draw("arrivals")
        self.restart()

    def rate_per_s(self) -> float:
        """Arrivals per second of the economy that are drawn, before the hour thins them out."""
        if self.settings.orders_per_minute is not None:
            return self.settings.orders_per_minute / 60 / self._clock.factor
        shops = sum(1 for shop in self._world.shops if shop.shelves)
        return max(1, shops) * self.settings.orders_per_day / _DAY_S * PEAK

    def _plan_after(self, previous_s: float) -> None:
        rate = self.rate_per_s()
        if rate <= 0:
            return
        due_s = previous_s + self._gaps.expovariate(rate)
        self._agenda.at(due_s, partial(self._arrive, due_s, self._generation))

    def _arrive(self, due_s: float, generation: int) -> None:
        if generation != self._generation or self._world.orders_total >= self.settings.orders_max:
            return
        now_s = self._clock.economy_elapsed_s()
        if self._clock.economy_s(now_s - due_s) > _LAG_MAX_S:
            self.counts["arrivals_forgone"] += 1
            due_s = now_s
        self._plan_after(due_s)
        local = self._clock.economy_now().astimezone(TURKEY)
        if (
            self.settings.orders_per_minute is None
            and self._gaps.random() * PEAK >= relative_demand(local)
        ):
            return  # thinning: what remains of a steady stream follows the hour exactly
        self.draw_order()

    # — one buyer —
    def draw_order(self) -> Order | None:
        """The next buyer: their order, or None when they found nothing or were refused."""
        self.drawn += 1
        draw = self._draw(str(self.drawn))
        buyer = self._people.person(draw.randint(1, self._people.count))
        insists = draw.random() < self.settings.sold_out_share
        count = draw.choices(_LINES[0], _LINES[1])[0]
        held = draw.random() < self.settings.held_share
        exported = draw.random() < self.settings.micro_export_share
        shops = [shop for shop in self._world.shops if shop.shelves]
        for shop in draw.sample(shops, min(len(shops), _SHOPS_TRIED)):
            # Who insists and finds nothing sold out buys like everybody else.
            basket = self._fill(shop, draw, lines=1, insists=True) if insists else {}
            basket = basket or self._fill(shop, draw, lines=count, insists=False)
            if basket:
                break
        else:
            self.counts["found_nothing"] += 1
            return None
        carriers = shop.facts.get("carriers")
        held = held and shop.facts.get("holds_orders") is not False
        try:
            order = self._world.place_order(
                shop,
                basket,
                buyer,
                awaiting=held,
                seller_discounts_minor=self._discounts(
                    shop, basket, draw, self.settings.seller_discount_share, (5, 20)
                ),
                marketplace_discounts_minor=self._discounts(
                    shop, basket, draw, self.settings.marketplace_discount_share, (2, 10)
                ),
                carrier=draw.choice(carriers)
                if isinstance(carriers, (list, tuple)) and carriers
                else "Sandbox Kargo",
                desi=sum(basket.values()),
                micro_export=exported and shop.facts.get("micro_exports") is not False,
            )
        except Impossible as refusal:
            self.counts[f"refused_{refusal.reason}"] += 1
            return None
        self.counts["placed"] += 1
        self._plan_afterlife(order, held=held, draw=draw)
        return order

    def _fill(
        self, shop: Shop, draw: random.Random, *, lines: int, insists: bool
    ) -> dict[str, int]:
        popularity = self._popularity.setdefault(shop.number, _Popularity(self._seed))
        popularity.follow(shop)
        basket: dict[str, int] = {}
        for _ in range(_TRIES):
            if len(basket) == lines:
                break
            shelf = shop.shelves.get(popularity.pick(draw))
            if shelf is None or shelf.key in basket or shelf.state is not ShelfState.ON_SALE:
                continue
            if insists != (shelf.quantity < 1):
                continue
            units = draw.choices(_UNITS[0], _UNITS[1])[0]
            basket[shelf.key] = units if insists else min(units, shelf.quantity)
        return basket

    def _discounts(
        self,
        shop: Shop,
        basket: dict[str, int],
        draw: random.Random,
        share: float,
        percents: tuple[int, int],
    ) -> dict[str, tuple[int, ...]]:
        """Per unit in minor units: a line's discount need not divide by its units."""
        discounts: dict[str, tuple[int, ...]] = {}
        for key, units in basket.items():
            if draw.random() < share:
                line_minor = shop.shelves[key].sale_minor * units * draw.randint(*percents) // 100
                each, odd = divmod(line_minor, units)
                discounts[key] = tuple(each + (place < odd) for place in range(units))
        return discounts

    # — second thoughts —
    def _plan_afterlife(self, order: Order, *, held: bool, draw: random.Random) -> None:
        settings = self.settings
        if held:
            fails = draw.random() < settings.held_fails_share
            self._agenda.after(
                draw.uniform(*settings.held_minutes) * 60, partial(self.release, order, fails=fails)
            )
        if draw.random() < settings.cancel_share:
            seconds = draw.expovariate(1 / (settings.cancel_minutes_mean * 60))
            self._agenda.after(seconds, partial(self._change_mind, order, draw))

    def release(self, order: Order, *, fails: bool = False) -> int:
        """End the payment check: to the seller, or cancelled. How many parcels it concerned."""
        held = [parcel for parcel in order.parcels if parcel.state is ParcelState.AWAITING]
        for parcel in held:
            if fails:
                self.counts["payments_failed"] += 1
                self._world.cancel_units(
                    parcel, dict(parcel.units), by_seller=False, reason="payment_failed"
                )
            else:
                self.counts["payments_passed"] += 1
                self._world.advance(parcel, ParcelState.CREATED)
        return len(held)

    def _change_mind(self, order: Order, draw: random.Random) -> None:
        # Once the seller prepares a parcel a buyer must ask for a return instead (assumed of all).
        parcels = [
            p for p in order.parcels if p.state in {ParcelState.AWAITING, ParcelState.CREATED}
        ]
        if not parcels:
            self.counts["cancelled_too_late"] += 1
            return
        parcel = draw.choice(parcels)
        units = dict(parcel.units)
        if draw.random() >= self.settings.cancel_whole_share:
            units = _some(parcel, draw)
        self.counts["cancelled"] += 1
        self._world.cancel_units(parcel, units, by_seller=False, reason="buyer")

    def _draw(self, name: str) -> random.Random:
        return random.Random(f"demand:{self._seed}:{name}")  # noqa: S311 – a simulation, no secret


def _some(parcel: Parcel, draw: random.Random) -> dict[int, int]:
    """Some of a parcel's units, at least one, and not all where it holds several."""
    singles: Sequence[int] = [line_id for line_id, n in parcel.units.items() for _ in range(n)]
    return dict(Counter(draw.sample(singles, draw.randint(1, max(1, len(singles) - 1)))))
