"""What is wrong with a product, field by field: pure, one sentence per broken rule.

Rules and limits: fact sheet 3.2 and 3.3. The wording is ours, since the marketplace publishes no
catalogue of its texts; a client may show them and must not branch on them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from meschain.marketplaces.trendyol.facade.inventory import QUANTITY_MAX, price_minor
from meschain.marketplaces.trendyol.facade.product_request import (
    AttributeInput,
    CreateItem,
    Image,
    ProductItem,
)
from meschain.marketplaces.trendyol.facade.seller import ChosenValue
from meschain.marketplaces.trendyol.facade.taxonomy import AttributeRule, Category, Taxonomy

VAT_RATES: Final = frozenset({0, 1, 10, 20})
DELIVERY_DURATIONS: Final = frozenset({0, 1})
CHANNELS: Final = frozenset({"CORE", "LUXE"})
_LOCATION_BASED: Final = frozenset({"ENABLED", "DISABLED", None})
_BARCODE: Final = re.compile(r"[A-Za-z0-9ÇĞİÖŞÜçğıöşü._-]{1,40}")
_LOT_NUMBER: Final = re.compile(r"[A-Za-z0-9ÇĞİÖŞÜçğıöşü,\-.:/]{1,100}")
_ORIGIN: Final = re.compile(r"[A-Z]{2}")
_TITLE_MAX: Final = 100
_MODEL_MAX: Final = 40
_STOCK_CODE_MAX: Final = 100
_DESCRIPTION_MAX: Final = 30_000
_IMAGES_MAX: Final = 8
_CUSTOM_COLOR_MAX: Final = 50
_COLOR: Final = "Renk"


@dataclass(frozen=True, slots=True)
class Known:
    """What ids may refer to."""

    taxonomy: Taxonomy
    address_ids: Collection[int]


def stored_barcode(barcode: str) -> str:
    """The form under which a barcode is kept: blanks are removed on import (fact sheet 3.2)."""
    return "".join(barcode.split())


def create_reasons(item: CreateItem, known: Known) -> list[str]:
    """All that forbids this new product."""
    reasons = product_reasons(item, known, cargo_providers=item.cargo_providers or ())
    if not 0 <= item.quantity <= QUANTITY_MAX:
        reasons.append(f"Stok adedi 0 ile {QUANTITY_MAX} arasında olmalıdır.")
    sale, listed = price_minor(item.sale_price), price_minor(item.list_price)
    if sale is None or listed is None:
        reasons.append("Fiyat sıfırdan büyük ve en fazla iki ondalıklı olmalıdır.")
    elif listed < sale:
        reasons.append("Liste fiyatı satış fiyatından küçük olamaz.")
    return reasons


def product_reasons(
    item: ProductItem,
    known: Known,
    *,
    cargo_providers: Iterable[str] = (),
    location_based_delivery: str | None = None,
) -> list[str]:
    """What a new product and an unapproved update have in common, and what one of them adds."""
    reasons: list[str] = []
    if not _BARCODE.fullmatch(stored_barcode(item.barcode)):
        reasons.append("Barkod en fazla 40 karakter olmalı; yalnızca . - _ kullanılabilir.")
    _check_length(reasons, "Ürün başlığı", item.title, _TITLE_MAX)
    _check_length(reasons, "Model kodu", item.product_main_id, _MODEL_MAX)
    _check_length(reasons, "Açıklama", item.description, _DESCRIPTION_MAX)
    if item.brand_id not in known.taxonomy.brands:
        reasons.append(f"{item.brand_id} numaralı marka bulunamadı.")
    reasons += image_reasons(item.images)
    if item.delivery_option is not None:
        reasons += delivery_reasons(item.delivery_option.delivery_duration)
    reasons += variant_reasons(
        known,
        stock_code=item.stock_code,
        vat_rate=item.vat_rate,
        dimensional_weight_is_valid=item.dimensional_weight is None or item.dimensional_weight >= 0,
        origin=item.origin,
        lot_number=item.lot_number,
        address_ids=(item.shipment_address_id, item.returning_address_id),
        cargo_providers=cargo_providers,
        location_based_delivery=location_based_delivery,
    )
    category = known.taxonomy.leaf(item.category_id)
    if category is None:
        reasons.append(f"{item.category_id} numaralı kategori en alt seviye değil veya yok.")
    else:
        reasons += attribute_reasons(item.attributes, category, known.taxonomy)
    return reasons


def variant_reasons(
    known: Known,
    *,
    stock_code: str | None,
    vat_rate: int | None,
    dimensional_weight_is_valid: bool,
    origin: str | None,
    lot_number: str | None,
    address_ids: Iterable[int | None],
    cargo_providers: Iterable[str],
    location_based_delivery: str | None,
) -> list[str]:
    """The fields of a variant; None stands for not stated."""
    reasons: list[str] = []
    if stock_code is not None:
        _check_length(reasons, "Stok kodu", stock_code, _STOCK_CODE_MAX)
    if vat_rate is not None and vat_rate not in VAT_RATES:
        reasons.append("KDV oranı 0, 1, 10 veya 20 olmalıdır.")
    if not dimensional_weight_is_valid:
        reasons.append("Desi sıfırdan küçük olamaz.")
    if origin is not None and not _ORIGIN.fullmatch(origin):
        reasons.append("Menşei iki harfli ülke kodu olmalıdır.")
    if lot_number is not None and not _LOT_NUMBER.fullmatch(lot_number):
        reasons.append("Parti numarası en fazla 100 karakter: harf, rakam ve , - . : / olabilir.")
    reasons += [
        f"{address_id} numaralı adres bulunamadı."
        for address_id in address_ids
        if address_id is not None and address_id not in known.address_ids
    ]
    reasons += [
        f"{code} kargo firması bulunamadı."
        for code in cargo_providers
        if code not in known.taxonomy.cargo_providers
    ]
    if location_based_delivery not in _LOCATION_BASED:
        reasons.append("locationBasedDelivery ENABLED veya DISABLED olmalıdır.")
    return reasons


def image_reasons(images: Sequence[Image]) -> list[str]:
    reasons: list[str] = []
    if not 1 <= len(images) <= _IMAGES_MAX:
        reasons.append(f"Görsel sayısı 1 ile {_IMAGES_MAX} arasında olmalıdır.")
    if any(not image.url.startswith("https://") for image in images):
        reasons.append("Görsel adresi https ile başlamalıdır.")
    return reasons


def text_reasons(title: str | None, description: str | None) -> list[str]:
    """A content update may state either or both."""
    reasons: list[str] = []
    if title is not None:
        _check_length(reasons, "Ürün başlığı", title, _TITLE_MAX)
    if description is not None:
        _check_length(reasons, "Açıklama", description, _DESCRIPTION_MAX)
    return reasons


def delivery_reasons(delivery_duration: int) -> list[str]:
    if delivery_duration in DELIVERY_DURATIONS:
        return []
    return ["Termin süresi 0 (bugün kargoda) veya 1 (yarın kargoda) olmalıdır."]


def attribute_reasons(
    inputs: Sequence[AttributeInput], category: Category, taxonomy: Taxonomy
) -> list[str]:
    """Attributes against their category: all required ones, none foreign, none twice."""
    reasons: list[str] = []
    rules = {rule.id: rule for rule in category.attributes}
    given = [entry.attribute_id for entry in inputs]
    reasons += [
        f"Zorunlu özellik eksik: {taxonomy.attributes[rule.id].name}."
        for rule in category.attributes
        if rule.required and rule.id not in given
    ]
    if len(set(given)) != len(given):
        reasons.append("Aynı özellik birden fazla kez gönderilemez.")
    for entry in inputs:
        rule = rules.get(entry.attribute_id)
        if rule is None:
            reasons.append(f"{entry.attribute_id} numaralı özellik bu kategoride yok.")
        else:
            reasons += _value_reasons(entry, rule, taxonomy)
    return reasons


def _value_reasons(entry: AttributeInput, rule: AttributeRule, taxonomy: Taxonomy) -> list[str]:
    name = taxonomy.attributes[rule.id].name
    ids, text = value_ids(entry), custom_text(entry)
    if (text is None) == (not ids):
        return [f"{name}: değer numarası veya serbest metin, yalnızca biri gönderilmelidir."]
    if text is not None:
        if not rule.allow_custom:
            return [f"{name}: serbest metin kabul edilmiyor."]
        if not text.strip() or (name == _COLOR and len(text) > _CUSTOM_COLOR_MAX):
            return [f"{name}: metin boş olamaz, renk en fazla {_CUSTOM_COLOR_MAX} karakterdir."]
        return []
    if len(ids) > 1 and not rule.multiple:
        return [f"{name}: birden fazla değer kabul edilmiyor."]
    unknown = [value_id for value_id in ids if value_id not in taxonomy.attribute_values[rule.id]]
    return [f"{name}: {value_id} numaralı değer yok." for value_id in unknown]


def form_reasons(inputs: Iterable[AttributeInput], form: str, taxonomy: Taxonomy) -> list[str]:
    """One documented form an attribute, and the demanded one (``any`` takes both; sheet 3.3)."""
    reasons: list[str] = []
    for entry in inputs:
        in_definition = (entry.attribute_value_ids, entry.attribute_value) != (None, None)
        in_guide = (entry.attribute_value_id, entry.custom_attribute_value) != (None, None)
        is_wrong = {"any": in_definition and in_guide, "definition": in_guide}
        if is_wrong.get(form, in_definition):
            known = taxonomy.attributes.get(entry.attribute_id)
            name = entry.attribute_id if known is None else known.name
            reasons.append(f"{name}: değer alanları bu serviste geçerli değil.")
    return reasons


def value_ids(entry: AttributeInput) -> list[int]:
    ids = list(entry.attribute_value_ids or ())
    if entry.attribute_value_id is not None:
        ids.append(entry.attribute_value_id)
    return ids


def custom_text(entry: AttributeInput) -> str | None:
    return (
        entry.custom_attribute_value
        if entry.custom_attribute_value is not None
        else entry.attribute_value
    )


def chosen_values(inputs: Iterable[AttributeInput], taxonomy: Taxonomy) -> tuple[ChosenValue, ...]:
    """Checked inputs as what is kept; several values of one attribute become several entries."""
    chosen: list[ChosenValue] = []
    for entry in inputs:
        text = custom_text(entry)
        if text is not None:
            chosen.append(ChosenValue(entry.attribute_id, None, text))
        known = taxonomy.attribute_values[entry.attribute_id]
        chosen += [
            ChosenValue(entry.attribute_id, value_id, known[value_id])
            for value_id in value_ids(entry)
        ]
    return tuple(chosen)


def _check_length(reasons: list[str], name: str, text: str, longest: int) -> None:
    if not len(text.strip()) >= 1 or len(text) > longest:
        reasons.append(f"{name} 1 ile {longest} karakter arasında olmalıdır.")
