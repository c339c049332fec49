"""What a word on the command line means: durations, times, sizes, names, ids.

Each function takes the word as typed and returns the value that the wire wants, or raises ``ValueError`` whose text
completes the sentence "--option: 'word' …". The bulk reader uses the same functions for the values of its lines, so
that a duration means the same everywhere. Pure, and imports nothing that a bare interpreter has not loaded.
"""

from __future__ import annotations

from swarmshd.protocol import NAME_MAX, ON_FAILURE, PRIORITIES, STATES, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DURATION_MAX = 3650 * 86_400_000
"""Longest duration that is taken for meant, in milliseconds: ten years."""

ID_MAX = (1 << 63) - 1

UNITS = {"": 1000, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZES = {"": 1, "B": 1, "K": 1 << 10, "KB": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MB": 1 << 20, "MIB": 1 << 20}


def _split(text: str) -> tuple[str, str]:
    """The leading decimal number of ``text`` and what follows it."""
    end = 0
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    return text[:end], text[end:]


def _scaled(number: str, scale: int) -> int | None:
    """``number`` (digits, at most one point) times ``scale``, rounded down; None if it is no number."""
    whole, point, fraction = number.partition(".")
    if not (whole + fraction).isdigit() or (point and not fraction) or len(number) > 30:
        return None
    return int(whole or "0") * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)


def duration(text: str) -> int:
    """``30``, ``30s``, ``5m``, ``2h``, ``1d``, ``1.5h``, ``200ms`` in milliseconds; a bare number is seconds."""
    number, unit = _split(text)
    scale = UNITS.get(unit)
    value = None if scale is None else _scaled(number, scale)
    if value is None:
        raise ValueError("is not a duration (30, 30s, 5m, 2h, 1d)")
    if value > DURATION_MAX:
        raise ValueError("is longer than ten years")
    return value


def size(text: str) -> int:
    """``4096``, ``64K``, ``1M`` in bytes."""
    number, unit = _split(text)
    scale = SIZES.get(unit.upper())
    value = None if scale is None else _scaled(number, scale)
    if value is None:
        raise ValueError("is not a size (4096, 64K, 1M)")
    return value


def instant(text: str) -> int:
    """An RFC 3339 time (without an offset: local time) in milliseconds since the epoch."""
    from datetime import datetime  # only those who name a time of day pay for it

    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.astimezone()).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError("is neither a time (2026-11-24T03:00:00Z) nor a duration from now (2h)") from None


def past(text: str) -> int:
    """A moment that has passed, in milliseconds since the epoch: ``-8h`` or ``8h`` ago, the last ``03:00``, a time."""
    import time

    now = int(time.time() * 1000)
    try:
        return now - duration(text.removeprefix("-"))
    except ValueError:
        pass
    hour, colon, minute = text.partition(":")
    if colon and len(text) <= 5 and hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60:
        today = time.localtime(now / 1000)
        clock = (int(hour), int(minute), 0, 0, 0, -1)
        found = time.mktime((*today[:3], *clock))
        if found * 1000 > now:
            found = time.mktime((today[0], today[1], today[2] - 1, *clock))
        return int(found * 1000)
    try:
        return instant(text)
    except ValueError:
        raise ValueError("is neither a time ago (-8h), one of the day (03:00), nor 2026-11-24T03:00:00Z") from None


def since(text: str) -> dict[str, int]:
    """``{"since": …}`` for a position of the journal, which is a number alone; else ``{"at": …}``."""
    return {"since": number(text)} if text.isascii() and text.isdigit() else {"at": past(text)}


def at(text: str) -> dict[str, int]:
    """``{"at": …}``, or for a duration from now ``{"delay": …}``, which stays the same when it is sent again."""
    try:
        return {"delay": duration(text)}
    except ValueError:
        return {"at": instant(text)}


