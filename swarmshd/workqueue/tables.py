"""The state of the queue, and ``apply``: the one way in which it changes.

The tables are what a snapshot holds and what replaying the journal rebuilds. They know no wishes and no
rules: an event is a fact, and applying it cannot fail (a fact that does not fit the state is a defect of the
program or of the journal, and raises). The daemon applies events as it decides them; the fold applies the
same events with the same code and writes the rows back out.

A ``listener`` (the ready index and the deadlines of a serving daemon) is told of each move. Without one the
tables are all there is, which is what the fold wants.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from sys import intern
from typing import Any, Protocol

from swarmshd import events as e
from swarmshd.workqueue.records import (
    BURIED,
    CANCELLED,
    CLAIMED,
    DONE,
    ENDED,
    MOVES,
    READY,
    SCHEDULED,
    SETTLED,
    Agent,
    Claim,
    Group,
    Item,
    Queue,
    watch_key,
)
from swarmshd.workqueue.rows import restore_row, rows_of


class Listener(Protocol):
    """Whoever keeps an index over the tables."""

    def item_moved(self, item: Item, before: str | None) -> None:
        """The item left ``before`` (None: it is new) for its present state, or changed places within it."""

    def deadline_moved(self, item: Item) -> None:
        """The end of the item's claim is another one now."""

    def offers_changed(self, queue: Queue) -> None:
        """The queue's items may be claimed now, or may no longer."""

    def everything_moved(self) -> None:
        """The clock shifted: all deadlines are other ones."""


