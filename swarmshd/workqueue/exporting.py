"""Items, agents and queues as they go out to another daemon, and the names by which they are known everywhere.

An item's name is its ref, or else its id and the time at which it was made where it was made first: ``#5@CREATED``. Of
an item that has come from elsewhere under another id, that is what it was called there.
"""

from hashlib import blake2b
from typing import Any

import attrs
import cbor2

from swarmshd.commands import ImportedAgent, ImportedItem
from swarmshd.workqueue.desk import Desk
from swarmshd.workqueue.records import BLOCKED, ENDED, Agent, Item

ITEM_OPTIONS = ("group", "ref", "unique", "lease", "max_runtime", "max_attempts", "on_failure", "agent", "legacy")
ITEM_NOTES = (
    *("percent", "status", "message", "checkpoint", "reason"),
    *("note", "points", "exit_status", "result", "output", "ended_by"),
)
"""Fields of a row that are options, or notes, of an item under the same name."""

Facts = dict[str, Any]

_ITEM = {f.name: f.default for f in attrs.fields(ImportedItem) if f.name not in ("id", "origin")}
_AGENT = {f.name: f.default for f in attrs.fields(ImportedAgent) if f.name not in ("uid", "seen_at")}
"""What is compared, and what it is when nothing is said of it: no names, and nothing that changes by itself."""


def content(said: ImportedItem | ImportedAgent | Facts) -> bytes:
    """Eight bytes that tell what is said of an item or agent from anything else that might be said of it."""
    if isinstance(said, dict):
        values = [said.get(name, default) for name, default in (_AGENT if "registered" in said else _ITEM).items()]
    else:
        values = [getattr(said, name) for name in (_ITEM if isinstance(said, ImportedItem) else _AGENT)]
    return blake2b(cbor2.dumps(values), digest_size=8).digest()


def name_of(item: Item) -> str:
    """What the item is called wherever it goes."""
    name: str = item.option("ref") or item.option("origin") or f"#{item.id}@{item.created_at}"
    return name


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
            return found if found is not None and name_of(found) == name else None
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
        "priority": item.priority,
        "team": item.team,
        "payload": item.payload,
        "require": item.require,
        "due_at": item.due_at,
        "ended_at": notes.get("ended_at", item.since if item.state in ENDED else None),
        "after": tuple(name_of(items[number]) for number in item.after if number in items),
        "waits": () if blocked else tuple(name_of(items[number]) for number in sorted(item.waits or ())),
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
    return _said(facts)


def _said(facts: Facts) -> Facts:
    return {name: value for name, value in facts.items() if value is not None and value != ()}


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
    return _said(
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
        }
    )
