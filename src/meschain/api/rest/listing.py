from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from meschain.api.parts import Caller, Parts
from meschain.api.rest.paging import Cursor, Limit
from meschain.app.queries.listings import ListingRow, read_listings, read_recent_listings
from meschain.app.queries.paging import PAGE_DEFAULT, PAGE_MAX, Page


@get("/listings", summary="The listing matrix: SKU × account", tags=["listings"])
async def list_listings(
    parts: NamedDependency[Parts],
    caller: NamedDependency[Caller],
    *,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
    sku: Annotated[
        list[str] | None,
        QueryParameter(max_items=PAGE_MAX, description="Only these SKUs; repeatable."),
    ] = None,
    search: Annotated[
        str | None,
        QueryParameter(max_length=100, description="Begin of SKU or barcode, or a name."),
    ] = None,
    recent: Annotated[
        bool, QueryParameter(description="The SKUs whose stock moved last; one page.")
    ] = False,
) -> Page[ListingRow]:
    """By SKU, or the latest movements first with `recent`."""
    if recent:
        return await read_recent_listings(parts.database, caller.merchant_id, limit=limit)
    return await read_listings(
        parts.database, caller.merchant_id, limit=limit, cursor=cursor, skus=sku, search=search
    )
