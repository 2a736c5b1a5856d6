"""The VAT of a shop's tax classes: told by the dump, answered by the operator, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from meschain.domain.money import Money, Rounding, gross_from_net
from meschain.exchange.fault import Fault
from meschain.exchange.opencart.table import Tables
from meschain.exchange.reason import Reason, VatProblem
from meschain.exchange.record import VatPreview

_EXAMPLE_NET: Final = Decimal("100.00")


@dataclass(frozen=True, slots=True)
class TaxClass:
    """``percent`` None means undecided; ``problem`` is what the dump leaves open."""

    tax_class_id: int
    title: str
    percent: Decimal | None
    problem: VatProblem | None


@dataclass(frozen=True, slots=True)
class Vat:
    """Net to gross for one shop."""

    currency: str
    allowed: frozenset[Decimal]
    answers: Mapping[int, Decimal]
    classes: Mapping[int, TaxClass]

    def of_class(self, tax_class_id: int) -> TaxClass:
        known = self.classes.get(tax_class_id)
        if known is not None:
            return known
        answer = self.answers.get(tax_class_id)
        return TaxClass(tax_class_id, "", answer, VatProblem.NO_CLASS)

    def percent(self, tax_class_id: int) -> Decimal:
        """VAT in percent. Raises: Fault where it is undecided or none that marketplaces take."""
        tax_class = self.of_class(tax_class_id)
        if tax_class.percent is None:
            assert tax_class.problem is not None
            raise Fault(
                Reason.VAT_CLASS_UNCLEAR,
                tax_class_id=str(tax_class_id),
                title=tax_class.title,
                problem=tax_class.problem.value,
            )
        for percent in self.allowed:
            if percent == tax_class.percent:
                return percent
        allowed = ", ".join(str(percent) for percent in sorted(self.allowed))
        raise Fault(Reason.VAT_RATE_UNKNOWN, value=f"{tax_class.percent:f}", allowed=allowed)

    def gross(self, net: Decimal, percent: Decimal) -> Money:
        """Commercial rounding, once, to the minor unit."""
        return gross_from_net(net, percent, self.currency, rounding=Rounding.HALF_UP)

    def preview(
        self, tax_class_id: int, *, product_count: int, example_sku: str, example_net: Decimal
    ) -> VatPreview:
        tax_class = self.of_class(tax_class_id)
        percent = tax_class.percent
        return VatPreview(
            tax_class_id=tax_class_id,
            title=tax_class.title,
            percent=percent,
            problem=tax_class.problem,
            net=_EXAMPLE_NET,
            gross=None if percent is None else self.gross(_EXAMPLE_NET, percent),
            product_count=product_count,
            example_sku=example_sku,
            example_net=example_net,
            example_gross=None if percent is None else self.gross(example_net, percent),
        )


def read_vat(
    tables: Tables, *, currency: str, allowed: frozenset[Decimal], answers: Mapping[int, Decimal]
) -> Vat:
    """A class is clear when its rules name exactly one rate and that is a percentage.

    Rates of type F are sums of money. Several rates may add up or belong to different zones;
    which of them a marketplace sale would bear the dump cannot tell.
    Source: OpenCart 4, ``system/library/cart/tax.php`` (getRates).
    """
    rates = tables.by_key("tax_rate", "tax_rate_id")
    rules = tables.grouped("tax_rule", "tax_class_id")
    classes: dict[int, TaxClass] = {}
    for class_id, row in tables.by_key("tax_class", "tax_class_id").items():
        named = {rule.whole("tax_rate_id") for rule in rules.get(class_id, ())}
        of_class = [rates[rate_id] for rate_id in sorted(named) if rate_id in rates]
        percent: Decimal | None = None
        problem: VatProblem | None = None
        if not of_class:
            problem = VatProblem.NO_RATE
        elif any(rate.text("type").upper() != "P" for rate in of_class):
            problem = VatProblem.FIXED_AMOUNT
        elif len(of_class) > 1:
            problem = VatProblem.SEVERAL_RATES
        else:
            percent = of_class[0].decimal("rate")
            problem = VatProblem.NO_RATE if percent is None else None
        classes[class_id] = TaxClass(
            class_id, row.text("title"), answers.get(class_id, percent), problem
        )
    return Vat(currency, allowed, answers, classes)
