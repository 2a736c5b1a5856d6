"""What N11 keeps of a product beyond the world's shelf, and the states it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meschain.sandbox.world import Shelf, ShelfState

_FACTS_KEY: Final = "listing"
_STATUS: Final = {
    ShelfState.PENDING: "InCatalogApproval",
    ShelfState.ON_SALE: "Active",
    ShelfState.REJECTED: "CatalogRejected",
    ShelfState.ARCHIVED: "Suspended",
}
PRODUCT_STATUSES: Final = frozenset(
    {
        "Active",
        "InCatalogApproval",
        "Suspended",
        "CatalogRejected",
        "Prohibited",
        "Unlisted",
        "InApproval",
    }
)
SALE_STATUSES: Final = frozenset({"Before_Sale", "On_Sale", "Out_Of_Stock", "Sale_Closed"})


@dataclass(frozen=True, slots=True)
class ListedAttribute:
    """One attribute with the value that was chosen or written."""

    attribute_id: int
    name: str
    value: str
    is_option: bool  # tells variants apart: isVariant or isSlicer


@dataclass(slots=True)
class Listing:
    """N11's own fields of one product."""

    category_id: int = 0
    description: str = ""
    currency: str = "TL"
    # (list, sale) in ``currency`` when that is not TL; the shelf holds N11's conversion
    foreign_minor: tuple[int, int] | None = None
    product_main_id: str | None = None
    preparing_day: int = 1
    shipment_template: str = ""
    purchase_quantity_max: int | None = None
    catalog_id: int | None = None
    awaits_seller: bool = False  # opened on a catalog page: waits for the seller's confirmation
    attributes: tuple[ListedAttribute, ...] = ()
    image_urls: tuple[str, ...] = ()


def listing_of(shelf: Shelf) -> Listing:
    """The listing behind a shelf; one that the world made by itself gets an empty listing."""
    known = shelf.facts.get(_FACTS_KEY)
    if isinstance(known, Listing):
        return known
    made = Listing()
    attach(shelf, made)
    return made


def attach(shelf: Shelf, listing: Listing) -> None:
    """Keep ``listing`` with its shelf."""
    shelf.facts[_FACTS_KEY] = listing


def product_status(shelf: Shelf) -> str:
    """``productStatus``: 3.5."""
    if shelf.state is ShelfState.PENDING and listing_of(shelf).awaits_seller:
        return "InApproval"
    return _STATUS[shelf.state]


def sale_status(shelf: Shelf) -> str:
    """``saleStatus``: what buyers can do. Which status goes with which is our reading."""
    if shelf.state is ShelfState.PENDING:
        return "Before_Sale"
    if shelf.state is not ShelfState.ON_SALE:
        return "Sale_Closed"
    return "On_Sale" if shelf.quantity > 0 else "Out_Of_Stock"


def product_id(shelf: Shelf) -> int:
    """``n11ProductId``: ten digits since they widened."""
    return 1_000_000_000 + shelf.number
