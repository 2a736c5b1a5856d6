"""MesChain-Sync: one hub for the catalog, stock, prices and orders of many marketplaces."""

__version__ = "0.1.0"
