"""Reaching the database: a server of one's own, the embedded one, or that of a running hub."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import msgspec
import psycopg

from meschain.cli.failure import Failure
from meschain.store.embedded import EmbeddedPostgres, EmbeddedPostgresError
from meschain.store.embedded.postmaster import Postmaster, home_of, server_url
from meschain.store.embedded.server import DATABASE
from meschain.store.migrate import migrate

if TYPE_CHECKING:
    from meschain.cli.output import Output
    from meschain.settings import Settings

_CONNECT_TIMEOUT_S: Final = 5
_JOIN_S: Final = 15.0  # a hub that is just starting may have to make its database first
_COMMANDS_END_S: Final = 10.0  # a hub that starts waits so long for commands to end
_STOP_PATIENCE_S: Final = 1.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Reached:
    """A database that answers, migrated. ``is_joined``: it belongs to a running hub."""

    url: str
    is_joined: bool = False


class HubAddress(msgspec.Struct, frozen=True):
    """Where a running hub is reached; lies in the data folder, locked, while it runs."""

    url: str
    pid: int


@contextmanager
def reached_by_command(
    settings: Settings, out: Output, *, is_migrated: bool = True, may_begin: bool = False
) -> Iterator[Reached]:
    """For as long as a command needs it: DATABASE_URL, else the embedded server.

    The embedded server belongs to whoever holds its folder's lock. Commands hold a second lock
    beside it, shared: the one that started the server stops it only when the others are done.
    ``is_migrated`` False: whoever only looks takes the schema as it is. ``may_begin``: also with an
    empty database beside a master key, as a restore does. Raises Failure.
    """
    if settings.database_url:
        yield _own_server(settings.database_url, is_migrated=is_migrated)
        return
    settings.make_home()
    users = os.open(settings.home / "commands.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(users, fcntl.LOCK_SH)
        server = EmbeddedPostgres(settings.postgres_dir)
        if database_is_new(settings, may_begin=may_begin):
            out.note("cli.database.creating")
        url = _start_unless_held(server)
        if url is None:
            yield Reached(_join(settings), is_joined=True)
            return
        try:
            if is_migrated:
                migrate(url)
            yield Reached(url)
        finally:
            if is_locked(users):
                out.note("cli.database.waiting_for_commands")
                fcntl.flock(users, fcntl.LOCK_EX)
            server.stop(patience_s=_STOP_PATIENCE_S)
    finally:
        os.close(users)


@contextmanager
def reached_by_hub(
    settings: Settings, out: Output, *, may_begin: bool = False
) -> Iterator[Reached]:
    """For a hub, which owns the embedded server: a second hub on the folder is refused."""
    if settings.database_url:
        yield _own_server(settings.database_url)
        return
    settings.make_home()
    database_is_new(settings, may_begin=may_begin)
    server = EmbeddedPostgres(settings.postgres_dir)
    url = _start(server, settings, out)
    try:
        migrate(url)
        yield Reached(url)
    finally:
        server.stop(patience_s=_STOP_PATIENCE_S)


def database_is_new(settings: Settings, *, may_begin: bool) -> bool:
    """Whether the embedded database is still to be made.

    The master key is made by the first hub, after its database: where only the key is left, the
    database is gone, and an empty one would be taken for it. Raises Failure unless ``may_begin``.
    """
    cluster = home_of(settings.postgres_dir) / "cluster"
    if cluster.exists():
        return False
    if settings.master_key.exists() and not may_begin:
        raise Failure("database_gone", folder=str(cluster), file=str(settings.master_key))
    return True


def _start_unless_held(server: EmbeddedPostgres) -> str | None:
    """The URL of the server, started; None: another process of ours has it."""
    try:
        return server.start()
    except EmbeddedPostgresError as refused:
        if refused.code != "pg.in_use":
            raise
        return None


def _own_server(url: str, *, is_migrated: bool = True) -> Reached:
    # Asked once with a short patience: a pool would try for half a minute before it says so.
    with psycopg.connect(url, connect_timeout=_CONNECT_TIMEOUT_S):
        pass
    if is_migrated:
        migrate(url)
    return Reached(url)


def _start(server: EmbeddedPostgres, settings: Settings, out: Output) -> str:
    until_s = time.monotonic() + _COMMANDS_END_S
    is_told = False
    while True:
        try:
            return server.start()
        except EmbeddedPostgresError as refused:
            is_waiting = refused.code == "pg.in_use" and _commands_run(settings)
            if not is_waiting or time.monotonic() > until_s:
                raise
        if not is_told:
            out.note("cli.database.waiting_for_commands")
            is_told = True
        time.sleep(_POLL_S)


def _commands_run(settings: Settings) -> bool:
    users = os.open(settings.home / "commands.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        return is_locked(users)
    finally:
        os.close(users)


def is_locked(file: int | IO[bytes]) -> bool:
    """Whether a living process holds a lock on it: locks end with their process, however it ends.

    Where nobody does, it is ours until ``file`` is closed.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _join(settings: Settings) -> str:
    """The URL of the server that another process of ours has started."""
    until_s = time.monotonic() + _JOIN_S
    while time.monotonic() < until_s:
        postmaster = Postmaster.read(home_of(settings.postgres_dir) / "cluster")
        if postmaster is not None and postmaster.is_ready and postmaster.answers():
            url = server_url(postmaster.socket_dir, DATABASE)
            if _is_migrated(url):
                return url
        time.sleep(_POLL_S)
    raise Failure("hub_database_away")


def _is_migrated(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            connection.execute("SELECT 1 FROM hub")
    except psycopg.Error:
        return False  # its owner is about to make it
    return True
