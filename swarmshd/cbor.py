"""The subset of CBOR (RFC 8949) that our frames use, for programs that must start fast.

Integers of 64 bits, byte strings, text, arrays, maps with text or integer keys, false, true, null and floats.
Nothing else: no tags, no indefinite lengths, no other simple values, no trailing bytes. What it encodes, cbor2
encodes to the same bytes; what it refuses to decode never reaches a program as a value.

A declared length is held against the bytes that are left before anything is made of it, so a short message cannot
ask for much memory. Nesting is bounded by ``DEPTH_MAX``.
"""

from _struct import Struct

DEPTH_MAX = 16
"""Most arrays and maps inside one another."""

_HEAD8 = Struct(">BB")
_HEAD16 = Struct(">BH")
_HEAD32 = Struct(">BI")
_HEAD64 = Struct(">BQ")
_FLOAT = Struct(">Bd")
_FLOATS = {25: Struct(">e"), 26: Struct(">f"), 27: Struct(">d")}
_SIMPLE = {20: False, 21: True, 22: None}

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _OTHER = range(8)
_SHORT_TEXT = _TEXT << 5


class DecodeError(ValueError):
    """The bytes are not one whole message of our subset; the text says why and at which byte."""


def dumps(value: object) -> bytes:
    """The encoding of ``value``: None, bool, int, float, str, bytes, list, tuple, or dict of these.

    Raises:
        TypeError: a value, or a key of a map, of another type.
        ValueError: an integer beyond 64 bits, text that is not Unicode, or nesting beyond ``DEPTH_MAX``.
    """
    out = bytearray()
    _encode(out, value, 0)
    return bytes(out)


def _head(out: bytearray, major: int, argument: int) -> None:
    initial = major << 5
    if argument < 24:
        out.append(initial | argument)
    elif argument < 0x100:
        out += _HEAD8.pack(initial | 24, argument)
    elif argument < 0x10000:
        out += _HEAD16.pack(initial | 25, argument)
    elif argument < 0x100000000:
        out += _HEAD32.pack(initial | 26, argument)
    elif argument < 0x10000000000000000:
        out += _HEAD64.pack(initial | 27, argument)
    else:
        raise ValueError("an integer of more than 64 bits")


def _encode(out: bytearray, value: object, depth: int) -> None:
    # Exact types: a subclass (an enum, a str with a meaning of its own) would come back as something else.
    kind = type(value)
    if isinstance(value, str) and kind is str:
        text = value.encode()
        length = len(text)
        if length < 24:  # most are, names of fields above all: half the time of a call
            out.append(_SHORT_TEXT | length)
        else:
            _head(out, _TEXT, length)
        out += text
    elif isinstance(value, int) and kind is int:
        if 0 <= value < 24:
            out.append(value)
        elif value >= 0:
            _head(out, _UNSIGNED, value)
        else:
            _head(out, _NEGATIVE, -1 - value)
    elif isinstance(value, bytes) and kind is bytes:
        _head(out, _BYTES, len(value))
        out += value
    elif value is None:
        out.append(0xF6)
    elif value is True:
        out.append(0xF5)
    elif value is False:
        out.append(0xF4)
    elif isinstance(value, float) and kind is float:
        if value - value == 0:
            out += _FLOAT.pack(0xFB, value)
        else:  # infinities and NaN have one short form each
            out += b"\xf9\x7c\x00" if value > 0 else b"\xf9\xfc\x00" if value < 0 else b"\xf9\x7e\x00"
    elif isinstance(value, (list, tuple, dict)) and kind in (list, tuple, dict):
        _encode_all(out, value, depth + 1)
    else:
        raise TypeError(f"a {kind.__name__} cannot be sent")


def _encode_all(out: bytearray, value: "list[object] | tuple[object, ...] | dict[object, object]", depth: int) -> None:
    if depth > DEPTH_MAX:
        raise ValueError(f"more than {DEPTH_MAX} arrays and maps inside one another")
    if isinstance(value, dict):
        _head(out, _MAP, len(value))
        for key, element in value.items():
            if isinstance(key, str) and type(key) is str and len(key) < 24 and key.isascii():
                out.append(_SHORT_TEXT | len(key))
                out += key.encode()
            elif type(key) is str or type(key) is int:
                _encode(out, key, depth)
            else:
                raise TypeError(f"a {type(key).__name__} cannot be the key of a map")
            _encode(out, element, depth)
    else:
        _head(out, _ARRAY, len(value))
        for element in value:
            _encode(out, element, depth)


def loads(data: bytes) -> object:
    """The one value that ``data`` encodes; arrays become lists.

    Raises:
        DecodeError: anything that is not one whole message of the subset. Nothing else is ever raised.
    """
    try:
        value, end = _decode(data, 0, 0)
    except IndexError:
        raise DecodeError(f"the message ends early, after {len(data)} bytes") from None
    except UnicodeDecodeError as error:
        raise DecodeError(f"text that is not UTF-8: {error.reason}") from None
    if end != len(data):
        raise DecodeError(f"{len(data) - end} bytes follow the message")
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[object, int]:
    """The value whose first byte is at ``at``, and where the next one begins."""
    initial = data[at]
    major, argument = initial >> 5, initial & 31
    at += 1
    if major == _OTHER:
        return _decode_other(data, at, argument)
    if argument >= 24:
        if argument > 27:
            raise DecodeError(f"byte {at - 1} is 0x{initial:02x}: indefinite or reserved length")
        end = at + (1 << argument - 24)
        if end > len(data):
            raise IndexError
        argument = int.from_bytes(data[at:end], "big")
        at = end
    if major == _UNSIGNED:
        return argument, at
    if major == _NEGATIVE:
        return -1 - argument, at
    if major == _TAG:
        raise DecodeError(f"byte {at - 1} ends a tag; tags are not part of the protocol")
    # Every element takes a byte at least, every pair of a map two.
    if argument * (2 if major == _MAP else 1) > len(data) - at:
        raise DecodeError(f"a length of {argument} at byte {at}, where {len(data) - at} bytes are left")
    if major == _TEXT:
        end = at + argument
        return data[at:end].decode(), end
    if major == _BYTES:
        end = at + argument
        return data[at:end], end
    if depth == DEPTH_MAX:
        raise DecodeError(f"more than {DEPTH_MAX} arrays and maps inside one another")
    if major == _ARRAY:
        elements = []
        for _ in range(argument):
            element, at = _decode(data, at, depth + 1)
            elements.append(element)
        return elements, at
    return _decode_map(data, at, depth + 1, argument)


def _decode_map(data: bytes, at: int, depth: int, pairs: int) -> tuple[object, int]:
    values: dict[object, object] = {}
    for _ in range(pairs):
        if data[at] >> 5 not in (_UNSIGNED, _NEGATIVE, _TEXT):
            raise DecodeError(f"the key at byte {at} is neither text nor an integer")
        key, at = _decode(data, at, depth)
        if key in values:
            raise DecodeError(f"the key that ends at byte {at} stands twice in its map")
        values[key], at = _decode(data, at, depth)
    return values, at


def _decode_other(data: bytes, at: int, argument: int) -> tuple[object, int]:
    if argument in _SIMPLE:
        return _SIMPLE[argument], at
    layout = _FLOATS.get(argument)
    if layout is None:
        raise DecodeError(f"byte {at - 1} is neither false, true, null nor a float")
    end = at + layout.size
    if end > len(data):
        raise IndexError
    (value,) = layout.unpack_from(data, at)
    return value, end
