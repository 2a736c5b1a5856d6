"""Rounds of a chaos run: trade, kill, restart, come to rest, recount."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import aiohttp
import psycopg

from meschain.testing.chaos.stage import SKUS, Stage, stage
from meschain.testing.checker import Defect, Problem, Verdict, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from meschain.testing.chaos.program import Program

TRADE_S: Final = 4.0
REST_S_MAX: Final = 75.0  # seldom needed: recovery, leases, looks, quotas believed spent
# A new owner assumes that a killed one had spent its quotas: what may wait (a quantity up) waits
# until the longest window has passed, what may not (a quantity down) does not. So a round ends
# when all but raises is right, and the run when everything is.
RAISES_S_MAX: Final = 8.0
FINAL_REST_S_MAX: Final = 150.0
RECOUNT_EVERY_S: Final = 0.5
KILLS_MAX: Final = 3
RESTART_S_MAX: Final = 1.5
# The supervisor gives a server up that dies more often than this in a minute.
POSTMASTER_KILLS_MAX: Final = 4
MINUTE_S: Final = 60.0
VICTIMS: Final = ("hub", "worker", "hub and worker", "postgres", "backend")
# A hub that is dead cannot lower a shelf; what it knew before counts against it in the demo only.
EXCUSED: Final = frozenset({Defect.OVERSOLD_KNOWINGLY})


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did and what the recount found."""

    number: int
    kills: tuple[str, ...]
    rest_s: float
    verdict: Verdict
    problems: tuple[Problem, ...]
    is_last: bool = False
    testimony: str = ""  # of a round that is not green

    @property
    def is_green(self) -> bool:
        """Shelves that show too little may still rise, but not after the last round."""
        verdict = self.verdict
        allowed = verdict.shelves_checked - (0 if self.is_last else raises(verdict))
        return not self.problems and verdict.shelves_equal >= allowed > 0


def raises(verdict: Verdict) -> int:
    """Shelves that show less than they should: a sale lost perhaps, never a unit sold twice."""
    return sum(_is_raise(problem) for problem in verdict.problems)


def _is_raise(problem: Problem) -> bool:
    return problem.defect is Defect.SHELF_QUANTITY and int(problem.found) < int(problem.expected)


@dataclass(slots=True)
class Outcome:
    """All rounds."""

    seed: int
    rounds: list[Round] = field(default_factory=list)

    @property
    def is_green(self) -> bool:
        return bool(self.rounds) and all(each.is_green for each in self.rounds)

    def document(self) -> dict[str, object]:
        """For scripts: one object, units in the names."""
        last = self.rounds[-1].verdict if self.rounds else Verdict()
        kills = Counter(kill for each in self.rounds for kill in each.kills)
        rests = [each.rest_s for each in self.rounds]
        return {
            "seed": self.seed,
            "rounds": len(self.rounds),
            "rounds_green": sum(each.is_green for each in self.rounds),
            "kills": dict(sorted(kills.items())),
            "orders": last.orders,
            "faults_injected": last.faults_injected,
            "lost": max((each.verdict.lost for each in self.rounds), default=0),
            "doubled": max((each.verdict.doubled for each in self.rounds), default=0),
            "shelves_checked": last.shelves_checked,
            "shelves_equal": last.shelves_equal,
            "safety_net_found": last.safety_net_found,
            "self_inflicted_429": last.self_inflicted_429,
            "rest_s_max": round(max(rests, default=0.0), 1),
            "is_green": self.is_green,
        }


