"""What a figure depends on: the machine, the programs on it, and who else kept it busy."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from statistics import quantiles
from typing import TYPE_CHECKING, Self

import msgspec
import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_SYNCS = 100


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Read before the measurement; only ``load_1min_after`` comes later."""

    machine: str
    cores: int
    memory_gib: float
    python: str
    postgresql: str
    disk_sync_ms_p50: float  # what a lone commit waits for
    disk_sync_ms_p99: float
    load_1min_before: float
    load_1min_after: float = 0.0


def environment(postgresql: str) -> Environment:
    syncs = _disk_sync_ms()
    return Environment(
        machine=f"{platform.system()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        memory_gib=round(psutil.virtual_memory().total / 1024**3, 1),
        python=platform.python_version(),
        postgresql=postgresql,
        disk_sync_ms_p50=round(percentile(syncs, 50), 2),
        disk_sync_ms_p99=round(percentile(syncs, 99), 2),
        load_1min_before=round(os.getloadavg()[0], 2),
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """``nan`` of nothing, the value itself of one."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _cores() -> int:
    return os.cpu_count() or 1


def _disk_sync_ms() -> list[float]:
    taken: list[float] = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(_SYNCS):
            file.write(bytes(8192))
            file.flush()
            began_s = time.perf_counter()
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            taken.append((time.perf_counter() - began_s) * 1000)
    return taken


class CpuMeter:
    """Cores that each part used while the block ran; ``others`` is whoever shares the machine."""

    def __init__(self, roots: Mapping[str, int]) -> None:
        """``roots``: the process at each part's root; a part that holds another comes first."""
        self._roots = dict(roots)
        self._before: dict[str, float] = {}
        self._began_s = 0.0
        self._busy_before_s = 0.0
        self.cores: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._before = self._used_s()
        self._busy_before_s = _busy_s()
        self._began_s = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        took_s = time.perf_counter() - self._began_s
        busy_s = _busy_s() - self._busy_before_s
        used = {part: used - self._before[part] for part, used in self._used_s().items()}
        self.cores = {part: round(spent / took_s, 2) for part, spent in used.items()}
        self.cores["others"] = round(max(0.0, busy_s - sum(used.values())) / took_s, 2)

    def _used_s(self) -> dict[str, float]:
        return {part: _tree_s(pid, set(self._roots.values())) for part, pid in self._roots.items()}


def _tree_s(pid: int, roots: set[int]) -> float:
    """CPU seconds of a process and what it started, without the trees of other parts."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    used = times.user + times.system
    for child in process.children():
        if child.pid in roots:
            continue
        try:
            used += _tree_s(child.pid, roots)
        except psutil.NoSuchProcess:
            continue
    return used


def _busy_s() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
