"""Logs: constant messages with key–value pairs; lines on a terminal, JSON in the data folder.

Neither secrets nor personal data may get in. Messages are constant, pairs are ids and numbers; of
an exception the type and the places are kept, and its words only where they are ours or the
operating system's. Words of others quote what they were given. Libraries speak from warnings on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg

if TYPE_CHECKING:
    from typing import TextIO

_OWN: Final = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", (), None)) | {"message": "", "asctime": ""}
)
_OURS: Final = "meschain"
_NAME: Final = re.compile(r"meschain-(\d{8})(?:-(\d+))?\.jsonl")
_QUOTED: Final = re.compile(r"""["'«“].*["'»”]""")
FILE_BYTES_MAX: Final = 50_000_000
FILES_MAX: Final = 14  # the oldest goes when there are more
_BYTES_PER_READ: Final = 1_048_576


class KeyValueFormatter(logging.Formatter):
    """``2026-11-20T11:04:05.123Z warning meschain.sync.lane channel is away account=3``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the lines of an exception."""
        pairs = [f"{name}={_quoted(value)}" for name, value in _pairs(record).items()]
        head = (_at(record), record.levelname.lower(), record.name, record.getMessage(), *pairs)
        line = " ".join(head)
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + "\n".join(_story(record.exc_info[1]))
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, then the pairs; ``exception`` is a list.

    ``lane`` and ``account`` are those of the task that speaks, where the pairs do not say.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        said: dict[str, object] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **_of_task(),
            **_pairs(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            said["exception"] = _story(record.exc_info[1])
        return msgspec.json.encode(said, enc_hook=str).decode()


def _at(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _pairs(record: logging.LogRecord) -> dict[str, object]:
    return {
        name: words_of(value) if isinstance(value, BaseException) else value
        for name, value in vars(record).items()
        if name not in _OWN and name != "taskName"
    }


def _of_task() -> dict[str, object]:
    """The engine names its tasks by lane and account."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return {}
    if task is None or task.get_name().startswith("Task-"):
        return {}
    lane, _, account = task.get_name().partition(":")
    return {"lane": lane, "account": int(account)} if account.isdigit() else {"lane": lane}


def words_of(error: BaseException) -> str:
    """What an exception may say in a log: never what it was given."""
    kind = type(error).__name__
    if isinstance(error, psycopg.Error):
        # The server's own sentence; its details show rows. What it quotes is a value or a name.
        said = (error.diag.message_primary or "").partition("\n")[0]
        return " ".join(filter(None, (kind, error.sqlstate, _QUOTED.sub("…", said))))
    if isinstance(error, OSError):
        return f"{kind}: {error.strerror or error.errno}"
    return f"{kind}: {error}" if type(error).__module__.startswith(_OURS) else kind


def _story(error: BaseException) -> list[str]:
    """What led to it, outermost first: words, then the places it passed."""
    told: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(told) < 200:
        told.append(words_of(seen))
        told += [
            f"  {frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(seen.__traceback__)
        ]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return told


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(char.isspace() for char in text) else text


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send this process's log to ``stream`` (standard error); the last call counts."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    handler.setLevel(level.upper())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level.upper())
    # A pool that tries again says so at every attempt; what matters is that the database is away.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def log_to_folder(folder: Path, level: str) -> None:
    """Write JSON lines to ``folder`` too, from ``info`` on, or from a lower ``level``."""
    handler = FolderHandler(folder)
    handler.setFormatter(JsonFormatter())
    lowest = min(logging.INFO, logging.getLevelNamesMapping()[level.upper()])
    handler.setLevel(lowest)
    logging.getLogger().addHandler(handler)
    ours = logging.getLogger(_OURS)
    ours.setLevel(min(ours.level or lowest, lowest))


class FolderHandler(logging.Handler):
    """A file a day, and a further one when it is full; any number of processes write to it.

    Each line is one write at the end of the file, so that no line is torn and nothing is renamed
    under another process. A disk that is full costs lines, never the work.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` is made when the first line is written."""
        super().__init__()
        self._folder = folder
        self._file: int | None = None
        self._day = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            line = (self.format(record) + "\n").encode()
            day = f"{datetime.fromtimestamp(record.created, UTC):%Y%m%d}"
            if self._file is None or day != self._day or self._is_full():
                self._open(day)
            assert self._file is not None
            os.write(self._file, line)
        except OSError:
            self.close()
        except Exception:  # noqa: BLE001 – a log that fails must not end what it tells of
            self.handleError(record)

    def _is_full(self) -> bool:
        assert self._file is not None
        return os.fstat(self._file).st_size > FILE_BYTES_MAX

    def _open(self, day: str) -> None:
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = max(
            (each.number for each in log_files(self._folder) if each.day == day), default=0
        )
        path = _path(self._folder, day, number)
        if path.exists() and path.stat().st_size > FILE_BYTES_MAX:
            path = _path(self._folder, day, number + 1)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._day = day
        for old in log_files(self._folder)[:-FILES_MAX]:
            old.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the file go; a later line opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        super().close()


# — reading —


@dataclass(frozen=True, slots=True, order=True)
class LogFile:
    """A file of the folder."""

    day: str
    number: int
    path: Path


def _path(folder: Path, day: str, number: int) -> Path:
    return folder / (f"meschain-{day}.jsonl" if number == 0 else f"meschain-{day}-{number}.jsonl")


def log_files(folder: Path) -> list[LogFile]:
    """The files there, oldest first."""
    if not folder.is_dir():
        return []
    matches = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir())
    return sorted(LogFile(m[1], int(m[2] or 0), path) for path, m in matches if m)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines are wanted; what is None does not matter. ``accounts``: numbers and names."""

    level: str = "debug"
    lane: str | None = None
    accounts: frozenset[str] | None = None
    since: datetime | None = None

    def takes(self, line: Mapping[str, object]) -> bool:
        """Whether a line is one of them."""
        levels = logging.getLevelNamesMapping()
        level = levels.get(str(line.get("level", "")).upper(), logging.INFO)
        return (
            level >= levels[self.level.upper()]
            and (self.lane is None or line.get("lane") == self.lane)
            and (self.accounts is None or str(line.get("account")) in self.accounts)
            and (self.since is None or str(line.get("at")) >= f"{self.since:%Y-%m-%dT%H:%M:%S}")
        )


class LogReader:
    """Reads a folder's lines, and later those that came since."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self._folder = folder
        self._offsets: dict[Path, int] = {}

    def read(self, wanted: LogFilter) -> Iterator[dict[str, object]]:
        """Whole lines that were not read before, oldest file first."""
        since = f"{wanted.since:%Y%m%d}" if wanted.since else ""
        for each in log_files(self._folder):
            if each.day >= since:
                yield from filter(wanted.takes, self._lines(each.path))

    def _lines(self, path: Path) -> Iterator[dict[str, object]]:
        rest = b""
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            while read := file.read(_BYTES_PER_READ):
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    try:
                        yield msgspec.json.decode(line, type=dict[str, object])
                    except msgspec.MsgspecError:
                        continue  # cut by a full disk
            self._offsets[path] = file.tell() - len(rest)
