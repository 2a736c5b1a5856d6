from litestar import get
from litestar.di import NamedDependency

from meschain.api.parts import Caller, Parts
from meschain.api.rest.paging import Cursor, Limit
from meschain.app.queries.paging import PAGE_DEFAULT, Page
from meschain.app.queries.problems import ProblemView, read_problems


@get("/problems", summary="What needs somebody, newest first", tags=["problems"])
async def list_problems(
    parts: NamedDependency[Parts],
    caller: NamedDependency[Caller],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Page[ProblemView]:
    """`message` and `advice` are keys of `/messages`; `words` are the marketplace's own."""
    return await read_problems(parts.database, caller.merchant_id, limit=limit, cursor=cursor)
