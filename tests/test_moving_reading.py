"""A file as a stream of objects: all that are sound come out, all that is not is told with its place."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmctl.moving import reading
from swarmctl.moving.reading import Damage, Found, objects

pytestmark = pytest.mark.slow


def read(data: bytes) -> tuple[list[Any], list[Damage]]:
    """The objects, and the damages. Places are those where the bytes lie."""
    found, damages = [], []
    for each in objects(io.BytesIO(data)):
        line = data[: each.offset].count(b"\n") + 1
        assert each.line == line
        if isinstance(each, Found):
            found.append(each.value)
        else:
            damages.append(each)
            assert 0 <= each.offset <= each.offset + each.size <= len(data)
    return found, damages


ELEMENTS = [{"a": n, "text": 'quote " brace } { [ \\ é \x01', "in": {"b": [1, {"c": None}]}} for n in range(9)]


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(ELEMENTS),
        json.dumps(ELEMENTS, indent=2, ensure_ascii=False),
        "\n".join(map(json.dumps, ELEMENTS)),
        "\n".join(json.dumps(each, indent=4) for each in ELEMENTS),
        json.dumps({"work_claims": ELEMENTS}, indent=2),
        json.dumps({"agents": ELEMENTS}) + "\n",
        json.dumps({"version": 1, "work_items": ELEMENTS}),
        "\ufeff" + json.dumps(ELEMENTS),
        "  " + ",\n".join(map(json.dumps, ELEMENTS)) + ",\n]",
    ],
    ids=["array", "pretty", "lines", "pretty lines", "wrapped", "wrapped flat", "wrapped later", "mark", "no jq"],
)
@pytest.mark.parametrize("chunk", [1 << 18, 7])
def test_whatever_objects_lie_in_they_come_out(data, chunk, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", chunk)
    assert read(data.encode()) == (ELEMENTS, [])


@pytest.mark.parametrize(
    ("data", "sound", "why"),
    [
        ('[{"a":1},{"a":2},{"a', [1, 2], "Unterminated string"),
        ('[{"a":1},{"a":2},', [1, 2], "cut"),
        ("[", [], "cut"),
        ('[{"a":1},{"a":x},{"a":3}]', [1, 3], "Expecting value"),
        ('[{"a":1},\n  {"a": "half,\n  {"a":3}\n]', [1, 3], "control character"),
        ('{"a":1}\n{"a":\n{"a":3}\n', [3], "Expecting"),
        ('[{"a":1}]x\n[{"a":2}]', [1, 2], "neither"),
        ('{"a":NaN}\n{"a":2}', [2], "NaN"),
        ('{"a":' + "9" * 5000 + '}\n{"a":2}', [2], "digits"),
        ('{"a":' * 90_000 + '\n{"a":2}', [2], "recursion"),
        ('[1,{"a":1}]', [1], "neither"),
        ('{"work_claims":[{"a":1},5]}', [1], "neither"),
        ('{"v":1,"work_claims":[{"a":1},5]}', [1], "no object"),
        ("<html>\n", [], "neither"),
    ],
)
def test_damage_is_told_and_passed_over(data, sound, why):
    found, damages = read(data.encode())
    assert [each["a"] for each in found if "a" in each][-len(sound) or 99 :] == sound
    assert damages
    assert why in damages[0].why


def test_an_array_that_was_cut_anywhere_gives_what_is_whole_before_the_cut():
    data = json.dumps(ELEMENTS, indent=2).encode()
    ends = [len(json.dumps(ELEMENTS[: n + 1], indent=2)) - 2 for n in range(len(ELEMENTS))]
    for cut in range(1, len(data), 7):
        found, damages = read(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert found[:whole] == ELEMENTS[:whole]
        assert damages, cut


@given(st.data())
def test_one_byte_that_is_wrong_costs_one_object_and_is_told(data):
    text = bytearray(json.dumps(ELEMENTS, indent=2).encode())
    at = data.draw(st.integers(2, len(text) - 3))
    text[at] = data.draw(st.integers(0, 255))
    found, damages = read(bytes(text))
    lost = [each for each in ELEMENTS if each not in found]
    assert len(lost) <= 2
    if len(found) < len(ELEMENTS):
        assert damages


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_do_harm(data, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK", chunk)
        read(data)


def test_memory_is_bounded(monkeypatch):
    """An object that never ends is given up, and what was read of it is not kept."""
    monkeypatch.setattr(reading, "OBJECT_MAX", 10_000)
    monkeypatch.setattr(reading, "CHUNK", 1000)
    longest = []

    class Watched(reading._Scan):
        def _more(self) -> bool:
            more = super()._more()
            longest.append(len(self.text))
            return more

    first, second = Watched(io.BytesIO(b'[{"a":"' + b"x" * 1_000_000 + b'"},\n{"a":2}]')).run()
    assert len(longest) > 900
    assert max(longest) < 12_000
    assert isinstance(first, Damage)
    assert first.why == "an object of more than 10000 characters"
    assert isinstance(second, Found)
