"""Logs tell what happened and nothing of whom; metrics and health tell it to machines."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import psycopg
import pytest
from click.testing import CliRunner

from meschain import telemetry
from meschain.cli.tree import root
from meschain.sandbox.faults import Fault
from meschain.server import ServerHandle, serve
from meschain.sync.intake import Intake
from meschain.telemetry import (
    LogFilter,
    LogReader,
    configure_logging,
    log_files,
    log_to_folder,
    words_of,
)
from meschain.testing.trade import Trade, trading

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
EAST, WEST = "trendyol", "n11"
log = logging.getLogger("meschain.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What a test configures is the test's."""
    loggers = [logging.getLogger(name) for name in (None, "meschain", "psycopg.pool")]
    before = [(each, each.level, list(each.handlers)) for each in loggers]
    yield
    for each, level, handlers in before:
        for handler in set(each.handlers) - set(handlers):
            handler.close()
        each.setLevel(level)
        each.handlers[:] = handlers


def lines(folder: Path, **wanted: object) -> list[dict[str, object]]:
    return list(LogReader(folder).read(LogFilter(**wanted)))  # type: ignore[arg-type]


def told(home: Path, message: str) -> bool:
    return any(line["message"] == message for line in lines(home / "logs"))


def markers(trade: Trade) -> set[str]:
    """What must be in no log: credentials, and everything of buyers that names or finds them."""
    found = {
        value
        for line in trade.host.accounts
        for name, value in line.credentials.items()
        if name != "seller_id"
    }
    for order in trade.host.world.orders:
        person = order.buyer
        found |= {
            person.last_name, person.email, person.phone, person.phone.removeprefix("+90"),
            person.street, person.company_name, person.tax_number,
        }  # fmt: skip
    return {each for each in found if len(each) > 4}


