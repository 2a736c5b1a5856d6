"""Delete a merchant: whoever serves it lets go, then every row of it is erased, provably."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meschain.app.commands.add_merchant import DELETING
from meschain.app.images.removal import prune_images
from meschain.channel.clock import microseconds
from meschain.store.erasure import erase, rows_left
from meschain.sync.ownership import LEASE_S

if TYPE_CHECKING:
    from meschain.app.images.store import ImageStore
    from meschain.channel.clock import Clock
    from meschain.store.erasure import Progress
    from meschain.store.unit_of_work import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TableErased:
    """Rows that were erased of a table, and those counted there afterwards, by the owner."""

    table: str
    erased: int
    left: int


def half_deleted(name: str) -> str:
    """What a merchant is called from the first row that is erased to the last."""
    return name + DELETING


async def delete_merchant(
    url: str,
    database: Database,
    clock: Clock,
    merchant_id: int,
    name: str,
    *,
    images: ImageStore,
    on_progress: Progress,
) -> list[TableErased]:
    """Erase the merchant and prove it, table by table.

    Its accounts are taken from the processes that serve them: these let go within two seconds, and
    rows are erased when the last lease has ended, eight seconds later at most. After a kill what is
    left lies under ``half_deleted(name)``; doing it again ends it. Images that
    nobody else has go too. Raises StillWritten.
    """
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        await unit.run("archive.rename_merchant", key | {"name": half_deleted(name)})
        await unit.run("erasure.close_accounts", key)
        leases = await unit.rows("erasure.end_leases", key)
    ends_us = max((until_us for (until_us,) in leases), default=0)
    served_s = (ends_us - microseconds(clock.now())) / 1_000_000
    if served_s > 0:
        await clock.sleep(min(served_s, LEASE_S))
    gone = await erase(database, merchant_id, on_progress)
    gone["ownership"] += len(leases)
    left = await rows_left(url, merchant_id)
    await prune_images(url, images)
    log.info("merchant was erased", extra={"merchant": merchant_id, "rows": sum(gone.values())})
    return [TableErased(table, gone[table], left[table]) for table in sorted(left)]
