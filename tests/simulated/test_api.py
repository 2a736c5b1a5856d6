"""The API and the page over real HTTP, on a hub with a real database."""

import asyncio
import re
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import msgspec
import psycopg
import pytest

import meschain.api
from meschain.api.text import language_of, texts
from meschain.bootstrap import Hub, HubSettings
from meschain.messages import LANGUAGES
from meschain.server import ServerHandle, serve
from meschain.testing.shop import Shop

Connection = psycopg.Connection[tuple[object, ...]]
Json = dict[str, object]
PAGE = (Path(meschain.api.__file__).parent / "page.html").read_text(encoding="utf-8")


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        opened = Shop.open(connection)
        for sku in ("A", "B", "C"):
            opened.variant(sku, on_hand=5)
        opened.account("west")
        opened.list_on("west", ["A", "B", "C"])
        yield opened


@pytest.fixture
async def hub(database_url: str, tmp_path: Path) -> AsyncIterator[Hub]:
    settings = HubSettings(database_url, tmp_path / "master.key", loopback_only=True)
    async with Hub.opened(settings) as opened:
        yield opened


class Api:
    """A reader of one server."""

    def __init__(self, session: aiohttp.ClientSession, handle: ServerHandle) -> None:
        self.session = session
        self.handle = handle

    async def get(
        self, path: str, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> Json:
        async with self.session.get(self.handle.url + path, headers=headers) as answer:
            body = await answer.read()
            document: Json = msgspec.json.decode(body)
            assert answer.status == status, document
            if status >= 400:
                assert answer.content_type == "application/problem+json"
                assert document["status"] == status
                assert document["title"]
                assert document["detail"]
            return document

    async def items(self, path: str) -> list[Json]:
        found = (await self.get(path))["items"]
        assert isinstance(found, list)
        return found


@pytest.fixture
async def api(hub: Hub) -> AsyncIterator[Api]:
    handle = await serve(hub, 0)
    async with aiohttp.ClientSession() as session:
        yield Api(session, handle)
    await handle.stop()


def change(shop: Shop, hub: Hub, kind: str = "order.new", order_id: int = 7) -> None:
    now = hub.clock.now()
    shop.connection.execute(
        "INSERT INTO event (merchant_id, day, at_us, kind, facts) VALUES (%s, %s, 1, %s, %s)",
        (shop.merchant_id, now.date(), kind, f'{{"order_id": {order_id}}}'),
    )


# — reading —


@pytest.mark.usefixtures("shop")
async def test_every_list_answers_and_the_schema_names_it(api: Api) -> None:
    assert await api.items("/api/v1/orders") == []
    assert await api.items("/api/v1/problems") == []
    rows = await api.items("/api/v1/listings?limit=2")
    assert [row["sku"] for row in rows] == ["A", "B"]
    status = await api.get("/api/v1/status")
    assert status["backlog"] == 0
    schema = await api.get("/api/v1/schema/openapi.json")
    assert schema["openapi"] == "3.1.0"
    paths = schema["paths"]
    assert isinstance(paths, dict)
    assert {"/api/v1/orders", "/api/v1/events", "/hooks/{path_token}", "/health"} <= paths.keys()
    assert (await api.get("/health"))["status"] == "ok"


@pytest.mark.usefixtures("shop")
async def test_cursors_and_parameters_that_make_no_sense_are_said_to(api: Api) -> None:
    problem = await api.get("/api/v1/orders?cursor=xx", status=400)
    assert problem["type"] == "urn:meschain:problem:cursor-invalid"
    problem = await api.get("/api/v1/orders?limit=9999", status=400)
    assert problem["type"] == "urn:meschain:problem:invalid"
    assert "limit" in str(problem["errors"])
    problem = await api.get("/nothing", status=404)
    assert problem["type"] == "urn:meschain:problem:not-found"


@pytest.mark.usefixtures("shop")
async def test_problems_are_said_in_the_readers_language(api: Api) -> None:
    turkish = {"Accept-Language": "de, tr-TR;q=0.9, en;q=0.8"}
    problem = await api.get("/api/v1/orders?cursor=xx", status=400, headers=turkish)
    assert problem["title"] == "Bu imleç bizim değil"


@pytest.mark.parametrize(
    ("header", "language"),
    [("", "en"), ("tr", "tr"), ("de-DE,fr", "en"), ("en;q=0.1,tr;q=0.2", "tr"), (";q=x,,", "en")],
)
def test_the_language_is_the_first_that_we_have(header: str, language: str) -> None:
    assert language_of(header) == language


async def test_two_merchants_are_told_apart_and_a_third_does_not_exist(
    api: Api, shop: Shop
) -> None:
    other = Shop.open(shop.connection, "Demir")
    other.variant("Z", on_hand=1)
    other.account("north")
    other.list_on("north", ["Z"])
    ours = await api.items(f"/api/v1/listings?merchant={shop.merchant_id}")
    theirs = await api.items(f"/api/v1/listings?merchant={other.merchant_id}")
    assert [row["sku"] for row in ours] == ["A", "B", "C"]
    assert [row["sku"] for row in theirs] == ["Z"]
    await api.get("/api/v1/listings?merchant=999", status=404)


async def test_a_hub_without_accounts_says_what_to_do(api: Api) -> None:
    problem = await api.get("/api/v1/status", status=404)
    assert "meschain account add" in str(problem["detail"])


# — who may ask —


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"X-Forwarded-For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
    ],
)
async def test_only_this_machine_under_its_own_name_may_read(
    api: Api, headers: dict[str, str]
) -> None:
    for path in ("/", "/api/v1/orders", "/api/v1/events"):
        problem = await api.get(path, status=403, headers=headers)
        assert problem["type"] == "urn:meschain:problem:not-this-machine"
    problem = await api.get("/hooks/unknown", status=405, headers=headers)
    assert problem["type"] == "urn:meschain:problem:method-not-allowed"


