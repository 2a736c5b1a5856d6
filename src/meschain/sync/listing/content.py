"""Pure: a variant and the mapping table become what a marketplace is told, or what is missing.

Nothing is guessed, shortened or left to chance: a text too long and a value without a mapping are
named, and the merchant decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from math import prod
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meschain.channel.contract import ListingContent, MappedAttribute, RemoteKeys
from meschain.domain.catalog import Content
from meschain.domain.money import Money
from meschain.domain.text import fold
from meschain.sync.listing.image import ImageFacts, choose_images
from meschain.sync.listing.link import bare
from meschain.sync.listing.mapping import BRAND, MODEL_CODE, ORIGIN_COUNTRY, Mapped
from meschain.sync.listing.storefront import ListingProblem

if TYPE_CHECKING:
    from meschain.channel.capability import Manifest
    from meschain.channel.contract import CategoryAttribute
    from meschain.sync.listing.mapping import MappingTable

# More than a day, so that no express delivery is promised which nobody promised us.
HANDLING_DAYS_DEFAULT: Final = 2
# Desi is the volume a carrier charges: length × width × height in cm, divided by 3,000. Source:
# the Turkish carriers' common tariff for domestic parcels.
_MM3_PER_DESI: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """A row of ``listing.publishable``. ``contents``: language → title and description (HTML)."""

    variant_id: int
    sku: str
    barcode: str
    model_code: str
    brand: str
    category_path: str
    attributes: Mapping[str, str]
    contents: Mapping[str, Sequence[str]]
    images: Sequence[Sequence[Any]]  # each the fields of ``image.ImageFacts``
    vat_percent: Decimal | None
    desi: Decimal | None
    length_mm: int | None
    width_mm: int | None
    height_mm: int | None
    currency: str
    list_price_minor: int | None
    sale_price_minor: int | None
    handling_days: int | None
    origin_country: str
    state: str
    content_hash: str
    is_there: bool
    remote_id: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A listing to be: its content, or the problems that stand against it."""

    variant_id: int
    sku: str
    content: ListingContent | None
    problems: tuple[ListingProblem, ...]
    is_there: bool = False  # the channel has it and refused it: it is corrected, not created
    images_unknown: int = 0  # images of it that nobody has looked at


class _Gaps(list[ListingProblem]):
    """What is missing, in the order in which it was looked for."""

    def add(self, what: str, **params: str) -> None:
        self.append(ListingProblem(f"listing.missing.{what}", params))

    def add_unmapped(self, what: str, ours: str) -> None:
        """A word of ours that the table does not hold; "": there is none to be held."""
        if ours:
            self.add(what, value=ours)
        else:
            self.add(f"{what}_none")


def draft_listing(
    facts: VariantFacts,
    mapping: MappingTable,
    manifest: Manifest,
    attributes: Sequence[CategoryAttribute],
    *,
    handling_days: int,
    images_url: str | None = None,
) -> Draft:
    """The listing of one variant.

    ``attributes`` are those of its mapped category; ``images_url``: see ``Storefront``.

    The quantity is 0: until a listing is approved its quantity cannot be corrected everywhere, and
    a unit sold elsewhere meanwhile would be sold twice. The offer lane tells it the moment the
    listing is seen on the channel.
    """
    gaps = _Gaps()
    category_id = mapping.category(facts.category_path) if facts.category_path else None
    if category_id is None:
        gaps.add_unmapped("category", facts.category_path)
    brand = _brand(facts, mapping, attributes, gaps)
    chosen = _attributes(facts, mapping, category_id or "", attributes, gaps)
    words = _words(facts, manifest, gaps)
    images = choose_images(
        [ImageFacts(*image) for image in facts.images], manifest.catalog, images_url
    )
    gaps += images.problems
    if manifest.offers.key == "barcode" and not facts.barcode:
        gaps.add("barcode")
    vat_percent = _vat(facts, manifest, gaps)
    desi = _desi(facts, gaps)
    list_price, sale_price = _prices(facts, manifest, gaps)
    if gaps:
        return Draft(facts.variant_id, facts.sku, None, tuple(gaps), facts.is_there)
    content = ListingContent(
        keys=RemoteKeys(bare(facts.barcode), facts.sku, facts.remote_id, facts.model_code),
        content=words,
        category_id=category_id or "",
        brand_id=brand.theirs_id,
        brand_name=brand.text,
        attributes=chosen,
        image_urls=images.addresses,
        vat_percent=vat_percent,
        desi=desi,
        quantity=0,
        list_price=list_price,
        sale_price=sale_price,
        handling_days=handling_days if facts.handling_days is None else facts.handling_days,
        origin_country=facts.origin_country or None,
    )
    return Draft(facts.variant_id, facts.sku, content, (), facts.is_there, images.unknown)


