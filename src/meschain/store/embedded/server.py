"""The supervisor: starts PostgreSQL with the hub, keeps it running, ends it with the hub."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import psutil
import psycopg

from meschain.store.embedded.binaries import (
    VERSION_TIMEOUT_S,
    Binaries,
    all_binaries,
    copy_binaries,
    find_binaries,
    initdb_for_nameless_user,
)
from meschain.store.embedded.errors import EmbeddedPostgresError
from meschain.store.embedded.postmaster import (
    PORT,
    SUPERUSER,
    Postmaster,
    disown,
    home_of,
    server_url,
)
from meschain.store.embedded.server_user import ServerUser, choose_server_user
from meschain.store.embedded.tuning import server_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

log = logging.getLogger(__name__)

DATABASE: Final = "meschain"
# For a hub run by root whose data folder lies where the server's user cannot go, such as /root.
REACHABLE_FOLDER: Final = Path("/var/lib/meschain")
# A socket's whole path must stay under some 100 bytes on every system we know.
SOCKET_DIR_BYTES_MAX: Final = 80
SOCKET_PARENTS: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 -- mkdtemp is private there
LOG_BYTES_MAX: Final = 10_000_000
TAIL_BYTES: Final = 2_000

INITDB_TIMEOUT_S: Final = 120
# Replaying the log after a crash is work, not silence.
START_TIMEOUT_S: Final = 300
# The workers of a killed server need a moment to notice and let go of its memory.
RETRY_S: Final = 10
# How long a server that calls itself ready may leave its socket unanswered.
ANSWER_TIMEOUT_S: Final = 10
IMMEDIATE_STOP_S: Final = 5
POLL_S: Final = 0.01
WATCH_S: Final = 0.1
RESTARTS_MAX: Final = 5
RESTARTS_WINDOW_S: Final = 60
# Less than this, and a server cannot recover: two files of its log.
DISK_FREE_BYTES_MIN: Final = 32 * 1024 * 1024
DISK_FULL_PAUSE_S: Final = 2

# What the log says when a start failed only because the last server is not quite gone.
TRANSIENT: Final = ("pre-existing shared memory block", "lock file", "could not bind")


class EmbeddedPostgres:
    """One PostgreSQL server over one data folder that belongs to this hub alone.

    `data_dir` is the supervisor's own folder (made when absent): the database cluster, copied
    programs, the log and the lock lie in it. `binaries` names a folder of programs; see
    `find_binaries`. `settings` are further server settings, which win over ours.

    The server outlives a killed hub; the next start adopts it. While the hub lives, a server that
    dies is started again at the same address.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self._binaries_setting = binaries
        self._settings = dict(settings or {})
        self._home = self.data_dir
        self._lock: int | None = None
        self._user: ServerUser | None = None
        self._binaries: Binaries | None = None
        self._socket_dir: Path | None = None
        # The child when we started the server; None when we adopted it.
        self._process: subprocess.Popen[bytes] | None = None
        self._postmaster: Postmaster | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()

    # -------------------------------------------------------- for the hub

    def start(self) -> str:
        """Start or adopt the server and return its URL, on a unix socket; again, it only returns.

        Takes some 0.1 s, the very first time about a second, after a crash as long as the replay
        of the log. Raises: EmbeddedPostgresError, whose code says what to do.
        """
        if self._lock is not None and self._socket_dir is not None:
            return server_url(self._socket_dir, DATABASE)
        self._stopping.clear()
        try:
            self._take_lock()
            self._choose_home()
            self._choose_binaries()
            if not (self.cluster / "PG_VERSION").exists():
                self._create_cluster()
            if not self._adopt():
                self._launch()
            self._ensure_database()
        except psycopg.OperationalError as error:
            self.stop()
            raise EmbeddedPostgresError(
                "pg.start_failed", output=str(error), log=self.log_path
            ) from error
        except OSError as error:
            self._let_go()
            reason = error.strerror or str(error)
            raise EmbeddedPostgresError(
                "pg.folder_unwritable", folder=error.filename or self._home, reason=reason
            ) from error
        except EmbeddedPostgresError:
            if self._process is None and self._postmaster is None:
                self._remove_socket_dir()
            self._let_go()
            raise
        except BaseException:
            # Ctrl-C while starting: the server must not stay behind.
            self.stop()
            raise
        self._watcher = threading.Thread(target=self._watch, name="postgres-watch", daemon=True)
        self._watcher.start()
        assert self._socket_dir is not None
        return server_url(self._socket_dir, DATABASE)

    def stop(self, *, patience_s: float = 10) -> None:
        """End the server: orderly within `patience_s`, else at once; no commit is lost."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(timeout=START_TIMEOUT_S)
            self._watcher = None
        if self._process is not None or self._postmaster is not None:
            self._end(patience_s)
        self._remove_socket_dir()
        self._let_go()

    def remove(self) -> None:
        """Delete the database and everything of the supervisor's; for demonstrations and tests.

        A server that outlived its hub is ended first.
        """
        self.stop(patience_s=0.5)
        self._end_orphan()
        for folder in {self._home, self.data_dir}:
            shutil.rmtree(folder, ignore_errors=True)
        if self._home != self.data_dir:
            # The last one out; refused while another hub's cluster lies there.
            with contextlib.suppress(OSError):
                self._home.parent.rmdir()

    def end_orphan(self) -> None:
        """End a server whose hub was killed; the database stays.

        Raises: EmbeddedPostgresError `pg.in_use` when another hub has it already.
        """
        self._take_lock()
        self._end_orphan()
        self._let_go()

    def _end_orphan(self) -> None:
        self._home = home_of(self.data_dir)
        orphan = Postmaster.read(self.cluster)
        if orphan is not None and orphan.is_running():
            self._postmaster, self._socket_dir = orphan, orphan.socket_dir
            self._end(patience_s=0.5)
            self._remove_socket_dir()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the server; None while there is none."""
        return self._postmaster.pid if self._postmaster else None

    @property
    def cluster(self) -> Path:
        """The data directory proper, in PostgreSQL's sense."""
        return self._home / "cluster"

    @property
    def log_path(self) -> Path:
        return self._home / "server.log"

    # -------------------------------------------------------- folder and lock

    def _take_lock(self) -> None:
        """Claim the data folder until we end, however we end; the lock dies with the process."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.data_dir / "hub.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "?"
            os.close(lock)
            raise EmbeddedPostgresError("pg.in_use", pid=holder, data_dir=self.data_dir) from error
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._process = self._postmaster = self._socket_dir = None

    def _choose_home(self) -> None:
        """Decide where the cluster lies and whom the server runs as.

        Only our own folder's permissions are ever changed. When the server's user cannot pass the
        folders above it, the cluster lies elsewhere and the file `location` says where.
        """
        self._home = home_of(self.data_dir)
        user = self._user = choose_server_user(self.cluster)
        if not user.is_other:
            return
        user.check_switch()
        open_to_group(self._home, user.gid)
        if user.can_enter(self._home):
            return
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        self._home = REACHABLE_FOLDER / name
        REACHABLE_FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
        open_to_group(self._home, user.gid)
        (self.data_dir / "location").write_text(str(self._home), encoding="utf-8")

    # -------------------------------------------------------- programs

    def _choose_binaries(self) -> None:
        """Find programs of the cluster's version its user can run; copy if need be."""
        assert self._user is not None
        found: int | None = None
        with contextlib.suppress(FileNotFoundError):
            found = int((self.cluster / "PG_VERSION").read_text(encoding="utf-8"))
        binaries = find_binaries(self._binaries_setting, major=found)
        if found is not None and binaries.major != found:
            raise self._version_mismatch(found, binaries)
        if not self._can_run(binaries):
            binaries = copy_binaries(binaries, self._home)
            if not self._can_run(binaries):
                raise EmbeddedPostgresError(
                    "pg.binaries_unusable",
                    folder=binaries.folder,
                    reason="they cannot be executed there",
                )
        self._binaries = binaries

    def _can_run(self, binaries: Binaries) -> bool:
        assert self._user is not None
        programs = [binaries.postgres, binaries.initdb]
        return self._user.can_run(programs, timeout_s=VERSION_TIMEOUT_S)

    def _version_mismatch(self, found: int, binaries: Binaries) -> EmbeddedPostgresError:
        majors = sorted({each.major for each in all_binaries(self._binaries_setting)})
        available = ", ".join(str(major) for major in majors)
        if found > binaries.major:
            return EmbeddedPostgresError(
                "pg.version_newer", cluster=self.cluster, found=found, available=available
            )
        return EmbeddedPostgresError(
            "pg.version_mismatch",
            cluster=self.cluster,
            found=found,
            available=available,
            command=self._upgrade_command(found, binaries),
        )

    def _upgrade_command(self, found: int, binaries: Binaries) -> str:
        assert self._user is not None
        owner = self._user.name or str(self._user.uid)
        run = f"runuser -u {owner} -- " if self._user.is_other else ""
        own = f"-o {owner} " if self._user.is_other else ""
        old, new = self.cluster, self._home / "cluster.new"
        return (
            f"install -d {own}-m 700 '{new}' && cd '{new}' && "
            f"{run}'{binaries.initdb}' -D '{new}' {' '.join(INITDB_OPTIONS)} && "
            f"{run}'{binaries.folder / 'pg_upgrade'}' -U {SUPERUSER} -s /tmp"
            f" -b /usr/lib/postgresql/{found}/bin -B '{binaries.folder}' -d '{old}' -D '{new}' && "
            f"mv '{old}' '{old}.{found}' && mv '{new}' '{old}'"
        )

    # -------------------------------------------------------- the cluster

    def _create_cluster(self) -> None:
        """Run initdb beside the final place: an interrupted one leaves nothing to mistake."""
        assert self._user is not None
        assert self._binaries is not None
        partial = self._home / "cluster.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        options = ["-D", str(partial), *INITDB_OPTIONS]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        if self._user.is_other:
            os.chown(partial, self._user.uid, self._user.gid)
        with contextlib.ExitStack() as stack:
            program, environment = self._binaries.initdb, dict[str, str]()
            if self._user.name is None:
                program, environment = stack.enter_context(
                    initdb_for_nameless_user(self._binaries, self._home)
                )
            try:
                result = self._user.run(
                    [program, *options],
                    cwd=partial,
                    timeout_s=INITDB_TIMEOUT_S,
                    **environment,
                )
            except subprocess.TimeoutExpired as error:
                raise EmbeddedPostgresError(
                    "pg.initdb_failed",
                    cluster=self.cluster,
                    output=f"initdb did not end within {INITDB_TIMEOUT_S} s",
                ) from error
        if result.returncode != 0:
            output = (result.stderr or result.stdout).strip()[-TAIL_BYTES:]
            self._complain_if_disk_full(output)
            raise EmbeddedPostgresError("pg.initdb_failed", cluster=self.cluster, output=output)
        partial.rename(self.cluster)

    def _ensure_database(self) -> None:
        assert self._socket_dir is not None
        with psycopg.connect(
            server_url(self._socket_dir, "postgres"), autocommit=True
        ) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if known.rowcount == 0:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    # -------------------------------------------------------- starting

    def _adopt(self) -> bool:
        """Take over the server an earlier hub left running; False when there is none to take."""
        orphan = Postmaster.read(self.cluster)
        if orphan is None:
            return False
        self._socket_dir = orphan.socket_dir
        if not orphan.is_running():
            if psutil.pid_exists(orphan.pid):
                disown(self.cluster)
            self._remove_socket_dir()
            return False
        self._postmaster = orphan
        started = time.monotonic()
        while time.monotonic() - started < START_TIMEOUT_S:
            current = Postmaster.read(self.cluster)
            if current is None or not current.is_running():
                # It was already on its way out.
                self._postmaster = None
                return False
            if current.is_ready:
                if current.answers():
                    log.info("adopted a running PostgreSQL", extra={"pid": current.pid})
                    return True
                if time.monotonic() - started > ANSWER_TIMEOUT_S:
                    # Ours beyond doubt, and deaf, as when its socket was swept from /tmp.
                    self._end(patience_s=ANSWER_TIMEOUT_S)
                    return False
            time.sleep(POLL_S)
        raise self._start_timeout(orphan.pid)

    def _launch(self) -> None:
        """Start the server, again for some seconds while a killed one is still letting go."""
        if self._socket_dir is None or not self._socket_dir.is_dir():
            self._socket_dir = self._make_socket_dir()
        deadline = time.monotonic() + RETRY_S
        while (output := self._try_launch()) is not None:
            self._complain_if_disk_full(output)
            is_transient = any(words in output for words in TRANSIENT)
            if not is_transient or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    "pg.start_failed", output=output[-TAIL_BYTES:], log=self.log_path
                )
            time.sleep(WATCH_S)

    def _try_launch(self) -> str | None:
        """Start the server once. Returns None when it is ready, what it said when it ended."""
        assert self._user is not None
        assert self._binaries is not None
        settings = {**server_settings(self._home), **self._settings}
        command: list[str | Path] = [self._binaries.postgres, "-D", str(self.cluster)]
        command += ["-k", str(self._socket_dir), "-p", str(PORT)]
        command += [f"--{name}={value}" for name, value in settings.items()]
        # Nobody else is there now: what lies in the folder is a dead server's.
        clear_sockets(self._socket_dir)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log_file:
            said_before = log_file.tell()
            process = self._user.spawn(command, cwd=self.cluster, log=log_file.fileno())
        self._process = process
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                self._process = None
                with self.log_path.open("rb") as log_file:
                    log_file.seek(said_before)
                    return log_file.read(LOG_BYTES_MAX).decode("utf-8", errors="replace").strip()
            postmaster = Postmaster.read(self.cluster)
            if postmaster and postmaster.pid == process.pid and postmaster.is_ready:
                self._postmaster = postmaster
                return None
            if self._stopping.is_set():
                # The hub is leaving: stop() ends what stands here.
                return None
            time.sleep(POLL_S)
        raise self._start_timeout(process.pid)

    def _start_timeout(self, pid: int) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            "pg.start_timeout", pid=pid, seconds=START_TIMEOUT_S, log=self.log_path
        )

    def _complain_if_disk_full(self, output: str) -> None:
        if "No space left on device" in output:
            raise EmbeddedPostgresError("pg.disk_full", folder=self._home)

    def _make_socket_dir(self) -> Path:
        """Make a private folder for the socket, short, since the paths of sockets have a limit."""
        assert self._user is not None
        for parent in (Path(tempfile.gettempdir()), *SOCKET_PARENTS):
            is_short = len(os.fsencode(parent)) + len("/meschain-12345678") <= SOCKET_DIR_BYTES_MAX
            if is_short and parent.is_dir() and self._user.can_enter(parent):
                folder = Path(tempfile.mkdtemp(prefix="meschain-", dir=parent))
                if self._user.is_other:
                    os.chown(folder, self._user.uid, self._user.gid)
                return folder
        raise EmbeddedPostgresError(
            "pg.folder_unwritable", folder=tempfile.gettempdir(), reason="no room for a socket"
        )

    # -------------------------------------------------------- running and ending

    def _is_alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self._postmaster is not None and self._postmaster.is_running()

    def _watch(self) -> None:
        """Start the server again when it dies; give up when it keeps dying.

        A disk that is full or gone is no reason to give up: somebody will make room or attach it,
        and the server, whose last words found none either, then only has to be started.
        """
        deaths_at: list[float] = []
        is_full_told = False
        while not self._stopping.wait(WATCH_S):
            if self._is_alive():
                continue
            if not self._has_room():
                if not is_full_told:
                    words = "PostgreSQL ended: its disk is full or gone"
                    log.critical(words, extra={"pid": self.pid})
                is_full_told = True
                self._stopping.wait(DISK_FULL_PAUSE_S)
                continue
            is_full_told = False
            now = time.monotonic()
            deaths_at = [at for at in deaths_at if now - at < RESTARTS_WINDOW_S] + [now]
            try:
                self._restart(deaths=len(deaths_at))
            except (EmbeddedPostgresError, OSError) as error:
                if not self._has_room():
                    continue
                log.critical("PostgreSQL is not started again", extra={"reason": str(error)})
                self._process = self._postmaster = None
                return

    def _has_room(self) -> bool:
        try:
            return shutil.disk_usage(self.cluster).free >= DISK_FREE_BYTES_MIN
        except OSError:
            return False

    def _restart(self, *, deaths: int) -> None:
        if deaths > RESTARTS_MAX:
            raise EmbeddedPostgresError(
                "pg.crash_loop", count=deaths, seconds=RESTARTS_WINDOW_S, log=self.log_path
            )
        log.warning("PostgreSQL ended unasked; starting it again", extra={"pid": self.pid})
        self._process = None
        self._launch()
        log.warning("PostgreSQL runs again", extra={"pid": self.pid})

    def _end(self, patience_s: float) -> None:
        """Ask for a fast shutdown, then an immediate one, then insist."""
        pid = (
            self._process.pid if self._process else self._postmaster.pid if self._postmaster else 0
        )
        for sign, wait_s in (
            (signal.SIGINT, patience_s),
            (signal.SIGQUIT, IMMEDIATE_STOP_S),
            (signal.SIGKILL, IMMEDIATE_STOP_S),
        ):
            # Asked each time: a number that is no longer our server's must get no signal.
            if not self._is_alive():
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            wait_until(lambda: not self._is_alive(), timeout_s=wait_s)
        self._process = self._postmaster = None

    def _remove_socket_dir(self) -> None:
        folder = self._socket_dir
        if folder is not None and folder.name.startswith("meschain-"):
            clear_sockets(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._socket_dir = None


INITDB_OPTIONS: Final = (
    f"--username={SUPERUSER}",
    # Only the owner of the socket's folder comes as far as being trusted.
    "--auth=trust",
    "--encoding=UTF8",
    # The same order everywhere; Turkish order and folding are a key of our own.
    "--no-locale",
    "--data-checksums",
)


def open_to_group(folder: Path, gid: int) -> None:
    """Make `folder`, or change it if it is there, so that the server's group may pass, not look."""
    folder.mkdir(mode=0o710, exist_ok=True)
    os.chown(folder, -1, gid)
    folder.chmod(0o710)


def clear_sockets(folder: Path | None) -> None:
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        if folder is not None:
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def wait_until(holds: Callable[[], bool], *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(POLL_S)
