"""Listings: link what the channel has, publish what it lacks, follow both to the shelf."""

from meschain.sync.listing.advance import AdvanceReport, advance_publications
from meschain.sync.listing.content import Draft
from meschain.sync.listing.link import Conflict, LinkConflict, LinkReport, link_listings
from meschain.sync.listing.publish import (
    PublicationPlan,
    PublicationReport,
    plan_publication,
    publish_listings,
)
from meschain.sync.listing.storefront import ListingProblem, Storefront

__all__ = [
    "AdvanceReport",
    "Conflict",
    "Draft",
    "LinkConflict",
    "LinkReport",
    "ListingProblem",
    "PublicationPlan",
    "PublicationReport",
    "Storefront",
    "advance_publications",
    "link_listings",
    "plan_publication",
    "publish_listings",
]
