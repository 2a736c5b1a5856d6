from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import struct
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pytest

from meschain.channel.capability import Manifest
from meschain.channel.clock import SystemClock
from meschain.channel.contract import Call, LeaseExpired, Priority
from meschain.channel.http import HttpRequest, TransportLost
from meschain.channel.pacing import Ask, Lent, Pacer, SharedBudget
from meschain.channel.patience import PATIENCE_S_MIN, Patience
from meschain.channel.transport import (
    Admission,
    Breaker,
    Exchange,
    HttpTransport,
    LiveHostRefused,
    open_session,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]

MANIFEST = msgspec.convert(
    {
        "identity": {
            "name": "x",
            "title": "X",
            "countries": [],
            "currencies": [],
            "languages": [],
            "time_zone": "UTC",
            "read_on": "2026-11-01",
        },
        "hosts": {},
        "credentials": [],
        "tiers": ["low"],
        "default_tier": "low",
        "quotas": [
            {
                "group": "q",
                "window_s": 3600.0,
                "limit": {"low": 10},
                "source": "",
                "confidence": "A",
            }
        ],
        "operations": {
            "read": {"timeout_s": 5.0},
            "other": {"timeout_s": 5.0},
            "impatient": {"timeout_s": 0.2},
            "counted": {"quotas": ["q"], "timeout_s": 5.0},
        },
        "offers": {
            "key": "barcode",
            "fields": [],
            "separate_fields": True,
            "price_kinds": [],
            "batch_max": 1,
            "quantity_max": 1,
            "ticket": False,
            "tickets_ordered": False,
            "ticket_retention_s": 1.0,
            "ticket_stuck_s": 1.0,
            "ticket_poll_s": [],
            "apply_s_max": 1.0,
            "shelf_decrement": "never",
            "shelf_restock_on_cancel": "no",
            "source": "",
        },
        "catalog": {
            "batch_max": 1,
            "title_length_max": 1,
            "description_length_max": 1,
            "images_max": 1,
            "page_size_max": 1,
            "vat_percents": [],
            "source": "",
        },
        "orders": {
            "webhook": False,
            "poll_interval_s": 1.0,
            "poll_interval_s_min": 1.0,
            "window_s_max": 1.0,
            "history_s_max": 1.0,
            "overlap_s": 1.0,
            "page_size_max": 1,
            "pages_max": 1,
            "source": "",
        },
        "states": {},
        "lacks": {},
    },
    Manifest,
)


@dataclass
class Server:
    """A loopback server of raw bytes: what it read, and how it answers each request."""

    answers: list[Answer]
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await answer(reader, writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    server = Server(list(answers))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()


def replies(
    status: int = 200, body: bytes = b"ok", headers: str = "", *, keep: bool = True
) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        connection = "" if keep else "Connection: close\r\n"
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{connection}{headers}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        if not keep:
            writer.close()

    return answer


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.close()


async def half_a_reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()


async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter, ___: bytes) -> None:
    await asyncio.sleep(0.6)


class Late:
    def check(self) -> None:
        raise LeaseExpired("1 s too late")


@dataclass
class Hub:
    """A transport with what it recorded."""

    transport: HttpTransport
    pacer: Pacer
    breaker: Breaker
    exchanges: list[Exchange]


@asynccontextmanager
async def hub(*, reply_bytes_max: int = 1_000_000) -> AsyncIterator[Hub]:
    clock = SystemClock()
    exchanges: list[Exchange] = []
    pacer = Pacer(MANIFEST, "", clock)
    breaker = Breaker(clock, name="shop", failures_max=3, cool_down_s=0.05, cool_down_s_max=0.1)
    async with open_session() as session:
        yield Hub(
            HttpTransport(
                session,
                pacer,
                MANIFEST.operations,
                clock,
                breaker=breaker,
                loopback_only=True,
                on_exchange=exchanges.append,
                reply_bytes_max=reply_bytes_max,
            ),
            pacer,
            breaker,
            exchanges,
        )


def get(url: str, operation: str = "read") -> HttpRequest:
    return HttpRequest(operation, "GET", url)


def put(url: str, operation: str = "read") -> HttpRequest:
    return HttpRequest(operation, "PUT", url, {"Authorization": "Basic c2VjcmV0"}, body=b"{}")


# — what arrives —


