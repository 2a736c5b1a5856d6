"""The journal: in order, bounded, and honest about what it forgot."""

from datetime import UTC, datetime, timedelta

import pytest

from meschain.sandbox.clock import StandingClock
from meschain.sandbox.faults import Faults
from meschain.sandbox.journal import (
    Fact,
    Journal,
    JournalEntry,
    JournalTruncated,
    decode_entry,
    encode_entry,
)
from meschain.sandbox.people import People
from meschain.sandbox.world import ParcelState, Shelf, ShelfState, Shop, World

NOON = datetime(2026, 3, 2, 12, 0, 0, 123_456, tzinfo=UTC)


def filled(count: int, *, entries_max: int) -> Journal:
    journal = Journal(entries_max=entries_max)
    seller = journal.add_seller("east", "1")
    for number in range(1, count + 1):
        journal.write(
            (NOON + timedelta(seconds=number), Fact.REFUSED, seller, f"k{number}", 1, "sold_out", 0)
        )
    return journal


def test_entries_read_like_a_list_of_facts() -> None:
    journal = filled(3, entries_max=100)
    assert len(journal) == journal.last_number == 3
    assert [entry.number for entry in journal] == [1, 2, 3]
    assert journal[0] == JournalEntry(
        1,
        NOON + timedelta(seconds=1),
        "refused",
        "east",
        "1",
        "k1",
        {"units": 1, "reason": "sold_out", "quantity": 0},
    )
    assert journal[-1].key == "k3"
    assert [entry.key for entry in journal[1:]] == ["k2", "k3"]
    with pytest.raises(IndexError):
        journal[3]


def test_a_full_journal_forgets_the_oldest_eighth_and_its_numbers_go_on() -> None:
    journal = filled(81, entries_max=80)
    assert journal.forgotten == 10
    assert len(journal) == 71
    assert journal[0].number == 11
    assert journal.last_number == journal[-1].number == 81
    assert [entry.number for entry in journal.after(10, limit=2)] == [11, 12]
    assert [entry.number for entry in journal.after(79, limit=50)] == [80, 81]
    assert journal.after(81, limit=5) == []


def test_a_reader_who_comes_too_late_is_told_so() -> None:
    journal = filled(81, entries_max=80)
    with pytest.raises(JournalTruncated) as gap:
        journal.after(9, limit=1)
    assert gap.value.first_number == 11


def test_every_kind_of_entry_survives_the_wire() -> None:
    world = World(StandingClock(NOON), Faults(1), seed=1)
    shop = world.open_shop(Shop("east", "1", {}, ""))
    shelf = world.add_shelf(shop, Shelf("k", "b", "s", "T", 2, 200, 100, 20, ShelfState.ON_SALE))
    world.set_offer(shop, shelf, quantity=3, cause="batch-1")
    parcel = world.place_order(shop, {"k": 2}, People(1).person(1)).parcels[0]
    world.cancel_units(parcel, {next(iter(parcel.units)): 1}, by_seller=True)
    world.note_scan(None, "nonsense", refused="unknown_code")
    with pytest.raises(ValueError, match="sold_out"):
        world.place_order(shop, {"k": 9}, People(1).person(1))
    world.advance(next(iter(shop.parcels.values())), ParcelState.CANCELLED)
    entries = list(world.journal)
    assert {entry.kind for entry in entries} == {fact.name.lower() for fact in Fact}
    assert [decode_entry(encode_entry(entry)) for entry in entries] == entries
