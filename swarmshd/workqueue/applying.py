"""What each event does to the state: one function for each.

Applying a fact cannot fail and decides nothing. A function changes the tables, and through them tells the
listener; whoever applies has set the moment and who it was.
"""

from collections.abc import Callable
from sys import intern
from typing import TYPE_CHECKING, Any

from swarmshd import events as e
from swarmshd.workqueue.records import (
    BURIED,
    CANCELLED,
    CLAIMED,
    DONE,
    READY,
    SCHEDULED,
    Claim,
    Item,
    Queue,
    watch_key,
)

if TYPE_CHECKING:
    from swarmshd.workqueue.tables import Tables


def _epoch_started(t: "Tables", event: e.EpochStarted) -> None:
    t.epoch = event.epoch
    t.boot = event.boot
    _blocks_reserved(t, e.BlocksReserved(*event[2:]))


def _epoch_ended(t: "Tables", event: e.EpochEnded) -> None:
    """Only its time matters."""


def _blocks_reserved(t: "Tables", event: e.BlocksReserved) -> None:
    t.ids_end, t.fences_end, t.positions_end = event


def _clock_shifted(t: "Tables", event: e.ClockShifted) -> None:
    for agent in t.agents.values():
        agent.seen += event.gap
        for item in agent.holds.values():
            claim = item.claim
            assert claim is not None
            claim.until += event.gap
            claim.seen += event.gap
            if claim.runtime_until is not None:
                claim.runtime_until += event.gap
    if t.listener is not None:
        t.listener.everything_moved()


def _item_submitted(t: "Tables", event: e.ItemSubmitted) -> None:
    number, queue_name, kind, priority, description, due_at, team, payload, require, after, waits, options = event
    queue = t.queues.get(queue_name) or t.queue(queue_name)
    item = Item(number, queue, intern(kind), priority, description)
    item.uid, item.pid = t.uid, t.pid
    item.created_at = item.since = t.time
    item.payload = payload
    if team is not None:
        item.team = intern(team)
    if require:
        item.require = tuple(map(intern, require))
    if options is not None:
        item.options = options
        t.index_options(item, options)
    if after:
        item.after = tuple(after)
    item.due_at = due_at
    if waits:
        item.waits = set(waits)
        for waited in item.waits:
            _depend(t, waited, number)
    else:
        item.state = SCHEDULED if due_at is not None and due_at > t.time else READY
    if number >= t.next_id:
        t.next_id = number + 1
    _insert(t, item)


def _depend(t: "Tables", waited: int, number: int) -> None:
    """Within one submission what is waited for comes first, so it is always there."""
    target = t.items[waited]
    if target.dependants is None:
        target.dependants = []
    target.dependants.append(number)


def _insert(t: "Tables", item: Item) -> None:
    number = item.id
    t.items[number] = item
    t.order.append(number)
    t.open[number] = item
    item.queue.items[item.state][number] = item
    t.bytes += item.size()
    if t.listener is not None:
        t.listener.item_moved(item, None)


def _item_claimed(t: "Tables", event: e.ItemClaimed) -> None:
    item = t.items[event.id]
    resumed = item.claim is not None
    t.end_claim(item)
    agent = t.agent(event.agent, t.uid)
    agent.seen = t.time
    watch = watch_key(event.watch)
    item.claim = Claim(
        agent,
        t.uid or 0,
        event.fence,
        event.secret,
        t.time,
        event.expires_at,
        event.lease,
        event.runtime_until,
        watch,
    )
    agent.holds[item.id] = item
    if watch is not None:
        t.watched.setdefault(watch, {})[item.id] = None
    if event.fence >= t.next_fence:
        t.next_fence = event.fence + 1
    if resumed:  # by the same agent: the former token is stale now, but it is the same attempt
        _deadline(t, item)
    else:
        item.claims += 1
        t.move(item, "claim", CLAIMED)


def _deadline(t: "Tables", item: Item) -> None:
    if t.listener is not None:
        t.listener.deadline_moved(item)


def _renew(t: "Tables", item: Item, expires_at: int) -> None:
    claim = item.claim
    assert claim is not None
    claim.until = expires_at
    claim.seen = claim.agent.seen = t.time
    claim.stalled = False
    _deadline(t, item)


def _leases_renewed(t: "Tables", event: e.LeasesRenewed) -> None:
    for number in event.ids:
        _renew(t, t.items[number], event.expires_at)