async def test_a_request_arrives_as_built_and_the_whole_reply_comes_back() -> None:
    packed = gzip.compress(b"x" * 10_000)
    async with (
        serving(replies(201, packed, "Content-Encoding: gzip\r\nX-Left: 7\r\n")) as server,
        hub() as ours,
    ):
        request = HttpRequest(
            "read",
            "POST",
            f"{server.url}/a%2Fb",
            {"User-Agent": "us", "Authorization": "Basic c2VjcmV0"},
            (("barcode", "ş&1"), ("key", "hush")),
            b'{"a":1}',
        )
        call = Call(Priority.CRITICAL)
        reply = await ours.transport.send(request, call)
    assert reply.status == 201
    assert reply.body == b"x" * 10_000
    assert reply.headers["x-left"] == "7"
    (raw,) = server.requests
    assert raw.startswith(b"POST /a%2Fb?barcode=%C5%9F%261&key=hush HTTP/1.1\r\n")
    assert raw.endswith(b'\r\n\r\n{"a":1}')
    assert raw.lower().count(b"user-agent:") == 1
    assert call.handed_s is not None
    assert call.released_s is not None
    assert call.answered_s is not None
    assert call.handed_s <= call.released_s <= call.answered_s


async def test_what_is_recorded_holds_no_secret() -> None:
    async with serving(replies()) as server, hub() as ours:
        request = HttpRequest(
            "read",
            "GET",
            server.url.replace("://", "://user:pass@") + "/p",
            {"X-Api-Key": "hush"},
            (("token", "hush"),),
        )
        await ours.transport.send(request, Call())
    (exchange,) = ours.exchanges
    assert exchange.url == f"{server.url}/p"
    assert (exchange.operation, exchange.method, exchange.status) == ("read", "GET", 200)
    assert exchange.reply_bytes == 2
    assert exchange.is_written
    assert not exchange.error
    assert "hush" not in repr(exchange)


@pytest.mark.parametrize("status", [302, 400, 429, 500])
async def test_a_reply_of_any_status_is_returned_and_no_redirect_is_followed(status: int) -> None:
    async with serving(replies(status, b"", "Location: /elsewhere\r\n")) as server, hub() as ours:
        reply = await ours.transport.send(get(server.url), Call())
    assert reply.status == status
    assert len(server.requests) == 1


async def test_connections_are_kept_and_no_cookie_is_carried_to_another_account() -> None:
    async with serving(replies(headers="Set-Cookie: a=b\r\n")) as server, hub() as ours:
        for _ in range(3):
            await ours.transport.send(get(server.url), Call())
    assert server.connections == 1
    assert all(b"cookie" not in raw.lower() for raw in server.requests)


# — what may have arrived —


async def test_a_refused_port_certainly_received_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    async with hub() as ours:
        with pytest.raises(TransportLost) as lost:
            await ours.transport.send(get(f"http://127.0.0.1:{port}", "counted"), Call())
        assert not lost.value.may_have_arrived
        assert [use.used for use in ours.pacer.usage()] == [0], "it counts against no quota"
    assert not ours.exchanges[0].is_written


async def test_a_name_that_does_not_resolve_received_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unknown(*_: object, **__: object) -> list[object]:
        raise OSError("name or service not known")

    async with hub() as ours:
        monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", unknown)
        monkeypatch.setattr("aiohttp.resolver.DefaultResolver.resolve", unknown)
        with pytest.raises(TransportLost) as lost:
            await ours.transport.send(get("http://localhost:1"), Call())
    assert not lost.value.may_have_arrived


@pytest.mark.parametrize("answer", [resets, hangs_up, half_a_reply])
@pytest.mark.parametrize("request_of", [get, put])
async def test_a_connection_lost_after_writing_may_have_arrived_and_is_not_repeated(
    answer: Answer, request_of: Callable[[str, str], HttpRequest]
) -> None:
    async with serving(answer) as server, hub() as ours:
        with pytest.raises(TransportLost) as lost:
            await ours.transport.send(request_of(server.url, "counted"), Call())
        assert lost.value.may_have_arrived
        assert [use.used for use in ours.pacer.usage()] == [1]
    assert len(server.requests) == 1


@pytest.mark.parametrize("request_of", [get, put])
async def test_a_kept_connection_that_breaks_is_not_silently_repeated(
    request_of: Callable[[str, str], HttpRequest],
) -> None:
    """aiohttp repeats GET and PUT on a broken kept-alive connection; nothing may go twice."""
    async with serving(replies(), hangs_up, replies()) as server, hub() as ours:
        await ours.transport.send(get(server.url), Call())
        with pytest.raises(TransportLost) as lost:
            await ours.transport.send(request_of(server.url, "counted"), Call())
        assert lost.value.may_have_arrived
    assert len(server.requests) == 2


