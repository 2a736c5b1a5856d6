"""Where backups lie: a folder, or a bucket of S3-compatible storage."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from meschain.app.keeping.bucket import SCHEME, Bucket

_PARTIAL: Final = ".partial-"
_LEFT_AFTER: Final = timedelta(days=1)


class Storage(Protocol):
    """Holds files by name. What is being written is not there before it is whole.

    Every method raises OSError of a folder (its ``filename`` is set), BucketFailed of a bucket.
    """

    def address(self, name: str = "") -> str:
        """What to call a file, or the place itself, before a reader."""
        ...

    def names(self) -> list[str]:
        """The files there, in no order."""
        ...

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to write to; it is there when the block has ended without an exception."""
        ...

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to read from, with ``seek``."""
        ...

    def size_bytes(self, name: str) -> int:
        """How long a file is."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Remove files; one that is gone already is no error."""
        ...

    def sweep(self, now: datetime) -> None:
        """Remove what killed writers left."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine, made when something is written."""

    path: Path

    def address(self, name: str = "") -> str:
        return str(self.path / name)

    def names(self) -> list[str]:
        try:
            return [path.name for path in self.path.iterdir()]
        except FileNotFoundError:
            return []

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(prefix=_PARTIAL, dir=self.path)
        partial = Path(made)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path / name)
        except OSError as wrong:
            wrong.filename = wrong.filename or str(self.path)  # a full disk does not say which
            raise
        finally:
            partial.unlink(missing_ok=True)
        place = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        with (self.path / name).open("rb") as file:
            yield file

    def size_bytes(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def sweep(self, now: datetime) -> None:
        # One that is being written to belongs to a backup that somebody else makes just now.
        old = (now - _LEFT_AFTER).timestamp()
        left = [each for each in self.path.glob(_PARTIAL + "*") if each.stat().st_mtime < old]
        self.delete(each.name for each in left)


def storage_at(address: str, s3_file: Path) -> Storage:
    """The place that an address names: a path, or ``s3://bucket/prefix``. Raises BucketFailed.

    ``s3_file``: how a bucket is reached, where the environment does not say.
    """
    if address.startswith(SCHEME):
        return Bucket.at(address, s3_file)
    return Folder(Path(address).expanduser().absolute())


def file_at(address: str, s3_file: Path) -> tuple[Storage, str]:
    """The storage and the name of one file in it. Raises BucketFailed."""
    if address.startswith(SCHEME):
        place, _, name = address.rpartition("/")
        return Bucket.at(place, s3_file), name
    path = Path(address).expanduser().absolute()
    return Folder(path.parent), path.name
