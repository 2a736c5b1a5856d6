"""Images by the hash of their content: each once, whosever it is, in the data folder."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from meschain.app.images.refusal import ImageReason, ImageRefused
from meschain.domain.image import hash_in, is_original

BYTES_MAX: Final = 20 << 20
"""Of one content."""

_PIECE_BYTES: Final = 1 << 20
_INCOMING: Final = "incoming"
_LOCK: Final = "lock"
UNFINISHED: Final = ".derived-"
"""Begins the name of a folder in which derived sizes are being made."""


@dataclass(frozen=True, slots=True)
class Received:
    """A content on its way in, in a file of its own. ``content_hash``: hexadecimal SHA-256."""

    path: Path
    content_hash: str
    content_bytes: int


class ImageStore:
    """A folder of originals, ``ab/ab12….jpg``, and beside each what was derived of it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made before something is put in."""
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the image of that name lies or would lie."""
        assert hash_in(name), "a name of ours"
        return self.folder / name[:2] / name

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    # — in —

    @contextmanager
    def receiving(self, *, is_plan: bool = False) -> Iterator[Path]:
        """A folder for contents on their way; gone at the end, with what was not kept."""
        incoming = None
        if not is_plan:
            incoming = self.folder / _INCOMING
            incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="meschain-images-", dir=incoming) as folder:
            yield Path(folder)

    def keep(self, received: Received, name: str) -> None:
        """Move it to its place, whole or not at all; a content that is there stays as it is."""
        path = self.path(name)
        if path.is_file() and path.stat().st_size == received.content_bytes:
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        place(received.path, path)

    # — out —

    def names(self) -> Iterator[str]:
        """Names of all originals."""
        return (path.name for path in self._files() if is_original(path.name))

    def _files(self) -> list[Path]:
        found = self.folder.glob("[0-9a-f][0-9a-f]/*")
        return sorted(path for path in found if hash_in(path.name))

    def size(self) -> tuple[int, int]:
        """How many originals, and their bytes."""
        sizes = [self.path(name).stat().st_size for name in self.names()]
        return len(sizes), sum(sizes)

    def prune(self, kept: Collection[str]) -> tuple[int, int]:
        """Delete every content whose hash is not ``kept``: how many, and their bytes.

        What killed processes have left goes too; so nobody else may be at work (``alone``).
        """
        count = size = 0
        for left in (self.folder / _INCOMING, *self.folder.glob(f"*/{UNFINISHED}*")):
            shutil.rmtree(left, ignore_errors=True)
        for path in self._files():
            if hash_in(path.name) in kept:
                continue
            if is_original(path.name):
                count, size = count + 1, size + path.stat().st_size
            path.unlink()
        return count, size

    # — together with others —

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Nobody prunes: what is put or found here stays until its row is committed."""
        async with self._locked(fcntl.LOCK_SH):
            yield

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody else puts or counts on anything."""
        async with self._locked(fcntl.LOCK_EX):
            yield

    @asynccontextmanager
    async def _locked(self, kind: int) -> AsyncIterator[None]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, handle, kind)
            yield
        finally:
            os.close(handle)


class Readable(Protocol):
    """A content, piece by piece."""

    def read(self, size: int, /) -> bytes: ...


def receive(source: Readable, path: Path) -> Received:
    """Copy a content, of at most ``BYTES_MAX``, to ``path``. Raises: ImageRefused, OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while piece := source.read(_PIECE_BYTES):
            size += len(piece)
            if size > BYTES_MAX:
                raise too_large()
            digest.update(piece)
            file.write(piece)
    if not size:
        raise ImageRefused(ImageReason.EMPTY)
    return Received(path, digest.hexdigest(), size)


def too_large() -> ImageRefused:
    return ImageRefused(ImageReason.TOO_LARGE, megabytes=str(BYTES_MAX >> 20))


def place(source: Path, target: Path) -> None:
    """Move a file of the same disk, so that after a power cut it is there whole or not at all."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
