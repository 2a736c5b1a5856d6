"""Services and the container start commands that exist, and only as a plain user."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meschain.api.rest.metrics import live
from tests.unit.test_named_commands import unknown_in

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
EXPOSURE_MAX = 25  # tenths of what systemd calls exposure, of 100: "OK" ends at 44


def test_every_service_starts_a_command_that_exists() -> None:
    started = set()
    for path in UNITS:
        unit = path.read_text("utf-8")
        (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
        assert command.startswith("meschain "), path.name
        assert unknown_in(command) is None, path.name
        started.add(command.split()[1])
        assert re.search(r"^(User=meschain|DynamicUser=yes)$", unit, re.MULTILINE), path.name
        assert re.search(r"^Restart=on-failure$", unit, re.MULTILINE), path.name
    assert started == {"up", "worker", "sandbox"}


def test_the_container_starts_a_command_that_exists_as_a_plain_user(tmp_path: Path) -> None:
    file = (DEPLOY / "Containerfile").read_text("utf-8")
    entry = json.loads(re.findall(r"^ENTRYPOINT (.+)$", file, re.MULTILINE)[0])
    command = json.loads(re.findall(r"^CMD (.+)$", file, re.MULTILINE)[0])
    assert unknown_in(" ".join([*entry, *command])) is None
    assert file.rindex("\nUSER meschain\n") < file.index("\nENTRYPOINT ")
    for line in re.findall(r"^COPY (?!--from)(.+)$", file, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (DEPLOY.parent / name).exists(), name
    (base,) = re.findall(r"^ARG BASE=(.+)$", file, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", file, re.MULTILINE)) == {"${BASE}"}
    assert "/" not in base, "names a registry's host"
    check = json.loads(re.findall(r"^    CMD (\[.+\])$", file, re.MULTILINE)[0])
    assert check[:2] == ["python3", "-c"]
    (path,) = re.findall(r"/health/\w+", check[2])
    assert path in live.paths
    assert is_healthy(check[2], tmp_path), "a worker has no address"
    (tmp_path / "hub.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1}', "utf-8")
    assert not is_healthy(check[2], tmp_path), "nobody answers there"


def is_healthy(code: str, home: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MESCHAIN_HOME": str(home)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0


@pytest.fixture
def verified(tmp_path: Path) -> list[Path]:
    """The units with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    program = tmp_path / "meschain"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    units = []
    for path in UNITS:
        unit = tmp_path / path.name.replace("@", "@1")
        text = path.read_text("utf-8").replace("ExecStart=meschain ", f"ExecStart={program} ")
        unit.write_text(text, encoding="utf-8")
        units.append(unit)
    return units


def analyze(*words: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *words],  # noqa: S607 – wherever it is
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_systemd_understands_every_service(verified: list[Path]) -> None:
    assert analyze("verify", "--man=no", *map(str, verified)).strip() == ""


def test_services_are_shut_in_as_far_as_they_can_be(verified: list[Path]) -> None:
    for unit in verified:
        analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(unit))
