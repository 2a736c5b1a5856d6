"""The sandbox's N11, written from the fact sheet and apart from the connector beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meschain.marketplaces.n11.facade.front import N11Facade, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.sandbox.world import World

__all__ = ["N11Facade", "create_facade", "serve"]


def create_facade(world: World, settings: Mapping[str, str]) -> N11Facade:
    """The façade in front of ``world``; README.md lists the settings."""
    return N11Facade(world, settings)
