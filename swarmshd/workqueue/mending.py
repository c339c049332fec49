"""What people do to items that they do not hold: kick, cancel, edit."""

from collections.abc import Iterable
from itertools import islice

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.work import Cancel, Edit, Kick
from swarmshd.protocol import counted
from swarmshd.workqueue.desk import (
    Desk,
    find,
    is_ended,
    most_cancelled,
    own_or_admin,
    queue_setting,
    too_many_kinds,
)
from swarmshd.workqueue.records import BLOCKED, BURIED, CLAIMED, Item


def kick(desk: Desk, command: Kick) -> list[e.Event]:
    """Put buried items back; their counts begin anew. A blocked item that waits in vain may be kicked too."""
    if command.id is not None:
        item = find(desk, command.id)
        own_or_admin(desk, item, "kick")
        if item.state != BURIED and not _hopeless(desk, item):
            raise Refusal("bad_state", f"kick {item.id}: it is {item.state}, not buried", state=item.state)
        return [e.ItemsKicked([item.id])]
    limit = min(command.count, desk.policy.batch_size)
    found = list(islice((item.id for item in _kickable(desk, command) if _may(desk, item)), limit))
    return [e.ItemsKicked(found)] if found else []


def _kickable(desk: Desk, command: Kick) -> Iterable[Item]:
    tables = desk.tables
    if command.queue is not None:
        queue = tables.queues.get(command.queue)
        return () if queue is None else queue.items[BURIED].values()
    group = tables.groups.get(command.group or "")
    if group is None:
        raise Refusal("not_found", f"there is no group {command.group}")
    return (item for item in group.open.values() if item.state == BURIED)


def _may(desk: Desk, item: Item) -> bool:
    return desk.actor.admin or item.uid == desk.actor.uid


def _hopeless(desk: Desk, item: Item) -> bool:
    """Whether the item is blocked by something that will not come by itself, or held without waiting for anything."""
    if item.state != BLOCKED:
        return False
    if not item.waits:
        return True
    waited = [desk.tables.items.get(number) for number in item.waits or ()]
    return any(found is None or found.state == BURIED or is_ended(found) for found in waited)


def cancel(desk: Desk, command: Cancel) -> list[e.Event]:
    """End open items. A holder learns of it at its next operation; its token is void at once."""
    if command.id is not None:
        item = find(desk, command.id)
        own_or_admin(desk, item, "cancel")
        if is_ended(item):
            raise Refusal("bad_state", f"cancel {item.id}: it is {item.state}", state=item.state)
        return [e.ItemCancelled(item.id, command.reason)]
    tables = desk.tables
    group = tables.groups.get(command.group or "")
    if group is None:
        raise Refusal("not_found", f"there is no group {command.group}")
    mine = (item for item in group.open.values() if _may(desk, item))
    return [e.ItemCancelled(item.id, command.reason) for item in islice(mine, most_cancelled(desk, command.reason))]


def edit(desk: Desk, command: Edit) -> list[e.Event]:
    """Change an item that nobody holds."""
    item = find(desk, command.id)
    own_or_admin(desk, item, "edit")
    if item.state == CLAIMED or is_ended(item):
        raise Refusal("bad_state", f"edit {item.id}: it is {item.state}", state=item.state)
    if item.state == BURIED and command.delay is not None:
        raise Refusal("bad_state", f"edit {item.id}: it is buried, a delay would do nothing; kick it", state=item.state)
    queue = item.queue.name if command.queue is None else command.queue
    if queue != item.queue.name:
        _check_queue(desk, item, queue)
    due_at = item.due_at
    if command.delay is not None:
        due_at = desk.now + command.delay if command.delay else None
    priority = item.priority if command.priority is None else command.priority
    if (priority, queue, due_at) == (item.priority, item.queue.name, item.due_at):
        return []
    former = None if queue == item.queue.name else item.queue.name
    return [e.ItemEdited(item.id, priority, queue, due_at, former)]


def _check_queue(desk: Desk, item: Item, name: str) -> None:
    tables, policy = desk.tables, desk.policy
    queue = tables.queues.get(name)
    if queue is None and len(tables.queues) >= policy.queues:
        raise Refusal("too_many_kinds", f"there are {policy.queues} queues (QUEUES); use one of them")
    if queue is not None and queue.settings.get("closed"):
        raise Refusal("queue_closed", f"queue {name} is closed: it takes no new items")
    length = queue_setting(queue, "max_length", policy.queue_max_length)
    if queue is not None and queue.open >= length:
        raise Refusal("queue_full", f"queue {name} holds {counted(length, 'item')}, its maximum", limit=length)
    if not desk.ready.room_for((name, item.type, item.team, item.require)):
        raise too_many_kinds()
