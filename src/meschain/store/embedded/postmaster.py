"""What a data directory says about the server that runs, or ran, over it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

SUPERUSER = "postgres"
# One server a socket folder, so the number is always the same.
PORT = 5432
CONNECT_TIMEOUT_S = 5
# Between writing its file and noting its own start, a server lets a moment pass.
START_TOLERANCE_S = 60


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The server's own account of itself, from `postmaster.pid`."""

    pid: int
    cluster: Path
    started_at_unix_s: int
    socket_dir: Path
    status: str

    @classmethod
    def read(cls, cluster: Path) -> Postmaster | None:
        """Read `postmaster.pid`; None when it is absent or not yet whole."""
        try:
            lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return cls(
                pid=int(lines[0]),
                cluster=Path(lines[1]),
                started_at_unix_s=int(lines[2]),
                socket_dir=Path(lines[4]),
                status=lines[7].strip() if len(lines) > 7 else "starting",
            )
        except (FileNotFoundError, IndexError, ValueError):
            return None

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"

    def is_running(self) -> bool:
        """Whether the process is alive and is a server over this very data directory.

        A number alone says little: after a restart of the machine or the container it is another's.
        """
        try:
            process = psutil.Process(self.pid)
            arguments = process.cmdline()
        except psutil.Error:
            # Gone, or dead and not yet collected by its parent.
            return False
        return "-D" in arguments and str(self.cluster) in arguments

    def answers(self) -> bool:
        """Whether the socket is answered by the server of this data directory and this start."""
        try:
            with psycopg.connect(
                server_url(self.socket_dir, "postgres"), connect_timeout=CONNECT_TIMEOUT_S
            ) as connection:
                row = connection.execute(
                    "SELECT current_setting('data_directory'),"
                    " extract(epoch FROM pg_postmaster_start_time())::bigint"
                ).fetchone()
        except psycopg.OperationalError:
            return False
        assert row is not None
        started_apart_s = abs(row[1] - self.started_at_unix_s)
        return Path(row[0]) == self.cluster and started_apart_s < START_TOLERANCE_S


def disown(cluster: Path) -> None:
    """Take away a dead server's claim to a number that now belongs to another process.

    The file itself must stay: from its other lines the next server learns whether workers of the
    dead one still hold the shared memory. A number equal to its parent's is one it disregards.
    """
    path = cluster / "postmaster.pid"
    _, _, rest = path.read_text(encoding="utf-8").partition("\n")
    path.write_text(f"{os.getpid()}\n{rest}", encoding="utf-8")


def home_of(data_dir: Path) -> Path:
    """Where the cluster lies: the server's user may not have been able to enter ``data_dir``."""
    try:
        return Path((data_dir / "location").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return data_dir


def server_url(socket_dir: Path, database: str) -> str:
    return (
        f"postgresql://{SUPERUSER}@/{database}?host={quote(str(socket_dir), safe='')}&port={PORT}"
    )
