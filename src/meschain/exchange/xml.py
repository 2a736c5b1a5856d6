"""XML read piece by piece, without what makes XML dangerous.

A document type declaration is refused before anything in it is read, so no entity can be defined,
expanded or fetched; size and depth are bounded. Source: Python's documentation, "XML security".
"""

from __future__ import annotations

import codecs
from typing import Final, NoReturn, Protocol
from xml.parsers import expat

from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused
from meschain.exchange.source import LINE_CHARACTERS_MAX, line_too_long

DEPTH_MAX: Final = 64
_CHUNK_BYTES: Final = 1 << 18


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def new_parser(encoding: str | None = None) -> expat.XMLParserType:
    """A parser that refuses document types; ``encoding`` overrules what the file declares."""
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    return parser


def feed(parser: expat.XMLParserType, stream: Readable, encoding: str | None = None) -> None:
    """Parse all of ``stream``; with ``encoding`` it is decoded here. Raises: FileRefused."""
    decoder = codecs.getincrementaldecoder(encoding)() if encoding else None
    fed = 0
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            piece = decoder.decode(chunk).encode() if decoder else chunk
            fed += len(piece)
            parser.Parse(piece, False)  # noqa: FBT003 – its signature
            # A tag or comment without end is held, and looked at from its start, with every piece.
            if fed - parser.CurrentByteIndex > LINE_CHARACTERS_MAX:
                raise line_too_long()
        parser.Parse(b"", True)  # noqa: FBT003 – its signature
    except expat.ExpatError as broken:
        raise FileRefused(
            Reason.XML_BROKEN, line=str(broken.lineno), place=str(broken.offset + 1)
        ) from broken


def local(name: str) -> str:
    """An element's name without its namespace prefix."""
    return name.rpartition(":")[2]


def _refuse_doctype(*_: object) -> NoReturn:
    raise FileRefused(Reason.XML_DOCTYPE)
