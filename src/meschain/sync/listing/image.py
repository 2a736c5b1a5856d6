"""Pure: which addresses a marketplace is told for a listing's images, or what stands against them.

A marketplace fetches images by itself, over the Internet. So an image has its own address, or one
under which this hub is reached; and what is known to break the marketplace's rules is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meschain.domain.image import LOCAL, original_name
from meschain.sync.listing.storefront import ListingProblem

if TYPE_CHECKING:
    from meschain.channel.capability import CatalogLimits


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image of a row of ``listing.publishable``; what is None was never looked at."""

    source_url: str
    content_hash: str | None
    media_type: str | None
    width_px: int | None
    height_px: int | None
    content_bytes: int | None
    problem: Mapping[str, object] | None  # why its address gave no image when it was last tried
    file_name: str | None = None  # of one that came as a file

    @property
    def said(self) -> str:
        """What its merchant knows it by."""
        return self.file_name or self.source_url


@dataclass(frozen=True, slots=True)
class ChosenImages:
    """What would be sent. ``unknown``: so many of them nobody has looked at."""

    addresses: tuple[str, ...]
    problems: tuple[ListingProblem, ...]
    unknown: int


def choose_images(
    images: Sequence[ImageFacts], limits: CatalogLimits, images_url: str | None
) -> ChosenImages:
    """The first that the marketplace has room for. ``images_url``: see ``Storefront``."""
    if not images:
        return ChosenImages((), (_problem("image"),), 0)
    chosen = images[: limits.images_max]
    addresses = [_address(image, limits, images_url) for image in chosen]
    against = [each for each in addresses if isinstance(each, ListingProblem)]
    for image in chosen:
        against += _rules_broken(image, limits)
    return ChosenImages(
        tuple(each for each in addresses if isinstance(each, str)),
        tuple(against),
        sum(image.width_px is None for image in chosen),
    )


def _address(
    image: ImageFacts, limits: CatalogLimits, images_url: str | None
) -> str | ListingProblem:
    """Its own address if that will do, else ours, else what is to be done."""
    own = None if image.source_url.startswith(LOCAL) else image.source_url
    if own is not None and image.problem is None and _is_taken(own, limits):
        return own
    ours = _ours(image, images_url)
    if ours is not None and _is_taken(ours, limits):
        return ours
    if own is not None and image.problem is not None:
        params = image.problem["params"]
        assert isinstance(params, dict)
        return ListingProblem(str(image.problem["key"]), params)
    if ours is not None or own is not None:
        return _problem("image_https", value=own or ours or "")
    return _problem("image_address", value=image.said)


def _is_taken(address: str, limits: CatalogLimits) -> bool:
    return address.startswith("https://") or not limits.images_https


def _ours(image: ImageFacts, images_url: str | None) -> str | None:
    if images_url is None or image.content_hash is None or image.media_type is None:
        return None
    return f"{images_url.rstrip('/')}/images/{original_name(image.content_hash, image.media_type)}"


def _rules_broken(image: ImageFacts, limits: CatalogLimits) -> list[ListingProblem]:
    """What its content is known to break."""
    broken: list[ListingProblem] = []
    value = image.said
    wide, high = limits.image_width_px_min, limits.image_height_px_min
    if (
        image.width_px is not None
        and image.height_px is not None
        and (image.width_px < wide or image.height_px < high)
    ):
        size, least = f"{image.width_px}×{image.height_px}", f"{wide}×{high}"
        broken.append(_problem("image_small", value=value, size=size, least=least))
    most = limits.image_bytes_max
    if most is not None and image.content_bytes is not None and image.content_bytes > most:
        megabytes = {"size": _megabytes(image.content_bytes), "most": _megabytes(most)}
        broken.append(_problem("image_heavy", value=value, **megabytes))
    return broken


def _megabytes(size: int) -> str:
    """In millions of bytes, rounded up to a tenth, so that what is too large never looks equal."""
    tenths = -(-size // 100_000)
    return f"{tenths // 10}.{tenths % 10}" if tenths % 10 else str(tenths // 10)


def _problem(what: str, **params: str) -> ListingProblem:
    return ListingProblem(f"listing.missing.{what}", params)
