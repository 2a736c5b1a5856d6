"""Files in and out: pure readers and writers between bytes and drafts; no database, no clock."""

from meschain.exchange.columnmap import ColumnMap, read_column_map
from meschain.exchange.reader import read_catalog
from meschain.exchange.reason import Reason, VatProblem
from meschain.exchange.record import (
    TURKISH_VAT_PERCENTS,
    CatalogReading,
    Collected,
    FileFormat,
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
from meschain.exchange.source import ENCODINGS
from meschain.exchange.writer import write_refused

__all__ = [
    "ENCODINGS",
    "TURKISH_VAT_PERCENTS",
    "CatalogReading",
    "Collected",
    "ColumnMap",
    "FileFormat",
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
    "read_column_map",
    "write_refused",
]
