"""Items, agents and queues that come in from elsewhere with their past.

What comes in keeps what it was: its state, its times, its counts, what became of it. Only a lease does not move: an
item that somebody holds elsewhere comes in blocked, until it is kicked, unless whoever imports says otherwise.

The same thing comes in once. It is known by its name (see :attr:`Item.name`), and the digest of what
it was is kept. The same content again changes nothing, whatever has become of the item since; other content is a
conflict and changes nothing either. An item keeps its id where no id as large was ever handed out here; else it gets a
new one, and those that wait for it find it by its name.

Each row is decided by itself, on top of the rows before it, and is taken or refused as a whole.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import attrs

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.rows import Import, ImportedAgent, ImportedItem, ImportedQueue, Row, content
from swarmshd.protocol import AFTER_MAX, DEPENDANTS_MAX, LABELS_MAX, LEGACY_MAX, ON_FAILURE, STATES, counted
from swarmshd.workqueue.desk import Desk, check_size, lease_of, room_for_agent, too_many_kinds
from swarmshd.workqueue.exporting import (
    ITEM_NOTES,
    ITEM_OPTIONS,
    agent_facts,
    called,
    item_facts,
)
from swarmshd.workqueue.records import (
    BLOCKED,
    BURIED,
    CLAIMED,
    DONE,
    ENDED,
    HOLDS_MAX,
    QUEUE_SETTINGS,
    READY,
    SCHEDULED,
    Agent,
    Item,
    Queue,
    name_digest,
)

_FIELDS = {field.name for field in attrs.fields(ImportedItem)}
_OPTIONS = tuple(name for name in ITEM_OPTIONS if name in _FIELDS)
_NOTES = tuple(name for name in ITEM_NOTES if name in _FIELDS)
_options, _notes = attrgetter(*_OPTIONS), attrgetter(*_NOTES)

KEPT_ID_MAX = 1 << 48
"""Ids from here on are not kept: the numbers after them must last."""


def _mark(run: str) -> bytes:
    return blake2b(run.encode(), digest_size=8).digest()


def _name(row: ImportedItem) -> str:
    """What the item is called everywhere."""
    if row.ref is not None:
        return row.ref
    if row.origin is not None:
        if "@" not in row.origin or row.origin[0] != "#":
            raise Refusal("bad_request", "item: origin: expected #ID@CREATED")
        return row.origin
    if not row.id:
        raise Refusal("bad_request", "item: neither ref, id nor origin tells which one it is")
    return f"#{row.id}@{row.created_at}"


# -- coming in -------------------------------------------------------------------------------------------


def bring_in(desk: Desk, command: Import) -> Iterator[e.Event]:
    """What the rows bring about that are taken. A row that is refused brings about nothing."""
    if command.dry_run:
        return
    mark = _mark(command.run)
    for row in command.rows:
        try:
            yield from _events(desk, command, row, mark)
        except Refusal:  # the reply says why
            continue


def _events(desk: Desk, command: Import, row: Row | Refusal, mark: bytes) -> Iterable[e.Event]:
    if isinstance(row, Refusal):
        raise row
    said = row.said
    if isinstance(said, ImportedItem):
        name = _name(said)
        if called(desk, name) is not None:
            return ()
        if desk.tables.imported and name_digest(name) in desk.tables.imported:
            return ()
        return _item_events(desk, command, said, mark + row.content)
    if isinstance(said, ImportedAgent):
        _check_agent(desk, said, row.content)
        agent = desk.tables.agents.get(said.agent)
        return () if agent is not None and _has_content(agent) else (_agent_event(said, mark + row.content),)
    _check_queue(desk, said)
    settings = _settings(said)
    return () if _settings_now(desk, said) == settings else (e.QueueSet(said.queue, settings),)


def brought_in(desk: Desk, command: Import, facts: Any) -> dict[str, Any]:
    """The reply: the ids of the rows' items, which rows were here already, which were refused, which are held back.

    It is made from the state after the rows, so that the same request gets the same reply again.
    """
    mark = b"" if command.dry_run else _mark(command.run)
    queues = frozenset((facts or {}).get("queues", ()))
    ids: list[int] = []
    unchanged: list[int] = []
    refused: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for number, row in enumerate(command.rows):
        found = 0
        try:
            if isinstance(row, Refusal):
                raise row
            said = row.said
            if isinstance(said, ImportedItem):
                taken, found = _item_outcome(desk, command, said, mark + row.content)
                if taken and said.waits and said.state == BLOCKED and said.blocked is None:
                    held += ({"row": number, **each} for each in _held_back(desk, said, found))
            elif isinstance(said, ImportedAgent):
                taken = _agent_outcome(desk, said, mark + row.content)
            else:
                _check_queue(desk, said)
                taken = said.queue in queues or _settings(said) != _settings_now(desk, said)
        except Refusal as refusal:
            refused.append({"row": number, "code": refusal.code, "message": refusal.message})
        else:
            if not taken:
                unchanged.append(number)
        ids.append(found)
    return {"ids": ids, "unchanged": unchanged, "refused": refused, "held": held}


def _held_back(desk: Desk, row: ImportedItem, number: int) -> Iterator[dict[str, Any]]:
    """Why the item is held back until it is kicked; or of a dry run why it would be, were nothing before it."""
    if number:
        why = desk.tables.items[number].note("blocked")
        if why is not None:
            yield {"message": why}
        return
    for name in row.waits:
        if called(desk, name) is None:
            yield {"message": _missing(name), "waits": name}


def _missing(name: str) -> str:
    return f"waits for {name.partition('@')[0]}, which did not come in before it"


def _item_outcome(desk: Desk, command: Import, row: ImportedItem, imported: bytes) -> tuple[bool, int]:
    """Whether this run brought it in, and its id here."""
    name = _name(row)
    item = called(desk, name)
    if item is None:
        content_then = desk.tables.imported.get(name_digest(name))
        if content_then == imported[-8:]:
            return False, 0
        if content_then is not None:
            raise Refusal("conflict", f"{name} came in before, with other content; it has ended and is forgotten")
        _check_item(desk, row)
        if command.dry_run:
            return True, 0
        raise Refusal("bad_state", "it was refused for a reason that is gone meanwhile: import it again")
    kept: bytes = item.option("imported", b"")
    if kept == imported:
        return True, item.id
    content_now = imported[-8:]
    if kept[8:] == content_now or content("item", item_facts(desk, item)) == content_now:
        return False, item.id
    raise Refusal("conflict", f"item {item.id} is {item.name} here, with other content; it stays as it is")


def _agent_outcome(desk: Desk, row: ImportedAgent, imported: bytes) -> bool:
    """Whether this run brought it in, or would."""
    _check_agent(desk, row, imported[-8:])
    agent = desk.tables.agents.get(row.agent)
    return agent is None or not _has_content(agent) or agent.imported == imported


# -- items -----------------------------------------------------------------------------------------------


def _check_item(desk: Desk, row: ImportedItem) -> None:
    """Refuse what cannot be an item here."""
    tables = desk.tables
    if row.state not in STATES:
        raise Refusal("bad_request", f"item: state: expected one of {', '.join(STATES)}")
    if row.on_failure is not None and row.on_failure not in ON_FAILURE:
        raise Refusal("bad_request", f"item: on_failure: expected one of {', '.join(ON_FAILURE)}")
    if 0 in (row.lease, row.max_runtime, row.max_attempts):
        raise Refusal("bad_request", "item: lease, max_runtime and max_attempts must not be 0")
    if row.queue[0] == "@":
        raise Refusal("bad_request", f"queue {row.queue} is the daemon's own")
    _check_sizes(desk, row)
    if row.unique is not None and row.state not in ENDED and row.unique in tables.uniques:
        taken = tables.uniques[row.unique]
        raise Refusal("duplicate", f"unique key {row.unique}: already open as {taken}", id=taken)
    _check_room(desk, row)
    if row.state == BLOCKED:
        _waits(desk, row)


def _check_sizes(desk: Desk, row: ImportedItem) -> None:
    policy = desk.policy
    if row.after or row.waits or row.require:
        for what, found, limit in (
            ("dependencies", row.after, AFTER_MAX),
            ("dependencies", row.waits, AFTER_MAX),
            ("labels", row.require, LABELS_MAX),
        ):
            if len(found) > limit:
                raise Refusal("too_large", f"item: {len(found)} {what}; the limit is {limit}", limit=limit)
    check_size("description", row.description, policy.description_max)
    check_size("payload", row.payload, policy.payload_max)
    check_size("result", row.result, policy.payload_max)
    check_size("output", row.output, policy.output_tail)
    check_size("checkpoint", row.checkpoint, policy.checkpoint_max)
    check_size("legacy", row.legacy, LEGACY_MAX)


def _check_room(desk: Desk, row: ImportedItem) -> None:
    """The daemon's own limits. A queue that is closed or has a limit of its own takes what is not new all the same."""
    policy, tables = desk.policy, desk.tables
    queue = tables.queues.get(row.queue)
    _room_for_queue(desk, queue)
    if len(tables.items) >= policy.max_items:
        raise Refusal("overloaded", f"there are {policy.max_items} items (MAX_ITEMS)", limit=policy.max_items)
    if tables.bytes >= policy.memory_max:
        raise Refusal("overloaded", f"items take {tables.bytes >> 20} MiB of memory (PROCESS_MEMORY_LIMIT_MB)")
    if row.state in ENDED:
        if len(tables.ended) >= policy.retain_done_items or tables.ended_bytes >= policy.retain_done_bytes:
            raise Refusal(
                "overloaded",
                "as many ended items are here as are remembered (RETAIN_DONE_ITEMS, RETAIN_DONE_MB); raise them first",
            )
        return
    if queue is not None and queue.open >= policy.queue_max_length:
        limit = policy.queue_max_length
        raise Refusal("queue_full", f"queue {row.queue} holds {counted(limit, 'item')}, its maximum", limit=limit)
    require = tuple(sorted(set(row.require))) if row.require else ()
    if not desk.ready.room_for((row.queue, row.type, row.team, require)):
        raise too_many_kinds()


