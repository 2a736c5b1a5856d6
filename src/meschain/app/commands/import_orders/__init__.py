"""Import past orders: history for reports and forecasts, and nothing else.

They are kept in tables of their own (``past_order``): no reservation, ledger movement, alert, lane
or listing ever sees them, and no check of live orders has to leave them out.
"""

from meschain.app.commands.import_orders.line import HistoryReason, PastLine
from meschain.app.commands.import_orders.walk import HistoryPlan, HistorySum, import_orders

__all__ = ["HistoryPlan", "HistoryReason", "HistorySum", "PastLine", "import_orders"]
