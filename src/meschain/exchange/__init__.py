"""Files in and out: pure readers and writers between bytes and drafts; no database, no clock."""

from meschain.exchange.reader import read_catalog
from meschain.exchange.reason import Reason, VatProblem
from meschain.exchange.record import (
    TURKISH_VAT_PERCENTS,
    CatalogReading,
    Collected,
    FileRefused,
    ReadingOptions,
    ReadProduct,
    Record,
    RefusedRow,
    RowWarning,
    SourceForm,
    SourceKind,
    VatPreview,
    collect,
)
from meschain.exchange.writer import write_catalog, write_refused

__all__ = [
    "TURKISH_VAT_PERCENTS",
    "CatalogReading",
    "Collected",
    "FileRefused",
    "ReadProduct",
    "ReadingOptions",
    "Reason",
    "Record",
    "RefusedRow",
    "RowWarning",
    "SourceForm",
    "SourceKind",
    "VatPreview",
    "VatProblem",
    "collect",
    "read_catalog",
    "write_catalog",
    "write_refused",
]
