"""The catalog as the marketplace keeps it: cards, their approval, the pages made of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Final

from meschain.marketplaces.trendyol.facade.edge import MARKETPLACE
from meschain.marketplaces.trendyol.facade.product_rule import Known
from meschain.marketplaces.trendyol.facade.seller import (
    APPROVED_STATES,
    Card,
    ChosenValue,
    Content,
    Seller,
)
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.taxonomy import Taxonomy
from meschain.marketplaces.trendyol.facade.timetable import Timetable
from meschain.sandbox.world import Shelf, ShelfState, World

_CONTENT_BASE: Final = 700_000_001
_VARIANT_BASE: Final = 900_000_000
_ADDRESS_BASE: Final = 1_000_000
_REJECT_REASONS: Final = (
    "Görsel ürünle uyumlu değil.",
    "Ürün başlığı kurallara uygun değil.",
    "Kategori seçimi hatalı.",
)


def variant_id(card: Card) -> int:
    return _VARIANT_BASE + card.shelf.number


def address_id(seller: Seller, position: int) -> int:
    """Ids of a shop's own addresses, in the order of the template list."""
    return _ADDRESS_BASE + seller.number * 10 + position


class Catalog:
    """Adds, approves and drops listings; every other module asks here for a card."""

    def __init__(
        self, world: World, settings: Settings, taxonomy: Taxonomy, timetable: Timetable
    ) -> None:
        self.world = world
        self.taxonomy = taxonomy
        self._settings = settings
        self._timetable = timetable
        self._random = random.Random(f"{MARKETPLACE}:approval:{world.seed}")  # noqa: S311
        self._content_ids = itertools.count(_CONTENT_BASE)  # in the order of approval

    def known(self, seller: Seller) -> Known:
        count = len(self.taxonomy.address_templates)
        return Known(self.taxonomy, {address_id(seller, at) for at in range(count)})

    def cards(self, seller: Seller) -> dict[str, Card]:
        """All cards by barcode, those of shelves that the sandbox itself put up included."""
        shelves, cards = seller.shop.shelves, seller.cards
        # New shelves come last, so a look at the last one and the count tells of any change.
        last = next(reversed(shelves), "")
        if len(cards) != len(shelves) or (last and not _stands(cards, shelves[last])):
            for card in [
                card for card in cards.values() if shelves.get(card.shelf.key) is not card.shelf
            ]:
                del cards[card.shelf.key]
                self._leave_content(seller, card)
            for shelf in shelves.values():
                if shelf.key not in cards:
                    self._adopt(seller, shelf)
        return cards

    def card(self, seller: Seller, barcode: str) -> Card | None:
        return self.cards(seller).get(barcode)

    def _adopt(self, seller: Seller, shelf: Shelf) -> None:
        """A shelf that came by no request of ours gets a plain card."""
        leaf = next(entry for entry in self.taxonomy.categories.values() if not entry.children)
        card = Card(
            shelf,
            product_main_id=shelf.stock_code or shelf.key,
            description=shelf.title,
            brand_id=next(iter(self.taxonomy.brands)),
            category_id=leaf.id,
            images=(f"https://cdn.example/{shelf.key}.jpg",),
            attributes=(),
        )
        seller.cards[shelf.key] = card
        if shelf.state in APPROVED_STATES:
            self._enter_content(seller, card)

    # — approval —
    def submit(self, seller: Seller, card: Card) -> None:
        """Wait for approval; a later submission makes an earlier verdict void."""
        card.review_number += 1
        number = card.review_number
        delay_s = self.world.clock.economy_s(self._settings.approval_s)
        self._timetable.after(delay_s, lambda: self._decide(seller, card, number))

    def _decide(self, seller: Seller, card: Card, number: int) -> None:
        shelf = card.shelf
        is_current = seller.shop.shelves.get(shelf.key) is shelf and card.review_number == number
        if not is_current or shelf.state is not ShelfState.PENDING:
            return
        if self._random.uniform(0, 100) < self._settings.reject_percent:
            reasons = (self._random.choice(_REJECT_REASONS),)
            self.world.set_state(seller.shop, shelf, ShelfState.REJECTED, reasons=reasons)
            return
        self._enter_content(seller, card)
        self.world.set_state(seller.shop, shelf, ShelfState.ON_SALE)

    def _enter_content(self, seller: Seller, card: Card) -> None:
        now = self.world.clock.now()
        card.approved_at = now
        slicers = self.values(card.category_id, card.attributes, slicer=True)
        key = (card.product_main_id, card.brand_id, card.category_id, frozenset(slicers))
        content = seller.content_of.get(key)
        if content is None:
            content = Content(
                next(self._content_ids),
                card.product_main_id,
                card.shelf.title,
                card.description,
                card.brand_id,
                card.category_id,
                card.images,
                self.values(card.category_id, card.attributes, varianter=False),
                created_at=now,
                modified_at=now,
            )
            seller.content_of[key] = content
            seller.contents[content.content_id] = content
        content.cards[card.shelf.key] = card
        card.content = content

    def values(
        self,
        category_id: int,
        values: Iterable[ChosenValue],
        *,
        slicer: bool | None = None,
        varianter: bool | None = None,
    ) -> tuple[ChosenValue, ...]:
        """Those values whose attribute has the asked flags in the category; None: either way."""
        rules = {rule.id: rule for rule in self.taxonomy.categories[category_id].attributes}
        return tuple(
            value
            for value in values
            if value.attribute_id in rules
            and slicer in {None, rules[value.attribute_id].slicer}
            and varianter in {None, rules[value.attribute_id].varianter}
        )

    # — removal —
    def remove(self, seller: Seller, card: Card) -> None:
        del seller.shop.shelves[card.shelf.key]
        del seller.cards[card.shelf.key]
        self._leave_content(seller, card)

    @staticmethod
    def _leave_content(seller: Seller, card: Card) -> None:
        content = card.content
        if content is None:
            return
        del content.cards[card.shelf.key]
        if not content.cards:
            del seller.contents[content.content_id]
            for key in [key for key, value in seller.content_of.items() if value is content]:
                del seller.content_of[key]


def _stands(cards: dict[str, Card], shelf: Shelf) -> bool:
    card = cards.get(shelf.key)
    return card is not None and card.shelf is shelf
