"""What the façade keeps for one seller, and what all its parts share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meschain.marketplaces.n11.facade.agenda import Agenda
    from meschain.marketplaces.n11.facade.packages import Packages
    from meschain.marketplaces.n11.facade.settings import Settings
    from meschain.marketplaces.n11.facade.task import Task
    from meschain.marketplaces.n11.facade.taxonomy import Taxonomy
    from meschain.sandbox.world import OrderChanged, Shop, World


@dataclass(slots=True)
class ShopBook:
    """One seller's account."""

    shop: Shop
    appkey: str
    appsecret: str
    packages: Packages
    tasks_in_progress: dict[tuple[str, bytes], Task] = field(default_factory=dict)
    group_ids: dict[str, int] = field(default_factory=dict)

    def group_id(self, product_main_id: str) -> int:
        """``groupId`` of a variant group."""
        return self.group_ids.setdefault(product_main_id, 500_000 + len(self.group_ids))


@dataclass(slots=True)
class Market:
    """The world, the rules of this run, and the books of all sellers."""

    world: World
    settings: Settings
    taxonomy: Taxonomy
    agenda: Agenda
    books: dict[str, ShopBook] = field(default_factory=dict)  # by appkey
    counts: Counter[str] = field(default_factory=Counter)
    _by_shop: dict[int, ShopBook] = field(default_factory=dict)

    def add(self, book: ShopBook) -> None:
        """Let a seller in."""
        self.books[book.appkey] = book
        self._by_shop[id(book.shop)] = book

    def parcel_changed(self, change: OrderChanged) -> None:
        """The world tells of every marketplace's parcels; ours go into their shop's book."""
        book = self._by_shop.get(id(change.order.shop))
        if book is not None:
            book.packages.note(change.parcel)
