"""Which SKUs and barcodes a file has already spoken for, and whether its bundles hold together."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from meschain.domain.catalog import VariantDraft
from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason


@dataclass(slots=True)
class Claims:
    """The first variant of a file to name a SKU or barcode keeps it; a later one is refused."""

    row_of_sku: dict[str, int] = field(default_factory=dict)
    sku_of_barcode: dict[str, str] = field(default_factory=dict)
    bundles: set[str] = field(default_factory=set)

    def claim(self, variant: VariantDraft, row_number: int) -> None:
        """Raises: Fault where the SKU or the barcode is taken; then nothing is claimed."""
        sku, barcode = variant.sku, variant.barcode
        if sku in self.row_of_sku:
            raise Fault(Reason.SKU_DUPLICATE, row=str(self.row_of_sku[sku]))
        if barcode is not None:
            holder = self.sku_of_barcode.setdefault(barcode, sku)
            if holder != sku:
                row = str(self.row_of_sku[holder])
                raise Fault(Reason.BARCODE_DUPLICATE, value=barcode, row=row, sku=holder)
        self.row_of_sku[sku] = row_number
        if variant.bundle:
            self.bundles.add(sku)

    def release(self, variant: VariantDraft) -> None:
        """Give back what a variant claimed that is refused after all."""
        del self.row_of_sku[variant.sku]
        if variant.barcode is not None:
            del self.sku_of_barcode[variant.barcode]
        self.bundles.discard(variant.sku)

    def check_bundle(
        self, variant: VariantDraft, *, known: Container[str], in_file: Container[str]
    ) -> None:
        """Every component must be importable or in the catalog already. Raises: Fault.

        Call it when the whole file has been read: a component may stand below its bundle.
        """
        for component in variant.bundle:
            if component == variant.sku:
                raise Fault(Reason.BUNDLE_OF_ITSELF)
            if component in self.bundles:
                raise Fault(Reason.BUNDLE_NESTED, component=component)
            if component in self.row_of_sku or component in known:
                continue
            if component in in_file:
                raise Fault(Reason.BUNDLE_COMPONENT_REFUSED, component=component)
            raise Fault(Reason.BUNDLE_COMPONENT_UNKNOWN, component=component)
