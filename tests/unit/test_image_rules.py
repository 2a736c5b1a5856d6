"""What marketplaces' rules say of a listing's images, before anything is sent."""

from __future__ import annotations

from msgspec.structs import replace

from meschain.channel.capability import CatalogLimits
from meschain.registry import marketplaces
from meschain.sync.listing.image import ChosenImages, ImageFacts, choose_images

LIMITS = CatalogLimits(
    batch_max=1,
    title_length_max=1,
    description_length_max=1,
    images_max=2,
    page_size_max=1,
    vat_percents=(),
    source="test",
)
HUB = "https://hub.example/"
HASH = "ab" * 32


def facts(source: str, *, size: tuple[int, int] | None = None, **more: object) -> ImageFacts:
    fields: dict[str, object] = {
        "content_hash": None if size is None else HASH,
        "media_type": None if size is None else "image/jpeg",
        "width_px": size and size[0],
        "height_px": size and size[1],
        "content_bytes": None if size is None else 1_000,
        "problem": None,
    }
    return ImageFacts(source, **(fields | more))  # type: ignore[arg-type]  # fields by name


def keys(chosen: ChosenImages) -> list[str]:
    return [problem.key for problem in chosen.problems]


def test_addresses_are_sent_as_they_are_and_files_from_the_hub() -> None:
    images = [facts("local:1", size=(9, 9)), facts("https://a/1.jpg"), facts("https://a/2.jpg")]
    chosen = choose_images(images, LIMITS, HUB)
    assert chosen.addresses == (f"https://hub.example/images/{HASH}.jpg", "https://a/1.jpg")
    assert (chosen.problems, chosen.unknown) == ((), 1)


def test_a_file_cannot_be_sent_by_a_hub_that_nobody_reaches() -> None:
    chosen = choose_images([facts("local:1", size=(9, 9))], LIMITS, None)
    assert keys(chosen) == ["listing.missing.image_address"]


def test_what_is_not_protected_is_sent_from_the_hub_or_not_at_all() -> None:
    limits = replace(LIMITS, images_https=True)
    plain = [facts("http://a/1.jpg", size=(9, 9))]
    assert choose_images(plain, LIMITS, None).addresses == ("http://a/1.jpg",)
    assert choose_images(plain, limits, HUB).addresses == (f"{HUB}images/{HASH}.jpg",)
    assert keys(choose_images(plain, limits, None)) == ["listing.missing.image_https"]
    assert keys(choose_images(plain, limits, "http://hub")) == ["listing.missing.image_https"]
    local = [facts("local:1", size=(9, 9))]
    assert keys(choose_images(local, limits, "http://hub")) == ["listing.missing.image_https"]


def test_an_address_that_gave_nothing_is_not_sent_unless_the_hub_has_what_it_gave_before() -> None:
    params = {"source": "https://a/1.jpg", "status": "404"}
    problem = {"key": "image.fetch.status", "params": params}
    gone = facts("https://a/1.jpg", problem=problem)
    assert keys(choose_images([gone], LIMITS, HUB)) == ["image.fetch.status"]
    had = facts("https://a/1.jpg", size=(9, 9), problem=problem)
    assert choose_images([had], LIMITS, HUB).addresses == (f"{HUB}images/{HASH}.jpg",)
    assert keys(choose_images([had], LIMITS, None)) == ["image.fetch.status"]


def test_too_small_and_too_heavy_is_only_what_the_manifest_says() -> None:
    limits = replace(LIMITS, image_width_px_min=1200, image_height_px_min=1800)
    small = [facts("https://a/1.jpg", size=(1200, 1799))]
    assert keys(choose_images(small, LIMITS, None)) == []
    chosen = choose_images(small, limits, None)
    assert keys(chosen) == ["listing.missing.image_small"]
    assert chosen.problems[0].params == {
        "value": "https://a/1.jpg",
        "size": "1200×1799",
        "least": "1200×1800",
    }
    assert keys(choose_images([facts("https://a/1.jpg", size=(1200, 1800))], limits, None)) == []
    assert keys(choose_images([facts("https://a/1.jpg")], limits, None)) == []
    heavy = [facts("https://a/1.jpg", size=(9, 9), content_bytes=10_000_001)]
    limits = replace(LIMITS, image_bytes_max=10_000_000)
    chosen = choose_images(heavy, limits, None)
    assert keys(chosen) == ["listing.missing.image_heavy"]
    assert chosen.problems[0].params["size"] == "10.1"


def test_images_beyond_what_is_sent_are_not_asked_for_anything() -> None:
    limits = replace(LIMITS, images_max=1, image_width_px_min=100)
    images = [facts("https://a/1.jpg", size=(100, 1)), facts("https://a/2.jpg", size=(1, 1))]
    assert keys(choose_images(images, limits, None)) == []


def test_the_manifests_ask_what_the_marketplaces_document() -> None:
    limits = {name: market.manifest.catalog for name, market in marketplaces().items()}
    assert all(each.images_https for each in limits.values())
    least = {(each.image_width_px_min, each.image_height_px_min) for each in limits.values()}
    assert least == {(0, 0), (1200, 1800)}
    assert {each.image_bytes_max for each in limits.values()} == {None, 10_000_000}
