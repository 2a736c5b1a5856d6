"""Images taken in, fetched, kept once, sent or refused, moved, deleted."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from meschain.app.images import take_in as take_in_module
from meschain.app.images.fetching import Fetching, fetch_images
from meschain.app.images.store import ImageStore
from meschain.app.images.take_in import Order, Progress, take_in
from meschain.channel.clock import SystemClock
from meschain.cli.tree import root
from meschain.store.unit_of_work import Database
from meschain.testing.shop import Shop
from tests.pictures import picture, vast_png

Connection = psycopg.Connection[tuple[object, ...]]
CATALOG = """\
model_code;sku;barcode;title;sale_price;quantity;vat_percent;images;product_images
KZK;KZK-M;869001;Kazak;100,00;1;20;https://a.example/m.jpg;https://a.example/p.jpg
KZK;KZK-L;869002;Kazak;100,00;1;20;;
"""


class House:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.images = ImageStore(home / "images")

    def invoke(self, *words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(root, words)
        assert "Traceback" not in result.output
        assert result.exit_code == status, result.output
        return result

    def document(self, *words: str, status: int = 0) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.invoke(*words, "--json", status=status).stdout)
        return read

    def listed(self, *words: str) -> list[tuple[str, str, int, str]]:
        """Code, source, place, state."""
        return [
            (
                each["sku"] or each["model_code"],
                each["source_url"] or each["file_name"],
                each["place"],
                each["state"],
            )
            for each in self.document("image", "list", *words)["items"]
        ]

    def kept(self) -> set[str]:
        return set(self.images.names())


@pytest.fixture
def house(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    return House(tmp_path / "home")


@pytest.fixture
def kaya(house: House, tmp_path: Path) -> House:
    """A merchant with two variants of one product."""
    house.invoke("merchant", "add", "Kaya")
    (tmp_path / "catalog.csv").write_text(CATALOG, encoding="utf-8")
    house.invoke("import", "products", str(tmp_path / "catalog.csv"))
    return house


@asynccontextmanager
async def ordering(
    url: str,
    house: House,
    merchant_id: int,
    on_progress: Progress = lambda _done, _total: None,
) -> AsyncIterator[Order]:
    database = Database(url, app_connections=1, engine_connections=1)
    await database.open()
    try:
        yield Order(
            database=database,
            clock=SystemClock(),
            store=house.images,
            merchant_id=merchant_id,
            actor="test",
            is_plan=False,
            on_progress=on_progress,
        )
    finally:
        await database.close()


def name_of(content: bytes, extension: str = "jpg") -> str:
    return f"{hashlib.sha256(content).hexdigest()}.{extension}"


# — files in —


def test_a_folder_is_matched_kept_by_content_and_changes_nothing_the_second_time(
    kaya: House, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    front = picture(photos / "KZK-M.jpg", (20, 30))
    picture(photos / "KZK-L.png", (20, 30), kind="PNG")
    (photos / "KZK-M-2.jpg").write_bytes(front)  # the same content under another name
    picture(photos / "KZK_3.jpg", (20, 30), (1, 2, 3))
    picture(photos / "nobody.jpg")
    (photos / "869002-2.jpg").write_bytes(b"#!/bin/sh\n")
    (photos / "KZK-L-1.jpg").write_bytes(front)  # at the place that KZK-L.png has

    planned = kaya.document("image", "import", str(photos), "--plan")
    assert planned["counts"] == {"created": 4, "changed": 0, "unchanged": 0, "refused": 3}
    assert not kaya.images.folder.exists()
    assert kaya.listed("--code", "KZK-L") == []

    done = kaya.document("image", "import", str(photos))
    assert done["counts"] == planned["counts"]
    assert {each["file"]: each["code"] for each in done["refused"]} == {
        "869002-2.jpg": "image.type",
        "KZK-L.png": "image.twice",
        "nobody.jpg": "image.unmatched",
    }
    assert all(each["reason"].startswith(each["file"]) for each in done["refused"])
    listed = kaya.listed()
    assert {row for row in listed if row[3] == "kept"} == {
        ("KZK-M", "KZK-M.jpg", 1, "kept"),
        ("KZK-M", "KZK-M-2.jpg", 2, "kept"),
        ("KZK", "KZK_3.jpg", 3, "kept"),
        ("KZK-L", "KZK-L-1.jpg", 1, "kept"),
    }
    assert len(kaya.kept()) == 2
    assert name_of(front) in kaya.kept()
    assert kaya.images.path(name_of(front)).read_bytes() == front

    again = kaya.document("image", "import", str(photos))
    assert again["counts"] == {"created": 0, "changed": 0, "unchanged": 4, "refused": 3}
    assert kaya.listed() == listed
    kinds = [each["kind"] for each in kaya.document("import", "list")["imports"]]
    assert kinds[:2] == ["images", "images"]


def test_another_content_for_the_same_place_replaces_and_removing_takes_it_away(
    kaya: House, tmp_path: Path
) -> None:
    old = picture(tmp_path / "one.jpg", (20, 30))
    new = picture(tmp_path / "two.png", (20, 30), kind="PNG")
    kaya.invoke("image", "add", "KZK-M", str(tmp_path / "one.jpg"))
    said = kaya.document("image", "add", "KZK-M", str(tmp_path / "two.png"))
    assert said["counts"] == {"created": 0, "changed": 1, "unchanged": 0, "refused": 0}
    assert ("KZK-M", "two.png", 1, "kept") in kaya.listed()
    assert ("KZK-M", "one.jpg", 1, "kept") not in kaya.listed()
    assert kaya.kept() == {name_of(old), name_of(new, "png")}
    assert kaya.document("image", "prune")["deleted"] == 1
    assert kaya.kept() == {name_of(new, "png")}
    assert "no such image" in kaya.invoke("image", "remove", "KZK-L", status=1).stderr
    assert "not the SKU" in kaya.invoke("image", "remove", "NOBODY", status=1).stderr
    assert kaya.document("image", "remove", "KZK-M")["removed"] == 1
    assert kaya.document("image", "prune")["deleted"] == 1
    assert kaya.kept() == set()
    refused = kaya.document("image", "add", "NOBODY", str(tmp_path / "one.jpg"), status=1)
    assert refused["refused"][0]["code"] == "image.unmatched"


def test_a_hostile_archive_is_refused_file_by_file(kaya: House, tmp_path: Path) -> None:
    good = picture(tmp_path / "good.jpg", (20, 30))
    source = tmp_path / "photos.zip"
    with ZipFile(source, "w") as archive:
        archive.writestr("../../KZK-M.jpg", good)
        archive.writestr("KZK-M.jpg", vast_png(90_000, 90_000))
        archive.writestr("KZK-M_1.jpg", good)  # takes the place that the former did not get
        archive.writestr("KZK-L.jpg", good[: len(good) // 2])
        archive.writestr("KZK-L-2.jpg", good)
    done = kaya.document("image", "import", str(source))
    assert {each["file"]: each["code"] for each in done["refused"]} == {
        "../../KZK-M.jpg": "image.name_unsafe",
        "KZK-M.jpg": "image.too_many_pixels",
        "KZK-L.jpg": "image.damaged",
    }
    assert [each["file"] for each in done["taken"]] == ["KZK-L-2.jpg", "KZK-M_1.jpg"]
    assert kaya.kept() == {name_of(good)}
    assert list((kaya.images.folder / "incoming").iterdir()) == []
    (tmp_path / "notes.txt").write_text("no archive", encoding="utf-8")
    words = kaya.invoke("image", "import", str(tmp_path / "notes.txt"), status=1).stderr
    assert "neither a folder nor a ZIP file" in words


def test_files_and_the_catalogs_addresses_leave_each_other_alone(
    kaya: House, tmp_path: Path
) -> None:
    picture(tmp_path / "photos" / "KZK-M.jpg", (20, 30))
    picture(tmp_path / "photos" / "KZK.jpg", (20, 30))
    kaya.invoke("image", "import", str(tmp_path / "photos"))
    kaya.invoke("export", "products", "--to", str(tmp_path / "out.csv"))
    assert "local:" not in (tmp_path / "out.csv").read_text(encoding="utf-8")
    same = kaya.document("import", "products", str(tmp_path / "out.csv"))
    assert same["counts"]["variants_updated"] == 0
    changed = CATALOG.replace("m.jpg", "m2.jpg")
    (tmp_path / "catalog.csv").write_text(changed, encoding="utf-8")
    kaya.invoke("import", "products", str(tmp_path / "catalog.csv"))
    assert sorted(row[1] for row in kaya.listed()) == [
        "KZK-M.jpg",
        "KZK.jpg",
        "https://a.example/m2.jpg",
        "https://a.example/p.jpg",
    ]


async def test_an_import_that_is_cut_short_is_done_by_the_same_command(
    shop: Shop, house: House, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_in_module, "_FILES_PER_CHUNK", 1)
    shop.variant("A")
    for number in range(1, 5):
        picture(tmp_path / "photos" / f"A-{number}.jpg", (20, 30), (number, 0, 0))

    def cut(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    async with ordering(database_url, house, shop.merchant_id, cut) as order:
        with pytest.raises(KeyboardInterrupt):
            await take_in(order, tmp_path / "photos")
    assert len(house.kept()) == 2
    async with ordering(database_url, house, shop.merchant_id) as order:
        done = await take_in(order, tmp_path / "photos")
    assert done.counts == {"created": 2, "changed": 0, "unchanged": 2, "refused": 0}
    assert len(house.kept()) == 4


# — addresses —


class Site:
    """A supplier's server: path → status and body."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        status, body = self.pages.get(request.path, (404, b""))
        return web.Response(status=status, body=body, content_type="image/jpeg")


