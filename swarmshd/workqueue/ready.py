"""Which ready item is next for a claim, without looking through them.

Open items lie in buckets, one for each (queue, type, team, required labels); within a bucket a heap orders
those that are ready by priority, then id. A claim asks with a filter: queues, types, teams, and the labels that
its agent has. Each distinct filter is a *shape*, and a shape keeps a heap of the buckets that it may take from,
ordered by the bucket's first item. So a claim looks at the head of one heap, not at items and not at buckets.

Heaps are corrected lazily. A bucket's heap may hold entries of items that have left; they are dropped when
they come to the top. A shape's heap may hold a bucket under a key that is no longer its first; it is put back
under the right one when it comes to the top. Only when a bucket's first item becomes *better* are its shapes
told at once. Both kinds of heap are rebuilt when stale entries outnumber live ones, so memory stays bounded.

The buckets of a queue that is paused or at its limit have no head: shapes drop them when they surface, and
get them back when the queue offers again.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush

from swarmshd.workqueue.records import BLOCKED, BURIED, CLAIMED, ENDED, READY, SCHEDULED, Item, Queue

BUCKETS_MAX = 10_000
SHAPES_MAX = 256
"""Shapes that are kept; those under which a claim waits are kept besides."""

LINKS_MAX = SHAPES_MAX * BUCKETS_MAX
"""Pairs of a shape and a bucket that it may take from, where claims wait under more shapes than that."""

_PRIORITY_SHIFT = 57  # so that a rank is one of the smaller integers, which take a third less
_IDS = (1 << _PRIORITY_SHIFT) - 1

Kind = tuple[str, str, str | None, tuple[str, ...]]
"""Queue, type, team and required labels."""

Filter = tuple[tuple[str, ...] | None, tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Queues (None: all), types, teams (empty: all), and the agent's labels; each sorted."""


def rank(item: Item) -> int:
    """Smaller goes first: priority, then id."""
    return item.priority << _PRIORITY_SHIFT | item.id


class Bucket:
    """Open items of one kind; ``counts`` of them by state, and the ranks of the ready ones in a heap."""

    __slots__ = ("counts", "heap", "queue", "require", "shapes", "team", "type")

    def __init__(self, queue: Queue, kind: str, team: str | None, require: tuple[str, ...]) -> None:
        self.queue = queue
        self.type = kind
        self.team = team
        self.require = require
        self.heap: list[int] = []
        self.counts = {READY: 0, CLAIMED: 0, SCHEDULED: 0, BLOCKED: 0, BURIED: 0}
        self.shapes: dict[Shape, None] = {}

    @property
    def kind(self) -> "Kind":
        return self.queue.name, self.type, self.team, self.require

    @property
    def empty(self) -> bool:
        return not any(self.counts.values())

    def head(self) -> int | None:
        """Rank of the first item that may be claimed, or None."""
        if not self.counts[READY] or not self.queue.offers:
            return None
        heap = self.heap
        while heap:
            if self.holds(heap[0]) is not None:
                return heap[0]
            heappop(heap)
        return None  # an item has lost its place: see `reindexing`

    def holds(self, key: int) -> Item | None:
        """The ready item that lies here under that rank; None if it has left, or has another one by now."""
        item = self.queue.items[READY].get(key & _IDS)
        return item if item is not None and item.bucket is self and rank(item) == key else None

    def first(self) -> Item:
        """The item of :meth:`head`, which is not None."""
        return self.queue.items[READY][self.heap[0] & _IDS]

    def add(self, item: Item) -> bool:
        """Take in an item that became ready; it is counted already. Whether it goes before all others.

        Invariant: no shape knows this bucket under a rank worse than the heap's first entry, stale or not. So
        whoever lets go of an empty bucket must find its next item announced: an empty heap starts anew.
        """
        ready = self.counts[READY]
        if ready == 1:
            self.heap.clear()
        key = rank(item)
        heappush(self.heap, key)
        if len(self.heap) > 2 * ready + 64:
            self.heap = [key for key in set(self.heap) if self.holds(key) is not None]
            heapify(self.heap)
        return self.heap[0] == key

    def order(self) -> None:
        """Entries were appended to the heap; nobody has looked at it yet."""
        heapify(self.heap)


