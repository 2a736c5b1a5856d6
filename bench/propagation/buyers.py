"""Buyers in a process of their own: they click at an even pace, whatever else the machine does.

``python -m bench.propagation.buyers PLAN`` tells how many got what they wanted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import uvloop

_CLICKS_MAX: Final = 64  # under way at once; a sandbox that needs more is too slow to be measured


class Click(msgspec.Struct, frozen=True):
    """One unit of one listing."""

    marketplace: str
    seller_id: str
    key: str


class Plan(msgspec.Struct, frozen=True):
    """Where, how fast, and what."""

    control_url: str
    clicks_per_s: float
    clicks: list[Click]


class Bought(msgspec.Struct, frozen=True):
    """What came of it."""

    orders: int
    took_s: float


async def buy(plan: Plan) -> Bought:
    """Send buyers; returns when the last one has left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.propagation.buyers",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent.parent,
    )
    try:
        told, _ = await process.communicate(msgspec.json.encode(plan))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return msgspec.json.decode(told, type=Bought)


async def _click(session: aiohttp.ClientSession, url: str, click: Click) -> bool:
    body = {
        "marketplace": click.marketplace,
        "seller_id": click.seller_id,
        "basket": {click.key: 1},
    }
    async with session.post(url, data=msgspec.json.encode(body)) as answer:
        await answer.read()
        return answer.status == 201


async def _run(plan: Plan) -> Bought:
    url = f"{plan.control_url}/orders"
    under_way: set[asyncio.Task[bool]] = set()
    orders = 0
    async with aiohttp.ClientSession() as session:
        began_s = time.perf_counter()
        for place, click in enumerate(plan.clicks):
            await asyncio.sleep(began_s + place / plan.clicks_per_s - time.perf_counter())
            if len(under_way) >= _CLICKS_MAX:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            orders += sum(task.result() for task in under_way if task.done())
            under_way = {task for task in under_way if not task.done()}
            under_way.add(asyncio.create_task(_click(session, url, click)))
        orders += sum(await asyncio.gather(*under_way))
        return Bought(orders, time.perf_counter() - began_s)


if __name__ == "__main__":
    bought = uvloop.run(_run(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)))
    sys.stdout.buffer.write(msgspec.json.encode(bought))
