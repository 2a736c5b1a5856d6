"""Looks and sweeps cut off anywhere: what is open to doubt stays so until it is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from meschain.registry import Marketplace
from meschain.sync.audit import Audit
from meschain.sync.engine import EngineSettings
from meschain.sync.sweep import Sweeps, SweepSettings
from meschain.testing.trade import Trade, trading
from tests.simulated.cut_off import CutOff
from tests.simulated.package_desk import EAST, pulled

pytestmark = pytest.mark.slow  # each step of each kind is cut off once

STEPS_MAX = 60
RESTING = SweepSettings(round_s=3_600.0, first_s=3_600.0)  # the test looks, the engine does not
SOON = "UPDATE offer_conflict SET look_us = 0, first_us = first_us - 60000000"
CONFLICTS = "SELECT state, our_sale_minor, their_sale_minor FROM offer_conflict ORDER BY listing_id"
ASKED = "SELECT count(*)::int FROM event WHERE kind = 'conflict.ask'"


@pytest.fixture
async def trade(
    database_url: str,
    tmp_path: Path,
    markets: Mapping[str, Marketplace],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Trade]:
    settings = EngineSettings(sweeps=RESTING)
    async with trading(database_url, tmp_path, markets=markets, engine=settings) as opened:
        await opened.move({"A": 1, "B": 1, "C": 1})  # what was never told has no conflicts
        await opened.come_to_rest()
        # The prices too, as if they had been told.
        await opened.write(
            "UPDATE offer_acknowledged SET price_revision = greatest(price_revision, 1)"
        )

        async def nothing(*_: object) -> int:
            return 0

        monkeypatch.setattr(opened.hub.engine.audit, "settle", nothing)
        yield opened


async def test_a_look_that_is_cut_off_leaves_the_doubt(trade: Trade) -> None:
    audit = Audit(trade.hub.database, trade.hub.clock)
    account = trade.served(EAST)
    listing = trade.shop.listings[EAST, "A"]
    shelf = trade.shelf(EAST, "A")
    for at in range(1, STEPS_MAX):
        await trade.move({"A": 1})  # the very same body would be refused as a repetition
        await trade.until(lambda: shelf.quantity == trade.wanted(EAST, "A"))
        await trade.until(trade.is_at_rest)
        late = trade.wanted(EAST, "A") + 2
        trade.host.world.set_offer(trade.market(EAST), shelf, quantity=late, cause="late push")
        await trade.write(
            "INSERT INTO offer_unsettled (merchant_id, account_id, listing_id, field, recheck_us,"
            " since_us, reason) VALUES (%s, %s, %s, 1, 0, 0, 2)",
            trade.shop.merchant_id,
            account.account_id,
            listing,
        )
        work = CutOff(audit.settle(account), at)
        await work
        await audit.settle(account)
        await trade.until(lambda: shelf.quantity == trade.wanted(EAST, "A"))
        await trade.until(lambda: trade.number("SELECT count(*)::int FROM offer_dirty") == 0)
        await audit.settle(account)
        await trade.until(trade.is_at_rest)
        if not work.is_cut:
            assert at > 3
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("how", ["second look", "sweep"])
async def test_an_edit_is_asked_about_once_wherever_a_look_was_cut_off(
    trade: Trade, how: str
) -> None:
    account = trade.served(EAST)
    market, shelf = trade.market(EAST), trade.shelf(EAST, "B")
    ours = shelf.sale_minor
    settings = SweepSettings(round_s=0.0, first_s=0.0)

    def sweeps() -> Sweeps:
        audit = Audit(trade.hub.database, trade.hub.clock)
        return Sweeps(account, audit, trade.hub.database, trade.hub.clock, settings)

    for at in range(1, STEPS_MAX):
        asked = trade.number(ASKED)
        await trade.write("DELETE FROM sweep")
        trade.host.world.set_offer(
            market, shelf, list_minor=ours - at, sale_minor=ours - at, cause="panel"
        )
        if how == "second look":
            await sweeps().step()
            await trade.write(
                "UPDATE offer_conflict SET look_us = 0, first_us = first_us - 60000000"
            )
            work = CutOff(sweeps().look_again(), at)
        else:
            work = CutOff(sweeps().step(), at)
        await work
        for _ in range(10):
            if trade.number(ASKED) > asked:
                break
            await sweeps().step()
            await trade.write(
                "UPDATE offer_conflict SET look_us = 0, first_us = first_us - 60000000"
            )
            await pulled(trade, EAST)
            await sweeps().look_again()
        assert trade.rows(CONFLICTS) == [(2, ours, ours - at)], at
        assert trade.number(ASKED) == asked + 1
        await trade.write("DELETE FROM offer_conflict")
        if not work.is_cut:
            assert at > 3
            return
    raise AssertionError("it never ends")