class Shape:
    """The buckets that one filter may take from."""

    __slots__ = ("best", "filter", "heap", "waiting")

    def __init__(self, wanted: Filter) -> None:
        self.filter = wanted
        self.heap: list[tuple[int, int, Bucket]] = []
        self.best: dict[int, int] = {}
        """id() of a bucket -> the key under which its one valid entry lies in the heap."""
        self.waiting = 0
        """Claims that wait under this shape; such a shape is not evicted."""

    def matches(self, bucket: Bucket) -> bool:
        queues, kinds, teams, labels = self.filter
        return (
            (queues is None or bucket.queue.name in queues)
            and (not kinds or bucket.type in kinds)
            and (not teams or bucket.team in teams)
            and all(label in labels for label in bucket.require)
        )

    def offer(self, bucket: Bucket, key: int) -> None:
        """Put the bucket where ``key`` belongs, unless it already lies at least as far in front."""
        best = self.best.get(id(bucket))
        if best is not None and best <= key:
            return
        self.best[id(bucket)] = key
        heappush(self.heap, (key, id(bucket), bucket))
        if len(self.heap) > 2 * len(self.best) + 64:
            self._rebuild()

    def _rebuild(self) -> None:
        self.heap = [entry for entry in self.heap if self.best.get(entry[1]) == entry[0]]
        heapify(self.heap)

    def first(self) -> tuple[int, Bucket] | None:
        """The best bucket with the rank of its first item; the bucket stays in the heap."""
        heap, best = self.heap, self.best
        while heap:
            key, number, bucket = heap[0]
            if best.get(number) != key:
                heappop(heap)
                continue
            actual = bucket.head()
            if actual == key:
                return key, bucket
            heappop(heap)
            del best[number]
            if actual is not None:
                best[number] = actual
                heappush(heap, (actual, number, bucket))
        return None


class ReadyIndex:
    """All buckets and shapes."""

    bucket_kind = Bucket
    ordered = True
    """Whether there are heaps."""

    def __init__(self) -> None:
        self.scanned = 0
        """Items that were looked at because there is no order to look them up in."""
        self.buckets: dict[Kind, Bucket] = {}
        self.shapes: OrderedDict[Filter, Shape] = OrderedDict()
        self.woken: set[Shape] = set()
        """Shapes that got something better since the claims that wait were last looked at."""
        self.links = 0
        """Pairs of a shape and a bucket that it may take from."""
        self.left: dict[Bucket, None] = {}
        """Buckets that an item has left since it was last looked which are empty."""

    def room_for(self, kind: Kind, drafted: Collection[Kind] = ()) -> bool:
        """Whether there may be an item of this kind, besides those drafted."""
        if kind in self.buckets or kind in drafted or self._room(len(drafted) + 1):
            return True
        self.prune()
        return self._room(len(drafted) + 1)

    def _room(self, more: int) -> bool:
        """Whether there may be so many buckets more."""
        shapes = len(self.shapes)
        few = shapes <= SHAPES_MAX or self.links + more * shapes <= LINKS_MAX
        return few and len(self.buckets) + more <= BUCKETS_MAX

    @property
    def crowded(self) -> bool:
        """Whether claims wait under too many shapes for one more."""
        return len(self.shapes) > SHAPES_MAX and self.links > LINKS_MAX

    def prune(self) -> None:
        """Forget buckets without items."""
        gone = [bucket for bucket in self.left if bucket.empty]
        self.left.clear()
        for bucket in gone:
            del self.buckets[bucket.kind]
            del bucket.queue.buckets[bucket]
            self._unlink(bucket)

    def _unlink(self, bucket: Bucket) -> None:
        """No shape takes from the bucket any more; its entries in their heaps are stale."""
        self.links -= len(bucket.shapes)
        for shape in bucket.shapes:
            shape.best.pop(id(bucket), None)

    def load(self, items: Iterable[Item]) -> None:
        """Take in all that there is, before anybody asked for anything: a third of what moving each would cost."""
        known: dict[Kind, Bucket] = {}
        for item in items:
            kind = (item.queue.name, item.type, item.team, item.require)
            bucket = known.get(kind) or known.setdefault(kind, self.bucket_of(item))
            item.bucket = bucket
            bucket.counts[item.state] += 1
            if item.state == READY:
                bucket.heap.append(item.priority << _PRIORITY_SHIFT | item.id)
        for bucket in self.buckets.values():
            bucket.order()

    def moved(self, item: Item, before: str | None) -> None:
        """The item is new, or left the state ``before``, or changed its place."""
        bucket: Bucket | None = item.bucket
        state = item.state
        if bucket is not None:
            assert before is not None
            bucket.counts[before] -= 1
            if state in ENDED or bucket.queue is not item.queue:
                self.left[bucket] = None
        if state in ENDED:
            item.bucket = None
            return
        if bucket is None or bucket.queue is not item.queue:
            item.bucket = bucket = self.bucket_of(item)
        bucket.counts[state] += 1
        if state == READY and bucket.add(item) and item.queue.offers:
            self._announce(bucket, rank(item))

    def bucket_of(self, item: Item) -> Bucket:
        """Where open items of its kind lie; made, if there is none."""
        queue = item.queue
        kind = (queue.name, item.type, item.team, item.require)
        bucket = self.buckets.get(kind)
        if bucket is None or bucket.queue is not queue:
            if bucket is not None:  # of a queue of that name that was forgotten
                self.left.pop(bucket, None)
                self._unlink(bucket)
            bucket = self.buckets[kind] = self.bucket_kind(queue, *kind[1:])
            queue.buckets[bucket] = None
            bucket.shapes = {shape: None for shape in self.shapes.values() if shape.matches(bucket)}
            self.links += len(bucket.shapes)
        return bucket

    def put_back(self, item: Item) -> None:
        """Put a ready item where it belongs in the heap of its bucket, whatever is there."""
        bucket: Bucket = item.bucket
        heappush(bucket.heap, rank(item))
        if item.queue.offers:
            self._announce(bucket, rank(item))

    def out_of_place(self, shape: Shape) -> list[Bucket]:
        """The buckets that the shape should know and does not, or that lie too far behind; they are put there."""
        found = []
        placed = {(number, key) for key, number, _ in shape.heap}
        for bucket in self.buckets.values():
            matches = shape.matches(bucket)
            key = bucket.head() if matches else None
            best = shape.best.get(id(bucket))
            lost = key is not None and (best is None or best > key or (id(bucket), best) not in placed)
            if lost or (shape in bucket.shapes) is not matches:
                found.append(bucket)
                self.links += matches - (shape in bucket.shapes)
                bucket.shapes.pop(shape, None)
                shape.best.pop(id(bucket), None)
                if matches:
                    bucket.shapes[shape] = None
                    self._enter(shape, bucket)
        return found

    def _announce(self, bucket: Bucket, key: int) -> None:
        for shape in bucket.shapes:
            shape.offer(bucket, key)
            if shape.waiting:
                self.woken.add(shape)

    def offers_changed(self, queue: Queue) -> None:
        """Claims are allowed in the queue again (or no longer, which the heads tell by themselves)."""
        if queue.offers:
            for bucket in queue.buckets:
                key = bucket.head()
                if key is not None:
                    self._announce(bucket, key)

    def shape(self, wanted: Filter) -> Shape:
        """The shape of a filter, made if there is none; the least used one goes when there are too many."""
        shape = self.shapes.get(wanted)
        if shape is not None:
            self.shapes.move_to_end(wanted)
            return shape
        shape = Shape(wanted)
        if len(self.shapes) >= SHAPES_MAX:
            self._evict()
        self.shapes[wanted] = shape
        for bucket in self.buckets.values():
            if shape.matches(bucket):
                self.links += 1
                bucket.shapes[shape] = None
                self._enter(shape, bucket)
        return shape

    def _enter(self, shape: Shape, bucket: Bucket) -> None:
        """The shape is new, and may take from the bucket."""
        key = bucket.head()
        if key is not None:
            shape.offer(bucket, key)

    def _evict(self) -> None:
        for wanted, shape in self.shapes.items():
            if not shape.waiting:
                del self.shapes[wanted]
                self.woken.discard(shape)
                for bucket in self.buckets.values():
                    if shape in bucket.shapes:
                        self.links -= 1
                        del bucket.shapes[shape]
                return

    def first(self, shape: Shape) -> Item | None:
        """The item that a claim of this shape gets next."""
        found = shape.first()
        return None if found is None else found[1].first()