def content_hash(content: ListingContent) -> str:
    """What tells one content from another, prices and quantity aside (hexadecimal)."""
    said = (
        *(content.keys.barcode, content.keys.stock_code, content.keys.group_id, content.content),
        *(content.category_id, content.brand_id, content.brand_name, content.attributes),
        *(content.image_urls, content.vat_percent, content.desi, content.handling_days),
        content.origin_country,
    )
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


# Each of these names what is missing; what it then returns is never used.


def _brand(
    facts: VariantFacts,
    mapping: MappingTable,
    attributes: Sequence[CategoryAttribute],
    gaps: _Gaps,
) -> Mapped:
    brand = mapping.brand(facts.brand)
    if brand is None:
        gaps.add_unmapped("brand", facts.brand)
        return Mapped(None, "")
    # Where the brand is an attribute, it may take free text; else only their id will do.
    takes_text = any(each.is_brand and each.allows_custom for each in attributes)
    if brand.theirs_id is None and not takes_text:
        gaps.add("brand_id", value=facts.brand)
    return brand


def _words(facts: VariantFacts, manifest: Manifest, gaps: _Gaps) -> Content:
    languages = manifest.identity.languages
    language = next((tag for tag in languages if tag in facts.contents), None)
    if language is None:
        gaps.add("title", language=languages[0])
        return Content(languages[0], "")
    title, description = facts.contents[language]
    limits = manifest.catalog
    for what, text, limit, is_wrong in (
        ("title_short", title, limits.title_length_min, len(title) < limits.title_length_min),
        ("title_long", title, limits.title_length_max, len(title) > limits.title_length_max),
        (
            "description_long",
            description,
            limits.description_length_max,
            len(description) > limits.description_length_max,
        ),
    ):
        if is_wrong:
            gaps.add(what, length=str(len(text)), limit=str(limit))
    if not description.strip():
        gaps.add("description")
    return Content(language, title, description)


def _vat(facts: VariantFacts, manifest: Manifest, gaps: _Gaps) -> Decimal:
    percent = facts.vat_percent
    if percent is None:
        gaps.add("vat")
        return Decimal(0)
    if percent not in manifest.catalog.vat_percents:
        allowed = ", ".join(map(str, manifest.catalog.vat_percents))
        gaps.add("vat_allowed", value=f"{percent.normalize():f}", allowed=allowed)
    return percent


def _desi(facts: VariantFacts, gaps: _Gaps) -> Decimal:
    """As stated, else from all three dimensions, rounded up to a hundredth."""
    if facts.desi is not None:
        return facts.desi
    sides = (facts.length_mm, facts.width_mm, facts.height_mm)
    volume_mm3 = prod(Decimal(side or 0) for side in sides)
    if not volume_mm3:
        gaps.add("desi")
    return (Decimal(volume_mm3) / _MM3_PER_DESI).quantize(Decimal("0.01"), ROUND_UP)


def _prices(facts: VariantFacts, manifest: Manifest, gaps: _Gaps) -> tuple[Money, Money]:
    """List price and sale price; without a list price they are one."""
    sale_minor = facts.sale_price_minor
    if not sale_minor:
        gaps.add("price")
    elif facts.currency not in manifest.identity.currencies:
        gaps.add("currency", value=facts.currency)
    list_minor = sale_minor if facts.list_price_minor is None else facts.list_price_minor
    return Money(list_minor or 0, facts.currency), Money(sale_minor or 0, facts.currency)


def _attributes(
    facts: VariantFacts,
    mapping: MappingTable,
    category_id: str,
    attributes: Sequence[CategoryAttribute],
    gaps: _Gaps,
) -> tuple[MappedAttribute, ...]:
    """Their attributes that a mapping fills; what they require and nothing fills is a problem."""
    ours = {fold(name): value for name, value in facts.attributes.items()}
    ours |= {
        BRAND: facts.brand,
        MODEL_CODE: facts.model_code,
        ORIGIN_COUNTRY: facts.origin_country,
    }
    stated: dict[str, str] = {}  # their attribute → our value
    for name, attribute_id in mapping.attributes(category_id).items():
        if ours.get(name):
            stated.setdefault(attribute_id, ours[name])
    chosen: list[MappedAttribute] = []
    for attribute in attributes:
        if attribute.is_brand:
            continue
        value = stated.get(attribute.attribute_id, "")
        mapped = mapping.value(category_id, attribute.attribute_id, value)
        if mapped is not None and (mapped.theirs_id is not None or attribute.allows_custom):
            chosen.append(_chosen(attribute, mapped))
        elif attribute.is_required:
            if value:
                gaps.add("value", attribute=attribute.name, value=value)
            else:
                gaps.add("attribute", attribute=attribute.name)
    return tuple(chosen)


def _chosen(attribute: CategoryAttribute, mapped: Mapped) -> MappedAttribute:
    if mapped.theirs_id is not None:
        return MappedAttribute(attribute.attribute_id, value_id=mapped.theirs_id)
    return MappedAttribute(attribute.attribute_id, custom_value=mapped.text)
