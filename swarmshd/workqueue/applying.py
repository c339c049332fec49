"""What each event does to the tables: one function an event, and the table of them.

An effect depends on the event and on the tables as the events before it made them, and on nothing else; the
round's time goes only where it says when something happened. So a journal means the same whenever it is read.
"""

from collections.abc import Callable, Sequence
from sys import intern
from typing import TYPE_CHECKING, Any

from swarmshd import events as e
from swarmshd.workqueue.arriving import agent_imported, item_imported
from swarmshd.workqueue.records import (
    BURIED,
    CANCELLED,
    CLAIMED,
    DONE,
    LOCKS,
    READY,
    REASON_KEPT,
    SCHEDULED,
    Agent,
    Claim,
    Failure,
    Item,
    name_digest,
    watch_key,
)

if TYPE_CHECKING:
    from swarmshd.workqueue.tables import Tables

# -- the daemon itself -----------------------------------------------------------------------------------


def _epoch_started(t: "Tables", event: e.EpochStarted) -> None:
    """With another boot of the host, no process of before lives."""
    if t.boot and event.boot != t.boot:
        t.boot_fence = t.next_fence
        for watch in list(t.watchers):
            _let_go(t, watch, died=True)
    t.epoch = event.epoch
    t.boot = event.boot
    t.calm_at = t.time
    t.ids_end, t.fences_end, t.positions_end = event[2:]


def _epoch_ended(t: "Tables", event: e.EpochEnded) -> None:
    """Only its time matters."""


def _blocks_reserved(t: "Tables", event: e.BlocksReserved) -> None:
    t.ids_end, t.fences_end, t.positions_end = event


def _clock_shifted(t: "Tables", event: e.ClockShifted) -> None:
    t.calm_at = t.time
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
        t.listener.everything_moved(event.gap)


# -- items that come and go ------------------------------------------------------------------------------


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
    if after:
        item.after = tuple(after)
    item.due_at = due_at
    if waits:
        item.waits = set(waits)
        for waited in item.waits:
            t.depend(waited, number)
    else:
        item.state = READY if due_at is None else SCHEDULED
    if options is not None:
        item.options = options
        t.index_options(item, options)
    if number >= t.next_id:
        t.next_id = number + 1
    t.items[number] = item
    t.order.append(number)
    t.open[number] = item
    queue.items[item.state][number] = item
    if queue_name == LOCKS:
        t.locks[item.type] = item
    t.bytes += item.size()
    if t.listener is not None:
        t.listener.item_moved(item, None)


def _nothing_changed(t: "Tables", event: e.NothingChanged) -> None:
    """Only the reply is kept."""


def _items_forgotten(t: "Tables", event: e.ItemsForgotten) -> None:
    for number in event.ids:
        item = t.items.pop(number)
        t.departed.add(item)
        del item.queue.items[item.state][number]
        size = item.size()
        t.bytes -= size
        t.ended_bytes -= size
        if t.resized is not None:
            t.resized(item, -size)
        if t.ended[0] == number:
            t.ended.popleft()
        elif t.ended[-1] == number:
            t.ended.pop()
        else:
            t.ended.remove(number)
        name = item.option("group")
        if name is not None:
            group = t.groups[name]
            del group.ended[number]
            if not len(group):
                del t.groups[name]
        ref = item.option("ref")
        if ref is not None:
            del t.refs[ref]
        origin = item.option("origin")
        if origin is not None:
            del t.origins[origin]
        imported = item.option("imported")
        if imported is not None:
            t.remember_imported(name_digest(item.name), imported[8:])
        t.drop_queue(item.queue)
    if len(t.order) > 2 * len(t.items) + 1000:
        t.order = [number for number in t.order if number in t.items]


# -- claims ----------------------------------------------------------------------------------------------


def _item_claimed(t: "Tables", event: e.ItemClaimed) -> None:
    number, name, fence, secret, expires_at, lease, runtime_until, watched = event
    item = t.items[number]
    resumed = item.claim is not None
    t.end_claim(item)
    agent = t.agent(name, t.uid)
    _heard(t, agent)
    watch = watch_key(watched)
    item.claim = Claim(agent, t.uid or 0, fence, secret, t.time, expires_at, lease, runtime_until, watch)
    agent.holds[number] = item
    agent.locks += item.is_lock
    item.queue.claimed_at = t.time
    if watch is not None:
        t.watched.setdefault(watch, {})[number] = None
    if fence >= t.next_fence:
        t.next_fence = fence + 1
    if resumed:  # by the same agent: the former token is stale now, but it is the same attempt
        item.claim.resumed = True
        _deadline(t, item)
    else:
        item.claims += 1
        t.move(item, "claim", CLAIMED)


