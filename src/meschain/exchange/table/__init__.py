"""What is written in rows: delimited text, workbooks, XML items. Nothing here knows a column."""

from meschain.exchange.table.row import Table, TableForm, TableRow

__all__ = ["Table", "TableForm", "TableRow"]
