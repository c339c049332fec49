"""What the state looks like to those who ask: the maps of the replies.

Fields that have no value are left out. Payloads and outputs are told by their size; ``get`` has the bytes.
"""

from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest
from itertools import chain
from operator import attrgetter
from typing import Any

from swarmshd.commands import Refusal
from swarmshd.commands.looks import Agents, Filter, Get, Held, List, Queues, Show, Wait, Watch
from swarmshd.commands.values import Reference
from swarmshd.protocol import PRIORITIES, counted
from swarmshd.workqueue.desk import Desk, find, find_any, lease_of, max_attempts, queues_of_work
from swarmshd.workqueue.ready import Shape
from swarmshd.workqueue.records import (
    BLOCKED,
    BURIED,
    CANCELLED,
    CLAIMED,
    DONE,
    ENDED,
    OPEN,
    READY,
    SETTLED,
    Agent,
    Item,
    Queue,
)

LOOK_MAX = 5000
"""Items that one ``list`` looks at before it gives what it has and says where to go on."""

SUSPECT_AFTER = 4
"""Heartbeats that an agent which declared them may miss before it is suspect."""

IDLE_AFTER = 60_000

HELD_BYTES = 4 << 20
"""Bytes of items that one ``held`` tells of; their payloads are among them."""

WAIT_ROWS = 1000
"""Items that one ``wait`` tells of."""


def present(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None and value != ()}


_HANDED_ON = (("checkpoint", "checkpoint"), ("percent", "percent"), ("last_failure", "reason"))
"""Notes of earlier attempts that the next holder gets: the name it gets them under, and the note's own."""


def claimed_view(desk: Desk, item: Item, *, with_token: bool = True) -> dict[str, Any]:
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
    if claim.resumed:
        view["resumed"] = True
    return view


def item_view(desk: Desk, item: Item) -> dict[str, Any]:
    """An item as ``show`` and ``list`` tell of it."""
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
        "legacy": options.get("legacy"),
        "submitted_by": present({"uid": item.uid, "pid": item.pid, "agent": options.get("agent")}),
    }
    _add_standing(desk, item, fields)
    fields |= _noted(item)
    return present(fields)


def _add_standing(desk: Desk, item: Item, fields: dict[str, Any]) -> None:
    """What belongs to the state that the item is in."""
    claim = item.claim
    if item.state == BLOCKED:
        fields["blocked_by"] = sorted(item.waits or ()) or None
        fields["blocked_reason"] = blocked_reason(desk, item)
    if item.due_at is not None:
        fields["due_at"] = item.due_at
    if item.state == READY:
        fields["ready_at"] = item.since
    elif item.state in ENDED:
        fields["ended_at"] = item.note("ended_at") or item.since
    if item.is_lock:
        fields["waiting"] = desk.waiters.count_for(item.type)
    if claim is not None:
        fields |= {
            "agent": claim.agent.name,
            "fence": claim.fence,
            "claimed_at": claim.at,
            "lease_until": claim.deadline,
            "watching": None if claim.watch is None else claim.watch[0],
            "stalled": True if claim.stalled else None,
        }


def blocked_reason(desk: Desk, item: Item) -> str | None:
    """Why what the item waits for will not come by itself, as things are now; or why it is held back."""
    told: str | None = item.note("blocked") or item.option("reason")
    if not item.waits:
        return told
    for number in sorted(item.waits):
        waited = desk.tables.items.get(number)
        if waited is None:
            return told or f"{number} was forgotten"
        if waited.state in (BURIED, CANCELLED):
            return f"{number} is {waited.state}"
    return None


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
    """One item, and which others wait for it."""
    item = find_any(desk, command.id)
    view = item_view(desk, item)
    if item.dependants:
        items = desk.tables.items
        waiting = sorted({each for each in item.dependants if each in items and items[each].waits_for(item.id)})
        view |= present({"needed_by": waiting or None})
    return view


def get(desk: Desk, command: Get) -> dict[str, Any]:
    """The raw bytes that the item carries."""
    item = find(desk, command.id)
    data = item.payload if command.what == "payload" else item.note(command.what)
    if data is None:
        raise Refusal("not_found", f"item {item.id} has no {command.what}")
    return {"data": data}


def born_before(desk: Desk, wanted: Filter) -> int | None:
    """The moment before which what is meant was made, if that matters."""
    return None if wanted.older is None else desk.now - wanted.older


def _known_set(desk: Desk, wanted: Filter) -> list[Item] | None:
    """Every item that the filter can select, by id, and few others; None if that may be more than are looked at."""
    tables = desk.tables
    states = set(wanted.state or (OPEN | ENDED if wanted.all else OPEN))
    sets: list[dict[int, Item]] = []
    if wanted.agent is not None and states <= {CLAIMED}:
        agent = tables.agents.get(wanted.agent)
        sets = [] if agent is None else [agent.holds]
    elif wanted.group is not None:
        group = tables.groups.get(wanted.group)
        if group is not None:
            sets = [group.open] if states <= OPEN else [group.open, group.ended]
    else:
        queues = [tables.queues[name] for name in set(wanted.queue) if name in tables.queues]
        sets = [queue.items[state] for queue in (queues if wanted.queue else queues_of_work(desk)) for state in states]
    if sum(map(len, sets)) > LOOK_MAX:
        return None
    return sorted((item for found in sets for item in found.values()), key=attrgetter("id"))


