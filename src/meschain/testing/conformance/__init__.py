"""What every marketplace folder must pass: its connector against its own façade, over real HTTP.

A folder's ``tests/test_conformance.py`` inherits ``Conformance`` and gives a ``Profile``; what the
manifest declares as lacking is then held to be lacking, everything else to work. Connector and
façade are separate readings of one contract, so what disagrees shows up here.
"""

from meschain.testing.conformance.fault import FaultConformance
from meschain.testing.conformance.listing import ListingConformance
from meschain.testing.conformance.offer import OfferConformance
from meschain.testing.conformance.order import OrderConformance
from meschain.testing.conformance.package import PackageConformance
from meschain.testing.conformance.reading import ReadingConformance
from meschain.testing.conformance.reference import ReferenceConformance
from meschain.testing.conformance.stage import Profile, Reading, Stage
from meschain.testing.conformance.webhook import WebhookConformance

__all__ = ["Conformance", "Profile", "Reading", "Stage"]


class Conformance(
    ReferenceConformance,
    ListingConformance,
    OfferConformance,
    FaultConformance,
    OrderConformance,
    PackageConformance,
    WebhookConformance,
    ReadingConformance,
):
    """All parts of the suite."""
