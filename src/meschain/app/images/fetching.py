"""Images from the addresses that the catalog names: fetched, looked at, kept by their content."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.images.content import Look, look_at
from meschain.app.images.refusal import ImageReason, ImageRefused
from meschain.app.images.store import BYTES_MAX, Received, receive
from meschain.app.images.take_in import Left
from meschain.channel.fetch import FetchFailed, Validators, fetch
from meschain.domain.image import original_name

if TYPE_CHECKING:
    from pathlib import Path

    from meschain.app.images.take_in import Order

_AT_ONCE: Final = 4  # so that no shop's server takes it for an attack
_PER_CHUNK: Final = 40
_SECONDS_MAX: Final = 60.0


@dataclass(slots=True)
class Fetching:
    """What came of it. ``known``: were fetched before, and are left alone."""

    fetched: list[str] = field(default_factory=list)
    known: int = 0
    refused: list[Left] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "fetched": len(self.fetched),
            "known": self.known,
            "refused": len(self.refused),
        }


@dataclass(frozen=True, slots=True)
class _Answer:
    received: Received
    look: Look


async def fetch_images(
    order: Order, *, again: bool = False, allows_private: bool = False
) -> Fetching:
    """Fetch what was not fetched yet, or failed; ``again``: everything.

    With a plan the addresses are named and none is asked. Cut short, the same command goes on.
    """
    key = {"merchant": order.merchant_id}
    async with order.database.merchant(order.merchant_id) as unit:
        rows = await unit.rows("image.addresses", key)
    done = Fetching()
    wanted: list[str] = []
    for address, content_hash, media_type, is_open in rows:
        is_lost = bool(content_hash) and not order.store.has(
            original_name(content_hash, media_type)
        )
        if again or is_open or is_lost:
            wanted.append(address)
        else:
            done.known += 1
    if order.is_plan:
        done.fetched = wanted
        return done
    for begin in range(0, len(wanted), _PER_CHUNK):
        chunk = wanted[begin : begin + _PER_CHUNK]
        async with order.store.used():
            with order.store.receiving() as folder:
                answers = await _fetch_all(chunk, folder, allows_private=allows_private)
                await _keep(order, chunk, answers, done)
        order.on_progress(min(begin + _PER_CHUNK, len(wanted)), len(wanted))
    return done


async def _fetch_all(
    addresses: Sequence[str], folder: Path, *, allows_private: bool
) -> list[_Answer | ImageRefused]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, address: str) -> _Answer | ImageRefused:
        async with turns:
            try:
                return await _fetch(address, folder / str(number), allows_private=allows_private)
            except ImageRefused as refused:
                return refused

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*each)) for each in enumerate(addresses)]
    return [task.result() for task in tasks]


async def _fetch(address: str, path: Path, *, allows_private: bool) -> _Answer:
    raw = path.with_suffix(".raw")
    try:
        await fetch(
            address,
            raw,
            Validators(),
            allows_private=allows_private,
            bytes_max=BYTES_MAX,
            seconds_max=_SECONDS_MAX,
        )
    except FetchFailed as failed:
        reason = ImageReason(f"image.fetch.{failed.reason.rpartition('.')[2]}")
        raise ImageRefused(reason, **failed.params) from failed

    def look() -> _Answer:
        with raw.open("rb") as file:
            received = receive(file, path)
        raw.unlink()
        return _Answer(received, look_at(path))

    return await asyncio.to_thread(look)


async def _keep(
    order: Order,
    addresses: Sequence[str],
    answers: Sequence[_Answer | ImageRefused],
    done: Fetching,
) -> None:
    rows: list[dict[str, object]] = []
    for address, answer in zip(addresses, answers, strict=True):
        if isinstance(answer, ImageRefused):
            params = {"source": address, **answer.params}
            done.refused.append(Left(file=address, reason=answer.reason, params=params))
            problem = {"key": answer.reason, "params": params}
            rows.append({"source_url": address, "problem": problem})
            continue
        received, look = answer.received, answer.look
        name = original_name(received.content_hash, look.media_type)
        await asyncio.to_thread(order.store.keep, received, name)
        done.fetched.append(address)
        rows.append(
            {
                "source_url": address,
                "content_hash": received.content_hash,
                "media_type": look.media_type,
                "width_px": look.width_px,
                "height_px": look.height_px,
                "content_bytes": received.content_bytes,
            }
        )
    async with order.database.merchant(order.merchant_id) as unit:
        await unit.run(
            "image.put_fetched",
            {
                "merchant": order.merchant_id,
                "now": order.clock.now(),
                "rows": msgspec.json.encode(rows).decode(),
            },
        )
