"""What the state looks like to those who ask: the maps of the replies.

Fields that have no value are left out. Payloads and outputs are told by their size; ``get`` has the bytes.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from swarmshd.commands import Agents, CountItems, Filter, Get, Held, List, Queues, Refusal, Show
from swarmshd.protocol import PRIORITIES
from swarmshd.workqueue.desk import Desk, find, lease_of, max_attempts
from swarmshd.workqueue.records import CLAIMED, ENDED, OPEN, READY, Agent, Item, Queue

LOOK_MAX = 5000
"""Items that one ``list`` looks at before it gives what it has and says where to go on."""

SUSPECT_AFTER = 4
"""Heartbeats that an agent which declared them may miss before it is suspect."""

IDLE_AFTER = 60_000


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value != ()}


_HANDED_ON = (("checkpoint", "checkpoint"), ("percent", "percent"), ("last_failure", "reason"))
"""Notes of earlier attempts that the next holder gets: the name it gets them under, and the note's own."""


def claimed_view(desk: Desk, item: Item, *, resumed: bool = False, with_token: bool = True) -> dict[str, Any]:
    """A claimed item as its holder gets it."""
    claim = item.claim
    assert claim is not None
    view = {
        "id": item.id,
        "fence": claim.fence,
        "type": item.type,
        "priority": PRIORITIES[item.priority],
        "description": item.description,
        "queue": item.queue.name,
        "attempt": item.claims,
        "attempts_max": max_attempts(desk, item),
        "expires_at": claim.deadline,
        "lease": claim.lease,
    }
    if with_token:
        view["token"] = claim.token
    if item.team is not None:
        view["team"] = item.team
    if item.payload is not None:
        view["payload"] = item.payload
    if item.options is not None:
        view |= {name: item.options[name] for name in ("group", "ref") if name in item.options}
    if item.notes is not None:
        view |= {name: item.notes[note] for name, note in _HANDED_ON if note in item.notes}
    if item.releases:
        view["releases"] = item.releases
    if resumed:
        view["resumed"] = True
    return view


def item_view(desk: Desk, item: Item) -> dict[str, Any]:
    """An item as ``show`` and ``list`` tell of it."""
    claim = item.claim
    options = item.options or {}
    fields: dict[str, Any] = {
        "id": item.id,
        "state": item.state,
        "type": item.type,
        "description": item.description,
        "priority": PRIORITIES[item.priority],
        "queue": item.queue.name,
        "team": item.team,
        "group": options.get("group"),
        "ref": options.get("ref"),
        "unique": options.get("unique"),
        "on_failure": options.get("on_failure"),
        "after": item.after,
        "require": item.require,
        "attempt": item.claims,
        "failures": item.failures,
        "crashes": item.crashes,
        "releases": item.releases,
        "attempts_max": max_attempts(desk, item),
        "created_at": item.created_at,
        "lease": lease_of(desk, item),
        "max_runtime": options.get("max_runtime"),
        "payload_size": len(item.payload or b""),
        "submitted_by": _present({"uid": item.uid, "pid": item.pid, "agent": options.get("agent")}),
    }
    if item.waits:
        fields["blocked_by"] = sorted(item.waits)
        fields["blocked_reason"] = item.note("blocked") or options.get("reason")
    if item.due_at is not None:
        fields["due_at"] = item.due_at
    if item.state == READY:
        fields["ready_at"] = item.since
    elif item.state in ENDED:
        fields["ended_at"] = item.since
    if claim is not None:
        fields |= {
            "agent": claim.agent.name,
            "fence": claim.fence,
            "claimed_at": claim.at,
            "lease_until": claim.deadline,
            "watching": None if claim.watch is None else claim.watch[0],
            "stalled": True if claim.stalled else None,
        }
    fields |= _noted(item)
    return _present(fields)


def _noted(item: Item) -> dict[str, Any]:
    notes = item.notes
    if not notes:
        return {}
    fields = {name: notes.get(name) for name in ("percent", "status", "message", "note", "points", "exit_status")}
    fields["reason"] = notes.get("reason")
    if item.state in ENDED:
        fields["agent"] = notes.get("ended_by")
    for name in ("output", "result", "checkpoint"):
        if name in notes:
            fields[name + "_size"] = len(notes[name])
    return fields


def show(desk: Desk, command: Show) -> dict[str, Any]:
    """One item."""
    return item_view(desk, find(desk, command.id))


def get(desk: Desk, command: Get) -> dict[str, Any]:
    """The raw bytes that the item carries."""
    item = find(desk, command.id)
    data = item.payload if command.what == "payload" else item.note(command.what)
    if data is None:
        raise Refusal("not_found", f"item {item.id} has no {command.what}")
    return {"data": data}


def _selector(desk: Desk, wanted: Filter) -> Iterator[Item]:
    """The smallest set that is known to hold every item that the filter can select, by id where it is large."""
    tables = desk.tables
    states = wanted.state or (tuple(OPEN | ENDED) if wanted.all else tuple(OPEN))
    if wanted.agent is not None and set(states) <= {CLAIMED}:
        agent = tables.agents.get(wanted.agent)
        return iter([] if agent is None else sorted(agent.holds.values(), key=_id))
    if wanted.group is not None:
        group = tables.groups.get(wanted.group)
        return iter([] if group is None else [tables.items[number] for number in group.ids])
    names = [name for name in wanted.queue if name in tables.queues] if wanted.queue else list(tables.queues)
    if len(names) <= LOOK_MAX and sum(len(tables.queues[name].items[s]) for name in names for s in states) <= LOOK_MAX:
        found = [item for name in names for state in states for item in tables.queues[name].items[state].values()]
        return iter(sorted(found, key=_id))
    return iter(())


