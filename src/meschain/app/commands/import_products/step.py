"""What one chunk of a file changed, kept with it: to continue after a kill, and to put it back.

``Step`` is stored as deflated JSON, which is a tenth of the rows' own size.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.import_products.plan import (
    Created,
    ProductUpdated,
    Refusal,
    Updated,
)
from meschain.app.commands.import_products.state import ProductState, VariantState, changes_of

if TYPE_CHECKING:
    from meschain.app.commands.import_products.compare import Compared, Memory
    from meschain.app.commands.import_products.plan import ImportPlan

_DEFLATE_LEVEL: Final = 1


class VariantStep(msgspec.Struct, frozen=True, array_like=True):
    """A variant that changed; ``before`` None: it was created."""

    row_number: int
    before: VariantState | None
    after: VariantState


class ProductStep(msgspec.Struct, frozen=True, array_like=True):
    """A product that changed; ``before`` None: it was created."""

    before: ProductState | None
    after: ProductState


class RefusedStep(msgspec.Struct, frozen=True, array_like=True):
    """A row that the catalog refused; its cells are in the file."""

    row_number: int
    sku: str | None
    reason: str
    params: dict[str, str]


class SafetyStep(msgspec.Struct, frozen=True, array_like=True):
    """Units held back, before and after."""

    sku: str
    before: int
    after: int


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """A chunk. ``left``: products that variants moved away from, as they were.

    ``spoken``: models that the chunk spoke for and left as they were. ``waiting``: SKUs that are
    looked at again when the whole file is known. ``taken``: the SKUs of a chunk of such.

    Of sheets: ``location`` is where units were counted, where that is not the run's. ``mapping``:
    rows of the mapping table before and after. ``orders_created``, ``orders_changed``: past orders
    by source and number.
    """

    variants: list[VariantStep] = []
    products: list[ProductStep] = []
    left: list[ProductState] = []
    spoken: list[str] = []
    unchanged: int = 0
    refused: list[RefusedStep] = []
    waiting: list[str] = []
    taken: list[str] = []
    location: int = 0
    safety: list[SafetyStep] = []
    mapping: list[tuple[list[str] | None, list[str] | None]] = []
    orders_created: list[tuple[str, str]] = []
    orders_changed: list[tuple[str, str]] = []

    @classmethod
    def of(cls, compared: Compared, *, is_last: bool) -> Step:
        """The chunk as it was compared."""
        changed = [entry for entry in compared.entries if entry.is_changed]
        return cls(
            variants=[
                VariantStep(
                    entry.row_number, entry.before.state if entry.before else None, entry.after
                )
                for entry in changed
            ],
            products=[
                ProductStep(before, after) for before, after in compared.products if before != after
            ],
            left=compared.left,
            spoken=[after.model_code for before, after in compared.products if before == after],
            unchanged=len(compared.entries) - len(changed),
            refused=[
                RefusedStep(each.row_number, each.sku, each.reason_code, dict(each.params))
                for each in compared.refused
            ],
            waiting=[draft.sku for read in compared.late for draft in read.draft.variants],
            taken=[entry.after.sku for entry in compared.entries] if is_last else [],
        )

    @property
    def skus(self) -> set[str]:
        """Those that changed."""
        return {each.after.sku for each in self.variants} | {each.sku for each in self.safety}

    def packed(self) -> bytes:
        """For the database."""
        return zlib.compress(msgspec.json.encode(self), _DEFLATE_LEVEL)

    @classmethod
    def unpacked(cls, facts: bytes) -> Step:
        """From the database."""
        return _DECODER.decode(zlib.decompress(facts))

    def note(self, plan: ImportPlan) -> None:
        """Count it in."""
        for product in self.products:
            if product.before is None:
                plan.products_created.append(product.after.model_code)
            else:
                changes = changes_of(product.before, product.after)
                plan.products_updated.append(ProductUpdated(product.after.model_code, changes))
        for each in self.variants:
            sku = each.after.sku
            if each.before is None:
                plan.created.append(Created(each.row_number, sku))
            else:
                changes = changes_of(each.before, each.after)
                plan.updated.append(Updated(each.row_number, sku, changes))
        plan.unchanged += self.unchanged

    def refusals(self) -> list[Refusal]:
        """The refused rows, without their cells."""
        return [
            Refusal(each.row_number, each.sku, each.reason, each.params) for each in self.refused
        ]

    def remember(self, memory: Memory, accepted: set[str]) -> None:
        """What later chunks must know of this one. ``accepted``: the SKUs that it took in."""
        memory.accepted |= accepted
        memory.models.update(product.after.model_code for product in self.products)
        memory.models.update(self.spoken)
        for each in self.variants:
            memory.components.update(each.after.bundle)
            if each.before is not None and each.before.barcode not in (None, each.after.barcode):
                assert each.before.barcode is not None
                memory.released.add((each.after.sku, each.before.barcode))


_DECODER: Final = msgspec.json.Decoder(Step)
