"""Products as files state them, for tests of imports."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import CatalogReading, ReadProduct, SourceForm, SourceKind


def lira(amount: str) -> Money:
    return Money(int(Decimal(amount) * 100), "TRY")


def variant(sku: str, **stated: object) -> VariantDraft:
    draft = VariantDraft(
        sku=sku, list_price=lira("120"), sale_price=lira("100"), quantity=5, vat_percent=Decimal(20)
    )
    return replace(draft, **stated)  # type: ignore[arg-type]  # the draft's own fields


def product(
    model: str,
    *variants: VariantDraft,
    title: str = "Kazak",
    tag: str = "tr",
    images: tuple[str, ...] = ("https://cdn.example/1.jpg", "https://cdn.example/2.jpg"),
    stated: bool = True,
    row: int = 2,
) -> ReadProduct:
    """``stated``: the file names the model; ``row``: of its first variant."""
    draft = ProductDraft(
        model_code=model,
        brand="Işılbez",
        category="Giyim > Kadın",
        contents=(Content(tag, title, "<p>Sıcak</p>"),),
        variants=variants,
        attributes={"Kumaş": "Yün"},
        image_urls=images,
    )
    rows = tuple(range(row, row + len(variants)))
    return ReadProduct(draft, row, rows, model_stated=stated)


def reading(*products: ReadProduct) -> CatalogReading:
    """A file that states these."""
    form = SourceForm(kind=SourceKind.CSV, encoding="utf-8")
    return CatalogReading(form=form, records=iter(products))
