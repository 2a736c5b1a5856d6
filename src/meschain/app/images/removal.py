"""Images out: of a product, and contents that nobody has any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import psycopg

from meschain.app.images.take_in import owner_of
from meschain.store.sql import query

if TYPE_CHECKING:
    from meschain.app.images.store import ImageStore
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database


class CodeUnknown(LookupError):
    """No SKU, barcode or model code of the merchant's."""


async def remove_files(
    database: Database, clock: Clock, merchant_id: int, code: str, place: int | None, *, actor: str
) -> int:
    """Take away the images of one code that came as files; returns how many.

    Addresses are the catalog's: they leave with the file that states them. Raises: CodeUnknown,
    ImageRefused.
    """
    owner = await owner_of(database, merchant_id, code)
    if owner is None:
        raise CodeUnknown(code)
    key: dict[str, object] = {"merchant": merchant_id}
    whose = {"product": owner.product_id, "variant": owner.variant_id, "place": place}
    async with database.merchant(merchant_id) as unit:
        gone = len(await unit.rows("image.drop_files", key | whose))
        facts = msgspec.json.encode({"code": owner.code, "place": place, "images": gone}).decode()
        said = {"now": clock.now(), "actor": actor, "action": "image.remove", "facts": facts}
        await unit.run("catalog.add_audit", key | said)
    return gone


async def prune_images(url: str, store: ImageStore) -> tuple[int, int]:
    """Delete contents that no merchant has any more: how many, and their bytes.

    ``url`` is the owner's, who sees the rows of all merchants. Waits until nobody puts any in.
    """
    async with (
        store.alone(),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        rows = await (await connection.execute(query("image.used"))).fetchall()
        return store.prune({row[0] for row in rows})
