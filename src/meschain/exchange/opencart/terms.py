"""What all forms of one page share, and each form as a variant draft."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from meschain.domain.catalog import VariantDraft
from meschain.domain.money import Money
from meschain.exchange.damage import check_sku
from meschain.exchange.fault import Fault
from meschain.exchange.number import WHOLE_MAX
from meschain.exchange.opencart.option import Choice, adjusted
from meschain.exchange.opencart.page import Form, Page
from meschain.exchange.opencart.shop import Shop, Special
from meschain.exchange.opencart.vat import Vat
from meschain.exchange.reason import Reason


@dataclass(frozen=True, slots=True)
class Terms:
    """One page's price, stock and measures. ``net`` and ``special`` are without VAT.

    ``own_attributes`` and ``image_urls`` are those of a variant page beside its master's.
    """

    shop: Shop
    vat: Vat
    page: Page
    net: Decimal
    vat_percent: Decimal
    special: Special | None
    barcode: str | None
    own_attributes: Mapping[str, str]
    image_urls: tuple[str, ...]
    length_mm: int | None
    width_mm: int | None
    height_mm: int | None

    def variants(self) -> Iterator[tuple[Form, VariantDraft | Fault]]:
        """Each form as a variant, or why it is none.

        A page whose base price is 0 may price all its options in full. Where one of them costs
        nothing even so, the base price is missing, and what the others cost is not their price.
        """
        made: list[tuple[Form, VariantDraft | Fault]] = []
        for form in self.page.forms:
            try:
                made.append((form, self._variant(form)))
            except Fault as fault:
                made.append((form, fault))
        free = next(
            (
                outcome
                for _, outcome in made
                if isinstance(outcome, Fault) and outcome.reason is Reason.PRICE_ZERO
            ),
            None,
        )
        for form, outcome in made:
            yield form, outcome if free is None or self.net else free

    def _variant(self, form: Form) -> VariantDraft:
        """Raises: Fault."""
        check_sku(form.sku)
        list_price, sale_price = self._prices(form.choices)
        return VariantDraft(
            sku=form.sku,
            barcode=self.barcode,
            attributes={
                **self.own_attributes,
                **{choice.option: choice.value for choice in form.choices},
            },
            list_price=list_price,
            sale_price=sale_price,
            quantity=self._quantity(form.choices),
            vat_percent=self.vat_percent,
            weight_g=self._weight_g(form.choices),
            length_mm=self.length_mm,
            width_mm=self.width_mm,
            height_mm=self.height_mm,
            image_urls=self.image_urls,
        )

    def _prices(self, choices: tuple[Choice, ...]) -> tuple[Money, Money]:
        """List and sale price, gross. Without an active special both are the base price.

        Option prices are net and come before VAT; the sum is rounded once. A special that replaces
        the base price takes the same options on top, as the shop's cart does.
        """
        list_net = adjusted(self.net, choices, lambda choice: choice.price)
        sale_net = list_net
        if self.special is not None:
            amount = self.special.amount
            match self.special.kind:
                case "P":
                    sale_net = list_net - list_net * amount / 100
                case "S":
                    sale_net = list_net - amount
                case _:
                    sale_net = adjusted(amount, choices, lambda choice: choice.price)
        for net in (list_net, sale_net):
            if net < 0:
                raise Fault(Reason.NUMBER_NEGATIVE, column="price", value=f"{net:f}")
        list_price = self.vat.gross(list_net, self.vat_percent)
        sale_price = self.vat.gross(sale_net, self.vat_percent)
        for price in (list_price, sale_price):
            if not price.minor:
                raise Fault(Reason.PRICE_ZERO, column="price")
        if list_price < sale_price:
            raise Fault(
                Reason.PRICE_SALE_ABOVE_LIST,
                sale_price=str(sale_price.amount),
                list_price=str(list_price.amount),
            )
        return list_price, sale_price

    def _quantity(self, choices: tuple[Choice, ...]) -> int | None:
        """Units of one variant, where the shop knows them.

        The shop counts per page and per option value, and sells while both have units. Where that
        tells a variant's units apart (no free option, or a single one that keeps stock) the lower
        count holds; nothing left on either is nothing left. Elsewhere several variants would each
        claim the same units, so the quantity is not stated.
        """
        counts = [self.page.row.whole("quantity")]
        counts += [choice.quantity for choice in choices if choice.quantity is not None]
        for count in counts:
            if count < 0:
                raise Fault(Reason.NUMBER_NEGATIVE, column="quantity", value=str(count))
            if count > WHOLE_MAX:
                raise Fault(
                    Reason.NUMBER_TOO_LARGE, column="quantity", value=str(count), max=str(WHOLE_MAX)
                )
        if not min(counts) or tells_units_apart(self.page):
            return min(counts)
        return None

    def _weight_g(self, choices: tuple[Choice, ...]) -> int | None:
        own = self.page.row.decimal("weight") or Decimal(0)
        weight = adjusted(own, choices, lambda choice: choice.weight)
        return self.shop.grams(self.page.row, weight)


def tells_units_apart(page: Page) -> bool:
    """Whether the shop's counts say how many units each of the page's variants has."""
    if not page.free:
        return True
    return len(page.free) == 1 and all(
        choice.quantity is not None for choice in page.free[0].choices
    )
