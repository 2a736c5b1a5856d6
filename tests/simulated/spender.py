"""A process with accounts that share quotas with those of other processes; see test_workers.

``python -m tests.simulated.spender DATABASE_URL KEY_FILE SERVER_URL CALLS MERCHANT…`` – an account
of each merchant named makes so many calls of each operation.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from meschain.bootstrap import Hub, HubSettings
from meschain.channel.capability import Operation
from meschain.channel.contract import Call, Priority
from meschain.channel.http import HttpRequest
from meschain.channel.transport import HttpTransport
from tests.unit.test_pacing import manifest, quota

WINDOW_S = 2.0
LIMITS = {"catalog": 12, "upload": 4}
MARKET = manifest(
    [
        quota("ip", LIMITS["catalog"], WINDOW_S, scope="egress_ip"),
        quota("own", LIMITS["upload"], WINDOW_S, scope="merchant"),
    ],
    catalog=Operation(quotas=("ip",)),
    upload=Operation(quotas=("own",)),
)


async def spend(url: str, key: str, server: str, calls: int, merchants: list[int]) -> None:
    async with Hub.opened(HubSettings(url, Path(key), loopback_only=True)) as hub:

        async def call(transport: HttpTransport, operation: str, merchant: int) -> None:
            request = HttpRequest(operation, "GET", f"{server}/{operation}/{merchant}")
            await transport.send(request, Call(Priority.NORMAL))

        async with asyncio.TaskGroup() as group:
            for merchant in merchants:
                pacer = hub.pacer(MARKET, "", merchant)
                transport = HttpTransport(hub.session, pacer, MARKET.operations, hub.clock)
                for operation in LIMITS:
                    for _ in range(calls):
                        group.create_task(call(transport, operation, merchant))


if __name__ == "__main__":
    given_url, given_key, given_server, count, *named = sys.argv[1:]
    asyncio.run(
        spend(given_url, given_key, given_server, int(count), [int(name) for name in named])
    )
