"""Every reason for which a row, a cell or a whole file is refused or remarked upon.

The value of a member is the key of its text in ``messages.toml``; the comment behind it names the
text's placeholders. Codes are written into refused files and stored with imports: they are never
renamed.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    # The file as a whole.
    FILE_EMPTY = "file.empty"  # (a warning where only rows are missing)
    FILE_ENCODING = "file.encoding"
    FILE_ENCODING_TOLD = "file.encoding_told"  # encoding
    FILE_GZIP = "file.gzip"
    FILE_HTML = "file.html"
    FILE_NO_SHEET = "file.no_sheet"  # sheet, sheets
    FILE_LINE_TOO_LONG = "file.line_too_long"  # megabytes
    FILE_UNPACKED = "file.unpacked"  # gigabytes
    FILE_OTHER_SHEET = "file.other_sheet"  # sheet, sheets
    FILE_TOO_LARGE = "file.too_large"  # part, megabytes
    FILE_TOO_MANY_MERGES = "file.too_many_merges"  # count_max
    FILE_TOO_WIDE = "file.too_wide"  # columns_max
    FILE_XLS = "file.xls"
    FILE_XLSX_BROKEN = "file.xlsx_broken"
    FILE_ZIP = "file.zip"
    ENCODING_DECLARED = "file.encoding_declared"  # declared, found (warning)
    FORMULAS_READ = "sheet.formulas_read"  # column, count (warning)
    MERGED_READ = "sheet.merged_read"  # count (warning)
    XML_BROKEN = "xml.broken"  # line, place
    XML_DOCTYPE = "xml.doctype"
    XML_LIMIT = "xml.limit"  # item
    XML_NO_COLUMNS = "xml.no_columns"  # paths
    XML_NO_ITEMS = "xml.no_items"  # item, paths
    MAP_COLUMN_MISSING = "map.column_missing"  # column (warning)
    MAP_COLUMN_OF_OURS = "map.column_of_ours"  # column
    MAP_MISSING = "map.missing"  # entry
    MAP_UNKNOWN = "map.unknown"  # entry, allowed
    MAP_UNREADABLE = "map.unreadable"  # detail
    MAP_VALUE = "map.value"  # entry, value
    MAP_VAT_MISSING = "map.vat_missing"  # column
    HEADER_NO_COLUMN = "header.no_column"  # column
    HEADER_NO_SKU = "header.no_sku"
    HEADER_TWICE = "header.twice"  # column
    HEADER_UNKNOWN = "header.unknown"  # column (warning)
    HEADER_DESCRIPTION_ALONE = "header.description_alone"  # column (warning)
    DUMP_TRUNCATED = "dump.truncated"  # line
    DUMP_NO_PRODUCTS = "dump.no_products"
    DUMP_TWO_SHOPS = "dump.two_shops"  # prefixes
    DUMP_NO_COLUMNS = "dump.no_columns"  # table, line
    DUMP_VALUE_COUNT = "dump.value_count"  # table, expected, found
    DUMP_ORPHANS = "dump.orphans"  # table, count (warning)
    DUMP_NO_SHOP_URL = "dump.no_shop_url"  # count (warning)
    DUMP_LANGUAGE_TWICE = "dump.language_twice"  # language, code (warning)

    # The row as a whole.
    ROW_FIELD_COUNT = "row.field_count"  # expected, found
    ROW_QUOTING = "row.quoting"
    ROW_CONTROL_CHARACTER = "row.control_character"  # column, code
    ROW_DAMAGED_TEXT = "row.damaged_text"  # column
    ROW_MISREAD_TEXT = "row.misread_text"  # column, value, meant (warning)
    ROW_NOTHING = "row.nothing"  # (warning)
    CELL_BROKEN = "cell.broken"  # column, value
    CELL_MISSING = "cell.missing"  # column
    CELL_TRUTH_VALUE = "cell.truth_value"  # column, value

    # Keys.
    SKU_MISSING = "sku.missing"
    SKU_DUPLICATE = "sku.duplicate"  # row
    SKU_DATE = "sku.date"  # value
    SKU_NUMBER_FORMAT = "sku.number_format"  # value
    SKU_TOO_LONG = "sku.too_long"  # length, length_max
    BARCODE_DATE = "barcode.date"  # value
    BARCODE_NUMBER_FORMAT = "barcode.number_format"  # value
    BARCODE_TOO_LONG = "barcode.too_long"  # length, length_max
    BARCODE_ZEROS_LOST = "barcode.zeros_lost"  # value, restored
    BARCODE_ZEROS_DOUBTFUL = "barcode.zeros_doubtful"  # value, restored (warning)
    BARCODE_CHECK_DIGIT = "barcode.check_digit"  # value (warning)
    BARCODE_OF_PRODUCT = "barcode.of_product"  # value (warning)
    BARCODE_DUPLICATE = "barcode.duplicate"  # value, row, sku

    # Words.
    TITLE_MISSING = "title.missing"
    TITLE_ONLY_HTML = "title.only_html"  # value
    TITLE_HTML_REMOVED = "title.html_removed"  # value (warning)
    PRODUCT_CONFLICT = "product.conflict"  # column, value, kept (warning)
    PRODUCT_DIGITAL = "product.digital"  # (warning)
    PRODUCT_DISABLED = "product.disabled"
    PRODUCT_GROUPED = "product.grouped"  # members (warning)
    PRODUCT_KIND = "product.kind"  # kind
    PRODUCT_NO_VARIANTS = "product.no_variants"
    VARIANT_NO_PARENT = "variant.no_parent"  # parent
    VARIANT_SAME_ATTRIBUTES = "variant.same_attributes"  # other, attributes (warning)
    ORIGIN_UNREADABLE = "origin.unreadable"  # value (warning)

    # Numbers and money.
    NUMBER_UNREADABLE = "number.unreadable"  # column, value
    NUMBER_UNDECIDED = "number.undecided"  # column, value
    NUMBER_OTHER_CONVENTION = "number.other_convention"  # column, value, separator
    NUMBER_NEGATIVE = "number.negative"  # column, value
    NUMBER_NOT_WHOLE = "number.not_whole"  # column, value
    NUMBER_TOO_LARGE = "number.too_large"  # column, value, max
    PRICE_MISSING = "price.missing"
    PRICE_SPECIAL_DATES = "price.special_dates"  # value (warning)
    PRICE_STAYS = "price.stays"  # (warning)
    PRICE_ZERO = "price.zero"  # column
    PRICE_DIGITS = "price.digits"  # column, value, digits_max
    PRICE_SALE_ABOVE_LIST = "price.sale_above_list"  # sale_price, list_price
    CURRENCY_MIXED = "currency.mixed"  # currencies
    CURRENCY_UNKNOWN = "currency.unknown"  # value
    VAT_RATE_UNKNOWN = "vat.rate_unknown"  # value, allowed
    VAT_CLASS_UNCLEAR = "vat.class_unclear"  # tax_class_id, title (and problem)

    # Bundles.
    BUNDLE_UNREADABLE = "bundle.unreadable"  # value
    BUNDLE_OF_ITSELF = "bundle.of_itself"
    BUNDLE_NESTED = "bundle.nested"  # component
    BUNDLE_COMPONENT_UNKNOWN = "bundle.component_unknown"  # component
    BUNDLE_COMPONENT_REFUSED = "bundle.component_refused"  # component
    BUNDLE_QUANTITY_IGNORED = "bundle.quantity_ignored"  # quantity (warning)

    # Options and variants of a shop dump.
    MASTER_UNKNOWN = "master.unknown"  # master_id
    VARIANT_WITHOUT_OPTION = "variant.without_option"  # master_id
    VARIANT_OPTION_UNKNOWN = "variant.option_unknown"  # option
    OPTION_NOT_A_VARIANT = "option.not_a_variant"  # option, type (warning)
    OPTION_EMPTY = "option.empty"  # option
    OPTION_NAMELESS = "option.nameless"  # option
    OPTION_TWICE = "option.twice"  # option
    OPTION_TOO_MANY = "option.too_many"  # count, count_max
    OPTION_PREFIX_UNKNOWN = "option.prefix_unknown"  # option, prefix
    OPTION_TWO_FIXED_PRICES = "option.two_fixed_prices"  # options
    STOCK_UNKNOWN_BY_COMBINATION = "stock.unknown_by_combination"  # quantity (warning)
    STOCK_OPTIONS_EXCEED_PRODUCT = "stock.options_exceed_product"  # options, product (warning)
    STOCK_NEGATIVE = "stock.negative"  # quantity (warning)
    STOCK_SHARED = "stock.shared"  # (warning)
    AVAILABILITY_UNKNOWN = "availability.unknown"  # value (warning)
    MEASURE_UNIT_UNKNOWN = "measure.unit_unknown"  # column, value (warning)
    MEASURE_CLASS_UNKNOWN = "measure.class_unknown"  # column, value (warning)


class VatProblem(StrEnum):
    """Why the VAT rate of a tax class cannot be told from the dump alone.

    Its text in ``messages.toml`` is ``vat.problem.`` and the value.
    """

    NO_CLASS = "no_class"
    """Products name a tax class that the dump does not hold, or none at all (0)."""
    NO_RATE = "no_rate"
    FIXED_AMOUNT = "fixed_amount"
    """A rate of the class is a sum of money, not a percentage."""
    SEVERAL_RATES = "several_rates"
