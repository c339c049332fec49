"""From a request to its answer: the rights, the rule or the look, the events for the round, the reply.

A refusal is an answer too; a request that may wait, waits. What is asked of the daemon itself, not of the queue, is
answered by whoever knows.
"""

from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from swarmshd import events as e
from swarmshd.commands import READS, Batch, Refusal, Request, encode_granted, encode_refusal, encode_result, lacking
from swarmshd.engine.aside import ASIDE
from swarmshd.engine.cache import CACHED, volatile
from swarmshd.engine.client import Client, Delivery
from swarmshd.engine.relaxed import RELAXABLE
from swarmshd.engine.rounds import BATCH_NS, REPLY_MAX, ROUND_BYTES, bounded
from swarmshd.protocol import VERBS
from swarmshd.workqueue.drawing import draws
from swarmshd.workqueue.queue import Watch
from swarmshd.workqueue.waiting import Waiter

if TYPE_CHECKING:
    from swarmshd.engine.engine import Engine

CLAIMS = frozenset(("claim", "claim_new", "lock"))
SWEEPING = frozenset(("cancel", "clear", "evict", "register"))
"""Verbs that may change many items, and say so in a few words."""

LARGE = READS | CLAIMS
"""Verbs whose replies may be long."""


class Deciding:
    """See the module's text; a part of the engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._queue = engine.queue
        self._latest: WeakValueDictionary[bytes, Delivery] = WeakValueDictionary()

    def is_latest(self, delivery: Delivery) -> bool:
        """Whether nobody was told of these claims again, under their key."""
        return delivery.key is None or self._latest.get(delivery.key) is delivery

    def answer(self, client: Client, number: int, request: Request, watches: tuple[Watch, ...], now: int) -> None:
        """Decide it, and reply, or let it wait. ``now`` may be later than the round's moment."""
        deliveries: Sequence[Delivery] = ()
        try:
            if request.verb in ASIDE:
                if self._engine.draining:
                    raise draining()
                self._engine.aside.take(client, number, request, now)
                return
            if request.verb in READS:
                frame = encode_granted(number, self._look(client, request))
            elif isinstance(request.command, Batch):
                check_class(client, "batch")
                result, deliveries = self._each(client, request.command, watches)
                result |= self._engine.durability.told
                frame = encode_result(number, result)
            else:
                result = self._one(client, request, watches[0] if watches else None)
                deliveries = self._delivery(request, result) if request.verb in CLAIMS else ()
                if not self._engine.durability.strict and request.verb not in self._engine.answers:
                    result = result | self._engine.durability.told
                frame = encode_result(number, result)
        except Refusal as refusal:
            if self._engine.draining and request.verb == "wait" and refusal.code == "timeout":
                refusal = draining()
            try:
                waiter = self._queue.park(
                    request, client.actor, watches[0] if watches else None, refusal, (client, number)
                )
            except Refusal as final:
                self._engine.reply(client, encode_refusal(number, final))
            else:
                client.waiting[waiter.number] = waiter
        else:
            self._engine.reply(client, frame, deliveries)

    def _look(self, client: Client, request: Request) -> bytes:
        """The encoded answer to a question, the one that was given before if nothing has changed since."""
        verb = request.verb
        if verb not in CACHED or volatile(request.command) or not self._engine.cache.enabled:
            return bounded(verb, self._one(client, request, None))
        check_class(client, verb)
        now = self._queue.desk.now
        generation = self._queue.tables.position + self._queue.waiters.lock_turns
        body = self._engine.cache.get(request, generation, now)
        if body is None:
            body = bounded(verb, self._one(client, request, None))
            self._engine.cache.keep(request, body, now)
        return body

    def _one(self, client: Client, request: Request, watch: Watch | None) -> Any:
        verb = request.verb
        check_class(client, verb)
        if self._engine.draining and verb not in READS:
            raise draining()
        if verb in self._engine.answers:
            return self._engine.answers[verb](client, request)
        if verb not in READS:
            self._engine.space.admit(verb, self._engine.round)
        if verb in RELAXABLE and request.command.relaxed and self._engine.space.full is None:
            reply = self._engine.relaxed.add(self._queue, client.actor, request)
            if reply is not None:
                return reply
        happened, result = self._queue.execute(request, client.actor, watch)
        if happened:
            actor = client.actor
            entry = e.Entry(actor.uid, actor.pid, request.key, request.minted, happened)
            self._engine.round.add(entry, sweeping=verb in SWEEPING)
            if self._queue.tables.cascade:
                for settled in self._queue.settle():
                    self._engine.round.own(settled)
        return result

    def _each(
        self, client: Client, batch: Batch, watches: tuple[Watch, ...]
    ) -> tuple[dict[str, Any], Sequence[Delivery]]:
        """The commands of a batch one after another, each with a reply of its own."""
        replies: list[list[Any]] = []
        deliveries: list[Delivery] = []
        left = list(reversed(watches))
        size = 0
        numbers, desk, tables = self._engine.numbers, self._queue.desk, self._queue.tables
        scarce = numbers.scarce_for(draws(desk, Request("batch", batch)))
        round_ = self._engine.round
        full = round_.size + ROUND_BYTES
        until = perf_counter_ns() + BATCH_NS
        for request in batch.requests:
            try:
                if isinstance(request, Refusal):
                    raise request
                watch = left.pop() if getattr(request.command, "watch", False) else None  # first: it is for no other
                if perf_counter_ns() >= until:
                    raise Refusal("busy", "the commands before it in its batch took all the time there is for one")
                if scarce and not numbers.covers(draws(desk, request), tables.position):
                    raise Refusal("too_large", "this batch takes more numbers than are ready at a time: send less")
                if round_.size > full:
                    raise Refusal("too_large", f"what this batch changes exceeds {ROUND_BYTES} bytes: send less")
                if size > REPLY_MAX:
                    raise Refusal("too_large", f"the replies to this batch exceed {REPLY_MAX} bytes: send less")
                result = self._one(client, request, watch)
                replies.append([0, result])
                if request.verb in LARGE:
                    size += len(encode_result(0, result))
                if request.verb in CLAIMS:
                    deliveries += self._delivery(request, result)
            except Refusal as refusal:
                replies.append([refusal.code, refusal.wire()])
        round_.commands += max(0, len(batch.requests) - 1)
        return {"replies": replies}, deliveries

    def serve_waiting(self) -> None:
        """Answer those who waited for what has become so, and those whose time is over."""
        queue = self._queue
        if not len(queue.waiters):
            queue.nobody_waits()
            return
        for waiter, happened, result in queue.serve_waiting(grant=self._engine.space.may_claim(self._engine.round)):
            if happened:
                actor = waiter.actor
                request = waiter.request
                self._engine.round.add(e.Entry(actor.uid, actor.pid, request.key, request.minted, happened))
            self._end_wait(waiter, result)
        for waiter, result in queue.overdue():
            self._end_wait(waiter, result)

    def _end_wait(self, waiter: Waiter, result: Any) -> None:
        client, number = waiter.address
        client.waiting.pop(waiter.number, None)
        if isinstance(result, Refusal):
            self._engine.reply(client, encode_refusal(number, result))
        elif waiter.request.verb == "wait":
            self._engine.reply(client, _bounded(number, result))
        else:
            told = result if self._engine.durability.strict else result | self._engine.durability.told
            self._engine.reply(client, encode_result(number, told), self._delivery(waiter.request, result))

    def _delivery(self, request: Request, result: Any) -> tuple[Delivery, ...]:
        """What is to be taken back if the reply cannot arrive.

        An item that was made with its claim is not, when it may be asked for again under its key; nor is what
        its agent held before.
        """
        key = request.key
        if key is not None if request.verb == "claim_new" else getattr(request.command, "resume", False):
            return ()
        claims = [(item["id"], item["fence"]) for item in result.get("items", (result,))]
        delivery = Delivery(claims, key, request.minted)
        if key is not None:
            self._latest[key] = delivery
        return (delivery,)


def _bounded(number: int, result: dict[str, Any]) -> bytes:
    """The frame of the answer to a ``wait``."""
    try:
        return encode_granted(number, bounded("wait", result))
    except Refusal as refusal:
        return encode_refusal(number, refusal)


def check_class(client: Client, verb: str) -> None:
    """Raise Refusal if the client has not the right that the verb needs."""
    if VERBS[verb] not in client.classes:
        raise lacking(verb, client.actor.uid)


def draining() -> Refusal:
    """What every change is told once the daemon stops."""
    return Refusal("draining", "the daemon is stopping; try again")
