"""What reading a catalog file gives: drafts, refused rows, warnings, and how the file was read."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from meschain.domain.catalog import ProductDraft
from meschain.domain.money import Money
from meschain.exchange.reason import Reason, VatProblem

if TYPE_CHECKING:
    from meschain.exchange.columnmap import ColumnMap

# What Turkish marketplaces accept as VAT rates, in percent, since July 2023.
TURKISH_VAT_PERCENTS: Final = frozenset(Decimal(percent) for percent in (0, 1, 10, 20))


class FileRefused(ValueError):
    """The file as a whole cannot be read; nothing of it was used. For the operator to mend."""

    def __init__(self, reason: Reason, **params: str) -> None:
        super().__init__(f"{reason} {params}")
        self.reason = reason
        self.params: Mapping[str, str] = params


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """What a file cannot say itself.

    ``today`` decides which dated specials are active. ``currency`` None means the shop's own
    setting, else ``currency_fallback``, that of the merchant. ``vat_by_tax_class`` is the
    operator's answer, in percent, by the shop's tax class id (0 stands for products without a
    class). ``decimal_separator`` (``","`` or ``"."``) overrules what the file shows. ``known_skus``
    are those the catalog already has, so that a bundle may name them. ``shop_url`` turns a dump's
    image paths into addresses. ``table_prefix`` chooses between two shops in one dump.

    ``source_kind``, ``encoding`` (one of ``source.ENCODINGS``) and ``sheet`` overrule what would be
    found; ``column_map`` says what an unknown file's columns mean.
    """

    today: date
    currency: str | None = None
    currency_fallback: str = "TRY"
    language: str = "tr"
    vat_percents: frozenset[Decimal] = TURKISH_VAT_PERCENTS
    vat_by_tax_class: Mapping[int, Decimal] = field(default_factory=dict)
    decimal_separator: str | None = None
    known_skus: Container[str] = frozenset()
    shop_url: str | None = None
    table_prefix: str | None = None
    include_disabled: bool = False
    source_kind: SourceKind | None = None
    encoding: str | None = None
    sheet: str | None = None
    column_map: ColumnMap | None = None


class SourceKind(StrEnum):
    """Whose columns they are; ``FileFormat`` says what they are written in."""

    CSV = "csv"
    """Our own columns."""
    OPENCART = "opencart"
    WOOCOMMERCE = "woocommerce"
    SHOPIFY = "shopify"
    GOOGLE = "google"
    SUPPLIER = "supplier"
    """Any columns, by a column map."""


class FileFormat(StrEnum):
    TEXT = "text"
    XLSX = "xlsx"
    XML = "xml"
    SQL = "sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceForm:
    """How the file is written. ``columns`` are the source's own header cells, in order.

    ``encoding`` and ``delimiter`` are those of the CSV that its refused rows go into, and of the
    file itself where that is text. ``header_language`` is ``en`` or ``tr`` where the header shows
    it; ``sheet`` the sheet read; ``item`` the path of an XML file's items.
    """

    kind: SourceKind
    file_format: FileFormat = FileFormat.TEXT
    encoding: str
    delimiter: str = ","
    columns: tuple[str, ...] = ()
    decimal_separators: Mapping[str, str] = field(default_factory=dict)  # column → "," or "."
    header_language: str | None = None
    sheet: str | None = None
    item: str | None = None


@dataclass(frozen=True, slots=True)
class ReadProduct:
    """A product that may be imported.

    ``product_row`` is the first row of the product, in a dump that of its own page, which may sell
    nothing itself; ``variant_rows`` runs parallel to ``draft.variants``. A CSV counts its header as
    row 1, as a spreadsheet does; a dump counts lines. Where ``model_stated``
    is false the file does not group variants, and ``draft.model_code`` merely repeats the SKU: a
    variant that the catalog already holds stays with its product. ``raw_rows``: column → cell as
    given, parallel to the variants, should the catalog refuse one.
    """

    draft: ProductDraft
    product_row: int
    variant_rows: tuple[int, ...]
    model_stated: bool = True
    raw_rows: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A source row (or one variant of it) that is left out. ``raw_row``: column → cell as given."""

    row_number: int
    sku: str | None
    reason_code: Reason
    params: Mapping[str, str]
    raw_row: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RowWarning:
    """A remark on a row that was read all the same. ``row_number`` 0 means the file as a whole."""

    row_number: int
    sku: str | None
    reason_code: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VatPreview:
    """How net prices of one tax class become gross: ``net 100.00 + VAT 20 % = 120.00``.

    ``percent`` None means undecided because of ``problem``: all ``product_count`` products of the
    class are refused until ``ReadingOptions.vat_by_tax_class`` answers. With an answer ``problem``
    still says what the dump left open. ``example_*`` is a product of the class.
    """

    tax_class_id: int
    title: str
    percent: Decimal | None
    problem: VatProblem | None
    net: Decimal
    gross: Money | None
    product_count: int
    example_sku: str
    example_net: Decimal
    example_gross: Money | None


Record = ReadProduct | RefusedRow | RowWarning


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReading:
    """A file being read. ``records`` can be walked once; it holds no more than it must.

    ``row_count``: rows of a table, for the progress; 0 where it is not known beforehand.
    """

    form: SourceForm
    records: Iterator[Record]
    row_count: int = 0
    vat_previews: tuple[VatPreview, ...] = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """All records of a reading, sorted by kind; for files that are known to be small."""

    products: tuple[ReadProduct, ...]
    refused: tuple[RefusedRow, ...]
    warnings: tuple[RowWarning, ...]


def collect(records: Iterable[Record]) -> Collected:
    products: list[ReadProduct] = []
    refused: list[RefusedRow] = []
    warnings: list[RowWarning] = []
    for record in records:
        match record:
            case ReadProduct():
                products.append(record)
            case RefusedRow():
                refused.append(record)
            case RowWarning():
                warnings.append(record)
    return Collected(tuple(products), tuple(refused), tuple(warnings))
