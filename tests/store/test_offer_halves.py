"""A request refused as a whole: told again in halves, down to the one that is to blame."""

from __future__ import annotations

from typing import Any

import pytest

from meschain.testing.shop import NOW_US, Shop
from tests.store.test_offer_protocol import AGAIN, DONE, REFUSED, SECOND, UNKNOWN, Lane

HALVES = 5
MANY = 1_000


@pytest.fixture
def eight(shop: Shop) -> Lane:
    """Eight SKUs of which a unit each was sold elsewhere: S0 to S7, in the order of their ids."""
    skus = [f"S{number}" for number in range(8)]
    for sku in skus:
        shop.variant(sku, on_hand=10)
    account_id = shop.account("shelf")
    shop.list_on("shelf", skus)
    shop.move(dict.fromkeys(skus, -1), "adjustment")
    return Lane(shop, account_id)


def requests(rows: list[tuple[Any, ...]]) -> dict[int, set[int]]:
    """Listings by ticket."""
    found: dict[int, set[int]] = {}
    for ticket, _, _, listing, *_ in rows:
        found.setdefault(ticket, set()).add(listing)
    return found


def refusals(lane: Lane) -> list[tuple[Any, ...]]:
    return lane.connection.execute(
        "SELECT listing_id, is_alone FROM offer_refusal WHERE merchant_id = %s ORDER BY 1",
        (lane.shop.merchant_id,),
    ).fetchall()


def tell(lane: Lane, culprits: set[int], *, batch: int = 8, limit: int = MANY) -> list[int]:
    """Claim and answer until nothing is left; sizes of the requests in their order."""
    sizes: list[int] = []
    for _ in range(50):
        told = requests(lane.claim(batch=batch, limit=limit))
        for ticket, listings in told.items():
            sizes.append(len(listings))
            is_bad = bool(listings & culprits)
            whole = HALVES if len(listings) > 1 else REFUSED
            lane.end(ticket, whole if is_bad else DONE)
        if not told:
            return sizes
    raise AssertionError("it never ends")


def test_one_bad_item_is_found_and_all_others_are_told(eight: Lane) -> None:
    bad = eight.shop.listings["shelf", "S5"]
    assert tell(eight, {bad}) == [8, 4, 4, 2, 2, 1, 1]
    assert refusals(eight) == [(bad, True)]
    assert eight.dirty() == []
    for number in range(8):
        quantity, *_ = eight.acknowledged(f"S{number}", "shelf")
        assert quantity == (10 if number == 5 else 9)


def test_even_where_all_are_bad_it_ends(eight: Lane) -> None:
    everything = set(eight.shop.listings.values())
    assert sorted(tell(eight, everything)) == [1] * 8 + [2] * 4 + [4] * 2 + [8]
    assert [listing for listing, _ in refusals(eight)] == sorted(everything)


def test_the_one_to_blame_goes_by_itself_from_then_on(eight: Lane) -> None:
    bad = eight.shop.listings["shelf", "S5"]
    tell(eight, {bad})
    eight.shop.move({f"S{number}": -1 for number in range(8)}, "adjustment")
    assert sorted(tell(eight, {bad})) == [1, 7]
    eight.shop.move({f"S{number}": -1 for number in range(8)}, "adjustment")
    assert sorted(tell(eight, set())) == [1, 7]  # what was wrong with it is mended
    assert refusals(eight) == []
    eight.shop.move({f"S{number}": -1 for number in range(8)}, "adjustment")
    assert tell(eight, set()) == [8]


@pytest.mark.parametrize("verdict", [AGAIN, UNKNOWN])
def test_a_half_that_did_not_arrive_stays_a_half(eight: Lane, verdict: int) -> None:
    """Thrown back among the others it would begin anew, for ever."""
    [whole] = requests(eight.claim(batch=8))
    eight.end(whole, HALVES)
    halves = requests(eight.claim(batch=8))
    for ticket in halves:
        eight.end(ticket, verdict)
    assert sorted(map(sorted, requests(eight.claim(batch=8)).values())) == sorted(
        map(sorted, halves.values())
    )


def test_a_sale_meanwhile_goes_out_with_its_half(eight: Lane) -> None:
    [whole] = requests(eight.claim(batch=8))
    eight.shop.move({"S0": -1}, "adjustment")
    eight.end(whole, HALVES)
    told = eight.claim(batch=8, now_us=NOW_US + 5 * SECOND)
    assert sorted(len(listings) for listings in requests(told).values()) == [4, 4]
    first = eight.shop.listings["shelf", "S0"]
    assert [row[5] for row in told if row[3] == first] == [8]


def test_no_more_requests_are_begun_than_the_lane_asked_for(eight: Lane) -> None:
    eight.connection.execute("UPDATE offer_dirty SET listings_max = 1")
    [[alone]] = requests(eight.claim(batch=8, limit=8)).values()
    assert [listing for listing, *_ in eight.dirty()] == sorted(
        set(eight.shop.listings.values()) - {alone}
    )
    assert len(requests(eight.claim(batch=8, limit=16))) == 2
    rest = eight.connection.execute("SELECT DISTINCT listings_max FROM offer_dirty").fetchall()
    assert rest == [(1,)]


def test_halves_and_what_is_new_do_not_share_a_request(eight: Lane) -> None:
    """Another batch must not be refused for what is wrong with this one."""
    [whole] = requests(eight.claim(batch=4, limit=4))
    eight.end(whole, HALVES)
    sizes = sorted(len(each) for each in requests(eight.claim(batch=4, limit=MANY)).values())
    assert sizes == [2, 2, 4]