class Tables:
    """Everything that a snapshot holds. See the module's text."""

    def __init__(self, listener: Listener | None = None) -> None:
        self.listener = listener
        self.items: dict[int, Item] = {}
        self.order: list[int] = []
        """Ids of ``items``, ascending, with some that are forgotten; for paging."""
        self.open: dict[int, Item] = {}
        self.queues: dict[str, Queue] = {}
        self.agents: dict[str, Agent] = {}
        self.groups: dict[str, Group] = {}
        self.refs: dict[str, int] = {}
        self.uniques: dict[str, int] = {}
        self.watched: dict[tuple[int, int], dict[int, None]] = {}
        """Ids of items that are claimed under each watch."""
        self.ended: deque[int] = deque()
        """Ids in the order in which they ended; forgotten from the left."""
        self.ended_bytes = 0
        self.keys: dict[bytes, tuple[bytes, Any]] = {}
        """Idempotency: ten bytes of digest -> six bytes of content, facts of the reply."""
        self.key_order: tuple[deque[tuple[int, bytes]], deque[tuple[int, bytes]]] = (deque(), deque())
        """(time, digest) of the keys that users chose, and of those that clients minted."""
        self.cascade: deque[int] = deque()
        """Items that were buried or cancelled and whose dependants have not been looked at yet."""
        self.settled: list[int] = []
        """Ids that came to rest since the reader last emptied this list; volatile."""
        self.bytes = 0
        self.epoch = 0
        self.boot = ""
        self.ids_end = self.fences_end = self.positions_end = 1
        self.next_id = 1
        self.next_fence = 1
        self.position = 0
        self.time = 0
        self.paused: str | None = None
        self.paused_hard = False
        self.uid: int | None = None
        self.pid: int | None = None
        self._apply: dict[type[Any], Callable[[Any], None]] = {
            kind: getattr(self, "_apply_" + kind.__name__) for kind in e.KINDS.values()
        }

    # -- applying --------------------------------------------------------------------------------------

    def apply(self, event: e.Event) -> None:
        """Make the fact true. The caller has set ``time``, ``uid`` and ``pid``."""
        self._apply[type(event)](event)
        self.position += 1

    def remember(self, key: bytes, minted: bool, facts: Any) -> None:
        """Keep what a keyed command brought about, so that its repetition gets the same reply."""
        self.keys[key[:10]] = (key[10:], facts)
        self.key_order[minted].append((self.time, key[:10]))

    def replay(self, batch: e.Batch) -> None:
        """Apply a batch as the journal has it."""
        self.position = batch.position
        self.time = batch.time
        for entry in batch.entries:
            self.uid, self.pid = entry.uid, entry.pid
            for event in entry.events:
                self.apply(event)
            if entry.key is not None:
                self.remember(entry.key, entry.minted, self.facts(entry.events))

    # -- moving items ----------------------------------------------------------------------------------

    def _move(self, item: Item, move: str, state: str) -> None:
        """The one way from state to state."""
        before = item.state
        sources, targets = MOVES[move]
        if before not in sources or state not in targets:
            raise RuntimeError(f"item {item.id}: {move} leads from {before} to {state}")
        queue = item.queue
        del queue.items[before][item.id]
        queue.items[state][item.id] = item
        item.state = state
        item.since = self.time
        if (state in SETTLED) != (before in SETTLED):
            group = item.option("group")
            if group is not None:
                self.groups[group].pending += -1 if state in SETTLED else 1
        if state in SETTLED:
            self.settled.append(item.id)
            if state != DONE and item.dependants:
                self.cascade.append(item.id)
            if state in ENDED:
                self._end(item)
        if self.listener is not None:
            self.listener.item_moved(item, before)

    def _end(self, item: Item) -> None:
        unique = item.option("unique")
        if unique is not None:
            del self.uniques[unique]
        del self.open[item.id]
        self.ended.append(item.id)
        self.ended_bytes += item.size()
        item.waits = None

    def _note(self, item: Item, **notes: Any) -> None:
        """Set the notes that are not None."""
        kept = item.notes
        if kept is None:
            kept = item.notes = {}
        for name, value in notes.items():
            if value is None:
                continue
            if isinstance(value, (str, bytes)):
                self.bytes += len(value) - len(kept.get(name) or "")
            kept[name] = value

    def _end_claim(self, item: Item) -> None:
        claim = item.claim
        if claim is None:
            return
        del claim.agent.holds[item.id]
        if claim.watch is not None:
            self._unwatch(item, claim.watch)
        item.claim = None

    def _unwatch(self, item: Item, watch: tuple[int, int]) -> None:
        held = self.watched[watch]
        del held[item.id]
        if not held:
            del self.watched[watch]

    def queue(self, name: str) -> Queue:
        """The queue of that name, made if there is none."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[intern(name)] = Queue(intern(name))
        return queue

    def agent(self, name: str, uid: int | None) -> Agent:
        """The agent of that name, made if there is none; it belongs to ``uid`` if it holds nothing."""
        agent = self.agents.get(name)
        if agent is None:
            agent = self.agents[name] = Agent(name, uid)
        elif not agent.holds:
            agent.uid = uid
        return agent

    def rows(self) -> Iterator[list[Any]]:
        """The rows of a snapshot of this state."""
        return rows_of(self)

    def restore(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take the next rows of a snapshot into tables that were empty before the first of them."""
        for row in rows:
            restore_row(self, row)

    # -- events ----------------------------------------------------------------------------------------

    def _apply_EpochStarted(self, event: e.EpochStarted) -> None:
        self.epoch = event.epoch
        self.boot = event.boot
        self._apply_BlocksReserved(e.BlocksReserved(*event[2:]))

    def _apply_EpochEnded(self, event: e.EpochEnded) -> None:
        """Only its time matters."""

    def _apply_BlocksReserved(self, event: e.BlocksReserved) -> None:
        self.ids_end, self.fences_end, self.positions_end = event

    def _apply_ClockShifted(self, event: e.ClockShifted) -> None:
        for agent in self.agents.values():
            agent.seen += event.gap
            for item in agent.holds.values():
                claim = item.claim
                assert claim is not None
                claim.until += event.gap
                claim.seen += event.gap
                if claim.runtime_until is not None:
                    claim.runtime_until += event.gap
        if self.listener is not None:
            self.listener.everything_moved()

    def _apply_ItemSubmitted(self, event: e.ItemSubmitted) -> None:
        number, queue_name, kind, priority, description, due_at, team, payload, require, after, waits, options = event
        queue = self.queues.get(queue_name) or self.queue(queue_name)
        item = Item(number, queue, intern(kind), priority, description)
        item.uid, item.pid = self.uid, self.pid
        item.created_at = item.since = self.time
        item.payload = payload
        if team is not None:
            item.team = intern(team)
        if require:
            item.require = tuple(map(intern, require))
        if options is not None:
            item.options = options
            self.index_options(item, options)
        if after:
            item.after = tuple(after)
        item.due_at = due_at
        if waits:
            item.waits = set(waits)
            for waited in item.waits:
                self._depend(waited, number)
        else:
            item.state = SCHEDULED if due_at is not None and due_at > self.time else READY
        if number >= self.next_id:
            self.next_id = number + 1
        self._insert(item)

    def index_options(self, item: Item, options: dict[str, Any], *, pending: bool = True, unique: bool = True) -> None:
        """Make the item findable by its group, ref and unique key."""
        group = options.get("group")
        if group is not None:
            found = self.groups.get(group)
            if found is None:
                found = self.groups[group] = Group()
            found.ids[item.id] = None
            found.pending += pending
        ref = options.get("ref")
        if ref is not None:
            self.refs[ref] = item.id
        key = options.get("unique")
        if key is not None and unique:
            self.uniques[key] = item.id

    def _depend(self, waited: int, number: int) -> None:
        """Within one submission what is waited for comes first, so it is always there."""
        target = self.items[waited]
        if target.dependants is None:
            target.dependants = []
        target.dependants.append(number)

    def _insert(self, item: Item) -> None:
        number = item.id
        self.items[number] = item
        self.order.append(number)
        self.open[number] = item
        item.queue.items[item.state][number] = item
        self.bytes += item.size()
        if self.listener is not None:
            self.listener.item_moved(item, None)

    def _apply_ItemClaimed(self, event: e.ItemClaimed) -> None:
        item = self.items[event.id]
        resumed = item.claim is not None
        self._end_claim(item)
        agent = self.agent(event.agent, self.uid)
        agent.seen = self.time
        watch = watch_key(event.watch)
        item.claim = Claim(
            agent,
            self.uid or 0,
            event.fence,
            event.secret,
            self.time,
            event.expires_at,
            event.lease,
            event.runtime_until,
            watch,
        )
        agent.holds[item.id] = item
        if watch is not None:
            self.watched.setdefault(watch, {})[item.id] = None
        if event.fence >= self.next_fence:
            self.next_fence = event.fence + 1
        if resumed:  # by the same agent: the former token is stale now, but it is the same attempt
            self._deadline(item)
        else:
            item.claims += 1
            self._move(item, "claim", CLAIMED)

    def _deadline(self, item: Item) -> None:
        if self.listener is not None:
            self.listener.deadline_moved(item)

    def _renew(self, item: Item, expires_at: int) -> None:
        claim = item.claim
        assert claim is not None
        claim.until = expires_at
        claim.seen = claim.agent.seen = self.time
        claim.stalled = False
        self._deadline(item)

    def _apply_LeasesRenewed(self, event: e.LeasesRenewed) -> None:
        for number in event.ids:
            self._renew(self.items[number], event.expires_at)

    def _apply_ItemProgressed(self, event: e.ItemProgressed) -> None:
        item = self.items[event.id]
        self._note(item, percent=event.percent, status=event.status, message=event.message, checkpoint=event.checkpoint)
        self._renew(item, event.expires_at)

    def _apply_ItemHeld(self, event: e.ItemHeld) -> None:
        item = self.items[event.id]
        claim = item.claim
        assert claim is not None
        if claim.watch is not None:
            self._unwatch(item, claim.watch)
        claim.watch = watch_key(event.watch)
        if claim.watch is not None:
            self.watched.setdefault(claim.watch, {})[item.id] = None
        self._renew(item, event.expires_at)

    def _apply_ItemStalled(self, event: e.ItemStalled) -> None:
        claim = self.items[event.id].claim
        assert claim is not None
        claim.stalled = True
        self._deadline(self.items[event.id])

    def _apply_ItemCompleted(self, event: e.ItemCompleted) -> None:
        item = self.items[event.id]
        claim = item.claim
        assert claim is not None
        item.last = (claim.fence, claim.secret)
        self._note(
            item,
            note=event.note,
            points=event.points,
            exit_status=event.exit_status,
            result=event.result,
            output=event.output,
            ended_by=claim.agent.name,
        )
        claim.agent.seen = self.time
        self._end_claim(item)
        self._move(item, "complete", DONE)
        for number in item.dependants or ():
            waiting = self.items.get(number)
            if waiting is not None and waiting.waits:
                waiting.waits.discard(item.id)
        for number in event.ready:
            self._unblock(self.items[number])

    def _unblock(self, item: Item) -> None:
        """Nothing holds the item back any more but, perhaps, its time."""
        item.waits = None
        later = item.due_at is not None and item.due_at > self.time
        self._move(item, "unblock", SCHEDULED if later else READY)

    def _apply_ItemReturned(self, event: e.ItemReturned) -> None:
        item = self.items[event.id]
        self._count(item, event.cause)
        self._note(item, reason=event.reason, exit_status=event.exit_status, output=event.output)
        if event.cause == e.RELEASED:
            assert item.claim is not None
            item.claim.agent.seen = self.time
        self._end_claim(item)
        item.due_at = event.due_at
        self._move(item, "return", READY if event.due_at is None else SCHEDULED)

    def _count(self, item: Item, cause: int | None) -> None:
        if cause == e.FAILED:
            item.failures += 1
        elif cause == e.CRASHED:
            item.crashes += 1
        item.releases = item.releases + 1 if cause == e.RELEASED else 0

    def _apply_ItemBuried(self, event: e.ItemBuried) -> None:
        item = self.items[event.id]
        self._count(item, event.cause)
        self._note(item, reason=event.reason, exit_status=event.exit_status, output=event.output)
        self._end_claim(item)
        self._move(item, "bury", BURIED)

    def _apply_ItemsDue(self, event: e.ItemsDue) -> None:
        for number in event.ids:
            item = self.items[number]
            item.due_at = None
            self._move(item, "due", READY)

    def _apply_ItemsUnblocked(self, event: e.ItemsUnblocked) -> None:
        for number in event.ids:
            waits = self.items[number].waits
            if waits:
                waits.discard(event.freed)
        for number in event.ready:
            self._unblock(self.items[number])

    def _apply_ItemsBlocked(self, event: e.ItemsBlocked) -> None:
        for number in event.ids:
            self._note(self.items[number], blocked=event.reason)

    def _apply_ItemsKicked(self, event: e.ItemsKicked) -> None:
        for number in event.ids:
            item = self.items[number]
            item.failures = item.crashes = item.releases = 0
            item.waits = None
            item.due_at = None
            if item.notes is not None:
                item.notes.pop("blocked", None)
            self._move(item, "kick", READY)

    def _apply_ItemCancelled(self, event: e.ItemCancelled) -> None:
        item = self.items[event.id]
        self._note(item, reason=event.reason)
        if item.claim is not None:
            item.last = (item.claim.fence, item.claim.secret)
        self._end_claim(item)
        self._move(item, "cancel", CANCELLED)

    def _apply_ItemEdited(self, event: e.ItemEdited) -> None:
        item = self.items[event.id]
        before = state = item.state
        if before in (READY, SCHEDULED):
            state = READY if event.due_at is None else SCHEDULED
        del item.queue.items[before][item.id]
        former = item.queue
        item.queue, item.priority, item.due_at, item.state = (
            self.queue(event.queue),
            event.priority,
            event.due_at,
            state,
        )
        item.queue.items[state][item.id] = item
        if state != before:
            item.since = self.time
        if self.listener is not None:
            self.listener.item_moved(item, before)
        self._drop_queue(former)

    def _apply_ItemsForgotten(self, event: e.ItemsForgotten) -> None:
        for number in event.ids:
            item = self.items.pop(number)
            del item.queue.items[item.state][number]
            size = item.size()
            self.bytes -= size
            self.ended_bytes -= size
            if self.ended and self.ended[0] == number:
                self.ended.popleft()
            else:
                self.ended.remove(number)
            group = item.option("group")
            if group is not None:
                found = self.groups[group]
                del found.ids[number]
                if not found.ids:
                    del self.groups[group]
            ref = item.option("ref")
            if ref is not None:
                del self.refs[ref]
            self._drop_queue(item.queue)
        if len(self.order) > 2 * len(self.items) + 1000:
            self.order = [number for number in self.order if number in self.items]

    def _drop_queue(self, queue: Queue) -> None:
        if queue.empty:
            del self.queues[queue.name]
            if self.listener is not None:
                self.listener.offers_changed(queue)

    def _apply_AgentRegistered(self, event: e.AgentRegistered) -> None:
        agent = self.agent(event.agent, self.uid)
        agent.registered = True
        agent.team, agent.capacity, agent.specialization = event.team, event.capacity, event.specialization
        agent.slots, agent.heartbeat = event.slots, event.heartbeat
        agent.labels = tuple(map(intern, event.labels))
        agent.watch = watch_key(event.watch)
        agent.seen = self.time

    def _apply_AgentQuieted(self, event: e.AgentQuieted) -> None:
        self.agents[event.agent].quiet = event.quiet

    def _apply_AgentsForgotten(self, event: e.AgentsForgotten) -> None:
        for name in event.agents:
            del self.agents[name]

    def _apply_WatchEnded(self, event: e.WatchEnded) -> None:
        watch = watch_key(event.watch)
        for agent in self.agents.values():
            if agent.watch == watch:
                agent.watch = None

    def _apply_QueueSet(self, event: e.QueueSet) -> None:
        queue = self.queue(event.queue)
        queue.settings = dict(event.settings)
        if self.listener is not None:
            self.listener.offers_changed(queue)
        self._drop_queue(queue)

    def _apply_EverythingPaused(self, event: e.EverythingPaused) -> None:
        self.paused, self.paused_hard = event.reason, event.hard
        if self.listener is not None:
            for queue in self.queues.values():
                self.listener.offers_changed(queue)

    def _apply_KeysForgotten(self, event: e.KeysForgotten) -> None:
        for order, count in zip(self.key_order, event, strict=True):
            for _ in range(count):
                at, key = order.popleft()
                self.keys.pop(key, None)

    def _apply_CascadeSettled(self, event: e.CascadeSettled) -> None:
        for _ in range(event.items):
            self.cascade.popleft()

    # -- reading ---------------------------------------------------------------------------------------

    def after(self, number: int) -> Iterator[int]:
        """Ids of items above ``number``, ascending."""
        order = self.order
        items = self.items
        for at in range(bisect_right(order, number), len(order)):
            if order[at] in items:
                yield order[at]

    def facts(self, happened: Sequence[e.Event]) -> Any:
        """What is kept of a keyed command, right after its events were applied: enough to answer it again.

        Claims are a list of ``[id, fence]``; one submitted item is its id, several are the list of ids;
        anything else is a small map with ``id`` and ``state`` of the last item, and how many were touched.
        """
        first = type(happened[0])
        if first is e.ItemSubmitted or first is e.ItemClaimed:
            claims = [[event.id, event.fence] for event in happened if type(event) is e.ItemClaimed]
            if claims:
                return claims
            return happened[0].id if len(happened) == 1 else [event.id for event in happened]
        facts: dict[str, Any] = {}
        for event in happened:
            number = getattr(event, "id", None)
            if type(event) is e.ItemsKicked:
                facts["touched"] = len(event.ids)
                number = event.ids[0]
            elif number is not None:
                facts["touched"] = facts.get("touched", 0) + 1
            item = self.items.get(number) if number is not None else None
            if item is not None:
                facts |= {"id": item.id, "state": item.state, "failures": item.failures}
                if item.due_at is not None:
                    facts["due_at"] = item.due_at
                if item.claim is not None:
                    facts["expires_at"] = item.claim.deadline
        return facts
