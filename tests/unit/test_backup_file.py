"""The file of a backup: what is written comes back, and nothing else is believed."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meschain.app.keeping.backups import BackupPlan, Kept, backups_in, is_due, superseded
from meschain.app.keeping.storage import Folder
from meschain.store.backup import BackupDamaged, BackupLocked, BackupUnknown, Header
from meschain.store.backup.envelope import (
    END,
    PIECE_BYTES,
    ROWS,
    Writer,
    new_salt,
    read_header,
    read_records,
)

NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
KEY = b"sixteen bytes or more"


def written(*contents: bytes, key: bytes | None) -> bytes:
    header = Header(
        program="1",
        postgres="18",
        created_at=NOW,
        migrations={1: "a"},
        rows_estimated=0,
        salt=None if key is None else new_salt(),
    )
    file = io.BytesIO()
    writer = Writer(file, header, key)
    for content in contents:
        writer.put(ROWS, content)
    writer.finish()
    return file.getvalue()


def read(data: bytes, key: bytes | None) -> list[bytes]:
    found = list(read_records(io.BytesIO(data), key))
    assert found[-1] == (END, b"")
    return [content for _, content in found[:-1]]


@pytest.mark.parametrize("key", [None, KEY])
def test_records_come_back_whole_over_many_pieces(key: bytes | None) -> None:
    noise = [bytes(hash((i, j)) % 256 for j in range(1_000)) * 600 for i in range(5)]
    big = b"".join(noise) + PIECE_BYTES * b"x"
    assert read(written(b"", b"a\tb\n", big, key=key), key) == [b"", b"a\tb\n", big]


@pytest.mark.parametrize("key", [None, KEY])
def test_a_changed_cut_or_lengthened_file_is_never_believed(key: bytes | None) -> None:
    contents = [bytes([i]) * 20 for i in range(40)]
    data = written(*contents, key=key)
    # Trying a key is slow on purpose: with one, fewer places.
    for place in range(0, len(data), 1 if key is None else 17):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises((BackupDamaged, BackupLocked, BackupUnknown)):
            read(changed, key)
        with pytest.raises((BackupDamaged, BackupLocked, BackupUnknown)):
            read(data[:place], key)
    with pytest.raises((BackupDamaged, BackupLocked)):
        read(data + b"x", key)


def test_a_piece_left_out_or_moved_is_noticed() -> None:
    """Without a key too: the pieces are whole, their places are wrong."""
    noise = random.Random(1).randbytes(3 * PIECE_BYTES)  # noqa: S311 – a test's noise
    data = written(noise, key=None)
    begin = data.index(b"\n", data.index(b"\n") + 1) + 1
    size = 4 + PIECE_BYTES + 16
    first, second = data[begin : begin + size], data[begin + size : begin + 2 * size]
    rest = data[begin + 2 * size :]
    for wrong in (data[:begin] + second + first + rest, data[:begin] + first + rest):
        with pytest.raises(BackupDamaged):
            read(wrong, None)


def test_only_the_key_it_was_sealed_with_opens_a_backup_and_its_content_is_not_in_it() -> None:
    data = written(b"Ayse Yilmaz " * 40, key=KEY)
    for wrong in (None, b"short", KEY + b"x"):
        with pytest.raises(BackupLocked):
            read(data, wrong)
    assert b"Ayse" not in data
    assert read_header(io.BytesIO(data)).schema_version == 1
    # The same content and key twice: other bytes, so that two files tell nothing of each other.
    assert written(b"x" * 400, key=KEY)[-300:] != written(b"x" * 400, key=KEY)[-300:]


# — which backups stay —


def at(*days_ago: float) -> list[Kept]:
    return [Kept(f"{days}", NOW - timedelta(days=days)) for days in days_ago]


def test_the_newest_of_each_day_week_and_month_stays() -> None:
    plan = BackupPlan(keep_daily=3, keep_weekly=2, keep_monthly=2)
    kept = at(0, 0.1, 1, 2, 3, 4, 10, 19, 25, 40)
    gone = superseded(kept, plan)
    # 20, 19, 18 November; this week, which began on the 16th, and the one of the 10th; October.
    assert [each.name for each in kept if each not in gone] == ["0", "1", "2", "10", "25"]


@given(st.lists(st.floats(0, 2_000), max_size=60), st.integers(0, 3), st.integers(0, 3))
def test_the_newest_backup_is_never_forgotten(ages: list[float], daily: int, monthly: int) -> None:
    kept = at(*ages)
    gone = superseded(kept, BackupPlan(keep_daily=daily, keep_weekly=0, keep_monthly=monthly))
    assert len(gone) < len(kept) or not kept
    if kept:
        newest = max(each.at for each in kept)
        assert all(each.at < newest or len(gone) < len(kept) for each in gone)


def test_the_last_one_that_stood_its_trial_stays_until_a_newer_one_does() -> None:
    plan = BackupPlan(keep_daily=1, keep_weekly=0, keep_monthly=0)
    kept = at(0, 1, 2, 90)
    assert [each.name for each in superseded(kept, plan)] == ["1", "2", "90"]
    assert [each.name for each in superseded(kept, plan, good="90")] == ["1", "2"]


def test_only_what_is_named_as_a_backup_is_taken_for_one(tmp_path: Path) -> None:
    for name in ("20261120T030000Z", "20269999T999999Z", "20261120T030000Z.part"):
        (tmp_path / f"meschain-{name}.backup").touch()
    assert [each.at.day for each in backups_in(Folder(tmp_path))] == [20]
    assert backups_in(Folder(tmp_path / "nothing")) == []


def test_a_backup_stamped_in_the_future_does_not_stop_the_schedule() -> None:
    day = timedelta(days=1)
    assert is_due([], NOW, day)
    assert not is_due(at(0.5), NOW, day)
    assert is_due(at(1.01), NOW, day)
    assert is_due(at(-400), NOW, day)  # made while the clock was a year ahead
