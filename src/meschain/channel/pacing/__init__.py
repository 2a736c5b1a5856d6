"""Pacing: no marketplace ever sees more calls than its quotas allow, and the urgent go first.

A call *occupies* its quotas from the moment it is released until one window after it was
answered. The marketplace counts a call somewhere between those two instants, so whatever the
network does to single calls, no window of its clock – sliding or fixed – holds more than the
limit. The price is one round trip a window. A refilling bucket cannot promise this: it lets a
full burst and a full refill into the same window.

Within the limit, CRITICAL calls may burst. NORMAL and BULK share what is not kept for CRITICAL,
evenly spaced over the window after a small burst (the generic cell rate algorithm, ITU-T I.371),
so that a mass change is a stream and the budget never stands empty for a minute.
"""

from __future__ import annotations

from meschain.channel.pacing.budget import Ask, Lender, Lent, SharedBudget
from meschain.channel.pacing.pacer import UNLIMITED, Pacer, PacerState, Permit, QuotaUse

__all__ = [
    "UNLIMITED",
    "Ask",
    "Lender",
    "Lent",
    "Pacer",
    "PacerState",
    "Permit",
    "QuotaUse",
    "SharedBudget",
]
