"""Clearing a queue: open items of it are cancelled, many at once, but a bounded number in each command.

Each command is whole: what it cancels is one entry of the journal. Whoever clears asks again while the reply says that
there is more, and may be interrupted between any two: what was cancelled stays so, and the same again does the rest.
"""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.work import Clear
from swarmshd.workqueue.desk import Desk, most_cancelled
from swarmshd.workqueue.records import CLAIMED, ENDED, OPEN, Item

LOOK_MAX = 10_000
"""Items that one command looks at where their age matters."""

CLEARED = "cleared"
"""The reason that is kept with the items, unless another was given."""


def clear(desk: Desk, command: Clear) -> list[e.Event]:
    """Cancel the next of the items that are meant."""
    if command.queue not in desk.tables.queues:
        raise Refusal("not_found", f"there is no queue {command.queue}")
    page, _, _ = _page(desk, command)
    return [e.ItemCancelled(item.id, _reason(command)) for item in page]


def _reason(command: Clear) -> str:
    return CLEARED if command.reason is None else command.reason


def cleared(desk: Desk, command: Clear, facts: Any) -> dict[str, Any]:
    """How many were cancelled, whether there may be more, and after which id to go on.

    Told again, it is the state of now that says whether there is more: going on from there is never wrong.
    """
    page, last, more = _page(desk, command)
    reply = {"queue": command.queue, "cleared": facts["touched"] if facts else 0, "more": bool(page) or more}
    return reply | {"after_id": min((item.id for item in page), default=last + 1) - 1}


def _states(command: Clear) -> list[str]:
    """The states that are meant, in a fixed order."""
    states = set(command.state) or OPEN - {CLAIMED}
    if states & ENDED:
        raise Refusal("bad_request", f"clear: items that are {min(states & ENDED)} have ended; only open ones can be")
    if command.held:
        states |= {CLAIMED}
    elif CLAIMED in states:
        raise Refusal("bad_request", "clear: claimed items are left to their holders, unless held is set")
    return sorted(states)


def _page(desk: Desk, command: Clear) -> tuple[list[Item], int, bool]:
    """At most a batch of the items that are meant; the last id that was looked at, and whether there may be more."""
    states, limit = _states(command), most_cancelled(desk, _reason(command))
    queue = desk.tables.queues.get(command.queue)
    if queue is None:
        return [], command.after_id, False
    sets = [queue.items[state] for state in states]
    total = sum(map(len, sets))
    found: Iterator[Item] = chain.from_iterable(items.values() for items in sets)
    if command.older is None:
        return list(islice(found, limit)), command.after_id, total > limit
    before = desk.now - command.older
    if total <= LOOK_MAX:
        old = [item for item in found if item.created_at <= before]
        return old[:limit], command.after_id, len(old) > limit
    return _walk(desk, command, before, limit)


def _walk(desk: Desk, command: Clear, before: int, limit: int) -> tuple[list[Item], int, bool]:
    """The same by id, where there are many and only some of them old enough."""
    items, states = desk.tables.open, _states(command)
    page: list[Item] = []
    last: int = command.after_id
    for looked, number in enumerate(filter(items.__contains__, desk.tables.after(last))):
        if looked == LOOK_MAX or len(page) == limit:
            return page, last, True
        item = items[number]
        if item.queue.name == command.queue and item.state in states and item.created_at <= before:
            page.append(item)
        last = number
    return page, last, False
