"""The rows of an ``import``, and of what ``export`` gives: items, agents and queues from elsewhere.

A row has many fields and says few of them; one that says a default says no more than one that leaves it out.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import attrs
import cbor2

from swarmshd import protocol
from swarmshd.commands.refusal import Refusal
from swarmshd.commands.values import (
    MEDIUM,
    Bytes,
    Count,
    Instant,
    ItemId,
    Kin,
    Milliseconds,
    Name,
    Note,
    Percent,
    Priority,
    Text,
)
from swarmshd.commands.wish import wish


@wish
class ImportedItem:
    """An item from elsewhere, with its past. ``created_at`` and ``id``, or else ``ref``, tell which one it is."""

    type: Name
    description: Text
    state: str
    created_at: Instant
    id: ItemId | None = None
    origin: Kin | None = None
    ref: Name | None = None
    queue: Name = Name(protocol.DEFAULT_QUEUE)
    priority: Priority = Priority(MEDIUM)
    team: Name | None = None
    payload: Bytes | None = None
    require: tuple[Name, ...] = ()
    group: Name | None = None
    unique: Name | None = None
    due_at: Instant | None = None
    ended_at: Instant | None = None
    after: tuple[Kin, ...] = ()
    waits: tuple[Kin, ...] = ()
    on_failure: str | None = None
    max_attempts: Count | None = None
    lease: Milliseconds | None = None
    max_runtime: Milliseconds | None = None
    agent: Name | None = None
    uid: Count | None = None
    holder: Name | None = None
    claims: Count = Count(0)
    failures: Count = Count(0)
    crashes: Count = Count(0)
    releases: Count = Count(0)
    percent: Percent | None = None
    status: Note | None = None
    message: Note | None = None
    checkpoint: Bytes | None = None
    blocked: Note | None = None
    reason: Note | None = None
    note: Note | None = None
    points: Count | None = None
    exit_status: Count | None = None
    result: Bytes | None = None
    output: Bytes | None = None
    ended_by: Name | None = None
    legacy: Text | None = None


@wish
class ImportedAgent:
    """An agent from elsewhere."""

    agent: Name
    uid: Count | None = None
    team: Name | None = None
    capacity: Count | None = None
    specialization: Note | None = None
    slots: Count | None = None
    labels: tuple[Name, ...] = ()
    heartbeat: Milliseconds | None = None
    quiet: bool = False
    registered: bool = True
    seen_at: Instant | None = None
    legacy: Text | None = None


@wish
class ImportedQueue:
    """The settings of a queue from elsewhere."""

    queue: Name
    paused: Note | None = None
    paused_until: Instant | None = None
    closed: bool = False
    limit: Count | None = None
    max_length: Count | None = None
    lease: Milliseconds | None = None
    max_attempts: Count | None = None
    crash_cap: Count | None = None
    stall_after: Milliseconds | None = None


IMPORTED: dict[str, type] = {"item": ImportedItem, "agent": ImportedAgent, "queue": ImportedQueue}
"""The kinds of rows of an ``import``, and of what ``export`` gives."""


class Row(NamedTuple):
    """A row of an ``import``, and eight bytes that tell what it says from anything else (see :func:`content`)."""

    said: ImportedItem | ImportedAgent | ImportedQueue
    content: bytes


Rows = tuple[Row | Refusal, ...]


@wish
class Import:
    run: Name
    rows: Rows = ()
    claimed: str = "hold"
    dry_run: bool = False


_UNSAID: dict[str, dict[str, object]] = {
    kind: {
        field.name: protocol.PRIORITIES[MEDIUM] if field.name == "priority" else field.default
        for field in attrs.fields(made)
        if field.default is not attrs.NOTHING
    }
    for kind, made in IMPORTED.items()
}
_NOT_CONTENT = {"item": ("id", "origin"), "agent": ("uid", "seen_at"), "queue": ()}
"""Names, and what changes by itself."""


def said(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row without those that say no more than if they were left out."""
    unsaid = _UNSAID[kind]
    return {name: value for name, value in fields.items() if value != unsaid.get(name)}


def content(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Eight bytes that tell what a row says from anything else that it might say; but for its name."""
    unsaid, left_out = _UNSAID[kind], _NOT_CONTENT[kind]
    known = {
        name: value for name in sorted(fields) if (value := fields[name]) != unsaid.get(name) and name not in left_out
    }
    return blake2b(cbor2.dumps(known), digest_size=8).digest()
