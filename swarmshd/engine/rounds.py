"""The round: what has been decided and is not written yet, and the replies that wait for a position.

One round is one journal batch: one frame, one checksum, one write, one sync. While the batch before it is
being synced the next round gathers; it is closed when it holds as many commands, or as many bytes of
requests, as one batch may.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from swarmshd import events as e
from swarmshd.commands import Refusal, encode_body
from swarmshd.engine.client import Client, Delivery
from swarmshd.engine.rates import Rates

ROUND_BYTES = 4 << 20
"""Bytes of requests, and of what changes many items, after which a round takes no further command; a batch stays well
below a frame's bound."""

MANY = 64
"""What the daemon does by itself is weighed if it is more than so many events."""

ROUND_NS = 250_000_000
"""Nanoseconds of deciding after which a round takes no further command: deaths, and whoever else came, wait."""

BATCH_NS = 5_000_000_000
"""Nanoseconds after which the rest of a batch is refused: nobody else is served while it is decided."""

REPLY_MAX = 4 << 20
"""Bytes of one reply to a question; what is longer is cut where it says so, or refused."""

REPLIES_MAX = 64 << 20
"""Bytes of replies that wait for a sync, or that one call decided, above which nothing more is decided."""


class Round:
    """What has been decided since the last write."""

    __slots__ = ("_weighed", "_weight", "commands", "entries", "events", "rates", "size", "time")

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.time = 0
        self.entries: list[list[object]] = []
        self.events = 0
        self.commands = 0
        self.size = 0
        self._weighed = self._weight = 0

    @property
    def weight(self) -> int:
        """Bytes that the round will take in the journal. It encodes all once more: for when each of them counts."""
        fresh = self.entries[self._weighed :]
        if fresh:
            self._weight += len(e.encode_batch(self.time, fresh))
            self._weighed = len(self.entries)
        return self._weight

    def add(self, entry: e.Entry, *, sweeping: bool = False) -> None:
        """Take what one command brought about; ``sweeping`` if that may be far larger than its request."""
        row = e.encode_entry(entry)
        self.entries.append(row)
        self.events += len(entry.events)
        if sweeping:
            self.size += len(e.encode_batch(self.time, [row]))
        self.rates.count(entry.events)

    def own(self, happened: list[e.Event]) -> None:
        """Something the daemon did by itself."""
        self.add(e.Entry(None, None, None, minted=False, events=happened), sweeping=len(happened) > MANY)


class Replies:
    """Replies in the order of the positions at which they were decided."""

    __slots__ = ("_waiting", "bytes", "lost")

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Client, bytes, Sequence[Delivery]]] = deque()
        self.bytes = 0
        self.lost: list[Delivery] = []
        """Claims whose connection was closed before they could be told of."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, position: int, client: Client, frame: bytes, deliveries: Sequence[Delivery]) -> None:
        self._waiting.append((position, client, frame, deliveries))
        self.bytes += len(frame)

    def release(self, durable: int) -> None:
        """Send what was decided at or before the durable position."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= durable:
            _, client, frame, deliveries = waiting.popleft()
            self.bytes -= len(frame)
            if deliveries and client.closing:
                self.lost += deliveries
            else:
                client.send(frame, deliveries)


def bounded(verb: str, result: dict[str, Any]) -> bytes:
    """The encoded answer to a question; a list that is too long is cut, and says so with ``more``.

    Raises:
        Refusal: ``too_large``; there is nothing to cut.
    """
    while True:
        body = encode_body(result)
        if len(body) <= REPLY_MAX:
            return body
        rows = "ended" if "ended" in result else "items"
        cut = result.get(rows, ())[: len(result.get(rows, ())) // 2]
        if not cut:
            text = f"{verb}: the reply has {len(body)} bytes; the limit is {REPLY_MAX}; ask for less"
            raise Refusal("too_large", text, limit=REPLY_MAX, name="reply")
        result = result | {rows: cut}
        if rows == "items":
            result["more"] = True
        if "after_id" in result:
            result["after_id"] = cut[-1]["id"]
