from __future__ import annotations

import pytest

from meschain.exchange.sheet.split import split_rows


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (["a;b\r\n", "1;2\r\n"], [(1, ["a", "b"]), (2, ["1", "2"])]),
        (["a;b\n", "\n", ";\n", "1;2"], [(1, ["a", "b"]), (4, ["1", "2"])]),
        (["a;b\n", '"x;y";2\n'], [(1, ["a", "b"]), (2, ["x;y", "2"])]),
        (["a;b\n", '1;5" ekran\n'], [(1, ["a", "b"]), (2, ["1", '5" ekran'])]),
        (["a;b\n", '"iki\n', 'satır";2\n', "3;4\n"],
         [(1, ["a", "b"]), (2, ["iki\nsatır", "2"]), (3, ["3", "4"])]),
    ],
)  # fmt: skip
def test_rows_are_numbered_as_a_spreadsheet_numbers_them(
    lines: list[str], rows: list[tuple[int, list[str]]]
) -> None:
    assert list(split_rows(lines, ";")) == rows


@pytest.mark.parametrize(
    "broken",
    [
        '1;"never closed\n',
        '"1";"never closed\n',
        '1;"closed" wrongly\n',
    ],
)
def test_a_broken_quote_costs_one_row_and_not_the_rest(broken: str) -> None:
    lines = ["a;b\n", broken, "2;x\n", '3;"quoted; well"\n', '4;"two\n', 'lines"\n', "5;y\n"]
    assert list(split_rows(lines, ";"))[1:] == [
        (2, broken.rstrip("\n")),
        (3, ["2", "x"]),
        (4, ["3", "quoted; well"]),
        (5, ["4", "two\nlines"]),
        (6, ["5", "y"]),
    ]


def test_a_quote_that_would_swallow_rows_into_a_wrong_width_is_broken() -> None:
    lines = ["a;b;c\n", '1;"open;2\n', '3;4" ;5\n', "6;7;8\n"]
    assert [number for number, _ in split_rows(lines, ";")] == [1, 2, 3, 4]


def test_every_line_with_a_broken_quote_is_still_read_in_linear_time() -> None:
    lines = ["a;b\n", *['1;"x\n'] * 3000]
    assert sum(isinstance(row, str) for _, row in split_rows(lines, ";")) == 3000