def _heard(t: "Tables", agent: Agent) -> None:
    agent.seen = t.time
    agent.died = None


def _deadline(t: "Tables", item: Item) -> None:
    if t.listener is not None:
        t.listener.deadline_moved(item)


def _renew(t: "Tables", item: Item, expires_at: int) -> None:
    claim = item.claim
    assert claim is not None
    claim.until = expires_at
    claim.seen = t.time
    claim.stalled = False
    _heard(t, claim.agent)
    _deadline(t, item)


def _leases_renewed(t: "Tables", event: e.LeasesRenewed) -> None:
    for number in event.ids:
        _renew(t, t.items[number], event.expires_at)


def _item_progressed(t: "Tables", event: e.ItemProgressed) -> None:
    item = t.items[event.id]
    said = {"percent": event.percent, "status": event.status, "message": event.message, "checkpoint": event.checkpoint}
    t.note(item, {name: value for name, value in said.items() if value is not None})
    _renew(t, item, event.expires_at)


def _item_held(t: "Tables", event: e.ItemHeld) -> None:
    item = t.items[event.id]
    t.watch_claim(item, watch_key(event.watch))
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
    outcome = {
        "note": event.note,
        "points": event.points,
        "exit_status": event.exit_status,
        "result": event.result,
        "output": event.output,
        "reason": None,
        "ended_by": claim.agent.name,
    }
    t.note(item, outcome)
    _heard(t, claim.agent)
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
    t.note(item, {"blocked": None})
    t.move(item, "unblock", READY if item.due_at is None else SCHEDULED)


def _item_returned(t: "Tables", event: e.ItemReturned) -> None:
    item = t.items[event.id]
    _count(item, event.cause)
    if event.cause in (e.FAILED, e.CRASHED) and not item.is_lock:
        _failed(t, item, event)
    if event.cause not in (e.UNDELIVERED, e.UNBEGUN):
        _attempt_ended(t, item, event)
    if event.cause in (e.RELEASED, e.FAILED, e.UNLOCKED, e.UNBEGUN) and item.claim is not None and t.uid is not None:
        _heard(t, item.claim.agent)
    t.end_claim(item)
    item.due_at = event.due_at
    t.move(item, "return", READY if event.due_at is None else SCHEDULED)


def _attempt_ended(t: "Tables", item: Item, event: e.ItemReturned | e.ItemBuried) -> None:
    t.note(item, {"reason": event.reason, "exit_status": event.exit_status, "output": event.output})


def _failed(t: "Tables", item: Item, event: e.ItemReturned | e.ItemBuried) -> None:
    cause = "buried" if event.cause is None else e.CAUSES[event.cause]
    agent = None if item.claim is None else item.claim.agent.name
    reason = None if event.reason is None else event.reason[:REASON_KEPT]
    t.failures.append(Failure(t.time, item.id, item.queue.name, item.type, cause, agent, reason))


def _count(item: Item, cause: int | None) -> None:
    """Failures, crashes and releases are counted apart; releases in a row only."""
    if cause == e.RELEASED:
        item.releases += 1
    elif cause == e.FAILED:
        item.failures += 1
        item.releases = 0
    elif cause == e.CRASHED:
        item.crashes += 1
        item.releases = 0


def _item_buried(t: "Tables", event: e.ItemBuried) -> None:
    item = t.items[event.id]
    _count(item, event.cause)
    _failed(t, item, event)
    if item.claim is None:
        t.note(item, {"reason": event.reason})
    else:
        _attempt_ended(t, item, event)
        if t.uid is not None:
            _heard(t, item.claim.agent)
    t.end_claim(item)
    item.waits = None
    item.due_at = None
    t.move(item, "bury", BURIED)


# -- items that nobody holds -----------------------------------------------------------------------------


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
        t.note(t.items[number], {"blocked": event.reason})


def _items_kicked(t: "Tables", event: e.ItemsKicked) -> None:
    for number in event.ids:
        item = t.items[number]
        item.failures = item.crashes = item.releases = 0
        item.waits = None
        item.due_at = None
        t.note(item, {"blocked": None})
        t.move(item, "kick", READY)


