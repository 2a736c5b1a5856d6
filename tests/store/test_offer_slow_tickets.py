"""Tickets that end late, overlap, get stuck and are applied after all: nothing older comes back."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from meschain.testing.shop import NOW_US, Shop
from tests.store.test_offer_protocol import AGAIN, DONE, REFUSED, SECOND, UNKNOWN, Lane

APPLY_US = 60 * SECOND  # the marketplace applies nothing later than this after its ticket was ended
TURNS = 60


@dataclass
class Slow:
    """A marketplace with one shelf that applies what it took in any order, and says so late."""

    lane: Lane
    draw: random.Random
    now_us: int = NOW_US + SECOND
    shelf: int = 10
    taken: dict[int, int] = field(default_factory=dict)  # ticket under way → quantity
    applied: set[int] = field(default_factory=set)
    haunting: list[int] = field(default_factory=list)  # given up by us, still to be applied
    revision: int = 0
    is_kind: bool = False  # nothing is lost or refused any more

    def sell(self) -> None:
        """Somewhere else; or goods come in."""
        self.lane.shop.move({"A": self.draw.choice((-2, -1, -1, 1))}, "adjustment")

    def claim(self) -> None:
        for row in self.lane.claim(now_us=self.now_us):
            ticket, quantity = row[0], row[5]
            if quantity is None:
                continue
            if (
                not self.is_kind and self.draw.random() < 0.2
            ):  # the answer is lost: nobody knows whether it arrived
                if self.draw.random() < 0.5:
                    self.haunting.append(quantity)
                self.end(ticket, UNKNOWN)
            else:
                self.lane.accept(ticket, at_us=self.now_us)
                self.taken[ticket] = quantity

    def apply(self) -> None:
        waiting = sorted(set(self.taken) - self.applied)
        if waiting:
            ticket = self.draw.choice(waiting)
            self.shelf = self.taken[ticket]
            self.applied.add(ticket)

    def haunt(self) -> None:
        if self.haunting:
            self.shelf = self.haunting.pop(self.draw.randrange(len(self.haunting)))

    def tell(self) -> None:
        known = sorted(self.applied & set(self.taken) if self.is_kind else self.taken)
        if not known:
            return
        ticket = self.draw.choice(known)
        quantity = self.taken.pop(ticket)
        if ticket in self.applied:
            sent = self.number(
                "SELECT revision FROM offer_inflight WHERE field = 1 AND ticket_id = %s", ticket
            )
            before = self.lane.acknowledged("A", "shelf")
            self.end(ticket, DONE)
            if sent < before[1]:  # a newer value is acknowledged already
                assert self.lane.acknowledged("A", "shelf") == before
            return
        verdict = self.draw.choice((REFUSED, AGAIN, UNKNOWN))
        if verdict == UNKNOWN and self.draw.random() < 0.5:
            self.haunting.append(quantity)
        self.end(ticket, verdict)

    def end(self, ticket: int, verdict: int) -> None:
        self.lane.end(
            ticket,
            verdict,
            released_us=self.now_us,
            now_us=self.now_us,
            recheck_us=self.now_us + 3 * SECOND,
            final_us=self.now_us + APPLY_US,
        )

    def look(self) -> None:
        fields = [row[1] for row in self.lane.unsettled() if row[2] <= self.now_us]
        if not fields:
            return
        both = len(fields)
        self.lane.connection.execute(
            "SELECT settle_observed(%s, %s, %s::bigint[], %s::smallint[], %s::integer[],"
            " %s::bigint[], %s::bigint[], %s, %s)",
            (
                self.lane.shop.merchant_id,
                self.lane.account_id,
                [self.lane.shop.listings["shelf", "A"]] * both,
                fields,
                [self.shelf] * both,
                [10_000] * both,  # prices are only told beside quantities here
                [10_000] * both,
                self.now_us,
                self.now_us,
            ),
        )

    def turn(self) -> None:
        acts = [self.claim, self.apply, self.tell, self.look]
        if not self.is_kind:
            acts += [self.sell, self.haunt]
        self.draw.choice(acts)()
        self.now_us += self.draw.randrange(1, 4 * SECOND)
        revision = int(self.lane.acknowledged("A", "shelf")[1])
        assert revision >= self.revision
        self.revision = revision

    def wanted(self) -> int:
        listing = self.lane.shop.listings["shelf", "A"]
        return self.number(
            "SELECT quantity FROM offer_desired_quantity WHERE listing_id = %s", listing
        )

    def number(self, statement: str, key: int) -> int:
        row: tuple[Any, ...] | None = self.lane.connection.execute(statement, (key,)).fetchone()
        assert row is not None
        return int(row[0])

    def is_at_rest(self) -> bool:
        return not (self.taken or self.lane.dirty() or self.lane.unsettled())


@pytest.mark.parametrize("seed", [*range(12), 25, 33, 47])
def test_however_late_and_mixed_up_the_shelf_ends_as_it_should(shop: Shop, seed: int) -> None:
    shop.variant("A", on_hand=500)
    account_id = shop.account("shelf")
    shop.list_on("shelf", ["A"])
    slow = Slow(Lane(shop, account_id), random.Random(seed), shelf=500)  # noqa: S311 – no secret
    for _ in range(TURNS):
        slow.turn()
    # A last sale, so that what was refused has new input; what still lingers is applied.
    slow.sell()
    slow.is_kind = True
    while slow.haunting:
        slow.haunt()
    for _ in range(1_000):
        if slow.is_at_rest():
            break
        slow.turn()
    assert slow.is_at_rest(), (slow.lane.dirty(), slow.lane.unsettled(), slow.taken)
    quantity, *_ = slow.lane.acknowledged("A", "shelf")
    assert (slow.shelf, quantity) == (slow.wanted(), slow.wanted())
    assert slow.lane.connection.execute("SELECT * FROM offer_refusal").fetchall() == []


def test_a_look_that_is_stored_when_all_is_settled_changes_nothing(shop: Shop) -> None:
    """Its process slept through its lease, and somebody else has looked and told since."""
    shop.variant("A", on_hand=10)
    lane = Lane(shop, shop.account("shelf"))
    shop.list_on("shelf", ["A"])

    def look(quantity: int, observed_us: int) -> None:
        lane.connection.execute(
            "SELECT settle_observed(%s, %s, %s::bigint[], '{1}', %s::integer[], '{null}',"
            " '{null}', %s, %s)",
            (
                shop.merchant_id,
                lane.account_id,
                [shop.listings["shelf", "A"]],
                [quantity],
                observed_us,
                NOW_US + 99 * SECOND,
            ),
        )

    shop.move({"A": 5})
    lane.end(lane.claim()[0][0], UNKNOWN, final_us=NOW_US)
    look(15, NOW_US + 20 * SECOND)
    assert lane.unsettled() == []
    shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], DONE)
    shop.move({"A": -4}, "adjustment")
    look(10, NOW_US + 10 * SECOND)  # as it stood before all that
    assert lane.acknowledged("A", "shelf")[0] == 14
    assert [row[5] for row in lane.claim(now_us=NOW_US + 100 * SECOND)] == [10]
