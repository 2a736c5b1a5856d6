"""The live figures: the world's journal and shelves beside the hub's own health."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from meschain.app.queries.health import read_status
from meschain.registry import marketplace
from meschain.sandbox.clock import epoch_us
from meschain.testing.checker import (
    Comparison,
    Percentiles,
    PropagationMeter,
    read_ledger,
    showings,
    starting_stock,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.app.queries.health import AccountView, StatusView
    from meschain.bootstrap import Hub
    from meschain.demo.screen import Screen
    from meschain.testing.checker import CheckedShop, Control

_RECENT_S: Final = 30.0
_SAMPLES: Final = 300  # of propagation, the latest
_SHELVES_EVERY_S: Final = 4.0
_BELOW: Final = ("propagation", "consistency", "faults")


@dataclass(slots=True)
class _Market:
    """What the world says of one marketplace; instants of its latest orders and refusals."""

    orders: int = 0
    refused: int = 0
    recent_us: deque[int] = field(default_factory=deque)


class Pulse:
    """Reads both sides every now and then; shows them as a table or as one line."""

    def __init__(
        self, hub: Hub, control: Control, merchant_id: int, shops: Sequence[CheckedShop]
    ) -> None:
        self._hub = hub
        self._control = control
        self._merchant_id = merchant_id
        self._shops = shops
        self._markets = {shop.marketplace: _Market() for shop in shops}
        self._meter: PropagationMeter | None = None
        self._journal_after = 0
        self._began_us = 0
        self._now_us = 0
        self._shelves_due_s = 0.0
        self._shelves = (0, 0)
        self._faults = 0
        self._status: StatusView | None = None

    async def begin(self) -> None:
        """Look at what stands before the first order."""
        entries = await self._control.journal()
        url = self._hub.settings.database_url
        ledger = await read_ledger(url, self._merchant_id, with_orders=False)
        stock = starting_stock(ledger, entries[0].at)[0] if entries else {}
        self._meter = PropagationMeter(showings(ledger, self._shops), stock)
        self._began_us = (await self._control.state()).at_us

    async def beat(self) -> None:
        """Read what is new."""
        assert self._meter is not None
        state = await self._control.state()
        self._now_us, self._faults = state.at_us, state.faults_injected
        entries = await self._control.journal(self._journal_after)
        self._meter.feed(entries)
        last_order = ""
        for entry in entries:
            self._journal_after = entry.number
            market = self._markets.get(entry.marketplace)
            if market is None:
                continue
            if entry.kind == "sale" and entry.facts["order"] != last_order:
                last_order = str(entry.facts["order"])
                market.orders += 1
                market.recent_us.append(epoch_us(entry.at))
            elif entry.kind == "refused":
                market.refused += 1
        for market in self._markets.values():
            while market.recent_us and market.recent_us[0] < self._now_us - _RECENT_S * 1_000_000:
                market.recent_us.popleft()
        self._status = await read_status(
            self._hub.database, self._hub.clock, self._merchant_id, self._hub.engine.accounts
        )
        if time.monotonic() >= self._shelves_due_s:
            await self._look_at_shelves()
            self._shelves_due_s = time.monotonic() + _SHELVES_EVERY_S

    async def _look_at_shelves(self) -> None:
        shelves = await self._control.shelves()
        url = self._hub.settings.database_url
        ledger = await read_ledger(url, self._merchant_id, with_orders=False)
        checked, differing = Comparison(ledger, self._shops).shelves(shelves)
        self._shelves = (checked - len({each.subject for each in differing}), checked)

    # — showing —

    def show(self, screen: Screen) -> None:
        """Put it on the screen."""
        assert self._status is not None
        assert self._meter is not None
        took = Percentiles.of_us(self._meter.samples_us[-_SAMPLES:])
        accounts = self._status.accounts
        params: dict[str, int | str] = {
            "orders": sum(market.orders for market in self._markets.values()),
            "rate": sum(map(self._rate, self._markets.values())),
            "p50": _number(screen, took.p50),
            "p99": _number(screen, took.p99),
            "backlog": self._status.backlog,
            "errors": sum(each.failures or 0 for each in accounts),
            "faults": self._faults,
            "equal": self._shelves[0],
            "checked": self._shelves[1],
            "refused": sum(market.refused for market in self._markets.values()),
        }
        screen.show(self._table(screen, params), screen.text("demo.pulse", **params))

    def _rate(self, market: _Market) -> int:
        """Orders a minute, of the latest half minute."""
        seconds = min(_RECENT_S, max(1.0, (self._now_us - self._began_us) / 1_000_000))
        return round(len(market.recent_us) * 60 / seconds)

    def _table(self, screen: Screen, params: dict[str, int | str]) -> Group:
        assert self._status is not None
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        columns = ("market", "rate", "orders", "refused", "backlog", "tickets", "hub", "errors")
        for name in columns:
            is_name = name == "market"
            table.add_column(
                screen.text(f"demo.table.{name}"),
                justify="left" if is_name else "right",
                no_wrap=is_name,
            )
        for account in self._status.accounts:
            market = self._markets.get(account.marketplace, _Market())
            table.add_row(
                marketplace(account.marketplace).manifest.identity.title,
                str(self._rate(market)),
                str(market.orders),
                str(market.refused),
                str(account.backlog),
                str(account.tickets_open),
                _milliseconds(account),
                str(account.failures or 0),
            )
        below = (Text(screen.text(f"demo.table.{name}", **params)) for name in _BELOW)
        return Group(table, *below)


def _number(screen: Screen, value: int | None) -> str:
    return "–" if value is None else screen.catalog.number(value)


def _milliseconds(account: AccountView) -> str:
    if account.hub is None or account.hub.p50_ms is None or account.hub.p99_ms is None:
        return "–"
    return f"{account.hub.p50_ms:.0f}/{account.hub.p99_ms:.0f}"
