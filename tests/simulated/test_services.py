"""The services of ``deploy/systemd`` as real processes: they reload and end as they say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from meschain.telemetry import log_files
from tests.unit.test_deploy import UNITS

pytestmark = pytest.mark.slow


def until(is_so: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + 180
    while not is_so():
        assert time.monotonic() < ends_s
        time.sleep(0.05)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_service_is_reloaded_and_ends_in_good_order_within_the_time_its_unit_gives(
    path: Path, database_url: str, tmp_path: Path
) -> None:
    unit = dict(
        re.findall(r"^(Exec\w+|TimeoutStopSec)=(.+)$", path.read_text("utf-8"), re.MULTILINE)
    )
    words = unit["ExecStart"].replace(" 8080", " 0").split()[1:]
    said = tmp_path / "said.txt"
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "MESCHAIN_HOME": str(tmp_path),
        "MESCHAIN_LANG": "en",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "meschain", *words],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: b"http://127.0.0.1" in said.read_bytes() or is_known(database_url))
        if "ExecReload" in unit:
            assert unit["ExecReload"] == "kill -HUP $MAINPID"
            (tmp_path / "settings.toml").write_text('log_level = "debug"\n', encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            until(
                lambda: any(
                    '"log_level":"debug"' in each.path.read_text("utf-8")
                    for each in log_files(tmp_path / "logs")
                )
            )
        process.terminate()
        assert process.wait(int(unit["TimeoutStopSec"])) == 0, said.read_text("utf-8")
        assert not is_known(database_url)
        assert not (tmp_path / "hub.json").exists()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def is_known(database_url: str) -> bool:
    """Whether somebody says that it serves accounts."""
    with psycopg.connect(database_url) as connection:
        return bool(connection.execute("SELECT 1 FROM worker").fetchall())
