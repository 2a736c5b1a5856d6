"""``meschain logs``: what hubs and workers of this data folder have written down."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click
import msgspec
import psycopg

from meschain.channel.clock import SystemClock
from meschain.cli.database import reached_by_command
from meschain.cli.failure import Failure
from meschain.cli.help import Command, OneOf, reports, session_of
from meschain.settings import LOG_LEVELS
from meschain.store.sql import query
from meschain.telemetry import LogFilter, LogReader, log_files

if TYPE_CHECKING:
    from meschain.cli.session import Session

_LOOK_S: Final = 0.3
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SHOWN: Final = ("at", "level", "logger", "message", "pid", "exception")


@click.command("logs", cls=Command)
@click.option("--follow", is_flag=True)
@click.option("--lane")
@click.option("--account")
@click.option("--level", type=OneOf(*LOG_LEVELS), default="info")
@click.option("--since")
@reports
@click.pass_context
def logs(
    ctx: click.Context,
    *,
    follow: bool,
    lane: str | None,
    account: str | None,
    level: str,
    since: str | None,
) -> None:
    session = session_of(ctx)
    folder = session.settings.log_folder
    if not log_files(folder) and not follow:
        raise Failure("logs_none", folder=str(folder))
    wanted = LogFilter(
        level=level,
        lane=lane,
        accounts=None if account is None else _account(session, account),
        since=None if since is None else _moment(since),
    )
    reader = LogReader(folder)
    while True:
        is_any = False
        for line in reader.read(wanted):
            is_any = True
            if session.out.as_json:
                sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
            else:
                _say(session, line)
        sys.stdout.flush()
        if not follow:
            if not is_any:
                session.out.note("cli.logs.nothing")
            return
        time.sleep(_LOOK_S)


def _say(session: Session, line: dict[str, object]) -> None:
    pairs = [f"{name}={value}" for name, value in line.items() if name not in _SHOWN]
    head = [str(line.get(name, "")) for name in ("at", "level", "message")]
    style = {"warning": "yellow", "error": "red", "critical": "red"}.get(head[1], "")
    session.out.line(" ".join((*head, *pairs)), style=style)
    story = line.get("exception")
    for each in story if isinstance(story, list) else ():
        session.out.line(f"    {each}")


def _account(session: Session, name: str) -> frozenset[str]:
    """Lines say the account's number or its name; either may be asked for."""
    if name.isdigit():
        return frozenset({name})

    async def find(url: str) -> list[int]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            rows = await (
                await connection.execute(query("account.numbers_of"), {"name": name})
            ).fetchall()
        return [number for (number,) in rows]

    with reached_by_command(session.settings, session.out, is_migrated=False) as reached:
        numbers = asyncio.run(find(reached.url))
    return frozenset({name, *map(str, numbers)})


def _moment(text: str) -> datetime:
    """``30m``, ``2h``, ``1d`` ago, or an ISO instant. Raises Failure."""
    number, unit = text[:-1], text[-1:]
    try:
        if number.isdecimal() and unit in _UNITS_S:
            return SystemClock().now() - timedelta(seconds=int(number) * _UNITS_S[unit])
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as wrong:
        raise Failure("logs_since", value=text) from wrong
