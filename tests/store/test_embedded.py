"""The supervisor against real servers: every start, death and user in here is a real one."""

from __future__ import annotations

import errno
import json
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from meschain.store.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    find_binaries,
    server,
    tuning,
)
from meschain.store.embedded.binaries import all_binaries, copy_binaries
from meschain.store.embedded.postmaster import Postmaster, server_url
from meschain.store.embedded.server_user import ServerUser

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="becomes other users, which only root may do"
)
NAMELESS_UID = 54321
CHILD_TIMEOUT_S = 60
SETTLE_TIMEOUT_S = 15

# Imports come before the change of user: the tree may lie where that user cannot go.
CHILD_PRELUDE = """
import json, os, sys, time
from pathlib import Path
import psycopg
from meschain.store.embedded import EmbeddedPostgres, EmbeddedPostgresError
folder, uid = Path(sys.argv[1]), int(sys.argv[2])
if uid:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own; for the data folders under test."""
    path = Path(tempfile.mkdtemp(prefix="meschain-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def programs() -> Iterator[str | None]:
    """Programs that every user can reach, copied once where the tree lies in a closed home."""
    found = find_binaries()
    with tempfile.TemporaryDirectory(prefix="meschain-test-") as home:
        Path(home).chmod(0o755)
        somebody = ServerUser(NAMELESS_UID, NAMELESS_UID, is_other=True)
        is_open = somebody.can_enter(found.folder)
        yield None if is_open else str(copy_binaries(found, Path(home)).folder)


@pytest.fixture
def postgres(folder: Path, programs: str | None) -> Iterator[EmbeddedPostgres]:
    """A supervisor over a new data folder, not yet started; whatever runs at the end is ended.

    Without fsync, for speed: kill -9 loses nothing that was written, only a power cut would.
    """
    embedded = EmbeddedPostgres(folder / "data", binaries=programs, settings={"fsync": "off"})
    yield embedded
    embedded.remove()


def child_command(code: str, folder: Path, uid: int) -> list[str]:
    return [sys.executable, "-c", CHILD_PRELUDE + code, str(folder), str(uid)]


def run_child(code: str, folder: Path, uid: int, programs: str | None) -> dict[str, Any]:
    """Run `code` in a process that has become user `uid`; it prints one JSON object."""
    if uid:
        os.chown(folder, uid, uid)
    setting = {"MESCHAIN_PG_BIN": programs} if programs else {}
    said = subprocess.run(
        child_command(code, folder, uid),
        env={**os.environ, **setting},
        capture_output=True,
        check=False,
        text=True,
        timeout=CHILD_TIMEOUT_S,
    )
    assert said.returncode == 0, said.stderr
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


def store_value(url: str, value: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def stored_values(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM kept ORDER BY value")]


def values_once_it_answers(url: str) -> list[int]:
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        try:
            return stored_values(url)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.02)


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone, or dead and only not yet collected by its parent."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} did not end")


def test_what_is_committed_is_there_after_a_stop_and_a_start(postgres: EmbeddedPostgres) -> None:
    store_value(postgres.start(), 1)
    pid = postgres.pid
    postgres.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert stored_values(postgres.start()) == [1]


@pytest.mark.slow
def test_the_server_listens_only_on_a_short_private_socket(
    postgres: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = folder / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with psycopg.connect(postgres.start()) as connection:
        row = connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('unix_socket_directories')"
        ).fetchone()
    assert row is not None
    socket_dir = Path(row[1])
    assert row[0] == ""
    assert len(os.fsencode(socket_dir)) <= 80
    assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    postgres.stop()
    assert not socket_dir.exists()


@pytest.mark.slow
def test_the_server_is_out_of_reach_of_ctrl_c_on_our_terminal(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    assert postgres.pid is not None
    assert os.getsid(postgres.pid) == postgres.pid != os.getsid(0)


def test_a_second_hub_on_one_data_folder_is_refused(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(postgres.data_dir).start()
    assert refused.value.code == "pg.in_use"
    assert str(os.getpid()) in str(refused.value)
    assert stored_nothing(postgres.start())


def stored_nothing(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_a_killed_server_comes_back_at_the_same_address_with_all_that_was_committed(
    postgres: EmbeddedPostgres,
) -> None:
    url = postgres.start()
    store_value(url, 1)
    first = postgres.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until_s = time.monotonic() + SETTLE_TIMEOUT_S
    while postgres.pid in {None, first}:  # the new one may answer before its watcher has noted it
        assert time.monotonic() < until_s
        time.sleep(0.02)
    assert values_once_it_answers(url) == [1]


def test_a_server_whose_disk_is_gone_is_started_again_when_it_is_back(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "DISK_FULL_PAUSE_S", 0.05)
    url = postgres.start()
    store_value(url, 1)
    pid = postgres.pid
    assert pid is not None
    away = postgres.cluster.rename(postgres.cluster.with_name("away"))
    os.kill(pid, signal.SIGKILL)
    until_s = time.monotonic() + SETTLE_TIMEOUT_S
    while "its disk is full or gone" not in caplog.text:
        assert time.monotonic() < until_s
        time.sleep(0.02)
    away.rename(postgres.cluster)
    assert values_once_it_answers(url) == [1]


@pytest.mark.slow
def test_a_server_that_keeps_dying_is_given_up_and_can_be_started_by_hand(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "RESTARTS_MAX", 1)
    url = postgres.start()
    store_value(url, 1)
    for _ in range(2):
        values_once_it_answers(url)
        pid = postgres.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
    assert postgres._watcher is not None  # noqa: SLF001 -- its end is what we wait for
    with caplog.at_level(logging.CRITICAL):
        postgres._watcher.join(timeout=SETTLE_TIMEOUT_S)  # noqa: SLF001
    assert "PostgreSQL is not started again" in caplog.text
    postgres.stop()
    assert stored_values(postgres.start()) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("server_dies_too", [False, True], ids=["orphan", "both_dead"])
def test_after_a_killed_hub_the_next_one_goes_on_with_its_database(
    postgres: EmbeddedPostgres, folder: Path, *, server_dies_too: bool
) -> None:
    """A hub killed with -9 leaves its server running: the next hub must adopt it, not double it."""
    code = """
embedded = EmbeddedPostgres(folder / "data")
url = embedded.start()
with psycopg.connect(url) as connection:
    connection.execute("CREATE TABLE kept (value int)")
    connection.execute("INSERT INTO kept VALUES (7)")
print(embedded.pid, flush=True)
time.sleep(60)
"""
    hub = subprocess.Popen(child_command(code, folder, 0), stdout=subprocess.PIPE, text=True)
    assert hub.stdout is not None
    orphan = int(hub.stdout.readline())
    hub.kill()
    hub.wait(timeout=CHILD_TIMEOUT_S)
    hub.stdout.close()
    if server_dies_too:
        os.kill(orphan, signal.SIGKILL)
    assert stored_values(postgres.start()) == [7]
    assert (postgres.pid == orphan) is not server_dies_too
    postgres.stop()
    wait_for_end(orphan)


@pytest.mark.slow
def test_an_orphan_that_does_not_answer_is_replaced(
    postgres: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the socket was swept from /tmp while no hub was there."""
    monkeypatch.setattr(server, "ANSWER_TIMEOUT_S", 0.2)
    code = """
embedded = EmbeddedPostgres(folder / "data")
embedded.start()
print(embedded.pid, flush=True)
os._exit(0)
"""
    said = subprocess.run(
        child_command(code, folder, 0), capture_output=True, check=True, text=True, timeout=60
    )
    orphan = Postmaster.read(postgres.cluster)
    assert orphan is not None
    assert orphan.pid == int(said.stdout)
    shutil.rmtree(orphan.socket_dir)
    assert stored_nothing(postgres.start())
    assert postgres.pid != orphan.pid
    wait_for_end(orphan.pid)


@pytest.mark.slow
def test_a_process_number_that_is_now_anothers_stops_nobody(postgres: EmbeddedPostgres) -> None:
    """After a container restarts, the number in postmaster.pid may well be our own neighbour's."""
    store_value(postgres.start(), 1)
    assert postgres.pid is not None
    pid_file = postgres.cluster / "postmaster.pid"
    left_behind = pid_file.read_text()
    postgres.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as neighbor:
        pid_file.write_text(left_behind.replace(str(left_behind.split()[0]), str(neighbor.pid), 1))
        assert stored_values(postgres.start()) == [1]
        assert neighbor.poll() is None
        neighbor.kill()


@pytest.mark.slow
def test_an_interrupted_creation_is_begun_again(postgres: EmbeddedPostgres) -> None:
    partial = postgres.data_dir / "cluster.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    assert stored_nothing(postgres.start())
    assert not partial.exists()


@pytest.mark.slow
def test_a_small_shared_memory_folder_is_survived(
    postgres: EmbeddedPostgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container gives 64 MB: parallel queries then share memory through files instead."""
    monkeypatch.setattr(tuning, "SHARED_MEMORY_FOLDER", folder / "absent")
    monkeypatch.setattr(tuning, "dynamic_shared_memory_type", lambda: "mmap")
    with psycopg.connect(postgres.start()) as connection:
        kind = connection.execute("SHOW dynamic_shared_memory_type").fetchone()
        connection.execute("SET parallel_setup_cost = 0")
        connection.execute("SET parallel_tuple_cost = 0")
        connection.execute("SET min_parallel_table_scan_size = 0")
        connection.execute("CREATE TABLE many AS SELECT generate_series(1, 100000) AS value")
        total = connection.execute("SELECT sum(value) FROM many").fetchone()
    assert kind == ("mmap",)
    assert total == (5000050000,)


def test_the_size_of_the_shared_memory_folder_decides() -> None:
    assert tuning.dynamic_shared_memory_type() in ("posix", "mmap")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no such folder")
def test_without_a_shared_memory_folder_files_are_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "SHARED_MEMORY_FOLDER", folder / "absent")
    assert tuning.dynamic_shared_memory_type() == "mmap"


@pytest.mark.slow
def test_a_commit_is_on_disk_before_it_is_answered(folder: Path) -> None:
    """The hub's server is tuned in many ways, but never in what a commit means."""
    with (
        EmbeddedPostgres(folder / "data") as postgres,
        psycopg.connect(postgres.start()) as connection,
    ):
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",), name


# ---------------------------------------------------------------- programs and versions


def test_a_setting_without_programs_is_refused(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError) as refused:
        find_binaries(str(folder))
    assert refused.value.code == "pg.setting_invalid"
    assert str(folder) in str(refused.value)


@pytest.mark.slow
def test_the_environment_names_the_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = copy_binaries(find_binaries(), folder)
    monkeypatch.setenv("MESCHAIN_PG_BIN", str(copied.folder))
    assert find_binaries().folder == copied.folder
    assert find_binaries().origin == "setting"


def two_versions() -> tuple[str, str]:
    """Folders of an older and a newer version; skips where only one is installed."""
    by_major = {each.major: str(each.folder) for each in all_binaries(None)}
    if len(by_major) < 2:
        pytest.skip("needs two versions of PostgreSQL, here is only one")
    return by_major[min(by_major)], by_major[max(by_major)]


@pytest.mark.slow
def test_a_cluster_of_another_version_is_left_alone_and_the_upgrade_is_named(
    folder: Path,
) -> None:
    older, newer = two_versions()
    with EmbeddedPostgres(folder / "data", binaries=older) as first:
        store_value(first.start(), 1)
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(folder / "data", binaries=newer).start()
    assert refused.value.code == "pg.version_mismatch"
    assert "pg_upgrade" in str(refused.value)
    # Left to choose for itself, the supervisor takes the programs that fit.
    with EmbeddedPostgres(folder / "data") as chosen:
        assert stored_values(chosen.start()) == [1]


@pytest.mark.slow
def test_a_cluster_of_a_later_version_is_left_alone(folder: Path) -> None:
    older, newer = two_versions()
    with EmbeddedPostgres(folder / "data", binaries=newer):
        pass
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(folder / "data", binaries=older).start()
    assert refused.value.code == "pg.version_newer"


# ---------------------------------------------------------------- users

USE_A_DATABASE = """
with EmbeddedPostgres(folder / "data") as embedded:
    with psycopg.connect(embedded.start()) as connection:
        answer = connection.execute("SELECT 6 * 7").fetchone()[0]
    owner = os.stat(embedded.cluster).st_uid
print(json.dumps({"answer": answer, "owner": owner, "uid": os.getuid()}))
"""


@pytest.mark.slow
@needs_root
def test_a_plain_user_runs_it_as_themselves(folder: Path, programs: str | None) -> None:
    uid = pwd.getpwnam("nobody").pw_uid
    answer = run_child(USE_A_DATABASE, folder, uid, programs)
    assert answer == {"answer": 42, "owner": uid, "uid": uid}


@pytest.mark.slow
@needs_root
@pytest.mark.skipif(sys.platform != "linux", reason="only containers have users without a name")
def test_a_user_without_a_passwd_entry_runs_it_too(folder: Path, programs: str | None) -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(NAMELESS_UID)
    answer = run_child(USE_A_DATABASE, folder, NAMELESS_UID, programs)
    assert answer == {"answer": 42, "owner": NAMELESS_UID, "uid": NAMELESS_UID}


@pytest.mark.slow
@needs_root
def test_anothers_database_is_refused(
    folder: Path, postgres: EmbeddedPostgres, programs: str | None
) -> None:
    postgres.start()
    owner = postgres.cluster.stat().st_uid
    postgres.stop()
    postgres.data_dir.chmod(0o777)
    (postgres.data_dir / "hub.lock").unlink()
    code = """
try:
    EmbeddedPostgres(folder / "data").start()
except EmbeddedPostgresError as error:
    print(json.dumps({"code": error.code, "owner": error.params["owner"]}))
"""
    answer = run_child(code, folder, NAMELESS_UID, programs)
    assert answer == {"code": "pg.wrong_owner", "owner": owner}


@needs_root
def test_root_runs_it_as_someone_with_less(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    assert postgres.pid is not None
    process = psutil.Process(postgres.pid)
    assert process.uids().effective != 0
    assert process.uids().saved != 0
    assert process.gids().effective != 0


@pytest.mark.slow
@needs_root
def test_root_in_a_closed_home_changes_no_permission_above_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the programs nor the data folder can be reached: both find another place."""
    home = folder / "root"
    home.mkdir(mode=0o700)
    (home / "share").mkdir(mode=0o755)
    hidden = copy_binaries(find_binaries(), home)
    monkeypatch.setattr(server, "REACHABLE_FOLDER", folder / "lib")
    modes = {path: path.stat().st_mode for path in (folder, home, home / "share")}

    postgres = EmbeddedPostgres(home / "share" / "data", binaries=str(hidden.folder))
    store_value(postgres.start(), 1)
    assert postgres.cluster.is_relative_to(folder / "lib")
    postgres.stop()
    assert stored_values(postgres.start()) == [1]

    assert {path: path.stat().st_mode for path in modes} == modes
    postgres.remove()
    assert not (home / "share" / "data").exists()
    assert not (folder / "lib").exists()


@needs_root
def test_a_system_that_forbids_switching_users_is_told_what_to_do(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **how: object) -> None:
        assert how["user"] != 0
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("meschain.store.embedded.server_user.subprocess.run", refuse)
    with pytest.raises(EmbeddedPostgresError) as refused:
        postgres.start()
    assert refused.value.code == "pg.user_switch_forbidden"
    assert "DATABASE_URL" in str(refused.value)


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    in_the_way = folder / "file"
    in_the_way.write_text("")
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(in_the_way / "data").start()
    assert refused.value.code == "pg.folder_unwritable"
    assert str(in_the_way) in str(refused.value)


def test_the_address_is_a_url_that_other_tools_understand() -> None:
    url = server_url(Path("/tmp/a b"), "meschain")  # noqa: S108 -- only a text here
    assert url == "postgresql://postgres@/meschain?host=%2Ftmp%2Fa%20b&port=5432"
