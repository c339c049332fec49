"""What can be asked about agents and queues. As ``asking``, for those who govern them."""

from __future__ import annotations

from swarmctl.client.ask import Ask, Reference, Reply, Seconds, Words, as_words, member, milliseconds, whole


def register(
    *,
    team: str | None = None,
    capacity: int | None = None,
    specialization: str | None = None,
    slots: int | None = None,
    labels: Words | None = None,
    heartbeat: Seconds | None = None,
    takeover: bool | None = None,
) -> Ask[Reply]:
    """Make this agent known, with what it can do. Its claims then stand and fall with this process."""
    arguments = {
        "team": team,
        "capacity": capacity,
        "specialization": specialization,
        "slots": slots,
        "labels": as_words(labels),
        "heartbeat": milliseconds(heartbeat),
        "takeover": takeover,
    }
    return Ask("register", whole, arguments, acts=True, watches=True)


def agents(agent: str | None = None) -> Ask[list[Reply]]:
    """All agents, or one."""
    return Ask("agents", member("agents"), {"agent": agent})


def explain(id: Reference | None = None, *, agent: str | None = None, queue: str | None = None) -> Ask[Reply]:
    """Why nobody has an item (``agent``: why that agent has not), why an agent gets nothing, why a queue stands still.

    ``reasons`` are dictionaries with ``code``, ``message`` and facts; ``claimable`` whether a claim would be granted.
    """
    return Ask("explain", whole, {"id": id, "agent": agent, "queue": queue})


def queues(queue: str | None = None, *, stats: bool | None = None) -> Ask[list[Reply]]:
    """All queues, or one; with ``stats`` also what has gone through them since the daemon started."""
    return Ask("queues", member("queues"), {"queue": queue, "stats": stats})


def queue_set(
    queue: str,
    *,
    closed: bool | None = None,
    limit: int | None = None,
    max_length: int | None = None,
    lease: Seconds | None = None,
    max_attempts: int | None = None,
    crash_cap: int | None = None,
    stall_after: Seconds | None = None,
) -> Ask[Reply]:
    """Change a queue's settings; ``closed`` lets nothing new in."""
    arguments = {
        "queue": queue,
        "closed": closed,
        "limit": limit,
        "max_length": max_length,
        "lease": milliseconds(lease),
        "max_attempts": max_attempts,
        "crash_cap": crash_cap,
        "stall_after": milliseconds(stall_after),
    }
    return Ask("queue_set", whole, arguments)


def pause(
    queue: str | None = None,
    *,
    all: bool | None = None,
    reason: str | None = None,
    hard: bool | None = None,
    lasts: Seconds | None = None,
) -> Ask[Reply]:
    """Stop claims from a queue, or all; ``hard`` also asks holders to stop. After ``lasts`` it ends by itself."""
    arguments = {"queue": queue, "all": all, "reason": reason, "hard": hard, "lasts": milliseconds(lasts)}
    return Ask("pause", whole, arguments)


def resume(queue: str | None = None, *, all: bool | None = None) -> Ask[Reply]:
    """End a pause."""
    return Ask("resume", whole, {"queue": queue, "all": all})


def quiet(agent: str) -> Ask[Reply]:
    """Let an agent claim nothing more."""
    return Ask("quiet", whole, {"agent": agent})


def wake(agent: str) -> Ask[Reply]:
    """Let a quiet agent claim again."""
    return Ask("wake", whole, {"agent": agent})


def evict(agent: str) -> Ask[Reply]:
    """Forget an agent; what it holds is ready again."""
    return Ask("evict", whole, {"agent": agent})