def number(text: str) -> int:
    """An integer from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError("is not a whole number")
    return int(text)


def count(text: str) -> int:
    """An integer from 1."""
    value = number(text)
    if not value:
        raise ValueError("must be at least 1")
    return value


def percent(text: str) -> int:
    """``0`` to ``100``, with or without a percent sign."""
    value = number(text.removesuffix("%"))
    if value > 100:
        raise ValueError("is not a percentage from 0 to 100")
    return value


def name(text: str) -> str:
    """A name that the protocol allows."""
    if not is_name(text):
        raise ValueError(
            f"is not a name (1 to {NAME_MAX} letters, digits and . _ : / @ + -, not starting with -)"
            if text
            else "is empty, a name is wanted"
        )
    return text


def names(text: str) -> list[str]:
    """Names separated by commas."""
    parts = text.split(",")
    if "" in parts and len(parts) > 1:
        raise ValueError("has an empty name in it")
    return [name(part) for part in parts]


def queues(text: str) -> list[str]:
    """Names of queues separated by commas, or ``*`` for every queue."""
    return ["*"] if text == "*" else names(text)


def priority(text: str) -> str:
    """One of the four priorities."""
    if text not in PRIORITIES:
        raise ValueError("is not a priority (low, medium, high, critical)")
    return text


def states(text: str) -> list[str]:
    """States separated by commas."""
    found = text.split(",")
    for state in found:
        if state not in STATES:
            raise ValueError(f"is not a state ({', '.join(STATES)})")
    return found


def item(text: str) -> int | str:
    """An item: its number, or the text of its external ref."""
    if text.isascii() and text.isdigit():
        if 0 < int(text[:20]) <= ID_MAX and len(text) <= 20:
            return int(text)
    elif is_name(text):
        return text
    raise ValueError("is not an item's id (a number from 1, or a ref)")


def items(text: str) -> list[int | str]:
    """Items separated by commas."""
    return [item(part) for part in text.split(",")]


def is_token(text: str) -> bool:
    """Whether ``text`` has the form of a token, ``FENCE.SECRET``."""
    fence, _, secret = text.partition(".")
    return fence.isascii() and fence.isdigit() and len(secret) >= 8 and set("0123456789abcdef").issuperset(secret)


def item_and_token(text: str) -> tuple[int | str, str | None]:
    """``ID`` or ``ID:TOKEN``. A ref may hold colons itself, so only what has a token's form is one."""
    left, colon, right = text.rpartition(":")
    if colon and is_token(right):
        return item(left), right
    return item(text), None


def flag(text: str) -> bool:
    """``yes`` or ``no`` and their kin."""
    if text in ("yes", "true", "on", "1"):
        return True
    if text in ("no", "false", "off", "0"):
        return False
    raise ValueError("is not yes or no")


def text(word: str) -> str:
    """Any text."""
    return word


def one_of(*allowed: str) -> Callable[[str], str]:
    """A reader of a word that must be one of ``allowed``."""

    def read(word: str) -> str:
        if word not in allowed:
            raise ValueError(f"is not one of {', '.join(allowed)}")
        return word

    return read


CHOICES = {
    # kind of an option's word: the words that it may be; of ``states``, several with commas
    "priority": PRIORITIES,
    "states": STATES,
    "on_failure": ON_FAILURE,
    "claimed": ("hold", "ready", "keep"),
    "by": ("state", "queue", "type", "team", "agent", "group"),
    "of": ("queues", "agents", "items", "claimed", "buried", "types", "teams", "locks"),
}

READERS: dict[str, Callable[[str], Any]] = {
    # kind: reader. A kind of a comma list may be given several times; a path keeps bytes that are not UTF-8.
    "text": text,
    "path": text,
    "duration": duration,
    "at": at,
    "past": past,
    "since": since,
    "size": size,
    "number": number,
    "count": count,
    "percent": percent,
    "name": name,
    "names": names,
    "queues": queues,
    "priority": priority,
    "states": states,
    "item": item,
    "items": items,
    "item_and_token": item_and_token,
    **{kind: one_of(*words) for kind, words in CHOICES.items() if kind not in ("priority", "states")},
}
"""How each kind of option reads its word."""

LISTS = frozenset(("names", "queues", "states", "items"))
"""The kinds that gather, when an option is given more than once."""
