"""Repeated elements of an XML document as a table: one row an item, one column a path.

``<Urun kod="7"><Ad>Kazak</Ad><Resim>a</Resim><Resim>b</Resim></Urun>`` is a row with the columns
``@kod``, ``Ad`` and ``Resim`` (``a|b``). Names are taken without their namespace.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused
from meschain.exchange.source import LINE_CHARACTERS_MAX, Source, line_too_long
from meschain.exchange.table.row import Spool, TableForm, TableRow
from meschain.exchange.xml import DEPTH_MAX, feed, local, new_parser

SEPARATOR: Final = "|"
"""Between the texts of an element that an item repeats."""

_ITEM_CHARACTERS_MAX: Final = 1 << 22
_COLUMNS_MAX: Final = 2_000
_DECLARATION: Final = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_NAMED_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class ItemTable:
    form: TableForm
    header: Sequence[str]
    header_row: int
    remarks: Sequence[Fault]
    root: str
    spool: Spool

    def rows(self) -> Iterator[TableRow]:
        width = len(self.header)
        for number, cells, _, _ in self.spool:
            cells.extend([""] * (width - len(cells)))
            yield TableRow(number, cells)


def open_items(
    source: Source,
    item: str | None = None,
    variant: str | None = None,
    told_encoding: str | None = None,
) -> ItemTable:
    """The items at path ``item`` below the root (``None``: each child of the root).

    Elements at path ``variant`` below an item make a row each, with what the item itself says.
    Rows are numbered by items from 1. Raises: FileRefused.
    """
    encoding, remark = _encoding(source, told_encoding)
    walk = _ItemWalk(_steps(item), _steps(variant))
    parser = new_parser("utf-8")
    parser.StartElementHandler = walk.start
    parser.EndElementHandler = walk.end
    parser.CharacterDataHandler = walk.data
    with source.binary() as raw:
        feed(parser, raw, encoding)
    if not walk.item_count:
        named = ", ".join(list(walk.paths)[:_NAMED_MAX])
        raise FileRefused(Reason.XML_NO_ITEMS, item=item or "*", paths=named)
    return ItemTable(
        form=TableForm(encoding=encoding, delimiter=";", item=item),
        header=list(walk.columns),
        header_row=0,
        remarks=(remark,) if remark else (),
        root=walk.root,
        spool=walk.spool,
    )


def _steps(path: str | None) -> tuple[str, ...]:
    return tuple(local(step) for step in path.strip("/").split("/")) if path else ()


def _encoding(source: Source, told: str | None) -> tuple[str, Fault | None]:
    """What decodes the file, and a remark where that is not what it declares."""
    if told is not None:
        return source.detect_encoding(told), None
    with source.binary() as raw:
        declared = _DECLARATION.search(raw.read(256))
    found = source.detect_encoding()
    if declared is None or found.startswith("utf-16"):
        return found, None
    name = declared[1].decode().lower()
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        return found, Fault(Reason.ENCODING_DECLARED, declared=name, found=found)
    if codec == "utf-8":
        codec = found if found.startswith("utf-8") else codec
    if source.decodes_as(codec):
        return codec, None
    return found, Fault(Reason.ENCODING_DECLARED, declared=name, found=found)


@dataclass(slots=True)
class _ItemWalk:
    item_steps: tuple[str, ...]
    variant_steps: tuple[str, ...]
    texts: list[str] = field(default_factory=list)
    spool: Spool = field(default_factory=Spool)
    columns: dict[str, int] = field(default_factory=dict)
    paths: dict[str, None] = field(default_factory=dict)
    item_count: int = 0
    root: str = ""
    _names: list[str] = field(default_factory=list)
    _item_depth: int = 0
    _variant_depth: int = 0
    _item: dict[str, list[str]] = field(default_factory=dict)
    _variant: dict[str, list[str]] | None = None
    _variants: list[dict[str, list[str]]] = field(default_factory=list)
    _characters: int = 0
    _text_length: int = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        names = self._names
        names.append(local(name))
        depth = len(names)
        if depth == 1:
            self.root = names[0]
        if depth > DEPTH_MAX:
            raise FileRefused(Reason.XML_LIMIT, item=str(self.item_count + 1))
        self.texts.clear()
        if not self._item_depth:
            if self._is_item(depth):
                self._item_depth = depth
                self._item, self._variant, self._variants = {}, None, []
                self._characters = 0
            elif depth > 1 and len(self.paths) < _NAMED_MAX:
                self.paths["/".join(names[1:])] = None
        elif self._variant is None and self._is_variant(depth):
            self._variant = {}
            self._variant_depth = depth
        if self._item_depth:
            for key, value in attributes.items():
                self._put(f"{self._path()}@{local(key)}", value)

    def data(self, text: str) -> None:
        if not self.texts:
            self._text_length = 0
        self.texts.append(text)
        self._text_length += len(text)
        if self._text_length > LINE_CHARACTERS_MAX:
            raise line_too_long()

    def _is_item(self, depth: int) -> bool:
        if not self.item_steps:
            return depth == 2
        return depth == len(self.item_steps) + 1 and tuple(self._names[1:]) == self.item_steps

    def _is_variant(self, depth: int) -> bool:
        steps = self.variant_steps
        return (
            bool(steps)
            and depth == self._item_depth + len(steps)
            and tuple(self._names[self._item_depth :]) == steps
        )

    def _path(self) -> str:
        return "/".join(self._names[self._item_depth :])

    def end(self, _: str) -> None:
        depth = len(self._names)
        if self._item_depth:
            text = "".join(self.texts).strip()
            if text:
                self._put(self._path() or "text()", text)
            if depth == self._variant_depth and self._variant is not None:
                self._count(1)
                self._variants.append(self._variant)
                self._variant, self._variant_depth = None, 0
            if depth == self._item_depth:
                self._finish()
                self._item_depth = 0
        self.texts.clear()
        self._names.pop()

    def _put(self, path: str, value: str) -> None:
        self._count(len(path) + len(value))
        home = self._item if self._variant is None else self._variant
        home.setdefault(path, []).append(value)

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > _ITEM_CHARACTERS_MAX:
            raise FileRefused(Reason.XML_LIMIT, item=str(self.item_count + 1))

    def _finish(self) -> None:
        self.item_count += 1
        for variant in self._variants or [{}]:
            stated = {**self._item, **variant}
            for path in stated:
                self.columns.setdefault(path, len(self.columns))
            if len(self.columns) > _COLUMNS_MAX:
                raise FileRefused(Reason.XML_LIMIT, item=str(self.item_count))
            cells = [""] * len(self.columns)
            for path, values in stated.items():
                cells[self.columns[path]] = SEPARATOR.join(values)
            self.spool.put((self.item_count, cells, (), ()))
