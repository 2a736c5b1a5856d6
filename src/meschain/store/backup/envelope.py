"""The file of a backup: a readable header, then records in compressed, tagged pieces.

    MESCHAIN-BACKUP 1⏎
    {…header, JSON…}⏎
    piece*      4 bytes: length · payload · 16 bytes: tag

The payloads, joined and inflated, are records: 1 byte kind, 4 bytes length, content. With a key
each payload is sealed with AES-256-GCM; without one its tag is a BLAKE2 digest. Either tag covers
the header, the piece's place and whether it is the last, so that a changed, moved, missing or cut
piece is noticed before anything of it is believed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

MAGIC: Final = b"MESCHAIN-BACKUP 1\n"
HEADER_BYTES_MAX: Final = 1_000_000
PIECE_BYTES: Final = 1_048_576
RECORD_BYTES_MAX: Final = 16 * PIECE_BYTES
KEY_BYTES_MIN: Final = 16
_TAG_BYTES: Final = 16
_LENGTH: Final = struct.Struct(">I")
_RECORD: Final = struct.Struct(">cI")
# Among what is fast enough here: level 6 takes three times as long for a twentieth less.
_LEVEL: Final = 3
# A key may be a sentence somebody remembers: trying one costs 32 MiB and a tenth of a second.
_SCRYPT_N: Final = 2**15

TABLE: Final = b"T"  # JSON TableBegin; what follows up to TABLE_END is its rows
ROWS: Final = b"R"  # rows in COPY's text format, cut anywhere
TABLE_END: Final = b"E"  # JSON TableEnd
SEQUENCES: Final = b"S"  # JSON: name → last value
MASTER_KEY: Final = b"K"
END: Final = b"Z"


class BackupUnknown(ValueError):
    """The file is no backup, or one of a later format."""


class BackupLocked(ValueError):
    """The backup is sealed and the key is missing, too short or another one."""


class BackupDamaged(ValueError):
    """The file was changed, or does not go on to its end."""


class Tick(Protocol):
    """Told how much is done, and of how much (0: not known)."""

    def __call__(self, done: int, total: int, /) -> None: ...


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What may be read without a key. ``migrations``: number → fingerprint of its text."""

    program: str
    postgres: str
    created_at: datetime
    migrations: dict[int, str]
    rows_estimated: int
    salt: bytes | None = None  # None: not sealed
    has_master_key: bool = False

    @property
    def schema_version(self) -> int:
        """The newest migration in it."""
        return max(self.migrations)


class TableBegin(msgspec.Struct, frozen=True):
    """A table and the columns of its rows."""

    name: str
    columns: list[str]


class TableEnd(msgspec.Struct, frozen=True):
    """What its rows must come to; ``sha256`` of all their bytes, hexadecimal."""

    rows: int
    sha256: str


class _Guard(Protocol):
    def close(self, place: int, plain: bytes, *, is_last: bool) -> bytes: ...
    def open(self, place: int, closed: bytes, *, is_last: bool) -> bytes: ...


