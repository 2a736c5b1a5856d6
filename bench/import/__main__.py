"""How fast catalogs come in, and whether cost a row or memory grows with the file."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg

from bench.program import Aim, Findings, Row, run, say

if TYPE_CHECKING:
    import argparse

    from bench.database import Server

QUESTION: Final = (
    "How fast do catalogs come in, and does cost a row, or memory, grow with the file?"
)
FORMATS: Final = ("csv", "xlsx", "woocommerce", "google")
WRITTEN: Final = ("csv", "xlsx")
STORED: Final = ("plan", "write", "plan again", "undo", "write, killed", "write the rest")
KILLED_AFTER: Final = 5  # chunks of 1,000 variants
KILLED_FROM: Final = 10_000  # variants; a smaller import ends too soon
LOOKS_MAX: Final = 12_000  # some two minutes
AIM_S: Final = 20.0
AIM_UNDO_S: Final = 60.0
AIM_PRODUCTS: Final = 100_000


class Taken(msgspec.Struct, kw_only=True):
    """What ``bench.import.step`` prints."""

    rows: int
    refused: int
    took_s: float
    cpu_s: float
    database_cpu_s: float | None = None
    grown_mib: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--products", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--variants", type=int, default=1, help="of each product")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))


async def measure(options: argparse.Namespace, server: Server) -> Findings:
    findings = Findings()
    for products in options.products:
        for name in options.formats:
            file = server.folder / f"{name}-{products}"
            await step("make", name, str(products), str(options.variants), str(file))
            megabytes = round(file.stat().st_size / 1e6, 1)
            about: Row = {"products": products, "format": name, "file_mb": megabytes}
            findings.rows.append(about | {"step": "read"} | row(await step("read", str(file))))
            say(str(findings.rows[-1]))
            if name in WRITTEN:
                with server.database() as url:
                    large = products * options.variants >= KILLED_FROM
                    for which in STORED if large else STORED[:-2]:
                        if which == "write, killed":
                            await killed(str(file), url)
                            continue
                        taken = await step(which.split()[0], str(file), url)
                        findings.rows.append(about | {"step": which} | row(taken))
                        say(str(findings.rows[-1]))
            file.unlink()
    for name in options.formats:
        largest = max(options.products)
        of_format = {
            (each["products"], each["step"]): each
            for each in findings.rows
            if each["format"] == name
        }
        last = "write" if name in WRITTEN else "read"
        took_s = float(of_format[largest, last]["took_s"] or 0)
        findings.figures[f"{name}_{last}_s"] = took_s
        if largest >= AIM_PRODUCTS:
            findings.aims.append(Aim(f"{name}_{last}_s", AIM_S, took_s, at_least=False))
            if name in WRITTEN:
                undo_s = float(of_format[largest, "undo"]["took_s"] or 0)
                findings.aims.append(Aim(f"{name}_undo_s", AIM_UNDO_S, undo_s, at_least=False))
    return findings


def row(taken: Taken) -> Row:
    rows = max(taken.rows, 1)
    return {
        "rows": taken.rows,
        "refused": taken.refused,
        "took_s": round(taken.took_s, 2),
        "rows_per_s": round(rows / taken.took_s),
        "cpu_us_per_row": round(taken.cpu_s / rows * 1e6, 1),
        "database_cpu_us_per_row": (
            None if taken.database_cpu_s is None else round(taken.database_cpu_s / rows * 1e6, 1)
        ),
        "grown_mib": round(taken.grown_mib, 1),
    }


async def killed(file: str, url: str) -> None:
    """Begin to write, and kill -9 when some chunks are in."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.import.step", "write", file, url),
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        wanted = await steps(connection) + KILLED_AFTER
        for _ in range(LOOKS_MAX):
            if process.returncode is not None or await steps(connection) >= wanted:
                break
            await asyncio.sleep(0.01)
    assert process.returncode is None, "it ended before it was killed"
    process.kill()
    await process.wait()


async def steps(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> int:
    row = await (await connection.execute("SELECT count(*) FROM import_step")).fetchone()
    assert row is not None
    return int(str(row[0]))


async def step(*arguments: str) -> Taken:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.import.step", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, arguments
    return msgspec.convert(json.loads(said), Taken)


if __name__ == "__main__":
    run("import", QUESTION, add_options, measure)
