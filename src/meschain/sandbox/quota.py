"""Counting calls as a marketplace counts them: a sliding window per key."""

from __future__ import annotations

from collections import deque


class SlidingWindow:
    """Admits at most ``limit`` events in any ``window_s`` seconds, per key."""

    def __init__(self) -> None:
        """Start with no history."""
        self._events: dict[object, deque[float]] = {}

    def admit(self, key: object, *, limit: int, window_s: float, now_s: float) -> bool:
        """Count an event at ``now_s`` if the window has room; refused events do not count."""
        events = self._events.setdefault(key, deque())
        while events and events[0] <= now_s - window_s:
            events.popleft()
        if len(events) >= limit:
            return False
        events.append(now_s)
        return True

    def used(self, key: object, *, window_s: float, now_s: float) -> int:
        """Events of the last ``window_s`` seconds."""
        return sum(1 for at in self._events.get(key, ()) if at > now_s - window_s)
