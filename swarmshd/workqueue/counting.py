"""How many items there are: from the sizes of the sets that are kept where these know, else one item after another."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from swarmshd.commands.looks import CountItems
from swarmshd.workqueue.desk import Desk, queues_of_work
from swarmshd.workqueue.looking import agent_of, born_before, matches
from swarmshd.workqueue.ready import Bucket
from swarmshd.workqueue.records import CLAIMED, ENDED, LOCKS, OPEN, Item


def count(desk: Desk, command: CountItems) -> dict[str, Any]:
    """How many, from the sizes of the sets that are kept where the filter allows it."""
    states = set(command.state or (OPEN | ENDED if command.all else OPEN))
    if not desk.policy.indexed or LOCKS in command.queue or command.older is not None:
        by = _count_each(desk, command, states)
    elif command.agent is None and command.group is None and command.by in (None, "state", "queue"):
        if not command.type and not command.team:
            by = _count_queues(desk, command, states)
        else:
            by = _count_kinds(desk, command, states & OPEN) + _count_each(desk, command, states & ENDED)
    elif command.agent is None and command.group is None and command.by in ("type", "team"):
        by = _count_kinds(desk, command, states & OPEN) + _count_each(desk, command, states & ENDED)
    else:
        by = _count_each(desk, command, states)
    return (
        {"count": by.total()} if command.by is None else {"by": {key: number for key, number in by.items() if number}}
    )


def _count_queues(desk: Desk, command: CountItems, states: set[str]) -> Counter[str]:
    """By state or queue: the queues know."""
    queues = desk.tables.queues
    by: Counter[str] = Counter()
    for queue in (
        [queues[name] for name in set(command.queue) if name in queues] if command.queue else queues_of_work(desk)
    ):
        for state in states:
            by[queue.name if command.by == "queue" else state] += len(queue.items[state])
    return by


def _count_kinds(desk: Desk, command: CountItems, states: set[str]) -> Counter[str]:
    """Open items by state, queue, type or team: the buckets know."""
    by: Counter[str] = Counter()
    for bucket in desk.ready.buckets.values():
        if (
            (not command.queue or bucket.queue.name in command.queue)
            and (not command.type or bucket.type in command.type)
            and (not command.team or bucket.team in command.team)
        ):
            for state in states:
                by[_value_of(bucket, state, command.by)] += bucket.counts[state]
    return by


def _count_each(desk: Desk, command: CountItems, states: set[str]) -> Counter[str]:
    """One item after the other, of the smallest sets that hold all that are meant."""
    tables = desk.tables
    sets: list[Iterable[Item]]
    if command.agent is not None and states <= {CLAIMED}:
        agent = tables.agents.get(command.agent)
        sets = [] if agent is None else [agent.holds.values()]
    elif command.group is not None:
        group = tables.groups.get(command.group)
        sets = [] if group is None else [group.open.values(), group.ended.values()]
    else:
        queues = [tables.queues[name] for name in set(command.queue or tables.queues) if name in tables.queues]
        sets = [queue.items[state].values() for queue in queues for state in states]
    by: Counter[str] = Counter()
    before = born_before(desk, command)
    for found in sets:
        for item in found:
            desk.ready.scanned += 1
            if item.state in states and matches(item, command, before):
                by[_value_of(item, item.state, command.by)] += 1
    return by


def _value_of(item: Item | Bucket, state: str, by: str | None) -> str:
    if by is None or by == "state":
        return state
    if by == "queue":
        return item.queue.name
    if by == "type":
        return item.type
    if by == "team":
        return item.team or "-"
    assert isinstance(item, Item)
    return str((agent_of(item) if by == "agent" else item.option("group")) or "-")
