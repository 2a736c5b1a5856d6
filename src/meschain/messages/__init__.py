"""What people read, by language: catalogs of texts, and numbers, money and times in them."""

from __future__ import annotations

from meschain.messages.catalog import (
    Amount,
    Catalog,
    MessageMissing,
    Param,
    language_of_environment,
)
from meschain.messages.source import LANGUAGES

__all__ = [
    "LANGUAGES",
    "Amount",
    "Catalog",
    "MessageMissing",
    "Param",
    "language_of_environment",
]
