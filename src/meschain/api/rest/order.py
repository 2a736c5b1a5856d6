from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from meschain.api.parts import Caller, Parts
from meschain.api.rest.paging import Cursor, Limit
from meschain.app.queries.orders import OrderView, read_orders
from meschain.app.queries.paging import PAGE_DEFAULT, PAGE_MAX, Page


@get("/orders", summary="Orders, newest first", tags=["orders"])
async def list_orders(
    parts: NamedDependency[Parts],
    caller: NamedDependency[Caller],
    *,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
    account: Annotated[int | None, QueryParameter(ge=1, lt=2**31)] = None,
    order: Annotated[
        list[int] | None,
        QueryParameter(max_items=PAGE_MAX, description="Only these `order_id`s; repeatable."),
    ] = None,
) -> Page[OrderView]:
    """Without buyers' personal data, which stays sealed."""
    return await read_orders(
        parts.database,
        caller.merchant_id,
        limit=limit,
        cursor=cursor,
        account_id=account,
        order_ids=order,
    )
