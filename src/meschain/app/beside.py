"""Work beside the hub: each piece by a process of its own, so that no lane waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

_END_S: Final = 2.0  # the hub as a whole ends within 3 s


async def run_beside(command: Sequence[str]) -> tuple[int, str]:
    """Run it to its end: its exit status and the last line it said of what went wrong.

    Cancelled, it ends the process too.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        raise
    lines = said.decode(errors="replace").strip().splitlines()
    assert process.returncode is not None
    return process.returncode, lines[-1] if lines else ""
