"""What is answered before it is written, when its caller asks for that: progress, and heartbeats.

``--async`` is checked at once, answered with ``queued``, and recorded together with others: the latest of each
item, after a few seconds at most, at once when there are many, and before the lease ends that it is to renew. A
crash within that time loses it, as the reply has said. Nothing else waits for it: an item that ends meanwhile ends
without it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from attrs import evolve

from swarmshd import events as e
from swarmshd.commands import Actor, Refusal, Request
from swarmshd.commands.values import Name, Note
from swarmshd.commands.work import Heartbeat
from swarmshd.engine.rounds import ROUND_BYTES
from swarmshd.settings import Settings
from swarmshd.workqueue.queue import WorkQueue
from swarmshd.workqueue.records import Item

RELAXABLE = frozenset(("progress", "heartbeat"))
"""The verbs whose command may be ``relaxed``."""

_TEXTS = ("status", "message", "checkpoint")
_REPORTED = ("percent", *_TEXTS)


class _Waiting(NamedTuple):
    """The latest of one item: who sent it, under which claim, and since when something of it waits."""

    actor: Actor
    request: Request
    fence: int
    since: int


class Relaxed:
    """What waits to be recorded, by item, in the order in which it came."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: dict[int, _Waiting] = {}
        self._bytes = 0
        """Of what was said since it was last recorded."""
        self._flush_at: int | None = None
        self.queued = self.coalesced = self.recorded = self.dropped = self.flushes = self.direct = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def configure(self, settings: Settings, now: int) -> None:
        """Go by other settings from now on, for what waits as well."""
        self._settings = settings
        if self._flush_at is not None:
            self._flush_at = min(self._flush_at, now + (self._interval if settings.async_operations else 0))

    @property
    def _interval(self) -> int:
        return min(self._settings.async_flush_interval, self._settings.batch_flush_interval)

    def add(self, queue: WorkQueue, actor: Actor, request: Request) -> dict[str, Any] | None:
        """Check that the sender holds what it speaks of, and keep that; later fields replace earlier ones.

        Returns:
            the reply; None if it is to be recorded as any other, as nothing more may wait.

        Raises:
            Refusal: as the verb itself would.
        """
        room = self._settings.async_buffer_size - len(self._waiting)
        if not self._settings.async_operations or room <= 0:
            self.direct += 1
            return None
        if request.verb == "progress":
            item, reply = queue.reports_on(request.command, actor)
            self._keep(queue.desk.now, item, actor, request)
            return reply | {"queued": True}
        kept, reply = queue.beats_for(request.command, actor)
        if len(kept) > room:
            self.direct += 1
            return None
        for item in kept:
            beat = Heartbeat(agent=request.command.agent, ids=(item.id,), token=request.command.token)
            self._keep(queue.desk.now, item, actor, Request("heartbeat", beat))
        return reply | {"queued": True}

    def _keep(self, now: int, item: Item, actor: Actor, request: Request) -> None:
        claim = item.claim
        assert claim is not None
        self.queued += 1
        command, since = request.command, now
        before = self._waiting.get(item.id)
        if before is not None and before.fence == claim.fence:
            self.coalesced += 1
            since = before.since
            if request.verb == "heartbeat":  # what waits already renews as well
                return
            if before.request.verb == "progress":
                said = before.request.command
                command = evolve(
                    command, **{name: getattr(said, name) for name in _REPORTED if getattr(command, name) is None}
                )
        self._waiting[item.id] = _Waiting(actor, Request(request.verb, command), claim.fence, since)
        if self._flush_at is None:
            self._flush_at = now + self._interval
        self._bytes += sum(len(getattr(request.command, name, None) or "") for name in _TEXTS)
        full = len(self._waiting) >= self._settings.async_buffer_size or self._bytes >= ROUND_BYTES
        if full or claim.deadline <= self._flush_at:
            self._flush_at = now

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
        self._bytes = 0
        self.flushes += bool(waiting)
        beats: dict[tuple[Actor, Name | None, Note | None], list[int]] = {}
        for number, (actor, request, fence, _) in waiting.items():
            item = queue.tables.items.get(number)
            if item is None or item.claim is None or item.claim.fence != fence:
                self.dropped += 1
            elif request.verb == "heartbeat":
                beats.setdefault((actor, request.command.agent, request.command.token), []).append(number)
            else:
                yield from self._record(queue, actor, request, 1)
        for (actor, agent, token), numbers in beats.items():
            beat = Request("heartbeat", Heartbeat(agent=agent, ids=tuple(numbers), token=token))
            yield from self._record(queue, actor, beat, len(numbers))

    def _record(
        self, queue: WorkQueue, actor: Actor, request: Request, items: int
    ) -> Iterator[tuple[Actor, list[e.Event]]]:
        try:
            happened, _ = queue.execute(request, actor)
        except Refusal:
            self.dropped += items
            return
        self.recorded += items
        if happened:
            yield actor, happened

    def oldest_ms(self, now: int) -> int:
        """How long that has waited which has waited longest."""
        return now - min((each.since for each in self._waiting.values()), default=now)

    def tell(self, now: int) -> dict[str, Any]:
        """Its part of ``stats``."""
        return {
            "enabled": self._settings.async_operations,
            "depth": len(self._waiting),
            "limit": self._settings.async_buffer_size,
            "oldest_ms": self.oldest_ms(now),
            "flush_after_ms": self._interval,
            "queued": self.queued,
            "coalesced": self.coalesced,
            "recorded": self.recorded,
            "dropped": self.dropped,
            "flushes": self.flushes,
            "direct": self.direct,
        }
