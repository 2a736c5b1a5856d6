"""Trendyol's seller API in front of the simulated world, written from the fact sheet alone."""

from __future__ import annotations

from collections.abc import Mapping

from meschain.marketplaces.trendyol.facade.loopback import serve_on_loopback
from meschain.marketplaces.trendyol.facade.market import TrendyolFacade
from meschain.marketplaces.trendyol.facade.settings import UnknownSetting, parse_settings
from meschain.sandbox.facade import Facade
from meschain.sandbox.world import World

__all__ = ["TrendyolFacade", "UnknownSetting", "create_facade", "serve_on_loopback"]


def create_facade(world: World, settings: Mapping[str, str]) -> Facade:
    """The façade. Raises UnknownSetting for a name or a value that README.md does not list."""
    return TrendyolFacade(world, parse_settings(settings))
