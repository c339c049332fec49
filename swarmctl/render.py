"""Values -> what is printed: tab-separated fields, JSON lines, and the harmless form for a person's terminal.

Three audiences, three promises. ``cut`` and ``awk`` get fields separated by tabs, escaped as jq's ``@tsv`` does, ``-``
where there is nothing, the free text last. Programs get JSON that says exactly what is so. A terminal gets no byte
that an author of a description could use to move its cursor, change its title or reorder its text: every control, C1
and bidirectional character is shown as its code. Pure; the JSON writer stands on the interpreter's own C encoder, as
the json package would cost more than the rest of a call.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

SCHEMA = 1
"""Version of the JSON objects: fields are added within it, never changed or removed."""

_BIDI = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_HARMFUL = (*range(0x20), 0x7F, *range(0x80, 0xA0), *_BIDI)
_HARMLESS = {c: f"\\x{c:02x}" if c < 256 else f"\\u{c:04x}" for c in _HARMFUL}
_TSV = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}
_IN_JSON = {c: f"\\u{c:04x}" for c in _HARMFUL if c >= 0x7F}


def harmless(text: str) -> str:
    """``text`` with every character that a terminal would obey shown as its code."""
    return text if text.isprintable() else text.translate(_HARMLESS)


def field(value: object, *, terminal: bool = False) -> str:
    """One tab-separated field: ``-`` when there is nothing, else the text, escaped."""
    if value is None or value == "":
        return "-"
    if type(value) is not str:
        return str(value)
    if value.isprintable() and "\\" not in value:
        return value
    escaped = value.translate(_TSV)
    return escaped.translate(_HARMLESS) if terminal else escaped


def row(values: Iterable[object], *, terminal: bool = False) -> str:
    """A line of tab-separated fields, with its end."""
    return "\t".join([field(value, terminal=terminal) for value in values]) + "\n"


def clock(ms: int, now_ms: int) -> str:
    """A moment as a person reads it, in local time: ``12:03:11``, with the date when it is more than 12 hours away."""
    import time

    form = "%H:%M:%S" if abs(ms - now_ms) < 43_200_000 else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, time.localtime(ms / 1000))


def span(ms: int) -> str:
    """A duration in at most two units: ``850ms``, ``42s``, ``5m10s``, ``3h``, ``2d4h``."""
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    seconds = ms // 1000
    for size, unit, smaller, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size}{unit}" + (f"{rest}{lesser}" if rest else "")
    return f"{seconds}s"


def amount(size: int) -> str:
    """A number of bytes for a person: ``512 B``, ``1.5 KiB``."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC with milliseconds."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


TIMES = frozenset(
    [
        *"expires_at created_at due_at ready_at claimed_at lease_until ended_at".split(),
        *"seen_at oldest_ready_at last_claim_at paused_until started_at now since time runtime_until at".split(),
    ]
)
DURATIONS = frozenset("lease max_runtime heartbeat stall_after left silent gap".split())
_MILLISECONDS = {"window_ms": "window"}
_COUNTS = frozenset(("elsewhere", "by", "states", "counts", "since_start"))  # their keys are names that users chose


def for_json(facts: Mapping[Any, Any]) -> dict[str, Any]:
    """The wire's facts as schema 1 has them: RFC 3339 times, durations in seconds, bytes as text or base64."""
    shown: dict[str, Any] = {}
    for name, value in facts.items():
        if value is None:
            continue
        if name in TIMES and type(value) is int:
            value = rfc3339(value)
        elif (name in DURATIONS or name in _MILLISECONDS) and type(value) is int:
            name = _MILLISECONDS.get(name, name)
            value = seconds(value)
        elif type(value) is bytes:
            value = readable(value)
        elif type(value) is dict and name not in _COUNTS:
            value = for_json(value)
        elif type(value) is list:
            value = [for_json(one) if type(one) is dict else one for one in value]
        shown[str(name)] = value
    return shown


def seconds(ms: int) -> int | float:
    """Milliseconds as seconds, whole where they are."""
    return ms / 1000 if ms % 1000 else ms // 1000


def readable(data: bytes) -> str | dict[str, str]:
    """Bytes as text where they are UTF-8, else ``{"base64": …}``."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        from binascii import b2a_base64

        return {"base64": b2a_base64(data, newline=False).decode()}


def json_line(facts: Mapping[str, Any], *, ok: bool = True) -> str:
    """One object of schema 1, with its line's end."""
    return _json({"schema": SCHEMA, "ok": ok, **facts}) + "\n"


def _json(value: object) -> str:
    kind = type(value)
    if isinstance(value, str):
        from _json import encode_basestring

        text: str = encode_basestring(value)
        return text if text.isascii() and "\x7f" not in text else text.translate(_IN_JSON)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is float:
        return repr(value)
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ",".join([f"{_json(str(name))}:{_json(one)}" for name, one in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([_json(one) for one in value]) + "]"
    raise TypeError(f"{kind.__name__} has no JSON form here")
