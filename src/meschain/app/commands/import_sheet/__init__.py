"""Import daily sheets: counted stock and prices of SKUs that the catalog holds.

Only the columns present are changed; an empty cell leaves its field as it is. A row that cannot be
used blocks no other, and the same sheet twice changes nothing. Reference: docs/reference/sheets.md.
"""

from meschain.app.commands.import_sheet.price import import_prices
from meschain.app.commands.import_sheet.refusal import SheetReason, SheetRefusal
from meschain.app.commands.import_sheet.run import SheetRun
from meschain.app.commands.import_sheet.stock import LevelChange, StockPlan, import_stock

__all__ = [
    "LevelChange",
    "SheetReason",
    "SheetRefusal",
    "SheetRun",
    "StockPlan",
    "import_prices",
    "import_stock",
]
