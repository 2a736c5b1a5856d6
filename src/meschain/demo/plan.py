"""What a run of the demo does: its size, its length, its dangers."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

SKUS_DEFAULT: Final = 1_500
SKUS_MAX: Final = 50_000
ORDERS_PER_MINUTE: Final = 240
# A minute of ours is three hours of theirs: payment checks, changes of mind and approvals happen
# while one looks on.
ECONOMY_FACTOR: Final = 180.0
SEED: Final = 1
SETTLE_S_MAX: Final = 60.0
RUN_S_MAX: Final = 86_400.0

# Probabilities of each opportunity; a bounded run has them all.
FAULT_RATES: Final[Mapping[Fault, float]] = {
    Fault.THROTTLED: 0.003,
    Fault.SERVER_ERROR: 0.005,
    Fault.RESET: 0.005,
    Fault.TIMEOUT_AFTER_APPLYING: 0.002,
    Fault.WEBHOOK_LOST: 0.03,
    Fault.WEBHOOK_LATE: 0.03,
    Fault.WEBHOOK_DOUBLED: 0.03,
    Fault.WEBHOOK_REORDERED: 0.03,
    Fault.BATCH_ITEM_FAILED: 0.005,
    Fault.BATCH_STUCK: 0.002,
    Fault.BATCH_EXPIRED: 0.005,
}

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sn|m|min|dk|h|sa)?")
_SECONDS: Final = {"s": 1, "sn": 1, "m": 60, "min": 60, "dk": 60, "h": 3600, "sa": 3600}


class NotADuration(ValueError):
    """The text is none of 60s, 5m, 1h, or it is longer than a day."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """``run_s`` None: until Ctrl-C, and without faults. ``home``: the folder of kept demos."""

    run_s: float | None = None
    skus: int = SKUS_DEFAULT
    as_json: bool = False
    is_calm: bool = False  # no faults, though bounded
    home: Path = Path(".demo")
    orders_per_minute: int = ORDERS_PER_MINUTE

    @property
    def fault_rates(self) -> Mapping[Fault, float]:
        return {} if self.run_s is None or self.is_calm else FAULT_RATES


class StageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One marketplace of the demo, both sides."""

    tier: str = ""
    facade: dict[str, str] = {}
    account: dict[str, str] = {}


def stage_settings() -> dict[str, StageSettings]:
    """By marketplace; one that is not named has none."""
    text = (resources.files(__package__) / "stage.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, StageSettings])


def seconds_of(text: str) -> float:
    """``60s``, ``5m``, ``1h``, ``90``: seconds. Raises NotADuration."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise NotADuration(text)
    seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if not 0 < seconds <= RUN_S_MAX:
        raise NotADuration(text)
    return seconds


def home_of_environment() -> Path:
    """``MESCHAIN_DEMO_HOME``, else a folder beside the program."""
    return Path(os.environ.get("MESCHAIN_DEMO_HOME") or ".demo").absolute()
