"""Pure: what putting an import back makes of one of its chunks.

A field goes back where it still holds what the import wrote; one that was changed since stays, and
is named. What the import created goes, unless it was edited or something depends on it. Units on
hand are not set back but moved back: what was sold since stays sold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from meschain.app.commands.import_products.compare import Compared, Entry
from meschain.app.commands.import_products.state import (
    ProductState,
    VariantState,
    changes_of,
    shown_name,
)

if TYPE_CHECKING:
    from meschain.app.commands.import_products.compare import Ground
    from meschain.app.commands.import_products.state import StoredVariant
    from meschain.app.commands.import_products.step import ProductStep, Step, VariantStep

_State = TypeVar("_State", VariantState, ProductState)
_MONEY: Final = ("currency", "list_price_minor", "sale_price_minor", "cost_minor")
_PRICES: Final = ("list_price_minor", "sale_price_minor")


class Keeping(StrEnum):
    """Why something is not put back; the texts are in ``app/messages.toml``."""

    EDITED = "undo.edited"
    LISTED = "undo.listed"
    ORDERED = "undo.ordered"
    ASKED = "undo.asked"
    MOVED = "undo.moved"
    BUNDLED = "undo.bundled"
    BARCODE_TAKEN = "undo.barcode_taken"
    COUNTED = "undo.counted"
    SOLD = "undo.sold"
    GONE = "undo.gone"
    RESTATED = "undo.restated"


KEPT_BY_USE: Final = {
    "listing": Keeping.LISTED,
    "order": Keeping.ORDERED,
    "question": Keeping.ASKED,
    "stock": Keeping.MOVED,
}


class Kept(msgspec.Struct, frozen=True):
    """Something that stays as it is: a SKU or model code, the fields (none: the whole of it)."""

    code: str
    fields: tuple[str, ...]
    reason: Keeping


@dataclass(frozen=True, slots=True)
class Use:
    """What depends on the variants of a chunk.

    ``in_use``: by variant, what of another origin uses it. ``bundles``: SKU → bundles it is part
    of. ``moved``: by variant, what the import moved on balance, and whether it was counted since.
    """

    in_use: Mapping[int, str]
    bundles: Mapping[str, frozenset[str]]
    moved: Mapping[int, tuple[int, bool]]


@dataclass(slots=True)
class Memory:
    """What the chunks put back so far have settled; they come in reverse, bundles first.

    ``barcodes_kept``: SKUs whose former barcode somebody else now has. ``given``: (SKU, barcode) of
    those that let go; ``wanted``: SKU → barcode and its holders.
    """

    barcodes_kept: set[str] = field(default_factory=set)
    given: set[tuple[str, str]] = field(default_factory=set)
    wanted: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    bundles_after: dict[str, frozenset[str]] = field(default_factory=dict)

    def settle_barcodes(self) -> set[str]:
        """SKUs that cannot have theirs back: its holder keeps it, or cannot give it up either."""
        kept: set[str] = set()
        while True:
            found = {
                sku
                for sku, (barcode, holders) in self.wanted.items()
                if any(each != sku and (each, barcode) not in self.given for each in holders)
            }
            if not found:
                return kept
            kept |= found
            for sku in found:
                del self.wanted[sku]
            self.given = {each for each in self.given if each[0] not in found}


@dataclass(slots=True)
class PutBack:
    """A chunk as it goes back: written like an import, then units moved and variants removed."""

    compared: Compared = field(default_factory=Compared)
    removed: list[StoredVariant] = field(default_factory=list)
    counter: dict[int, int] = field(default_factory=dict)
    uncounted: list[int] = field(default_factory=list)  # had no level before
    kept: list[Kept] = field(default_factory=list)


def put_back(step: Step, ground: Ground, use: Use, memory: Memory) -> PutBack:
    """What becomes of a chunk of the import."""
    back = PutBack()
    for variant in reversed(step.variants):
        now = ground.variants.get(variant.after.sku)
        if now is None:
            continue  # removed already
        if variant.before is None:
            _remove(variant, now, use, memory, back)
        else:
            _restore(variant, variant.before, now, step, ground, use, memory, back)
    for product in step.products:
        _restore_product(product, ground, back)
    return back


def _remove(
    variant: VariantStep, now: StoredVariant, use: Use, memory: Memory, back: PutBack
) -> None:
    sku = variant.after.sku
    bundles = {
        each
        for each in use.bundles.get(sku, ())
        if sku in memory.bundles_after.get(each, frozenset((sku,)))
    }
    used_by = use.in_use.get(now.variant_id)
    if used_by is not None:
        back.kept.append(Kept(sku, (), KEPT_BY_USE[used_by]))
    elif bundles:
        back.kept.append(Kept(sku, (), Keeping.BUNDLED))
    elif now.state != variant.after:
        edited = tuple(change.field for change in changes_of(variant.after, now.state))
        back.kept.append(Kept(sku, edited, Keeping.EDITED))
    else:
        back.removed.append(now)
        if delta := use.moved.get(now.variant_id, (0, False))[0]:
            back.counter[now.variant_id] = -delta
        memory.bundles_after[sku] = frozenset()
        if now.state.barcode is not None:
            memory.given.add((sku, now.state.barcode))


def _restore(
    variant: VariantStep,
    before: VariantState,
    now: StoredVariant,
    step: Step,
    ground: Ground,
    use: Use,
    memory: Memory,
    back: PutBack,
) -> None:
    sku = before.sku
    target, edited = _former(before, variant.after, now.state)
    target, edited = _with_sound_prices(target, now.state, edited)
    if edited:
        back.kept.append(Kept(sku, tuple(shown_name(each) for each in edited), Keeping.EDITED))
    if target.model_code != now.state.model_code and target.model_code not in ground.products:
        left = next((each for each in step.left if each.model_code == target.model_code), None)
        if left is None:
            back.kept.append(Kept(sku, ("model_code",), Keeping.GONE))
            target = msgspec.structs.replace(target, model_code=now.state.model_code)
        elif (None, left) not in back.compared.products:
            back.compared.products.append((None, left))
    if target.bundle != now.state.bundle:
        if target.bundle.keys() <= ground.variants.keys():
            memory.bundles_after[sku] = frozenset(target.bundle)
        else:
            back.kept.append(Kept(sku, ("bundle",), Keeping.GONE))
            target = msgspec.structs.replace(target, bundle=now.state.bundle)
    target = _with_free_barcode(target, now.state, ground, memory, back)
    if target != now.state:
        back.compared.entries.append(Entry(variant.row_number, now, target))
    if before.on_hand != variant.after.on_hand:
        _move_back(before, now, use, back)


def _former(before: _State, after: _State, now: _State) -> tuple[_State, list[str]]:
    """The state with the fields put back that still hold what was written; and the others."""
    fields: dict[str, object] = {}
    edited: list[str] = []
    for name in after.__struct_fields__:
        old, written, held = getattr(before, name), getattr(after, name), getattr(now, name)
        if old == written or name == "on_hand":
            continue
        if isinstance(written, dict) and name != "bundle":
            named = dict(held)
            for key in {**old, **written}:
                if old.get(key) == written.get(key):
                    continue
                if held.get(key) == written.get(key):
                    named.pop(key, None)
                    named |= {key: old[key]} if key in old else {}
                elif held.get(key) != old.get(key):
                    edited.append(f"{name}.{key}")
            fields[name] = named
        elif held == written:
            fields[name] = old
        elif held != old:
            edited.append(name)
    return msgspec.structs.replace(now, **fields), edited


def _with_sound_prices(
    target: VariantState, now: VariantState, edited: list[str]
) -> tuple[VariantState, list[str]]:
    """Prices that only make sense together go back together, or not at all."""
    names: tuple[str, ...] = ()
    sale, listed = target.sale_price_minor, target.list_price_minor
    if target.currency != now.currency and set(edited) & set(_MONEY):
        names = _MONEY
    elif sale is not None and listed is not None and sale > listed:
        names = _PRICES
    held = {
        name: getattr(now, name) for name in names if getattr(target, name) != getattr(now, name)
    }
    if not held:
        return target, edited
    return msgspec.structs.replace(target, **held), [*edited, *held]


def _with_free_barcode(
    target: VariantState, now: VariantState, ground: Ground, memory: Memory, back: PutBack
) -> VariantState:
    if target.barcode == now.barcode:
        return target
    if target.sku in memory.barcodes_kept:
        back.kept.append(Kept(target.sku, ("barcode",), Keeping.BARCODE_TAKEN))
        return msgspec.structs.replace(target, barcode=now.barcode)
    if now.barcode is not None:
        memory.given.add((target.sku, now.barcode))
    if target.barcode is not None:
        holders = tuple(ground.holders.get(target.barcode, ()))
        memory.wanted[target.sku] = (target.barcode, holders)
    return target


def _move_back(before: VariantState, now: StoredVariant, use: Use, back: PutBack) -> None:
    delta, was_counted = use.moved.get(now.variant_id, (0, False))
    if not delta:
        return
    if was_counted:
        back.kept.append(Kept(before.sku, ("quantity",), Keeping.COUNTED))
    elif (now.state.on_hand or 0) < delta:
        back.kept.append(Kept(before.sku, ("quantity",), Keeping.SOLD))
    else:
        back.counter[now.variant_id] = -delta
        if before.on_hand is None:
            back.uncounted.append(now.variant_id)


def _restore_product(product: ProductStep, ground: Ground, back: PutBack) -> None:
    now = ground.products.get(product.after.model_code)
    if product.before is None or now is None:
        return  # it goes with its last variant
    target, edited = _former(product.before, product.after, now)
    for language in now.titles.keys() - target.titles.keys():
        if target.descriptions.get(language):
            # Taking the title away would take the words that somebody wrote since.
            target.titles[language] = now.titles[language]
            edited.append(f"titles.{language}")
    if edited:
        fields = tuple(shown_name(each) for each in edited)
        back.kept.append(Kept(now.model_code, fields, Keeping.EDITED))
    if target != now:
        back.compared.products.append((now, target))
