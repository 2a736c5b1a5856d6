"""The sandbox as a process of its own: what the demo starts, and the handle it keeps.

The pipe to its standard input is its lifeline. An orderly end is said on it; when it merely
breaks, the demo was killed, and the sandbox ends what the demo left running before it ends itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import uvloop

from meschain.demo.plan import ECONOMY_FACTOR, SEED, stage_settings
from meschain.registry import marketplaces
from meschain.sandbox.economy import EconomySettings
from meschain.sandbox.facade import AccountLine
from meschain.sandbox.host import PORT_DEFAULT, SandboxHost, run_sandbox
from meschain.store.embedded import EmbeddedPostgres, EmbeddedPostgresError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_GOODBYE: Final = b"end\n"
_START_S: Final = 30.0
_STOP_S: Final = 1.5
_RELEASE_S: Final = 3.0
_POLL_S: Final = 0.05


class SandboxFailed(RuntimeError):
    """The sandbox did not start; the text is what it said."""


@contextlib.asynccontextmanager
async def sandbox_process(postgres: Path) -> AsyncIterator[list[AccountLine]]:
    """Run a sandbox beside us and yield its accounts. ``postgres``: what it ends if we are killed.

    It has a session of its own, so that Ctrl-C reaches us alone and all ends in order.
    Raises SandboxFailed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "meschain.demo.sandbox", str(postgres)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    said = asyncio.create_task(_tail(process))
    try:
        async with asyncio.timeout(_START_S):
            accounts = await _accounts(process)
        if len(accounts) < len(marketplaces()):
            raise SandboxFailed(await said)
        yield accounts
    finally:
        await _end(process)
        await said


async def _accounts(process: asyncio.subprocess.Process) -> list[AccountLine]:
    assert process.stdout is not None
    accounts: list[AccountLine] = []
    for _ in marketplaces():
        line = await process.stdout.readline()
        if not line:
            break
        accounts.append(msgspec.json.decode(line, type=AccountLine))
    return accounts


async def _tail(process: asyncio.subprocess.Process) -> str:
    """What it says on standard error; read all the time, so that it never waits for us."""
    assert process.stderr is not None
    said = b""
    while chunk := await process.stderr.read(4_096):
        said = (said + chunk)[-4_096:]
    return said.decode("utf-8", "replace").strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(_GOODBYE)
        process.stdin.close()
    for stop in (process.terminate, process.kill):
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
                return
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                stop()
    await process.wait()


# — in the process itself —


async def _serve() -> bool:
    """Serve until the pipe ends; whether the end was an orderly one."""
    stage = stage_settings()
    host = SandboxHost(
        {name: market.facade_factory() for name, market in marketplaces().items()},
        seed=SEED,
        settings={name: settings.facade for name, settings in stage.items()},
        tier={name: settings.tier for name, settings in stage.items()},
        economy=EconomySettings(factor=ECONOMY_FACTOR),
        port=PORT_DEFAULT,
    )
    stopping = asyncio.Event()
    watch = asyncio.create_task(_watch(stopping))
    await run_sandbox(host, as_json=True, stopping=stopping)
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await watch
    return True  # ended by a signal


async def _watch(stopping: asyncio.Event) -> bool:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    said = await reader.read()
    stopping.set()
    return said == _GOODBYE


def main() -> None:
    postgres = Path(sys.argv[1])
    is_orderly = False
    try:
        is_orderly = uvloop.run(_serve())
    finally:
        if not is_orderly:
            _end_database(postgres)


def _end_database(folder: Path) -> None:
    """End what the killed demo left running, unless another demo has it already."""
    until_s = time.monotonic() + _RELEASE_S
    while True:
        try:
            EmbeddedPostgres(folder).end_orphan()
        except (EmbeddedPostgresError, OSError):
            # A process being killed closes its pipes before its locks.
            if time.monotonic() > until_s:
                return
            time.sleep(_POLL_S)
        else:
            return


if __name__ == "__main__":
    main()
