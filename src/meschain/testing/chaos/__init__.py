"""Kill -9 at random moments, in real processes, and a recount: nothing lost, nothing doubled.

``python -m meschain.testing.chaos --rounds 20``. The seed decides which process dies and when, and
what buyers do; the machine decides the rest, which is the point.
"""
