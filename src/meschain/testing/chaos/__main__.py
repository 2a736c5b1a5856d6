"""``python -m meschain.testing.chaos --rounds N [--seed S] [--json]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Final

from meschain.messages import Catalog
from meschain.testing.chaos.run import ChaosRun
from meschain.testing.chaos.stage import StageFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.testing.chaos.run import Outcome, Round

_HEAD: Final = ("round", "killed", "orders", "lost", "doubled", "shelves", "rest s")
_ROW: Final = "{:>5}  {:<38} {:>7} {:>5} {:>8} {:>12} {:>7}"
_PROBLEMS_SHOWN: Final = 20
ROUNDS_MAX: Final = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """0 only if every round ended with nothing lost, nothing doubled and equal shelves."""
    parser = argparse.ArgumentParser(prog="python -m meschain.testing.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="nothing but the closing object")
    given = parser.parse_args(arguments)
    if not 1 <= given.rounds <= ROUNDS_MAX:
        parser.error(f"--rounds: 1 to {ROUNDS_MAX}")
    words = Catalog.load("en")

    def tell(done: Round) -> None:
        if given.json:
            return
        verdict = done.verdict
        shelves = f"{verdict.shelves_equal}/{verdict.shelves_checked}"
        say(
            _ROW.format(
                done.number,
                ", ".join(done.kills) or "–",
                verdict.orders,
                verdict.lost,
                verdict.doubled,
                shelves,
                f"{done.rest_s:.1f}",
            )
        )
        for problem in done.problems[:_PROBLEMS_SHOWN]:
            say(f"       {problem.text(words)}")
        if done.testimony:
            say(done.testimony)

    if not given.json:
        say(_ROW.format(*_HEAD))
    try:
        outcome = asyncio.run(_until_told_to_end(ChaosRun(given.seed, tell), given.rounds))
    except StageFailed as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    except asyncio.CancelledError:
        sys.stderr.write("ended before the last round\n")
        return 1
    say(json.dumps(outcome.document(), ensure_ascii=False))
    return 0 if outcome.is_green else 1


async def _until_told_to_end(chaos: ChaosRun, rounds: int) -> Outcome:
    """SIGTERM cancels, as Ctrl-C does: whatever was started is ended on the way out."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await chaos.run(rounds)


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