async def test_no_credential_and_nothing_of_a_buyer_gets_into_a_log(
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A traded day with everything that can go wrong, at debug level, on both ways out."""
    configure_logging("debug")
    log_to_folder(tmp_path / "logs", "debug")
    async with trading(database_url, tmp_path, quantity=30) as trade:
        for _ in range(6):
            trade.buy(EAST, {"A": 1, "B": 1})
            trade.buy(WEST, {"C": 1})
        for fault in (Fault.SERVER_ERROR, Fault.RESET, Fault.THROTTLED, Fault.BATCH_ITEM_FAILED):
            trade.force(fault, 2)
        await trade.until(
            lambda: trade.number("SELECT count(*)::int FROM orders") >= 12, within_s=60
        )
        # An order that cannot be stored: the database quotes its row, the log does not.
        await trade.write("ALTER TABLE orders ADD CHECK (city = '') NOT VALID")
        trade.buy(EAST, {"A": 1})
        trade.buy(WEST, {"A": 1})
        await trade.until(lambda: told(tmp_path, "order cannot be stored"), within_s=40)

        # A defect of ours, whose words quote what it was given.
        def fail(_: Intake, order: object) -> bool:
            raise ValueError(repr(order))

        monkeypatch.setattr(Intake, "is_known", fail)
        trade.buy(EAST, {"A": 1})
        trade.buy(WEST, {"A": 1})
        await trade.until(lambda: told(tmp_path, "engine loop failed"), within_s=40)
        secrets = markers(trade)
    assert len(secrets) > 40
    written = "".join(each.path.read_text("utf-8") for each in log_files(tmp_path / "logs"))
    said = capsys.readouterr().err
    for text in (written, said):
        assert len(text) > 2_000
        assert [each for each in secrets if each in text] == []
    found = lines(tmp_path / "logs")
    assert {"debug", "info", "error"} <= {str(line["level"]) for line in found}
    requests = [line for line in found if line["message"] == "request ended"]
    assert all({"request", "account", "operation", "status"} <= line.keys() for line in requests)
    numbers = [line["request"] for line in requests]
    assert len(numbers) == len(set(numbers)) > 10
    orders = lines(tmp_path / "logs", lane="orders", accounts=frozenset({"1"}))
    assert orders
    assert {(line["lane"], line["account"]) for line in orders} == {("orders", 1)}


def test_words_of_the_database_are_kept_without_what_they_quote(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for statement in (
            "INSERT INTO merchant (name, country, created_at) VALUES ('Gizli', NULL, now())",
            "SELECT 'Gizli'::integer",
            'SELECT * FROM "Gizli"',
        ):
            with pytest.raises(psycopg.Error) as caught, connection.transaction():
                connection.execute(statement)
            said = words_of(caught.value)
            assert "Gizli" in str(caught.value)
            assert "Gizli" not in said
            assert caught.value.sqlstate is not None
            assert caught.value.sqlstate in said
    assert words_of(ValueError("Gizli")) == "ValueError"
    assert words_of(FileNotFoundError(2, "No such file", "x")) == "FileNotFoundError: No such file"


def test_causes_are_told_with_their_places_and_without_their_words(tmp_path: Path) -> None:
    log_to_folder(tmp_path, "info")
    try:
        try:
            dict[str, int]()["Gizli"]
        except KeyError as cause:
            raise ExceptionGroup("Gizli too", [cause]) from cause
    except ExceptionGroup:
        log.exception("it broke", extra={"account": 7, "error": ValueError("Gizli")})
    (line,) = lines(tmp_path)
    assert (line["message"], line["account"], line["error"]) == ("it broke", 7, "ValueError")
    story = line["exception"]
    assert isinstance(story, list)
    assert (story[0], "KeyError" in story) == ("ExceptionGroup", True)
    assert any(Path(__file__).name in each for each in story)
    assert "Gizli" not in json.dumps(line)


def test_files_are_bounded_in_size_and_number_and_no_line_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "FILE_BYTES_MAX", 2_000)
    monkeypatch.setattr(telemetry, "FILES_MAX", 4)
    for _ in range(2):  # two processes
        log_to_folder(tmp_path, "info")
    for number in range(200):
        log.info("line", extra={"number": number})
    files = log_files(tmp_path)
    assert len(files) == 4
    assert all(each.path.stat().st_size < 2_600 for each in files)
    assert all(each.path.stat().st_mode & 0o077 == 0 for each in files)
    numbers = [line["number"] for line in lines(tmp_path)]
    assert numbers[-2:] == [199, 199]
    assert all(isinstance(number, int) for number in numbers)


def test_a_full_disk_costs_lines_and_never_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_to_folder(tmp_path, "info")
    log.info("before")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        log.info("lost")
    log.info("after")
    assert [line["message"] for line in lines(tmp_path)] == ["before", "after"]


# — the command —


def test_logs_are_filtered_and_told(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)

    def said(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(root, ("logs", *words))
        assert result.exit_code == status, result.output
        return result.output

    assert "no log" in said(status=1)
    log_to_folder(tmp_path / "logs", "debug")
    for level, account, lane in ((10, 1, "claims"), (20, 1, "orders"), (30, 2, "orders")):
        log.log(level, "something", extra={"account": account, "lane": lane})
    assert len(said().splitlines()) == 2
    assert len(said("--level", "debug").splitlines()) == 3
    assert len(said("--account", "1", "--level", "debug").splitlines()) == 2
    assert len(said("--lane", "orders").splitlines()) == 2
    assert len(said("--since", "1h").splitlines()) == 2
    assert said("--since", "2999-01-01") == "No line fits what was asked for.\n"
    for odd in ("yesterday", "99999999999d", "²h", "0001-01-01T00:00+14:00"):
        assert "no time" in said("--since", odd, status=1)
    assert "No line fits" in said("--account", "nobody")
    (line,) = (json.loads(each) for each in said("--level", "warning", "--json").splitlines())
    assert (line["account"], line["level"]) == (2, "warning")


async def test_a_reader_that_follows_gets_each_line_once(tmp_path: Path) -> None:
    reader = LogReader(tmp_path)
    log_to_folder(tmp_path, "info")
    for number in range(3):
        log.info("line", extra={"number": number})
        await asyncio.sleep(0)
        assert [line["number"] for line in reader.read(LogFilter())] == [number]


# — for machines —


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Trade, ServerHandle]]:
    async with trading(database_url, tmp_path) as trade:
        handle = await serve(trade.hub, 0)
        try:
            yield trade, handle
        finally:
            await handle.stop()


async def text_of(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_metrics_are_prometheus_text_and_count_what_happened(
    api: tuple[Trade, ServerHandle],
) -> None:
    trade, handle = api
    await trade.write("UPDATE merchant SET name = 'a \"b\" \\ c'")
    trade.buy(EAST, {"A": 1})
    await trade.come_to_rest()
    status, text = await text_of(f"{handle.url}/metrics")
    assert status == 200
    label = r'[a-z]+="(?:[^"\\\n]|\\.)*"'
    sample = re.compile(rf"[a-z_]+(?:\{{{label}(?:,{label})*\}})? -?\d+(?:\.\d+)?(?:e[-+]\d+)?")
    typed: set[str] = set()
    histograms: dict[str, bool] = {}
    values: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed, "a metric is one group"
            typed.add(name)
            histograms[name] = line.endswith(" histogram")
        elif not line.startswith("# HELP "):
            assert sample.fullmatch(line), line
            name = line.split("{")[0].split()[0]
            base = re.sub("_(bucket|sum|count)$", "", name)
            assert name in typed or histograms.get(base), line
            values[line.rsplit(" ", 1)[0]] = float(line.rsplit(" ", 1)[1])
    assert values["meschain_accounts_served"] == 2
    label = r'{merchant="a \"b\" \\ c"}'
    assert values["meschain_orders_last_ten_minutes" + label] == 1
    for name in ("backlog", "propagation_seconds_bucket", "hub_seconds_sum",
                 "request_seconds_count", "claim_seconds_bucket", "quota_used", "net_found_total",
                 "oldest_dirty_seconds", "failures_total", "db_connections"):  # fmt: skip
        assert any(key.startswith(f"meschain_{name}{{") for key in values), name
    # One unit was sold on the one: the other was told, in one push.
    other = f'{{marketplace="{WEST}"'
    assert values[f"meschain_propagation_seconds_count{other}}}"] >= 1
    assert values[f'meschain_propagation_seconds_bucket{other},le="+Inf"}}'] >= 1
    assert values[f'meschain_request_seconds_count{other},operation="push_offers"}}'] >= 1
    assert values["meschain_claim_seconds_count"] >= 1
    page = REFERENCE.read_text("utf-8")
    assert set(re.findall(r"`(meschain_\w+)`", page)) == typed
    status, _ = await text_of(f"{handle.url}/metrics", {"Host": "evil.example"})
    assert status == 403


async def test_a_process_lives_without_its_database_but_is_not_ready(
    api: tuple[Trade, ServerHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    trade, handle = api
    for path in ("live", "ready"):
        assert (await text_of(f"{handle.url}/health/{path}"))[0] == 200
    with monkeypatch.context() as patched:
        away = psycopg.OperationalError("away")

        def refuse() -> object:
            raise away

        patched.setattr(trade.hub.database, "engine", refuse)
        assert (await text_of(f"{handle.url}/health/live"))[0] == 200
        assert (await text_of(f"{handle.url}/health/ready"))[0] == 503
    handle.parts.stopping.set()
    status, said = await text_of(f"{handle.url}/health/ready")
    assert (status, "stopping" in said) == (503, True)
