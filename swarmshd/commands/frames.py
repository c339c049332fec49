"""The bytes of requests and replies."""

from io import BytesIO
from typing import Any, NoReturn, cast

import cbor2

from swarmshd import protocol
from swarmshd.commands.refusal import Refusal, shown
from swarmshd.commands.values import ID_MAX


class _NoTags(dict[int, object]):
    """A tag runs code of the decoder's choosing on input of the peer's choosing: all are refused."""

    def __contains__(self, tag: object) -> bool:
        return True

    def __getitem__(self, tag: int) -> NoReturn:
        raise ValueError(f"tag {tag} is not part of the protocol")

    def get(self, tag: object, default: object = None) -> NoReturn:
        raise ValueError(f"tag {tag} is not part of the protocol")


_NO_TAGS = _NoTags()


_DEPTH_MAX = 8


def decode(body: bytes) -> tuple[int, object, object]:
    """The id, verb and arguments of a frame's body.

    Raises:
        Refusal: ``bad_request``; fact ``id`` is the request's id where it could be read, else 0.
    """
    source = BytesIO(body)
    try:
        message = cbor2.CBORDecoder(
            source,
            semantic_decoders=cast("Any", _NO_TAGS),
            allow_indefinite=False,
            allow_duplicate_keys=False,
            max_depth=_DEPTH_MAX,
        ).decode()
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise Refusal(
            "bad_request", f"the frame is not CBOR as the protocol has it: {_first_line(error)}", id=0
        ) from None
    if source.tell() != len(body):
        raise Refusal("bad_request", f"{len(body) - source.tell()} bytes follow the message in its frame", id=0)
    if type(message) is not list or len(message) != 3:
        raise Refusal("bad_request", f"expected [id, verb, arguments], not {shown(message)}", id=0)
    number, verb, arguments = message
    if type(number) is not int or not 0 <= number <= ID_MAX:
        raise Refusal("bad_request", f"the request's id: expected a number from 0, not {shown(number)}", id=0)
    return number, verb, arguments


def _first_line(error: BaseException) -> str:
    text = str(error.__cause__ or error) or type(error).__name__
    return text.splitlines()[0][:200]


def encode_body_with(result: dict[str, object], name: str, count: int, rows: bytes) -> bytes:
    """The bytes of a result with one more field: an array of so many rows that are encoded already."""
    parts = [_head(_MAP, len(result) + 1)]
    parts += [cbor2.dumps(part) for field in result.items() for part in field]
    return b"".join([*parts, cbor2.dumps(name), _head(_ARRAY, count), rows])


_ARRAY, _MAP = 0x80, 0xA0


def _head(kind: int, count: int) -> bytes:
    """How an array or map of so many begins: as the number itself does, but for the kind in the first byte."""
    number = cbor2.dumps(count)
    return bytes((number[0] | kind,)) + number[1:]


_ARRAY_OF_3, _ZERO = b"\x83", b"\x00"


def encode_result(number: int, result: object) -> bytes:
    """The frame of a reply that grants."""
    return encode_granted(number, encode_body(result))


def encode_body(result: object) -> bytes:
    """The bytes of a result, for several replies."""
    return cbor2.dumps(result)


def encode_granted(number: int, body: bytes) -> bytes:
    """The frame of a reply that grants, around a result that is encoded already."""
    head = _ARRAY_OF_3 + (bytes((number,)) if number < 24 else cbor2.dumps(number)) + _ZERO  # half the time of a list
    return protocol.LENGTH.pack(len(head) + len(body)) + head + body


def encode_refusal(number: int, refusal: Refusal) -> bytes:
    """The frame of a reply that refuses."""
    return protocol.frame(cbor2.dumps([number, refusal.code, refusal.wire()]))