def _room_for_queue(desk: Desk, queue: Queue | None) -> None:
    if queue is None and len(desk.tables.queues) >= desk.policy.queues:
        raise Refusal("too_many_kinds", f"there are {desk.policy.queues} queues (QUEUES); use one of them")


def _waits(desk: Desk, row: ImportedItem) -> tuple[list[int], str | None]:
    """The ids here of what the item still waits for; or none, and why it is held back until it is kicked."""
    waits: list[int] = []
    if row.blocked is not None:
        return waits, row.blocked
    for name in row.waits:
        target = called(desk, name)
        if target is None:
            return [], _missing(name)
        if target.state == DONE or target.id in waits:
            continue
        if len(target.dependants or ()) >= DEPENDANTS_MAX and _waiting(desk, target) >= DEPENDANTS_MAX:
            raise Refusal("too_large", f"{DEPENDANTS_MAX} items wait for {target.id} already", limit=DEPENDANTS_MAX)
        waits.append(target.id)
    return waits, None


def _waiting(desk: Desk, target: Item) -> int:
    items = desk.tables.items
    return sum(items[number].waits_for(target.id) for number in target.dependants or () if number in items)


def _item_events(desk: Desk, command: Import, row: ImportedItem, imported: bytes) -> Iterator[e.Event]:
    _check_item(desk, row)
    if row.state == CLAIMED and command.claimed == "keep" and row.holder is not None:
        _check_holder(desk, row.holder)
    state, due_at, waits, blocked = _state(desk, command, row)
    options = {name: said for name, said in zip(_OPTIONS, _options(row), strict=True) if said is not None}
    notes = {name: said for name, said in zip(_NOTES, _notes(row), strict=True) if said is not None}
    options["imported"] = imported
    if state == BLOCKED and not waits and row.holder is not None:
        options["holder"] = row.holder
    number = _number(desk, row)
    if row.ref is None and (row.origin is not None or number != row.id):
        options["origin"] = row.origin or f"#{row.id}@{row.created_at}"
    if state == BLOCKED and blocked is not None:
        notes["blocked"] = blocked
    if row.ended_at is not None:
        notes["ended_at"] = row.ended_at
    keep = state == READY and row.state == CLAIMED and command.claimed == "keep"
    yield e.ItemImported(
        number,
        row.queue,
        row.type,
        row.priority,
        row.description,
        state,
        row.created_at,
        desk.actor.uid if row.uid is None else row.uid,
        (max(0, row.claims - keep), row.failures, row.crashes, row.releases),
        due_at,
        row.team,
        row.payload,
        tuple(sorted(set(row.require))) if row.require else None,
        (_after(desk, row) or None) if row.after or row.waits else None,
        waits or None,
        options,
        notes or None,
    )
    if keep:
        yield _claim(desk, desk.tables.items[number], str(row.holder))


