"""Everything that happened in the world, in order: what a checker recounts.

A fact is kept as one flat tuple of plain values and becomes a ``JournalEntry`` only when it is
read: the world writes hundreds of thousands a second, and the garbage collector soon leaves
tuples of plain values alone.

The journal is bounded. When it is full, the oldest eighth is forgotten; numbers go on, so a
reader sees the gap and never takes a part for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, overload

import msgspec

from meschain.sandbox.clock import epoch_us

ENTRIES_MAX_DEFAULT: Final = 1_000_000  # some 250 MB when full


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One fact of the world.

    ``kind``: "listing", "offer", "sale", "refused", "cancel", "parcel", "scan". What ``facts``
    holds for each stands in docs/guides/sandbox.md.
    """

    number: int
    at: datetime
    kind: str
    marketplace: str
    seller_id: str
    key: str  # shelf key, parcel number, or scanned code
    facts: Mapping[str, object]


class Fact(IntEnum):
    """Kinds of entries, each with the names of its facts in the order in which they are kept."""

    LISTING = 0
    OFFER = 1
    SALE = 2
    REFUSED = 3
    CANCEL = 4
    PARCEL = 5
    SCAN = 6


_NAMES: Final[tuple[tuple[str, ...], ...]] = (
    ("state", "quantity", "list_minor", "sale_minor"),
    ("cause", "quantity", "list_minor", "sale_minor", "quantity_before", "sets_quantity"),
    ("order", "units", "quantity", "quantity_before"),
    ("units", "reason", "quantity"),
    ("order", "units", "by_seller", "quantity", "quantity_before"),
    ("order", "state", "units"),
    ("accepted", "reason"),
)
_KINDS: Final = tuple(fact.name.lower() for fact in Fact)

Units = tuple[tuple[int, int], ...]  # (line id, units) of a parcel
Plain = str | int | bool | Units
Record = tuple[datetime, Fact, int, str, *tuple[Plain, ...]]


class JournalTruncated(LookupError):
    """Entries that the reader asks for were forgotten; ``first_number`` is the oldest kept."""

    def __init__(self, first_number: int) -> None:
        super().__init__(f"entries before {first_number} were forgotten")
        self.first_number = first_number


class Journal(Sequence[JournalEntry]):
    """The entries still kept, oldest first; indexes are positions, ``number`` counts from 1."""

    def __init__(self, *, entries_max: int = ENTRIES_MAX_DEFAULT) -> None:
        assert entries_max >= 8
        self.entries_max = entries_max
        self.forgotten = 0
        self._records: list[Record] = []
        self._sellers: list[tuple[str, str]] = [("", "")]

    def add_seller(self, marketplace: str, seller_id: str) -> int:
        """The number under which facts of this shop are written; 0 is no shop."""
        self._sellers.append((marketplace, seller_id))
        return len(self._sellers) - 1

    def write(self, record: Record) -> None:
        """Append ``(at, fact, seller number, key, *facts)``, the facts in the order of their names.

        One tuple rather than parameters: the call stands on the path of every offer.
        """
        if len(self._records) >= self.entries_max:
            oldest = self.entries_max // 8
            del self._records[:oldest]
            self.forgotten += oldest
        self._records.append(record)

    @property
    def last_number(self) -> int:
        """The number of the newest entry; 0 when nothing happened yet."""
        return self.forgotten + len(self._records)

    def after(self, number: int, *, limit: int) -> list[JournalEntry]:
        """At most ``limit`` entries that follow ``number``. Raises JournalTruncated."""
        if number < self.forgotten:
            raise JournalTruncated(self.forgotten + 1)
        start = number - self.forgotten
        return self[start : start + limit]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[JournalEntry]:
        for position, record in enumerate(self._records):
            yield self._entry(self.forgotten + position + 1, record)

    @overload
    def __getitem__(self, index: int) -> JournalEntry: ...
    @overload
    def __getitem__(
        self, index: slice[int | None, int | None, int | None]
    ) -> list[JournalEntry]: ...
    def __getitem__(
        self, index: int | slice[int | None, int | None, int | None]
    ) -> JournalEntry | list[JournalEntry]:
        if isinstance(index, slice):
            positions = range(*index.indices(len(self._records)))
            return [
                self._entry(self.forgotten + position + 1, self._records[position])
                for position in positions
            ]
        position = index if index >= 0 else len(self._records) + index
        if not 0 <= position < len(self._records):
            raise IndexError(index)
        return self._entry(self.forgotten + position + 1, self._records[position])

    def _entry(self, number: int, record: Record) -> JournalEntry:
        at, fact, seller, key, *values = record
        facts: dict[str, object] = dict(zip(_NAMES[fact], values, strict=True))
        if fact is Fact.PARCEL:
            facts["units"] = dict(values[2]) if isinstance(values[2], tuple) else {}
        marketplace, seller_id = self._sellers[seller]
        return JournalEntry(number, at, _KINDS[fact], marketplace, seller_id, key, facts)


class _Line(msgspec.Struct):
    """A journal entry as the control interface sends it, one JSON object a line."""

    number: int
    at_us: int
    kind: str
    marketplace: str
    seller_id: str
    key: str
    facts: dict[str, bool | int | str | dict[str, int]]


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Line)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def encode_entry(entry: JournalEntry) -> bytes:
    """One line of JSON with its line feed."""
    line = {
        "number": entry.number,
        "at_us": epoch_us(entry.at),
        "kind": entry.kind,
        "marketplace": entry.marketplace,
        "seller_id": entry.seller_id,
        "key": entry.key,
        "facts": entry.facts,
    }
    return _ENCODER.encode(line) + b"\n"


def decode_entry(line: bytes | str) -> JournalEntry:
    """The entry of one line; line ids inside ``units`` are numbers again."""
    sent = _DECODER.decode(line)
    facts: dict[str, object] = dict(sent.facts)
    units = sent.facts.get("units")
    if isinstance(units, dict):
        facts["units"] = {int(line_id): count for line_id, count in units.items()}
    return JournalEntry(
        sent.number,
        _EPOCH + timedelta(microseconds=sent.at_us),
        sent.kind,
        sent.marketplace,
        sent.seller_id,
        sent.key,
        facts,
    )
