"""Images as their merchant sees them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from meschain.app.queries.paging import Page, cursor_of, position_of
from meschain.domain.image import original_name

if TYPE_CHECKING:
    from meschain.app.images.store import ImageStore
    from meschain.store.unit_of_work import Database


class ImageView(msgspec.Struct, frozen=True, kw_only=True):
    """An image of a product (``sku`` empty) or of one variant.

    ``state``: ``kept``; ``lost`` (its content is no longer in the data folder); ``unknown`` (its
    address was never tried); ``failed`` (``problem`` and ``problem_params`` say why; where ``name``
    is there, what the address gave before is still kept). ``name``: under which it is served.
    """

    model_code: str
    sku: str
    place: int
    source_url: str
    file_name: str
    state: str
    name: str | None
    media_type: str | None
    width_px: int | None
    height_px: int | None
    content_bytes: int | None
    looked_at: datetime | None
    problem: str | None
    problem_params: Mapping[str, str]


async def read_images(
    database: Database,
    store: ImageStore,
    merchant_id: int,
    *,
    limit: int,
    cursor: str | None = None,
    code: str | None = None,
    is_troubled: bool = False,
) -> Page[ImageView]:
    """``code``: of one SKU, barcode or model code. ``is_troubled``: only what is not kept.

    Raises: CursorInvalid.
    """
    after = position_of(cursor, tuple[int, str])[0] if cursor else 0
    params = {
        "merchant": merchant_id,
        "after": after,
        "code": code,
        "problems": is_troubled,
        "limit": limit,
    }
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows("image.list", params)
    items = [_view(store, *row[1:]) for row in rows]
    return Page(items, cursor_of((rows[-1][0], "")) if len(rows) == limit else None)


def _view(
    store: ImageStore,
    model_code: str,
    sku: str,
    place: int,
    source_url: str,
    file_name: str,
    content_hash: str | None,
    media_type: str | None,
    width_px: int | None,
    height_px: int | None,
    content_bytes: int | None,
    looked_at: datetime | None,
    problem: Mapping[str, object] | None,
) -> ImageView:
    name = original_name(content_hash, media_type) if content_hash and media_type else None
    if problem is not None:
        state = "failed"
    elif name is None:
        state = "unknown"
    else:
        state = "kept" if store.has(name) else "lost"
    return ImageView(
        model_code=model_code,
        sku=sku,
        place=place,
        source_url=source_url,
        file_name=file_name,
        state=state,
        name=name,
        media_type=media_type,
        width_px=width_px,
        height_px=height_px,
        content_bytes=content_bytes,
        looked_at=looked_at,
        problem=str(problem["key"]) if problem else None,
        problem_params=msgspec.convert(problem["params"], dict[str, str]) if problem else {},
    )
