"""Going through the indexes: what is found by them against what the items say, and whatever differs put right.

An index is never more than what the items say themselves: who is in which state and queue, under which name, held by
whom, due when, and next in which order. Here it is all derived from the items once more and compared. It goes step by
step, each short, and everything else goes on in between; so each comparison is either of one moment, or leaves out what
has moved since it began (:meth:`Reindexing.moved`), as a move sets all that concerns its item anew.

Nothing of it is an event: a snapshot holds the items alone, and a start makes all indexes from them.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from swarmshd.workqueue.ready import Bucket
from swarmshd.workqueue.records import CLAIMED, ENDED, READY, SCHEDULED, SETTLED, Agent, Group, Item

if TYPE_CHECKING:
    from swarmshd.workqueue.queue import WorkQueue

STEP = 1000
"""Items, or entries, that one step looks at."""

TOLD_MAX = 100
"""Differences that are told one by one; all are counted, and put right."""

MISSING, LEFT_OVER, WRONG = "missing", "left over", "wrong"

_TIMED = frozenset((SCHEDULED, CLAIMED))


class Reindexing:
    """One time through. Take :meth:`steps` to its end, or close it; then the facts are known.

    Attributes:
        items: how many were looked at.
        differed: how many differences there were in each index.
        told: the first of them: ``index``, ``what``, and ``id`` or ``name``.
    """

    def __init__(self, queue: "WorkQueue") -> None:
        self._queue = queue
        self._tables = queue.tables
        self._ready = queue.ready
        self._counted_to = self._last = 0
        self._counts: dict[Bucket, Counter[str]] = {}
        self._moved: set[int] = set()
        self._looked = 0
        self._most = 1
        self._bytes = self._ended_bytes = 0
        self.items = 0
        self.differed: Counter[str] = Counter()
        self.told: list[dict[str, Any]] = []

    def moved(self, item: Item, before: str | None, bucket: Bucket | None) -> None:
        """The item was in that state and bucket until now; all its entries have been set."""
        self._moved.add(item.id)
        if self._counted(item):
            if before is None:
                self._bytes += item.size()
            if item.state in ENDED and before not in ENDED:
                self._ended_bytes += item.size()
            if before is not None and bucket is not None:
                self._count(bucket)[before] -= 1
            if item.bucket is not None:
                self._count(item.bucket)[item.state] += 1

    def resized(self, item: Item, change: int) -> None:
        """The item, which stays where it is or is forgotten, is counted with so many bytes more."""
        if self._counted(item):
            self._bytes += change
            if item.state in ENDED:
                self._ended_bytes += change

    def _counted(self, item: Item) -> bool:
        """Whether what the item is counted with is in the sums already."""
        return item.id <= self._counted_to or item.id > self._last

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1, about."""
        return min(self._looked / self._most, 1.0)

    def steps(self) -> Generator[None]:
        """Go through everything; whoever iterates lets others work in between."""
        tables = self._tables
        self._queue.reindexing = self
        tables.resized = self.resized
        names = len(tables.refs) + len(tables.origins) + len(tables.uniques)
        timed = sum(len(queue.items[SCHEDULED]) + len(queue.items[CLAIMED]) for queue in tables.queues.values())
        ready = sum(len(queue.items[READY]) for queue in tables.queues.values())
        self._most = 1 + 2 * len(tables.items) + len(tables.open) + len(tables.ended) + names + timed + 2 * ready
        try:
            yield from self._every_item()
            yield from self._every_set()
            yield from self._every_end()
            yield from self._every_name()
            yield from self._every_holder()
            yield from self._order_of_ready()
            yield from self._order_of_deadlines()
        finally:
            self._queue.reindexing = None
            tables.resized = None

    # -- the book

    def _due(self) -> bool:
        """Count one look; whether the step is long enough."""
        self._looked += 1
        return self._looked % STEP == 0

    def _differs(self, index: str, what: str, about: int | str) -> None:
        self.differed[index] += 1
        if len(self.told) < TOLD_MAX:
            self.told.append({"index": index, "what": what, "id" if isinstance(about, int) else "name": about})

    def _count(self, bucket: Bucket) -> Counter[str]:
        counts = self._counts.get(bucket)
        if counts is None:
            counts = self._counts[bucket] = Counter()
        return counts

    # -- from the items to the indexes

    def _every_item(self) -> Iterator[None]:
        """Each item can be found wherever it should be."""
        items = self._tables.items
        numbers = sorted(items)
        self._last = numbers[-1] if numbers else 0
        for number in numbers:
            item = items.get(number)
            if item is not None:
                self._item(item)
                self.items += 1
            self._counted_to = number
            if self._due():
                yield
        self._counted_to = self._last
        for kind, bucket in list(self._ready.buckets.items()):
            counts = self._count(bucket)
            right = {state: counts[state] for state in bucket.counts}
            if right != bucket.counts:
                self._differs("ready counts", WRONG, " ".join(str(part or "-") for part in kind[:3]))
                bucket.counts = right
                self._ready.left[bucket] = None
        for name, right_sum in (("bytes", self._bytes), ("ended_bytes", self._ended_bytes)):
            if getattr(self._tables, name) != right_sum:
                self._differs("sizes", WRONG, name)
                setattr(self._tables, name, right_sum)
        yield

    def _item(self, item: Item) -> None:
        tables, number = self._tables, item.id
        size = item.size()
        self._bytes += size
        self._ended_bytes += size if item.state in ENDED else 0
        if tables.queues.get(item.queue.name) is not item.queue:
            self._differs("queues", MISSING, item.queue.name)
            tables.queues[item.queue.name] = item.queue
        self._must_have("states", item.queue.items[item.state], number, item)
        if item.state not in ENDED:
            self._must_have("open", tables.open, number, item)
        at = bisect_left(tables.order, number)
        if at == len(tables.order) or tables.order[at] != number:
            self._differs("order", MISSING, number)
            insort(tables.order, number)
        if item.options is not None:
            self._options(item, item.options)
        if item.is_lock:
            if item.state not in ENDED:
                self._must_have("locks", tables.locks, item.type, item)
        else:
            self._bucket(item)
        if item.state in _TIMED and self._queue.deadlines.lacks(item):
            self._differs("deadlines", MISSING, number)
            self._queue.deadlines.put_back(item)
        claim = item.claim
        if claim is not None:
            self._must_have("holders", claim.agent.holds, number, item)
            if claim.watch is not None:
                self._must_have("watches", tables.watched.setdefault(claim.watch, {}), number, None)

    def _must_have(self, index: str, entries: dict[Any, Any], key: Any, value: Any) -> None:
        if key not in entries or entries[key] is not value:
            self._differs(index, MISSING, key)
            entries[key] = value

    def _options(self, item: Item, options: dict[str, Any]) -> None:
        tables = self._tables
        name = options.get("group")
        if name is not None:
            group = tables.groups.setdefault(name, Group())
            self._must_have("groups", group.ended if item.state in ENDED else group.open, item.id, item)
        for field, index, found in (("ref", "refs", tables.refs), ("origin", "origins", tables.origins)):
            if field in options and found.get(options[field]) != item.id:
                self._differs(index, MISSING, item.id)
                found[options[field]] = item.id
        key = options.get("unique")
        if key is not None and item.state not in ENDED and tables.uniques.get(key) != item.id:
            self._differs("uniques", MISSING, item.id)
            tables.uniques[key] = item.id

    def _bucket(self, item: Item) -> None:
        """It lies in the bucket of its kind, and is counted there."""
        if item.state in ENDED:
            if item.bucket is not None:
                self._differs("ready", LEFT_OVER, item.id)
                item.bucket = None
            return
        right = self._ready.bucket_of(item)
        if item.bucket is not right:
            self._differs("ready", MISSING, item.id)
            item.bucket = right
        self._count(right)[item.state] += 1

    # -- from the indexes to the items

    def _stale(self, index: str, entries: dict[int, Item], item: Item, *, right: bool) -> None:
        """An entry that is no item's, or of an item that belongs elsewhere, goes."""
        if not right and entries.get(item.id) is item:
            self._differs(index, LEFT_OVER, item.id)
            del entries[item.id]

    def _every_set(self) -> Iterator[None]:
        """What lies in the set of a state, among the open ones, or in a group, belongs there."""
        items = self._tables.items
        for item in list(self._tables.open.values()):
            right = items.get(item.id) is item and item.state not in ENDED
            self._stale("open", self._tables.open, item, right=right)
            if self._due():
                yield
        for queue in list(self._tables.queues.values()):
            for state, found in queue.items.items():
                for item in list(found.values()):
                    right = items.get(item.id) is item and item.queue is queue and item.state == state
                    self._stale("states", found, item, right=right)
                    if self._due():
                        yield
        for name, group in list(self._tables.groups.items()):
            for found, ended in ((group.open, False), (group.ended, True)):
                for item in list(found.values()):
                    mine = items.get(item.id) is item and item.option("group") == name
                    self._stale("groups", found, item, right=mine and (item.state in ENDED) is ended)
                    if self._due():
                        yield
            pending = sum(item.state not in SETTLED for item in group.open.values())
            if pending != group.pending:
                self._differs("groups", WRONG, name)
                group.pending = pending

    def _every_end(self) -> Iterator[None]:
        """Every item that has ended has one place in the order in which they ended, and nothing else has."""
        tables = self._tables
        order = list(tables.ended)
        ended = [number for queue in tables.queues.values() for state in ENDED for number in queue.items[state]]
        known: set[int] = set()
        wrong: list[int] = []
        for number in order:
            item = tables.items.get(number)
            if number in known or (item is not None and item.state not in ENDED):
                wrong.append(number)
            elif item is None:
                wrong.append(number)  # unless it was forgotten meanwhile
            known.add(number)
            if self._due():
                yield
        missing = [number for number in ended if number not in known]
        if not wrong and not missing:
            return
        places = Counter(tables.ended)
        for number in wrong:
            item = tables.items.get(number)
            if places[number] > (item is not None and item.state in ENDED):
                self._differs("ended", LEFT_OVER, number)
                places[number] -= 1
        for number in missing:
            item = tables.items.get(number)
            if item is not None and not places[number]:
                self._differs("ended", MISSING, number)
                places[number] = 1
        if "ended" in self.differed:
            left = [number for number in dict.fromkeys((*tables.ended, *missing)) if places[number]]
            tables.ended.clear()
            tables.ended.extend(left)

    def _every_name(self) -> Iterator[None]:
        """Every ref, origin and unique key, and every lock, is of an item that bears it."""
        tables = self._tables
        for field, index, found in (
            ("ref", "refs", tables.refs),
            ("origin", "origins", tables.origins),
            ("unique", "uniques", tables.uniques),
        ):
            for name, number in list(found.items()):
                item = tables.items.get(number)
                right = item is not None and item.option(field) == name
                if field == "unique":
                    right = right and number in tables.open
                if not right and found.get(name) == number:
                    self._differs(index, LEFT_OVER, name)
                    del found[name]
                if self._due():
                    yield
        for name, lock in list(tables.locks.items()):
            if not (lock.is_lock and lock.type == name and tables.open.get(lock.id) is lock):
                self._differs("locks", LEFT_OVER, name)
                del tables.locks[name]
        resumes = {q.name: q.settings["paused_until"] for q in tables.queues.values() if "paused_until" in q.settings}
        if resumes != tables.resumes:
            self._differs("pauses", WRONG, "paused_until")
            tables.resumes = resumes
        tables.look_at_pauses()
        yield

    def _every_holder(self) -> Iterator[None]:
        """What an agent holds, and what stands on a process, is claimed so."""
        tables = self._tables
        for agent in list(tables.agents.values()):
            for item in list(agent.holds.values()):
                held = item.claim is not None and item.claim.agent is agent and tables.items.get(item.id) is item
                self._stale("holders", agent.holds, item, right=held)
                if self._due():
                    yield
            locks = sum(item.is_lock for item in agent.holds.values())
            if locks != agent.locks:
                self._differs("holders", WRONG, agent.name)
                agent.locks = locks
            self._watcher(agent)
        for watch, numbers in list(tables.watched.items()):
            for number in list(numbers):
                found = tables.items.get(number)
                if found is None or found.claim is None or found.claim.watch != watch:
                    self._differs("watches", LEFT_OVER, number)
                    numbers.pop(number, None)
                if self._due():
                    yield
            if not numbers:
                tables.watched.pop(watch, None)

    def _watcher(self, agent: Agent) -> None:
        watch = agent.watch
        if watch is not None and agent.name not in self._tables.watchers.get(watch, ()):
            self._differs("watches", MISSING, agent.name)
            self._tables.watchers.setdefault(watch, {})[agent.name] = None

    # -- what goes first

    def _order_of_ready(self) -> Iterator[None]:
        """Every ready item has its place in the heap of its bucket, and every bucket in those of its shapes."""
        if not self._ready.ordered:
            return
        for queue in list(self._tables.queues.values()):
            heaps = [(bucket, list(bucket.heap)) for bucket in queue.buckets]
            ready = list(queue.items[READY].values())
            self._moved.clear()
            known: set[int] = set()
            for bucket, heap in heaps:
                for key in heap:
                    item = bucket.holds(key)
                    if item is not None:
                        known.add(item.id)
                    if self._due():
                        yield
            for item in ready:
                if item.id not in known and item.id not in self._moved and item.state == READY and not item.is_lock:
                    self._differs("ready order", MISSING, item.id)
                    self._ready.put_back(item)
                if self._due():
                    yield
        for shape in list(self._ready.shapes.values()):
            for bucket in self._ready.out_of_place(shape):
                self._differs("filters", MISSING, f"{bucket.queue.name} {bucket.type}")
            yield

    def _order_of_deadlines(self) -> Iterator[None]:
        """Everything that will happen by itself has its place in the heap."""
        deadlines, items = self._queue.deadlines, self._tables.items
        places, heap = deadlines.copies()
        known: set[tuple[int, int]] = set()
        for entries in _pieces(heap):
            known.update(entries)
            yield
        for number, (at, item) in places.items():
            if items.get(number) is not item or item.state not in _TIMED:
                if deadlines.still(item, at):
                    self._differs("deadlines", LEFT_OVER, number)
                    deadlines.drop(item)
            elif (at, number) not in known and deadlines.still(item, at):
                self._differs("deadlines", MISSING, number)
                deadlines.put_back(item)
            if self._due():
                yield


def _pieces(entries: list[Any]) -> Iterable[list[Any]]:
    return (entries[start : start + 10 * STEP] for start in range(0, len(entries), 10 * STEP))
