"""A process of the run: started, killed without mercy, started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_END_S: Final = 5.0
_TAIL_BYTES: Final = 6_000


@dataclass(slots=True)
class Program:
    """``python -m meschain …``; what it says goes into a file, which a failed run shows."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = field(default=None, init=False)
    deaths: int = field(default=0, init=False)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self, *, is_read: bool = False) -> None:
        """``is_read``: its standard output is ours to read."""
        assert not self.is_running
        with self.log.open("ab") as said:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "meschain", *self.arguments),
                env={**os.environ, **self.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if is_read else said,
                stderr=said,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed, nothing is said to anybody."""
        if self.process is not None and self.is_running:
            self.process.kill()
            await self.process.wait()
            self.deaths += 1

    async def end(self) -> None:
        """Ask, then insist; by its own number."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def last_words(self) -> str:
        """The end of what it said."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")
