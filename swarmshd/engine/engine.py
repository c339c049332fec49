"""The engine: takes commands, decides them, writes their events, and lets replies go when they are durable.

It is a plain synchronous object. Whoever owns the loop calls, with the moment as argument::

    engine.take(client, number, request, watches, size, now)  # for each request that came
    engine.advance(now)                                     # decide what is waiting and what is due
    engine.write()                                          # one frame of the journal
    if engine.sync_due(now):                                # where nothing is relaxed, with each frame
        engine.sync()                                       # one fdatasync, here or in another thread
        engine.durable()                                    # replies leave
    engine.follow(now)                                      # those who watch are told
    engine.next_deadline()                                  # when to call these at the latest

Invariants: only one batch is unsynced at a time. A reply, a read's included, leaves when the position at which
it was decided is durable. (Where durability is relaxed, several batches are, and replies leave when they are written.)
A refused command writes nothing. After a failed write or sync nothing is answered
any more: memory is ahead of the disk then, and the program must end (JournalFailed).
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any

from swarmshd import events as e
from swarmshd.commands import Refusal, Request, encode_refusal
from swarmshd.engine.aside import Aside
from swarmshd.engine.cache import Cache
from swarmshd.engine.client import OWED_MAX, Client, Delivery
from swarmshd.engine.commits import Commits
from swarmshd.engine.deciding import Deciding, check_class, draining
from swarmshd.engine.durability import Durability
from swarmshd.engine.errands import Errand
from swarmshd.engine.health import Health
from swarmshd.engine.inbox import Inbox
from swarmshd.engine.numbers import Numbers
from swarmshd.engine.policy import policy
from swarmshd.engine.rates import Rates
from swarmshd.engine.relaxed import Relaxed
from swarmshd.engine.ring import Ring
from swarmshd.engine.rounds import REPLIES_MAX, ROUND_BYTES, ROUND_NS, Replies, Round
from swarmshd.engine.space import PATIENCE, Space
from swarmshd.engine.stats import SECTIONS
from swarmshd.engine.telling import TELLS
from swarmshd.journal import Journal
from swarmshd.settings import Settings
from swarmshd.workqueue.drawing import draws, far_id
from swarmshd.workqueue.queue import Watch, WorkQueue
from swarmshd.workqueue.rows import rows_size

Answer = Callable[[Client, Request], dict[str, Any]]
"""From who asks, and what, to the result; raises Refusal."""

Section = Callable[[Client], dict[str, Any]]
"""What is told to whoever asks."""


class Engine:
    """See the module's text. ``queue`` serves already; ``journal`` has begun."""

    def __init__(self, journal: Journal, queue: WorkQueue, numbers: Numbers, settings: Settings, ring: Ring) -> None:
        self.journal = journal
        self.queue = queue
        self.numbers = numbers
        self.settings = settings
        self._most_commands = _most_commands(settings)
        self._most_bytes = 0  # of requests, in the round
        self._until = 0  # by the stopwatch: then what is left waits for the next call
        self.draining = False
        self.space = Space(journal, lambda: self.snapshot_size)
        self.fold: dict[str, Any] = {}  # what became of the last one
        self.commits = Commits()
        self.inbox = Inbox()
        self.take = self.inbox.take
        self._deaths: deque[Watch] = deque()
        self.rates = Rates(queue.tables.is_lock)
        self.round = Round(self.rates)
        self._replies = Replies()
        self._replied = 0
        self._reserved: e.BlocksReserved | None = None
        self.relaxed = Relaxed(settings)
        self.cache = Cache(settings)
        self.aside = Aside(queue, ring, check_class)
        self.wake: Callable[[], None] = lambda: None  # has the owner of the loop take a turn
        self.tell: Callable[[], dict[str, Any]] = dict  # what the owner of the loop adds to ``status``
        self.answers: dict[str, Answer] = {verb: partial(tell, self) for verb, tell in TELLS.items()}
        """What is asked of the daemon, not of the queue: the answer to each verb; its owner may add some."""
        self.sections: dict[str, Section] = {name: partial(part, self) for name, part in SECTIONS.items()}
        """The parts of ``stats``; whoever has something to tell adds one."""
        self.health = Health(self)
        self._when_written: list[Callable[[], None]] = []
        self.durability = Durability(settings)
        self.recovery_ms = 0
        self.syncing = False  # another thread has the journal
        self._answered = journal.durable  # up to here replies may leave
        self._deciding = Deciding(self)

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on; what was decided stays as it is."""
        self.settings = settings
        self._most_commands = _most_commands(settings)
        self.queue.desk.policy = policy(settings)
        self.journal.rotate_past(settings.journal_rotation_bytes)
        self.cache.configure(settings)
        self.relaxed.configure(settings, self.queue.desk.now)
        self.durability.configure(settings)

    # -- taking ------------------------------------------------------------------------------------------

    def turn_away(self, client: Client, refusal: Refusal) -> None:
        """What is held back of the client is refused."""
        for _, number, *_ in self.inbox.drop(client):
            self.reply(client, encode_refusal(number, refusal))

    def died(self, watch: Watch) -> None:
        """A watched process is gone."""
        self._deaths.append(watch)

    def gone(self, client: Client) -> None:
        """The client's connection has closed: what it waits for it will not get."""
        for waiter in list(client.waiting.values()):
            self.queue.waiters.remove(waiter)
        client.waiting.clear()
        self.aside.gone(client)
        self.inbox.drop(client)

    def reconsider(self, client: Client) -> None:
        """The client's rights are other ones: what it waits for and may not do any more is refused."""
        for waiter in list(client.waiting.values()):
            waiter.actor = client.actor
            try:
                check_class(client, waiter.request.verb)
            except Refusal as refusal:
                self.queue.waiters.remove(waiter)
                del client.waiting[waiter.number]
                self.reply(client, encode_refusal(waiter.address[1], refusal))
        for number, denied in self.aside.reconsider(client):
            self.reply(client, encode_refusal(number, denied))

    def undelivered(self, deliveries: Sequence[Delivery]) -> None:
        """Nobody learned of these claims: the next :meth:`advance` takes them back."""
        self._replies.lost += deliveries

    # -- deciding ----------------------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        """Decide what has come and what is due, as far as the round has room."""
        queue, inbox, round_ = self.queue, self.inbox, self.round
        tasks = inbox.tasks
        arrived_by = now
        if round_.entries:
            now = round_.time  # a batch keeps one moment, and whoever asks must not be told another
        queue.begin(now)
        self.rates.begin(now)
        round_.time = now
        if not round_.entries:
            round_.commands = round_.size = 0  # what was only read or refused fills no batch
            if self.may_write:
                self.space.find(tasks[0][4] if tasks else 0)
        self._replied = 0
        self._most_bytes = min(ROUND_BYTES, self.space.for_requests())
        self._until = perf_counter_ns() + ROUND_NS
        room = self._has_room()
        if room:
            self._reserve()
            if self._replies.lost:
                self._take_back()
                room = self._has_room()
        if room:
            self._do_what_is_due(now)
        while tasks and self._has_room():
            client, number, request, watches, size, _ = tasks[0]
            if client.owed > OWED_MAX or (inbox.held_back and client in inbox.held_back):
                inbox.hold_back(inbox.pop())
                continue
            needed = draws(queue.desk, request)
            if not self.numbers.covers(needed, queue.tables.position, far_id(request)):
                self._reserve()
                self.durability.hurry()
                break  # until the reservation that this round carries is durable
            inbox.pop()
            round_.commands += 1
            round_.size += size
            self._deciding.answer(client, number, request, watches, arrived_by)
        self._deciding.serve_waiting()
        self._refuse_late(arrived_by)

    def _do_what_is_due(self, now: int) -> None:
        """Deaths, and whatever else happens by itself, as far as there is room for it on the disk."""
        queue, round_ = self.queue, self.round
        limit = self.space.for_itself(self.settings.batch_size)
        while self._deaths and limit:
            watch = self._deaths.popleft()
            for happened in queue.watch_ended(watch):
                round_.own(happened)
            self._refuse_dead(watch)
        due = queue.next_deadline()
        if due is not None and due <= now and (limit or self.space.may_tidy()):
            for happened in queue.run_due(limit):
                round_.own(happened)
        if self.relaxed.due(now):
            self._record_relaxed()

    def follow(self, now: int) -> None:
        """Answer those who watch, if it is time; best while a sync is under way, and others have their replies."""
        for client, number, answer in self.aside.serve(now):
            self.reply(client, answer if isinstance(answer, bytes) else encode_refusal(number, answer))

    def finish(self, errand: Errand, frame: bytes) -> None:
        """An errand has been carried out; this is its answer."""
        if self.aside.errands.over(errand):
            self.reply(errand.client, frame)
            self.wake()

    def _has_room(self) -> bool:
        round_ = self.round
        return (
            round_.commands < self._most_commands
            and round_.size < self._most_bytes
            and (perf_counter_ns() < self._until or not round_.commands)
            and self._replied + self._replies.bytes < REPLIES_MAX
            and (self.space.full is None or self.space.for_round(round_))
        )

    def _reserve(self) -> None:
        tables = self.queue.tables
        reserved = self.numbers.reservation(tables.position, tables)
        if reserved is not None:
            self.round.own(self.queue.record(reserved))
            self._reserved = reserved

    def _record_relaxed(self) -> None:
        for actor, happened in self.relaxed.execute(self.queue):
            self.round.add(e.Entry(actor.uid, actor.pid, None, minted=False, events=happened))

    def _take_back(self) -> None:
        """Claims that nobody learned of go back, unless they were told of again under their key meanwhile."""
        for lost in self._replies.lost:
            if self._deciding.is_latest(lost):
                happened = self.queue.take_back(lost.claims, lost.key, lost.minted)
                if happened:
                    self.round.add(e.Entry(None, None, lost.key, lost.minted, happened))
        self._replies.lost = []

    def _refuse_dead(self, watch: Watch) -> None:
        """A process died before the request that wants it watched could be granted."""
        refusal = Refusal("bad_request", "the process to watch has exited already")
        for waiter in self.queue.waiters.all():
            if waiter.watch == watch:
                client, number = waiter.address
                self.queue.waiters.remove(waiter)
                client.waiting.pop(waiter.number, None)
                self.reply(client, encode_refusal(number, refusal))
        for client, number, *_ in self.inbox.asking_for(watch):
            self.reply(client, encode_refusal(number, refusal))

    def _refuse_late(self, now: int) -> None:
        """Commands that could not be decided in time: nothing has happened, and they are told so."""
        for client, number, request, *_ in self.inbox.came_before(now - self.settings.batch_timeout):
            late = Refusal("commit_timeout", f"{request.verb}: no commit began within BATCH_TIMEOUT; nothing happened")
            self.reply(client, encode_refusal(number, late))
            self.commits.timeouts += 1

    def reply(self, client: Client, frame: bytes, deliveries: Sequence[Delivery] = ()) -> None:
        position = self.queue.tables.position
        client.owed += len(frame)
        self._replied += len(frame)
        if position <= self._answered and not len(self._replies):
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
            self.reply(client, encode_refusal(number, draining()))
        for client, number in self.aside.dismiss():
            self.reply(client, encode_refusal(number, draining()))

    @property
    def snapshot_size(self) -> int:
        """Bytes that a snapshot of the state will take, about."""
        return rows_size(self.queue.tables)

    def watches_in_use(self) -> set[Watch]:
        """The processes that a claim, an agent, or a request not decided yet stands on."""
        return self.inbox.watches() | self.queue.watches()

    @property
    def idle(self) -> bool:
        """Whether everything that came has been decided, written and answered."""
        return not (self.inbox.tasks or self.round.entries or self.unsynced or len(self._replies))

    @property
    def unsynced(self) -> bool:
        """Whether a batch was written and is not known to be durable."""
        return self.journal.durable < self.journal.end

    @property
    def may_write(self) -> bool:
        """Whether the next batch may be written, and room be made for it."""
        return not self.syncing and not (self.unsynced and self.durability.strict)

    # -- writing -----------------------------------------------------------------------------------------

    def write(self) -> bool:
        """Write the round as one batch, if there is one and the batch before is durable.

        Returns:
            whether one was written.

        Raises:
            JournalFailed, Full: the program must end, as what was decided cannot be taken back.
        """
        round_ = self.round
        if not round_.entries or not self.may_write:
            return False
        body = e.encode_batch(round_.time, round_.entries)
        self.aside.following.written(self.journal.end, round_.events, round_.time, round_.entries, body)
        self.journal.append(body, round_.events)
        self.commits.written(round_.commands, round_.events, len(body), self._why_closed(round_))
        self.durability.written(round_.time, len(body))
        self.round = Round(self.rates)
        assert self.journal.end == self.queue.tables.position
        for act in self._when_written:
            act()
        self._when_written.clear()
        if not self.durability.strict:
            self._release(self.journal.end)
        return True

    def _release(self, position: int) -> None:
        """What was decided up to there may be told."""
        self._answered = position
        self.aside.following.durable(self.settings.watch_ring)
        self._replies.release(position)

    def when_written(self, act: Callable[[], None]) -> None:
        """Call ``act`` at a moment when the state is that of a position at which a batch ends: now, or soon."""
        if self.round.entries:
            self._when_written.append(act)
        else:
            act()

    def _why_closed(self, round_: Round) -> str:
        if not self.inbox.tasks:
            return "drain"
        if round_.commands >= self._most_commands:
            return "size"
        if round_.size >= ROUND_BYTES:
            return "volume"
        return "time" if perf_counter_ns() >= self._until else "room"

    def record(self, happened: list[e.Event]) -> None:
        """Put what the start or the clock brought about into the round; it has been applied already."""
        self.round.time = self.queue.tables.time
        self.rates.begin(self.round.time)
        self.round.own(happened)

    def commit(self) -> None:
        """Write and sync the round, here and now: for start and stop."""
        self.write()
        if self.unsynced:
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
        took = self.commits.last_ns = perf_counter_ns() - began
        self.journal.turn_if_due()
        return took

    @property
    def may_sync_inline(self) -> bool:
        """Whether nothing but this one sync would have to be waited for."""
        return self.durability.strict and not self.inbox.tasks and not self.journal.turn_due

    def sync_due(self, now: int) -> bool:
        """Whether what was written is to be synced now; a full segment has to be, before it is sealed."""
        return self.durability.due(now) or (self.unsynced and self.journal.turn_due)

    def durable(self) -> None:
        """The sync has returned: let the replies go."""
        self.journal.mark_durable()
        self.commits.synced(self.queue.desk.now)
        self.durability.synced(self.queue.desk.now)
        if self._reserved is not None:
            self.numbers.granted(self._reserved)
            self._reserved = None
        self._release(self.journal.durable)

    @property
    def has_round(self) -> bool:
        """Whether something has been decided that is not written yet."""
        return bool(self.round.entries)

    @property
    def waiting_to_decide(self) -> bool:
        """Whether requests have come that the round had no room for."""
        return bool(self.inbox.tasks)

    def next_deadline(self) -> int | None:
        """The instant at which :meth:`advance` or :meth:`follow` has something to do by itself."""
        due = self.relaxed.earlier(self.queue.next_deadline())
        if due is not None and self.space.waiting:
            due = self.queue.desk.now + PATIENCE
        to_sync = None if self.syncing else self.durability.deadline()
        found = (due, self.aside.following.next_deadline(), to_sync)
        return min((each for each in found if each is not None), default=None)


def _most_commands(settings: Settings) -> int:
    """How many commands one batch may hold."""
    return settings.batch_size if settings.batch_mode else 1
