"""An OpenCart dump as drafts: each page's forms priced, measured and checked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.exchange.claim import Claims
from meschain.exchange.damage import BarcodeColumn, check_sku, check_text
from meschain.exchange.fault import Fault
from meschain.exchange.opencart.page import Form, Page, Pages
from meschain.exchange.opencart.shop import Shop
from meschain.exchange.opencart.table import TableRow, load_tables
from meschain.exchange.opencart.terms import Terms, tells_units_apart
from meschain.exchange.opencart.vat import Vat, read_vat
from meschain.exchange.reason import Reason
from meschain.exchange.record import (
    CatalogReading,
    FileFormat,
    ReadingOptions,
    ReadProduct,
    Record,
    RefusedRow,
    RowWarning,
    SourceForm,
    SourceKind,
    VatPreview,
)
from meschain.exchange.source import Source

_KEY_COLUMNS: Final = ("product_id", "model", "sku", "quantity", "price", "tax_class_id")
# Codes that are printed on goods, the most usual first. An ISBN is one when it has 13 digits.
_BARCODES: Final = ("ean", "upc", "jan", "isbn")
_ISBN_PREFIXES: Final = ("978", "979")


def read_dump(source: Source, options: ReadingOptions) -> CatalogReading:
    """Raises: FileRefused for a dump that is cut off or holds no products, or those of two shops.

    OpenCart 3 and 4; the columns that are there decide, not a version number.
    """
    encoding = source.detect_encoding(options.encoding)
    with source.text(encoding) as dump:
        tables = load_tables(dump, options.table_prefix)
    shop = Shop(tables, options)
    vat = read_vat(
        tables,
        currency=shop.currency,
        allowed=options.vat_percents,
        answers=options.vat_by_tax_class,
    )
    pages = Pages(shop)
    return CatalogReading(
        form=SourceForm(
            kind=SourceKind.OPENCART,
            file_format=FileFormat.SQL,
            encoding=encoding,
            delimiter=";",
        ),
        records=_Dump(shop, vat, pages).records(),
        vat_previews=tuple(_previews(vat, pages)),
    )


def _previews(vat: Vat, pages: Pages) -> Iterator[VatPreview]:
    """One preview for every tax class that a page uses, with its first page as example."""
    members: defaultdict[int, list[TableRow]] = defaultdict(list)
    for row in pages.products:
        if pages.is_for_sale(row):
            members[row.whole("tax_class_id")].append(row)
    for tax_class_id, rows in sorted(members.items()):
        yield vat.preview(
            tax_class_id,
            product_count=len(rows),
            example_sku=pages.base_sku(rows[0]),
            example_net=rows[0].decimal("price") or Decimal(0),
        )


@dataclass(frozen=True, slots=True)
class _Made:
    """A variant that stands, the page it is sold on, and in which form."""

    page: Page
    form: Form
    variant: VariantDraft


@dataclass(slots=True)
class _Dump:
    """Turns pages into records, in the order of their ids."""

    shop: Shop
    vat: Vat
    pages: Pages
    claims: Claims = field(default_factory=Claims)
    barcodes: BarcodeColumn = field(default_factory=BarcodeColumn)
    models: Counter[str] = field(default_factory=Counter)
    bases: dict[str, int] = field(default_factory=dict)

    def records(self) -> Iterator[Record]:
        yield from self._of_the_file()
        rows = self.pages.products
        for row in rows:
            if barcode := self._printed_code(row):
                self.barcodes.note(barcode)
        self.models = Counter(row.text("model") for row in rows if not row.whole("master_id"))
        pages = self.pages.all()
        for row in rows:
            product_id = row.whole("product_id")
            if row.whole("master_id") and row.whole("master_id") in self.pages.by_id:
                continue  # comes with its master
            children = (child.whole("product_id") for child in self.pages.children[product_id])
            yield from self._product(pages[product_id], [pages[child] for child in children])

    def _of_the_file(self) -> Iterator[Record]:
        tables = self.shop.tables
        for fault in self.shop.remarks:
            yield RowWarning(0, None, fault.reason, fault.params)
        for damaged in tables.damaged:
            params = {
                "table": damaged.table,
                "expected": str(damaged.columns_expected),
                "found": str(damaged.values_found),
            }
            if damaged.table.endswith("product"):
                yield RefusedRow(damaged.line, None, Reason.DUMP_VALUE_COUNT, params, {})
            else:
                yield RowWarning(damaged.line, None, Reason.DUMP_VALUE_COUNT, params)
        for table, count in tables.orphans():
            params = {"table": table, "count": str(count)}
            yield RowWarning(0, None, Reason.DUMP_ORPHANS, params)
        for row in self.pages.doubled:
            first = self.pages.by_id[row.whole("product_id")]
            yield self._refused(row, Fault(Reason.SKU_DUPLICATE, row=str(first.line)))
        pictured = sum(bool(row.text("image")) for row in self.pages.products)
        if pictured and self.shop.options.shop_url is None:
            yield RowWarning(0, None, Reason.DUMP_NO_SHOP_URL, {"count": str(pictured)})

    def _product(self, root: Page, children: list[Page]) -> Iterator[Record]:
        remarks: list[Fault] = []
        members = [root, *children]
        base = self.pages.base_sku(root.row)
        try:
            self._claim_base(base, root.row)
            contents = self._contents(members, remarks)
        except Fault as fault:
            for page in members:
                yield self._refused(page.row, fault)
            return
        for remark in remarks:
            yield RowWarning(root.row.line, base, remark.reason, remark.params)
        made: list[_Made] = []
        for page in members:
            yield from self._page(page, root, made)
        if made:
            row = root.row
            model = row.text("model")
            draft = ProductDraft(
                # The model names the product unless several share it; then only its SKU does.
                model_code=model if model and self.models[model] == 1 else base,
                brand=self.shop.brand(row),
                category=self.shop.category(row.whole("product_id")),
                contents=contents,
                variants=tuple(each.variant for each in made),
                attributes=self._attributes(row),
                image_urls=self.shop.image_urls(row),
            )
            yield ReadProduct(
                draft,
                row.line,
                tuple(each.page.row.line for each in made),
                raw_rows=tuple(_raw_row(each.page.row, each.form) for each in made),
            )

    def _claim_base(self, base: str, row: TableRow) -> None:
        """Two products under one SKU would share their variants' SKUs too. Raises: Fault."""
        check_text(base, "model", is_key=True)
        check_sku(base)
        first = self.bases.setdefault(base, row.line)
        if first != row.line:
            raise Fault(Reason.SKU_DUPLICATE, row=str(first))

    def _contents(self, members: list[Page], remarks: list[Fault]) -> tuple[Content, ...]:
        """Title and description of the first page that has them. Raises: Fault."""
        for page in members:
            if contents := self.shop.contents(page.row.whole("product_id"), remarks):
                return contents
        raise Fault(Reason.TITLE_MISSING)

    def _page(self, page: Page, root: Page, made: list[_Made]) -> Iterator[Record]:
        """Add the page's variants to ``made``; yield what is refused or remarked upon."""
        row = page.row
        remarks = list(page.remarks)
        if not self.pages.is_for_sale(row):
            yield self._refused(row, Fault(Reason.PRODUCT_DISABLED))
            return
        if page.fault is not None:
            yield self._refused(row, page.fault)
            return
        try:
            terms = self._terms(page, root, remarks)
        except Fault as fault:
            yield self._refused(row, fault)
            return
        refused: list[tuple[Form, Fault]] = []
        for form, outcome in terms.variants():
            if isinstance(outcome, Fault):
                refused.append((form, outcome))
                continue
            try:
                self.claims.claim(outcome, row.line)
            except Fault as fault:
                refused.append((form, fault))
            else:
                made.append(_Made(page, form, outcome))
        yield from self._refusals(page, refused)
        if len(refused) < len(page.forms):
            for remark in remarks:
                yield RowWarning(row.line, self.pages.base_sku(row), remark.reason, remark.params)

    def _refusals(self, page: Page, refused: list[tuple[Form, Fault]]) -> Iterator[RefusedRow]:
        """One for each form; a single one where the whole page fails for the same reason."""
        reasons = {fault.reason for _, fault in refused}
        if len(refused) == len(page.forms) > 1 and len(reasons) == 1:
            yield self._refused(page.row, refused[0][1])
            return
        for form, fault in refused:
            yield self._refused(page.row, fault, form)

    def _terms(self, page: Page, root: Page, remarks: list[Fault]) -> Terms:
        """What the page's forms share. Raises: Fault, for the page as a whole."""
        row, shop = page.row, self.shop
        percent = self.vat.percent(row.whole("tax_class_id"))
        net = row.decimal("price")
        if net is None:
            raise Fault(Reason.PRICE_MISSING)
        is_root = page is root
        special = shop.special(row.whole("product_id"), remarks)
        self._remark_on_stock(page, remarks)
        shop.check_measures(row, remarks)
        return Terms(
            shop=shop,
            vat=self.vat,
            page=page,
            net=net,
            vat_percent=percent,
            special=special,
            barcode=self._barcode(page, root, remarks),
            own_attributes={} if is_root else self._own_attributes(row, root.row),
            image_urls=() if is_root else shop.image_urls(row),
            length_mm=shop.millimeters(row, "length"),
            width_mm=shop.millimeters(row, "width"),
            height_mm=shop.millimeters(row, "height"),
        )

    def _remark_on_stock(self, page: Page, remarks: list[Fault]) -> None:
        quantity = page.row.whole("quantity")
        if not tells_units_apart(page):
            if quantity > 0:
                params = {"quantity": str(quantity)}
                remarks.append(Fault(Reason.STOCK_UNKNOWN_BY_COMBINATION, **params))
        elif page.free:
            of_options = sum(choice.quantity or 0 for choice in page.free[0].choices)
            if of_options > quantity:
                params = {"options": str(of_options), "product": str(quantity)}
                remarks.append(Fault(Reason.STOCK_OPTIONS_EXCEED_PRODUCT, **params))

    def _barcode(self, page: Page, root: Page, remarks: list[Fault]) -> str | None:
        """The page's own printed code. One code cannot belong to several forms."""
        barcode = self._printed_code(page.row)
        if not barcode or (page is not root and barcode == self._printed_code(root.row)):
            return None
        if len(page.forms) > 1:
            remarks.append(Fault(Reason.BARCODE_OF_PRODUCT, value=barcode))
            return None
        check_text(barcode, "ean", is_key=True)
        remark = self.barcodes.check(barcode)
        if remark is not None:
            remarks.append(remark)
        return barcode

    def _printed_code(self, row: TableRow) -> str:
        for name in _BARCODES:
            code = self.shop.code(row, name)
            if name == "isbn":
                code = code.replace("-", "").replace(" ", "")
                if len(code) != 13 or not code.startswith(_ISBN_PREFIXES):
                    continue
            if code:
                return code
        return ""

    def _attributes(self, row: TableRow) -> dict[str, str]:
        attributes = self.shop.attributes(row.whole("product_id"))
        if part_number := self.shop.code(row, "mpn"):
            attributes.setdefault("MPN", part_number)
        return attributes

    def _own_attributes(self, row: TableRow, master: TableRow) -> dict[str, str]:
        shared = self._attributes(master)
        own = self._attributes(row)
        return {name: value for name, value in own.items() if shared.get(name) != value}

    def _refused(self, row: TableRow, fault: Fault, form: Form | None = None) -> RefusedRow:
        is_one_of_many = form is not None and form.choices
        sku = form.sku if form is not None and is_one_of_many else self.pages.base_sku(row)
        return RefusedRow(row.line, sku or None, fault.reason, fault.params, _raw_row(row, form))


def _raw_row(row: TableRow, form: Form | None) -> dict[str, str]:
    """Of a dump the key columns, and the options of one of many variants."""
    raw_row = {column: row.text(column) for column in _KEY_COLUMNS if row.has(column)}
    if form is not None and form.choices:
        raw_row["options"] = ", ".join(f"{each.option}: {each.value}" for each in form.choices)
    return raw_row
