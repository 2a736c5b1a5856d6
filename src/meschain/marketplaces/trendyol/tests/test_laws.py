"""Laws that hold for any input: money conserves, bodies keep every digit, parsing never raises."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meschain.channel.contract import OfferPush
from meschain.channel.http import HttpReply
from meschain.domain.money import Money
from meschain.domain.order import PackageState
from meschain.marketplaces.trendyol import wire
from meschain.marketplaces.trendyol.mapping import offer, order, reply
from meschain.marketplaces.trendyol.tests.playback import sample

STATES = {"Created": PackageState.CREATED}
KURUS = st.integers(min_value=0, max_value=10**9)


def _lira(kurus: int) -> Decimal:
    return Decimal(kurus).scaleb(-2)


@given(st.lists(st.lists(KURUS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_payable_is_the_sum_of_what_the_units_cost(lines: list[list[int]]) -> None:
    row = json.loads(sample("packages"))["content"][0]
    total = _lira(sum(map(sum, lines)))
    row["lines"] = [
        row["lines"][0]
        | {
            "lineId": number,
            "quantity": len(units),
            "discountDetails": [{"lineItemPrice": _lira(unit)} for unit in units],
        }
        for number, units in enumerate(lines)
    ]
    row["packageTotalPrice"] = total
    raw = msgspec.json.Encoder(decimal_format="number").encode(row)
    observed, unread = order.orders([msgspec.Raw(raw)], STATES, order.SHIFT)
    assert not unread
    package = observed[0].packages[0]
    assert sum((line.payable for line in package.lines), Decimal(0)) == package.total == total


@given(st.integers(0, 20_000) | st.none(), st.tuples(KURUS, KURUS) | st.none())
def test_a_push_comes_back_from_its_body_to_the_last_kurus(
    quantity: int | None, prices: tuple[int, int] | None
) -> None:
    sale, listed = (Money(kurus, "TRY") for kurus in prices) if prices else (None, None)
    push = OfferPush("8680000000011", quantity, list_price=listed, sale_price=sale)
    body = wire.encode(wire.Items(items=[offer.offer_item(push)]))
    seen = msgspec.json.decode(body, type=dict[str, list[wire.OfferVariant]])["items"][0]
    assert seen.quantity == quantity
    assert seen.sale_price == (sale and sale.amount)
    assert seen.list_price == (listed and listed.amount)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["errors", "error", "message", "key", "exception", "title", "code"]), inner
    ),
    max_leaves=8,
)  # fmt: skip


@given(st.integers(300, 599), st.binary(max_size=20) | JSON.map(json.dumps))
def test_no_refusal_is_so_strange_that_it_raises(status: int, body: bytes | str) -> None:
    raw = body if isinstance(body, bytes) else body.encode()
    assert reply.problem_of(HttpReply(status, {}, raw)) is not None


FIELDS = sorted(json.loads(sample("packages"))["content"][0])


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_a_row_is_read_or_kept_whatever_its_fields_hold(changed: dict[str, object]) -> None:
    row = json.dumps(json.loads(sample("packages"))["content"][0] | changed).encode()
    observed, unread = order.orders([msgspec.Raw(row)], STATES, order.SHIFT)
    assert len(observed) + len(unread) == 1
    assert row in (observed[0].raw if observed else unread[0])


@given(st.text(alphabet=st.characters(categories=["L", "N"]), max_size=12))
def test_a_state_we_do_not_know_has_no_neutral_state(status: str) -> None:
    row = json.dumps(json.loads(sample("packages"))["content"][0] | {"status": status}).encode()
    observed, _ = order.orders([msgspec.Raw(row)], STATES, order.SHIFT)
    assert observed[0].packages[0].state is STATES.get(status)
    assert observed[0].packages[0].state_raw == status