class UnorderedBucket(Bucket):
    """A bucket that counts its items and keeps no order of them."""

    __slots__ = ()

    def _ready(self) -> list[Item]:
        return [item for item in self.queue.items[READY].values() if item.bucket is self]

    def head(self) -> int | None:
        return rank(self.first()) if self.counts[READY] and self.queue.offers else None

    def first(self) -> Item:
        return min(self._ready(), key=rank)

    def add(self, item: Item) -> bool:
        return True

    def order(self) -> None:
        self.heap.clear()


class Scan(ReadyIndex):
    """No index: every claim looks through all ready items of the queues that it may take from.

    It saves the memory and the upkeep of the heaps, and is there to be compared with.
    """

    bucket_kind = UnorderedBucket
    ordered = False

    def _announce(self, bucket: Bucket, key: int) -> None:
        self.woken.update(shape for shape in bucket.shapes if shape.waiting)

    def _enter(self, shape: Shape, bucket: Bucket) -> None:
        pass

    def offers_changed(self, queue: Queue) -> None:
        if queue.offers:
            for bucket in queue.buckets:
                self._announce(bucket, 0)

    def first(self, shape: Shape) -> Item | None:
        best: Item | None = None
        wanted = [bucket for bucket in self.buckets.values() if bucket.counts[READY] and shape in bucket.shapes]
        for queue in {bucket.queue.name: bucket.queue for bucket in wanted}.values():
            if queue.offers:
                self.scanned += len(queue.items[READY])
                for item in queue.items[READY].values():
                    if shape in item.bucket.shapes and (best is None or rank(item) < rank(best)):
                        best = item
        return best
