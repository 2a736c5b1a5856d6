"""One bad item does not stop the others of its request – on a façade that refuses it as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from meschain.registry import Marketplace
from meschain.sync import lane
from meschain.sync.account import ServedAccount
from meschain.sync.lane import REFUSALS_MAX
from meschain.sync.plan import TicketVerdict, Verdict
from meschain.testing.shop import NOW_US
from meschain.testing.trade import Trade, trading

WEST = "n11"
SKUS = [f"S{number:02}" for number in range(16)]
BAD = "S11"
FACADE = {WEST: {"price_rule": "reject"}}


async def reprice(trade: Trade, *, bad: str = "") -> None:
    """All prices fall; the list price of ``bad`` has more digits than N11 takes."""
    await trade.write(
        "UPDATE variant SET sale_price_minor = sale_price_minor - 1000, list_price_minor ="
        " CASE sku WHEN %s THEN 100000000000000 ELSE sale_price_minor - 1000 END",
        bad,
    )
    await trade.write(
        "SELECT refresh_desired_price(%s, array_agg(variant_id), %s) FROM variant",
        trade.shop.merchant_id,
        NOW_US,
    )


async def test_the_refusal_is_shown_only_where_it_belongs(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    async with trading(database_url, tmp_path, markets=markets, skus=SKUS, facade=FACADE) as trade:
        await reprice(trade, bad=BAD)
        listing = trade.shop.listings[WEST, BAD]
        refused = "SELECT listing_id, words FROM offer_refusal WHERE account_id = %s"

        def is_told() -> bool:
            return trade.rows(refused, trade.accounts[WEST]) != [] and all(
                trade.shelf(WEST, sku).sale_minor == (10_000 if sku == BAD else 9_000)
                for sku in SKUS
            )

        await trade.until(is_told)
        [(found, words)] = trade.rows(refused, trade.accounts[WEST])
        assert found == listing
        assert BAD in str(words)
        assert trade.rows("SELECT 1 FROM offer_dirty WHERE listings_max IS NOT NULL") == []
        # Mended, it is told like all others.
        await reprice(trade)
        await trade.until(lambda: trade.shelf(WEST, BAD).sale_minor == 8_000)
        assert trade.net_found() == 0


async def test_where_nothing_is_taken_the_halves_end(trade: Trade) -> None:
    account: ServedAccount = trade.served(WEST)
    verdicts = []
    for _ in range(REFUSALS_MAX + 1):
        judged = TicketVerdict(Verdict.HALVES)
        lane.doubt_halves(account, judged)
        verdicts.append(judged.verdict)
    assert verdicts == [Verdict.HALVES] * REFUSALS_MAX + [Verdict.REFUSED]
    lane.doubt_halves(account, TicketVerdict(Verdict.DONE))
    assert account.refusals == 0