def _item_progressed(t: "Tables", event: e.ItemProgressed) -> None:
    item = t.items[event.id]
    t.note(item, percent=event.percent, status=event.status, message=event.message, checkpoint=event.checkpoint)
    _renew(t, item, event.expires_at)


def _item_held(t: "Tables", event: e.ItemHeld) -> None:
    item = t.items[event.id]
    claim = item.claim
    assert claim is not None
    if claim.watch is not None:
        t.unwatch(item, claim.watch)
    claim.watch = watch_key(event.watch)
    if claim.watch is not None:
        t.watched.setdefault(claim.watch, {})[item.id] = None
    _renew(t, item, event.expires_at)


def _item_stalled(t: "Tables", event: e.ItemStalled) -> None:
    claim = t.items[event.id].claim
    assert claim is not None
    claim.stalled = True
    _deadline(t, t.items[event.id])


def _item_completed(t: "Tables", event: e.ItemCompleted) -> None:
    item = t.items[event.id]
    claim = item.claim
    assert claim is not None
    item.last = (claim.fence, claim.secret)
    t.note(
        item,
        note=event.note,
        points=event.points,
        exit_status=event.exit_status,
        result=event.result,
        output=event.output,
        ended_by=claim.agent.name,
    )
    claim.agent.seen = t.time
    t.end_claim(item)
    t.move(item, "complete", DONE)
    for number in item.dependants or ():
        waiting = t.items.get(number)
        if waiting is not None and waiting.waits:
            waiting.waits.discard(item.id)
    for number in event.ready:
        _unblock(t, t.items[number])


def _unblock(t: "Tables", item: Item) -> None:
    """Nothing holds the item back any more but, perhaps, its time."""
    item.waits = None
    later = item.due_at is not None and item.due_at > t.time
    t.move(item, "unblock", SCHEDULED if later else READY)


def _item_returned(t: "Tables", event: e.ItemReturned) -> None:
    item = t.items[event.id]
    _count(item, event.cause)
    t.note(item, reason=event.reason, exit_status=event.exit_status, output=event.output)
    if event.cause == e.RELEASED:
        assert item.claim is not None
        item.claim.agent.seen = t.time
    t.end_claim(item)
    item.due_at = event.due_at
    t.move(item, "return", READY if event.due_at is None else SCHEDULED)


def _count(item: Item, cause: int | None) -> None:
    if cause == e.FAILED:
        item.failures += 1
    elif cause == e.CRASHED:
        item.crashes += 1
    item.releases = item.releases + 1 if cause == e.RELEASED else 0


def _item_buried(t: "Tables", event: e.ItemBuried) -> None:
    item = t.items[event.id]
    _count(item, event.cause)
    t.note(item, reason=event.reason, exit_status=event.exit_status, output=event.output)
    t.end_claim(item)
    t.move(item, "bury", BURIED)


def _items_due(t: "Tables", event: e.ItemsDue) -> None:
    for number in event.ids:
        item = t.items[number]
        item.due_at = None
        t.move(item, "due", READY)


def _items_unblocked(t: "Tables", event: e.ItemsUnblocked) -> None:
    for number in event.ids:
        waits = t.items[number].waits
        if waits:
            waits.discard(event.freed)
    for number in event.ready:
        _unblock(t, t.items[number])


def _items_blocked(t: "Tables", event: e.ItemsBlocked) -> None:
    for number in event.ids:
        t.note(t.items[number], blocked=event.reason)


def _items_kicked(t: "Tables", event: e.ItemsKicked) -> None:
    for number in event.ids:
        item = t.items[number]
        item.failures = item.crashes = item.releases = 0
        item.waits = None
        item.due_at = None
        if item.notes is not None:
            item.notes.pop("blocked", None)
        t.move(item, "kick", READY)


def _item_cancelled(t: "Tables", event: e.ItemCancelled) -> None:
    item = t.items[event.id]
    t.note(item, reason=event.reason)
    if item.claim is not None:
        item.last = (item.claim.fence, item.claim.secret)
    t.end_claim(item)
    t.move(item, "cancel", CANCELLED)


def _item_edited(t: "Tables", event: e.ItemEdited) -> None:
    item = t.items[event.id]
    before = state = item.state
    if before in (READY, SCHEDULED):
        state = READY if event.due_at is None else SCHEDULED
    del item.queue.items[before][item.id]
    former = item.queue
    item.queue, item.priority, item.due_at, item.state = (
        t.queue(event.queue),
        event.priority,
        event.due_at,
        state,
    )
    item.queue.items[state][item.id] = item
    if state != before:
        item.since = t.time
    if t.listener is not None:
        t.listener.item_moved(item, before)
    _drop_queue(t, former)


