"""How workers share accounts: evenly, and so that nothing moves to and fro."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meschain.sync.ownership import Census, Worker, shares


@pytest.mark.parametrize(
    ("accounts", "rooms", "expected"),
    [
        (24, [2_000, 2_000, 2_000], [8, 8, 8]),
        (10, [2_000, 2_000, 2_000], [4, 3, 3]),
        (1, [2_000, 2_000], [1, 0]),
        (0, [2_000], [0]),
        (10, [2, 2_000, 2_000], [2, 4, 4]),
        (10, [3, 3], [3, 3]),
        (5, [], []),
    ],
)
def test_shares_are_even_within_what_each_has_room_for(
    accounts: int, rooms: list[int], expected: list[int]
) -> None:
    assert shares(accounts, rooms) == expected


@given(st.integers(0, 5_000), st.lists(st.integers(1, 2_000), min_size=1, max_size=20))
def test_everything_that_has_room_is_shared_out(accounts: int, rooms: list[int]) -> None:
    parts = shares(accounts, rooms)
    assert sum(parts) == min(accounts, sum(rooms))
    assert all(part <= room for part, room in zip(parts, rooms, strict=True))
    not_full = [part for part, room in zip(parts, rooms, strict=True) if part < room]
    assert not not_full or max(parts) - min(not_full) <= 1


def census(settled: int, begun: int = 0, *, accounts: int = 12) -> Census:
    """Workers "0", "1", …; the last ones have just begun."""
    workers = [Worker(str(place), 2_000, place < settled) for place in range(settled + begun)]
    return Census(workers, accounts, 0)


def test_a_worker_that_has_just_begun_takes_what_is_free_and_is_handed_nothing() -> None:
    seen = census(2, 1)
    assert [seen.share_of(owner) for owner in "012"] == [4, 4, 4]
    assert [seen.share_of(owner, settled=True) for owner in "01"] == [6, 6]


def test_a_worker_that_is_not_known_to_live_has_no_share() -> None:
    assert census(2).share_of("2") is None


@given(st.integers(0, 500), st.integers(1, 12), st.integers(0, 200), st.integers(0, 200))
def test_whatever_workers_begin_with_they_come_to_their_shares_and_stay(
    free: int, workers: int, first: int, second: int
) -> None:
    """Each hands over what is beyond its share and takes what is free up to it, in any order."""
    seen = census(workers, accounts=free + first + second)
    held = [first, second, *[0] * (workers - 2)] if workers > 1 else [first + second]
    for _ in range(2):
        for place in range(workers):
            mine = seen.share_of(str(place), settled=True)
            assert mine is not None
            beyond = max(0, held[place] - mine)
            held[place], free = held[place] - beyond, free + beyond
        for place in range(workers):
            taken = min(free, (seen.share_of(str(place)) or 0) - held[place])
            held[place], free = held[place] + taken, free - taken
    assert free == 0
    assert held == [seen.share_of(str(place)) for place in range(workers)]
