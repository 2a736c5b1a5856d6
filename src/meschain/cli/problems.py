"""``meschain problems``: what needs somebody, in whose words, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meschain.app.queries.paging import PAGE_DEFAULT, PAGE_MAX
from meschain.app.queries.problems import read_problems
from meschain.cli.help import Command, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.wording import problem_words

if TYPE_CHECKING:
    from datetime import datetime

    from meschain.app.queries.problems import ProblemView
    from meschain.cli.session import Desk


@click.command("problems", cls=Command)
@click.option("--limit", type=Whole(1, PAGE_MAX), default=PAGE_DEFAULT)
@click.option("--cursor")
@for_merchant
@reports
@at_desk
async def problems(desk: Desk, limit: int, cursor: str | None) -> None:
    page = await read_problems(desk.hub.database, desk.merchant_id, limit=limit, cursor=cursor)
    if desk.out.document(page):
        return
    if not page.items:
        desk.out.say("page.problems.none")
        return
    now = desk.hub.clock.now()
    for problem in page.items:
        _say(desk, problem, now)
    if page.next_cursor is not None:
        desk.out.note("cli.next_page", cursor=page.next_cursor)


def _say(desk: Desk, problem: ProblemView, now: datetime) -> None:
    message, advice = problem_words(desk.out, problem)
    # An alert's sentence names what it is about, often the account too.
    parts = [problem.account_name] if problem.account_name not in message else []
    if problem.kind != "alert":
        parts.append(problem.subject)
    place = " ".join(filter(None, parts))
    times = f" · {desk.words.text('page.problems.times', count=problem.times)}"
    desk.out.line(
        f"{place + ': ' if place else ''}{message} · {desk.out.age(problem.at, now)}"
        f"{times if problem.times > 1 else ''}",
        style="bold",
    )
    for words in problem.words:
        desk.out.line(f"  “{words}”")
    if advice:
        desk.out.line(f"  {advice}")
