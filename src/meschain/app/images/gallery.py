"""Images as they are asked for by name: originals, and derived sizes when first wanted."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Final

from meschain.app.beside import run_beside
from meschain.domain.image import EXTENSIONS, hash_in, is_original, original_name

if TYPE_CHECKING:
    from pathlib import Path

    from meschain.app.images.store import ImageStore

log = logging.getLogger(__name__)

_PRESS_S_MAX: Final = 90.0


class Gallery:
    """Derived sizes are made one image at a time, by a process beside, and kept."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._press = asyncio.Lock()
        self._failed: set[str] = set()

    async def find(self, name: str) -> Path | None:
        """The file of that name; None: there is none, and none can be made."""
        content_hash = hash_in(name)
        if content_hash is None:
            return None
        path = self._store.path(name)
        if await asyncio.to_thread(path.is_file):
            return path
        if is_original(name) or content_hash in self._failed:
            return None
        original = await asyncio.to_thread(self._original, content_hash)
        if original is None:
            return None
        async with self._press:
            if not await asyncio.to_thread(path.is_file) and content_hash not in self._failed:
                await self._derive(original, content_hash)
        return path if await asyncio.to_thread(path.is_file) else None

    def _original(self, content_hash: str) -> Path | None:
        paths = (self._store.path(original_name(content_hash, each)) for each in EXTENSIONS)
        return next((path for path in paths if path.is_file()), None)

    async def _derive(self, original: Path, content_hash: str) -> None:
        command = (sys.executable, "-m", "meschain.app.images.press", str(original))
        try:
            async with asyncio.timeout(_PRESS_S_MAX):
                status, words = await run_beside(command)
        except TimeoutError:
            status, words = -1, "too slow"
        if status:
            # Asked again it would fail again; a restart tries anew.
            self._failed.add(content_hash)
            log.warning("image sizes were not made", extra={"image": original.name, "words": words})
