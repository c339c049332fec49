"""Progress that is answered before it is written: the one change that a caller may ask to be relaxed.

``progress --async`` is checked at once, answered with ``queued``, and recorded together with others: the
latest of each item, after five seconds at most, or when there are many. A crash within that time loses it, as
the reply has said. Nothing else waits for it: an item that ends meanwhile ends without it.
"""

from collections.abc import Iterator
from typing import Any

from attrs import evolve

from swarmshd import events as e
from swarmshd.commands import Actor, Refusal, Request
from swarmshd.workqueue.queue import WorkQueue

MOST = 1000
"""Items whose progress may wait."""

FLUSH_AFTER = 5000
"""Milliseconds that the first of them waits at most."""

_REPORTED = ("percent", "status", "message", "checkpoint")


class Relaxed:
    """What waits to be recorded."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Actor, Request]] = {}
        self._flush_at: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, queue: WorkQueue, actor: Actor, request: Request) -> dict[str, Any]:
        """Check that the sender holds the item, and keep what it reports; later fields replace earlier ones.

        Raises:
            Refusal: as ``progress`` itself would.
        """
        reply = queue.held_by(request.command, actor)
        number = reply["id"]
        command = request.command
        before = self._waiting.get(number)
        if before is not None:
            kept = {name: getattr(before[1].command, name) for name in _REPORTED if getattr(command, name) is None}
            command = evolve(command, **kept)
        self._waiting[number] = (actor, Request("progress", command))
        if self._flush_at is None:
            self._flush_at = queue.desk.now + FLUSH_AFTER
        if len(self._waiting) >= MOST:
            self._flush_at = queue.desk.now
        return reply | {"queued": True}

    def due(self, now: int) -> bool:
        return self._flush_at is not None and self._flush_at <= now

    def earlier(self, due: int | None) -> int | None:
        """The earlier of an instant and the one at which something is due here."""
        if self._flush_at is None or (due is not None and due < self._flush_at):
            return due
        return self._flush_at

    def execute(self, queue: WorkQueue) -> Iterator[tuple[Actor, list[e.Event]]]:
        """Decide and apply all that waits, and give the events; what its sender holds no more is dropped."""
        waiting, self._waiting = self._waiting, {}
        self._flush_at = None
        for actor, request in waiting.values():
            try:
                happened, _ = queue.execute(request, actor)
            except Refusal:
                continue
            if happened:
                yield actor, happened
