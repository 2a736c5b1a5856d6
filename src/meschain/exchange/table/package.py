"""The parts of an XLSX file: a ZIP archive of XML documents (ECMA-376, Office Open XML)."""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Final, NamedTuple

from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused
from meschain.exchange.source import LINE_CHARACTERS_MAX, line_too_long
from meschain.exchange.xml import DEPTH_MAX, feed, local, new_parser

ZIP_MAGIC: Final = b"PK\x03\x04"
OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Of .xls, and of an .xlsx that asks for a password."""

_PART_BYTES_MAX: Final = 1 << 30
_STRINGS_BYTES_MAX: Final = 1 << 28  # shared strings are held in memory
# "_x000D_" stands for a character that XML cannot hold (ECMA-376, part 1, 22.9.2.19).
_STRINGS_MAX: Final = 5_000_000
_ELEMENTS_MAX: Final = 1_000_000  # of a part that is held as a whole
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_ENCRYPTED: Final = 0x1

Element = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class SheetPart:
    name: str
    path: str
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class Package:
    archive: zipfile.ZipFile
    sheets: tuple[SheetPart, ...]
    styles_path: str | None
    strings_path: str | None
    counts_from_1904: bool

    def formats(self) -> list[str]:
        """The number format of every cell style, in order; built-in ones by their number."""
        codes: dict[str, str] = {}
        formats: list[str] = []
        is_cell_style = False
        for name, attributes in elements(self.archive, self.styles_path):
            if name == "numFmt":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif name in ("cellXfs", "cellStyleXfs"):
                is_cell_style = name == "cellXfs"
            elif name == "xf" and is_cell_style:
                number = attributes.get("numFmtId", "0")
                formats.append(codes.get(number, number))
        return formats

    def strings(self) -> list[str]:
        """The shared strings, plain: without runs' styles and phonetic guides."""
        if self.strings_path is None:
            return []
        walk = _StringWalk(self.strings_path)
        parser = new_parser()
        parser.StartElementHandler = walk.start
        parser.CharacterDataHandler = walk.text
        parser.EndElementHandler = walk.end
        with opened(self.archive, self.strings_path, _STRINGS_BYTES_MAX) as part:
            feed(parser, part)
        return walk.strings


@dataclass(slots=True)
class _StringWalk:
    path: str
    strings: list[str] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _length: int = 0

    def start(self, name: str, _: Mapping[str, str]) -> None:
        self._names.append(local(name))
        if len(self._names) > DEPTH_MAX:
            raise _too_large(self.path)
        if self._names[-1] == "si":
            self._parts.clear()
            self._length = 0

    def text(self, data: str) -> None:
        if self._names[-1] == "t" and "rPh" not in self._names:
            self._parts.append(data)
            self._length += len(data)
            if self._length > LINE_CHARACTERS_MAX:
                raise line_too_long()

    def end(self, _: str) -> None:
        if self._names.pop() == "si":
            self.strings.append(unescape("".join(self._parts)))
            if len(self.strings) > _STRINGS_MAX:
                raise _too_large(self.path)


def unescape(text: str) -> str:
    return _ESCAPED.sub(_character, text) if "_x" in text else text


def _character(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    # Half a character is none, and no encoding can write it.
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character


@contextmanager
def opened(
    archive: zipfile.ZipFile, path: str, bytes_max: int = _PART_BYTES_MAX
) -> Iterator[IO[bytes]]:
    """A part of the archive, unpacked as it is read. Raises: FileRefused."""
    try:
        about = archive.getinfo(path)
        if about.flag_bits & _ENCRYPTED:
            raise FileRefused(Reason.FILE_XLS)
        if about.file_size > bytes_max:
            raise _too_large(path, bytes_max)
        with archive.open(about) as part:
            yield part
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as damage:
        raise FileRefused(Reason.FILE_XLSX_BROKEN) from damage


def elements(archive: zipfile.ZipFile, path: str | None) -> list[Element]:
    """Local names and attributes of a small part, in document order; none of a part not there."""
    found: list[Element] = []
    if path is None or path not in archive.namelist():
        return found

    def start(name: str, attributes: Mapping[str, str]) -> None:
        found.append((local(name), attributes))
        if len(found) > _ELEMENTS_MAX:
            raise _too_large(path)

    parser = new_parser()
    parser.StartElementHandler = start
    with opened(archive, path, _STRINGS_BYTES_MAX) as part:
        feed(parser, part)
    return found


def _too_large(path: str, bytes_max: int = _STRINGS_BYTES_MAX) -> FileRefused:
    return FileRefused(Reason.FILE_TOO_LARGE, part=path, megabytes=str(bytes_max >> 20))


def open_package(archive: zipfile.ZipFile) -> Package:
    """Raises: FileRefused where the archive is no workbook."""
    names = set(archive.namelist())
    if "xl/workbook.bin" in names:
        raise FileRefused(Reason.FILE_XLS)
    if "[Content_Types].xml" not in names:
        raise FileRefused(Reason.FILE_ZIP)
    roots = {each.kind: each.path for each in _relations(archive, "")}
    main = roots.get("officeDocument")
    if main is None or main not in names:
        raise FileRefused(Reason.FILE_ZIP)
    relations = list(_relations(archive, main))
    by_id = {each.identity: each.path for each in relations}
    by_kind = {each.kind: each.path for each in relations}
    sheets: list[SheetPart] = []
    counts_from_1904 = False
    for name, attributes in elements(archive, main):
        if name == "workbookPr":
            counts_from_1904 = attributes.get("date1904", "0") in ("1", "true")
        elif name == "sheet":
            identity = next((v for k, v in attributes.items() if local(k) == "id" and ":" in k), "")
            # A chart sheet is listed too but holds no rows.
            if "/worksheets/" in (path := by_id.get(identity, "")):
                is_hidden = attributes.get("state", "visible") != "visible"
                sheets.append(SheetPart(attributes.get("name", ""), path, is_hidden))
    return Package(
        archive=archive,
        sheets=tuple(sheets),
        styles_path=by_kind.get("styles"),
        strings_path=by_kind.get("sharedStrings"),
        counts_from_1904=counts_from_1904,
    )


class _Relation(NamedTuple):
    kind: str
    identity: str
    path: str


def _relations(archive: zipfile.ZipFile, part: str) -> Iterator[_Relation]:
    """What ``part`` refers to; the archive itself is the part without a name."""
    for name, attributes in elements(archive, _relations_of(part)):
        if name == "Relationship":
            kind = attributes.get("Type", "").rpartition("/")[2]
            path = _resolved(posixpath.dirname(part), attributes.get("Target", ""))
            yield _Relation(kind, attributes.get("Id", ""), path)


def _relations_of(part: str) -> str:
    folder, name = posixpath.split(part)
    return posixpath.join(folder, "_rels", f"{name}.rels")


def _resolved(folder: str, target: str) -> str:
    return posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
