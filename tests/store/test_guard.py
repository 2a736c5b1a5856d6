"""Whoever borrows a database is killed, or forgets it: neither leaves it behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from meschain.testing.guard import MARK, clear, databases_left

END_S = 15

BORROWER = """
import json, os, subprocess, sys
from pathlib import Path
from meschain.store.embedded import EmbeddedPostgres
from meschain.testing.guard import guarded

folder = Path(sys.argv[1])
with guarded(folder):
    # Two databases: one is ours, the other belongs to a hub that we started.
    ours = EmbeddedPostgres(folder / "ours", settings={"fsync": "off"})
    ours.start()
    code = '''
import sys
from pathlib import Path
from meschain.store.embedded import EmbeddedPostgres
theirs = EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"})
theirs.start()
print(theirs.pid, theirs.cluster, flush=True)
sys.stdin.read()
'''
    hub = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "theirs")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    pid, cluster = hub.stdout.readline().split()
    pids = [ours.pid, hub.pid, int(pid)]
    print(json.dumps({"pids": pids, "clusters": [str(ours.cluster), cluster]}), flush=True)
    sys.stdin.read()
"""


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_killed_borrower_leaves_no_process_and_no_database(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)  # as root the clusters then lie elsewhere
    with subprocess.Popen(
        [sys.executable, "-c", BORROWER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {MARK: "another guard's"},
    ) as borrower:
        assert borrower.stdout is not None
        told = json.loads(borrower.stdout.readline())
        assert all(lives(pid) for pid in told["pids"])
        assert len(databases_left(tmp_path)) == 2
        borrower.kill()
    until_s = time.monotonic() + END_S
    while time.monotonic() < until_s and (
        any(map(lives, told["pids"])) or any(map(os.path.exists, told["clusters"]))
    ):
        time.sleep(0.05)
    assert [pid for pid in told["pids"] if lives(pid)] == []
    assert [each for each in told["clusters"] if Path(each).exists()] == []


@pytest.mark.slow
def test_what_was_forgotten_is_seen_and_cleared(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    code = """
import os, sys
from pathlib import Path
from meschain.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]) / "data", settings={"fsync": "off"})
server.start()
print(server.pid, server.cluster, flush=True)
os._exit(0)
"""
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    pid, cluster = said.stdout.split()
    assert databases_left(tmp_path) == [tmp_path / "data"]
    clear(tmp_path / "data")
    assert databases_left(tmp_path) == []
    assert not lives(int(pid))
    assert not Path(cluster).exists()
