"""What may be set about the façade. Defaults are the stricter reading of the fact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class UnknownSetting(ValueError):
    """A name the façade does not know, or a value it does not take."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting with its default; README.md beside this file says what each stands for."""

    # — the sandbox's own —
    quotas: Literal["on", "off"] = "on"
    apply_ms_min: int = 150
    apply_ms_max: int = 400
    approval_s: float = 60.0  # of the economy
    reject_percent: float = 0.0
    webhook_delay_ms: int = 50
    cargo_provider: str = "TEXMP"
    cargo_payer: Literal["marketplace", "seller"] = "marketplace"
    restocks_on_cancel: Literal["on", "off"] = "off"
    webhook_url_words: Literal["strict", "loopback_allowed"] = "strict"
    # — where the sheet is unsure or contradicts itself —
    user_agent: Literal["form", "present"] = "form"
    retry_after: Literal["absent", "seconds"] = "absent"
    batch_order: Literal["any", "sent"] = "any"
    expired_batch: Literal["processing", "not_found"] = "processing"
    inventory_bounds: Literal["item", "request"] = "item"
    create_required: Literal["openapi", "guide"] = "openapi"
    unapproved_update: Literal["full", "partial"] = "full"
    variant_update: Literal["full", "partial"] = "full"
    unapproved_rows: Literal["observed", "documented"] = "observed"
    attribute_value_key: Literal["attributeValue", "attributeValueName"] = "attributeValue"
    brand_search: Literal["exact", "substring"] = "exact"
    category_tree: Literal["array", "object"] = "array"
    attributes_create: Literal["any", "definition", "guide"] = "any"
    attributes_update: Literal["any", "definition", "guide"] = "any"
    approved_quantity: Literal["present", "absent"] = "present"
    arrays: Literal["any", "comma", "repeated"] = "any"
    unknown_fields: Literal["refuse", "ignore"] = "refuse"
    stream_quota: Literal["packages", "1000"] = "packages"
    filter_epoch: Literal["utc", "gmt3"] = "utc"
    order_date: Literal["gmt3", "utc"] = "gmt3"
    line_discounts: Literal["unit", "total"] = "unit"
    invoice_number: Literal["form", "any"] = "form"
    old_dates: Literal["refuse", "hide"] = "refuse"
    order_lookup_days: int = 7
    order_v1: Literal["brownout", "closed"] = "brownout"
    unknown_package: Literal["401", "404"] = "401"
    webhook_failures: Literal["delivery", "webhook"] = "delivery"
    passive_events: Literal["lost", "kept"] = "lost"

    def __post_init__(self) -> None:
        """A delay that ends before it begins is a mistake."""
        if not 0 <= self.apply_ms_min <= self.apply_ms_max:
            raise ValueError("apply_ms_min must be between 0 and apply_ms_max")


def parse_settings(given: Mapping[str, str]) -> Settings:
    """Read the strings the host passes on. Raises UnknownSetting."""
    try:
        return msgspec.convert(dict(given), Settings, strict=False)
    except msgspec.ValidationError as mistake:
        raise UnknownSetting(str(mistake)) from mistake
