"""The engine: takes commands, decides them, writes their events, and lets replies go when they are durable.

It is a plain synchronous object. Whoever owns the loop calls, with the moment as argument::

    engine.take(client, number, request, watches, size)     # for each request that came
    engine.advance(now)                                     # decide what is waiting and what is due
    if engine.write():                                      # one frame of the journal
        engine.sync()                                       # one fdatasync, here or in another thread
        engine.durable()                                    # replies leave
    engine.follow(now)                                      # those who watch are told
    engine.next_deadline()                                  # when to call these at the latest

Invariants: only one batch is unsynced at a time. A reply, a read's included, leaves when the position at which
it was decided is durable. A refused command writes nothing. After a failed write or sync nothing is answered
any more: memory is ahead of the disk then, and the program must end (JournalFailed).
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any
from weakref import WeakValueDictionary

from swarmshd import events as e
from swarmshd.commands import READS, Batch, Refusal, Request, encode_refusal, encode_result
from swarmshd.engine.aside import ASIDE, Aside
from swarmshd.engine.client import OWED_MAX, Client, Delivery
from swarmshd.engine.errands import Errand
from swarmshd.engine.numbers import Numbers
from swarmshd.engine.policy import policy
from swarmshd.engine.rates import Rates
from swarmshd.engine.relaxed import Relaxed
from swarmshd.engine.ring import Ring
from swarmshd.engine.rounds import REPLIES_MAX, REPLY_MAX, ROUND_BYTES, Replies, Round, bounded
from swarmshd.engine.space import PATIENCE, Space
from swarmshd.engine.telling import TELLS
from swarmshd.journal import Journal
from swarmshd.protocol import VERBS
from swarmshd.settings import Settings
from swarmshd.workqueue.queue import Watch, WorkQueue
from swarmshd.workqueue.rows import rows_size
from swarmshd.workqueue.waiting import Waiter

CLAIMS = frozenset(("claim", "claim_new", "lock"))
LARGE = READS | CLAIMS
"""Verbs whose replies may be long."""

Answer = Callable[[Client, Request], dict[str, Any]]
"""From who asks, and what, to the result; raises Refusal."""

Task = tuple[Client, int, Request, tuple[Watch, ...], int, int]
"""Client, number and request, watched processes, bytes, arrival in milliseconds."""


class Engine:
    """See the module's text. ``queue`` serves already; ``journal`` has begun."""

    def __init__(self, journal: Journal, queue: WorkQueue, numbers: Numbers, settings: Settings, ring: Ring) -> None:
        self.journal = journal
        self.queue = queue
        self.numbers = numbers
        self.settings = settings
        self.draining = False
        self.space = Space(journal, lambda: self.snapshot_size)
        self.fold: dict[str, Any] = {}  # what became of the last one
        self.batches = self.syncs = self.sync_ns = 0
        self._inbox: deque[Task] = deque()
        self.inbox_bytes = 0  # of the requests that have come and are not decided yet
        self._deaths: deque[Watch] = deque()
        self.rates = Rates()
        self._round = Round(self.rates)
        self._replies = Replies()
        self._replied = 0
        self.held_back: dict[Client, deque[Task]] = {}  # what is decided when its client has taken its replies
        self._latest: WeakValueDictionary[bytes, Delivery] = WeakValueDictionary()
        self._reserved: e.BlocksReserved | None = None
        self.relaxed = Relaxed()
        self.aside = Aside(queue, ring, _check_class)
        self.wake: Callable[[], None] = lambda: None  # has the owner of the loop take a turn
        self.tell: Callable[[], dict[str, Any]] = dict  # what the owner of the loop adds to ``status``
        self.answers: dict[str, Answer] = {verb: partial(tell, self) for verb, tell in TELLS.items()}
        """What is asked of the daemon, not of the queue: the answer to each verb; its owner may add some."""
        self.unsynced = False  # a batch has been written and not been synced yet

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on; what was decided stays as it is."""
        self.settings = settings
        self.queue.desk.policy = policy(settings)
        self.journal.rotate_past(settings.journal_rotation_bytes)

    # -- taking ------------------------------------------------------------------------------------------

    def take(
        self, client: Client, number: int, request: Request, watches: tuple[Watch, ...], size: int, now: int
    ) -> None:
        """A request came. It is decided by the next :meth:`advance` that has room for it."""
        self._inbox.append((client, number, request, watches, size, now))
        self.inbox_bytes += size

    def died(self, watch: Watch) -> None:
        """A watched process is gone."""
        self._deaths.append(watch)

    def gone(self, client: Client) -> None:
        """The client's connection has closed: what it waits for it will not get."""
        for waiter in list(client.waiting.values()):
            self.queue.waiters.remove(waiter)
        client.waiting.clear()
        self.aside.gone(client)
        self.held_back.pop(client, None)

    def reconsider(self, client: Client) -> None:
        """The client's rights are other ones: what it waits for and may not do any more is refused."""
        for waiter in list(client.waiting.values()):
            waiter.actor = client.actor
            try:
                _check_class(client, waiter.request.verb)
            except Refusal as refusal:
                self.queue.waiters.remove(waiter)
                del client.waiting[waiter.number]
                self._reply(client, encode_refusal(waiter.address[1], refusal))
        for number, denied in self.aside.reconsider(client):
            self._reply(client, encode_refusal(number, denied))

    def undelivered(self, deliveries: Sequence[Delivery]) -> None:
        """Nobody learned of these claims: the next :meth:`advance` takes them back."""
        self._replies.lost += deliveries

    def resume(self, client: Client, now: int) -> None:
        """The client has taken its replies: what was held back is decided next."""
        for _, number, request, watches, size, _ in self.held_back.pop(client, ()):
            self.take(client, number, request, watches, size, now)

    # -- deciding ----------------------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        """Decide what has come and what is due, as far as the round has room."""
        queue, inbox, round_ = self.queue, self._inbox, self._round
        arrived_by = now
        if round_.entries:
            now = round_.time  # a batch keeps one moment, and whoever asks must not be told another
        queue.begin(now)
        self.rates.begin(now)
        round_.time = now
        if not round_.entries:
            round_.commands = round_.size = 0  # what was only read or refused fills no batch
            if not self.unsynced:
                self.space.find(self.inbox_bytes, inbox[0][4] if inbox else 0)
        self._replied = 0
        if self._has_room():
            self._reserve()
            self._take_back()
        if self._has_room():
            limit = self.space.for_itself(self.settings.batch_size)
            while self._deaths and limit:
                watch = self._deaths.popleft()
                for happened in queue.watch_ended(watch):
                    round_.own(happened)
                self._refuse_dead(watch)
            due = queue.next_deadline()
            if due is not None and due <= now:
                for happened in queue.run_due(limit):
                    round_.own(happened)
            if self.relaxed.due(now):
                self._record_relaxed()
        while inbox and self._has_room():
            client, number, request, watches, size, _ = inbox[0]
            if client.owed > OWED_MAX or (self.held_back and client in self.held_back):
                self.held_back.setdefault(client, deque()).append(inbox.popleft())
                self.inbox_bytes -= size
                continue
            needed, far_id = queue.numbers_needed(request), queue.far_id(request)
            if not self.numbers.covers(needed, queue.tables.position, far_id):
                self._reserve()
                break  # until the reservation that this round carries is durable
            inbox.popleft()
            self.inbox_bytes -= size
            round_.commands += 1
            round_.size += size
            if request.verb in ASIDE:
                self._set_aside(client, number, request, arrived_by)
            else:
                self._answer(client, number, request, watches)
        self._serve_waiting()
        self._refuse_late(arrived_by)

    def follow(self, now: int) -> None:
        """Answer those who watch, if it is time; best while a sync is under way, and others have their replies."""
        for client, number, answer in self.aside.serve(now):
            self._reply(client, answer if isinstance(answer, bytes) else encode_refusal(number, answer))

    def _has_room(self) -> bool:
        round_ = self._round
        return (
            round_.commands < self.settings.batch_size
            and round_.size < ROUND_BYTES
            and self._replied + self._replies.bytes < REPLIES_MAX
            and self.space.for_round(round_)
        )

    def _reserve(self) -> None:
        tables = self.queue.tables
        reserved = self.numbers.reservation(tables.position, tables)
        if reserved is not None:
            self._round.own(self.queue.record(reserved))
            self._reserved = reserved

    def _record_relaxed(self) -> None:
        for actor, happened in self.relaxed.execute(self.queue):
            self._round.add(e.Entry(actor.uid, actor.pid, None, minted=False, events=happened))

    def _take_back(self) -> None:
        """Claims that nobody learned of go back, unless they were told of again under their key meanwhile."""
        for lost in self._replies.lost:
            if lost.key is None or self._latest.get(lost.key) is lost:
                happened = self.queue.take_back(lost.claims, lost.key, lost.minted)
                if happened:
                    self._round.add(e.Entry(None, None, lost.key, lost.minted, happened))
        self._replies.lost = []

    def _refuse_dead(self, watch: Watch) -> None:
        """A process died before the request that wants it watched could be granted."""
        refusal = Refusal("bad_request", "the process to watch has exited already")
        for waiter in self.queue.waiters.all():
            if waiter.watch == watch:
                client, number = waiter.address
                self.queue.waiters.remove(waiter)
                client.waiting.pop(waiter.number, None)
                self._reply(client, encode_refusal(number, refusal))
        for queued in (self._inbox, *self.held_back.values()):
            for task in [task for task in queued if watch in task[3]]:
                queued.remove(task)
                self.inbox_bytes -= task[4] if queued is self._inbox else 0
                self._reply(task[0], encode_refusal(task[1], refusal))

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

    def _answer(self, client: Client, number: int, request: Request, watches: tuple[Watch, ...]) -> None:
        deliveries: Sequence[Delivery]
        try:
            if isinstance(request.command, Batch):
                _check_class(client, "batch")
                result, deliveries = self._each(client, request.command, watches)
            else:
                result = self._one(client, request, watches[0] if watches else None)
                deliveries = self._delivery(request, result) if request.verb in CLAIMS else ()
        except Refusal as refusal:
            if self.draining and request.verb == "wait" and refusal.code == "timeout":
                refusal = _draining()
            try:
                waiter = self.queue.park(
                    request, client.actor, watches[0] if watches else None, refusal, (client, number)
                )
            except Refusal as final:
                self._reply(client, encode_refusal(number, final))
            else:
                client.waiting[waiter.number] = waiter
        else:
            verb = request.verb
            frame = bounded(number, verb, result) if verb in READS else encode_result(number, result)
            self._reply(client, frame, deliveries)

    def _set_aside(self, client: Client, number: int, request: Request, now: int) -> None:
        try:
            if self.draining:
                raise _draining()
            self.aside.take(client, number, request, now)
        except Refusal as refusal:
            self._reply(client, encode_refusal(number, refusal))

    def finish(self, errand: Errand, frame: bytes) -> None:
        """An errand has been carried out; this is its answer."""
        if self.aside.errands.over(errand):
            self._reply(errand.client, frame)
            self.wake()

    def _one(self, client: Client, request: Request, watch: Watch | None) -> Any:
        verb = request.verb
        _check_class(client, verb)
        if self.draining and verb not in READS:
            raise _draining()
        if verb in self.answers:
            return self.answers[verb](client, request)
        if verb not in READS:
            self.space.admit(verb, self._round)
        if verb == "progress" and request.command.relaxed:
            return self.relaxed.add(self.queue, client.actor, request)
        happened, result = self.queue.execute(request, client.actor, watch)
        if happened:
            actor = client.actor
            self._round.add(e.Entry(actor.uid, actor.pid, request.key, request.minted, happened))
            if self.queue.tables.cascade:
                for settled in self.queue.settle():
                    self._round.own(settled)
        return result

    def _each(
        self, client: Client, batch: Batch, watches: tuple[Watch, ...]
    ) -> tuple[dict[str, Any], Sequence[Delivery]]:
        """The commands of a batch one after another, each with a reply of its own."""
        replies: list[list[Any]] = []
        deliveries: list[Delivery] = []
        left = list(reversed(watches))
        size = 0
        for request in batch.requests:
            try:
                if isinstance(request, Refusal):
                    raise request
                watch = left.pop() if getattr(request.command, "watch", False) else None
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
        self._round.commands += max(0, len(batch.requests) - 1)
        return {"replies": replies}, deliveries

    def _serve_waiting(self) -> None:
        queue = self.queue
        if not len(queue.waiters):
            queue.nobody_waits()
            return
        for waiter, happened, result in queue.serve_waiting():
            if happened:
                actor = waiter.actor
                request = waiter.request
                self._round.add(e.Entry(actor.uid, actor.pid, request.key, request.minted, happened))
            self._end_wait(waiter, result)
        for waiter, result in queue.overdue():
            self._end_wait(waiter, result)

    def _end_wait(self, waiter: Waiter, result: Any) -> None:
        client, number = waiter.address
        client.waiting.pop(waiter.number, None)
        if isinstance(result, Refusal):
            self._reply(client, encode_refusal(number, result))
        elif waiter.request.verb == "wait":
            self._reply(client, bounded(number, "wait", result))
        else:
            self._reply(client, encode_result(number, result), self._delivery(waiter.request, result))

    def _refuse_late(self, now: int) -> None:
        """Commands that could not be decided in time: nothing has happened, and they are told so."""
        limit = now - self.settings.batch_timeout
        while self._inbox and self._inbox[0][5] < limit:
            client, number, request, _, size, _ = self._inbox.popleft()
            self.inbox_bytes -= size
            late = Refusal("commit_timeout", f"{request.verb}: no commit began within BATCH_TIMEOUT; nothing happened")
            self._reply(client, encode_refusal(number, late))

    def _reply(self, client: Client, frame: bytes, deliveries: Sequence[Delivery] = ()) -> None:
        position = self.queue.tables.position
        client.owed += len(frame)
        self._replied += len(frame)
        if position <= self.journal.durable and not len(self._replies):
            client.send(frame, deliveries)
        else:
            self._replies.add(position, client, frame, deliveries)

    def drain(self) -> None:
        """The daemon stops: changes are refused from now on, and those who wait are sent away."""
        self.draining = True
        for waiter in self.queue.waiters.all():
            client, number = waiter.address
            self.queue.waiters.remove(waiter)
            client.waiting.pop(waiter.number, None)
            self._reply(client, encode_refusal(number, _draining()))
        for client, number in self.aside.dismiss():
            self._reply(client, encode_refusal(number, _draining()))

    @property
    def snapshot_size(self) -> int:
        """Bytes that a snapshot of the state will take, about."""
        return rows_size(self.queue.tables)

    def watches_in_use(self) -> set[Watch]:
        """The processes that a claim, an agent, or a request not decided yet stands on."""
        used = {watch for queued in (self._inbox, *self.held_back.values()) for task in queued for watch in task[3]}
        return used | self.queue.watches()

    @property
    def idle(self) -> bool:
        """Whether everything that came has been decided, written and answered."""
        return not (self._inbox or self._round.entries or self.unsynced or len(self._replies))

    # -- writing -----------------------------------------------------------------------------------------

    def write(self) -> bool:
        """Write the round as one batch, if there is one and the batch before is durable.

        Returns:
            whether a sync is due now.

        Raises:
            JournalFailed, Full: the program must end, as what was decided cannot be taken back.
        """
        round_ = self._round
        if self.unsynced or not round_.entries:
            return False
        body = e.encode_batch(round_.time, round_.entries)
        self.aside.following.written(self.journal.end, round_.events, round_.time, round_.entries, body)
        self.journal.append(body, round_.events)
        self._round = Round(self.rates)
        self.batches += 1
        self.unsynced = True
        assert self.journal.end == self.queue.tables.position
        return True

    def record(self, happened: list[e.Event]) -> None:
        """Put what the start or the clock brought about into the round; it has been applied already."""
        self._round.time = self.queue.tables.time
        self.rates.begin(self._round.time)
        self._round.own(happened)

    def commit(self) -> None:
        """Write and sync the round, here and now: for start and stop."""
        if self.write():
            self.sync()
            self.durable()

    def close(self, now: int) -> None:
        """Stop in good order: nothing is left undecided, and the next start knows when this was."""
        self.queue.begin(now)
        self._record_relaxed()
        self.record(self.queue.record(e.EpochEnded()))
        self.commit()
        self.journal.close()

    def shift_clock(self, now: int, gap: int) -> None:
        """The wall clock is ``gap`` ms ahead of where time had come to: take it up, and let no lease pay for it."""
        self.queue.begin(now)
        self.record(self.queue.record(e.ClockShifted(gap)))
        self.aside.following.shift(gap)

    def sync(self) -> int:
        """Make the written batch durable; blocks. May run in another thread. Returns how long it took, in ns.

        Raises:
            JournalFailed: the program must end.
        """
        began = perf_counter_ns()
        self.journal.sync()
        self.sync_ns = perf_counter_ns() - began
        self.syncs += 1
        return self.sync_ns

    def durable(self) -> None:
        """The sync has returned: let the replies go."""
        self.journal.mark_durable()
        self.unsynced = False
        self.aside.following.durable(self.settings.watch_ring)
        if self._reserved is not None:
            self.numbers.granted(self._reserved)
            self._reserved = None
        self._replies.release(self.journal.durable)

    @property
    def has_round(self) -> bool:
        """Whether something has been decided that is not written yet."""
        return bool(self._round.entries)

    @property
    def waiting_to_decide(self) -> bool:
        """Whether requests have come that the round had no room for."""
        return bool(self._inbox)

    def next_deadline(self) -> int | None:
        """The instant at which :meth:`advance` or :meth:`follow` has something to do by itself."""
        due = self.relaxed.earlier(self.queue.next_deadline())
        if due is not None and self.space.waiting:
            due = self.queue.desk.now + PATIENCE
        return min((each for each in (due, self.aside.following.next_deadline()) if each is not None), default=None)


def _check_class(client: Client, verb: str) -> None:
    if VERBS[verb] not in client.classes:
        raise Refusal("denied", f"{verb}: needs the right `{VERBS[verb]}`, which uid {client.actor.uid} has not")


def _draining() -> Refusal:
    return Refusal("draining", "the daemon is stopping; try again")
