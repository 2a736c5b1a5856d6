"""The label as a PDF page of exactly its size, with the font embedded."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

from meschain.label.layout import DOT_MM, HEIGHT_MM, WIDTH_MM, Bars, Rule, Words, font, layout

if TYPE_CHECKING:
    from meschain.label.content import CargoLabel


def render_pdf(label: CargoLabel) -> bytes:
    """One page of 100×150 mm; the same label gives the same bytes."""
    target = BytesIO()
    canvas = Canvas(target, pagesize=(WIDTH_MM * mm, HEIGHT_MM * mm), invariant=1)
    canvas.setTitle(label.cargo_code)
    for item in layout(label):
        match item:
            case Words():
                size = item.size_mm * mm
                canvas.setFont(font(bold=item.bold), size)
                # Letters stand on their baseline, which lies some 0.8 of the size below the top.
                canvas.drawString(
                    item.x_mm * mm, (HEIGHT_MM - item.y_mm) * mm - 0.8 * size, item.text
                )
            case Rule():
                y = (HEIGHT_MM - item.y_mm) * mm
                canvas.setLineWidth(0.25 * mm)
                canvas.line(0.03 * WIDTH_MM * mm, y, 0.97 * WIDTH_MM * mm, y)
            case Bars():
                _draw_bars(canvas, item)
    canvas.showPage()
    canvas.save()
    return target.getvalue()


def _draw_bars(canvas: Canvas, bars: Bars) -> None:
    module = bars.module_dots * DOT_MM * mm
    bottom = (HEIGHT_MM - bars.y_mm - bars.height_mm) * mm
    x = bars.x_mm * mm
    for index, width in enumerate(bars.modules):
        if index % 2 == 0:
            canvas.rect(x, bottom, width * module, bars.height_mm * mm, stroke=0, fill=1)
        x += width * module
