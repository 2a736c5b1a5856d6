"""What all benchmarks have in common: options, progress, and how a result is told and kept."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import uvloop

from bench.database import server
from bench.environment import environment
from meschain.channel.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.database import Server

Figure = float | int | str | bool | None
Row = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure that should be reached; ``at_least``: larger is better."""

    figure: str
    aim: float
    measured: float
    at_least: bool

    @property
    def is_reached(self) -> bool:
        return self.measured >= self.aim if self.at_least else self.measured <= self.aim


@dataclass(slots=True)
class Findings:
    """What a measurement came to. ``figures`` carry their units in their names."""

    rows: list[Row] = field(default_factory=list)
    figures: Row = field(default_factory=dict)
    aims: list[Aim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Measure(Protocol):
    async def __call__(self, options: argparse.Namespace, server: Server) -> Findings: ...


def say(words: str) -> None:
    """Progress, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


def run(
    name: str,
    question: str,
    add_options: Callable[[argparse.ArgumentParser], None],
    measure: Measure,
    arguments: Sequence[str] | None = None,
) -> None:
    """Parse, measure on a server of our own, tell. Exit status 0: it was measured, as it may be."""
    parser = argparse.ArgumentParser(prog=f"bench.{name}", description=question)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--date", default="", help="of the result (default: today, UTC)")
    parser.add_argument("--note", action="append", default=[], help="kept with the result")
    parser.add_argument("--keep", action="store_true", help="write result.json and result.md")
    add_options(parser)
    options = parser.parse_args(arguments)
    # Ended by a plain `kill` we clean up as after Ctrl-C: the server would outlive us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server() as postgres:
        before = environment(postgres.version)
        say(f"{name}: {question}")
        say(", ".join(f"{key} {value}" for key, value in msgspec.structs.asdict(before).items()))
        findings = uvloop.run(_bounded(measure, options, postgres))
        after = msgspec.structs.replace(before, load_1min_after=round(os.getloadavg()[0], 2))
    shown = {"json", "date", "note", "keep"}
    findings.notes += options.note
    result = {
        "bench": name,
        "date": options.date or SystemClock().now().date().isoformat(),
        "question": question,
        "environment": msgspec.structs.asdict(after),
        "options": {key: value for key, value in vars(options).items() if key not in shown},
        "figures": findings.figures,
        "aims": [
            {
                "figure": aim.figure,
                "aim": aim.aim,
                "is": "at least" if aim.at_least else "at most",
                "measured": aim.measured,
                "is_reached": aim.is_reached,
            }
            for aim in findings.aims
        ],
        "rows": findings.rows,
        "notes": findings.notes,
    }
    page = _page(name, result["date"], after, findings)
    if options.keep:
        folder = Path(__file__).parent / name
        text = json.dumps(result, ensure_ascii=False, indent=1)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        (folder / "result.md").write_text(page, encoding="utf-8")
    if options.json or not sys.stdout.isatty():
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(page)


async def _bounded(measure: Measure, options: argparse.Namespace, postgres: Server) -> Findings:
    """No benchmark may run for ever, whatever hangs."""
    async with asyncio.timeout(3 * 3600):
        return await measure(options, postgres)


def _page(name: str, date: object, env: msgspec.Struct, findings: Findings) -> str:
    facts = " · ".join(f"{key} {value}" for key, value in msgspec.structs.asdict(env).items())
    parts = [f"# {name}, {date}", facts, table(findings.rows)]
    if findings.figures:
        parts.append("\n".join(f"- `{key}`: {_text(v)}" for key, v in findings.figures.items()))
    if findings.aims:
        aims: list[Row] = [
            {
                "figure": aim.figure,
                "aim": f"{'≥' if aim.at_least else '≤'} {_text(aim.aim)}",
                "measured": _text(aim.measured),
                "": "reached" if aim.is_reached else "missed",
            }
            for aim in findings.aims
        ]
        parts.append(table(aims))
    parts += findings.notes
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; columns by first appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        return ""
    lines = [columns, ["---"] * len(columns)]
    lines += [[_text(row.get(column)) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(figure: Figure) -> str:
    if figure is None:
        return "–"
    if isinstance(figure, float):
        return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.4g}"
    return (
        f"{figure:,}" if isinstance(figure, int) and not isinstance(figure, bool) else str(figure)
    )
