"""How slowly the slow sweep reads: a small part of every quota, and done within its interval."""

from __future__ import annotations

import pytest

from meschain.registry import marketplaces
from meschain.sync.sweep import SweepSettings, page_pause_s

SETTINGS = SweepSettings()
DAY_S = 86_400


@pytest.mark.parametrize("name", sorted(marketplaces()))
def test_pages_cost_no_read_quota_more_than_its_share(name: str) -> None:
    manifest = marketplaces()[name].manifest
    pause_s = page_pause_s(manifest, DAY_S, 1_000_000, SETTINGS)
    quotas = {quota.group: quota for quota in manifest.quotas}
    for operation in manifest.operations.values():
        if operation.surface is None and not operation.critical:
            for group in operation.quotas:
                quota = quotas[group]
                for tier, limit in quota.limit.items():
                    pages = quota.window_s / pause_s
                    assert pages <= limit * 0.05 + 1e-9, (group, tier)


@pytest.mark.parametrize("name", sorted(marketplaces()))
def test_a_hundred_thousand_listings_are_read_within_a_day(name: str) -> None:
    manifest = marketplaces()[name].manifest
    pages = 100_000 // manifest.catalog.page_size_max
    assert page_pause_s(manifest, DAY_S, pages, SETTINGS) * pages <= DAY_S


@pytest.mark.parametrize("name", sorted(marketplaces()))
def test_a_small_catalog_is_not_stretched_over_the_day(name: str) -> None:
    pause_s = page_pause_s(marketplaces()[name].manifest, DAY_S, 1, SETTINGS)
    assert pause_s == SETTINGS.page_pause_max_s
