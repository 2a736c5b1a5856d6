"""Pure: a chunk of drafts beside what the catalog holds.

Decisions about keys that move:

- A known SKU under another model code moves to that product, which is made when it is missing and
  then starts from what its old product says; a product left without variants goes.
- Where the file groups nothing, a known SKU stays with its product, and of several rows the first
  speaks for the product.
- A barcode that another SKU of the catalog holds is taken over only when the same file gives that
  SKU another one (so two may swap); otherwise the row is refused: two variants with one barcode
  could no longer be told apart on a channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from meschain.app.commands.import_products.merge import (
    DraftRefused,
    ImportReason,
    merge_product,
    merge_variant,
)
from meschain.app.commands.import_products.plan import Refusal
from meschain.exchange import Reason, RowWarning
from meschain.exchange.claim import Claims

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meschain.app.commands.import_products.state import (
        ProductState,
        StoredVariant,
        VariantState,
    )
    from meschain.domain.catalog import VariantDraft
    from meschain.exchange import ReadProduct


@dataclass(frozen=True, slots=True)
class Ground:
    """What the catalog holds of a chunk: by SKU, by model code, and who holds which barcode.

    ``moved``: by SKU, the units that others have moved since the import began, and whether they
    were counted or received then.
    """

    variants: Mapping[str, StoredVariant]
    products: Mapping[str, ProductState]
    holders: Mapping[str, Sequence[str]]
    product_ids: Mapping[str, int] = field(default_factory=dict)
    moved: Mapping[str, tuple[int, bool]] = field(default_factory=dict)


@dataclass(slots=True)
class Memory:
    """What earlier chunks of the file have settled."""

    claims: Claims = field(default_factory=Claims)
    accepted: set[str] = field(default_factory=set)
    components: set[str] = field(default_factory=set)
    released: set[tuple[str, str]] = field(default_factory=set)  # (SKU, the barcode it gives up)
    models: set[str] = field(default_factory=set)  # products that the file has spoken for


@dataclass(frozen=True, slots=True)
class Entry:
    """A variant before and after."""

    row_number: int
    before: StoredVariant | None
    after: VariantState

    @property
    def is_changed(self) -> bool:
        """Whether anything is to be written."""
        return self.before is None or self.before.state != self.after


@dataclass(slots=True)
class Compared:
    """A chunk compared; ``late`` waits for the end of the file.

    ``left``: products that variants move away from, as they are.
    """

    entries: list[Entry] = field(default_factory=list)
    products: list[tuple[ProductState | None, ProductState]] = field(default_factory=list)
    left: list[ProductState] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[RowWarning] = field(default_factory=list)
    late: list[ReadProduct] = field(default_factory=list)


def compare(
    products: Sequence[ReadProduct], ground: Ground, memory: Memory, *, currency: str, is_last: bool
) -> Compared:
    """Each draft as an entry, a refusal, or (unless ``is_last``) something to look at again."""
    compared = Compared()
    for read in products:
        entries: list[Entry] = []
        blocked: list[int] = []
        for place, (draft, row_number) in enumerate(
            zip(read.draft.variants, read.variant_rows, strict=True)
        ):
            before = ground.variants.get(draft.sku)
            try:
                _check_bundle(draft, before, ground, memory)
                after = merge_variant(
                    before.state if before else None,
                    draft,
                    model_code=target_model(read, before),
                    currency=currency,
                )
                after = _with_newer_units(before, after, row_number, ground, compared)
                holder = _foreign_holder(before, after, ground, memory)
                if holder is not None:
                    if not is_last:
                        blocked.append(place)
                        continue
                    raise barcode_taken(after.barcode or "", holder)
            except DraftRefused as refused:
                compared.refused.append(refusal(row_number, draft.sku, refused))
            else:
                entries.append(Entry(row_number, before, after))
        if blocked:
            compared.late.append(part(read, blocked))
        _accept(read, entries, compared, ground, memory)
    return compared


def _with_newer_units(
    before: StoredVariant | None,
    after: VariantState,
    row_number: int,
    ground: Ground,
    compared: Compared,
) -> VariantState:
    """The file counted when the import began; an import that was cut short may end much later.

    What was sold or came back since is added to its count; a newer count stands.
    """
    moved = ground.moved.get(after.sku)
    if moved is None or before is None or after.on_hand is None:
        return after
    delta, was_counted = moved
    kept = before.state.on_hand
    if not was_counted:
        return msgspec.structs.replace(after, on_hand=max(after.on_hand + delta, 0))
    params = {"stated": str(after.on_hand), "kept": str(kept)}
    compared.warnings.append(RowWarning(row_number, after.sku, ImportReason.COUNTED_SINCE, params))
    return msgspec.structs.replace(after, on_hand=kept)


def _accept(
    read: ReadProduct, entries: list[Entry], compared: Compared, ground: Ground, memory: Memory
) -> None:
    if not entries:
        return
    model = entries[0].after.model_code
    if model not in memory.models:
        first = entries[0].before
        inherited = ground.products.get(first.state.model_code) if first else None
        before = ground.products.get(model)
        try:
            after = merge_product(before, read.draft, model, inherited)
        except DraftRefused as refused:
            compared.refused += [
                refusal(entry.row_number, entry.after.sku, refused) for entry in entries
            ]
            return
        memory.models.add(model)
        compared.products.append((before, after))
    for entry in entries:
        old = entry.before.state if entry.before else None
        if old is not None:
            if old.barcode is not None and old.barcode != entry.after.barcode:
                memory.released.add((old.sku, old.barcode))
            if old.model_code != entry.after.model_code:
                home = ground.products[old.model_code]
                if home not in compared.left:
                    compared.left.append(home)
        memory.accepted.add(entry.after.sku)
        memory.components.update(entry.after.bundle)
    compared.entries += entries


def target_model(read: ReadProduct, before: StoredVariant | None) -> str:
    """The product that the variant will belong to."""
    if before is not None and not read.model_stated:
        return before.state.model_code
    return read.draft.model_code


def part(read: ReadProduct, places: Sequence[int]) -> ReadProduct:
    """The product with only these of its variants."""
    variants = tuple(read.draft.variants[place] for place in places)
    return replace(
        read,
        draft=replace(read.draft, variants=variants),
        variant_rows=tuple(read.variant_rows[place] for place in places),
        raw_rows=tuple(read.raw_rows[place] for place in places) if read.raw_rows else (),
    )


def _check_bundle(
    draft: VariantDraft, before: StoredVariant | None, ground: Ground, memory: Memory
) -> None:
    """A bundle is made of known variants that are no bundles, and is no component itself."""
    if not draft.bundle:
        return
    if draft.sku in memory.components or (before is not None and before.is_component):
        raise DraftRefused(Reason.BUNDLE_NESTED, component=draft.sku)
    for component in draft.bundle:
        stored = ground.variants.get(component)
        if component in memory.claims.bundles or (stored is not None and stored.state.is_bundle):
            raise DraftRefused(Reason.BUNDLE_NESTED, component=component)
        if stored is None and component not in memory.accepted:
            is_seen = component in memory.claims.row_of_sku
            raise DraftRefused(
                Reason.BUNDLE_COMPONENT_REFUSED if is_seen else Reason.BUNDLE_COMPONENT_UNKNOWN,
                component=component,
            )


def _foreign_holder(
    before: StoredVariant | None, after: VariantState, ground: Ground, memory: Memory
) -> str | None:
    """Another SKU that holds the newly stated barcode and is not known to give it up."""
    barcode = after.barcode
    if barcode is None or (before is not None and before.state.barcode == barcode):
        return None
    return next(_unreleased(barcode, after.sku, ground, memory), None)


def _unreleased(barcode: str, sku: str, ground: Ground, memory: Memory) -> Iterator[str]:
    for holder in ground.holders.get(barcode, ()):
        if holder != sku and (holder, barcode) not in memory.released:
            yield holder


def settle_barcodes(
    products: Sequence[ReadProduct], ground: Ground, memory: Memory
) -> tuple[list[ReadProduct], list[Refusal]]:
    """The late drafts whose barcodes are, or become, free; and the others, refused.

    All are judged together: a swap frees both. Taking one away may block the next, so it is
    repeated until nothing changes, at most once a draft.
    """
    alive: dict[str, tuple[str | None, str | None]] = {}  # SKU → (barcode before, stated one)
    for read in products:
        for draft in read.draft.variants:
            stored = ground.variants.get(draft.sku)
            alive[draft.sku] = (stored.state.barcode if stored else None, draft.barcode)
    blocked: dict[str, str] = {}
    while True:
        found = {
            sku: holder
            for sku, (held, stated) in alive.items()
            if stated is not None and stated != held
            for holder in _unreleased(stated, sku, ground, memory)
            if not _gives_up(alive.get(holder), stated)
        }
        if not found:
            break
        blocked |= found
        for sku in found:
            del alive[sku]
    memory.released.update(
        (sku, held)
        for sku, (held, stated) in alive.items()
        if held is not None and stated is not None and stated != held
    )
    kept: list[ReadProduct] = []
    refused: list[Refusal] = []
    for read in products:
        places: list[int] = []
        for place, draft in enumerate(read.draft.variants):
            if draft.sku in alive:
                places.append(place)
                continue
            taken = barcode_taken(draft.barcode or "", blocked[draft.sku])
            refused.append(refusal(read.variant_rows[place], draft.sku, taken))
        if places:
            kept.append(part(read, places))
    return kept, refused


def _gives_up(holder: tuple[str | None, str | None] | None, barcode: str) -> bool:
    if holder is None:
        return False
    held, stated = holder
    return held == barcode and stated is not None and stated != barcode


def barcode_taken(barcode: str, holder: str) -> DraftRefused:
    """Another SKU keeps the barcode."""
    return DraftRefused(ImportReason.BARCODE_TAKEN, value=barcode, sku=holder)


def refusal(row_number: int, sku: str, refused: DraftRefused) -> Refusal:
    """The refusal of one row."""
    return Refusal(row_number, sku, refused.reason, refused.params)