def matches(item: Item, wanted: Filter, before: int | None) -> bool:
    """Whether the item is one of those that are meant."""
    return (
        (item.state in wanted.state if wanted.state else wanted.all or item.state not in ENDED)
        and (item.queue.name in wanted.queue if wanted.queue else not item.is_lock)
        and (not wanted.type or item.type in wanted.type)
        and (not wanted.team or item.team in wanted.team)
        and (wanted.agent is None or agent_of(item) == wanted.agent)
        and (wanted.group is None or item.option("group") == wanted.group)
        and (before is None or item.created_at <= before)
        and (wanted.since is None or item.since >= wanted.since)
    )


def agent_of(item: Item) -> str | None:
    """Who holds it, or has ended it."""
    return item.claim.agent.name if item.claim is not None else item.note("ended_by")


def list_items(desk: Desk, command: List) -> dict[str, Any]:
    """A page, by id. It may hold fewer items than asked for and still say that there is more."""
    known = _known_set(desk, command) if desk.policy.indexed else None
    if known is None:
        page, last, more = _walk(desk, command)
    else:
        before = born_before(desk, command)
        found = [item for item in known if item.id > command.after_id and matches(item, command, before)]
        page = found[: command.limit]
        more = len(found) > len(page)
        last = page[-1].id if page else command.after_id
    return {"items": [item_view(desk, item) for item in page], "more": more, "after_id": last}


def _walk(desk: Desk, command: List) -> tuple[list[Item], int, bool]:
    """By id, through all there are. What has ended and is not asked for costs next to nothing, however much it is."""
    tables = desk.tables
    page: list[Item] = []
    last: int = command.after_id
    only_open = not command.all and not any(state in ENDED for state in command.state)
    items = tables.open if only_open else tables.items
    start = last or next(iter(items), 1) - 1
    before = born_before(desk, command)
    for looked, number in enumerate(filter(items.__contains__, tables.after(start))):
        desk.ready.scanned += 1
        if looked == LOOK_MAX:
            return page, last, True
        item = items[number]
        if matches(item, command, before):
            if len(page) == command.limit:
                return page, last, True
            page.append(item)
        last = number
    return page, last, False


def held(desk: Desk, command: Held) -> dict[str, Any]:
    """What the agent holds; with the tokens, if it is the asker's own."""
    agent = desk.tables.agents.get(command.agent)
    views: list[dict[str, Any]] = []
    size = 0
    for item in () if agent is None else agent.holds.values():
        claim = item.claim
        if claim is None or item.is_lock:
            continue
        size += item.size()
        if views and (size > HELD_BYTES or len(views) == LOOK_MAX):
            return {"items": views, "more": True}
        views.append(claimed_view(desk, item, with_token=claim.uid == desk.actor.uid))
    return {"items": views}


def agent_state(desk: Desk, agent: Agent) -> str:
    """Whether the agent works, or why it does not."""
    silent = desk.now - agent.seen
    if agent.quiet:
        return "quiet"
    if agent.died is not None and agent.seen <= agent.died:
        return "gone"
    if agent.heartbeat and silent > SUSPECT_AFTER * agent.heartbeat:
        return "suspect"
    return "active" if agent.holds or silent < IDLE_AFTER else "idle"


def agent_view(desk: Desk, agent: Agent, *, counted: bool = False) -> dict[str, Any]:
    """An agent as ``agents`` tells of it; with ``counted`` how many items it holds, not which."""
    return present(
        {
            "agent": agent.name,
            "uid": agent.uid,
            "team": agent.team,
            "capacity": agent.capacity,
            "slots": agent.slots,
            "specialization": agent.specialization,
            "labels": list(agent.labels) or None,
            "heartbeat": agent.heartbeat,
            "state": agent_state(desk, agent),
            **_holding(agent, counted=counted),
            "watching": None if agent.watch is None else agent.watch[0],
            "seen_at": agent.seen,
            "registered": agent.registered,
        }
    )


def _holding(agent: Agent, *, counted: bool) -> dict[str, Any]:
    """What the agent holds: work, or how much of it, and locks."""
    if counted:
        return {"held": len(agent.holds) - agent.locks}
    held = agent.holds.values()
    return {
        "holds": [item.id for item in held if not item.is_lock],
        "locks": [item.type for item in held if item.is_lock] if agent.locks else None,
    }


def agents(desk: Desk, command: Agents) -> dict[str, Any]:
    """All agents, or one."""
    if command.agent is None:
        return {"agents": [agent_view(desk, agent) for agent in desk.tables.agents.values()]}
    agent = desk.tables.agents.get(command.agent)
    if agent is None:
        raise Refusal("not_found", f"there is no agent {command.agent}")
    return {"agents": [agent_view(desk, agent)]}