# — the feed —


class Feed:
    """A reader of server-sent events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> dict[str, str]:
        found: dict[str, str] = {}
        async with asyncio.timeout(3):
            while True:
                line = (await self.answer.content.readline()).decode().rstrip("\r\n")
                if not line and "event" in found:
                    return found
                name, _, value = line.partition(": ")
                if name:
                    found[name] = value


async def test_the_feed_says_what_changed_and_resumes_where_it_was(
    api: Api, shop: Shop, hub: Hub
) -> None:
    url = api.handle.url + "/api/v1/events"
    async with api.session.get(url) as answer:
        assert answer.content_type == "text/event-stream"
        feed = Feed(answer)
        begun = await feed.next()
        assert begun["event"] == "begin"
        change(shop, hub, order_id=1)
        changed = await feed.next()
        events = msgspec.json.decode(changed["data"])
        assert [event["facts"]["order_id"] for event in events] == [1]
    change(shop, hub, order_id=2)
    async with api.session.get(url, headers={"Last-Event-ID": changed["id"]}) as answer:
        feed = Feed(answer)
        assert (await feed.next())["event"] == "resume"
        events = msgspec.json.decode((await feed.next())["data"])
        assert [event["facts"]["order_id"] for event in events] == [2]
    for nonsense in ("x", "99-1-1", f"1-{2**62}-1"):
        async with api.session.get(url, headers={"Last-Event-ID": nonsense}) as answer:
            assert (await Feed(answer).next())["event"] == "begin"


@pytest.mark.usefixtures("shop")
async def test_a_listener_that_left_is_forgotten(api: Api) -> None:
    async with api.session.get(api.handle.url + "/api/v1/events") as answer:
        await Feed(answer).next()
        assert api.handle.parts.listeners == 1
    async with asyncio.timeout(3):
        while api.handle.parts.listeners:  # noqa: ASYNC110 – a plain counter is waited for
            await asyncio.sleep(0.02)


# — the server —


@pytest.mark.usefixtures("shop")
async def test_it_takes_the_next_port_and_stops_within_a_second_with_a_listener_open(
    hub: Hub,
) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first = await serve(hub, port)
        assert first.port > port
    async with (
        aiohttp.ClientSession() as session,
        session.get(first.url + "/api/v1/events") as answer,
    ):
        await Feed(answer).next()
        began = loop.time()
        await first.stop()
        assert loop.time() - began < 1.0
    again = await serve(hub, first.port)
    assert again.port == first.port
    await again.stop()


# — the page —


async def test_the_page_is_one_file_that_loads_nothing_from_elsewhere(api: Api) -> None:
    async with api.session.get(api.handle.url + "/") as answer:
        html = await answer.text()
        policy = answer.headers["content-security-policy"]
    assert html == PAGE
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    outside = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(https?:|//)""", PAGE)
    assert not outside
    assert not re.search(r"\sstyle=|\son\w+=\"", PAGE), "the policy would refuse it"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_text_of_the_page_is_there_in_both_languages(api: Api, language: str) -> None:
    document = await api.get(f"/api/v1/messages/{language}")
    said = document["texts"]
    assert said == texts(language)
    assert isinstance(said, dict)
    used = set(re.findall(r'"((?:page|agreement|listing_state)\.[a-z_.0-9]*[a-z0-9])"', PAGE))
    assert len(used) > 50
    assert not {key for key in used if key not in said and f"{key}.other" not in said}
    for prefix, endings in {
        "page.connection.": ("live", "connecting", "lost"),
        "page.account.state_": ("read_only", "armed", "paused", "reconnect"),
        "page.orders.detected_": ("webhook", "poll", "audit"),
        "agreement.": ("equal", "waiting", "sent", "looking", "refused"),
        "problem.offer.": ("quantity", "price"),
        "problem.listing.": ("rejected", "locked", "incomplete"),
        "advice.listing.": ("rejected", "locked", "incomplete"),
    }.items():
        assert not {prefix + ending for ending in endings} - said.keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_alert_and_every_api_problem_has_its_texts(language: str) -> None:
    source = Path(meschain.api.__file__).parent.parent
    said = texts(language)
    alerts: set[str] = set()
    for file in [*source.rglob("*.sql"), *(source / "sync").glob("*.py")]:
        alerts |= set(re.findall(r"""["'](alert\.[a-z]+\.[a-z_]+)["']""", file.read_text("utf-8")))
    assert len(alerts) > 6
    missing = {a for a in alerts if a not in said or f"{a}.advice" not in said}
    assert not missing
    kinds: set[str] = set()
    for file in (source / "api").rglob("*.py"):
        kinds |= set(re.findall(r'ApiProblem\(\s*"(\w+)"', file.read_text("utf-8")))
        kinds |= set(re.findall(r'\d{3}: "(\w+)"', file.read_text("utf-8")))
    assert len(kinds) > 8
    missing = {k for k in kinds if f"problem.api.{k}.title" not in said}
    missing |= {k for k in kinds if f"problem.api.{k}.detail" not in said}
    assert not missing


async def test_an_unknown_language_is_refused(api: Api) -> None:
    await api.get(f"/api/v1/messages/{secrets.token_hex(2)}", status=404)