def kept_id(row: Row | Refusal) -> int:
    """The id that the row asks to keep; 0 if it asks for none."""
    number = row.said.id if isinstance(row, Row) and isinstance(row.said, ImportedItem) else None
    return number if number is not None and number < KEPT_ID_MAX else 0


def _number(desk: Desk, row: ImportedItem) -> int:
    number = row.id
    return number if number and number < KEPT_ID_MAX and desk.mint.keep(number) else desk.mint.id()


def _after(desk: Desk, row: ImportedItem) -> tuple[int, ...]:
    """All that the item ever waited for, as far as it is known here."""
    found = (called(desk, name) for name in (*row.after, *row.waits))
    return tuple(dict.fromkeys(target.id for target in found if target is not None))


def _state(desk: Desk, command: Import, row: ImportedItem) -> tuple[str, int | None, list[int], str | None]:
    """State, due time, what is still waited for, and why it is blocked: as things are here and now."""
    if row.state in ENDED or row.state == BURIED:
        return row.state, None, [], None
    due_at = row.due_at if row.due_at is not None and row.due_at > desk.now else None
    waits, blocked = _waits(desk, row) if row.state == BLOCKED else ([], None)
    if row.state == CLAIMED:
        due_at = None
        if command.claimed == "hold" or (command.claimed == "keep" and row.holder is None):
            blocked = f"held by {row.holder or 'somebody'} when it was imported; kick it when it is free"
    if waits or blocked is not None:
        return BLOCKED, due_at, waits, blocked
    return READY if due_at is None else SCHEDULED, due_at, [], None


