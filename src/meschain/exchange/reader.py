"""Any catalog file as drafts: finds out what it is and hands it to its reader."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from meschain.exchange.dialect import known_count, understand
from meschain.exchange.opencart import read_dump
from meschain.exchange.reason import Reason
from meschain.exchange.record import (
    CatalogReading,
    FileFormat,
    FileRefused,
    ReadingOptions,
    SourceKind,
)
from meschain.exchange.sheet.reader import read_table
from meschain.exchange.source import Source
from meschain.exchange.table.items import ItemTable, open_items
from meschain.exchange.table.package import OLE_MAGIC, ZIP_MAGIC
from meschain.exchange.table.text import open_text
from meschain.exchange.table.workbook import open_workbook

_HEAD_BYTES: Final = 1 << 16
_STATEMENT: Final = re.compile(
    rb"^\s*(?:INSERT\s+(?:IGNORE\s+)?INTO|REPLACE\s+INTO|CREATE\s+TABLE|DROP\s+TABLE)\s",
    re.IGNORECASE | re.MULTILINE,
)
_MARKS: Final = b"\xef\xbb\xbf\xff\xfe \t\r\n"
_ROOT: Final = re.compile(rb"<(?![?!])(?:[\w.-]+:)?([\w.-]+)")
# The two forms in which Google takes feeds: root → path of their items.
_FEED_ITEMS: Final = {b"rss": "channel/item", b"feed": "entry"}


def read_catalog(source: Path | bytes, options: ReadingOptions) -> CatalogReading:
    """Read a catalog file, plain or gzip; what it was found to be is in the reading's ``form``.

    Text is read twice and held only as far as its products are incomplete; workbooks and XML are
    parsed once into a temporary file; a dump's product tables are held as a whole.
    Raises: FileRefused, OSError.
    """
    opened = Source(source)
    with opened.binary() as raw:
        head = raw.read(_HEAD_BYTES)
    if (column_map := options.column_map) is not None:
        options = replace(
            options,
            encoding=options.encoding or column_map.encoding,
            sheet=options.sheet or column_map.sheet,
            decimal_separator=options.decimal_separator or column_map.decimal_separator,
        )
    if head.startswith(OLE_MAGIC):
        raise FileRefused(Reason.FILE_XLS)
    if head.startswith(ZIP_MAGIC):
        return _read_workbook(opened, options)
    if options.source_kind is SourceKind.OPENCART or (
        options.source_kind is None and column_map is None and _STATEMENT.search(head)
    ):
        return read_dump(opened, options)
    begin = head.replace(b"\x00", b"").lstrip(_MARKS)[:20].lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        raise FileRefused(Reason.FILE_HTML)
    if begin.startswith(b"<"):
        items = _items(opened, head, options)
        return read_table(items, understand(items.header, options), FileFormat.XML, options)
    delimiter = column_map.delimiter if column_map else None
    encoding = opened.detect_encoding(options.encoding)
    text = open_text(opened, encoding, known_count(options), delimiter)
    return read_table(text, understand(text.header, options), FileFormat.TEXT, options)


def _read_workbook(source: Source, options: ReadingOptions) -> CatalogReading:
    workbook = open_workbook(source, known_count(options), options.sheet)
    try:
        dialect = understand(workbook.header, options)
    except FileRefused as refused:
        others = [name for name in workbook.sheet_names if name != workbook.form.sheet]
        if refused.reason is not Reason.HEADER_NO_SKU or not others:
            raise
        sheet, named = workbook.form.sheet or "", ", ".join(others)
        raise FileRefused(Reason.FILE_OTHER_SHEET, sheet=sheet, sheets=named) from refused
    return read_table(workbook, dialect, FileFormat.XLSX, options)


def _items(source: Source, head: bytes, options: ReadingOptions) -> ItemTable:
    """The items of an XML file: by the column map, or those of a feed for Google."""
    if (column_map := options.column_map) is not None:
        return open_items(source, column_map.item, column_map.variant, options.encoding)
    root = _ROOT.search(head.replace(b"\x00", b""))
    path = _FEED_ITEMS.get(root[1]) if root is not None else None
    items = open_items(source, path, told_encoding=options.encoding)
    is_told = options.source_kind is SourceKind.GOOGLE
    if path is not None and (is_told or known_count(options)(items.header)):
        return items
    raise FileRefused(Reason.XML_NO_COLUMNS, paths=", ".join(items.header[:12]))
