"""Our CSV: its columns, rows, and how it is read. Reference: docs/reference/catalog-csv.md."""
