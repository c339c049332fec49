"""Cells, columns and colours: what a person's terminal gets stands straight and does nothing."""

import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmctl import screen
from swarmctl.screen import BOLD, Column, Screen

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

NASTY = [
    "\x1b[2J\x1b]0;title\x07",
    "\u202etxet desrever\u202c",
    "日本語 ｶﾀｶﾅ 全角",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031ealgo",
    "👨‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️",
    "one\ntwo\r\n\tthree\u2028four",
    "\u0301 leading",
    "한국어 \u1112\u1161\u11ab",
    "नमस्ते",
    "zero\u200b\u2060\ufeff\u00adwidth",
    "tags\U000e0041\U000e0042 and \U000e0100",
    "C:\\temp",
]


# -- text in cells -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("", 0),
        ("abc", 3),
        ("naïve", 5),
        ("nai\u0308ve", 5),
        ("日本語", 6),
        ("ｶﾅ", 2),
        ("🐝", 2),
        ("🫨", 2),
        ("\U0001d518", 1),
        ("한", 2),
        ("\u1112\u1161\u11ab", 2),
        ("…", 1),
        ("🇩🇪", 2),
    ],
)
def test_cells(text: str, cells: int) -> None:
    assert screen.width(text) == cells


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("C:\\temp", "C:\\temp"),
        ("one\ntwo\r\n\tthree", "one↵two↵ three"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202eabc", "\\u202eabc"),
        ("👨‍👩‍👧 👍🏽 ❤️", "👨👩👧 👍 ❤"),
        ("\u0301abc", "abc"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("a" + "\u0301" * 40 + "b", "a" + "\u0301" * screen.MARKS + "b"),
        ("tag\U000e0041", "tag"),
    ],
)
def test_what_joins_varies_or_is_obeyed_is_not_shown(text: str, shown: str) -> None:
    assert screen.shown(text) == shown


@given(st.text() | st.sampled_from(NASTY))
def test_what_is_shown_is_one_harmless_line_that_every_terminal_counts_alike(text: str) -> None:
    shown = screen.shown(text)
    for character in shown:
        code = ord(character)
        assert 0x20 <= code < 0x7F or code >= 0xA0
        assert unicodedata.category(character) not in ("Cf", "Cc", "Cs", "Zl", "Zp")
    assert not re.search(f"[\u0300-\u036f]{{{screen.MARKS + 1}}}", shown)
    assert not shown or screen.width(shown[0]) > 0


@given(st.text() | st.sampled_from(NASTY), st.integers(0, 30))
def test_what_is_cut_fits_and_says_so(text: str, cells: int) -> None:
    shown = screen.shown(text)
    cut = screen.clip(shown, cells)
    assert screen.width(cut) <= cells
    assert cut == shown if screen.width(shown) <= cells else cut.endswith("…") or cells == 0
    assert screen.width(screen.pad(cut, cells)) == cells
    assert screen.pad(cut, cells, right=True).endswith(cut)


@given(st.text() | st.sampled_from(NASTY), st.integers(2, 30))
def test_wrapping_keeps_everything_but_blanks(text: str, cells: int) -> None:
    shown = screen.shown(text)
    lines = screen.wrap(shown, cells)
    assert all(screen.width(line) <= cells for line in lines)
    assert "".join(lines).replace(" ", "") == shown.replace(" ", "")


# -- tables --------------------------------------------------------------------------------------------


def test_columns_that_are_empty_in_every_row_are_left_out() -> None:
    table = Screen(80).table(["ID", "TEAM", "WHAT"], [[1, None, "one"], [20, "", "two"]])
    assert table == ["ID  WHAT", " 1  one", "20  two"]
    assert Screen(80).table(["ID", "TEAM"], []) == []
    assert Screen(80).table(["ID", "TEAM"], [[None, "-"]]) == []


