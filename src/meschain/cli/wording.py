"""Values as several commands print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meschain.app.queries.view import MoneyView

if TYPE_CHECKING:
    from datetime import datetime

    from meschain.app.queries.health import Percentiles
    from meschain.app.queries.problems import ProblemView
    from meschain.cli.output import Output


def quantities(out: Output, *units: int | None) -> tuple[str, ...]:
    """Units, or a dash for what nobody knows."""
    return tuple(out.number(each) for each in units)


def ages(out: Output, at: datetime | None, now: datetime) -> str:
    """``4 minutes ago``, or a dash."""
    return "–" if at is None else out.age(at, now)


def milliseconds(out: Output, times: Percentiles | None) -> str:
    """``57 / 240 ms``: median and 99th percentile; a dash where nothing was measured."""
    if times is None or times.p50_ms is None or times.p99_ms is None:
        return "–"
    return out.catalog.text(
        "cli.milliseconds", median=round(times.p50_ms), highest=round(times.p99_ms)
    )


def problem_words(out: Output, problem: ProblemView) -> tuple[str, str]:
    """What happened, and what to do about it ("" where nothing is known)."""
    params = {
        name: out.money(value) if isinstance(value, MoneyView) else value
        for name, value in problem.params.items()
    }
    words = out.catalog
    advice = words.text(problem.advice, **params) if problem.advice in words else ""
    lacks = [words.text(each.key, **each.params) for each in problem.lacks]
    return words.text(problem.message, **params), " ".join(filter(None, (*lacks, advice)))
