"""Traces: a sale's whole way in one, of numbers of our own; nothing where nobody asked for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from meschain.channel.clock import SystemClock, microseconds
from meschain.sync.engine import EngineSettings
from meschain.sync.trace import Stretch
from meschain.testing.trade import trading
from meschain.tracing import is_asked_for, traced
from meschain.tracing.span import SALES_MAX
from tests.simulated.test_telemetry import EAST, WEST, markers

pytestmark = pytest.mark.slow


class Collector:
    """Keeps what arrives, as OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.url = ""

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for body in list(self.bodies)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=planted-header")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


def facts_of(span: Span) -> dict[str, str | int]:
    return {
        each.key.removeprefix("meschain."): each.value.string_value or each.value.int_value
        for each in span.attributes
    }


async def test_a_sale_is_one_trace_from_its_intake_to_the_end_of_its_tickets(
    collector: Collector, database_url: str, tmp_path: Path
) -> None:
    with traced(os.environ) as tracer:
        settings = EngineSettings(tracer=tracer)
        async with trading(database_url, tmp_path, quantity=30, engine=settings) as trade:
            for _ in range(3):
                trade.buy(EAST, {"A": 1})
                await trade.come_to_rest()
            await trade.until(
                lambda: sum(span.name == "ticket" for span in collector.spans) >= 3, within_s=40
            )
            secrets = markers(trade)
            orders = {order for (order,) in trade.rows("SELECT order_id FROM orders")}
            tickets = {ticket for (ticket,) in trade.rows("SELECT ticket_id FROM ticket")}
    traces: defaultdict[bytes, dict[str, Span]] = defaultdict(dict)
    for span in collector.spans:
        if span.name == "order intake" or facts_of(span)["account_id"] == trade.accounts[WEST]:
            traces[span.trace_id][span.name] = span
    whole = [each for each in traces.values() if {"order intake", "ticket"} <= each.keys()]
    assert len(whole) == 3
    assert {facts_of(each["order intake"])["order_id"] for each in whole} == orders
    for each in whole:
        first, claim, request, ticket = (
            each[name] for name in ("order intake", "claim", "request", "ticket")
        )
        assert first.parent_span_id == b""
        assert {span.parent_span_id for span in (claim, request, ticket)} == {first.span_id}
        assert facts_of(first) == {
            "merchant_id": trade.shop.merchant_id,
            "account_id": trade.accounts[EAST],
            "order_id": facts_of(first)["order_id"],
            "outcome": "new",
        }
        numbers = {facts_of(span)["ticket_id"] for span in (claim, request, ticket)}
        assert len(numbers) == 1
        assert numbers <= tickets
        assert facts_of(request)["operation"] == "push_offers"
        assert [facts_of(span)["outcome"] for span in (claim, request, ticket)] == [
            "claimed", "accepted", "done",
        ]  # fmt: skip
        times = [first, claim, request, ticket]
        assert [span.start_time_unix_nano for span in times] == sorted(
            span.start_time_unix_nano for span in times
        )
        assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in times)
    sent = b"".join(collector.bodies)
    assert len(secrets) > 10
    assert [each for each in (*secrets, "planted-header") if each.encode() in sent] == []


def test_two_processes_agree_on_a_sales_trace_and_on_whether_it_is_sampled(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    now_us = microseconds(SystemClock().now())
    sales = [now_us + number for number in range(40)]
    with traced(os.environ) as hub:
        assert hub is not None
        for since_us in sales:
            hub.order_taken(
                merchant_id=1, account_id=2, since_us=since_us, order_id=3, outcome="new"
            )
    with traced(os.environ) as worker:
        assert worker is not None
        worker.claimed(Stretch(1, 4, sales, now_us, now_us + 50), ticket_id=5, offers=40)
    by_name: defaultdict[str, set[tuple[bytes, bytes]]] = defaultdict(set)
    for span in collector.spans:
        by_name[span.name].add((span.trace_id, span.parent_span_id or span.span_id))
    assert 5 < len(by_name["order intake"]) < 35
    assert by_name["claim"] == by_name["order intake"]


def test_a_request_of_many_sales_makes_a_bounded_number_of_spans(collector: Collector) -> None:
    now_us = microseconds(SystemClock().now())
    with traced(os.environ) as tracer:
        assert tracer is not None
        sales = [now_us + number // 2 for number in range(1_000)]  # two offers of each
        tracer.claimed(Stretch(1, 2, sales, now_us, now_us + 900), ticket_id=5, offers=1_000)
        tracer.claimed(Stretch(1, 2, (), now_us, now_us + 900), ticket_id=6, offers=7)
    assert len(collector.spans) == SALES_MAX
    assert {facts_of(span)["sales_left_out"] for span in collector.spans} == {500 - SALES_MAX}


def test_a_collector_that_is_away_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    clock = SystemClock()
    with traced(os.environ) as tracer:
        assert tracer is not None
        for number in range(5_000):
            tracer.order_taken(
                merchant_id=1, account_id=2, since_us=number, order_id=3, outcome="new"
            )
        began_s = clock.monotonic_s()
    assert clock.monotonic_s() - began_s < 3


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_traces_are_on_only_where_the_environment_asks_for_them(
    environment: dict[str, str],
    expected: bool,  # noqa: FBT001 – a parameter of the test
) -> None:
    assert is_asked_for(environment) == expected


def test_nothing_of_it_is_loaded_where_nobody_asks() -> None:
    program = (
        "import sys, meschain.cli.hub\n"
        "from meschain.tracing import traced\n"
        "with traced({}) as tracer: assert tracer is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_a_hub_without_the_extra_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "meschain.tracing.span", None)
    with traced({"OTEL_TRACES_EXPORTER": "otlp"}) as tracer:
        assert tracer is None
    (record,) = caplog.records
    assert record.__dict__["install"] == "python3 run.py setup traces"
