"""Items, agents and queues as they go out to another daemon, known there by the names that they have everywhere."""

from typing import Any

from swarmshd.commands import said
from swarmshd.protocol import PRIORITIES
from swarmshd.workqueue.desk import Desk
from swarmshd.workqueue.records import BLOCKED, ENDED, Agent, Item

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
        "due_at": item.due_at,
        "ended_at": notes.get("ended_at", item.since if item.state in ENDED else None),
        "after": tuple(items[number].name for number in item.after if number in items),
        "waits": () if blocked else tuple(items[number].name for number in sorted(item.waits or ())),
        "uid": item.uid,
        "holder": None if item.claim is None else item.claim.agent.name,
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
