"""The demo as its command: a process of its own, its last line, its end, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from meschain.demo.folder import program_fingerprint
from meschain.demo.plan import NotADuration, seconds_of
from meschain.messages import Catalog

Figures = dict[str, object]
START_S = 45


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "meschain.demo", *arguments]


def environment(home: Path, language: str = "en") -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    source = str(Path(__file__).parents[2] / "src")
    return kept | {
        "MESCHAIN_DEMO_HOME": str(home),
        "MESCHAIN_LANG": language,
        "PYTHONPATH": source,
        "PYTHONWARNINGS": "error",
    }


def run(home: Path, *arguments: str, language: str = "en") -> tuple[int, list[str], Figures]:
    done = subprocess.run(
        command(*arguments),
        env=environment(home, language),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    figures = json.loads(lines[-1])
    assert isinstance(figures, dict)
    return done.returncode, lines, figures


def left_behind(home: Path) -> list[str]:
    """Processes that know of this home, by what they were started with."""
    found: list[str] = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(home) in word for word in words):
            found.append(" ".join(words))
    return found


@pytest.fixture(scope="module")
def program() -> str:
    """What the program was when the home was prepared; whoever edits it meanwhile is forgiven."""
    return program_fingerprint()


@dataclass(frozen=True, slots=True)
class FirstRun:
    """A calm day in a new home, which the other tests then find prepared, as people do."""

    home: Path
    status: int
    lines: list[str]
    figures: Figures
    left: list[str]


@pytest.fixture(scope="module")
def first_run(program: str, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    assert program
    home = tmp_path_factory.mktemp("demo")
    told = run(home, "--for", "5s", "--skus", "40", "--calm")
    return FirstRun(home, *told, left_behind(home))


@pytest.fixture
def home(first_run: FirstRun) -> Path:
    return first_run.home


def begun(home: Path) -> subprocess.Popen[str]:
    """A demo that trades until it is told to end."""
    process = subprocess.Popen(
        command("--skus", "40"),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    deadline_s = time.monotonic() + START_S
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Ctrl-C"):
            return process
        assert time.monotonic() < deadline_s
    raise AssertionError("".join(said))


def wait_until_alone(home: Path, *, within_s: float) -> list[str]:
    deadline_s = time.monotonic() + within_s
    while (left := left_behind(home)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return left


def test_a_calm_day_is_green_and_tells_of_one_sale(first_run: FirstRun) -> None:
    figures, text = first_run.figures, "\n".join(first_run.lines)
    assert first_run.status == 0, text
    assert figures["is_green"] is True
    assert isinstance(figures["orders"], int)
    assert figures["orders"] > 2
    assert (figures["lost"], figures["doubled"], figures["faults_injected"]) == (0, 0, 0)
    assert figures["shelves_checked"] == figures["shelves_equal"]
    assert "last unit of KZK-1042-M sold on" in text
    assert "is refused: sold out" in text
    assert "VAT 10% = TRY" in text
    assert "rows refused" in text
    assert first_run.left == []


def test_the_second_start_is_quick_and_speaks_turkish(home: Path, program: str) -> None:
    status, lines, figures = run(
        home, "--for", "1s", "--skus", "40", "--calm", "--json", language="tr"
    )
    text = "\n".join(lines)
    assert status == 0, text
    assert figures["is_first_time"] is (program_fingerprint() != program)
    assert isinstance(figures["first_sale_s"], float)
    assert figures["first_sale_s"] < 20  # beside other tests; alone it is about two
    assert "Gün sonu" in text
    assert " TL" in text


def test_ctrl_c_ends_everything_within_three_seconds(home: Path) -> None:
    process = begun(home)
    assert left_behind(home)
    began_s = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    took_s = time.monotonic() - began_s
    assert process.returncode == 0
    assert wait_until_alone(home, within_s=0.5) == []
    assert took_s < 6  # the promise is 3 s; a loaded test machine gets twice that


def test_a_killed_demo_leaves_no_process(home: Path) -> None:
    process = begun(home)
    process.kill()
    process.communicate(timeout=10)
    assert wait_until_alone(home, within_s=10) == []


@pytest.mark.slow
def test_with_faults_on_no_order_is_lost_or_doubled(home: Path) -> None:
    status, lines, figures = run(home, "--for", "8s", "--skus", "40")
    assert (figures["lost"], figures["doubled"]) == (0, 0), lines
    assert status == (0 if figures["is_green"] else 1)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("2m", 120), ("1.5 dk", 90), ("45", 45), ("1 sa", 3600)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "fast", "0s", "-5s", "2d", "25h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(NotADuration):
        seconds_of(text)


def test_both_languages_have_the_same_keys() -> None:
    for key in ("demo.sheet.title", "check.green", "check.oversold_knowingly"):
        assert key in Catalog.load("en")
        assert key in Catalog.load("tr")
