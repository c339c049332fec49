"""Putting items in: one, or many of which all or none go in."""

from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.values import MEDIUM
from swarmshd.commands.work import Submit, SubmitAll
from swarmshd.protocol import DEPENDANTS_MAX, counted
from swarmshd.workqueue.desk import Desk, check_lease, check_size, find, queue_setting, too_many_kinds
from swarmshd.workqueue.ready import Kind
from swarmshd.workqueue.records import (
    AFTER_OVERHEAD,
    BURIED,
    CANCELLED,
    DONE,
    ITEM_OVERHEAD,
    Item,
    options_size,
)


class Draft:
    """What earlier lines of the same atomic submission would make so."""

    __slots__ = ("bytes", "dependants", "items", "kinds", "queued", "refs", "uniques")

    def __init__(self) -> None:
        self.refs: dict[str, int] = {}
        self.uniques: set[str] = set()
        self.queued: dict[str, int] = {}
        self.dependants: dict[int, int] = {}
        self.items: set[int] = set()
        self.kinds: set[Kind] = set()
        """Those that have no item yet."""
        self.bytes = 0


_BLANK = Draft()
"""For a single submit; nothing is ever written on it."""


def submit(desk: Desk, command: Submit) -> e.ItemSubmitted:
    """One item."""
    return draft_item(desk, command, _BLANK)


def submit_once(desk: Desk, command: Submit) -> list[e.Event]:
    """One item, unless an open one has its unique key and the submitter is content with that."""
    if command.unique is None:
        return [draft_item(desk, command, _BLANK)]
    number = desk.tables.uniques.get(command.unique)
    if number is None:
        return [draft_item(desk, command, _BLANK)]
    if command.unique_strict:
        raise Refusal("duplicate", f"unique key {command.unique}: already open as {number}", id=number)
    return []


def submit_all(desk: Desk, command: SubmitAll) -> list[e.Event]:
    """All lines or none. A line may wait for any other line by its ref; what is waited for goes in first."""
    draft = Draft()
    happened: list[e.Event] = []
    for number in in_order(command.submits):
        line = command.submits[number]
        try:
            if line.unique is not None and line.unique in desk.tables.uniques:
                taken = desk.tables.uniques[line.unique]
                raise Refusal("duplicate", f"unique key {line.unique}: already open as {taken}", id=taken)
            happened.append(draft_item(desk, line, draft))
            _extend(desk, draft, line, happened[-1])
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.message, **{**refusal.facts, "line": number}) from None
    return happened


def in_order(submits: Sequence[Submit]) -> list[int]:
    """The numbers of the lines, each after those it waits for; in the order given where that is free."""
    line_of: dict[str, int] = {submit.ref: number for number, submit in enumerate(submits) if submit.ref is not None}
    waits = [{line_of[ref] for ref in s.after if isinstance(ref, str) and ref in line_of} for s in submits]
    if all(earlier < number for number, found in enumerate(waits) for earlier in found):
        return list(range(len(submits)))
    freed: defaultdict[int, list[int]] = defaultdict(list)
    for number, found in enumerate(waits):
        for earlier in found:
            freed[earlier].append(number)
    left = [len(found) for found in waits]
    order = [number for number, count in enumerate(left) if not count]
    for number in order:  # grows while it is walked
        for later in freed[number]:
            left[later] -= 1
            if not left[later]:
                order.append(later)
    if len(order) < len(submits):
        circle = [submits[number].ref or f"line {number}" for number, count in enumerate(left) if count]
        raise Refusal(
            "cycle",
            f"these wait for each other: {', '.join(circle[:5])}{' ...' if len(circle) > 5 else ''}",
            line=next(number for number, count in enumerate(left) if count),
        )
    return order


def draft_item(desk: Desk, command: Submit, draft: Draft) -> e.ItemSubmitted:
    """The event that puts the item in, on top of a draft.

    Raises:
        Refusal: for every reason there is not to take it.
    """
    _check_room(desk, command, draft)
    policy = desk.policy
    check_size("description", command.description, policy.description_max)
    check_size("payload", command.payload, policy.payload_max)
    check_lease(desk, command.lease)
    if command.ref is not None and (command.ref in desk.tables.refs or command.ref in draft.refs):
        taken = desk.tables.refs.get(command.ref) or draft.refs.get(command.ref)
        raise Refusal("duplicate", f"ref {command.ref}: item {taken} has it", id=taken)
    if command.unique is not None and command.unique in draft.uniques:
        raise Refusal("duplicate", f"unique key {command.unique} stands twice in this submission")
    require = tuple(sorted(set(command.require))) if command.require else ()
    if not desk.ready.room_for((command.queue, command.type, command.team, require), draft.kinds):
        raise too_many_kinds()
    after, waits, reason = _dependencies(desk, command, draft) if command.after else ((), (), None)
    due_at: int | None = command.at
    if command.delay:
        due_at = desk.now + command.delay
    if due_at is not None and due_at <= desk.now:
        due_at = None
    return e.ItemSubmitted(
        desk.mint.id(),
        command.queue,
        command.type,
        MEDIUM if command.priority is None else command.priority,
        command.description,
        due_at,
        command.team,
        command.payload,
        require or None,
        after or None,
        waits or None,
        _options(command, reason),
    )


