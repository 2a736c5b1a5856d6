"""Suppliers' feeds: looked at again and again, and taken in where they differ."""

from meschain.app.feeds.feed import (
    FeedExists,
    FeedSourceWrong,
    FeedUnknown,
    FeedView,
    add_feed,
    read_feeds,
    remove_feed,
)
from meschain.app.feeds.run import FeedLook, Hold, LookState, look_at_feed
from meschain.app.feeds.schedule import keep_feeds

__all__ = [
    "FeedExists",
    "FeedLook",
    "FeedSourceWrong",
    "FeedUnknown",
    "FeedView",
    "Hold",
    "LookState",
    "add_feed",
    "keep_feeds",
    "look_at_feed",
    "read_feeds",
    "remove_feed",
]
