"""What is printed: fields for programs, JSON that is exact, and nothing that a terminal would obey."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmctl import render

NASTY = "quote\" ' tab\t nl\n cr\r back\\ nul\0 esc\x1b]52;c;Zm9v\x07 del\x7f c1\x9b31m bidi\u202e\u2066 sep\u2028 é 🐝"


def test_fields_are_escaped_as_tsv() -> None:
    assert render.row([42, "a\tb", None, "", "c\\d\n\r"]) == "42\ta\\tb\t-\t-\tc\\\\d\\n\\r\n"


@given(st.text())
def test_a_row_is_one_line_and_its_fields_come_back(text: str) -> None:
    line = render.row(["x", text])
    assert line.count("\n") == 1
    assert line.count("\t") == 1
    field = line[:-1].split("\t")[1]
    if text in ("", "-"):
        assert field == "-"
    else:
        back = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
        pieces = field.split("\\\\")
        for name, character in back.items():
            pieces = [piece.replace("\\" + name, character) for piece in pieces] if name != "\\" else pieces
        assert "\\".join(pieces) == text


@given(st.text())
def test_a_terminal_gets_nothing_that_it_would_obey(text: str) -> None:
    for shown in (render.harmless(text), render.field(text, terminal=True)):
        for character in shown:
            code = ord(character)
            assert code >= 0x20
            assert not 0x7F <= code < 0xA0
            assert code not in (0x061C, 0x200E, 0x200F)
            assert not 0x202A <= code <= 0x202E
            assert not 0x2066 <= code <= 0x2069


def test_harmless_text_is_left_alone() -> None:
    assert render.harmless('naïve 日本 🐝 "x"') == 'naïve 日本 🐝 "x"'
    assert render.harmless("\x1b[2J") == "\\x1b[2J"
    assert render.harmless("\u202e") == "\\u202e"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=5))
def test_json_is_exact(facts: dict[str, Any]) -> None:
    line = render.json_line(facts)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert not any(0x7F <= ord(character) < 0xA0 for character in line)
    assert json.loads(line) == {"schema": 1, "ok": True, **facts}


def test_nasty_text_survives_json() -> None:
    line = render.json_line({"description": NASTY})
    assert json.loads(line)["description"] == NASTY
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_facts_as_schema_1_has_them() -> None:
    shown = render.for_json(
        {
            "id": 1,
            "created_at": 86_400_123,
            "lease": 300_000,
            "max_runtime": 1500,
            "payload": b"text \xc3\xa9",
            "output": b"\xff\0",
            "team": None,
            "keys": {"window_ms": 900_000},
            "elsewhere": {"lease": 7},
            "percent": 50,
        }
    )
    assert shown == {
        "id": 1,
        "created_at": "1970-01-02T00:00:00.123Z",
        "lease": 300,
        "max_runtime": 1.5,
        "payload": "text é",
        "output": {"base64": "/wA="},
        "keys": {"window": 900},
        "elsewhere": {"lease": 7},
        "percent": 50,
    }


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (850, "850ms"), (42_000, "42s"), (310_000, "5m10s"), (10_800_000, "3h"), (187_200_000, "2d4h")],
)
def test_spans(ms: int, text: str) -> None:
    assert render.span(ms) == text


def test_amounts_and_clocks() -> None:
    assert [render.amount(size) for size in (7, 1536, 5 << 20)] == ["7 B", "1.5 KiB", "5.0 MiB"]
    assert len(render.clock(1_000_000_000_000, 1_000_000_001_000)) == 8
    assert len(render.clock(1_000_000_000_000, 1_000_100_000_000)) == 19


def test_the_json_writer_does_not_need_the_json_package() -> None:
    code = (
        "import sys; from swarmctl import render; render.json_line({'a': [1, 'é', b'x'.decode()]}); "
        "sys.exit('json' in sys.modules or 're' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
