"""Serves the façades it is given, each on its own port, beside the control interface."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final, Self, TypeVar

from aiohttp import web

from meschain.sandbox.control import Control
from meschain.sandbox.economy import Economy, EconomySettings
from meschain.sandbox.facade import AccountLine, Facade, FacadeFactory, SellerSpec

HOST: Final = "127.0.0.1"  # never anything but loopback: there is no password on the control
PORT_DEFAULT: Final = 8700
_PORTS_TRIED: Final = 200
_ACCOUNTS_MAX: Final = 1_000
# Handlers that wait on purpose (a time-out after applying) must not hold up the end.
_SHUTDOWN_S: Final = 0.5


class NoFreePort(OSError):
    """None of the ports tried could be listened on."""


def listening_socket(port: int) -> socket.socket:
    """A loopback socket that listens on ``port`` or the next free one; 0 takes any.

    Listening belongs to the attempt: with SO_REUSEADDR two processes may both bind a port, and
    only ``listen`` decides who has it.
    """
    last = min(port + _PORTS_TRIED, 65_535)
    for candidate in range(port, last + 1):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, candidate))
            listener.listen(1024)
        except OSError as refused:
            listener.close()
            if refused.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
        else:
            listener.setblocking(False)  # noqa: FBT003 – the socket's own signature
            return listener
    raise NoFreePort(errno.EADDRINUSE, f"no free port from {port} to {last}")


class SandboxHost:
    """One economy behind many façades; an async context manager."""

    def __init__(
        self,
        facade_factories: Mapping[str, FacadeFactory],
        *,
        seed: int = 1,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        economy: EconomySettings | None = None,
        accounts_per_marketplace: int | Mapping[str, int] = 1,
        tier: str | Mapping[str, str] = "",
        port: int = PORT_DEFAULT,
    ) -> None:
        """``settings`` are each façade's own, by marketplace; ``port`` 0 takes any free ports."""
        self.economy = Economy(seed=seed, settings=economy or EconomySettings())
        self.world = self.economy.world
        self.facades: dict[str, Facade] = {
            marketplace: factory(self.world, (settings or {}).get(marketplace, {}))
            for marketplace, factory in sorted(facade_factories.items())
        }
        self.accounts: list[AccountLine] = []
        self.control_url = ""
        self._accounts_per_marketplace = accounts_per_marketplace
        self._tier = tier
        self._port = port
        self._urls: dict[str, str] = {}
        self._runners: list[web.AppRunner] = []
        self._begun: list[Facade] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> list[AccountLine]:
        """Serve everything and open the shops; undone as a whole when one part fails."""
        try:
            control = Control(self.economy, self.facades, self.accounts, self.open_account)
            self.control_url = await self._serve(control.application())
            for marketplace, facade in self.facades.items():
                self._begun.append(facade)
                await facade.start()
                self._urls[marketplace] = await self._serve(facade.application())
                for _ in range(_of(self._accounts_per_marketplace, marketplace, 1)):
                    self.open_account(marketplace, _of(self._tier, marketplace, ""))
            self.economy.start()
        except BaseException:
            await self.stop()
            raise
        return self.accounts

    async def stop(self) -> None:
        """End everything, at once rather than in turn; no task and no socket is left."""
        begun, self._begun = self._begun, []
        runners, self._runners = self._runners, []
        ends = await asyncio.gather(
            self.economy.stop(), *(facade.stop() for facade in begun), return_exceptions=True
        )
        ends += await asyncio.gather(
            *(runner.cleanup() for runner in runners), return_exceptions=True
        )
        broken = [end for end in ends if isinstance(end, BaseException)]
        if broken:
            raise BaseExceptionGroup("the sandbox did not end cleanly", broken)

    def open_account(self, marketplace: str, tier: str = "") -> AccountLine:
        """Open one more shop. Raises KeyError for a marketplace that is not served."""
        facade = self.facades[marketplace]
        number = 1 + sum(1 for line in self.accounts if line.marketplace == marketplace)
        assert number <= _ACCOUNTS_MAX
        shop = facade.open_shop(SellerSpec(number, tier))
        line = AccountLine(
            marketplace,
            shop.seller_id,
            {name: self._urls[marketplace] + path for name, path in facade.services.items()},
            dict(shop.credentials),
            shop.tier,
            self.control_url,
        )
        self.accounts.append(line)
        return line

    async def _serve(self, application: web.Application) -> str:
        runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S
        )
        self._runners.append(runner)
        await runner.setup()
        listener = listening_socket(self._port)
        port: int = listener.getsockname()[1]
        if self._port:
            self._port = port + 1
        await web.SockSite(runner, listener).start()
        return f"http://{HOST}:{port}"


_Setting = TypeVar("_Setting", int, str)


def _of(setting: _Setting | Mapping[str, _Setting], marketplace: str, other: _Setting) -> _Setting:
    return setting.get(marketplace, other) if isinstance(setting, Mapping) else setting


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run_sandbox(
    host: SandboxHost,
    *,
    as_json: bool,
    write: Callable[[str], object] = _print,
    stopping: asyncio.Event | None = None,
) -> None:
    """Serve ``host`` until SIGINT, SIGTERM or ``stopping``; one line per account when ready.

    With ``as_json`` the lines are the accounts and nothing else. A defect of the economy ends it
    with that exception instead of a sandbox in which nobody buys.
    """
    stopping = stopping or asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    try:
        async with host:
            for account in host.accounts:
                write(_line(account, as_json=as_json))
            if not as_json:
                write(f"control  {host.control_url}/control/state")
            stopped = asyncio.create_task(stopping.wait())
            await asyncio.wait({stopped, host.economy.task}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)


def _line(account: AccountLine, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(asdict(account), ensure_ascii=False)
    return "  ".join((account.marketplace, account.seller_id, *account.base_urls.values()))