class ChaosRun:
    """Draws everything from one seed."""

    def __init__(self, seed: int, tell: Callable[[Round], None]) -> None:
        self._draw = random.Random(f"chaos:{seed}")  # noqa: S311 – a simulation, no secret
        self._tell = tell
        self._postmaster_kills_s: list[float] = []
        self.outcome = Outcome(seed)

    async def run(self, rounds: int) -> Outcome:
        async with stage(self.outcome.seed) as made:
            for number in range(1, rounds + 1):
                done = await self._round(made, number, is_last=number == rounds)
                self.outcome.rounds.append(done)
                self._tell(done)
                if not done.is_green:
                    break  # what follows would only repeat it
        return self.outcome

    async def _round(self, made: Stage, number: int, *, is_last: bool) -> Round:
        draw = self._draw
        changed = {f"S{draw.randrange(SKUS)}": draw.randint(-3, 9) for _ in range(3)}
        await made.count_goods(changed)
        await made.set_demand(is_on=True)
        kills = tuple(draw.choice(VICTIMS) for _ in range(draw.randint(1, KILLS_MAX)))
        moments = sorted(draw.uniform(0.2, TRADE_S) for _ in kills)
        began_s = time.monotonic()
        done: list[str] = []
        async with asyncio.TaskGroup() as restarts:
            for moment, victim in zip(moments, kills, strict=True):
                await asyncio.sleep(max(0.0, began_s + moment - time.monotonic()))
                done += await self._kill(made, victim, restarts)
            await asyncio.sleep(max(0.0, began_s + TRADE_S - time.monotonic()))
        await made.set_demand(is_on=False)
        rest_s, verdict, problems = await self._recount(made, is_last=is_last)
        found = Round(number, tuple(done), rest_s, verdict, problems, is_last)
        return found if found.is_green else replace(found, testimony=await made.testimony())

    async def _kill(self, made: Stage, victim: str, restarts: asyncio.TaskGroup) -> list[str]:
        now_s = time.monotonic()
        if victim == "backend":
            made.kill_backend(self._draw)
            return [victim]
        if victim == "postgres":
            recent = [at for at in self._postmaster_kills_s if at > now_s - MINUTE_S]
            if len(recent) >= POSTMASTER_KILLS_MAX:
                return []
            self._postmaster_kills_s = [*recent, now_s]
            made.kill_postmaster()
            return [victim]
        programs = [p for p in (made.hub, made.worker) if p.name in victim and p.is_running]
        for program in programs:
            await program.kill()
            restarts.create_task(_restart(program, self._draw.uniform(0.0, RESTART_S_MAX)))
        return [program.name for program in programs]

    async def _recount(
        self, made: Stage, *, is_last: bool
    ) -> tuple[float, Verdict, tuple[Problem, ...]]:
        """Recount until all is right; what is wrong at the end of patience is wrong."""
        began_s = time.monotonic()
        patience_s = FINAL_REST_S_MAX if is_last else REST_S_MAX
        verdict = Verdict()
        problems: tuple[Problem, ...] = (Problem(Defect.ORDER_LOST, "nothing was counted"),)
        while time.monotonic() - began_s < patience_s:
            for program in (made.hub, made.worker):
                if not program.is_running:  # it gave up while the database was away, and says so
                    await program.start()
            with contextlib.suppress(psycopg.OperationalError, aiohttp.ClientError):
                verdict = await check(
                    made.control_url, made.database_url, made.merchant_id, made.shops
                )
                wrong = [p for p in verdict.problems if p.defect not in EXCUSED]
                problems = tuple(p for p in wrong if is_last or not _is_raise(p))
                if not wrong and await _is_quiet(made):
                    break
                is_waiting = time.monotonic() - began_s > RAISES_S_MAX
                if not problems and not is_last and is_waiting:
                    break
            await asyncio.sleep(RECOUNT_EVERY_S)
        return time.monotonic() - began_s, verdict, problems


async def _restart(program: Program, after_s: float) -> None:
    await asyncio.sleep(after_s)
    if not program.is_running:
        await program.start()


async def _is_quiet(made: Stage) -> bool:
    """Nothing of ours is on its way: what is equal now stays equal."""

    def ask() -> bool:
        with psycopg.connect(made.database_url) as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM offer_dirty) OR EXISTS (SELECT 1 FROM offer_inflight)"
            ).fetchone()
            return row is not None and not row[0]

    return await asyncio.to_thread(ask)