def _check_room(desk: Desk, command: Submit, draft: Draft) -> None:
    tables, policy = desk.tables, desk.policy
    queue = tables.queues.get(command.queue)
    if queue is None:
        if len(tables.queues) + len(draft.queued) >= policy.queues and command.queue not in draft.queued:
            raise Refusal("too_many_kinds", f"there are {policy.queues} queues (QUEUES); use one of them")
    elif queue.settings.get("closed"):
        raise Refusal("queue_closed", f"queue {command.queue} is closed: it takes no new items")
    length = queue_setting(queue, "max_length", policy.queue_max_length)
    if (
        len(tables.open) + len(draft.items) >= length  # else it cannot be full, whatever queue it is
        and (0 if queue is None else queue.open) + draft.queued.get(command.queue, 0) >= length
    ):
        raise Refusal("queue_full", f"queue {command.queue} holds {counted(length, 'item')}, its maximum", limit=length)
    check_memory(desk, draft)


def check_memory(desk: Desk, draft: Draft = _BLANK) -> None:
    """Refuse one more item when there are as many as may be, or they take as much as they may."""
    tables, policy = desk.tables, desk.policy
    if len(tables.items) + len(draft.items) >= policy.max_items:
        raise Refusal("overloaded", f"there are {policy.max_items} items (MAX_ITEMS)", limit=policy.max_items)
    if tables.bytes + draft.bytes >= policy.memory_max:
        raise Refusal(
            "overloaded",
            f"items take {tables.bytes >> 20} MiB of memory (PROCESS_MEMORY_LIMIT_MB, MEMORY_CRITICAL_THRESHOLD_PCT); "
            "finish some first",
        )


def _extend(desk: Desk, draft: Draft, command: Submit, event: e.ItemSubmitted) -> None:
    draft.items.add(event.id)
    draft.queued[event.queue] = draft.queued.get(event.queue, 0) + 1
    kind = (event.queue, event.type, event.team, tuple(event.require or ()))
    if kind not in desk.ready.buckets:
        draft.kinds.add(kind)
    draft.bytes += ITEM_OVERHEAD + len(event.description) + len(event.payload or b"")
    draft.bytes += AFTER_OVERHEAD * len(event.after or ()) + (options_size(event.options) if event.options else 0)
    if command.ref is not None:
        draft.refs[command.ref] = event.id
    if command.unique is not None:
        draft.uniques.add(command.unique)
    for waited in event.waits or ():
        draft.dependants[waited] = draft.dependants.get(waited, 0) + 1


def _dependencies(desk: Desk, command: Submit, draft: Draft) -> tuple[tuple[int, ...], tuple[int, ...], str | None]:
    """All ids in ``after``; those that are still to come; why the item is blocked for good, if it is."""
    after: dict[int, None] = {}
    waits: dict[int, None] = {}
    reason = None
    for reference in command.after:
        if isinstance(reference, str) and reference == command.ref:
            raise Refusal("cycle", f"{reference} waits for itself")
        number = draft.refs.get(reference) if isinstance(reference, str) else None
        if number is not None:
            after[number] = waits[number] = None
            continue
        target = find(desk, reference)
        after[target.id] = None
        if target.state == DONE:
            continue
        if target.state in (CANCELLED, BURIED):
            if command.on_failure == "cancel":
                raise Refusal("bad_state", f"after {target.id}: it is {target.state}", state=target.state)
            if command.on_failure == "run":
                continue
            reason = f"{target.id} is {target.state}"
        waits[target.id] = None
        if _dependants(desk, target) + draft.dependants.get(target.id, 0) >= DEPENDANTS_MAX:
            raise Refusal(
                "too_large", f"after {target.id}: {DEPENDANTS_MAX} items wait for it already", limit=DEPENDANTS_MAX
            )
    for number in waits:
        if number in draft.items and draft.dependants.get(number, 0) >= DEPENDANTS_MAX:
            raise Refusal("too_large", f"more than {DEPENDANTS_MAX} lines wait for one", limit=DEPENDANTS_MAX)
    return tuple(after), tuple(waits), reason


def _dependants(desk: Desk, target: Item) -> int:
    """How many wait for the item; those that do no more are only looked for when it matters."""
    listed = target.dependants or ()
    if len(listed) < DEPENDANTS_MAX // 2:
        return len(listed)
    items = desk.tables.items
    return sum(items[number].waits_for(target.id) for number in listed if number in items)


_OPTIONS = ("group", "ref", "unique", "lease", "max_runtime", "max_attempts", "agent")
_optional = attrgetter(*_OPTIONS)
_NONE = (None,) * len(_OPTIONS)


def _options(command: Submit, reason: str | None) -> dict[str, Any] | None:
    said = _optional(command)
    if said == _NONE and reason is None and not command.after:
        return None
    options: dict[str, Any] = {name: value for name, value in zip(_OPTIONS, said, strict=True) if value is not None}
    if command.on_failure != "hold" and command.after:
        options["on_failure"] = command.on_failure
    if reason is not None:
        options["reason"] = reason
    return options or None
