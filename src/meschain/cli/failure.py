"""What goes wrong as expected: a sentence that says what happened and what to do next."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg_pool import PoolTimeout

from meschain.app.commands.import_products import ImportBusy, LocationUnknown
from meschain.app.keeping.bucket import BucketFailed
from meschain.app.queries.paging import CursorInvalid
from meschain.channel.http import TransportLost
from meschain.channel.transport import LiveHostRefused
from meschain.exchange import FileRefused
from meschain.registry import UnknownMarketplace, marketplaces
from meschain.settings import HomeUnusable, SettingsInvalid
from meschain.store.backup import (
    BackupDamaged,
    BackupDiffers,
    BackupIncomplete,
    BackupLocked,
    BackupUnknown,
    DatabaseInUse,
)
from meschain.store.embedded import EmbeddedPostgresError
from meschain.store.migrate import (
    BackupNewerThanProgram,
    DatabaseNewerThanProgram,
    MigrationChanged,
)
from meschain.store.vault import MasterKeyInvalid, MasterKeyMissing, VaultLocked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.messages import Catalog, Param

_PREFIX: Final = "cli.failure."


class Failure(Exception):
    """Ends a command with the text ``cli.failure.<kind>`` and a status that is not 0."""

    status: int = 1

    def __init__(self, kind: str, **params: Param) -> None:
        """``params`` are those of the text."""
        super().__init__(kind)
        self.kind = kind
        self.params: Mapping[str, Param] = params


class Incomplete(Failure):
    """The command did its work, and part of it was refused; what was, has been said."""


def explain(defect: BaseException, catalog: Catalog) -> str | None:
    """The sentence for what may be expected to go wrong; None: a defect of ours."""
    match defect:
        case Failure():
            return catalog.text(_PREFIX + defect.kind, **defect.params)
        case FileRefused():
            return catalog.text(defect.reason, **defect.params)
        case EmbeddedPostgresError():
            said = {name: str(value) for name, value in defect.params.items()}
            return catalog.text(defect.code, **said)
        case BucketFailed():
            said = {"address": defect.address, "words": defect.words}
            return catalog.text(f"{_PREFIX}bucket_{defect.reason}", **said)
        case OSError(errno=errno.EADDRINUSE):
            return catalog.text(_PREFIX + "no_free_port", words=_first_line(defect))
        case BaseExceptionGroup():
            return next(filter(None, (explain(each, catalog) for each in defect.exceptions)), None)
    for expected, kind, params in _EXPECTED:
        if isinstance(defect, expected):
            return catalog.text(_PREFIX + kind, **params(defect))
    return _unusable(defect, catalog) if isinstance(defect, OSError) else None


def _first_line(defect: BaseException) -> str:
    lines = str(defect).strip().splitlines()
    return lines[0] if lines else type(defect).__name__


def _nothing(_: BaseException) -> dict[str, Param]:
    return {}


def _words(defect: BaseException) -> dict[str, Param]:
    return {"words": _first_line(defect)}


def _marketplace(defect: BaseException) -> dict[str, Param]:
    return {"name": str(defect.args[0]), "known": ", ".join(sorted(marketplaces()))}


def _code(defect: BaseException) -> dict[str, Param]:
    return {"code": str(defect.args[0] if defect.args else "")}


def _versions(defect: BaseException) -> dict[str, Param]:
    assert isinstance(defect, DatabaseNewerThanProgram)
    return {"found": str(defect.found), "known": str(defect.known)}


def _file(defect: BaseException) -> dict[str, Param]:
    assert isinstance(defect, OSError)
    return {"file": str(defect.filename or "–"), "words": defect.strerror or str(defect)}


def _unusable(defect: OSError, catalog: Catalog) -> str:
    """What is wrong with a file, where we know it better than the system says it."""
    name = str(defect.filename or "")
    kind = f"file_{errno.errorcode.get(defect.errno or 0, '').lower()}"
    if name and _PREFIX + kind in catalog:
        return catalog.text(_PREFIX + kind, file=name)
    params = {"file": name} if name else {}
    kind = "file_unusable" if name else "file_unnamed"
    return catalog.text(_PREFIX + kind, words=defect.strerror or str(defect), **params)


_Params = Callable[[BaseException], "dict[str, Param]"]
# The first that fits counts: what is particular stands before what is general.
_EXPECTED: Final[tuple[tuple[type[BaseException], str, _Params], ...]] = (
    (UnknownMarketplace, "marketplace_unknown", _marketplace),
    (LocationUnknown, "location_unknown", _code),
    (ImportBusy, "import_busy", _nothing),
    (psycopg.errors.NumericValueOutOfRange, "number_range", _nothing),
    (psycopg.errors.InsufficientPrivilege, "database_privilege", _words),
    (psycopg.errors.DiskFull, "database_full", _words),
    (psycopg.OperationalError, "database_away", _words),
    (psycopg.InterfaceError, "database_away", _words),
    (PoolTimeout, "database_away", _words),
    (MasterKeyMissing, "master_key_missing", _words),
    (MasterKeyInvalid, "master_key_invalid", _words),
    (VaultLocked, "vault_locked", _nothing),
    (BackupUnknown, "backup_unknown", _nothing),
    (BackupLocked, "backup_locked", _nothing),
    (BackupDamaged, "backup_damaged", _words),
    (BackupDiffers, "backup_differs", _words),
    (BackupIncomplete, "backup_incomplete", _words),
    (DatabaseInUse, "database_in_use", _nothing),
    (BackupNewerThanProgram, "backup_newer", _versions),
    (DatabaseNewerThanProgram, "database_newer", _versions),
    (MigrationChanged, "migration_changed", lambda defect: {"name": str(defect)}),
    (LiveHostRefused, "live_refused", _words),
    (TransportLost, "transport_lost", _words),
    (SettingsInvalid, "settings_invalid", _words),
    (CursorInvalid, "cursor_invalid", _nothing),
    (HomeUnusable, "home_unusable", _file),
    (FileNotFoundError, "file_missing", _file),
)
