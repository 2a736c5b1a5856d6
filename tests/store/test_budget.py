"""Units of a shared quota that the database lends: never more than the quota, whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from meschain.channel.clock import SystemClock
from meschain.channel.pacing import Ask
from meschain.store.unit_of_work import Database
from meschain.sync.budget import StoredLender

Connection = psycopg.Connection[tuple[Any, ...]]
Borrow = Callable[..., tuple[int, int, int]]

SECOND = 1_000_000
NOW = 1_000_000_000 * SECOND
OCCUPIED = 10 * SECOND


@pytest.fixture
def borrow(connection: Connection) -> Borrow:
    connection.execute("SET ROLE meschain_engine")  # as processes do

    def ask(
        wanted: int,
        *,
        at_s: float = 0.0,
        last: int = 0,
        used: int = 0,
        budget: str = "x/egress_ip/catalog",
    ) -> tuple[int, int, int]:
        now_us = NOW + int(at_s * SECOND)
        row = connection.execute(
            "SELECT * FROM borrow_units(%s, 10, %s, %s, %s, %s, %s)",
            (budget, wanted, last, used, now_us, OCCUPIED),
        ).fetchone()
        assert row is not None
        loan, units, free_us = row
        return loan, units, (free_us - NOW) // SECOND

    return ask


def test_no_more_is_lent_than_is_free_until_loans_have_served_their_time(borrow: Borrow) -> None:
    assert borrow(2)[1:] == (2, 10)
    assert borrow(6, at_s=3)[1:] == (4, 13)  # half of the rest, for others
    assert [borrow(6, at_s=3)[1] for _ in range(3)] == [2, 1, 1]
    assert borrow(6, at_s=4) == (0, 0, 10)
    assert borrow(9, at_s=10)[1:] == (1, 20)
    assert borrow(1, at_s=10, budget="x/egress_ip/other")[1] == 1


def test_what_was_not_used_is_free_again_however_often_it_is_said(borrow: Borrow) -> None:
    loan, units, _ = borrow(5)
    assert units == 5
    second, units, _ = borrow(9, last=loan, used=4)
    assert units == 3
    assert borrow(9, last=loan, used=4)[1] == 2
    assert borrow(9, last=second, used=0)[1] == 2


def test_a_loan_of_a_clock_that_was_set_back_holds_nothing_up(borrow: Borrow) -> None:
    borrow(5, at_s=86_400)
    assert borrow(5)[1] == 5


async def test_nothing_is_lent_while_the_database_is_away(database_url: str) -> None:
    lender = StoredLender(Database(database_url), SystemClock())  # whose pools were never opened
    ask = Ask(budget="b", limit=10, wanted=1, occupied_s=1.0, last=0, used=0)
    lent = await lender.lend(ask)
    assert (lent.units, lent.wait_s) == (0, 1.0)


def test_processes_that_ask_at_once_never_get_more_together(
    connection: Connection, database_url: str
) -> None:
    lent: list[int] = []

    def process() -> None:
        with psycopg.connect(database_url, autocommit=True) as own:
            for _ in range(20):
                row = own.execute(
                    "SELECT o_units FROM borrow_units('b', 50, 3, 0, 0, %s, %s)", (NOW, OCCUPIED)
                ).fetchone()
                assert row is not None
                lent.append(row[0])

    threads = [threading.Thread(target=process) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lent) == 80
    assert sum(lent) == 50, "and all of it is lent in the end"
    assert connection.execute("SELECT sum(units)::int FROM budget_loan").fetchone() == (50,)