@asynccontextmanager
async def served() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{tail:.*}", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    port = runner.addresses[0][1]
    site.url = f"http://127.0.0.1:{port}"
    try:
        yield site
    finally:
        await runner.cleanup()


async def fetch_all(
    url: str, house: House, merchant_id: int, *, allows_private: bool = True, **how: bool
) -> Fetching:
    async with ordering(url, house, merchant_id) as order:
        return await fetch_images(order, allows_private=allows_private, **how)


def name_addresses(shop: Shop, *addresses: str) -> None:
    for place, address in enumerate(addresses):
        shop.connection.execute(
            "INSERT INTO media (merchant_id, product_id, position, source_url)"
            " SELECT merchant_id, product_id, %s, %s FROM variant WHERE sku = 'A'",
            (place, address),
        )


async def test_addresses_are_fetched_once_and_what_fails_is_kept_with_its_reason(
    shop: Shop, house: House, database_url: str, tmp_path: Path
) -> None:
    shop.variant("A")
    good = picture(tmp_path / "good.jpg", (20, 30))
    async with served() as site:
        site.pages = {
            "/good.jpg": (200, good),
            "/page.jpg": (200, b"<html>not found</html>"),
            "/late.jpg": (503, b""),
        }
        paths = ("/good.jpg", "/page.jpg", "/late.jpg", "/none.jpg")
        name_addresses(shop, *(site.url + path for path in paths))
        first = await fetch_all(database_url, house, shop.merchant_id)
        assert first.fetched == [f"{site.url}/good.jpg"]
        reasons = {each.file.removeprefix(site.url): each.reason for each in first.refused}
        assert reasons == {
            "/page.jpg": "image.type",
            "/late.jpg": "image.fetch.status",
            "/none.jpg": "image.fetch.status",
        }
        assert house.kept() == {name_of(good)}
        # What is there is left alone; what failed is tried again.
        site.asked.clear()
        site.pages["/late.jpg"] = (200, good)
        second = await fetch_all(database_url, house, shop.merchant_id)
        assert sorted(site.asked) == ["/late.jpg", "/none.jpg", "/page.jpg"]
        assert (second.known, second.fetched) == (1, [f"{site.url}/late.jpg"])
        rows = shop.connection.execute(
            "SELECT width_px, problem ->> 'key' FROM media ORDER BY position"
        ).fetchall()
        assert rows == [
            (20, None),
            (None, "image.type"),
            (20, None),
            (None, "image.fetch.status"),
        ]
        # Lost from the disk, it is fetched again; gone from the server, the content stays.
        house.images.path(name_of(good)).unlink()
        third = await fetch_all(database_url, house, shop.merchant_id)
        assert len(third.fetched) == 2
        site.pages.clear()
        await fetch_all(database_url, house, shop.merchant_id, again=True)
        ((width, key),) = shop.connection.execute(
            "SELECT width_px, problem ->> 'key' FROM media WHERE position = 0"
        ).fetchall()
        assert (width, key) == (20, "image.fetch.status")
        assert house.kept() == {name_of(good)}


