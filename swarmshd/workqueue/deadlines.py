"""When something happens by itself: scheduled items come due, claims end, living holders go silent.

One heap of instants, corrected lazily: an entry whose item has moved on is dropped when it comes to the top,
and a claim whose lease was renewed is put back under its new end. A renewal therefore costs nothing here. The
heap is rebuilt when stale entries outnumber the live ones.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from swarmshd.workqueue.records import CLAIMED, SCHEDULED, Claim, Item


class Deadlines:
    """The instants of all scheduled and claimed items."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._items: dict[int, tuple[int, Item]] = {}
        """Item id -> (instant of its one live entry, item)."""

    def set(self, item: Item) -> None:
        """The item was scheduled or claimed, or its deadline became another."""
        at = instant(item)
        held = self._items.get(item.id)
        if held is not None and held[0] <= at:
            return  # the entry surfaces early enough and is put back then
        self._items[item.id] = (at, item)
        heappush(self._heap, (at, item.id))
        if len(self._heap) > 2 * len(self._items) + 1000:
            self._rebuild()

    def drop(self, item: Item) -> None:
        """Nothing will happen to the item by itself any more."""
        self._items.pop(item.id, None)

    def reset(self) -> None:
        """All instants are other ones: the clock shifted."""
        self._items = {number: (instant(item), item) for number, (_, item) in self._items.items()}
        self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [(at, number) for number, (at, _) in self._items.items()]
        heapify(self._heap)

    def lacks(self, item: Item) -> bool:
        """Whether the item would be looked at too late, or never."""
        held = self._items.get(item.id)
        return held is None or held[1] is not item or held[0] > instant(item)

    def copies(self) -> tuple[dict[int, tuple[int, Item]], list[tuple[int, int]]]:
        """The instants of this moment by the item, and the heap."""
        return dict(self._items), list(self._heap)

    def still(self, item: Item, at: int) -> bool:
        """Whether the item is to be looked at at that instant."""
        return self._items.get(item.id) == (at, item)

    def put_back(self, item: Item) -> None:
        """Set the item's instant, whatever is there."""
        self._items.pop(item.id, None)
        self.set(item)

    def next(self) -> int | None:
        """The first instant at which something may be due."""
        heap, items = self._heap, self._items
        while heap:
            at, number = heap[0]
            held = items.get(number)
            if held is None or held[0] != at:
                heappop(heap)
                continue
            actual = instant(held[1])
            if actual == at:
                return at
            heappop(heap)
            items[number] = (actual, held[1])
            heappush(heap, (actual, number))
        return None

    def due(self, now: int, limit: int) -> Iterator[Item]:
        """At most ``limit`` items whose instant has come, earliest first; each is yielded once and dropped.

        Whoever takes one acts on it, and the act sets its next instant, if it has one.
        """
        for _ in range(limit):
            at = self.next()
            if at is None or at > now:
                return
            _, number = heappop(self._heap)
            yield self._items.pop(number)[1]


def instant(item: Item) -> int:
    """When the item must be looked at."""
    if item.state == SCHEDULED:
        assert item.due_at is not None
        return item.due_at
    assert item.state == CLAIMED
    assert item.claim is not None
    return claim_instant(item.claim)


def claim_instant(claim: Claim) -> int:
    """When the claim ends, or, under a watch, when half of its time without a word is over."""
    if claim.watch is not None and not claim.stalled:
        half = claim.seen + (claim.until - claim.seen) // 2
        return half if claim.runtime_until is None or half < claim.runtime_until else claim.runtime_until
    return claim.deadline
