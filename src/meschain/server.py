"""The API and the live page, served inside the hub's own event loop on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvicorn

from meschain.api.app import create_app
from meschain.api.parts import Parts
from meschain.app.images.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meschain.app.images.store import ImageStore
    from meschain.bootstrap import Hub

HOST: Final = "127.0.0.1"  # until there are sessions; see api.app
PORT_USUAL: Final = 8080
_PORTS_TRIED: Final = 200
_STOP_S: Final = 0.8  # then what still runs is cut off


class NoFreePort(OSError):
    """None of the ports tried could be listened on."""


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class ServerHandle:
    """A server that is up."""

    url: str
    port: int
    parts: Parts
    _server: _Server
    _task: asyncio.Task[None]

    async def stop(self) -> None:
        """End it within a second; listeners of the feed are let go first."""
        self.parts.stopping.set()
        self._server.should_exit = True
        _, late = await asyncio.wait({self._task}, timeout=_STOP_S)
        if late:
            self._server.force_exit = True
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def serve(
    hub: Hub,
    port: int = PORT_USUAL,
    *,
    merchant_id: int | None = None,
    images: ImageStore | None = None,
) -> ServerHandle:
    """Serve ``hub`` on ``port``, or on the next free one; 0 takes any. Raises NoFreePort."""
    listener = _listen(port)
    gallery = None if images is None else Gallery(images)
    parts = Parts(hub.database, hub.clock, hub.engine, merchant_id, gallery)
    server = _Server(
        uvicorn.Config(
            create_app(parts),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]), name="server")
    while not server.started and not task.done():  # noqa: ASYNC110 – it offers a flag, no event
        await asyncio.sleep(0.002)
    if task.done():
        await task
    taken: int = listener.getsockname()[1]
    return ServerHandle(f"http://{HOST}:{taken}", taken, parts, server, task)


def _listen(port: int) -> socket.socket:
    """Bound and listening: with SO_REUSEADDR only ``listen`` decides who has the port."""
    for candidate in range(port, min(port + _PORTS_TRIED, 65_536)):
        # The protocol by name: only then does asyncio switch off Nagle's delay, 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, candidate))
            listener.listen(1024)
        except OSError as refused:
            listener.close()
            if refused.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
        else:
            return listener
    raise NoFreePort(errno.EADDRINUSE, f"no free port from {port} on")
