"""How the control interface shows orders, parcels and shelves: plain values, times in µs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meschain.sandbox.clock import epoch_us

if TYPE_CHECKING:
    from meschain.sandbox.world import Order, OrderLine, Parcel, Person, Shelf, Shop

View = dict[str, object]


def order_view(number: int, order: Order) -> View:
    """``number`` is the order's place in the world, from 1: what paging goes by."""
    return {
        "number": number,
        "order_number": order.number,
        "marketplace": order.shop.marketplace,
        "seller_id": order.shop.seller_id,
        "placed_at_us": epoch_us(order.placed_at),
        "currency": order.shop.currency,
        "micro_export": order.micro_export,
        "buyer": person_view(order.buyer),
        "lines": [line_view(line) for line in order.lines],
        "parcels": [parcel_view(parcel) for parcel in order.parcels],
    }


def line_view(line: OrderLine) -> View:
    """Prices are those of the moment of sale."""
    return {
        "line_id": line.line_id,
        "key": line.shelf.key,
        "barcode": line.shelf.barcode,
        "stock_code": line.shelf.stock_code,
        "units": line.units,
        "unit_list_minor": line.unit_list_minor,
        "unit_sale_minor": line.unit_sale_minor,
        "unit_seller_discounts_minor": line.unit_seller_discounts_minor,
        "unit_marketplace_discounts_minor": line.unit_marketplace_discounts_minor,
        "vat_percent": line.shelf.vat_percent,
        "commission_percent": line.commission_percent,
    }


def parcel_view(parcel: Parcel) -> View:
    """``units`` by line id; ``history`` as (µs, state)."""
    return {
        "parcel_number": parcel.number,
        "order_number": parcel.order.number,
        "state": parcel.state.value,
        "units": parcel.units,
        "cargo_code": parcel.cargo_code,
        "carrier": parcel.carrier,
        "tracking_number": parcel.tracking_number,
        "invoice_number": parcel.invoice_number,
        "created_by": parcel.created_by,
        "cancel_reason": parcel.cancel_reason,
        "origins": parcel.origins,
        "created_at_us": epoch_us(parcel.created_at),
        "modified_at_us": epoch_us(parcel.modified_at),
        "history": [(epoch_us(at), state.value) for at, state in parcel.history],
    }


def person_view(person: Person) -> View:
    """Enough to compare with what a seller was told."""
    return {
        "number": person.number,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "city": person.city,
        "district": person.district,
        "is_company": person.is_company,
        "tax_number": person.tax_number,
    }


def shelf_view(shop: Shop, shelf: Shelf) -> View:
    """One listing with what buyers did to it."""
    return {
        "number": shelf.number,
        "marketplace": shop.marketplace,
        "seller_id": shop.seller_id,
        "key": shelf.key,
        "barcode": shelf.barcode,
        "stock_code": shelf.stock_code,
        "title": shelf.title,
        "state": shelf.state.value,
        "quantity": shelf.quantity,
        "list_minor": shelf.list_minor,
        "sale_minor": shelf.sale_minor,
        "vat_percent": shelf.vat_percent,
        "reject_reasons": shelf.reject_reasons,
        "sales": shelf.sales,
        "units_sold": shelf.units_sold,
        "units_cancelled": shelf.units_cancelled,
        "refusals": shelf.refusals,
        "changed_at_us": epoch_us(shelf.changed_at) if shelf.changed_at else None,
    }
