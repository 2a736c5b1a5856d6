"""The tables that restate a rule of the domain say exactly the same as the domain."""

from __future__ import annotations

from typing import Any

import psycopg

from meschain.domain.order import (
    LEGAL_TRANSITIONS,
    STOCK_EFFECT,
    PackageState,
    StockEffect,
    is_legal_transition,
)
from meschain.domain.stock import MovementKind

Connection = psycopg.Connection[tuple[Any, ...]]


def test_package_states_and_their_effects_are_those_of_the_domain(connection: Connection) -> None:
    rows = connection.execute("SELECT state, effect FROM package_state").fetchall()
    assert {PackageState(state): StockEffect(effect) for state, effect in rows} == STOCK_EFFECT
    assert len(rows) == len(PackageState)


def test_package_transitions_are_those_of_the_domain(connection: Connection) -> None:
    rows = connection.execute("SELECT state_before, state_after FROM package_transition").fetchall()
    told = {(PackageState(before), PackageState(after)) for before, after in rows}
    legal = {(before, after) for before, all_ in LEGAL_TRANSITIONS.items() for after in all_}
    assert told == legal


def test_the_domains_own_question_agrees_with_its_table() -> None:
    for before in PackageState:
        assert is_legal_transition(before, before)
        assert is_legal_transition(None, before)
        for after in PackageState:
            if before is not after:
                assert is_legal_transition(before, after) == (after in LEGAL_TRANSITIONS[before])


def test_no_road_leads_back_and_every_end_is_an_end() -> None:
    """What was consumed is never reserved again, what was released never consumed."""
    effects = STOCK_EFFECT
    for before, all_ in LEGAL_TRANSITIONS.items():
        for after in all_:
            if effects[before] is StockEffect.CONSUME:
                assert effects[after] is StockEffect.CONSUME
        if effects[before] in {StockEffect.RELEASE, StockEffect.NONE}:
            assert not all_


def test_movement_kinds_are_those_of_the_domain(connection: Connection) -> None:
    ((check,),) = connection.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'stock_movement'::regclass AND conname = 'stock_movement_kind_check'"
    ).fetchall()
    named = {part.split("'")[1] for part in str(check).split("ARRAY[")[1].split(",")}
    assert named == {kind.value for kind in MovementKind}
