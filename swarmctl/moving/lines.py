"""Our own lines: one JSON object for each row of the wire, between a first line and a last one.

Times are RFC 3339 in UTC with milliseconds, durations are seconds, bytes are text or, where they are not UTF-8,
``{"base64": …}``; otherwise the fields are those of the wire. ``kind`` is ``item``, ``agent`` or ``queue``. The last
line counts the others, so that a file that was cut is told from a whole one.
"""

from __future__ import annotations

import json
from binascii import Error, a2b_base64, b2a_base64
from datetime import datetime
from typing import TYPE_CHECKING, Any

from swarmctl.moving.legacy import Unusable
from swarmctl.render import rfc3339
from swarmshd import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    Facts = dict[str, Any]

SCHEMA = 1
"""Version of the lines: fields are added within it, never changed."""

HEAD, END = "export", "end"
"""The first line has this as ``swarmsh``, the last one as ``kind``."""

KINDS = ("queue", "agent", "item")

_TIMES = frozenset(("created_at", "due_at", "ended_at", "seen_at", "paused_until"))
_DURATIONS = frozenset(("lease", "max_runtime", "heartbeat", "stall_after"))
_BYTES = frozenset(("payload", "checkpoint", "result", "output"))

_encode = json.JSONEncoder(separators=(",", ":")).encode  # all of it ASCII: nothing in it moves a terminal's cursor
_canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def _line(facts: Mapping[str, Any]) -> str:
    return _encode(facts) + "\n"


def head(now_ms: int, chosen: Facts) -> str:
    """The first line."""
    said: Facts = {"swarmsh": HEAD, "schema": SCHEMA, "program": f"swarmctl {__version__}", "at": rfc3339(now_ms)}
    return _line(said | ({"chosen": chosen} if chosen else {}))


def end(counts: Mapping[str, int]) -> str:
    """The last line."""
    return _line({"kind": END, **counts})


def line_of(kind: str, row: Mapping[str, Any]) -> str:
    """The line for a row of the wire."""
    made: Facts = {"kind": kind}
    for name, value in row.items():
        if name in _TIMES:
            value = rfc3339(value)
        elif name in _DURATIONS:
            value = value // 1000 if value % 1000 == 0 else value / 1000
        elif name in _BYTES:
            value = _of_bytes(value)
        elif name == "legacy":
            value = _of_json(value)
        made[name] = value
    return _line(made)


def _of_bytes(value: bytes) -> str | Facts:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b2a_base64(value, newline=False).decode()}


def _of_json(text: str) -> Any:
    """What the text says, if it comes out as the same text again."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if type(value) is dict and _canonical(value) == text else text


def row_of(line: Mapping[str, Any]) -> tuple[str, Facts]:
    """The row of the wire that a line stands for.

    Raises:
        Unusable: it stands for none.
    """
    kind = line.get("kind")
    if kind not in KINDS:
        raise Unusable(f"kind {json.dumps(kind)[:40]} is none of {', '.join(KINDS)}")
    made = {}
    for name, value in line.items():
        try:
            if name in _TIMES:
                value = _instant(value)
            elif name in _DURATIONS:
                value = _milliseconds(value)
            elif name in _BYTES:
                value = _to_bytes(value)
            elif name == "legacy" and type(value) is dict:
                value = _canonical(value)
            elif name == "kind":
                continue
        except (ValueError, OverflowError, Error):
            raise Unusable(f"{name}: {json.dumps(value)[:60]} cannot be read") from None
        if not sendable(value):
            raise Unusable(f"{name}: what it holds cannot be sent")
        made[name] = value
    return str(kind), made


def is_ours(value: Mapping[str, Any]) -> bool:
    """Whether the object is one of our lines."""
    kind = value.get("kind")
    return "swarmsh" in value or (type(kind) is str and kind in (*KINDS, END))


def sendable(value: object, depth: int = 4) -> bool:
    """Whether the wire can carry the value: whole characters, numbers of 64 bits, nothing nested deep."""
    if type(value) is str:
        return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    if type(value) is list:
        return depth > 0 and all(sendable(each, depth - 1) for each in value)
    if type(value) is dict:
        return depth > 0 and all(sendable(name) and sendable(each, depth - 1) for name, each in value.items())
    return True


def _instant(value: object) -> int:
    if type(value) is not str:
        raise ValueError
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError
    return round(moment.timestamp() * 1000)


def _milliseconds(value: object) -> int:
    if type(value) is float:
        return round(value * 1000)
    if type(value) is not int:
        raise ValueError
    return value * 1000


def _to_bytes(value: object) -> bytes:
    if type(value) is str:
        return value.encode()
    if type(value) is dict and list(value) == ["base64"] and type(value["base64"]) is str:
        return a2b_base64(value["base64"], strict_mode=True)
    raise ValueError
