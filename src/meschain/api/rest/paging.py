"""Parameters that every list takes."""

from typing import Annotated

from litestar.params import QueryParameter

from meschain.app.queries.paging import PAGE_MAX

Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX, description="Rows of a page.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=500, description="`next_cursor` of the page before.")
]
