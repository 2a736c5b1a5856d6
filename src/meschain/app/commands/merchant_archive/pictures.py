"""Images of an archive: as untrusted as any file that is taken in."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from meschain.app.commands.merchant_archive.form import IMAGES, ArchiveProblem, ArchiveRefused
from meschain.app.images.content import look_at
from meschain.app.images.refusal import ImageRefused
from meschain.app.images.store import receive
from meschain.domain.image import hash_in, is_original, original_name

if TYPE_CHECKING:
    from meschain.app.commands.merchant_archive.form import ImagePart, Manifest
    from meschain.app.images.store import ImageStore, Received


def check_images(archive: ZipFile, manifest: Manifest) -> None:
    """Every image is there, whole, and what its name says. Raises: ArchiveRefused."""
    with tempfile.TemporaryDirectory(prefix="meschain-archive-") as folder:
        for part in manifest.images:
            _unpacked(archive, part, Path(folder) / "image")


async def take_images(archive: ZipFile, manifest: Manifest, store: ImageStore) -> None:
    """Put them into the store. Raises: ArchiveRefused."""
    with store.receiving() as folder:
        for part in manifest.images:
            await asyncio.to_thread(_take, archive, part, folder / "image", store)


def _take(archive: ZipFile, part: ImagePart, path: Path, store: ImageStore) -> None:
    received = _unpacked(archive, part, path)
    try:
        if original_name(received.content_hash, look_at(path).media_type) != part.name:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, part.name)
    except ImageRefused as wrong:
        raise ArchiveRefused(ArchiveProblem.DAMAGED, part.name) from wrong
    store.keep(received, part.name)


def _unpacked(archive: ZipFile, part: ImagePart, path: Path) -> Received:
    """The member in a file of its own, if its bytes are those that its name says."""
    try:
        with archive.open(f"{IMAGES}/{part.name}") as file:
            received = receive(file, path)
    except (KeyError, BadZipFile, ImageRefused) as wrong:
        raise ArchiveRefused(ArchiveProblem.DAMAGED, part.name) from wrong
    if not is_original(part.name) or hash_in(part.name) != received.content_hash:
        raise ArchiveRefused(ArchiveProblem.DAMAGED, part.name)
    return received
