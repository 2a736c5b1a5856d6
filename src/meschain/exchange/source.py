"""Opening a file as text: plain or gzip, UTF-8 with or without its mark, else Windows-1254."""

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
                    with gzip.GzipFile(fileobj=plain) as unpacked:
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

    def detect_encoding(self) -> str:
        """``utf-8-sig``, ``utf-8`` or ``cp1254``, proven over the whole file.

        UTF-8 proves itself: Windows-1254 text with a Turkish letter is never valid UTF-8 by
        accident for long. A file that is neither is refused.
        """
        with self.binary() as raw:
            head = raw.read(3)
        if not head:
            raise FileRefused(Reason.FILE_EMPTY)
        if head[:2] in _UTF16_MARKS:
            raise FileRefused(Reason.FILE_ENCODING)
        if self._decodes_as("utf-8"):
            return "utf-8-sig" if head == codecs.BOM_UTF8 else "utf-8"
        if self._decodes_as("cp1254"):
            return "cp1254"
        raise FileRefused(Reason.FILE_ENCODING)

    def _decodes_as(self, encoding: str) -> bool:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with self.binary() as raw:
                while chunk := raw.read(_CHUNK_BYTES):
                    decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return True

    @contextmanager
    def _plain(self) -> Iterator[io.BufferedReader | io.BytesIO]:
        if isinstance(self.content, Path):
            with self.content.open("rb") as opened:
                yield opened
        else:
            yield io.BytesIO(self.content)