def test_the_last_column_has_what_is_left() -> None:
    table = Screen(30).table(["ID", "WHAT"], [[1, "a text that is longer than the line"]])
    assert table == ["ID WHAT", " 1 a text that is longer than…"]
    assert len(table[1]) == 30
    (_, row) = Screen(30).table(["NAME", "WHAT"], [["日本", "日本語日本語日本語日本語日本語日本語"]])
    assert screen.width(row) in (29, 30)


def test_where_there_is_no_room_names_are_cut_then_columns_left_out() -> None:
    header: list[Column | str] = ["ID", Column("NAME", least=6), Column("A", spare=1), Column("B", spare=2), "WHAT"]
    row = [1, "n" * 30, "aaaa", "bbbb", "w" * 50]
    assert Screen(100).table(header, [row])[1] == " 1  " + "n" * 30 + "  aaaa  bbbb  " + "w" * 50
    assert Screen(70).table(header, [row])[1] == " 1  " + "n" * 30 + "  aaaa  bbbb  " + "w" * 21 + "…"
    assert Screen(50).table(header, [row])[1] == " 1 " + "n" * 15 + "… aaaa bbbb " + "w" * 19 + "…"
    assert Screen(36).table(header, [row])[1] == " 1 nnnnn… aaaa " + "w" * 20 + "…"
    assert Screen(30).table(header, [row])[1] == " 1 nnnnn… " + "w" * 19 + "…"


cells = st.none() | st.integers(0, 10**9) | st.text(max_size=30) | st.sampled_from(NASTY)


@given(st.lists(st.tuples(cells, cells, cells, cells), min_size=1, max_size=6), st.integers(24, 120))
def test_no_line_is_wider_than_the_screen(rows: list[tuple[object, ...]], columns: int) -> None:
    header: list[Column | str] = [
        Column("ONE", least=4),
        Column("TWO", least=4, spare=1),
        Column("THREE", least=4),
        "FOUR",
    ]
    for line in Screen(columns).table(header, rows):
        assert screen.width(line) <= columns


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_columns_stand_straight(rows: list[tuple[object, ...]]) -> None:
    table = Screen(1000).table(("ONE", "TWO", ""), [(*row, "|") for row in rows])
    assert len({screen.width(line.rpartition("|")[0]) for line in table[1:]}) == 1


def test_the_end_of_a_line_is_where_its_text_ends() -> None:
    lines = Screen(40, colour=True).table(("ID", "TEXT"), [(1, "short"), (2, "a text that is longer")])
    assert lines[0].endswith(f"\x1b[{BOLD}mTEXT\x1b[0m")
    assert [line.split()[-1] for line in lines[1:]] == ["short", "longer"]


def test_colour_only_where_there_is_some() -> None:
    rows = [[("ready", screen.GREEN), "x"]]
    plain = Screen(80).table(["STATE", "WHAT"], rows)
    painted = Screen(80, colour=True).table(["STATE", "WHAT"], rows)
    assert plain == ["STATE  WHAT", "ready  x"]
    assert painted[1] == "\x1b[32mready\x1b[0m  x"
    assert [COLOUR.sub("", line) for line in painted] == plain


@pytest.mark.parametrize(
    ("environ", "terminal", "columns", "colour"),
    [
        ({}, False, 80, False),
        ({"COLUMNS": "60"}, False, 60, False),
        ({"COLUMNS": "-1"}, False, 80, False),
        ({"COLUMNS": "9999999"}, False, 80, False),
        ({"TERM": "xterm"}, True, 80, True),
        ({"TERM": "dumb"}, True, 80, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, 80, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, 80, True),
    ],
)
def test_what_the_environment_says(
    environ: dict[str, str], terminal: bool, columns: int, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: int) -> None:
        raise OSError

    monkeypatch.setattr("os.get_terminal_size", unknown)
    found = Screen.of(environ, terminal=terminal)
    assert (found.width, found.colour) == (columns, colour)


def test_nothing_heavy_is_loaded_for_a_table_of_ascii() -> None:
    code = (
        "import sys; from swarmctl.views import tables; from swarmctl.screen import Screen\n"
        "Screen().table(['A'], [['x']]); heavy = {'unicodedata', 're', 'typing', 'json', 'shutil'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
