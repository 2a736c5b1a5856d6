"""OpenTelemetry traces of sales, when the environment asks for them; the extra ``traces``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from meschain.channel.clock import SystemClock

if TYPE_CHECKING:
    from meschain.sync.trace import Tracer

log = logging.getLogger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_asked_for(environment: Mapping[str, str]) -> bool:
    """By the variables that OpenTelemetry gives this meaning: an exporter, or an address for it."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporters:
        return "otlp" in {each.strip() for each in exporters.split(",")}
    return any(map(environment.get, _ENDPOINTS))


@contextmanager
def traced(environment: Mapping[str, str]) -> Iterator[Tracer | None]:
    """A tracer for as long as the block runs; None where nobody asks for traces."""
    if not is_asked_for(environment):
        yield None
        return
    try:
        from meschain.tracing.span import SaleTracer  # noqa: PLC0415 – an extra, and rarely wanted
    except ImportError:
        log.warning(
            "traces are asked for, and what makes them is not installed",
            extra={"install": "python3 run.py setup traces"},
        )
        yield None
        return
    tracer = SaleTracer(SystemClock())
    try:
        yield tracer
    finally:
        tracer.stop()
