"""What an import would do, or has done: created, updated, unchanged, refused, remarked upon."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meschain.exchange.refused import RefusedRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.app.commands.import_products.state import FieldChange
    from meschain.exchange import RowWarning, SourceForm, VatPreview


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that is left out, by the file's reader or because of what the catalog holds.

    ``raw_row``: column → cell as given, so that it can be written back, mended and read again.
    """

    row_number: int
    sku: str | None
    reason_code: str
    params: Mapping[str, str]
    raw_row: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Created:
    """A SKU that the catalog did not have."""

    row_number: int
    sku: str


@dataclass(frozen=True, slots=True)
class Updated:
    """A SKU with the fields that change, each before and after."""

    row_number: int
    sku: str
    changes: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class ProductUpdated:
    """What changes for a product as a whole."""

    model_code: str
    changes: tuple[FieldChange, ...]


@dataclass(slots=True)
class ImportPlan:
    """The whole of it. ``unchanged`` counts variants; the lists are in the file's order."""

    form: SourceForm
    vat_previews: tuple[VatPreview, ...]
    created: list[Created] = field(default_factory=list)
    updated: list[Updated] = field(default_factory=list)
    unchanged: int = 0
    products_created: list[str] = field(default_factory=list)
    products_updated: list[ProductUpdated] = field(default_factory=list)
    refused: RefusedRows[Refusal] = field(default_factory=lambda: RefusedRows(Refusal))
    warnings: list[RowWarning] = field(default_factory=list)

    @property
    def variants(self) -> int:
        """Variants that the file states and the catalog takes."""
        return len(self.created) + len(self.updated) + self.unchanged

    @property
    def counts(self) -> dict[str, int]:
        """The figures, by name."""
        return {
            "variants_created": len(self.created),
            "variants_updated": len(self.updated),
            "variants_unchanged": self.unchanged,
            "products_created": len(self.products_created),
            "products_updated": len(self.products_updated),
            "refused": len(self.refused),
            "warnings": len(self.warnings),
        }
