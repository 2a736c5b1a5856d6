"""How long an answer is worth waiting for, learnt from how long answers take."""

from __future__ import annotations

from typing import Final

# Smoothing and the weight of the deviation are those of TCP's retransmission timer, RFC 6298, 2.
_SMOOTHING: Final = 1 / 8
_DEVIATION_SMOOTHING: Final = 1 / 4
_DEVIATIONS: Final = 4.0
PATIENCE_S_MIN: Final = 2.0
# What changes something may still be applied after it was given up, out of its turn: be slower.
WRITE_PATIENCE_S_MIN: Final = 5.0


class Patience:
    """The waiting limit of one operation whose caller asks again by itself.

    A channel that answers in 0.2 s and once hangs is asked again after 2 s, not after the
    manifest's time-out; a channel that is slow throughout is waited for, since each vain wait
    doubles the limit until an answer comes.
    """

    __slots__ = ("_deviation_s", "_factor", "_first_s", "_least_s", "_most_s", "_smoothed_s")

    def __init__(
        self, most_s: float, *, least_s: float | None = None, first_s: float | None = None
    ) -> None:
        """``most_s``: the manifest's limit, never exceeded; ``first_s``: until one answer came."""
        self._most_s = most_s
        self._least_s = PATIENCE_S_MIN if least_s is None else least_s
        self._first_s = most_s if first_s is None else first_s
        self._smoothed_s: float | None = None
        self._deviation_s = 0.0
        self._factor = 1.0

    @property
    def limit_s(self) -> float:
        """Seconds to wait now."""
        usual_s = self._first_s
        if self._smoothed_s is not None:
            usual_s = max(self._least_s, self._smoothed_s + _DEVIATIONS * self._deviation_s)
        return min(self._most_s, usual_s * self._factor)

    def answered(self, took_s: float) -> None:
        """An answer came, whatever it said."""
        if self._smoothed_s is None:
            self._smoothed_s, self._deviation_s = took_s, took_s / 2
        else:
            apart_s = abs(took_s - self._smoothed_s)
            self._deviation_s += _DEVIATION_SMOOTHING * (apart_s - self._deviation_s)
            self._smoothed_s += _SMOOTHING * (took_s - self._smoothed_s)
        self._factor = 1.0

    def waited_in_vain(self) -> None:
        """No answer within the limit."""
        if self.limit_s < self._most_s:
            self._factor *= 2