def queue_view(queue: Queue, oldest: Item | None) -> dict[str, Any]:
    """A queue, and the item that is ready there for longest, as ``queues`` tells of it."""
    view: dict[str, Any] = {"queue": queue.name, **{state: len(items) for state, items in queue.items.items()}}
    if oldest is not None:
        view["oldest_ready_at"] = oldest.since
    view |= queue.settings
    view["closed"] = bool(queue.settings.get("closed"))
    return view


def queues(desk: Desk, command: Queues) -> dict[str, Any]:
    """All queues, or one."""
    found = queues_of_work(desk)
    if command.queue is not None:
        queue = desk.tables.queues.get(command.queue)
        if queue is None:
            raise Refusal("not_found", f"there is no queue {command.queue}")
        found = [queue]
    views = [queue_view(queue, queue.oldest) for queue in found]
    if not command.stats:
        return {"queues": views}
    ready = desk.ready
    waiting = _waiting(ready.shapes.values())
    for queue, view in zip(found, views, strict=True):
        view |= _queue_stats(queue, waiting[queue.name] + waiting[None])
    index = {"ordered": ready.ordered, "kinds": len(ready.buckets), "filters": len(ready.shapes)}
    return {"queues": views, "index": index | {"scanned": ready.scanned}}


def _waiting(shapes: Iterable[Shape]) -> Counter[str | None]:
    """How many claims wait for something of each queue; None has those that take from any."""
    waiting: Counter[str | None] = Counter()
    for shape in shapes:
        if shape.waiting:
            for name in shape.filter[0] or (None,):
                waiting[name] += shape.waiting
    return waiting


def _queue_stats(queue: Queue, waiting: int) -> dict[str, Any]:
    """What ``queues`` tells of a queue beside how it is now."""
    stats: dict[str, Any] = {
        "since_start": dict(queue.entered),
        "kinds": sum(not bucket.empty for bucket in queue.buckets),
        "waiting": waiting,
    }
    return {**stats, "last_claim_at": queue.claimed_at} if queue.claimed_at else stats


# -- what became of items --------------------------------------------------------------------------------


def waited(desk: Desk, command: Wait) -> list[Item]:
    """The items that ``wait`` names, each once.

    Raises:
        Refusal: ``not_found``, with fact ``ids``: those that were never there or are forgotten.
    """
    found: dict[int, Item] = {}
    missing: list[Reference] = []
    for reference in command.ids:
        try:
            item = find(desk, reference)
        except Refusal:
            missing.append(reference)
        else:
            found[item.id] = item
    if missing:
        raise Refusal("not_found", f"there is no item {missing[0]} (forgotten, or never there)", ids=missing)
    return list(found.values())


def wait(desk: Desk, command: Wait) -> dict[str, Any]:
    """What became of the items. Whoever has time to wait is not told of any before it is over.

    Raises:
        Refusal: as :func:`outcome`.
    """
    if command.timeout:
        outcome(desk, command, rows=False)
    return outcome(desk, command)


def outcome(desk: Desk, command: Wait, *, rows: bool = True) -> dict[str, Any]:
    """What became of the items, failures first; without ``rows`` only whether the waiting is over, which is cheap.

    Raises:
        Refusal: ``timeout`` with the same facts while it is not over; ``not_found``.
    """
    if command.group is not None:
        group = desk.tables.groups.get(command.group)
        if group is None:
            raise Refusal("not_found", f"there is no group {command.group}")
        total, pending = len(group), group.pending
        items: Iterable[Item] = chain(group.open.values(), group.ended.values())
    else:
        items = waited(desk, command)
        total, pending = len(items), sum(item.state not in SETTLED for item in items)
    facts: dict[str, Any] = {"total": total, "pending": pending}
    if rows:
        rest = (item for item in items if item.state in SETTLED)
        facts["ended"] = [_outcome_of(item) for item in nsmallest(WAIT_ROWS, rest, key=_failures_first)]
    if pending == 0 or (command.any and pending < total):
        return facts
    raise Refusal("timeout", f"{counted(pending, 'item')} of {total} not ended yet", **facts)


def _failures_first(item: Item) -> tuple[bool, int]:
    return item.state == DONE, item.id


def _outcome_of(item: Item) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.id, "state": item.state}
    for name in ("exit_status", "reason"):
        value = item.note(name)
        if value is not None:
            row[name] = value
    return row


def watched(desk: Desk, command: Watch) -> list[int]:
    """The ids of the items whose events are wanted.

    Raises:
        Refusal: ``not_found``. Whoever goes on from a position may name the id of an item that was forgotten.
    """
    forgotten = command.since is not None or command.at is not None
    return [
        each if forgotten and isinstance(each, int) and each < desk.tables.next_id else find(desk, each).id
        for each in command.ids
    ]
