from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meschain.channel.contract import OrderWindow


@pytest.fixture
def window() -> OrderWindow:
    until = datetime(2026, 10, 10, 12, tzinfo=UTC)
    return OrderWindow(until - timedelta(hours=4), until)