def _check_holder(desk: Desk, name: str) -> None:
    agent = desk.tables.agents.get(name)
    if agent is None:
        room_for_agent(desk)
    elif len(agent.holds) >= HOLDS_MAX:
        raise Refusal("capacity", f"agent {name} holds {HOLDS_MAX} items, the most there may be", limit=HOLDS_MAX)


def _claim(desk: Desk, item: Item, holder: str) -> e.ItemClaimed:
    """The holder keeps the item: under a new lease, and a token that it learns by `claim --resume`."""
    lease = lease_of(desk, item)
    runtime = item.option("max_runtime")
    return e.ItemClaimed(
        item.id,
        holder,
        desk.mint.fence(),
        desk.mint.secret(),
        desk.now + lease,
        lease,
        None if runtime is None else desk.now + runtime,
    )


# -- agents and queues -----------------------------------------------------------------------------------


def _has_content(agent: Agent) -> bool:
    """Whether somebody ever said what the agent is. One that only claimed has no more than a name."""
    return agent.registered or agent.quiet or agent.imported is not None


def _check_agent(desk: Desk, row: ImportedAgent, content_now: bytes) -> None:
    """Refuse what cannot be an agent here, or is another one."""
    if len(row.labels) > LABELS_MAX:
        raise Refusal("too_large", f"agent: {len(row.labels)} labels; the limit is {LABELS_MAX}", limit=LABELS_MAX)
    check_size("legacy", row.legacy, LEGACY_MAX)
    agent = desk.tables.agents.get(row.agent)
    if agent is None:
        room_for_agent(desk)
    elif _has_content(agent) and content_now not in ((agent.imported or b"")[8:], content("agent", agent_facts(agent))):
        raise Refusal("conflict", f"agent {row.agent} is registered here, with other content; it stays as it is")


def _agent_event(row: ImportedAgent, imported: bytes) -> e.AgentImported:
    return e.AgentImported(
        row.agent,
        row.uid,
        row.team,
        row.capacity,
        row.specialization,
        row.slots or None,
        tuple(sorted(set(row.labels))),
        row.heartbeat or None,
        row.quiet,
        row.registered,
        row.seen_at,
        imported,
        row.legacy,
    )


def _settings(row: ImportedQueue) -> dict[str, Any]:
    return {name: value for name in QUEUE_SETTINGS if (value := getattr(row, name))}


def _settings_now(desk: Desk, row: ImportedQueue) -> dict[str, Any]:
    queue = desk.tables.queues.get(row.queue)
    return {} if queue is None else queue.settings


def _check_queue(desk: Desk, row: ImportedQueue) -> None:
    queue = desk.tables.queues.get(row.queue)
    if row.queue[0] == "@":
        raise Refusal("bad_request", f"queue {row.queue} is the daemon's own")
    _room_for_queue(desk, queue)
    if queue is not None and queue.settings and queue.settings != _settings(row):
        raise Refusal("conflict", f"queue {row.queue} has other settings here; it keeps them")
