"""A sandbox in a process of its own, and the control interface through which we look at it.

As a program (``python -m bench.sandbox``) it serves what the JSON on its command line asks for.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import uvloop

from meschain.registry import marketplaces
from meschain.sandbox.economy import EconomySettings
from meschain.sandbox.facade import AccountLine
from meschain.sandbox.host import SandboxHost, run_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

_START_S: Final = 30.0
_STOP_S: Final = 10.0
_SHELVES_A_REQUEST: Final = 20_000
_LINE_BYTES_MAX: Final = 1024 * 1024


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox shall serve: accounts and façade settings by marketplace."""

    accounts: dict[str, int]
    settings: dict[str, dict[str, str]] = {}
    journal_entries_max: int = 2_000_000


class ShelfSeed(msgspec.Struct, frozen=True, kw_only=True):
    """A listing on sale."""

    barcode: str
    stock_code: str
    quantity: int
    list_minor: int
    sale_minor: int
    title: str = "Örnek ürün, uzun adıyla"


class Entry(msgspec.Struct, frozen=True):
    """A line of the world's journal."""

    number: int
    at_us: int
    kind: str
    marketplace: str
    seller_id: str
    key: str
    facts: dict[str, object]


class ShelfView(msgspec.Struct, frozen=True):
    """What a buyer sees."""

    key: str
    barcode: str
    stock_code: str
    state: str
    quantity: int
    list_minor: int
    sale_minor: int


class _Shelves(msgspec.Struct):
    shelves: list[ShelfView]
    next_after: int | None


_ENTRY: Final = msgspec.json.Decoder(Entry)
_LINE: Final = msgspec.json.Decoder(AccountLine)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox."""

    accounts: Sequence[AccountLine]
    pid: int
    session: aiohttp.ClientSession

    @property
    def control_url(self) -> str:
        return self.accounts[0].control_url + "/control"

    async def add_shelves(self, account: AccountLine, shelves: Sequence[ShelfSeed]) -> None:
        for start in range(0, len(shelves), _SHELVES_A_REQUEST):
            body = {
                "marketplace": account.marketplace,
                "seller_id": account.seller_id,
                "shelves": shelves[start : start + _SHELVES_A_REQUEST],
            }
            async with self.session.post(
                f"{self.control_url}/shelves", data=msgspec.json.encode(body)
            ) as answer:
                assert answer.status == 201, await answer.text()

    async def shelves(self, account: AccountLine) -> list[ShelfView]:
        found: list[ShelfView] = []
        after: int | None = 0
        while after is not None:
            async with self.session.get(
                f"{self.control_url}/shelves",
                params={
                    "marketplace": account.marketplace,
                    "seller_id": account.seller_id,
                    "after": str(after),
                    "limit": "50000",
                },
            ) as answer:
                page = msgspec.json.decode(await answer.read(), type=_Shelves)
            found += page.shelves
            after = page.next_after
        return found

    async def journal(self, after: int) -> list[Entry]:
        """All entries that follow ``after``."""
        found: list[Entry] = []
        while True:
            async with self.session.get(
                f"{self.control_url}/journal", params={"after": str(after), "limit": "200000"}
            ) as answer:
                assert answer.status == 200, await answer.text()
                lines = (await answer.read()).splitlines()
            if not lines:
                return found
            found += map(_ENTRY.decode, lines)
            after = found[-1].number

    async def place_order(self, account: AccountLine, basket: Mapping[str, int]) -> bool:
        """Whether the buyer got it."""
        body = {
            "marketplace": account.marketplace,
            "seller_id": account.seller_id,
            "basket": basket,
        }
        async with self.session.post(
            f"{self.control_url}/orders", data=msgspec.json.encode(body)
        ) as answer:
            await answer.read()
            return answer.status == 201


@asynccontextmanager
async def sandbox(wanted: Wanted) -> AsyncIterator[Sandbox]:
    """Start one and end it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.sandbox",
        msgspec.json.encode(wanted).decode(),
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
        cwd=Path(__file__).parent.parent,
        start_new_session=True,  # Ctrl-C is for us; we end it
    )
    assert process.stdout is not None
    try:
        accounts: list[AccountLine] = []
        async with asyncio.timeout(_START_S):
            while len(accounts) < sum(wanted.accounts.values()):
                line = await process.stdout.readline()
                if not line:
                    raise RuntimeError("the sandbox did not start")
                accounts.append(_LINE.decode(line))
        async with aiohttp.ClientSession() as session:
            yield Sandbox(accounts, process.pid, session)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _serve(wanted: Wanted) -> None:
    known = marketplaces()
    host = SandboxHost(
        {name: known[name].facade_factory() for name in wanted.accounts},
        settings=wanted.settings,
        economy=EconomySettings(journal_entries_max=wanted.journal_entries_max),
        accounts_per_marketplace=wanted.accounts,
        port=0,
    )
    uvloop.run(run_sandbox(host, as_json=True))


if __name__ == "__main__":
    _serve(msgspec.json.decode(sys.argv[1], type=Wanted))
