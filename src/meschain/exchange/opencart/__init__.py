"""OpenCart SQL dumps as drafts."""

from meschain.exchange.opencart.reader import read_dump

__all__ = ["read_dump"]
