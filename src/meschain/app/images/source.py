"""Files of a folder or a ZIP file, one after the other, none of them trusted.

Nothing is ever written under a name that an archive gives, and no more is unpacked than a few times
what it weighs: images hardly shrink, so what does is no image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile
from zlib import error as ZlibError  # noqa: N812 – the standard library's name

from meschain.app.images.refusal import ImageReason, ImageRefused
from meschain.app.images.store import BYTES_MAX, Received, receive, too_large

FILES_MAX: Final = 200_000
_UNPACKED_TIMES_MAX: Final = 10
_UNPACKED_BYTES_FREE: Final = 64 << 20
_ENCRYPTED: Final = 0x1
# What systems leave behind by themselves.
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_BROKEN: Final = (BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError)


class SourceRefused(ValueError):
    """Nothing of it is taken; texts are ``cli.failure.image_source_<kind>``."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Found:
    """A file, by its path with ``/``. ``fetch`` copies its content to a path of ours.

    ``fetch`` raises: ImageRefused, SourceRefused.
    """

    name: str
    fetch: Callable[[Path], Received]


@contextmanager
def opened_source(path: Path) -> Iterator[list[Found]]:
    """All files, in the order of their names. Raises: SourceRefused, OSError."""
    if path.is_dir():
        yield sorted(_in_folder(path), key=_by_name)
        return
    with path.open("rb"):  # absent, or not ours to read: said as of any file
        pass
    if not is_zipfile(path):
        raise SourceRefused("kind")
    try:
        archive = ZipFile(path)
    except _BROKEN as broken:
        raise SourceRefused("broken") from broken
    with archive:
        yield sorted(_in_archive(archive, path.stat().st_size), key=_by_name)


def _by_name(found: Found) -> str:
    return found.name


def _is_litter(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in _LITTER for part in name.split("/"))


def _sayable(name: str) -> str:
    """Without what no terminal should be told and no text can hold."""
    return "".join(letter if letter.isprintable() else "�" for letter in name)


def _counted(found: list[Found]) -> list[Found]:
    if len(found) > FILES_MAX:
        raise SourceRefused("many")
    return found


# — folders —


def _in_folder(folder: Path) -> list[Found]:
    found: list[Found] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not _is_litter(each)]
        for file in files:
            path = Path(place) / file
            name = _sayable(path.relative_to(folder).as_posix())
            if not _is_litter(name):
                found.append(Found(name, partial(read_file, path)))
        _counted(found)
    return found


def read_file(path: Path, target: Path) -> Received:
    """Copy a plain file; a link may lead anywhere, and a pipe never end. Raises: ImageRefused."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as wrong:
        reason = ImageReason.NO_FILE if path.is_symlink() else ImageReason.UNREADABLE
        raise ImageRefused(reason) from wrong
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ImageRefused(ImageReason.NO_FILE)
        if about.st_size > BYTES_MAX:
            raise too_large()
        try:
            return receive(file, target)
        except OSError as wrong:
            raise ImageRefused(ImageReason.UNREADABLE) from wrong


# — archives —


def _in_archive(archive: ZipFile, packed_bytes: int) -> list[Found]:
    allowance = _Allowance(_UNPACKED_TIMES_MAX * packed_bytes + _UNPACKED_BYTES_FREE)
    members = [each for each in archive.infolist() if not each.is_dir()]
    if len(members) > FILES_MAX:
        raise SourceRefused("many")
    named = [(_sayable(each.filename.replace("\\", "/")), each) for each in members]
    return [
        Found(name, _unpacker_of(archive, member, allowance, is_unsafe=_is_unsafe(name)))
        for name, member in named
        if not _is_litter(name) or _is_unsafe(name)
    ]


@dataclass(slots=True)
class _Allowance:
    """Bytes that may still be unpacked."""

    left: int

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise SourceRefused("bomb")


def _is_unsafe(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def _unpacker_of(
    archive: ZipFile, member: ZipInfo, allowance: _Allowance, *, is_unsafe: bool
) -> Callable[[Path], Received]:
    def fetch(target: Path) -> Received:
        if is_unsafe:
            raise ImageRefused(ImageReason.NAME_UNSAFE)
        if member.flag_bits & _ENCRYPTED:
            raise ImageRefused(ImageReason.UNREADABLE)
        if member.file_size > BYTES_MAX:
            raise too_large()
        try:
            with archive.open(member) as file:
                return receive(_Metered(file, allowance), target)
        except (OSError, *_BROKEN) as broken:
            raise ImageRefused(ImageReason.UNREADABLE) from broken

    return fetch


class _Metered:
    """A member as it is unpacked, counted as it is: its header may lie."""

    def __init__(self, file: IO[bytes], allowance: _Allowance) -> None:
        self._file = file
        self._allowance = allowance

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._allowance.spend(len(piece))
        return piece
