"""The batches that were written last, as they went into the journal, for those who follow the events.

They are kept encoded, since mostly nobody follows; what somebody wants is decoded when it is wanted. So a batch
costs an append here, and the memory of its bytes, which is bounded. While somebody follows, the newest ones may be
given with their events, which are at hand when they are written.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from swarmshd import events as e
from swarmshd.told import Happened

OVERHEAD = 200
"""Bytes that a batch is counted with beyond its own."""

DECODED_MAX = 1 << 20
"""Bytes of batches whose events stay at hand, besides those of the last one: several want them in turn."""

Batch = tuple[int, Sequence[Happened]]
"""The time of a batch, and its events in order."""


class Ring:
    """Batches in order of position, at most ``limit`` bytes of them, and always the last one.

    Attributes:
        end: the position after the last batch.
        bytes: what is held.
    """

    __slots__ = ("_bodies", "_decoded", "_decoded_bytes", "_ends", "_head", "_starts", "bytes", "end", "limit")

    def __init__(self, limit: int, position: int = 0) -> None:
        self.limit = limit
        self.end = position
        self.bytes = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._bodies: list[bytes] = []
        self._head = 0
        """Index of the first batch that is still held; those before it are cleared away now and then."""
        self._decoded: dict[int, Batch] = {}
        self._decoded_bytes = 0

    @property
    def first(self) -> int:
        """The position after which all events are here."""
        return self._starts[self._head] if self._head < len(self._starts) else self.end

    def add(self, position: int, count: int, body: bytes) -> None:
        """Take a batch of ``count`` events that begins after ``position``; the oldest ones go."""
        self._starts.append(position)
        self._ends.append(position + count)
        self._bodies.append(body)
        self.end = position + count
        self.bytes += len(body) + OVERHEAD
        while self.bytes > self.limit and self._head + 1 < len(self._starts):
            self.bytes -= len(self._bodies[self._head]) + OVERHEAD
            self._bodies[self._head] = b""
            self._head += 1
        if self._head > 1024 and self._head > len(self._starts) // 2:
            for held in (self._starts, self._ends, self._bodies):
                del held[: self._head]
            self._head = 0

    def knows(self, position: int) -> bool:
        """Whether the position is one that events here follow; those between two epochs were never reached."""
        if position == self.end:
            return True
        at = bisect_right(self._starts, position, self._head) - 1
        return at >= self._head and position <= self._ends[at]

    def keep(self, position: int, size: int, time: int, happened: Iterable[Happened]) -> None:
        """These are the events of the batch that begins after ``position``: they need not be decoded for a while."""
        if self._decoded_bytes + size > DECODED_MAX:
            self._decoded.clear()
            self._decoded_bytes = 0
        self._decoded[position] = time, list(happened)
        self._decoded_bytes += size

    def after(self, position: int, most: int) -> tuple[int, Sequence[Happened], int] | None:
        """At most ``most`` events of one batch after a position that is known here.

        Returns:
            the time of their batch, the events, and the position before the first of them; None if there are none.
        """
        at = max(self._head, bisect_right(self._starts, position, self._head) - 1)
        while at < len(self._starts) and self._ends[at] <= position:
            at += 1
        if at == len(self._starts):
            return None
        start = self._starts[at]
        if start not in self._decoded:
            batch = e.decode_batch(self._bodies[at], start)
            size = len(self._bodies[at])
            self.keep(start, size, batch.time, ((entry.uid, entry.pid, event) for entry, event in e.flatten(batch)))
        time, found = self._decoded[start]
        skipped = max(0, position - start)
        return time, found[skipped : skipped + most], start + skipped