def _items_forgotten(t: "Tables", event: e.ItemsForgotten) -> None:
    for number in event.ids:
        item = t.items.pop(number)
        del item.queue.items[item.state][number]
        size = item.size()
        t.bytes -= size
        t.ended_bytes -= size
        if t.ended and t.ended[0] == number:
            t.ended.popleft()
        else:
            t.ended.remove(number)
        group = item.option("group")
        if group is not None:
            found = t.groups[group]
            del found.ids[number]
            if not found.ids:
                del t.groups[group]
        ref = item.option("ref")
        if ref is not None:
            del t.refs[ref]
        _drop_queue(t, item.queue)
    if len(t.order) > 2 * len(t.items) + 1000:
        t.order = [number for number in t.order if number in t.items]


def _drop_queue(t: "Tables", queue: Queue) -> None:
    if queue.empty:
        del t.queues[queue.name]
        if t.listener is not None:
            t.listener.offers_changed(queue)


def _agent_registered(t: "Tables", event: e.AgentRegistered) -> None:
    agent = t.agent(event.agent, t.uid)
    agent.registered = True
    agent.team, agent.capacity, agent.specialization = event.team, event.capacity, event.specialization
    agent.slots, agent.heartbeat = event.slots, event.heartbeat
    agent.labels = tuple(map(intern, event.labels))
    agent.watch = watch_key(event.watch)
    agent.seen = t.time


def _agent_quieted(t: "Tables", event: e.AgentQuieted) -> None:
    t.agents[event.agent].quiet = event.quiet


def _agents_forgotten(t: "Tables", event: e.AgentsForgotten) -> None:
    for name in event.agents:
        del t.agents[name]


def _watch_ended(t: "Tables", event: e.WatchEnded) -> None:
    watch = watch_key(event.watch)
    for agent in t.agents.values():
        if agent.watch == watch:
            agent.watch = None


def _queue_set(t: "Tables", event: e.QueueSet) -> None:
    queue = t.queue(event.queue)
    queue.settings = dict(event.settings)
    if t.listener is not None:
        t.listener.offers_changed(queue)
    _drop_queue(t, queue)


def _everything_paused(t: "Tables", event: e.EverythingPaused) -> None:
    t.paused, t.paused_hard = event.reason, event.hard
    if t.listener is not None:
        for queue in t.queues.values():
            t.listener.offers_changed(queue)


def _keys_forgotten(t: "Tables", event: e.KeysForgotten) -> None:
    for order, count in zip(t.key_order, event, strict=True):
        for _ in range(count):
            _, key = order.popleft()
            t.keys.pop(key, None)


def _cascade_settled(t: "Tables", event: e.CascadeSettled) -> None:
    for _ in range(event.items):
        t.cascade.popleft()


APPLY: dict[type[Any], Callable[["Tables", Any], None]] = {
    e.EpochStarted: _epoch_started,
    e.EpochEnded: _epoch_ended,
    e.BlocksReserved: _blocks_reserved,
    e.ClockShifted: _clock_shifted,
    e.ItemSubmitted: _item_submitted,
    e.ItemClaimed: _item_claimed,
    e.LeasesRenewed: _leases_renewed,
    e.ItemProgressed: _item_progressed,
    e.ItemHeld: _item_held,
    e.ItemStalled: _item_stalled,
    e.ItemCompleted: _item_completed,
    e.ItemReturned: _item_returned,
    e.ItemBuried: _item_buried,
    e.ItemsDue: _items_due,
    e.ItemsUnblocked: _items_unblocked,
    e.ItemsBlocked: _items_blocked,
    e.ItemsKicked: _items_kicked,
    e.ItemCancelled: _item_cancelled,
    e.ItemEdited: _item_edited,
    e.ItemsForgotten: _items_forgotten,
    e.AgentRegistered: _agent_registered,
    e.AgentQuieted: _agent_quieted,
    e.AgentsForgotten: _agents_forgotten,
    e.WatchEnded: _watch_ended,
    e.QueueSet: _queue_set,
    e.EverythingPaused: _everything_paused,
    e.KeysForgotten: _keys_forgotten,
    e.CascadeSettled: _cascade_settled,
}
"""What each event does to the state."""
