"""Images on their way: served by the hub in every size, sent to both marketplaces or refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

import meschain.demo
from meschain.app.beside import run_beside
from meschain.app.images.store import ImageStore, receive
from meschain.bootstrap import Hub, HubSettings
from meschain.domain.image import derived_names, original_name
from meschain.registry import marketplaces
from meschain.sandbox.host import SandboxHost
from meschain.server import serve
from tests.pictures import picture
from tests.simulated.test_cli import Shell, items, line_of, shell

__all__ = ["shell"]

pytestmark = pytest.mark.slow

MAPPINGS = Path(meschain.demo.__file__).parent / "mapping"
HEADER = (
    "model_code;sku;barcode;title;description;brand;category;list_price;sale_price;quantity;"
    "vat_percent;desi;origin_country;attr:Renk;attr:Beden;product_attr:Kumaş;images\n"
)
ROW = (
    "{sku};{sku};{barcode};V Yaka Yün Kazak {sku};Sıcak tutar.;Işılbez;Giyim > Kadın > Kazak;"
    "1249,90;999,90;5;10;2;TR;Lacivert;M;Yün;{images}\n"
)


# — serving —


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[str, ImageStore]]:
    """A hub's address, and the images that it keeps."""
    store = ImageStore(tmp_path / "images")
    settings = HubSettings(database_url, tmp_path / "master.key", loopback_only=True)
    async with Hub.opened(settings) as hub:
        handle = await serve(hub, 0, images=store)
        yield handle.url, store
        await handle.stop()


def kept(store: ImageStore, content: bytes, media_type: str = "image/jpeg") -> str:
    with store.receiving() as folder:
        received = receive(io.BytesIO(content), folder / "image")
        store.keep(received, original_name(received.content_hash, media_type))
    return received.content_hash