class _Digest:
    """Notices accidents, not attackers."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def _tag(self, place: int, plain: bytes, *, is_last: bool) -> bytes:
        digest = hashlib.blake2b(self._header, digest_size=_TAG_BYTES)
        digest.update(_nonce(place, is_last=is_last))
        digest.update(plain)
        return digest.digest()

    def close(self, place: int, plain: bytes, *, is_last: bool) -> bytes:
        return plain + self._tag(place, plain, is_last=is_last)

    def open(self, place: int, closed: bytes, *, is_last: bool) -> bytes:
        plain, tag = closed[:-_TAG_BYTES], closed[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(place, plain, is_last=is_last)):
            raise InvalidTag
        return plain


class _Seal:
    """The key is of this file alone (its salt), so that places make unique nonces."""

    def __init__(self, header: bytes, key: bytes, salt: bytes) -> None:
        derive = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=8, p=1)
        self._cipher = AESGCM(derive.derive(key))
        self._header = hashlib.sha256(header).digest()

    def close(self, place: int, plain: bytes, *, is_last: bool) -> bytes:
        return self._cipher.encrypt(_nonce(place, is_last=is_last), plain, self._header)

    def open(self, place: int, closed: bytes, *, is_last: bool) -> bytes:
        return self._cipher.decrypt(_nonce(place, is_last=is_last), closed, self._header)


def _nonce(place: int, *, is_last: bool) -> bytes:
    return struct.pack(">?3xQ", is_last, place)


def _guard(header: Header, line: bytes, key: bytes | None) -> _Guard:
    if header.salt is None:
        return _Digest(line)
    if key is None or len(key) < KEY_BYTES_MIN:
        raise BackupLocked
    return _Seal(line, key, header.salt)


def new_salt() -> bytes:
    """For a header whose file shall be sealed."""
    return os.urandom(16)


class Writer:
    """Writes records into ``file``; nothing is whole before ``finish``."""

    def __init__(self, file: BinaryIO, header: Header, key: bytes | None) -> None:
        """Raises BackupLocked when the header asks for a key and there is none fit for it."""
        line = msgspec.json.encode(header) + b"\n"
        self._guard = _guard(header, line, key)
        self._file = file
        self._deflate = zlib.compressobj(_LEVEL)
        self._ready = bytearray()
        self._place = 0
        file.write(MAGIC + line)

    def put(self, kind: bytes, content: bytes) -> None:
        """Add a record of at most 16 MiB."""
        assert len(content) <= RECORD_BYTES_MAX
        self._ready += self._deflate.compress(_RECORD.pack(kind, len(content)) + content)
        while len(self._ready) > PIECE_BYTES:
            self._write(bytes(self._ready[:PIECE_BYTES]), is_last=False)
            del self._ready[:PIECE_BYTES]

    def finish(self) -> None:
        """The last piece; without it the file counts as cut."""
        self.put(END, b"")
        self._ready += self._deflate.flush()
        while len(self._ready) > PIECE_BYTES:
            self._write(bytes(self._ready[:PIECE_BYTES]), is_last=False)
            del self._ready[:PIECE_BYTES]
        self._write(bytes(self._ready), is_last=True)

    def _write(self, plain: bytes, *, is_last: bool) -> None:
        closed = self._guard.close(self._place, plain, is_last=is_last)
        self._file.write(_LENGTH.pack(len(closed)) + closed)
        self._place += 1


def read_header(file: BinaryIO) -> Header:
    """The header; ``file`` then stands at the first piece. Raises BackupUnknown."""
    return _read_header(file)[0]


def _read_header(file: BinaryIO) -> tuple[Header, bytes]:
    if file.read(len(MAGIC)) != MAGIC:
        raise BackupUnknown
    line = file.readline(HEADER_BYTES_MAX)
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as wrong:
        raise BackupUnknown from wrong
    if not header.migrations:
        raise BackupUnknown
    return header, line


def read_records(file: BinaryIO, key: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of every record. Raises BackupUnknown, BackupLocked, BackupDamaged."""
    header, line = _read_header(file)
    ready = bytearray()
    is_ended = False
    for plain in _inflated(_pieces(file, _guard(header, line, key), header)):
        ready += plain
        at = 0
        while len(ready) - at >= _RECORD.size:
            kind, length = _RECORD.unpack_from(ready, at)
            if length > RECORD_BYTES_MAX:
                raise BackupDamaged("a record is too long")
            if len(ready) - at - _RECORD.size < length:
                break
            begin = at + _RECORD.size
            at = begin + length
            is_ended = kind == END
            yield kind, bytes(ready[begin:at])
        del ready[:at]
    if ready or not is_ended:
        raise BackupDamaged("its end is missing")


def _pieces(file: BinaryIO, guard: _Guard, header: Header) -> Iterator[bytes]:
    place = 0
    length = file.read(_LENGTH.size)
    while length:
        size = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else 0
        if not _TAG_BYTES <= size <= PIECE_BYTES + _TAG_BYTES:
            raise BackupDamaged("a length is wrong")
        closed = file.read(size)
        length = file.read(_LENGTH.size)
        if len(closed) < size:
            raise BackupDamaged("it is cut")
        try:
            yield guard.open(place, closed, is_last=not length)
        except InvalidTag as wrong:
            # Of the very first piece a wrong key says the same as damage, and is far more likely.
            if place == 0 and header.salt is not None:
                raise BackupLocked from wrong
            raise BackupDamaged(f"piece {place} was changed, or pieces are missing") from wrong
        place += 1
    if place == 0:
        raise BackupDamaged("it is cut")


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    try:
        for piece in pieces:
            rest = piece
            while rest:
                yield inflate.decompress(rest, PIECE_BYTES)
                rest = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as wrong:
        raise BackupDamaged(str(wrong)) from wrong