def _item_cancelled(t: "Tables", event: e.ItemCancelled) -> None:
    item = t.items[event.id]
    t.note(item, {"reason": event.reason})
    if item.claim is not None:
        item.last = (item.claim.fence, item.claim.secret)
    t.end_claim(item)
    t.move(item, "cancel", CANCELLED)


def _item_edited(t: "Tables", event: e.ItemEdited) -> None:
    item = t.items[event.id]
    before = state = item.state
    if before in (READY, SCHEDULED):
        state = READY if event.due_at is None else SCHEDULED
    former = item.queue
    queue = t.queue(event.queue)
    if queue is not former or state != before:
        del former.items[before][item.id]
        queue.items[state][item.id] = item
    item.queue, item.priority, item.due_at, item.state = queue, event.priority, event.due_at, state
    if state != before:
        item.since = t.time
    if t.listener is not None:
        t.listener.item_moved(item, before)
    if queue is not former:
        t.drop_queue(former)


# -- agents and queues -----------------------------------------------------------------------------------


def _agent_registered(t: "Tables", event: e.AgentRegistered) -> None:
    agent = t.agent(event.agent, t.uid)
    agent.registered = True
    agent.team, agent.capacity, agent.specialization = event.team, event.capacity, event.specialization
    agent.slots, agent.heartbeat = event.slots, event.heartbeat
    agent.labels = tuple(map(intern, event.labels))
    t.watch_agent(agent, watch_key(event.watch))
    _heard(t, agent)
    _agent_changed(t, agent.name)


def _agent_changed(t: "Tables", name: str) -> None:
    if t.listener is not None:
        t.listener.agent_changed(name)


def _agent_quieted(t: "Tables", event: e.AgentQuieted) -> None:
    t.agents[event.agent].quiet = event.quiet
    _agent_changed(t, event.agent)


def _agents_forgotten(t: "Tables", event: e.AgentsForgotten) -> None:
    for name in event.agents:
        t.watch_agent(t.agents.pop(name), None)
        _agent_changed(t, name)


def _watch_ended(t: "Tables", event: e.WatchEnded) -> None:
    _let_go(t, (event.watch[0], event.watch[1]), died=event.proven)


def _let_go(t: "Tables", watch: tuple[int, int], *, died: bool) -> None:
    """The agents of a process that is gone, or that nobody can watch any more."""
    for name in list(t.watchers.get(watch, ())):
        agent = t.agents[name]
        t.watch_agent(agent, None)
        if died:
            agent.died = t.time


def _queue_set(t: "Tables", event: e.QueueSet) -> None:
    queue = t.queue(event.queue)
    t.set_queue(queue, dict(event.settings))
    if t.listener is not None:
        t.listener.offers_changed(queue)
    t.drop_queue(queue)


def _everything_paused(t: "Tables", event: e.EverythingPaused) -> None:
    t.paused, t.paused_hard, t.paused_until = event
    t.look_at_pauses()
    if t.listener is not None:
        for queue in t.queues.values():
            t.listener.offers_changed(queue)


# -- what is only remembered -----------------------------------------------------------------------------


def _keys_forgotten(t: "Tables", event: e.KeysForgotten) -> None:
    counts: Sequence[int] = event
    for order, count in zip(t.key_order, counts, strict=True):
        for _ in range(count):
            at, key = order.popleft()
            kept = t.keys.get(key)
            if kept is not None and kept[2] == at:  # else it was freed, and perhaps used again since
                del t.keys[key]


def _cascade_settled(t: "Tables", event: e.CascadeSettled) -> None:
    for _ in range(event.items):
        t.cascade.popleft()


EFFECTS: dict[type[Any], Callable[["Tables", Any], None]] = {
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
    e.NothingChanged: _nothing_changed,
    e.AgentRegistered: _agent_registered,
    e.AgentQuieted: _agent_quieted,
    e.AgentsForgotten: _agents_forgotten,
    e.WatchEnded: _watch_ended,
    e.QueueSet: _queue_set,
    e.EverythingPaused: _everything_paused,
    e.KeysForgotten: _keys_forgotten,
    e.CascadeSettled: _cascade_settled,
    e.ItemImported: item_imported,
    e.AgentImported: agent_imported,
}
assert set(EFFECTS) == set(e.KINDS.values())
