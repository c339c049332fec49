"""``history``: everything that happened to items, oldest first, as far as the journal is kept.

A line an event: when, which items, what, who, and the details; free text comes last. Who is the agent, or, where only a
user is known, that; what the daemon does by itself has nobody.
"""

from __future__ import annotations

from swarmctl import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

EVENTS = 1000
"""Events asked for at a time."""

IDS_MAX = 1000
"""Most ids in one request."""

BEGINNINGS = ("submitted", "imported")

_SHOWN = frozenset("position time event id ids uid pid agent type group".split())
"""Fields that have a column of their own, or are the same in every event of an item."""

_TEXTS = ("description", "reason", "status", "message", "note")
"""Free text, which comes last."""


def history(call: Call) -> int:
    """Print every event of items. 4 if there is none of one of them."""
    ids = [item for item, _ in call.items()]
    for start in range(0, len(ids), IDS_MAX):
        _print(call, ids[start : start + IDS_MAX])
    return call.status


def _print(call: Call, ids: list[int | str]) -> None:
    position, more = 0, True
    begun: set[int] = set()
    seen: set[int] = set()
    holders: dict[int, str] = {}
    rows: list[list[object]] = []
    oldest = 0
    while more:
        page = call.ask("history", {"ids": ids, "since": position, "limit": EVENTS})
        position, more, ids, oldest = page["position"], page["more"], page["ids"], page["oldest"]
        for event in page["events"]:
            numbers = [event["id"]] if "id" in event else event.get("ids", [])
            seen.update(numbers)
            if event["event"] in BEGINNINGS:
                begun.add(event["id"])
            who = _who(event, holders)
            if not call.given.get("since", 0) <= event["time"] < call.given.get("until", event["time"] + 1):
                continue
            if call.json:
                call.emit(event)
            elif call.quiet:
                call.out.row(event["position"])
            else:
                rows.append(_row(call, event, numbers, who))
        if not call.out.terminal:
            for row in rows:
                call.out.row(*row)
            rows = []
        call.out.flush()
    if rows:
        _table(call, rows)
    _end(call, [number for number in ids if number not in begun], seen, oldest)


def _end(call: Call, missing: list[Any], seen: set[int], oldest: int) -> None:
    """Say where the beginning is gone."""
    if call.json:
        call.emit({"end": True, "oldest": oldest, "missing": missing})
    for number in missing:
        if number not in seen:
            call.status = 4
        if not call.json:
            what = "what happened before is gone" if number in seen else "nothing of it is left"
            call.remark(f"{number}: {what}, the journal is kept from position {oldest} on")


def _who(event: Facts, holders: dict[int, str]) -> str | None:
    """The agent of an event: its own, or whoever held the item by then."""
    number = event.get("id")
    agent: str | None = event.get("agent")
    if event["event"] == "claimed":
        holders[event["id"]] = event["agent"]
    elif agent is None and number in holders:
        agent = holders[number] if "uid" in event and event["event"] != "cancelled" else None
        if event.get("state"):
            del holders[number]
    if agent is None and "uid" in event:
        return f"uid {event['uid']}"
    return agent


def _row(call: Call, event: Facts, numbers: Iterable[int], who: str | None) -> list[object]:
    ids = ",".join(map(str, numbers))
    if not call.out.terminal:
        texts = [event[name] for name in _TEXTS if name in event]
        return [render.rfc3339(event["time"]), ids, event["event"], who, " ".join([*_fields(event), *texts])]
    import time

    from swarmctl.screen import STATES

    now = int(time.time() * 1000)
    texts = [event[name] for name in _TEXTS if name in event]
    word = event["event"], STATES.get(event.get("state", ""))
    return [render.clock(event["time"], now), ids, word, who, "  ".join([*texts, " ".join(_fields(event, now))])]


def _fields(event: Facts, now: int | None = None) -> list[str]:
    """What has no column, as ``name=value``; for a person without what the event's name says already."""
    found = []
    for name, value in event.items():
        if name in _SHOWN or name in _TEXTS or (name == "queue" and event["event"] not in (*BEGINNINGS, "edited")):
            continue
        if now is not None and (name == "state" and value in _IMPLIED.get(event["event"], ())):
            continue
        if name in render.TIMES:
            value = render.rfc3339(value) if now is None else render.clock(value, now)
        elif name in render.DURATIONS:
            value = render.span(value)
        elif type(value) is list:
            value = ",".join(map(str, value))
        elif type(value) is bool:
            value = "yes" if value else "no"
        found.append(f"{name}={value}")
    return found


_IMPLIED = {
    "submitted": ("ready",),
    "claimed": ("claimed",),
    "completed": ("done",),
    "buried": ("buried",),
    "due": ("ready",),
    "kicked": ("ready",),
    "cancelled": ("cancelled",),
}
"""The state that goes with an event anyway."""


def _table(call: Call, rows: list[list[object]]) -> None:
    from swarmctl.screen import Column

    header = ("TIME", "ID", "EVENT", Column("WHO", least=8, spare=1), "DETAILS")
    call.lines(call.screen.table(header, rows))