def _id(item: Item) -> int:
    return item.id


def _matches(item: Item, wanted: Filter) -> bool:
    return (
        (item.state in wanted.state if wanted.state else wanted.all or item.state not in ENDED)
        and (not wanted.queue or item.queue.name in wanted.queue)
        and (not wanted.type or item.type in wanted.type)
        and (not wanted.team or item.team in wanted.team)
        and (wanted.agent is None or _agent_of(item) == wanted.agent)
        and (wanted.group is None or item.option("group") == wanted.group)
    )


def _agent_of(item: Item) -> str | None:
    return item.claim.agent.name if item.claim is not None else item.note("ended_by")


def list_items(desk: Desk, command: List) -> dict[str, Any]:
    """A page, by id. It may hold fewer items than asked for and still say that there is more."""
    few = [item for item in _selector(desk, command) if item.id > command.after_id]
    if few:
        found = [item for item in few if _matches(item, command)]
        page = found[: command.limit]
        more = len(found) > len(page)
        last: int = page[-1].id if page else command.after_id
    else:
        page, last, more = _walk(desk, command)
    return {"items": [item_view(desk, item) for item in page], "more": more, "after_id": last}


def _walk(desk: Desk, command: List) -> tuple[list[Item], int, bool]:
    page: list[Item] = []
    last: int = command.after_id
    only_open = not command.all and not any(state in ENDED for state in command.state)
    items = desk.tables.open if only_open else desk.tables.items
    for looked, number in enumerate(desk.tables.after(command.after_id)):
        if looked >= LOOK_MAX:
            return page, last, True
        item = items.get(number)
        if item is not None and _matches(item, command):
            if len(page) == command.limit:
                return page, last, True
            page.append(item)
        last = number
    return page, last, False


def count(desk: Desk, command: CountItems) -> dict[str, Any]:
    """How many, from the sizes of the sets where the filter allows it."""
    tables = desk.tables
    plain = not (command.type or command.team or command.agent or command.group)
    if plain and command.by in (None, "state", "queue"):
        states = command.state or (tuple(OPEN | ENDED) if command.all else tuple(OPEN))
        names = [name for name in command.queue or tables.queues if name in tables.queues]
        by: Counter[str] = Counter()
        for name in names:
            for state in states:
                by[name if command.by == "queue" else state] += len(tables.queues[name].items[state])
        found = {key: number for key, number in by.items() if number}
        return {"count": sum(found.values())} if command.by is None else {"by": found}
    matching = [item for item in tables.items.values() if _matches(item, command)]
    if command.by is None:
        return {"count": len(matching)}
    by = Counter(str(_value_of(item, command.by)) for item in matching)
    return {"by": dict(by)}


def _value_of(item: Item, by: str) -> object:
    if by == "queue":
        return item.queue.name
    if by == "agent":
        return _agent_of(item) or "-"
    if by == "group":
        return item.option("group", "-")
    return getattr(item, by) or "-"


def held(desk: Desk, command: Held) -> dict[str, Any]:
    """What the agent holds; with the tokens, if it is the asker's own."""
    agent = desk.tables.agents.get(command.agent)
    items = [] if agent is None else [item for item in agent.holds.values() if item.claim is not None]
    views = [
        claimed_view(desk, item, with_token=item.claim is not None and item.claim.uid == desk.actor.uid)
        for item in islice(items, LOOK_MAX)
    ]
    return {"items": views}


def agent_view(desk: Desk, agent: Agent) -> dict[str, Any]:
    """An agent as ``agents`` tells of it."""
    silent = desk.now - agent.seen
    if agent.quiet:
        state = "quiet"
    elif agent.heartbeat and silent > SUSPECT_AFTER * agent.heartbeat:
        state = "suspect"
    elif agent.holds or silent < IDLE_AFTER:
        state = "active"
    else:
        state = "idle"
    return _present(
        {
            "agent": agent.name,
            "uid": agent.uid,
            "team": agent.team,
            "capacity": agent.capacity,
            "slots": agent.slots,
            "specialization": agent.specialization,
            "labels": list(agent.labels) or None,
            "heartbeat": agent.heartbeat,
            "state": state,
            "holds": list(agent.holds),
            "watching": None if agent.watch is None else agent.watch[0],
            "seen_at": agent.seen,
            "registered": agent.registered,
        }
    )


def agents(desk: Desk, command: Agents) -> dict[str, Any]:
    """All agents, or one."""
    if command.agent is None:
        return {"agents": [agent_view(desk, agent) for agent in desk.tables.agents.values()]}
    agent = desk.tables.agents.get(command.agent)
    if agent is None:
        raise Refusal("not_found", f"there is no agent {command.agent}")
    return {"agents": [agent_view(desk, agent)]}


def queue_view(queue: Queue) -> dict[str, Any]:
    """A queue as ``queues`` tells of it."""
    view: dict[str, Any] = {"queue": queue.name, **{state: len(items) for state, items in queue.items.items()}}
    ready = queue.items[READY]
    if ready:
        view["oldest_ready_at"] = next(iter(ready.values())).since
    view |= queue.settings
    view["closed"] = bool(queue.settings.get("closed"))
    return view


def queues(desk: Desk, command: Queues) -> dict[str, Any]:
    """All queues, or one."""
    if command.queue is None:
        return {"queues": [queue_view(queue) for queue in desk.tables.queues.values()]}
    queue = desk.tables.queues.get(command.queue)
    if queue is None:
        raise Refusal("not_found", f"there is no queue {command.queue}")
    return {"queues": [queue_view(queue)]}
