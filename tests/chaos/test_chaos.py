"""A short run of the chaos program, as anybody would start it; `make chaos` runs the long ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest

from meschain.testing.chaos.run import Outcome, Round
from meschain.testing.checker import Defect, Problem, Verdict


@pytest.mark.slow
def test_two_rounds_of_killing_lose_and_double_nothing_and_leave_no_process() -> None:
    mark = uuid.uuid4().hex  # inherited by all that this run starts, and by nobody else
    done = subprocess.run(
        [sys.executable, "-m", "meschain.testing.chaos", "--rounds", "2", "--seed", "3", "--json"],
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
        env=os.environ | {"MESCHAIN_CHAOS_MARK": mark},
    )
    (line,) = done.stdout.strip().splitlines()
    told = json.loads(line)
    assert done.returncode == 0, (told, done.stderr)
    assert told["is_green"] is True
    assert told["rounds"] == told["rounds_green"] == 2
    assert (told["lost"], told["doubled"], told["safety_net_found"]) == (0, 0, 0)
    assert told["shelves_equal"] == told["shelves_checked"] > 0
    assert told["orders"] > 10
    assert sum(told["kills"].values()) >= 2
    assert _marked(mark) == []


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL], ids=["told", "killed"])
@pytest.mark.parametrize("running", [3, 5], ids=["while it starts", "in a round"])
def test_a_run_that_ends_early_leaves_no_process(running: int, sign: signal.Signals) -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-m", "meschain.testing.chaos", "--rounds", "9", "--seed", "3"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MESCHAIN_CHAOS_MARK": mark},
    ) as run:
        try:
            for _ in range(900):
                # This one, its guard, the sandbox, the hub, the worker.
                if len(_marked(mark)) >= running:
                    break
                time.sleep(0.1)
            else:
                pytest.fail("it did not come so far")
            # With the database, whose environment is bare.
            started = [run_itself := psutil.Process(run.pid), *run_itself.children(recursive=True)]
            run.send_signal(sign)
            assert run.wait(30) == (1 if sign == signal.SIGTERM else -sign)
        finally:
            run.kill()
    _, left = psutil.wait_procs(started, timeout=15)
    assert left == []
    assert _marked(mark) == []


def _marked(mark: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _mark(process) == mark]


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get("MESCHAIN_CHAOS_MARK", "")
    except psutil.Error:
        return ""


def test_one_lost_order_or_one_unequal_shelf_makes_the_whole_run_red() -> None:
    equal = Verdict(orders=1, shelves_checked=4, shelves_equal=4)
    unequal = Verdict(orders=1, shelves_checked=4, shelves_equal=3)
    lost = Problem(Defect.ORDER_LOST, "1")
    good = Round(1, ("hub",), 1.0, equal, ())
    assert Outcome(1, [good]).is_green
    assert not Outcome(1, []).is_green
    assert not Outcome(1, [good, Round(2, ("hub",), 1.0, unequal, ())]).is_green
    assert not Outcome(1, [good, Round(2, ("hub",), 1.0, equal, (lost,))]).is_green
    rising = Verdict(
        orders=1,
        shelves_checked=4,
        shelves_equal=3,
        problems=[Problem(Defect.SHELF_QUANTITY, "A", "5", "4")],
    )
    assert Outcome(1, [Round(1, (), 1.0, rising, ())]).is_green
    assert not Outcome(1, [Round(1, (), 1.0, rising, (), is_last=True)]).is_green
    nothing = Verdict(orders=0, shelves_checked=0, shelves_equal=0)
    assert not Outcome(1, [Round(1, (), 1.0, nothing, ())]).is_green
