"""Opening a file as text: plain or gzip, in the encoding that it proves to have."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, cast

from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused

_GZIP_MAGIC: Final = b"\x1f\x8b"
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CHUNK_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 1 << 10
_UNPACKED_BYTES_MAX: Final = 1 << 32
LINE_CHARACTERS_MAX: Final = 1 << 22
"""Of one line, cell or XML element: far above what a product needs, far below what hurts."""
ENCODINGS: Final = ("utf-8", "utf-16", "windows-1254", "windows-1252", "iso-8859-9")
"""What may be told; see ``detect_encoding`` for what is found."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read as often as needed; ``content`` may be a path or the bytes."""

    content: Path | bytes

    @contextmanager
    def binary(self) -> Iterator[io.BufferedIOBase]:
        """The bytes, unpacked; a damaged archive refuses the file."""
        try:
            with self._plain() as plain:
                magic = plain.read(2)
                plain.seek(0)
                if magic == _GZIP_MAGIC:
                    with _Unpacked(fileobj=plain) as unpacked:
                        yield unpacked
                else:
                    yield plain
        except (EOFError, gzip.BadGzipFile, zlib.error) as damage:
            raise FileRefused(Reason.FILE_GZIP) from damage

    @contextmanager
    def text(self, encoding: str) -> Iterator[TextIO]:
        """The text with its line ends untouched."""
        # GzipFile is a BufferedIOBase, which is all that TextIOWrapper asks for at run time.
        with (
            self.binary() as raw,
            io.TextIOWrapper(cast("io.BufferedReader", raw), encoding=encoding, newline="") as text,
        ):
            yield text

    @contextmanager
    def lines(self, encoding: str) -> Iterator[Iterator[str]]:
        """The lines with their ends, none longer than the limit. Raises: FileRefused."""
        with self.text(encoding) as text:
            yield _bounded(text)

    def detect_encoding(self, told: str | None = None) -> str:
        """A Python codec that decodes the whole file; ``told`` is only tried. Raises: FileRefused.

        UTF-16 shows itself by its mark, or by the zero bytes of its ASCII letters. UTF-8 proves
        itself: Windows-1254 text with a Turkish letter is never valid UTF-8 by accident for long.
        Windows-1254 and ISO-8859-9 agree in every letter, so the former stands for both. Where a
        file uses the two bytes that only Windows-1252 knows (Ž, ž), it is that.
        """
        with self.binary() as raw:
            head = raw.read(_HEAD_BYTES)
        if not head:
            raise FileRefused(Reason.FILE_EMPTY)
        if told is not None:
            if not self.decodes_as(told):
                raise FileRefused(Reason.FILE_ENCODING_TOLD, encoding=told)
            codec = codecs.lookup(told).name
            return "utf-8-sig" if codec == "utf-8" and head[:3] == codecs.BOM_UTF8 else codec
        for codec in _candidates(head):
            if self.decodes_as(codec):
                return codec
        raise FileRefused(Reason.FILE_ENCODING)

    def decodes_as(self, encoding: str) -> bool:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with self.binary() as raw:
                while chunk := raw.read(_CHUNK_BYTES):
                    decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
        return True

    @contextmanager
    def _plain(self) -> Iterator[io.BufferedReader | io.BytesIO]:
        if isinstance(self.content, Path):
            with self.content.open("rb") as opened:
                yield opened
        else:
            yield io.BytesIO(self.content)


class _Unpacked(gzip.GzipFile):
    """A few megabytes can unpack to terabytes; this stops long before."""

    def read(self, size: int | None = -1) -> bytes:
        return self._checked(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._checked(super().read1(size))

    def _checked(self, content: bytes) -> bytes:
        if self.tell() > _UNPACKED_BYTES_MAX:
            raise FileRefused(Reason.FILE_UNPACKED, gigabytes=str(_UNPACKED_BYTES_MAX >> 30))
        return content


def _bounded(text: TextIO) -> Iterator[str]:
    while line := text.readline(LINE_CHARACTERS_MAX):
        if len(line) == LINE_CHARACTERS_MAX:
            raise line_too_long()
        yield line


def line_too_long() -> FileRefused:
    """A line, cell or element beyond ``LINE_CHARACTERS_MAX``."""
    return FileRefused(Reason.FILE_LINE_TOO_LONG, megabytes=str(LINE_CHARACTERS_MAX >> 20))


def _candidates(head: bytes) -> tuple[str, ...]:
    if head[:2] in _UTF16_MARKS:
        return ("utf-16",)
    zeros_even, zeros_odd = head[0::2].count(0), head[1::2].count(0)
    # A quarter is far beyond what damage leaves, and below what any Latin table reaches.
    if max(zeros_even, zeros_odd) * 4 > len(head) / 2:
        return ("utf-16-be",) if zeros_even > zeros_odd else ("utf-16-le",)
    if head[:3] == codecs.BOM_UTF8:
        return ("utf-8-sig",)
    return ("utf-8", "cp1254", "cp1252")
