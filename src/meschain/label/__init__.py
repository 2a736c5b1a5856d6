"""Cargo labels rendered by the hub, where the marketplace gives none: 100×150 mm, PDF and ZPL."""

from __future__ import annotations

from meschain.label.content import Captions, CargoLabel, UnprintableCode
from meschain.label.pdf import render_pdf
from meschain.label.zpl import render_zpl

__all__ = ["Captions", "CargoLabel", "UnprintableCode", "render_pdf", "render_zpl"]
