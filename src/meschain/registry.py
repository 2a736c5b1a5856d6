"""Finds marketplaces: every folder with a manifest. There is no list to edit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from meschain.channel.capability import Manifest, load_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meschain.channel.clock import Clock
    from meschain.channel.contract import Account, Channel
    from meschain.channel.http import Transport
    from meschain.sandbox.facade import Facade
    from meschain.sandbox.world import World


class UnknownMarketplace(KeyError):
    """No folder of that name carries a manifest."""


class _Connect(Protocol):
    def __call__(self, account: Account, transport: Transport, clock: Clock) -> Channel: ...


@dataclass(frozen=True, slots=True)
class Marketplace:
    """One marketplace folder."""

    name: str
    manifest: Manifest

    def connect(self, account: Account, transport: Transport, clock: Clock) -> Channel:
        """The channel of one account."""
        module = import_module(f"meschain.marketplaces.{self.name}.channel")
        return cast("_Connect", module.connect)(account, transport, clock)

    def facade_factory(self) -> Callable[[World, Mapping[str, str]], Facade]:
        """The sandbox's face of this marketplace."""
        module = import_module(f"meschain.marketplaces.{self.name}.facade")
        return cast("Callable[[World, Mapping[str, str]], Facade]", module.create_facade)


def order_maps() -> Mapping[str, Path]:
    """Column maps of the order sheets that sellers download, by the marketplace's name."""
    root = Path(str(resources.files("meschain.marketplaces")))
    return {path.parent.name: path for path in sorted(root.glob("*/orders.toml"))}


@cache
def marketplaces() -> Mapping[str, Marketplace]:
    """All marketplaces by name."""
    found: dict[str, Marketplace] = {}
    root = Path(str(resources.files("meschain.marketplaces")))
    for path in sorted(root.glob("*/manifest.toml")):
        found[path.parent.name] = Marketplace(path.parent.name, load_manifest(path))
    return found


def marketplace(name: str) -> Marketplace:
    """The marketplace of that name. Raises UnknownMarketplace."""
    try:
        return marketplaces()[name]
    except KeyError as missing:
        raise UnknownMarketplace(name) from missing
