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
from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import Any, Protocol

from swarmshd import events as e
from swarmshd.workqueue.applying import APPLY
from swarmshd.workqueue.records import (
    DONE,
    ENDED,
    MOVES,
    SETTLED,
    Agent,
    Group,
    Item,
    Queue,
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

    # -- applying --------------------------------------------------------------------------------------

    def apply(self, event: e.Event) -> None:
        """Make the fact true. The caller has set ``time``, ``uid`` and ``pid``."""
        APPLY[type(event)](self, event)
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

    def move(self, item: Item, move: str, state: str) -> None:
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

    def note(self, item: Item, **notes: Any) -> None:
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

    def end_claim(self, item: Item) -> None:
        claim = item.claim
        if claim is None:
            return
        del claim.agent.holds[item.id]
        if claim.watch is not None:
            self.unwatch(item, claim.watch)
        item.claim = None

    def unwatch(self, item: Item, watch: tuple[int, int]) -> None:
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
