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
from meschain.channel.capability import Quota
from meschain.registry import Marketplace, marketplaces
from meschain.testing.trade import hasty

AS_THEY_ARE: Final[Mapping[str, float]] = MappingProxyType({})


def hastened(
    monkeypatch: pytest.MonkeyPatch,
    *,
    offers: Mapping[str, float] = AS_THEY_ARE,
    orders: Mapping[str, float] = AS_THEY_ARE,
    quotas_finer: int = 1,
) -> Mapping[str, Marketplace]:
    """All of them; ``offers`` and ``orders`` are fields of those parts of the manifests.

    ``quotas_finer``: the hub keeps its quotas in windows so many times shorter, each with as much
    less in it. That is stricter than the marketplace is, and what waits for a window waits less.
    """
    quick: dict[str, Marketplace] = {}
    for name, market in marketplaces().items():
        manifest = hasty(market.manifest)
        manifest = with_fields(
            manifest,
            offers=with_fields(manifest.offers, **offers),
            orders=with_fields(manifest.orders, **orders),
            quotas=tuple(_finer(quota, quotas_finer) for quota in manifest.quotas),
        )
        quick[name] = replace(market, manifest=manifest)
        module = import_module(f"meschain.marketplaces.{name}.channel")
        if hasattr(module, "MANIFEST"):
            monkeypatch.setattr(module, "MANIFEST", manifest)
        else:
            monkeypatch.setattr(module, "_manifest", lambda manifest=manifest: manifest)
    monkeypatch.setattr(registry, "marketplaces", lambda: quick)
    return quick


def _finer(quota: Quota, times: int) -> Quota:
    if min(quota.limit.values()) < times:
        return quota
    limit = {tier: most // times for tier, most in quota.limit.items()}
    return with_fields(quota, window_s=quota.window_s / times, limit=limit)