async def test_a_time_out_may_have_arrived() -> None:
    async with serving(silent) as server, hub() as ours:
        with pytest.raises(TransportLost) as lost:
            await ours.transport.send(put(server.url, "impatient"), Call())
        await asyncio.sleep(0.5)
    assert lost.value.may_have_arrived
    assert lost.value.detail == "no answer in time"
    assert len(server.requests) == 1


@pytest.mark.slow
async def test_a_repeated_read_that_hangs_is_given_up_early_and_any_other_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meschain.channel.patience.PATIENCE_S_MIN", 0.1)
    async with serving(replies(), silent, silent) as server, hub() as ours:
        await ours.transport.send(get(server.url), Call())
        began_s = time.monotonic()
        with pytest.raises(TransportLost, match="no answer in time"):
            await ours.transport.send(get(server.url), Call(is_repeated=True))
        assert time.monotonic() - began_s < 2, "the manifest would wait for 5 s"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await ours.transport.send(get(server.url), Call())


async def test_a_write_is_given_up_later_than_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still be applied, after what was sent in its place."""
    monkeypatch.setattr("meschain.channel.patience.PATIENCE_S_MIN", 0.1)
    monkeypatch.setattr("meschain.channel.transport.WRITE_PATIENCE_S_MIN", 0.6)
    async with serving(replies(), silent) as server, hub() as ours:
        await ours.transport.send(get(server.url), Call())
        began_s = time.monotonic()
        with pytest.raises(TransportLost, match="no answer in time"):
            await ours.transport.send(put(server.url), Call(is_repeated=True))
        assert 0.5 < time.monotonic() - began_s < 2.0


def test_patience_follows_the_channel_and_doubles_while_it_waits_in_vain() -> None:
    patience = Patience(10.0)
    assert patience.limit_s == 10.0, "nothing is known yet"
    for _ in range(50):
        patience.answered(0.2)
    assert patience.limit_s == PATIENCE_S_MIN
    waits = []
    for _ in range(4):
        waits.append(patience.limit_s)
        patience.waited_in_vain()
    assert waits == [2.0, 4.0, 8.0, 10.0]
    patience.answered(6.0)
    assert 2.0 < patience.limit_s < 10.0
    for _ in range(50):
        patience.answered(6.0)
    assert patience.limit_s == pytest.approx(6.0, rel=0.1), "slow throughout: it is waited for"


def test_patience_with_tickets_grows_where_the_marketplace_is_slow() -> None:
    patience = Patience(900.0, least_s=10.0, first_s=60.0)
    assert patience.limit_s == 60.0
    patience.answered(0.5)
    waits = []
    while patience.limit_s < 900.0:
        waits.append(patience.limit_s)
        patience.waited_in_vain()
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0]
    patience.answered(100.0)
    assert patience.limit_s < 200.0


async def test_a_reply_that_never_ends_is_cut() -> None:
    async with serving(replies(body=b"x" * 5_000)) as server, hub(reply_bytes_max=4_999) as ours:
        with pytest.raises(TransportLost, match="4999") as lost:
            await ours.transport.send(get(server.url), Call())
    assert lost.value.may_have_arrived


@pytest.mark.parametrize("connected", [False, True])
async def test_a_late_lease_stops_the_call_before_its_first_byte(*, connected: bool) -> None:
    async with serving(replies()) as server, hub() as ours:
        if connected:
            await ours.transport.send(get(server.url), Call())
        with pytest.raises(TransportLost, match="too late") as lost:
            await ours.transport.send(put(server.url, "counted"), Call(guard=Late()))
        assert not lost.value.may_have_arrived
        assert [use.used for use in ours.pacer.usage()] == [0]
        assert not ours.breaker.is_open
        await asyncio.sleep(0.05)
    assert len(server.requests) == connected


async def test_cancelling_frees_the_place_unless_bytes_have_left() -> None:
    async with serving(silent) as server, hub() as ours:
        sending = asyncio.create_task(ours.transport.send(get(server.url, "counted"), Call()))
        await asyncio.sleep(0.1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert [use.used for use in ours.pacer.usage()] == [1]
        await asyncio.sleep(0.6)
    assert ours.exchanges[0].error == "cancelled"


# — loopback only —


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "http://10.0.0.1", "http://[2001:db8::1]/", "http://0.0.0.0"]
)
async def test_tests_and_demo_refuse_hosts_that_are_not_this_machine(url: str) -> None:
    async with hub() as ours:
        with pytest.raises(LiveHostRefused):
            await ours.transport.send(get(url), Call())
    assert not ours.exchanges


# — breaker —


async def test_an_open_breaker_refuses_at_once_and_one_probe_closes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bad = replies(503)
    async with serving(bad, bad, bad, bad, replies()) as server, hub() as ours:
        for _ in range(3):
            await ours.transport.send(get(server.url), Call())
        with pytest.raises(TransportLost, match="breaker") as lost:
            await ours.transport.send(get(server.url, "counted"), Call())
        assert not lost.value.may_have_arrived
        assert len(server.requests) == 3
        await asyncio.sleep(0.06)
        await ours.transport.send(get(server.url), Call())  # a probe that fails
        assert ours.breaker.retry_in_s > 0.06, "the second cool-down is longer"
        await asyncio.sleep(0.11)
        await ours.transport.send(get(server.url), Call())
        assert not ours.breaker.is_open
        assert [use.used for use in ours.pacer.usage()] == [0]
    assert [record.message for record in caplog.records if "marketplace" in record.message] == [
        "marketplace does not answer, calls are held back",
        "marketplace answers again",
    ]


class StandingClock(SystemClock):
    """A clock the test moves by hand."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


