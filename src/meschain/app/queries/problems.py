"""What needs somebody: refused offers, rejected listings, alerts – each with a suggested fix."""

from datetime import datetime
from typing import Literal

import msgspec

from meschain.app.queries.paging import Page, cursor_of, position_of
from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.store.unit_of_work import Database
from meschain.sync.listing.storefront import ListingProblem

Kind = Literal["offer", "listing", "alert"]
Param = str | int | MoneyView


class Lack(msgspec.Struct, frozen=True):
    """A message key of ours with its parameters; its text says what to do, too."""

    key: str
    params: dict[str, str]


class ProblemView(msgspec.Struct, frozen=True, kw_only=True):
    """One open problem.

    ``message`` and ``advice`` are message keys: what happened, and what to do about it.
    ``words`` are the marketplace's own; ``lacks`` what a listing lacks, in ours.
    """

    problem_id: str
    kind: Kind
    at: datetime
    account_id: int | None
    account_name: str
    subject: str
    message: str
    params: dict[str, Param]
    words: list[str]
    lacks: list[Lack]
    code: str
    advice: str
    times: int


class _Row(msgspec.Struct, frozen=True):
    kind: Kind
    problem_id: str
    at_us: int
    account_id: int | None
    account_name: str | None
    subject: str
    field: int
    code: str
    words: str | list[str | ListingProblem]
    advice: str
    message: str
    params: dict[str, str | int | bool | None]
    times: int


_OFFER_FIELDS = {1: "quantity", 2: "price"}


async def read_problems(
    database: Database, merchant_id: int, *, limit: int, cursor: str | None = None
) -> Page[ProblemView]:
    """A page of open problems, newest first. Raises CursorInvalid."""
    before_us, before_id = None, None
    if cursor is not None:
        before_us, before_id = position_of(cursor, tuple[int, str])
    async with database.merchant(merchant_id) as unit:
        records = await unit.records(
            "view.problems",
            {
                "merchant": merchant_id,
                "before_us": before_us,
                "before_id": before_id,
                "limit": limit + 1,
            },
        )
    rows = [msgspec.convert(record, _Row) for record in records]
    more = len(rows) > limit
    rows = rows[:limit]
    last = cursor_of((rows[-1].at_us, rows[-1].problem_id)) if more else None
    return Page([_view(row) for row in rows], last)


def _view(row: _Row) -> ProblemView:
    said = row.words if isinstance(row.words, list) else [row.words]
    details = [ListingProblem("", words=each) if isinstance(each, str) else each for each in said]
    message, advice = row.message, row.advice or next((d.advice for d in details if d.advice), "")
    if row.kind == "offer":
        message = f"problem.offer.{_OFFER_FIELDS[row.field]}"
        advice = advice or "advice.offer.refused"
    elif row.kind == "listing":
        message = f"problem.listing.{row.code if row.code in _STATES else 'incomplete'}"
        advice = advice or f"advice.listing.{row.code if row.code in _STATES else 'incomplete'}"
    else:
        advice = f"{message}.advice"
    at = instant(row.at_us)
    assert at is not None
    return ProblemView(
        problem_id=row.problem_id,
        kind=row.kind,
        at=at,
        account_id=row.account_id,
        account_name=row.account_name or "",
        subject=row.subject,
        message=message,
        params=_params(row.params),
        words=[detail.words for detail in details if detail.words],
        lacks=[Lack(each.key, each.params) for each in details if each.key.startswith(_LACKS)],
        code=row.code if row.kind == "offer" else "",
        advice=advice,
        times=row.times,
    )


_STATES = frozenset({"rejected", "locked"})
_LACKS = "listing.missing."


def _params(stored: dict[str, str | int | bool | None]) -> dict[str, Param]:
    """As the texts take them: amounts in minor units become money."""
    params: dict[str, Param] = {}
    currency = str(stored.get("currency", ""))
    for name, value in stored.items():
        if name.endswith("_minor") and isinstance(value, int):
            view = money_view(value, currency)
            assert view is not None
            params[name.removesuffix("_minor")] = view
        else:
            params[name] = str(value) if isinstance(value, bool | None) else value
    return params
