"""Spans of a sale's way. They carry the hub's own numbers and words, and nobody else's."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from meschain import __version__
from meschain.channel.clock import Clock, microseconds
from meschain.sync.trace import Stretch

SALES_MAX: Final = 64  # spans for one request; how many sales were left out is said
STOP_S: Final = 0.5  # the hub as a whole ends within 3 s
_GOOD: Final = frozenset({"new", "changed", "claimed", "accepted", "done"})


class SaleTracer:
    """Implements ``sync.trace.Tracer``: each stretch becomes a span of its sale's trace.

    Trace and first span have numbers computed from what identifies the sale, so that processes
    that never speak to each other agree on them, and on whether the trace is sampled.
    """

    def __init__(self, clock: Clock) -> None:
        """Exporter, batches and sampler are set up by the ``OTEL_*`` variables."""
        self._clock = clock
        self._ids = _Numbers()
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "meschain"}
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        self._provider = TracerProvider(
            resource=Resource.create({**named, SERVICE_VERSION: __version__}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("meschain", __version__)

    def stop(self) -> None:
        """Send what is left; a collector that does not answer must not hold up the end."""
        last = threading.Thread(target=self._processor.shutdown, daemon=True)
        last.start()
        last.join(STOP_S)

    def order_taken(
        self, *, merchant_id: int, account_id: int, since_us: int, order_id: int, outcome: str
    ) -> None:
        ended_us = microseconds(self._clock.now())
        stretch = Stretch(merchant_id, account_id, (since_us,), since_us, ended_us)
        self._spans("order intake", stretch, outcome, {"order_id": order_id}, is_first=True)

    def claimed(self, stretch: Stretch, *, ticket_id: int, offers: int) -> None:
        self._spans("claim", stretch, "claimed", {"ticket_id": ticket_id, "offers": offers})

    def answered(
        self, stretch: Stretch, *, ticket_id: int, operation: str, pacing_us: int, verdict: str
    ) -> None:
        facts: dict[str, str | int] = {"ticket_id": ticket_id, "operation": operation}
        facts["pacing_ms"] = pacing_us // 1_000
        self._spans("request", stretch, verdict, facts, kind=SpanKind.CLIENT)

    def ended(self, stretch: Stretch, *, ticket_id: int, polls: int, verdict: str) -> None:
        self._spans("ticket", stretch, verdict, {"ticket_id": ticket_id, "polls": polls})

    def _spans(
        self,
        name: str,
        stretch: Stretch,
        outcome: str,
        facts: Mapping[str, str | int],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        is_first: bool = False,
    ) -> None:
        sales = sorted(set(stretch.sinces_us))
        facts = {
            "merchant_id": stretch.merchant_id,
            "account_id": stretch.account_id,
            "outcome": outcome,
            **facts,
        }
        if len(sales) > SALES_MAX:
            facts["sales_left_out"] = len(sales) - SALES_MAX
        for since_us in sales[:SALES_MAX]:
            trace_id, span_id = _numbers_of(stretch.merchant_id, since_us)
            context = Context()
            if is_first:
                self._ids.next = (trace_id, span_id)
            else:
                flags = TraceFlags(TraceFlags.SAMPLED if self._is_sampled(trace_id) else 0)
                first = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
                context = set_span_in_context(NonRecordingSpan(first), context)
            span = self._tracer.start_span(
                name,
                context,
                kind,
                {f"meschain.{fact}": value for fact, value in facts.items()},
                start_time=stretch.began_us * 1_000,
            )
            if outcome not in _GOOD:
                span.set_status(Status(StatusCode.ERROR))
            span.end(stretch.ended_us * 1_000)

    def _is_sampled(self, trace_id: int) -> bool:
        """As the first span was or will be decided upon, here or elsewhere."""
        sampler = self._provider.sampler
        decided = sampler.should_sample(Context(), trace_id, "order intake").decision
        return decided is Decision.RECORD_AND_SAMPLE


class _Numbers(RandomIdGenerator):
    """Random ones, but for the one span that has been announced. Asked by one thread only."""

    def __init__(self) -> None:
        self.next: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        return self.next[0] if self.next else super().generate_trace_id()

    def generate_span_id(self) -> int:
        if self.next is None:
            return super().generate_span_id()
        _, span_id = self.next
        self.next = None
        return span_id


def _numbers_of(merchant_id: int, since_us: int) -> tuple[int, int]:
    """Of the trace of a sale, and of its first span."""
    digest = hashlib.sha256(f"meschain {merchant_id} {since_us}".encode()).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
