"""Rows of items, agents and queues for a terminal: aligned columns, relative times, the state in colour.

What is nothing in every row (no team, no progress, nothing buried) takes no column. On a narrow terminal long names are
cut first, then the columns that people miss least are left out; an id, a state and a token are always whole.
"""

from __future__ import annotations

from swarmctl.render import span
from swarmctl.screen import BOLD, DIM, RED, STATES, YELLOW, Column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from swarmctl.screen import Cell, Screen

    Facts = Mapping[str, Any]

PRIORITIES = {"critical": RED, "high": YELLOW, "low": DIM}

ENDED = ("done", "cancelled")
"""States of which nobody asks how far it is."""

COUNTS = ("ready", "claimed", "scheduled", "blocked", "buried", "done", "cancelled")
"""Of a queue, in the order in which a person wants to know them."""


def age(ms: int | None, now: int) -> str | None:
    """How long ago that was."""
    return None if ms is None else span(max(0, now - ms))


def state(name: str) -> Cell:
    """A state in its colour."""
    return name, STATES.get(name)


def priority(name: str) -> Cell:
    """A priority; what is urgent stands out."""
    return name, PRIORITIES.get(name)


def items(screen: Screen, found: Iterable[Facts], now: int, told: Collection[str] = ()) -> list[str]:
    """Rows of ``list``, without the columns that the asker has ``told`` to have one value."""
    header = (
        "ID", "STATE", Column("TYPE", least=8), Column("PRIORITY", spare=1), Column("QUEUE", least=8, spare=4),
        Column("TEAM", least=6, spare=5), Column("AGENT", least=10, spare=2), "DONE", Column("AGE", spare=3),
        "DESCRIPTION",
    )  # fmt: skip
    rows = [
        [
            item["id"],
            state(item["state"]),
            None if "type" in told else item["type"],
            priority(item["priority"]),
            None if "queue" in told else item["queue"],
            None if "team" in told else item.get("team"),
            None if "agent" in told else item.get("agent"),
            f"{item['percent']}%" if "percent" in item and item["state"] not in ENDED else None,
            age(item["created_at"], now),
            item["description"],
        ]
        for item in found
    ]
    return screen.table(header, rows)


def held(screen: Screen, found: Iterable[Facts], now: int) -> list[str]:
    """Rows of ``held``: the token is there to be copied."""
    header = ("ID", "TOKEN", Column("TYPE", least=8), Column("PRIORITY", spare=1), "LEFT", "DESCRIPTION")
    rows = []
    for item in found:
        left = item.get("expires_at", now) - now
        ends: Cell = (span(max(0, left)), RED if left < item.get("lease", 0) // 10 else None)
        rows.append(
            [item["id"], item.get("token"), item["type"], priority(item["priority"]), ends, item["description"]]
        )
    return screen.table(header, rows)


def queues(screen: Screen, found: Iterable[Facts], now: int) -> list[str]:
    """Rows of ``queue ls``."""
    header = (
        Column("QUEUE", least=12), "READY", "CLAIMED", Column("SCHEDULED", spare=3), Column("BLOCKED", spare=4),
        "BURIED", Column("DONE", spare=1), Column("CANCELLED", spare=2), "OLDEST", Column("LIMIT", spare=5), "NOTE",
    )  # fmt: skip
    rows = []
    for queue in found:
        counts: list[Cell] = [queue[name] or None for name in COUNTS]
        counts[COUNTS.index("buried")] = (str(queue["buried"]), RED) if queue["buried"] else None
        oldest = age(queue.get("oldest_ready_at"), now)
        rows.append([queue["queue"], *counts, oldest, queue.get("limit"), queue_note(queue, now)])
    return screen.table(header, rows)


def queue_note(queue: Facts, now: int) -> Cell:
    """Why a queue gives or takes nothing."""
    said = []
    if "paused" in queue:
        more = f" for {span(max(0, queue['paused_until'] - now))}" if "paused_until" in queue else ""
        said.append(f"paused{more}" + (f": {queue['paused']}" if queue["paused"] else ""))
    if queue.get("closed"):
        said.append("closed")
    return ("; ".join(said), YELLOW) if said else None


def agents(screen: Screen, found: Iterable[Facts], now: int) -> list[str]:
    """Rows of ``agent ls``."""
    header = (
        Column("AGENT", least=16), "STATE", Column("TEAM", least=6, spare=2), "HOLDS", Column("SLOTS", spare=4),
        Column("CAPACITY", spare=6), Column("PID", spare=5), "SEEN", Column("LABELS", least=8, spare=1),
        "SPECIALIZATION",
    )  # fmt: skip
    rows = [
        [
            agent["agent"],
            state(agent["state"]),
            agent.get("team"),
            len(agent["holds"]) or None,
            agent.get("slots") or None,
            f"{agent['capacity']}%" if "capacity" in agent else None,
            agent.get("watching"),
            age(agent["seen_at"], now),
            ",".join(agent.get("labels") or ()),
            agent.get("specialization"),
        ]
        for agent in found
    ]
    return screen.table(header, rows)


def locks(screen: Screen, found: Iterable[Facts], now: int) -> list[str]:
    """Rows of ``locks``."""
    header = (Column("LOCK", least=12), Column("AGENT", least=12), "SINCE", "FENCE", Column("PID", spare=1), "WAITING")
    rows = [
        [
            lock["type"],
            lock.get("agent"),
            age(lock.get("claimed_at"), now),
            lock.get("fence"),
            lock.get("watching"),
            lock.get("waiting") or None,
        ]
        for lock in found
    ]
    return screen.table(header, rows)


def counts(screen: Screen, by: str, found: Mapping[str, int]) -> list[str]:
    """Rows of ``count --by``, most first, and their sum."""
    rows: list[list[Cell]] = [
        [(name, STATES.get(name) if by == "state" else None), number]
        for name, number in sorted(found.items(), key=lambda one: (-one[1], one[0]))
    ]
    if len(rows) > 1:
        rows.append([("all", BOLD), (str(sum(found.values())), BOLD)])
    return screen.table((Column(by.upper(), least=12), "ITEMS"), rows)
