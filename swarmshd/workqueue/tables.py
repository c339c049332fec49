"""The state of the queue, and ``apply``: the one way in which it changes.

The tables are what a snapshot holds and what replaying the journal rebuilds. They know no wishes and no
rules: an event is a fact, and applying it cannot fail (a fact that does not fit the state is a defect of the
program or of the journal, and raises). The daemon applies events as it decides them; the fold applies the
same events with the same code and writes the rows back out. What each event does stands in
:mod:`swarmshd.workqueue.applying`.

A ``listener`` (the ready index, the deadlines and the waiting claims of a serving daemon) is told of each move.
Without one the tables are all there is, which is what the fold wants.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from sys import intern
from typing import Any, Protocol

from swarmshd import events as e
from swarmshd.protocol import DEPENDANTS_MAX
from swarmshd.workqueue.applying import EFFECTS
from swarmshd.workqueue.records import (
    DONE,
    ENDED,
    FAILURES_KEPT,
    LOCKS,
    MOVES,
    SETTLED,
    Agent,
    Departed,
    Failure,
    Group,
    Item,
    Queue,
)
from swarmshd.workqueue.rows import restore_row, rows_of

IMPORTED_MAX = 500_000
"""Imported items of which it is known, after they are forgotten, that they came in.

The oldest are cleared away when there is one in a hundred more: to take the first one out of a dictionary again and
again takes longer each time.
"""


class Listener(Protocol):
    """Whoever keeps an index over the tables."""

    def item_moved(self, item: Item, before: str | None) -> None:
        """The item left ``before`` (None: it is new) for its present state, or changed places within it."""

    def deadline_moved(self, item: Item) -> None:
        """The end of the item's claim is another one now."""

    def offers_changed(self, queue: Queue) -> None:
        """The queue's items may be claimed now, or may no longer."""

    def agent_changed(self, name: str) -> None:
        """The agent may claim what it might not before, or something else than before."""

    def everything_moved(self, gap: int) -> None:
        """The clock leapt by ``gap`` milliseconds: all deadlines are other ones."""


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
        self.locks: dict[str, Item] = {}
        """Named locks, held and free."""
        self.refs: dict[str, int] = {}
        self.origins: dict[str, int] = {}
        """Ids of the items that came from elsewhere, where they had another id and no ref, by what they were there."""
        self.imported: dict[bytes, bytes] = {}
        """Of what was imported, ended and is forgotten: its name and its content, a digest of eight bytes each."""
        self.uniques: dict[str, int] = {}
        self.watched: dict[tuple[int, int], dict[int, None]] = {}
        """Ids of items that are claimed under each watch."""
        self.watchers: dict[tuple[int, int], dict[str, None]] = {}
        """Names of the agents that are registered under each watch."""
        self.ended: deque[int] = deque()
        """Ids in the order in which they ended; forgotten from the left."""
        self.ended_bytes = 0
        self.keys: dict[bytes, tuple[bytes, Any, int]] = {}
        """Idempotency: ten bytes of digest -> six bytes of content, facts of the reply, and when."""
        self.key_order: tuple[deque[tuple[int, bytes]], deque[tuple[int, bytes]]] = (deque(), deque())
        """(time, digest) of the keys that users chose, and of those that clients minted."""
        self.cascade: deque[int] = deque()
        """Items that were buried or cancelled and whose dependants have not been looked at yet."""
        self.settled: list[int] = []
        """Ids that came to rest since the listener last emptied this list; volatile."""
        self.failures: deque[Failure] = deque(maxlen=FAILURES_KEPT)
        """The latest claims that failed or crashed, and what was buried; volatile."""
        self.departed = Departed()
        """Volatile."""
        self.digest = b""
        """What the snapshot says that its digest is; volatile."""
        self.bytes = 0
        self.resized: Callable[[Item, int], None] | None = None
        """Told by how much an item changes that does not move, or is forgotten; of whoever sums them up. Volatile."""
        self.epoch = 0
        self.boot = ""
        self.boot_fence = 0
        """Claims with a smaller fence were made before the host came up."""
        self.calm_at = 0
        """When a daemon last started or the clock last leapt; a lease that was not renewed since is nobody's fault."""
        self.ids_end = self.fences_end = self.positions_end = 1
        self.next_id = 1
        self.next_fence = 1
        self.position = 0
        self.time = 0
        self.paused: str | None = None
        self.paused_hard = False
        self.paused_until: int | None = None
        """When the pause of everything ends by itself."""
        self.resumes: dict[str, int] = {}
        """Of the queues whose pause ends by itself: when."""
        self.resume_at: int | None = None
        """The first of all these moments."""
        self.uid: int | None = None
        self.pid: int | None = None

    # -- applying --------------------------------------------------------------------------------------

    def apply(self, event: e.Event) -> None:
        """Make the fact true. The caller has set ``time``, ``uid`` and ``pid``."""
        EFFECTS[type(event)](self, event)
        self.position += 1

    def replay(self, batch: e.Batch) -> None:
        """Apply a batch as the journal has it."""
        self.position = batch.position
        self.time = batch.time
        for uid, pid, key, minted, happened in batch.entries:
            if pid != self.pid:  # the same number is one object for all items that one process submitted
                self.pid = pid
            self.uid = uid
            for event in happened:
                EFFECTS[type(event)](self, event)
                self.position += 1
            if key is not None:
                self.conclude(key, minted, happened)

    def conclude(self, key: bytes, minted: bool, happened: Sequence[e.Event]) -> Any:
        """Keep what a keyed command brought about, so that its repetition gets the same reply.

        A claim that could not be delivered is as if it had not been: its key is free again. Returns the facts.
        """
        name = key[:10]
        if type(happened[0]) is e.ItemReturned and happened[0].cause == e.UNDELIVERED:
            self.keys.pop(name, None)
            return None
        facts = self.facts(happened)
        self.keys[name] = (key[10:], facts, self.time)
        self.key_order[minted].append((self.time, name))
        return facts

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
            if self.listener is not None:
                self.settled.append(item.id)
            if state != DONE and item.dependants:
                self.cascade.append(item.id)
            if state in ENDED:
                self._end(item)
        if self.listener is not None:
            self.listener.item_moved(item, before)

    def _end(self, item: Item) -> None:
        options = item.options
        if options is not None:
            unique = options.get("unique")
            if unique is not None:
                del self.uniques[unique]
            name = options.get("group")
            if name is not None:
                group = self.groups[name]
                del group.open[item.id]
                group.ended[item.id] = item
        if item.is_lock:
            del self.locks[item.type]
        del self.open[item.id]
        self.ended.append(item.id)
        self.ended_bytes += item.size()
        item.waits = None

    def depend(self, waited: int, number: int) -> None:
        """Item ``number`` waits for the other, which is always there: it came first, in one submission too."""
        target = self.items[waited]
        if target.dependants is None:
            target.dependants = []
        elif len(target.dependants) >= DEPENDANTS_MAX:
            target.dependants = [
                each for each in target.dependants if each in self.items and self.items[each].waits_for(waited)
            ]
        target.dependants.append(number)

    def note(self, item: Item, notes: dict[str, Any]) -> None:
        """Set the notes, and take away those that are None."""
        kept = item.notes or {}
        change = 0
        for name, value in notes.items():
            if name in kept:
                before = kept.pop(name)
                if isinstance(before, (str, bytes)):
                    change -= len(before)
            if value is not None:
                kept[name] = value
                if isinstance(value, (str, bytes)):
                    change += len(value)
        item.notes = kept or None
        if change:
            self.bytes += change
            if self.resized is not None:
                self.resized(item, change)

    def end_claim(self, item: Item) -> None:
        """Nobody holds the item any more."""
        claim = item.claim
        if claim is None:
            return
        agent = claim.agent
        was_full = agent.full
        del agent.holds[item.id]
        agent.locks -= item.is_lock
        if claim.watch is not None:
            self.watch_claim(item, None)
        item.claim = None
        if was_full and self.listener is not None:
            self.listener.agent_changed(agent.name)

    def watch_claim(self, item: Item, watch: tuple[int, int] | None) -> None:
        """The item's claim stands and falls with this process from now on, or with none."""
        claim = item.claim
        assert claim is not None
        if claim.watch is not None:
            held = self.watched[claim.watch]
            held.pop(item.id, None)
            if not held:
                del self.watched[claim.watch]
        claim.watch = watch
        if watch is not None:
            self.watched.setdefault(watch, {})[item.id] = None

    def watch_agent(self, agent: Agent, watch: tuple[int, int] | None) -> None:
        """The agent's process is this one from now on, or nobody knows which."""
        if agent.watch is not None:
            names = self.watchers[agent.watch]
            del names[agent.name]
            if not names:
                del self.watchers[agent.watch]
        agent.watch = watch
        if watch is not None:
            self.watchers.setdefault(watch, {})[agent.name] = None

    def remember_imported(self, name: bytes, content: bytes) -> None:
        """What came in from elsewhere, ended and is forgotten must not come in again by the same import."""
        self.imported[name] = content
        if len(self.imported) > IMPORTED_MAX + IMPORTED_MAX // 100:
            for oldest in list(islice(self.imported, len(self.imported) - IMPORTED_MAX)):
                del self.imported[oldest]

    def queue(self, name: str) -> Queue:
        """The queue of that name, made if there is none."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[intern(name)] = Queue(intern(name))
        return queue

    def set_queue(self, queue: Queue, settings: dict[str, Any]) -> None:
        """The queue has these settings from now on."""
        queue.settings = settings
        until = settings.get("paused_until")
        if until is not None:
            self.resumes[queue.name] = until
        elif self.resumes.pop(queue.name, None) is None:
            return
        self.look_at_pauses()

    def look_at_pauses(self) -> None:
        """A pause began or ended: when the next one ends by itself may be another moment now."""
        moments = list(self.resumes.values())
        if self.paused_until is not None:
            moments.append(self.paused_until)
        self.resume_at = min(moments, default=None)

    def drop_queue(self, queue: Queue) -> None:
        """Forget the queue if there is nothing to remember of it."""
        if queue.empty:
            del self.queues[queue.name]

    def agent(self, name: str, uid: int | None) -> Agent:
        """The agent of that name, made if there is none; it belongs to ``uid`` if it holds nothing."""
        agent = self.agents.get(name)
        if agent is None:
            name = intern(name)
            agent = self.agents[name] = Agent(name, uid)
        elif not agent.holds:
            agent.uid = uid
        return agent

    def index_options(self, item: Item, options: dict[str, Any]) -> None:
        """Make the item, in the state that it has, findable by its group, ref and unique key."""
        group = options.get("group")
        if group is not None:
            group = options["group"] = intern(group)
            found = self.groups.get(group)
            if found is None:
                found = self.groups[group] = Group()
            (found.ended if item.state in ENDED else found.open)[item.id] = item
            found.pending += item.state not in SETTLED
        ref = options.get("ref")
        if ref is not None:
            self.refs[ref] = item.id
        origin = options.get("origin")
        if origin is not None:
            self.origins[origin] = item.id
        key = options.get("unique")
        if key is not None and item.state not in ENDED:
            self.uniques[key] = item.id

    # -- as rows ---------------------------------------------------------------------------------------

    def rows(self) -> Iterator[list[Any]]:
        """The rows of a snapshot of this state."""
        return rows_of(self)

    def restore(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take the next rows of a snapshot into tables that were empty before the first of them."""
        for row in rows:
            restore_row(self, row)

    # -- reading ---------------------------------------------------------------------------------------

    def after(self, number: int) -> Iterator[int]:
        """Ids above ``number``, ascending, with some whose items are forgotten."""
        return islice(self.order, bisect_right(self.order, number), None)

    def place(self, number: int) -> tuple[str, str, str | None] | None:
        """Queue, type and group of an item, also if it was forgotten lately."""
        item = self.items.get(number)
        if item is None:
            return self.departed.get(number)
        return item.queue.name, item.type, item.option("group")

    def is_lock(self, number: int) -> bool:
        """Whether the item is a named lock, also if it was forgotten lately."""
        item = self.items.get(number)
        if item is not None:
            return item.is_lock
        place = self.departed.get(number)
        return place is not None and place[0] == LOCKS

    def facts(self, happened: Sequence[e.Event]) -> Any:
        """What is kept of a keyed command, right after its events were applied: enough to answer it again.

        Claims are a list of ``[id, fence]``; one submitted item is its id, several are the list of ids;
        anything else is a small map with what became of the last item, and how many were touched.
        """
        first = type(happened[0])
        if first is e.ItemSubmitted or first is e.ItemClaimed:
            claims = [[event.id, event.fence] for event in happened if type(event) is e.ItemClaimed]
            if claims:
                return claims
            return happened[0].id if len(happened) == 1 else [event.id for event in happened]
        if first is e.NothingChanged:
            return happened[0].facts
        facts: dict[str, Any] = {}
        touched = 0
        last = None
        for event in happened:
            kind = type(event)
            if kind is e.ItemsKicked or kind is e.LeasesRenewed:
                touched += len(event.ids)
                last = event.ids[0]
            elif kind is e.AgentsForgotten:
                facts["forgotten"] = True
            elif kind is e.QueueSet:
                facts.setdefault("queues", []).append(event.queue)
            elif (number := getattr(event, "id", None)) is not None:
                touched += 1
                last = number
        if last is not None:
            facts["touched"] = touched
            self._outcome(facts, self.items[last])
        return facts

    @staticmethod
    def _outcome(facts: dict[str, Any], item: Item) -> None:
        facts |= {"id": item.id, "state": item.state, "failures": item.failures}
        if item.due_at is not None:
            facts["due_at"] = item.due_at
        if item.claim is not None:
            facts["expires_at"] = item.claim.deadline
