"""Every schema that was ever in use is brought to today's with all its rows."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from meschain.store.backup.content import Table, read_rows, spell_plainly, tables
from meschain.store.migrate import migrate, migrations
from meschain.testing.database import DatabaseServer
from meschain.testing.shop import Shop
from tests.store.test_isolation import SHARED, fill

pytestmark = pytest.mark.slow

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.mark.parametrize("version", [1, 4, 7, 12])
def test_rows_of_every_table_of_an_earlier_schema_come_through(
    version: int, connection: Connection, database_server: DatabaseServer
) -> None:
    """They are those of today's, less what was added since."""
    for name, mark in (("Kaya", "X"), ("Demir", "Y")):
        fill(Shop.open(connection, name), mark)
    earlier = {each.version: each.checksum for each in migrations() if each.version <= version}
    with database_server.database() as url:
        with psycopg.connect(url, autocommit=True) as old:
            old.execute("DROP SCHEMA public CASCADE")
            old.execute("CREATE SCHEMA public")
        migrate(url, only=earlier)
        with psycopg.connect(url) as old:
            copied = copy(connection, old)
            before = content(old, copied)
        assert len(before) > 25
        assert not [table.name for table, rows in before.items() if not rows]
        applied = migrate(url)
        assert len(applied) > len(migrations()) - len(earlier)
        with psycopg.connect(url, autocommit=True) as now:
            after = content(now, copied)
            changed = [table.name for table in copied if before[table] != after[table]]
            assert changed == []
            # And it works: a merchant who comes now counts goods.
            shop = Shop.open(now, "New")
            shop.variant("N", on_hand=3)
            shop.move({"N": -1}, "adjustment")
        assert migrate(url) == []


def copy(source: Connection, target: Connection) -> list[Table]:
    """Fill the tables of ``target`` from those of ``source``, as far as they are alike."""
    theirs = {table.name: table for table in tables(source)}
    copied: list[Table] = []
    target.execute("SET LOCAL session_replication_role = replica")  # references in any order
    for table in tables(target):
        if table.name in SHARED:
            continue  # migrations fill these themselves
        columns = tuple(each for each in table.columns if each in theirs[table.name].columns)
        alike = Table(table.name, columns, table.key, 0)
        copied.append(alike)
        target.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.Identifier(table.name)))
    for alike in copied:
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(alike.name), sql.SQL(", ").join(map(sql.Identifier, alike.columns))
        )
        with target.cursor() as cursor, cursor.copy(statement) as rows:
            for row in read_rows(source, alike):
                rows.write(row)
    target.execute(
        "SELECT setval(format('%I', sequencename)::regclass, 1000) FROM pg_sequences"
        " WHERE schemaname = 'public'"
    )
    return copied


def content(connection: Connection, copied: list[Table]) -> dict[Table, list[bytes]]:
    """The rows of those tables, in those columns."""
    with connection.transaction():
        spell_plainly(connection)
        return {table: list(read_rows(connection, table)) for table in copied}
