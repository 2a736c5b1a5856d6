"""Pushes of price and stock, and what became of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from meschain.channel.contract import OfferPush
from meschain.channel.outcome import Done, ItemOutcome, Refused
from meschain.marketplaces.trendyol import wire
from meschain.marketplaces.trendyol.mapping.listing import price, stored_barcode
from meschain.marketplaces.trendyol.mapping.reply import text

_CONTENT_UPDATE: Final = "ApprovedProductContentUpdate"
_VARIANT_UPDATE: Final = "ApprovedProductVariantUpdate"


def offer_item(push: OfferPush) -> wire.OfferItem:
    """Only the fields pushed. Both prices or none: one alone could cross the other's old value."""
    assert (push.list_price is None) == (push.sale_price is None), "prices go as a pair"
    return wire.OfferItem(
        barcode=stored_barcode(push.key),
        quantity=push.quantity,
        sale_price=None if push.sale_price is None else price(push.sale_price),
        list_price=None if push.list_price is None else price(push.list_price),
    )


def is_open(batch: wire.Batch) -> bool:
    """Whether they are still at work.

    An inventory batch has no status of its own and is judged by its items. Any other status than
    COMPLETED means waiting: an unknown id is answered with PROCESSING for ever, and the engine's
    limit on stuck tickets ends that. Source: sheet 5.
    """
    items = batch.items or []
    if batch.status is None and len(items) < max(1, batch.item_count or 0):
        return True
    if batch.status not in {None, "COMPLETED"}:
        return True
    return any(_item_outcome(item) is None for item in items)


def item_outcomes(batch: wire.Batch) -> dict[str, ItemOutcome]:
    """The decided items by the identifier they were sent under: barcode, or content id."""
    decided: dict[str, ItemOutcome] = {}
    for item in batch.items or ():
        key, outcome = _item_key(item), _item_outcome(item)
        if key and outcome is not None:
            decided[key] = _worse(decided.get(key, outcome), outcome)
    return decided


def outcomes_of_update(
    batches: Sequence[wire.Batch], content_ids: Mapping[str, str]
) -> dict[str, ItemOutcome]:
    """The ended batches of one content update as one outcome a barcode.

    An approved listing was sent twice, as variant by its barcode and as content by the content id,
    and is Done when both are. ``content_ids`` names the content of a barcode; a barcode whose
    content is named nowhere stays unnamed, hence Unknown.
    """
    merged: dict[str, ItemOutcome] = {}
    contents: dict[str, ItemOutcome] = {}
    for batch in batches:
        if batch.batch_request_type == _CONTENT_UPDATE:
            contents |= item_outcomes(batch)
    for batch in batches:
        if batch.batch_request_type == _CONTENT_UPDATE:
            continue
        for barcode, outcome in item_outcomes(batch).items():
            if batch.batch_request_type != _VARIANT_UPDATE:
                merged[barcode] = outcome
            elif (of_content := contents.get(content_ids.get(barcode, ""))) is not None:
                merged[barcode] = _worse(outcome, of_content)
    return merged


def variant_barcodes(batches: Iterable[wire.Batch]) -> list[str]:
    """Barcodes whose content has to be looked up before ``outcomes_of_update``."""
    return [
        barcode
        for batch in batches
        if batch.batch_request_type == _VARIANT_UPDATE
        for barcode in item_outcomes(batch)
    ]


def _worse(one: ItemOutcome, other: ItemOutcome) -> ItemOutcome:
    return other if isinstance(one, Done) else one


def _item_key(item: wire.BatchItem) -> str:
    request = item.request_item or wire.RequestItem()
    update = request.update_request or wire.UpdateRequest()
    return text(request.barcode) or text(update.barcode) or text(update.content_id)


def _item_outcome(item: wire.BatchItem) -> ItemOutcome | None:
    if item.status == "SUCCESS":
        return Done()
    if item.status == "FAILED":
        # Free text in two languages and without a catalog: kept as it is, never interpreted.
        return Refused("", "\n".join(text(reason) for reason in item.failure_reasons or ()))
    return None
