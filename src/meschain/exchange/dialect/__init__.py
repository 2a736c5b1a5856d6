"""The exports of shops and feeds, each understood by a dialect of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from meschain.exchange.columnmap import ColumnMap
from meschain.exchange.dialect import google, shopify, woocommerce
from meschain.exchange.dialect.base import Dialect, Header
from meschain.exchange.dialect.own import read_own_header
from meschain.exchange.dialect.supplier import SupplierDialect
from meschain.exchange.record import ReadingOptions, SourceKind
from meschain.exchange.sheet.column import recognized_count

__all__ = ["Dialect", "known_count", "understand"]

Count = Callable[[Sequence[str]], int]
# In this order where two know as many names of a header.
_COUNTS: Final[dict[SourceKind, Count]] = {
    SourceKind.CSV: recognized_count,
    SourceKind.WOOCOMMERCE: woocommerce.recognized_count,
    SourceKind.SHOPIFY: shopify.recognized_count,
    SourceKind.GOOGLE: google.recognized_count,
}


def known_count(options: ReadingOptions) -> Count:
    """Measures how much of a header is known: by it delimiter and header row are found."""
    column_map = options.column_map
    if column_map is not None:
        return lambda header: _mapped_count(header, column_map)
    counts = [count for kind, count in _COUNTS.items() if options.source_kind in (None, kind)] or [
        recognized_count
    ]
    return lambda header: max(count(header) for count in counts)


def _mapped_count(header: Sequence[str], column_map: ColumnMap) -> int:
    found = Header(header)
    return sum(found.place(name) is not None for name in column_map.sources)


def understand(header: Sequence[str], options: ReadingOptions) -> Dialect:
    """The dialect of a header, as told or by most names known. Raises: FileRefused."""
    if options.column_map is not None:
        return SupplierDialect(header, options, options.column_map)
    kind = options.source_kind
    if kind not in _COUNTS:
        kind = max(_COUNTS, key=lambda each: _COUNTS[each](header))
    match kind:
        case SourceKind.WOOCOMMERCE:
            return woocommerce.WooCommerceDialect(header, options)
        case SourceKind.SHOPIFY:
            return shopify.ShopifyDialect(header, options)
        case SourceKind.GOOGLE:
            return google.GoogleDialect(header, options)
        case _:
            return read_own_header(header, options)
