"""The round: what has been decided and is not written yet, and the replies that wait for a position.

One round is one journal batch: one frame, one checksum, one write, one sync. While the batch before it is
being synced the next round gathers; it is closed when it holds as many commands, or as many bytes of
requests, as one batch may.
"""

from collections import deque
from typing import Protocol

from swarmshd import events as e

ROUND_BYTES = 4 << 20
"""Bytes of requests after which a round takes no further command; a batch stays well below a frame's bound."""


class Receiver(Protocol):
    """Whoever gets a reply."""

    def send(self, frame: bytes) -> None:
        """Take the frame of a reply; never blocks."""


class Round:
    """What has been decided since the last write."""

    __slots__ = ("commands", "entries", "events", "size", "time")

    def __init__(self) -> None:
        self.time = 0
        self.entries: list[list[object]] = []
        self.events = 0
        self.commands = 0
        self.size = 0

    def add(self, entry: e.Entry) -> None:
        self.entries.append(e.encode_entry(entry))
        self.events += len(entry.events)

    def own(self, happened: list[e.Event]) -> None:
        """Something the daemon did by itself."""
        self.add(e.Entry(None, None, None, minted=False, events=happened))


class Replies:
    """Replies in the order of the positions at which they were decided."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Receiver, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, position: int, receiver: Receiver, frame: bytes) -> None:
        self._waiting.append((position, receiver, frame))

    def release(self, durable: int) -> None:
        """Send what was decided at or before the durable position."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= durable:
            _, receiver, frame = waiting.popleft()
            receiver.send(frame)
