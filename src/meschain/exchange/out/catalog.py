"""A catalog out: drafts in, one file out, and what the format could not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from meschain.domain.catalog import ProductDraft
from meschain.exchange.out.google import GoogleLayout
from meschain.exchange.out.layout import ExportFormat, ExportOptions, Layout, Losses, countable
from meschain.exchange.out.opencart import DumpWriter
from meschain.exchange.out.own import OwnLayout
from meschain.exchange.out.sheet import Container, GrowingSheet, write_sheet
from meschain.exchange.out.shopify import ShopifyLayout
from meschain.exchange.out.woocommerce import WooCommerceLayout


class CatalogWriter(Protocol):
    """Takes products one by one; ``finish`` writes the file and says how many rows it has."""

    losses: Losses

    def add(self, product: ProductDraft) -> None: ...
    def finish(self, path: Path) -> int:
        """Raises: LetterLost, OSError."""


class TableWriter:
    """A catalog as a table."""

    def __init__(self, layout: Layout, losses: Losses, *, below_zero: int | None = 0) -> None:
        """``below_zero``: what stands for units sold beyond stock; a shop is to sell none."""
        self.losses = losses
        self._below_zero = below_zero
        self._layout = layout
        self._sheet = GrowingSheet()

    def add(self, product: ProductDraft) -> None:
        counted = countable(product, self.losses, instead=self._below_zero)
        for row in self._layout.rows(counted):
            self._sheet.put(row)

    def finish(self, path: Path) -> int:
        layout = self._layout
        columns = layout.ordered(self._sheet.columns)
        return write_sheet(path, columns, self._sheet.rows(), layout.style, numeric=layout.numeric)


def catalog_writer(form: ExportFormat, options: ExportOptions) -> CatalogWriter:
    losses = Losses()
    match form:
        case ExportFormat.CSV:
            return TableWriter(OwnLayout(options, losses), losses, below_zero=None)
        case ExportFormat.XLSX:
            style = replace(options.style, container=Container.XLSX)
            layout = OwnLayout(replace(options, style=style), losses)
            return TableWriter(layout, losses, below_zero=None)
        case ExportFormat.WOOCOMMERCE:
            return TableWriter(WooCommerceLayout(options, losses), losses)
        case ExportFormat.SHOPIFY:
            return TableWriter(ShopifyLayout(options, losses), losses)
        case ExportFormat.GOOGLE:
            return TableWriter(GoogleLayout(options, losses), losses)
        case ExportFormat.OPENCART:
            return DumpWriter(options, losses)
