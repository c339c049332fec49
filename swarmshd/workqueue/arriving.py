"""What the two events of an import do to the tables; see :mod:`swarmshd.workqueue.applying` for all others."""

from sys import intern
from typing import TYPE_CHECKING

from swarmshd import events as e
from swarmshd.workqueue.records import ENDED, Item

if TYPE_CHECKING:
    from swarmshd.workqueue.tables import Tables


def item_imported(t: "Tables", event: e.ItemImported) -> None:
    """What it was elsewhere stands in its options and notes; here it has been in its state since now."""
    (
        number, queue_name, kind, priority, description, state, created_at, uid, counts, due_at, team, payload,
        require, after, waits, options, notes,
    ) = event  # fmt: skip
    queue = t.queues.get(queue_name) or t.queue(queue_name)
    item = Item(number, queue, intern(kind), priority, description)
    item.state = state = intern(state)
    item.created_at, item.since = created_at, t.time
    item.uid = uid
    item.claims, item.failures, item.crashes, item.releases = counts
    item.due_at, item.payload = due_at, payload
    if team is not None:
        item.team = intern(team)
    if require:
        item.require = tuple(map(intern, require))
    if after:
        item.after = tuple(after)
    item.options, item.notes = options, notes
    if waits:
        item.waits = set(waits)
        for waited in item.waits:
            t.depend(waited, number)
    if options is not None:
        t.index_options(item, options)
    if number >= t.next_id:
        t.next_id = number + 1
    t.items[number] = item
    t.order.append(number)
    queue.items[state][number] = item
    size = item.size()
    t.bytes += size
    if state in ENDED:
        t.ended.append(number)
        t.ended_bytes += size
    else:
        t.open[number] = item
    if t.listener is not None:
        t.listener.item_moved(item, None)


def agent_imported(t: "Tables", event: e.AgentImported) -> None:
    """One that was here before, because it claimed, keeps the time at which it was last heard of."""
    known = event.agent in t.agents
    agent = t.agent(event.agent, t.uid if event.uid is None else event.uid)
    agent.registered, agent.quiet = event.registered, event.quiet
    agent.team, agent.capacity, agent.specialization = event.team, event.capacity, event.specialization
    agent.slots, agent.heartbeat = event.slots, event.heartbeat
    agent.labels = tuple(map(intern, event.labels))
    agent.imported, agent.legacy = event.imported, event.legacy
    if not known:
        agent.seen = t.time if event.seen_at is None else event.seen_at
    if t.listener is not None:
        t.listener.agent_changed(agent.name)