async def test_nothing_is_fetched_from_inside_the_network(
    shop: Shop, house: House, database_url: str
) -> None:
    shop.variant("A")
    async with served() as site:
        name_addresses(shop, f"{site.url}/a.jpg", "http://169.254.169.254/key", "file:///etc/hosts")
        found = await fetch_all(database_url, house, shop.merchant_id, allows_private=False)
        assert site.asked == []
    assert sorted(each.reason for each in found.refused) == [
        "image.fetch.address_private",
        "image.fetch.address_private",
        "image.fetch.address_wrong",
    ]


# — together with others —


def test_a_content_of_two_merchants_is_kept_once_and_stays_until_the_last_has_gone(
    kaya: House, tmp_path: Path
) -> None:
    shared = picture(tmp_path / "photos" / "KZK-M.jpg", (20, 30))
    own = picture(tmp_path / "own.jpg", (20, 30), (9, 9, 9))
    kaya.invoke("merchant", "add", "Demir")
    demir = ("--merchant", "Demir")
    kaya.invoke("import", "products", str(tmp_path / "catalog.csv"), *demir)
    for name in ("Kaya", "Demir"):
        kaya.invoke("image", "import", str(tmp_path / "photos"), "--merchant", name)
    kaya.invoke("image", "add", "KZK-L", str(tmp_path / "own.jpg"), *demir)
    assert kaya.kept() == {name_of(shared), name_of(own)}
    kaya.invoke("merchant", "delete", "Demir", "--without-export", "--confirm", "Demir")
    assert kaya.kept() == {name_of(shared)}
    assert ("KZK-M", "KZK-M.jpg", 1, "kept") in kaya.listed()
    kaya.invoke("merchant", "delete", "Kaya", "--without-export", "--confirm", "Kaya")
    assert kaya.kept() == set()


