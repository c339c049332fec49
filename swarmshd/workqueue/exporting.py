"""Items, agents and queues as they go out to another daemon, known there by the names that they have everywhere.

They go out page by page: the settings of queues, then agents, then items by their numbers, so that what an item waits
for stands before it. Each page is the state at its own moment; what changes between two pages may be in either form.
"""

from collections.abc import Iterator
from typing import Any

from swarmshd.commands import Refusal
from swarmshd.commands.looks import Export
from swarmshd.commands.rows import said
from swarmshd.protocol import PRIORITIES
from swarmshd.workqueue.desk import Desk
from swarmshd.workqueue.records import BLOCKED, ENDED, SCHEDULED, Agent, Item

ITEM_OPTIONS = ("group", "ref", "unique", "lease", "max_runtime", "max_attempts", "on_failure", "agent", "legacy")
ITEM_NOTES = (
    *("percent", "status", "message", "checkpoint", "reason"),
    *("note", "points", "exit_status", "result", "output", "ended_by"),
)
"""Fields of a row that are options, or notes, of an item under the same name."""

Facts = dict[str, Any]


def called(desk: Desk, name: str) -> Item | None:
    """The item here that has this name."""
    tables = desk.tables
    if name[0] != "#":
        number = tables.refs.get(name)
        if number is None and name.startswith("work_") and name[5:].isdecimal() and len(name) < 25:
            found = tables.items.get(int(name[5:]))
            return found if found is not None and found.option("ref") is None else None
    else:
        number = tables.origins.get(name)
        if number is None:
            left, at, _ = name[1:].partition("@")
            found = tables.items.get(int(left)) if at else None
            return found if found is not None and found.name == name else None
    return None if number is None else tables.items[number]


def item_facts(desk: Desk, item: Item) -> Facts:
    """All of an item but its lease; fields without a value are left out."""
    options, notes, items = item.options or {}, item.notes or {}, desk.tables.items
    blocked = _held_back(desk, item)
    facts: Facts = {
        "id": item.id,
        "origin": options.get("origin"),
        "type": item.type,
        "description": item.description,
        "state": item.state,
        "created_at": item.created_at,
        "queue": item.queue.name,
        "priority": PRIORITIES[item.priority],
        "team": item.team,
        "payload": item.payload,
        "require": item.require,
        "due_at": item.due_at if item.state in (SCHEDULED, BLOCKED) else None,
        "ended_at": notes.get("ended_at", item.since if item.state in ENDED else None),
        "after": tuple(items[number].name for number in item.after if number in items),
        "waits": () if blocked else tuple(items[number].name for number in sorted(item.waits or ())),
        "uid": item.uid,
        "holder": item.claim.agent.name if item.claim is not None else options.get("holder") if blocked else None,
        "claims": item.claims,
        "failures": item.failures,
        "crashes": item.crashes,
        "releases": item.releases,
        "blocked": blocked,
    }
    facts |= {name: options.get(name) for name in ITEM_OPTIONS}
    facts |= {name: notes.get(name) for name in ITEM_NOTES}
    return said("item", facts)


def _held_back(desk: Desk, item: Item) -> str | None:
    """Why the item does not come free by itself: it waits for nothing, or for something that was forgotten."""
    if item.state != BLOCKED:
        return None
    missing = [number for number in sorted(item.waits or ()) if number not in desk.tables.items]
    if item.waits and not missing:
        return None
    return item.note("blocked") or item.option("reason") or (f"{missing[0]} was forgotten" if missing else "held back")


def agent_facts(agent: Agent) -> Facts:
    """All of an agent but its process and what it holds."""
    return said(
        "agent",
        {
            "agent": agent.name,
            "uid": agent.uid,
            "team": agent.team,
            "capacity": agent.capacity,
            "specialization": agent.specialization,
            "slots": agent.slots,
            "labels": agent.labels,
            "heartbeat": agent.heartbeat,
            "quiet": agent.quiet,
            "registered": agent.registered,
            "seen_at": agent.seen,
            "legacy": agent.legacy,
        },
    )


# -- page by page ----------------------------------------------------------------------------------------

ROWS_MAX = 1000
BYTES_MAX = 1 << 19
"""Bounds of one page; the row that passes the second is in it."""

LOOKED_MAX = 5000
"""Items that one page looks at."""

QUEUE, AGENT, ITEM = "queue", "agent", "item"


def export(desk: Desk, command: Export) -> Facts:
    """The rows after ``after``, which is what the page before gave as ``next``."""
    rows: list[list[Any]] = []
    size = 0
    for looked, (place, kind, facts) in enumerate(_rows(desk, command)):
        if facts:
            rows.append([kind, facts])
            size += 100 + sum(len(value) for value in facts.values() if isinstance(value, (bytes, str)))
        if len(rows) == ROWS_MAX or size >= BYTES_MAX or looked == LOOKED_MAX:
            return {"rows": rows, "next": place}
    return {"rows": rows}


def _rows(desk: Desk, command: Export) -> Iterator[tuple[str, str, Facts]]:
    """Where each row stands, its kind, and what it says; nothing, if it was not asked for."""
    tables = desk.tables
    kind, colon, after = (command.after or "").partition(":")
    known = kind in (QUEUE, AGENT) or (kind == ITEM and after.isascii() and after.isdecimal() and len(after) < 20)
    if command.after is not None and not (known and colon):
        raise Refusal("bad_request", "export: after: expected what the page before gave as next")
    if kind in ("", QUEUE):
        for name in sorted(tables.queues):
            if name > after:
                queue = tables.queues[name]
                wanted = name[0] != "@" and queue.settings and (not command.queue or name in command.queue)
                yield f"{QUEUE}:{name}", QUEUE, {"queue": name, **queue.settings} if wanted else {}
        after = ""
    chosen = command.state or command.queue or command.type or command.team or command.group is not None
    if kind in ("", QUEUE, AGENT) and not chosen:
        for name in sorted(tables.agents):
            if name > after:
                agent = tables.agents[name]
                yield f"{AGENT}:{name}", AGENT, agent_facts(agent) if agent.registered or agent.quiet else {}
    for number in tables.after(int(after) if kind == ITEM else 0):
        item = tables.items.get(number)
        yield f"{ITEM}:{number}", ITEM, item_facts(desk, item) if item and _chosen(item, command) else {}


def _chosen(item: Item, command: Export) -> bool:
    return (
        item.queue.name[0] != "@"
        and (not command.state or item.state in command.state)
        and (not command.queue or item.queue.name in command.queue)
        and (not command.type or item.type in command.type)
        and (not command.team or item.team in command.team)
        and (command.group is None or item.option("group") == command.group)
    )
