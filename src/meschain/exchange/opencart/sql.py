"""A tolerant reader of MySQL dumps: the rows that ``INSERT INTO`` statements put into tables.

Strings may hold line ends, semicolons and brackets; backslash escapes and doubled quotes are
undone. Whatever is not understood (functions, expressions) becomes None, a statement that is not
an insert is passed over, and only a dump that breaks off in the middle is refused.
Source of the escapes: MySQL 8.0 Reference Manual, section 9.1.1, table 9.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused

_CHUNK_CHARS: Final = 1 << 20
# Servers refuse packets over 1 GiB and dump tools stay far below; this bounds our memory.
_STATEMENT_CHARS_MAX: Final = 1 << 27

# Nothing is given back: an unterminated string fails at once instead of by backtracking. Groups are
# atomic, not repeated possessively: before Python 3.11.5 that matches too little (gh-106052).
_STRING: Final = r"'(?>(?:[^'\\]++|\\.|'')*)'"
_QUOTED: Final = r'"(?>(?:[^"\\]++|\\.|"")*)"'
_BACKTICKED: Final = r"`[^`]*+`"
_COMMENT: Final = r"--[^\n]*+|\#[^\n]*+|/\*(?>(?:[^*]++|\*(?!/))*)\*/"
_TOKEN: Final = re.compile(
    rf"[^'\"`;/\#-]++|{_STRING}|{_QUOTED}|{_BACKTICKED}|{_COMMENT}|/(?!\*)|-(?!-)|;", re.DOTALL
)
_BLANK: Final = re.compile(rf"(?>(?:\s++|{_COMMENT})*)", re.DOTALL)
_NAME: Final = r"(?:`[^`]+`|[\w$]+)"
_INSERT: Final = re.compile(
    r"(?:INSERT|REPLACE)(?:\s+(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE))*\s+INTO\s+"
    rf"(?:{_NAME}\s*\.\s*)?(?P<table>{_NAME})\s*(?:\((?P<columns>[^()]*)\)\s*)?VALUES?\s*",
    re.IGNORECASE,
)
_CREATE: Final = re.compile(
    r"CREATE\s+(?:TEMPORARY\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"(?:{_NAME}\s*\.\s*)?(?P<table>{_NAME})\s*\(",
    re.IGNORECASE,
)
_COLUMN: Final = re.compile(rf"\s*(?P<name>{_NAME})\s")
_NO_COLUMN: Final = frozenset(
    {"primary", "key", "unique", "index", "constraint", "fulltext", "foreign", "spatial", "check"}
)
_VALUE: Final = re.compile(
    rf"\s*(?:(?:_\w+\s*)?(?P<string>{_STRING}|{_QUOTED})|(?P<number>[+-]?[0-9][0-9.]*)|NULL)"
    r"\s*(?P<end>[,)])",
    re.DOTALL | re.IGNORECASE,
)
_EXPRESSION: Final = re.compile(rf"{_STRING}|{_QUOTED}|{_COMMENT}|[(),]|[^'\"(),/-]++|.", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
_ESCAPED: Final = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement and the line of the dump on which it begins."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class InsertedRow:
    """A row as the dump states it: the table with its prefix, the line, values by column name.

    ``values`` is empty where their number is not that of the columns; both are then told.
    """

    table: str
    line: int
    values: dict[str, str | None]
    columns_expected: int
    values_found: int


def read_rows(dump: TextIO, wanted: Callable[[str], bool]) -> Iterator[InsertedRow]:
    """The rows of the wanted tables, in order. Raises: FileRefused."""
    created: dict[str, list[str]] = {}
    for statement in split_statements(dump):
        if create := _CREATE.match(statement.text):
            created[_bare(create["table"])] = _created_columns(statement.text, create.end())
        elif insert := _INSERT.match(statement.text):
            table = _bare(insert["table"])
            if not wanted(table):
                continue
            columns = (
                [_bare(name) for name in insert["columns"].split(",")]
                if insert["columns"] is not None
                else created.get(table)
            )
            if columns is None:
                raise FileRefused(Reason.DUMP_NO_COLUMNS, table=table, line=str(statement.line))
            yield from _rows(statement, insert.end(), table, columns)


def split_statements(dump: TextIO) -> Iterator[Statement]:
    """Statements without the blanks and comments before them. Raises: FileRefused when cut off."""
    buffer, start, position, line = "", 0, 0, 1
    at_end = False
    while True:
        token = _TOKEN.match(buffer, position)
        # A token that touches the end of the buffer may go on in the next piece.
        if (token is None or token.end() == len(buffer)) and not at_end:
            piece = dump.read(_CHUNK_CHARS + len(buffer) - start)
            at_end = not piece
            buffer, position, start = buffer[start:] + piece, position - start, 0
            if len(buffer) > _STATEMENT_CHARS_MAX:
                raise FileRefused(Reason.DUMP_TRUNCATED, line=str(line))
            continue
        if token is None or not token.group():
            break
        position = token.end()
        if token.group() == ";":
            blank = _BLANK.match(buffer, start)
            begin = blank.end() if blank else start
            line += buffer.count("\n", start, begin)
            yield Statement(line, buffer[begin:position])
            line += buffer.count("\n", begin, position)
            start = position
    rest = buffer[start:]
    blank = _BLANK.match(rest)
    if blank is None or blank.end() < len(rest):
        raise FileRefused(Reason.DUMP_TRUNCATED, line=str(line))


def _rows(
    statement: Statement, position: int, table: str, columns: list[str]
) -> Iterator[InsertedRow]:
    text, line, counted = statement.text, statement.line, 0
    while (opening := text.find("(", position)) >= 0:
        between = text[position:opening]
        if between.strip(" \t\r\n,") and not _BLANK.fullmatch(between.replace(",", "")):
            return  # ON DUPLICATE KEY UPDATE and the like: the values are over
        line += text.count("\n", counted, opening)
        counted = opening
        values: list[str | None] = []
        position = opening + 1
        end = ","
        while end == ",":
            value, end, position = _value(text, position)
            values.append(value)
        fits = len(values) == len(columns)
        row = dict(zip(columns, values, strict=True)) if fits else {}
        yield InsertedRow(table, line, row, len(columns), len(values))


def _value(text: str, position: int) -> tuple[str | None, str, int]:
    """The value at a position, what ends it (``,`` or ``)``), and where the next begins."""
    plain = _VALUE.match(text, position)
    if plain:
        if plain["string"] is not None:
            return _unescape(plain["string"]), plain["end"], plain.end()
        return plain["number"], plain["end"], plain.end()
    depth = 0
    while token := _EXPRESSION.match(text, position):
        position = token.end()
        match token.group():
            case "(":
                depth += 1
            case ")" if depth:
                depth -= 1
            case (")" | ",") as end if not depth:
                return None, end, position
    return None, ")", len(text)


def _unescape(literal: str) -> str:
    quote, body = literal[0], literal[1:-1]
    if "\\" not in body and quote not in body:
        return body
    return _ESCAPE.sub(_plain_character, body)


def _plain_character(escape: re.Match[str]) -> str:
    character = escape[1]
    if character is None:
        return escape[0][0]
    if character in "%_":
        return escape[0]  # these two keep their backslash
    return _ESCAPED.get(character, character)


def _created_columns(text: str, position: int) -> list[str]:
    """Column names of a CREATE TABLE body, in order."""
    columns: list[str] = []
    depth, begins = 0, True
    while token := _EXPRESSION.match(text, position):
        if begins and (column := _COLUMN.match(text, position)):
            name = column["name"]
            if name.startswith("`") or name.lower() not in _NO_COLUMN:
                columns.append(_bare(name))
        begins = token.group() == "," and not depth
        position = token.end()
        if token.group() == "(":
            depth += 1
        elif token.group() == ")":
            if not depth:
                break
            depth -= 1
    return columns


def _bare(name: str) -> str:
    return name.strip().strip("`").lower()
