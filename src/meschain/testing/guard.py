"""Whoever borrows a database – a test run, a benchmark, a chaos run – leaves none behind.

A process of its own holds the other end of a pipe. An orderly end is said on it; when it merely
breaks, the borrower was killed, and the guard ends its programs and removes its databases.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from meschain.store.embedded import EmbeddedPostgres
from meschain.store.embedded.postmaster import Postmaster, home_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# In the environment of everything the borrower starts; what has it is ended with the borrower.
MARK: Final = "MESCHAIN_GUARDED"
_GOODBYE: Final = "end\n"
_END_S: Final = 5.0
_POLL_S: Final = 0.05


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """While inside, whatever kills us takes the databases under ``folder`` with it.

    Programs started inside go too, unless they begin a guard of their own.
    """
    mark = uuid.uuid4().hex
    before = os.environ.pop(MARK, None)
    guard = subprocess.Popen(
        [sys.executable, "-m", "meschain.testing.guard", str(folder), mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    os.environ[MARK] = mark
    try:
        yield
    finally:
        os.environ.pop(MARK, None)
        if before is not None:
            os.environ[MARK] = before
        with contextlib.suppress(BrokenPipeError):
            guard.communicate(_GOODBYE)


def databases_left(folder: Path) -> list[Path]:
    """Data folders under ``folder`` whose server runs, or whose cluster lies somewhere else."""
    return [each for each in _databases(folder) if _runs(each) or (each / "location").exists()]


def clear(data_dir: Path) -> None:
    """End the hub and the server over ``data_dir``, and remove the database."""
    lock = data_dir / "hub.lock"
    if lock.exists():
        _end_holder(lock)
    EmbeddedPostgres(data_dir).remove()


def _databases(folder: Path) -> list[Path]:
    return [Path(path) for path, _, files in os.walk(folder) if "hub.lock" in files]


def _runs(data_dir: Path) -> bool:
    postmaster = Postmaster.read(home_of(data_dir) / "cluster")
    return postmaster is not None and postmaster.is_running()


def _end_holder(lock: Path) -> None:
    """End the process that holds ``lock``; its number stands in it."""
    with lock.open("rb") as opened:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            until_s = time.monotonic() + _END_S
            while not _is_free(opened.fileno()):
                if time.monotonic() > until_s:
                    break
                with contextlib.suppress(ProcessLookupError, ValueError):
                    os.kill(int(lock.read_text(encoding="utf-8")), sign)
                time.sleep(_POLL_S)


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True


def _end_marked(mark: str) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                process.kill()


def main() -> None:
    """Wait for the end of standard input."""
    folder, mark = Path(sys.argv[1]), sys.argv[2]
    if sys.stdin.read() == _GOODBYE:
        return
    _end_marked(mark)
    for data_dir in _databases(folder):
        clear(data_dir)


if __name__ == "__main__":
    main()