def test_a_merchants_archive_brings_its_images_along(
    kaya: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture(tmp_path / "photos" / "KZK-M.jpg", (20, 30))
    kaya.invoke("image", "import", str(tmp_path / "photos"))
    said = kaya.invoke("merchant", "export", "--to", str(tmp_path / "kaya.zip")).stdout
    assert "1 image is in it" in said
    before = kaya.listed()
    kaya.invoke("merchant", "delete", "Kaya", "--without-export", "--confirm", "Kaya")
    assert kaya.kept() == set()
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path / "other"))
    other = House(tmp_path / "other")
    other.invoke("merchant", "import", str(tmp_path / "kaya.zip"))
    assert other.listed() == before
    assert other.images.path(name_of(content)).read_bytes() == content


def test_an_archive_with_another_image_than_it_says_is_refused_and_leaves_nothing(
    kaya: House, tmp_path: Path
) -> None:
    content = picture(tmp_path / "photos" / "KZK-M.jpg", (20, 30))
    kaya.invoke("image", "import", str(tmp_path / "photos"))
    kaya.invoke("merchant", "export", "--to", str(tmp_path / "kaya.zip"))
    for number, (name, body) in enumerate(
        (
            (name_of(content), b"something else"),
            (name_of(b"no image"), b"no image"),
            ("../../evil.jpg", content),
        )
    ):
        changed = tmp_path / f"changed-{number}.zip"
        with ZipFile(tmp_path / "kaya.zip") as old, ZipFile(changed, "w") as archive:
            for member in old.namelist():
                said = old.read(member)
                if member == "archive.json":
                    said = said.replace(name_of(content).encode(), name.encode())
                if not member.startswith("images/"):
                    archive.writestr(member, said)
            archive.writestr(f"images/{name}", body)
        words = ("merchant", "import", str(changed), "--name", "Yeni")
        assert "damaged" in kaya.invoke(*words, status=1).stderr
        names = [each["name"] for each in kaya.document("merchant", "list")["merchants"]]
        assert names == ["Kaya"]
        assert kaya.kept() == {name_of(content)}
    assert not list(tmp_path.glob("evil*"))


def test_a_backup_says_which_folder_is_to_be_copied_beside_it(kaya: House, tmp_path: Path) -> None:
    content = picture(tmp_path / "photos" / "KZK-M.jpg", (20, 30))
    kaya.invoke("image", "import", str(tmp_path / "photos"))
    made = kaya.invoke("backup", "--to", str(tmp_path / "backups"))
    assert "1 image" in made.stderr
    assert str(kaya.images.folder) in made.stderr
    said = kaya.document("backup", "--to", str(tmp_path / "backups"))
    assert said["images"]["files"] == 1
    assert said["images"]["size_bytes"] == len(content)


async def test_nothing_is_pruned_while_somebody_takes_images_in(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    order: list[str] = []

    async def prune() -> None:
        async with store.alone():
            order.append("pruned")

    async with store.used(), store.used():
        pruning = asyncio.create_task(prune())
        await asyncio.sleep(0.1)
        order.append("taken in")
    await pruning
    assert order == ["taken in", "pruned"]
