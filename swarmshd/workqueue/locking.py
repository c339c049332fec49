"""Named locks: an exclusive lease on a name, for whoever does something of which there must not be two at a time.

A lock is an item of the reserved queue ``@lock`` whose type is its name: claimed while it is held, ready while it is
free. So the lease, the token with its fence, the watch of the holder's process and the ways in which a claim ends are
those of items, and so is what the journal keeps. What makes it a lock stands here: it is taken by its name, those who
wait for it get it in the order in which they came, it is never buried, and when nobody has wanted it for long it is
forgotten. The verbs of items do not know it (see :func:`swarmshd.workqueue.desk.find`).
"""

from collections.abc import Iterator

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.values import MEDIUM
from swarmshd.commands.work import Lock, Unlock
from swarmshd.workqueue.claiming import check_watch, take
from swarmshd.workqueue.desk import Desk, agent_for, check_lease, holds, room_for_agent
from swarmshd.workqueue.records import CLAIMED, HOLDS_MAX, LOCKS, READY
from swarmshd.workqueue.submitting import check_memory

LOCKS_MAX = 10_000
"""Most locks, held and free ones; of the free ones the one that was free longest makes room."""

LOCK_FREE_KEPT = 3_600_000
"""Milliseconds after which a lock that nobody has taken again is forgotten."""


def lock(desk: Desk, command: Lock) -> Iterator[e.Event]:
    """Take the lock if it is free and nobody has waited for it longer."""
    agent = agent_for(desk, command.agent)
    check_watch(desk, command)
    check_lease(desk, command.lease)
    if agent is None:
        room_for_agent(desk)
    elif len(agent.holds) >= HOLDS_MAX:
        raise Refusal("capacity", f"agent {agent.name} holds {HOLDS_MAX} items and locks, the most that one may")
    item = desk.tables.locks.get(command.name)
    first = desk.waiters.first_for(command.name)
    if (item is not None and item.state == CLAIMED) or (first is not None and first.request.command is not command):
        raise taken(desk, command.name)
    crowded = item is None and _crowded(desk)
    if item is None:
        number = desk.mint.id()
        yield e.ItemSubmitted(number, LOCKS, command.name, MEDIUM, "")
        item = desk.tables.items[number]
    yield take(desk, command, item, agent)
    if crowded:
        yield from _forgotten([next(iter(desk.tables.queues[LOCKS].items[READY]))])


def _crowded(desk: Desk) -> bool:
    """Whether a free lock must go before there can be one more.

    Raises:
        Refusal: there can be none.
    """
    tables = desk.tables
    if LOCKS not in tables.queues and len(tables.queues) >= desk.policy.queues:
        raise Refusal("too_many_kinds", f"there are {desk.policy.queues} queues (QUEUES); locks need one more")
    check_memory(desk)
    if len(tables.locks) < LOCKS_MAX:
        return False
    if not tables.queues[LOCKS].items[READY]:
        raise Refusal("too_many_kinds", f"{LOCKS_MAX} locks are held (LOCKS_MAX); release some", limit=LOCKS_MAX)
    return True


def _forgotten(numbers: list[int]) -> Iterator[e.Event]:
    """Free locks are no more."""
    for number in numbers:
        yield e.ItemCancelled(number)
    yield e.ItemsForgotten(numbers[::-1])  # the latest to end is found first


def taken(desk: Desk, name: str) -> Refusal:
    """Say who has it, and how many wait."""
    item = desk.tables.locks.get(name)
    claim = None if item is None else item.claim
    waiting = desk.waiters.count_for(name)
    queue = f" ({waiting} wait)" if waiting else ""
    if claim is None:
        return Refusal("timeout", f"lock {name} is for others, who wait for it{queue}", waiting=waiting)
    text = f"lock {name} is held by {claim.agent.name}{queue}"
    return Refusal("timeout", text, holder=claim.agent.name, since=claim.at, waiting=waiting)


def unlock(desk: Desk, command: Unlock) -> list[e.Event]:
    """Give the lock back; an admin may take it from whoever holds it."""
    item = desk.tables.locks.get(command.name)
    if item is None or item.claim is None:
        raise Refusal("lease_lost", f"lock {command.name} is not held by anybody")
    if not command.force:
        holds(desk, item, command)
        return [e.ItemReturned(item.id, e.UNLOCKED)]
    if not desk.actor.admin:
        raise Refusal("denied", f"unlock {command.name}: only an admin may take a lock from its holder")
    return [e.ItemReturned(item.id, e.EVICTED, None, f"the lock was taken from {item.claim.agent.name}")]


def forget_locks(desk: Desk) -> list[e.Event]:
    """Forget locks that nobody has wanted for long."""
    queue = desk.tables.queues.get(LOCKS)
    if queue is None:
        return []
    old = desk.now - LOCK_FREE_KEPT
    gone: list[int] = []
    for item in queue.items[READY].values():
        if item.since > old or len(gone) == desk.policy.batch_size:
            break
        if not desk.waiters.count_for(item.type):
            gone.append(item.id)
    return list(_forgotten(gone)) if gone else []
