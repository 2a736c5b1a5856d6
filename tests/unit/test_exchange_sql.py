from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from meschain import exchange
from meschain.exchange import FileRefused, Reason
from meschain.exchange.opencart.sql import InsertedRow, read_rows


def rows(dump: str) -> list[InsertedRow]:
    return list(read_rows(io.StringIO(dump, newline=""), lambda _table: True))


def values(dump: str) -> list[dict[str, str | None]]:
    return [row.values for row in rows(dump)]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("'a;b)c,(d'", "a;b)c,(d"),
        (r"'it\'s'", "it's"),
        ("'it''s'", "it's"),
        (r"'a\\'", "a\\"),
        (r"'\r\n\t\0\Z'", "\r\n\t\0\x1a"),
        (r"'100\%'", r"100\%"),
        ("'line\nend'", "line\nend"),
        ("'-- no comment'", "-- no comment"),
        ('"double ""quoted"" \'s"', 'double "quoted" \'s'),
        ("_utf8mb4 'ş'", "ş"),
        ("-12.50", "-12.50"),
        ("NULL", None),
        ("NOW()", None),
        ("CONCAT('a', (SELECT ')'))", None),
        ("", None),
    ],
)
def test_a_value_is_read_as_the_server_would(literal: str, value: str | None) -> None:
    dump = f"INSERT INTO `t` (`a`, `b`) VALUES ({literal}, 7);"  # noqa: S608  # a file
    assert values(dump) == [{"a": value, "b": "7"}]


def test_columns_come_from_the_create_statement_where_the_insert_names_none() -> None:
    dump = """
        CREATE TABLE IF NOT EXISTS `shop`.`t` (
          `id` int(11) NOT NULL DEFAULT '0' COMMENT 'a, b (c)',
          kind enum('x','y') NOT NULL,
          `price` decimal(15,4) NOT NULL,
          PRIMARY KEY (`id`),
          UNIQUE KEY `k` (`kind`,`price`)
        ) ENGINE=InnoDB;
        INSERT INTO t VALUES (1,'x',2.5),(2,'y',3);
    """
    assert [tuple(row) for row in values(dump)] == [("id", "kind", "price")] * 2
    assert [row["price"] for row in values(dump)] == ["2.5", "3"]


def test_comments_and_other_statements_are_passed_over() -> None:
    dump = """----------------
        -- it's a comment; INSERT INTO t (a) VALUES (1);
        /*!40101 SET NAMES utf8 */; # don't
        SET sql_mode = ''; LOCK TABLES `t` WRITE;
        INSERT IGNORE INTO t (a) VALUES /* first */ (1), (2)
        ON DUPLICATE KEY UPDATE a = VALUES(a);
        REPLACE INTO t (a) VALUE (3);
        UNLOCK TABLES;
        -- the end, without a line end"""
    assert [row["a"] for row in values(dump)] == ["1", "2", "3"]


def test_rows_know_their_lines() -> None:
    dump = (
        "-- head\n\nINSERT INTO t (a)\nVALUES ('x\ny'),\n(2),\n\n(3);\n"
        "INSERT INTO t (a) VALUES (4);"
    )
    assert [row.line for row in rows(dump)] == [4, 6, 8, 9]


def test_a_row_that_does_not_fit_its_columns_is_told_apart() -> None:
    first, second = rows("INSERT INTO t (a, b) VALUES (1), (1, 2);")
    assert (first.values, first.columns_expected, first.values_found) == ({}, 2, 1)
    assert second.values == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("dump", "reason"),
    [
        ("INSERT INTO t (a) VALUES ('x", Reason.DUMP_TRUNCATED),
        ("INSERT INTO t (a) VALUES ('x'), (", Reason.DUMP_TRUNCATED),
        ("/* open", Reason.DUMP_TRUNCATED),
        ("INSERT INTO t VALUES (1);", Reason.DUMP_NO_COLUMNS),
    ],
)
def test_a_dump_that_breaks_off_is_refused(dump: str, reason: Reason) -> None:
    with pytest.raises(FileRefused) as refusal:
        rows(dump)
    assert refusal.value.reason is reason


def test_strings_longer_than_the_buffer_are_whole() -> None:
    long = "ğ" * 3_000_000
    dump = f"INSERT INTO t (a) VALUES ('{long}');"  # noqa: S608  # a file
    assert values(dump) == [{"a": long}]


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5 matches too little then (gh-106052); an atomic group is right in all."""
    sources = Path(exchange.__file__).parents[1].rglob("*.py")
    possessive = re.compile(r"\)(?:\*|\+|\?|\{\d*,?\d*\})\+")
    found = [
        f"{path.name}:{number}"
        for path in sources
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if possessive.search(line)
    ]
    assert found == []
