"""Link what an account already shows to what we have, and say what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from meschain.cli.failure import Failure
from meschain.cli.speaking import opened_account, outcome_words
from meschain.sync.listing.link import link_listings
from meschain.sync.listing.storefront import Storefront

if TYPE_CHECKING:
    from meschain.app.queries.accounts import AccountRow
    from meschain.cli.output import Output
    from meschain.cli.session import Desk
    from meschain.sync.account import ServedAccount
    from meschain.sync.listing.link import LinkConflict


class LinkedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What linking came to. ``theirs_only``: shown there, unknown here; ``ours_only``: not there.

    ``vanished``: linked before, and no longer shown.
    """

    swept: int
    linked: int
    known: int
    moved: int
    conflicts: int
    theirs_only: int
    ours_only: int
    vanished: int


@dataclass(frozen=True, slots=True)
class Linked:
    """Counts, and what needs the merchant's eye."""

    counts: LinkedCounts
    conflicts: list[LinkConflict]
    theirs_only: list[str]

    def say(self, out: Output) -> None:
        """The counts in lines."""
        values = msgspec.structs.asdict(self.counts)
        out.pairs({f"linked.{name}": out.number(values[name]) for name in values})


def storefront_of(desk: Desk, account: AccountRow, served: ServedAccount) -> Storefront:
    """The account as publishing and linking see it."""
    return Storefront(
        database=desk.hub.database,
        channel=served.channel,
        clock=desk.hub.clock,
        merchant_id=desk.merchant_id,
        account_id=account.account_id,
        settings=account.settings,
        images_url=desk.session.settings.public_url,
    )


async def link_account(desk: Desk, account: AccountRow) -> Linked:
    """Sweep the account and link it. Raises Failure."""
    served = await opened_account(desk, account)
    desk.out.note("cli.linking.sweeping", name=account.name)
    report = await link_listings(storefront_of(desk, account, served))
    if report.problem is not None:
        raise Failure(
            "linking_stopped",
            name=account.name,
            words=outcome_words(report.problem, desk.words),
        )
    matching = report.matching
    counts = LinkedCounts(
        swept=report.swept,
        linked=len(matching.links),
        known=len(matching.known),
        moved=len(matching.moved),
        conflicts=len(matching.conflicts),
        theirs_only=len(matching.theirs_only),
        ours_only=len(matching.ours_only),
        vanished=len(report.vanished),
    )
    keys = [offer.keys.stock_code or offer.keys.barcode for offer in matching.theirs_only]
    return Linked(counts, matching.conflicts, keys)
