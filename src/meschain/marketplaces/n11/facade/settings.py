"""What a run of the façade may choose: every point that the fact sheet leaves open.

Defaults take the stricter reading. ``README.md`` beside this file says what each one means.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def _one_of(*choices: str) -> str:
    """A field whose first choice is the default."""
    chosen: str = field(default=choices[0], metadata={"choices": choices})
    return chosen


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings by name; the type of the default is how the text is read."""

    # calls
    quotas: bool = True
    packages_per_minute: int = 1000  # [A] S1, S4
    other_per_minute: int = 1000  # undocumented: the only documented figure, taken for each path
    over_quota_status: int = 429
    rest_auth: str = _one_of("400", "403")
    cdn_auth: str = _one_of("both", "key")
    hold_s_max: float = 60.0

    # tasks
    task_delay_ms_min: int = 200
    task_delay_ms_max: int = 600
    task_retention_s: float = 3600.0
    unknown_task: str = _one_of("error", "empty")
    duplicate_task_status: int = 400
    duplicate_task_key: str = _one_of("errorCode", "code")
    stuck_task: str = _one_of("late", "unreported")
    stuck_s: float = 30.0
    rejection_told: str = _one_of("acknowledgement", "result")
    repeated_stock_code: str = _one_of("reject", "fail")
    price_rule: str = _one_of("reject", "fail")
    reasons_place: str = _one_of("item", "sku")
    fail_spelling: str = _one_of("FAIL", "Fail")
    delete_task_type: str = "PRODUCT_DELETE"

    # products
    categories_shape: str = _one_of("wrapped", "bare")
    attribute_both_status: int = 400
    null_text: str = _one_of("value", "absent")
    barcode_or_catalog: str = _one_of("required", "optional")
    update_vat_rate: str = _one_of("required", "optional")
    locked_attributes: str = _one_of("fail", "ignore")
    approval_delay_s: float = 30.0  # of the economy
    rejected_words: tuple[str, ...] = ()
    reject_info: str = _one_of("object", "text", "array")
    forbidden_words: tuple[str, ...] = ("replika", "çakma")
    supplier_invoice_categories: tuple[str, ...] = ()
    catalog_entries: tuple[str, ...] = ()  # "barcode:catalogId"
    shipment_templates: tuple[str, ...] = ("Standart",)
    preparing_day_min: int = 1
    price_min_minor: int = 1
    price_max_minor: int = 100_000_000
    rate_usd: Decimal = Decimal(40)
    rate_eur: Decimal = Decimal(45)
    commission_rate: int = 13

    # orders
    status_omitted: str = _one_of("created", "all")
    status_spelling: str = _one_of("list_page", "mapping_page")
    lookup_window: str = _one_of("applied", "ignored")
    order_direction: str = _one_of("ASC", "DESC")
    window_shift_h: int = 0
    pickup_point_every: int = 25  # 0 = never
    special_delivery_every: int = 0
    delivery_fee_type: int = 2
    split_refusal: str = _one_of("400", "200")
    make_shipment: bool = False
    lowers_own_shelf: bool = True
    restocks_on_cancel: bool = False


def read_settings(given: Mapping[str, str]) -> Settings:
    """Settings from texts. Raises ValueError for an unknown name or an unreadable value."""
    known = {each.name: each for each in fields(Settings)}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ValueError(f"unknown settings of the n11 façade: {', '.join(unknown)}")
    defaults = Settings()
    read: dict[str, object] = {}
    for name, text in given.items():
        choices: tuple[str, ...] = known[name].metadata.get("choices", ())
        if choices and text not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
        read[name] = _read(name, text, getattr(defaults, name))
    settings = Settings(**read)  # type: ignore[arg-type]  # each value has its default's type
    if settings.task_delay_ms_min > settings.task_delay_ms_max:
        raise ValueError("task_delay_ms_min is above task_delay_ms_max")
    return settings


def _read(name: str, text: str, default: object) -> object:
    if isinstance(default, bool):
        if text not in {"on", "off"}:
            raise ValueError(f"{name} must be on or off, not {text!r}")
        return text == "on"
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        return text
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise ValueError(f"{name} must be a number, not {text!r}") from None
    if not number.is_finite() or (isinstance(default, int) and number != int(number)):
        raise ValueError(f"{name} cannot be {text!r}")
    return type(default)(number)  # type: ignore[call-arg]  # int, float or Decimal
