"""Out: one snapshot of a merchant's tables, and the secrets where a passphrase seals them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import msgspec

from meschain.app.commands.add_account import CREDENTIALS
from meschain.app.commands.merchant_archive.form import (
    CREDENTIALS_PART,
    FEED_SOURCE,
    FEEDS_PART,
    FORMAT,
    IMAGES,
    MANIFEST,
    ORDERS_PART,
    VERSION,
    ImagePart,
    Manifest,
    MerchantFacts,
    Part,
    Seal,
    SealedCredential,
    SealedFeed,
    SealedOrder,
)
from meschain.app.feeds.feed import SOURCE
from meschain.domain.image import original_name
from meschain.exchange.out.sheet import in_place
from meschain.store.archive import LEFT_OUT, TABLES, snapshot
from meschain.store.migrate import migrations
from meschain.sync.intake import PERSON, RAW

if TYPE_CHECKING:
    from meschain.app.images.store import ImageStore
    from meschain.channel.clock import Clock
    from meschain.store.archive import Snapshot
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

Progress = Callable[[int, int], None]
_ORDERS: Final = 500
_TICK_ROWS: Final = 1_000


async def export_archive(
    path: Path,
    url: str,
    database: Database,
    keys: DataKeys,
    clock: Clock,
    merchant_id: int,
    *,
    images: ImageStore,
    passphrase: bytes | None,
    on_progress: Progress,
) -> Manifest:
    """Write everything of a merchant; ``passphrase`` None leaves secrets and buyers out.

    Images whose content is no longer in ``images`` are named by their addresses alone.

    The file appears whole or not at all, readable by its owner alone. Raises: VaultLocked, OSError.
    """
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("archive.merchant", {"merchant": merchant_id})
    assert row is not None
    writer = _Writer(on_progress)
    with in_place(path, is_private=True) as part, ZipFile(part, "w", ZIP_DEFLATED) as archive:
        writer.archive = archive
        async with images.used():
            async with snapshot(url, merchant_id) as frozen:
                for table in TABLES:
                    form = await frozen.form(table)
                    lines = frozen.lines(table, form)
                    await writer.put(f"tables/{table}.jsonl", table, form.columns, lines)
                tables = writer.take()
                seal = None if passphrase is None else Seal.new(passphrase)
                if seal is not None:
                    source = _Sealed(frozen, keys, merchant_id, seal)
                    for name, lines in (
                        (CREDENTIALS_PART, source.credentials()),
                        (FEEDS_PART, source.feeds()),
                        (ORDERS_PART, source.orders()),
                    ):
                        await writer.put(f"sealed/{name}.jsonl", name, (), lines)
                kept = await frozen.rows("image.of_merchant", {"merchant": merchant_id})
            pictures = await _put_images(archive, images, [original_name(*row) for row in kept])
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            schema=migrations()[-1].version,
            exported_at=clock.now(),
            merchant=MerchantFacts(**dict(zip(MerchantFacts.__struct_fields__, row, strict=True))),
            tables=tables,
            sealed=writer.take(),
            left_out=LEFT_OUT,
            images=pictures,
            salt=None if seal is None else seal.salt,
        )
        archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


async def _put_images(
    archive: ZipFile, images: ImageStore, names: Sequence[str]
) -> list[ImagePart]:
    """Packed as they are: they hardly shrink."""
    parts: list[ImagePart] = []
    for name in names:
        if images.has(name):
            path = images.path(name)
            await asyncio.to_thread(archive.write, path, f"{IMAGES}/{name}", ZIP_STORED)
            parts.append(ImagePart(name=name, content_bytes=path.stat().st_size))
    return parts


class _Writer:
    archive: ZipFile

    def __init__(self, on_progress: Progress) -> None:
        self._tell = on_progress
        self._parts: list[Part] = []
        self._done = 0

    async def put(
        self, member: str, name: str, columns: tuple[str, ...], lines: AsyncIterator[str]
    ) -> None:
        digest, rows = hashlib.sha256(), 0
        with self.archive.open(member, "w", force_zip64=True) as file:
            async for line in lines:
                encoded = f"{line}\n".encode()
                digest.update(encoded)
                file.write(encoded)
                rows += 1
                self._done += 1
                if not self._done % _TICK_ROWS:
                    self._tell(self._done, 0)
        sha256 = digest.hexdigest()
        self._parts.append(Part(name=name, rows=rows, sha256=sha256, columns=columns))

    def take(self) -> list[Part]:
        parts, self._parts = self._parts, []
        return parts


class _Sealed:
    """Secrets, opened with the merchant's keys and sealed with the archive's."""

    def __init__(self, frozen: Snapshot, keys: DataKeys, merchant_id: int, seal: Seal) -> None:
        self._frozen = frozen
        self._keys = keys
        self._merchant_id = merchant_id
        self._seal = seal

    async def _again(self, key_number: int, purpose: str, sealed: bytes | None) -> str | None:
        if sealed is None:
            return None
        plain = await self._keys.open(self._merchant_id, key_number, purpose, bytes(sealed))
        return self._seal.close(plain, purpose)

    async def credentials(self) -> AsyncIterator[str]:
        key = {"merchant": self._merchant_id}
        for account_id, key_number, sealed in await self._frozen.rows(
            "archive.sealed_credentials", key
        ):
            closed = await self._again(key_number, CREDENTIALS, sealed)
            assert closed is not None
            yield msgspec.json.encode(SealedCredential(account_id, closed)).decode()

    async def feeds(self) -> AsyncIterator[str]:
        for feed_id, source, key_number, sealed in await self._frozen.rows(
            "archive.sealed_feeds", {"merchant": self._merchant_id}
        ):
            address = str(source).encode()
            if sealed is not None:
                address = await self._keys.open(
                    self._merchant_id, key_number, SOURCE, bytes(sealed)
                )
            feed = SealedFeed(feed_id, self._seal.close(address, FEED_SOURCE))
            yield msgspec.json.encode(feed).decode()

    async def orders(self) -> AsyncIterator[str]:
        after = 0
        while True:
            params = {"merchant": self._merchant_id, "after": after, "limit": _ORDERS}
            rows = await self._frozen.rows("archive.sealed_orders", params)
            for order_id, key_number, person, raw in rows:
                order = SealedOrder(
                    order_id,
                    await self._again(key_number, PERSON, person),
                    await self._again(key_number, RAW, raw),
                )
                yield msgspec.json.encode(order).decode()
            if len(rows) < _ORDERS:
                return
            after = rows[-1][0]