def test_only_one_probe_goes_at_a_time_and_the_cool_down_is_capped() -> None:
    clock = StandingClock()
    breaker = Breaker(clock, failures_max=2, cool_down_s=1.0, cool_down_s_max=4.0)
    late = breaker.admit()
    for _ in range(2):
        breaker.failed("read", breaker.admit())
    waits = []
    for _ in range(4):
        waits.append(breaker.retry_in_s)
        assert breaker.admit() is Admission.REFUSED
        clock.now_s += waits[-1]
        probe = breaker.admit()
        assert probe is Admission.PROBE
        assert breaker.admit() is Admission.REFUSED
        breaker.failed("read", late)
        breaker.forget(late)
        assert breaker.admit() is Admission.REFUSED, "an older call says nothing of the probe"
        breaker.failed("read", probe)
    assert waits == [1.0, 2.0, 4.0, 4.0]


def test_a_probe_without_a_verdict_lets_another_go() -> None:
    clock = StandingClock()
    breaker = Breaker(clock, failures_max=1)
    breaker.failed("read", breaker.admit())
    clock.now_s = 1.0
    breaker.forget(breaker.admit())
    assert breaker.admit() is Admission.PROBE


def test_failures_count_only_in_a_row() -> None:
    breaker = Breaker(StandingClock(), failures_max=2)
    for _ in range(5):
        breaker.failed("read", breaker.admit())
        breaker.answered("read", 404, breaker.admit())
    assert not breaker.is_open


def test_a_run_of_500s_opens_only_when_it_hits_more_than_one_operation() -> None:
    """One marketplace answers 500 to a query it does not like: that is no outage."""
    breaker = Breaker(StandingClock(), failures_max=3)
    for _ in range(20):
        breaker.answered("read", 500, breaker.admit())
    assert not breaker.is_open
    breaker.answered("push", 500, breaker.admit())
    assert breaker.is_open


async def test_a_call_that_is_late_for_its_place_in_a_shared_quota_is_not_sent() -> None:
    """Its unit counts for others again, soon after it should have been on its way."""

    class Skipping(SystemClock):
        skipped_s = 0.0

        def monotonic_s(self) -> float:
            return super().monotonic_s() + self.skipped_s

    class Slow(Breaker):
        """Between the permit and the first byte."""

        def admit(self) -> Admission:
            clock.skipped_s += takes_s
            return super().admit()

    class Rich:
        async def lend(self, ask: Ask) -> Lent:
            return Lent(1, ask.wanted, 0.0)

    clock = Skipping()
    (quota,) = MANIFEST.quotas
    shared = msgspec.structs.replace(
        MANIFEST, quotas=(msgspec.structs.replace(quota, scope="egress_ip"),)
    )
    budget = SharedBudget("x/egress_ip", Rich(), clock)
    pacer = Pacer(shared, "", clock, {"egress_ip": budget})
    async with serving(replies()) as server, open_session() as session:
        transport = HttpTransport(session, pacer, shared.operations, clock, breaker=Slow(clock))
        request = HttpRequest("counted", "GET", server.url)
        takes_s = 3.0
        with pytest.raises(TransportLost) as lost:
            await transport.send(request, Call(Priority.NORMAL))
        assert not lost.value.may_have_arrived
        assert server.requests == []
        takes_s = 0.0
        assert (await transport.send(request, Call(Priority.NORMAL))).status == 200
        assert pacer.under_way == 0
