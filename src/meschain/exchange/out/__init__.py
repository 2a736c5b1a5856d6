"""Files out: catalogs in the formats they can come from, and plain tables as CSV or workbook."""

from meschain.exchange.out.catalog import CatalogWriter, catalog_writer
from meschain.exchange.out.layout import ExportFormat, ExportOptions, LeftOut, Losses
from meschain.exchange.out.sheet import (
    Container,
    LetterLost,
    SheetStyle,
    WorkbookFull,
    write_sheet,
)

__all__ = [
    "CatalogWriter",
    "Container",
    "ExportFormat",
    "ExportOptions",
    "LeftOut",
    "LetterLost",
    "Losses",
    "SheetStyle",
    "WorkbookFull",
    "catalog_writer",
    "write_sheet",
]
