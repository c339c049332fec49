"""The light codec against cbor2: equal bytes, equal values, and nothing but DecodeError for everything else."""

import math
import subprocess
import sys
from io import BytesIO

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swarmshd import cbor

pytestmark = pytest.mark.slow

INTEGERS = st.integers(-(1 << 64), (1 << 64) - 1)
LEAVES = st.none() | st.booleans() | INTEGERS | st.floats() | st.text(max_size=30) | st.binary(max_size=300)
KEYS = st.text(max_size=30) | INTEGERS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=30) | st.dictionaries(KEYS, inner, max_size=30))


def same(one: object, other: object) -> bool:
    """Equality that knows types and NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return (
            math.isnan(one) if math.isnan(other) else (one, math.copysign(1, one)) == (other, math.copysign(1, other))
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return same(list(one), list(other)) and all(same(one[key], other[key]) for key in one)
    return one == other


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
def test_what_is_encoded_is_what_cbor2_encodes(value: object) -> None:
    if depth(value) > cbor.DEPTH_MAX:
        with pytest.raises(ValueError, match="inside one another"):
            cbor.dumps(value)
    else:
        data = cbor.dumps(value)
        assert data == cbor2.dumps(value)
        assert same(cbor.loads(data), value)
        assert same(cbor2.loads(data), value)


@pytest.mark.parametrize("edge", [0, 23, 24, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_every_width_of_a_length_or_number(edge: int) -> None:
    for value in (edge, -1 - edge, {edge: edge, str(edge): -edge}):
        assert cbor.dumps(value) == cbor2.dumps(value)
        assert cbor.loads(cbor.dumps(value)) == value
    if edge <= 65536:
        for many in ("x" * edge, b"x" * edge, [None] * edge, dict.fromkeys(range(edge), "")):
            assert cbor.dumps(many) == cbor2.dumps(many)
            assert cbor.loads(cbor.dumps(many)) == many


@given(st.floats(width=32))
def test_short_floats_are_read(number: float) -> None:
    for data in (cbor2.dumps(number, canonical=True), cbor2.dumps(number)):
        assert same(cbor.loads(data), float(cbor2.loads(data)))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (1 << 64, ValueError),
        (-(1 << 64) - 1, ValueError),
        ("\ud800", ValueError),
        ({1, 2}, TypeError),
        (bytearray(b"x"), TypeError),
        (1j, TypeError),
        ({None: 1}, TypeError),
        ({True: 1}, TypeError),
        ({b"k": 1}, TypeError),
        ({(1,): 1}, TypeError),
        (object(), TypeError),
        (type("Text", (str,), {})("x"), TypeError),
    ],
)
def test_what_is_outside_the_subset_is_not_encoded(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        cbor.dumps(value)


def test_a_circle_is_refused_not_followed() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="inside one another"):
        cbor.dumps(circle)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "ends early"),
        ("18", "ends early"),
        ("1900", "ends early"),
        ("fb00", "ends early"),
        ("8201", "length of 2"),
        ("6261", "length of 2"),
        ("a10a", "length of 1"),
        ("820118", "ends early"),
        ("0000", "1 bytes follow"),
        ("f6f6", "1 bytes follow"),
        ("c074323031332d30332d32315432303a30343a30305a", "tag"),
        ("d9d9f700", "tag"),
        ("c249010000000000000000", "tag"),
        ("5f4100ff", "indefinite"),
        ("7f6161ff", "indefinite"),
        ("9f00ff", "indefinite"),
        ("bf6161f5ff", "indefinite"),
        ("1c", "reserved"),
        ("1f", "indefinite"),
        ("f7", "neither"),
        ("f0", "neither"),
        ("f8ff", "neither"),
        ("ff", "neither"),
        ("61ff", "UTF-8"),
        ("63eda080", "UTF-8"),
        ("62c080", "UTF-8"),
        ("a2616101616102", "twice"),
        ("a201000100", "twice"),
        ("a201001801 00", "twice"),
        ("a1f500", "neither text nor an integer"),
        ("a1f600", "neither text nor an integer"),
        ("a1410000", "neither text nor an integer"),
        ("a18000", "neither text nor an integer"),
        ("a1f93c0000", "neither text nor an integer"),
        ("9bffffffffffffffff", "length of"),
        ("bb7fffffffffffffff", "length of"),
        ("5b7fffffffffffffff", "length of"),
        ("7a80000000", "length of"),
        ("81" * 17 + "00", "inside one another"),
        ("a100" * 17 + "00", "inside one another"),
        ("81" * 100_000, "inside one another"),
    ],
)
def test_what_is_outside_the_subset_is_not_decoded(data: str, why: str) -> None:
    with pytest.raises(cbor.DecodeError, match=why):
        cbor.loads(bytes.fromhex(data))


def test_sixteen_deep_is_fine() -> None:
    data = b"\x81" * 16 + b"\x00"
    assert cbor.dumps(cbor.loads(data)) == data


def check_against_cbor2(data: bytes) -> None:
    try:
        value = cbor.loads(data)
    except cbor.DecodeError:
        return
    stream = BytesIO(data)
    assert same(cbor2.CBORDecoder(stream).decode(), value)  # what is taken for a message, cbor2 reads the same way


@given(st.binary(max_size=200))
@example(b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x01")
def test_any_bytes_are_a_value_or_a_decode_error(data: bytes) -> None:
    check_against_cbor2(data)


@given(VALUES, st.data())
def test_a_damaged_message_is_a_value_or_a_decode_error(value: object, data: st.DataObject) -> None:
    message = bytearray(cbor2.dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    check_against_cbor2(bytes(message))


@given(VALUES.filter(lambda value: depth(value) <= cbor.DEPTH_MAX))
def test_no_part_of_a_message_is_a_message(value: object) -> None:
    message = cbor2.dumps(value)
    for end in range(min(len(message), 200)):
        with pytest.raises(cbor.DecodeError):
            cbor.loads(message[:end])
    with pytest.raises(cbor.DecodeError):
        cbor.loads(message + b"\x00")


def test_it_imports_next_to_nothing() -> None:
    show = "import sys; before = set(sys.modules); import swarmshd.cbor; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", show], capture_output=True, text=True, check=False)
    if done.returncode:  # not installed: take it from where the tests run
        done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"swarmshd", "swarmshd.cbor", "_struct"}
