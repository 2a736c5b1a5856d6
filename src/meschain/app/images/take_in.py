"""Files in: matched by their names, looked at, kept by their content."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.import_sheet import SheetRun
from meschain.app.images.content import look_at
from meschain.app.images.naming import CodedVariant, Codes, Owner
from meschain.app.images.refusal import ImageReason, ImageRefused
from meschain.app.images.source import Found, opened_source, read_file
from meschain.app.images.store import ImageStore, Received
from meschain.domain.image import original_name

if TYPE_CHECKING:
    from meschain.app.images.content import Look
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

KIND: Final = "images"
_FILES_PER_CHUNK: Final = 50
_Place = tuple[int, int | None, int]
"""Product, variant or None, place."""
Progress = Callable[[int, int], None]


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """An image as it was, or would be, taken in. ``name``: under which it is kept and served."""

    file: str
    code: str
    place: int
    name: str
    width_px: int
    height_px: int
    content_bytes: int
    is_replacement: bool


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is left out, and why."""

    file: str
    reason: ImageReason
    params: dict[str, str]


@dataclass(slots=True)
class TakeIn:
    """What came of it."""

    taken: list[Taken] = field(default_factory=list)
    unchanged: int = 0
    refused: list[Left] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        replaced = sum(each.is_replacement for each in self.taken)
        return {
            "created": len(self.taken) - replaced,
            "changed": replaced,
            "unchanged": self.unchanged,
            "refused": len(self.refused),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Into what, for whom, and how. ``is_plan``: nothing is written or kept."""

    database: Database
    clock: Clock
    store: ImageStore
    merchant_id: int
    actor: str
    is_plan: bool
    on_progress: Progress


async def take_in(order: Order, path: Path) -> TakeIn:
    """Every file of the folder or ZIP file. Raises: SourceRefused, OSError.

    Chunk by chunk: what was taken in before a kill stays, and the same command does the rest. The
    same files again change nothing.
    """
    with opened_source(path) as files:
        return await _take_in(order, path, files, {})


async def add_one(order: Order, path: Path, code: str, place: int) -> TakeIn:
    """One file, whatever it is called, for the code and place that are said."""
    file = Found(path.name, partial(read_file, path))
    return await _take_in(order, path, [file], {path.name: (code, place)})


async def owner_of(database: Database, merchant_id: int, code: str) -> Owner | None:
    """Whose code it is. Raises: ImageRefused where it may be of several."""
    return (await _codes(database, merchant_id)).find(code)


async def _codes(database: Database, merchant_id: int) -> Codes:
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows("image.codes", {"merchant": merchant_id})
    return Codes(CodedVariant(*row) for row in rows)


async def _take_in(
    order: Order, path: Path, files: Sequence[Found], told: Mapping[str, tuple[str, int]]
) -> TakeIn:
    names = "\n".join(each.name for each in files)
    run = SheetRun(
        database=order.database,
        clock=order.clock,
        merchant_id=order.merchant_id,
        actor=order.actor,
        file_name=path.name,
        file_hash=hashlib.sha256(names.encode()).digest(),
        is_plan=order.is_plan,
    )
    codes = await _codes(order.database, order.merchant_id)
    async with order.database.merchant(order.merchant_id) as unit:
        rows = await unit.rows("image.local_files", {"merchant": order.merchant_id})
    held = {(product, variant, place): content for product, variant, place, content in rows}
    walk = _Walk(order, codes, held, told)
    async with run.begun(KIND, is_alone=False) as begun:
        for chunk in _chunks(files):
            # In a plan nothing is kept, so nothing need be held.
            async with nullcontext() if order.is_plan else order.store.used():
                await walk.take(chunk, len(files))
        await run.end(begun.import_id, KIND, walk.found.counts)
    return walk.found


def _chunks(files: Sequence[Found]) -> Iterator[Sequence[Found]]:
    for begin in range(0, len(files), _FILES_PER_CHUNK):
        yield files[begin : begin + _FILES_PER_CHUNK]


@dataclass(frozen=True, slots=True)
class _Looked:
    owner: Owner
    place: int
    file: str
    received: Received
    look: Look

    @property
    def at(self) -> _Place:
        return self.owner.product_id, self.owner.variant_id, self.place

    @property
    def name(self) -> str:
        return original_name(self.received.content_hash, self.look.media_type)


@dataclass(slots=True)
class _Walk:
    order: Order
    codes: Codes
    held: Mapping[_Place, str]
    told: Mapping[str, tuple[str, int]]
    found: TakeIn = field(default_factory=TakeIn)
    seen: dict[_Place, str] = field(default_factory=dict)
    done: int = 0

    async def take(self, files: Sequence[Found], total: int) -> None:
        """Look at some files and keep what is new of them."""
        store = self.order.store
        with store.receiving(is_plan=self.order.is_plan) as folder:
            looked: list[_Looked] = []
            for number, file in enumerate(files):
                each = await asyncio.to_thread(self._look, file, folder / str(number))
                self.done += 1
                self.order.on_progress(self.done, total)
                if each is None:
                    continue
                if self.held.get(each.at) == each.received.content_hash and store.has(each.name):
                    self.found.unchanged += 1
                    continue
                looked.append(each)
            if looked and not self.order.is_plan:
                for each in looked:
                    await asyncio.to_thread(store.keep, each.received, each.name)
                await self._write(looked)
        self.found.taken += map(self._taken, looked)

    def _look(self, file: Found, path: Path) -> _Looked | None:
        try:
            owner, place = self._owner(file)
            at = owner.product_id, owner.variant_id, place
            self._check_free(at)
            received = file.fetch(path)
            look = look_at(path)
        except ImageRefused as refused:
            params = {"source": file.name, **refused.params}
            self.found.refused.append(Left(file=file.name, reason=refused.reason, params=params))
            return None
        self.seen[at] = file.name
        return _Looked(owner, place, file.name, received, look)

    def _check_free(self, at: _Place) -> None:
        if (first := self.seen.get(at)) is not None:
            raise ImageRefused(ImageReason.TWICE, first=first)

    def _owner(self, file: Found) -> tuple[Owner, int]:
        if file.name not in self.told:
            return self.codes.owner_of(file.name)
        code, place = self.told[file.name]
        owner = self.codes.find(code)
        if owner is None:
            raise ImageRefused(ImageReason.UNMATCHED)
        return owner, place

    async def _write(self, looked: Sequence[_Looked]) -> None:
        rows = [
            {
                "product_id": each.owner.product_id,
                "variant_id": each.owner.variant_id,
                "place": each.place,
                "content_hash": each.received.content_hash,
                "media_type": each.look.media_type,
                "width_px": each.look.width_px,
                "height_px": each.look.height_px,
                "content_bytes": each.received.content_bytes,
                "file_name": each.file,
            }
            for each in looked
        ]
        async with self.order.database.merchant(self.order.merchant_id) as unit:
            await unit.run(
                "image.put_files",
                {
                    "merchant": self.order.merchant_id,
                    "now": self.order.clock.now(),
                    "rows": msgspec.json.encode(rows).decode(),
                },
            )

    def _taken(self, each: _Looked) -> Taken:
        return Taken(
            file=each.file,
            code=each.owner.code,
            place=each.place,
            name=each.name,
            width_px=each.look.width_px,
            height_px=each.look.height_px,
            content_bytes=each.received.content_bytes,
            is_replacement=each.at in self.held,
        )
