"""Putting items in: one, or many of which all or none go in."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from swarmshd import events as e
from swarmshd.commands import MEDIUM, Refusal, Submit, SubmitAll
from swarmshd.protocol import DEPENDANTS_MAX
from swarmshd.workqueue.desk import Desk, check_size, find, queue_setting
from swarmshd.workqueue.records import BURIED, CANCELLED, DONE, ITEM_OVERHEAD


class Draft:
    """What earlier lines of the same atomic submission would make so."""

    __slots__ = ("bytes", "dependants", "items", "queued", "refs", "uniques")

    def __init__(self) -> None:
        self.refs: dict[str, int] = {}
        self.uniques: set[str] = set()
        self.queued: dict[str, int] = {}
        self.dependants: dict[int, int] = {}
        self.items: set[int] = set()
        self.bytes = 0


def submit(desk: Desk, command: Submit) -> list[e.Event]:
    """One item."""
    return [draft_item(desk, command, Draft())]


def already_open(desk: Desk, command: Submit) -> int | None:
    """The id of the open item with the same unique key, if the submitter is content with it."""
    if command.unique is None:
        return None
    number = desk.tables.uniques.get(command.unique)
    if number is not None and command.unique_strict:
        raise Refusal("duplicate", f"unique key {command.unique}: already open as {number}", id=number)
    return number


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
    """The event that puts the item in, on top of a draft, which it extends.

    Raises:
        Refusal: for every reason there is not to take it.
    """
    _check_room(desk, command, draft)
    policy = desk.policy
    check_size("description", command.description, policy.description_max)
    check_size("payload", command.payload, policy.payload_max)
    if command.ref is not None and (command.ref in desk.tables.refs or command.ref in draft.refs):
        taken = desk.tables.refs.get(command.ref) or draft.refs.get(command.ref)
        raise Refusal("duplicate", f"ref {command.ref}: item {taken} has it", id=taken)
    if command.unique is not None and command.unique in draft.uniques:
        raise Refusal("duplicate", f"unique key {command.unique} stands twice in this submission")
    require = tuple(sorted(set(command.require))) if command.require else ()
    if not desk.ready.room_for(command.queue, command.type, command.team, require):
        raise Refusal("too_many_kinds", "too many different queues, types, teams and label sets have items; use fewer")
    after, waits, reason = _dependencies(desk, command, draft) if command.after else ((), (), None)
    due_at: int | None = command.at
    if command.delay:
        due_at = desk.now + command.delay
    if due_at is not None and due_at <= desk.now:
        due_at = None
    number = desk.mint.id()
    _extend(draft, command, number, waits)
    return e.ItemSubmitted(
        number,
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
        raise Refusal("queue_full", f"queue {command.queue} holds {length} items, its maximum", limit=length)
    if len(tables.items) + len(draft.items) >= policy.max_items:
        raise Refusal("overloaded", f"there are {policy.max_items} items (MAX_ITEMS)", limit=policy.max_items)
    if tables.bytes + draft.bytes >= policy.memory_max:
        raise Refusal(
            "overloaded", f"items take {tables.bytes >> 20} MiB of memory (PROCESS_MEMORY_LIMIT_MB); finish some first"
        )


def _extend(draft: Draft, command: Submit, number: int, waits: Sequence[int]) -> None:
    draft.items.add(number)
    draft.queued[command.queue] = draft.queued.get(command.queue, 0) + 1
    draft.bytes += ITEM_OVERHEAD + len(command.description) + len(command.payload or b"")
    if command.ref is not None:
        draft.refs[command.ref] = number
    if command.unique is not None:
        draft.uniques.add(command.unique)
    for waited in waits:
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
        if len(target.dependants or ()) + draft.dependants.get(target.id, 0) >= DEPENDANTS_MAX:
            raise Refusal(
                "too_large", f"after {target.id}: {DEPENDANTS_MAX} items wait for it already", limit=DEPENDANTS_MAX
            )
    for number in waits:
        if number in draft.items and draft.dependants.get(number, 0) >= DEPENDANTS_MAX:
            raise Refusal("too_large", f"more than {DEPENDANTS_MAX} lines wait for one", limit=DEPENDANTS_MAX)
    return tuple(after), tuple(waits), reason


def _options(command: Submit, reason: str | None) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    for name in ("group", "ref", "unique", "lease", "max_runtime", "max_attempts", "agent"):
        value = getattr(command, name)
        if value is not None:
            options[name] = value
    if command.on_failure != "hold" and command.after:
        options["on_failure"] = command.on_failure
    if reason is not None:
        options["reason"] = reason
    return options or None
