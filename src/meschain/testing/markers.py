"""Finds planted markers anywhere in a database, also in what is sealed or deflated."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from meschain.app.commands.add_account import CREDENTIALS
from meschain.store.vault import VaultLocked
from meschain.sync.intake import PERSON, RAW
from meschain.sync.webhook import DELIVERY, SECRET

if TYPE_CHECKING:
    from meschain.store.vault import Vault

_PURPOSES: Final = (PERSON, RAW, DELIVERY, SECRET, CREDENTIALS)


def places_of(
    connection: psycopg.Connection[tuple[object, ...]], vault: Vault, markers: Collection[str]
) -> dict[str, set[str]]:
    """``table.column`` → the markers met there; every column of every table is read as its owner.

    Letters that JSON escapes, in ASCII or not, are found too.
    """
    for merchant, number, wrapped in connection.execute(
        "SELECT merchant_id, key_number, wrapped FROM data_key"
    ).fetchall():
        vault.load_data_key(*_key(merchant, number), bytes(_bytes(wrapped)))
    found: dict[str, set[str]] = {}
    for place, text in _texts(connection, vault):
        met = {each for each in markers if each in text}
        if met:
            found.setdefault(place, set()).update(met)
    return found


def _texts(
    connection: psycopg.Connection[tuple[object, ...]], vault: Vault
) -> Iterator[tuple[str, str]]:
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace ORDER BY relname"
    ).fetchall()
    for (table,) in tables:
        cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(str(table))))
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        for values in cursor.fetchall():
            row: dict[str, Any] = dict(zip(names, values, strict=True))
            for name, value in row.items():
                yield f"{table}.{name}", _plain(value, row, vault)


def _plain(value: object, row: dict[str, Any], vault: Vault) -> str:
    if not isinstance(value, bytes):
        return str(value)
    if row.get("key_number") is not None and row.get("merchant_id") is not None:
        for purpose in _PURPOSES:
            with suppress(VaultLocked):
                key = _key(row["merchant_id"], row["key_number"])
                return _decoded(vault.open(*key, purpose, value))
    with suppress(zlib.error):
        return _decoded(zlib.decompress(value))
    return _decoded(value)


def _decoded(plain: bytes) -> str:
    text = plain.decode("utf-8", "replace")
    return text + plain.decode("unicode_escape", "replace") if rb"\u" in plain else text


def _key(merchant: object, number: object) -> tuple[int, int]:
    assert isinstance(merchant, int)
    assert isinstance(number, int)
    return merchant, number


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