async def test_what_a_name_gives_once_may_be_kept_for_ever(
    site: tuple[str, ImageStore], tmp_path: Path
) -> None:
    url, store = site
    content = picture(tmp_path / "a.jpg", (1300, 1950))
    content_hash = kept(store, content)
    async with aiohttp.ClientSession(f"{url}/images/") as session:
        async with session.get(f"{content_hash}.jpg") as answer:
            assert await answer.read() == content
            assert answer.content_type == "image/jpeg"
            headers = answer.headers
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-length"] == str(len(content))
        known = {"If-None-Match": f'"other", {headers["etag"]}'}
        async with session.get(f"{content_hash}.jpg", headers=known) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
            assert answer.headers["etag"] == headers["etag"]
        async with session.head(f"{content_hash}.jpg") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert answer.headers["content-length"] == str(len(content))
        # As a marketplace asks: through a reverse proxy, under the hub's public name.
        public = {"Host": "hub.example", "X-Forwarded-For": "203.0.113.9"}
        async with session.get(f"{content_hash}.jpg", headers=public) as answer:
            assert answer.status == 200
        for name, (width, media_type) in derived_names(content_hash).items():
            async with session.get(name) as answer:
                assert answer.status == 200, name
                assert answer.content_type == media_type
                assert answer.headers["etag"] == f'"{name}"'
                with Image.open(io.BytesIO(await answer.read())) as image:
                    assert image.size == (width, width * 3 // 2)


async def test_sizes_are_made_once_by_a_process_beside_and_a_bad_image_is_not_tried_again(
    site: tuple[str, ImageStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, store = site
    commands: list[str] = []

    async def counted(command: tuple[str, ...]) -> tuple[int, str]:
        commands.append(command[-1])
        return await run_beside(command)

    monkeypatch.setattr("meschain.app.images.gallery.run_beside", counted)
    good = kept(store, picture(tmp_path / "a.jpg", (1300, 1950)))
    bad = kept(store, b"\xff\xd8\xff not really")
    async with aiohttp.ClientSession(f"{url}/images/") as session:

        async def status(name: str) -> int:
            async with session.get(name) as answer:
                return answer.status

        wanted = [*derived_names(good), *derived_names(bad)]
        found = await asyncio.gather(*map(status, wanted))
        assert found == [200] * 6 + [404] * 6
        assert sorted(commands) == sorted(str(store.path(f"{each}.jpg")) for each in (good, bad))
        for name in ("0" * 64 + ".jpg", f"{good}-99.webp", "..%2fmaster.key", f"{good}.png"):
            assert await status(name) == 404, name


# — publishing —


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxHost]:
    host = SandboxHost(
        {name: market.facade_factory() for name, market in marketplaces().items()},
        port=0,
        settings={
            "trendyol": {"apply_ms_min": "5", "apply_ms_max": "20"},
            "n11": {"task_delay_ms_min": "5", "task_delay_ms_max": "20"},
        },
    )
    async with host:
        yield host


async def images_shown(sandbox: SandboxHost, marketplace: str, sku: str) -> list[str]:
    """What the marketplace's own interface tells of a product's images, asked plainly."""
    line = line_of(sandbox, marketplace)
    given, base = line.credentials, next(iter(line.base_urls.values()))
    async with aiohttp.ClientSession() as session:
        if "app_key" in given:
            headers = {"appkey": given["app_key"], "appsecret": given["app_secret"]}
            url = f"{base}/ms/product-query?stockCode={sku}"
            async with session.get(url, headers=headers) as answer:
                (row,) = (await answer.json())["content"]
                return list(row["imageUrls"])
        token = base64.b64encode(f"{given['api_key']}:{given['api_secret']}".encode()).decode()
        headers = {
            "User-Agent": f"{line.seller_id} - SelfIntegration",
            "Authorization": f"Basic {token}",
        }
        for kind in ("unapproved", "approved"):
            url = f"{base}/product/sellers/{line.seller_id}/products/{kind}?stockCode={sku}"
            async with session.get(url, headers=headers) as answer:
                content = (await answer.json())["content"]
            if content:
                (row,) = content
                images: list[Mapping[str, str]] = row.get("images") or row["media"]
                return [each["url"] for each in images]
    return []


async def test_images_reach_both_marketplaces_and_bad_ones_are_refused_before_anything_is_sent(
    shell: Shell, sandbox: SandboxHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "catalog.csv"
    rows = {"KZK-GOOD": "", "KZK-SMALL": "", "KZK-GONE": "http://127.0.0.1:9/gone.jpg"}
    catalog.write_text(
        HEADER
        + "".join(
            ROW.format(sku=sku, barcode=f"KZK000{n}", images=images)
            for n, (sku, images) in enumerate(rows.items())
        ),
        encoding="utf-8",
    )
    accounts = tmp_path / "accounts.json"
    lines = [json.dumps(asdict(line)) for line in sandbox.accounts]
    accounts.write_text("\n".join(lines), encoding="utf-8")
    content = picture(tmp_path / "photos" / "KZK-GOOD.jpg", (1200, 1800))
    picture(tmp_path / "photos" / "KZK-GOOD-2.png", (1200, 1800), kind="PNG")
    picture(tmp_path / "photos" / "KZK-SMALL.jpg", (800, 800))

    await shell("merchant", "add", "Kaya Tekstil")
    await shell("import", "products", str(catalog))
    for name in ("trendyol", "n11"):
        await shell("mapping", "import", str(MAPPINGS / f"{name}.csv"))
        given = ["--credentials-file", str(accounts)]
        if name == "n11":
            given += ["--setting", "shipment_template=Standart"]
        await shell("account", "add", name, *given)
        await shell("account", "arm", name)
    await shell("image", "import", str(tmp_path / "photos"))

    async def planned(name: str) -> tuple[list[str], dict[str, str], Any]:
        said = (await shell("listing", "publish", name, "--plan", "--json")).document
        refused = {
            str(each["sku"]): " ".join(map(str, each["problems"]))  # type: ignore[arg-type]
            for each in items(said["incomplete"])
        }
        ready = said["ready"]
        assert isinstance(ready, list)
        return sorted(map(str, ready)), refused, said["images_unknown"]

    # Without a public address no file can be sent.
    ready, refused, _ = await planned("n11")
    assert "public_url" in refused["KZK-GOOD"]
    assert ready == []

    monkeypatch.setenv("MESCHAIN_PUBLIC_URL", "https://hub.example")
    ready, refused, _ = await planned("n11")
    assert ready == ["KZK-GOOD", "KZK-SMALL"]
    assert "https only" in refused["KZK-GONE"]
    await shell("image", "fetch", "--allow-private", status=1)
    ready, refused, _ = await planned("trendyol")
    assert ready == ["KZK-GOOD"]
    assert "KZK-SMALL.jpg has 800×800 pixels" in refused["KZK-SMALL"]
    assert "at least 1200×1800" in refused["KZK-SMALL"]
    assert "cannot be reached" in refused["KZK-GONE"]

    for name in ("trendyol", "n11"):
        await shell("listing", "publish", name, "--wait", "3")
    address = "https://hub.example/images/"
    for name in ("trendyol", "n11"):
        shown = await images_shown(sandbox, name, "KZK-GOOD")
        assert [each.rpartition(".")[2] for each in shown] == ["jpg", "png"], name
        assert all(each.startswith(address) for each in shown), name
    assert await images_shown(sandbox, "trendyol", "KZK-SMALL") == []
    assert len(await images_shown(sandbox, "n11", "KZK-SMALL")) == 1
    # The address that was sent is the one under which the hub has it.
    home = ImageStore(tmp_path / "home" / "images")
    shown = await images_shown(sandbox, "n11", "KZK-GOOD")
    assert home.path(shown[0].removeprefix(address)).read_bytes() == content
    told = await shell("problems", "--json")
    assert told.document


async def test_images_that_nobody_has_looked_at_are_sent_and_said(
    shell: Shell, sandbox: SandboxHost, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.csv"
    row = ROW.format(sku="KZK-1", barcode="KZK0009", images="https://cdn.example/1.jpg")
    catalog.write_text(HEADER + row, encoding="utf-8")
    accounts = tmp_path / "accounts.json"
    line = asdict(line_of(sandbox, "trendyol"))
    accounts.write_text(json.dumps(line), encoding="utf-8")
    await shell("merchant", "add", "Kaya Tekstil")
    await shell("import", "products", str(catalog))
    await shell("mapping", "import", str(MAPPINGS / "trendyol.csv"))
    await shell("account", "add", "trendyol", "--credentials-file", str(accounts))
    said = await shell("listing", "publish", "trendyol", "--plan")
    assert "1 image was never looked at" in said.out
    assert "1 ready" in said.out
