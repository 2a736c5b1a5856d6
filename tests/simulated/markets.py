"""The marketplaces as tests meet them: the real folders, with the hub's own waits cut short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import Final

import pytest
from msgspec.structs import replace as with_fields

from meschain import registry
from meschain.registry import Marketplace, marketplaces
from meschain.testing.trade import hasty

AS_THEY_ARE: Final[Mapping[str, float]] = MappingProxyType({})


def hastened(
    monkeypatch: pytest.MonkeyPatch,
    *,
    offers: Mapping[str, float] = AS_THEY_ARE,
    orders: Mapping[str, float] = AS_THEY_ARE,
) -> Mapping[str, Marketplace]:
    """All of them; ``offers`` and ``orders`` are fields of those parts of the manifests."""
    quick: dict[str, Marketplace] = {}
    for name, market in marketplaces().items():
        manifest = hasty(market.manifest)
        manifest = with_fields(
            manifest,
            offers=with_fields(manifest.offers, **offers),
            orders=with_fields(manifest.orders, **orders),
        )
        quick[name] = replace(market, manifest=manifest)
        module = import_module(f"meschain.marketplaces.{name}.channel")
        if hasattr(module, "MANIFEST"):
            monkeypatch.setattr(module, "MANIFEST", manifest)
        else:
            monkeypatch.setattr(module, "_manifest", lambda manifest=manifest: manifest)
    monkeypatch.setattr(registry, "marketplaces", lambda: quick)
    return quick
