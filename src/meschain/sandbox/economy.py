"""The whole economy without its façades: one seed, one clock, one world, and who moves it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from meschain.sandbox.agenda import Agenda
from meschain.sandbox.clock import SandboxClock
from meschain.sandbox.demand import Demand, DemandSettings
from meschain.sandbox.faults import Fault, Faults
from meschain.sandbox.journal import ENTRIES_MAX_DEFAULT
from meschain.sandbox.logistics import Carrier, CarrierSettings
from meschain.sandbox.people import People
from meschain.sandbox.world import World


@dataclass(frozen=True, slots=True)
class EconomySettings:
    """How the economy begins; the control interface changes most of it later."""

    factor: float = 1.0
    demand: DemandSettings = field(default_factory=DemandSettings)
    carrier: CarrierSettings = field(default_factory=CarrierSettings)
    fault_rates: dict[Fault, float] = field(default_factory=dict)
    journal_entries_max: int = ENTRIES_MAX_DEFAULT


class Economy:
    """World, buyers and carrier on one agenda."""

    def __init__(
        self, *, seed: int, settings: EconomySettings, clock: SandboxClock | None = None
    ) -> None:
        self.seed = seed
        self.clock = clock or SandboxClock(factor=settings.factor)
        self.faults = Faults(seed, settings.fault_rates, now=self.clock.now)
        self.world = World(
            self.clock, self.faults, seed=seed, journal_entries_max=settings.journal_entries_max
        )
        self.people = People(seed)
        self.agenda = Agenda(self.clock)
        self.demand = Demand(
            self.world, self.people, self.agenda, seed=seed, settings=settings.demand
        )
        self.carrier = Carrier(self.world, self.agenda, seed=seed, settings=settings.carrier)
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> asyncio.Task[None]:
        """The running economy; it ends only by ``stop`` or by a defect."""
        assert self._task is not None
        return self._task

    def start(self) -> None:
        """Let time pass."""
        assert self._task is None
        self.demand.restart()
        self._task = asyncio.create_task(self.agenda.run(), name="sandbox economy")

    async def stop(self) -> None:
        """Let time stand. Raises what the economy broke on, if it broke."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def set_factor(self, factor: float) -> None:
        """Let the economy run faster or slower from now on."""
        self.clock.factor = factor
        self.demand.restart()
        self.agenda.wake()
