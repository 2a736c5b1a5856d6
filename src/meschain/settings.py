"""What a process of the hub is told by its environment and its settings file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.keeping.backups import BackupPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_FILE: Final = "settings.toml"


class SettingsInvalid(ValueError):
    """The settings file or a variable of the environment cannot be understood."""


class HomeUnusable(OSError):
    """The data folder cannot be made; ``filename`` names it, ``strerror`` says why."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``settings.toml`` in the data folder; every line of it may be left out."""

    database_url: str | None = None
    language: str | None = None
    log_level: str | None = None
    public_url: str | None = None
    integrator: str | None = None
    backup: BackupPlan | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the hub keeps what, and how it speaks.

    ``home``: the data folder. ``database_url`` None: the embedded PostgreSQL. ``public_url``: under
    which marketplaces reach this hub's webhooks and images. ``loopback_only``: live hosts are
    refused before anything is sent, as tests and the demo want it. ``backup`` None: the hub makes
    none by itself. ``merchant``: for whom commands work that are told none. ``integrator``: as
    which this hub introduces itself where a marketplace asks for a name; None: as each marketplace
    has it for software of one's own.
    """

    home: Path
    database_url: str | None = None
    language: str | None = None
    log_level: str = "warning"
    public_url: str | None = None
    loopback_only: bool = False
    merchant: str | None = None
    integrator: str | None = None
    backup: BackupPlan | None = None

    @property
    def backup_address(self) -> str:
        """Where backups lie, unless a command is told otherwise: a path or ``s3://…``."""
        return (self.backup and self.backup.folder) or str(self.home / "backups")

    @property
    def s3_file(self) -> Path:
        """How S3-compatible storage is reached, where the environment does not say."""
        return self.home / "s3.toml"

    @property
    def backup_key_file(self) -> Path | None:
        """The file with the key that seals them."""
        given = self.backup.key_file if self.backup else None
        return Path(given).expanduser().absolute() if given else None

    @property
    def master_key(self) -> Path:
        """The file that opens every sealed record; outside the database on purpose."""
        return self.home / "master.key"

    @property
    def erasure_log(self) -> Path:
        """Which orders' buyers asked to be forgotten, for the day a backup is restored."""
        return self.home / "erasure-requests.jsonl"

    @property
    def postgres_dir(self) -> Path:
        """The embedded server's folder."""
        return self.home / "postgres"

    @property
    def images_folder(self) -> Path:
        """Where images lie, by the hash of their content."""
        return self.home / "images"

    @property
    def log_folder(self) -> Path:
        """Where hubs and workers write their logs; see ``telemetry``."""
        return self.home / "logs"

    @property
    def address_file(self) -> Path:
        """Where a running hub says how it is reached."""
        return self.home / "hub.json"

    def make_home(self) -> None:
        """Make the data folder, readable by us only, when it is absent. Raises HomeUnusable."""
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as wrong:
            raise HomeUnusable(wrong.errno, wrong.strerror, str(self.home)) from wrong

    @classmethod
    def without_file(cls) -> Settings:
        """Where the data folder is and how to speak, when the rest cannot be understood."""
        return cls(home=_home(os.environ), language=os.environ.get("MESCHAIN_LANG"))

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Environment first, then the file, then defaults. Raises SettingsInvalid."""
        env = os.environ if environment is None else environment
        home = _home(env)
        file = _read(home / _FILE)
        level = (env.get("MESCHAIN_LOG_LEVEL") or file.log_level or "warning").lower()
        if level not in LOG_LEVELS:
            raise SettingsInvalid(f"log level {level!r}: one of {', '.join(LOG_LEVELS)}")
        return cls(
            home=home,
            database_url=env.get("DATABASE_URL") or file.database_url,
            # The locale of the environment comes last, in messages.language_of_environment.
            language=env.get("MESCHAIN_LANG") or file.language,
            log_level=level,
            public_url=env.get("MESCHAIN_PUBLIC_URL") or file.public_url,
            loopback_only=env.get("MESCHAIN_LOOPBACK_ONLY", "") not in {"", "0"},
            merchant=env.get("MESCHAIN_MERCHANT") or None,
            integrator=env.get("MESCHAIN_INTEGRATOR") or file.integrator,
            backup=file.backup,
        )


def _home(env: Mapping[str, str]) -> Path:
    given = env.get("MESCHAIN_HOME")
    if given:
        return Path(given).expanduser().absolute()
    shared = env.get("XDG_DATA_HOME")
    base = Path(shared) if shared else Path(env.get("HOME") or "~").expanduser() / ".local/share"
    return (base / "meschain").absolute()


def _read(path: Path) -> _File:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_File)
    except (FileNotFoundError, NotADirectoryError):
        return _File()
    except (msgspec.MsgspecError, OSError) as wrong:
        raise SettingsInvalid(f"{path}: {wrong}") from wrong
