"""What the two events of an import do to the tables; see :mod:`swarmshd.workqueue.applying` for all others."""

from sys import intern
from typing import TYPE_CHECKING

from swarmshd import events as e
from swarmshd.workqueue.records import ENDED, Item

if TYPE_CHECKING:
    from swarmshd.workqueue.tables import Tables


def item_imported(t: "Tables", event: e.ItemImported) -> None:
    """What it was elsewhere stands in its options and notes; here it has been in its state since now."""
    queue = t.queue(event.queue)
    item = Item(event.id, queue, intern(event.type), event.priority, event.description)
    item.state = intern(event.state)
    item.created_at, item.since = event.created_at, t.time
    item.uid = event.uid
    item.claims, item.failures, item.crashes, item.releases = event.counts
    item.due_at, item.payload = event.due_at, event.payload
    item.team = None if event.team is None else intern(event.team)
    item.require = tuple(map(intern, event.require or ()))
    item.after = tuple(event.after or ())
    item.options, item.notes = event.options, event.notes
    if event.waits:
        item.waits = set(event.waits)
        for waited in item.waits:
            t.depend(waited, item.id)
    if item.options is not None:
        t.index_options(item, item.options)
    t.next_id = max(t.next_id, item.id + 1)
    t.items[item.id] = item
    t.order.append(item.id)
    queue.items[item.state][item.id] = item
    size = item.size()
    t.bytes += size
    if item.state in ENDED:
        t.ended.append(item.id)
        t.ended_bytes += size
    else:
        t.open[item.id] = item
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
