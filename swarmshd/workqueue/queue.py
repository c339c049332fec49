"""The work queue as a whole: decide a command, apply its events, answer it; run what is due; serve who waits.

Pure: the moment, the numbers and chance come from the caller, nothing is logged, nothing waits. The caller is
the engine, which writes the events down and lets a reply go only when they are on disk.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import evolve

from swarmshd import events as e
from swarmshd.commands import READS, Actor, Refusal, Request
from swarmshd.commands.looks import Wait
from swarmshd.commands.work import Heartbeat, Progress
from swarmshd.workqueue import (
    answers,
    claiming,
    clearing,
    counting,
    explaining,
    exporting,
    governing,
    holding,
    importing,
    locking,
    looking,
    mending,
    overview,
    submitting,
    timers,
)
from swarmshd.workqueue.deadlines import Deadlines
from swarmshd.workqueue.desk import Desk
from swarmshd.workqueue.mint import Mint
from swarmshd.workqueue.policy import KEY_CHOSEN_KEPT, KEY_MINTED_KEPT, Policy
from swarmshd.workqueue.ready import ReadyIndex, Scan
from swarmshd.workqueue.records import BURIED, CLAIMED, READY, SCHEDULED, SETTLED, Item, Queue
from swarmshd.workqueue.reindexing import Reindexing
from swarmshd.workqueue.tables import Tables
from swarmshd.workqueue.waiting import Waiter, Waiters

Rule = Callable[[Desk, Any], Iterable[e.Event]]
Answer = Callable[[Desk, Any, Any], dict[str, Any]]
Watch = tuple[int, int]
Outcomes = dict[tuple[str | None, bool], dict[str, Any] | Refusal]
"""Of groups whose ``wait`` is over: by the group, and whether any item will do."""

WAITED_MAX = 1_000_000
"""Items that may be waited for, counted once for each that waits; a group is none."""

SWEEP_EVERY = 60_000
"""Milliseconds between looks for agents that nobody misses; when there are many, a second."""

FORGET_MAX = 10_000
"""Items, or keys of a kind, that are forgotten at once: as many as one command can bring."""


CHANGES: dict[str, tuple[Rule, Answer]] = {
    "submit": (submitting.submit_once, answers.submitted),
    "batch": (submitting.submit_all, answers.all_submitted),
    "claim": (claiming.claim, answers.claimed),
    "claim_new": (claiming.claim_new, answers.claimed),
    "lock": (locking.lock, answers.locked),
    "unlock": (locking.unlock, answers.unlocked),
    "heartbeat": (holding.heartbeat, answers.beaten),
    "progress": (holding.progress, answers.reported),
    "hold": (holding.hold, answers.reported),
    "complete": (holding.complete, answers.ended),
    "fail": (holding.fail, answers.failed),
    "release": (holding.release, answers.ended),
    "bury": (holding.bury, answers.ended),
    "kick": (mending.kick, answers.kicked),
    "cancel": (mending.cancel, answers.cancelled),
    "clear": (clearing.clear, clearing.cleared),
    "edit": (mending.edit, answers.ended),
    "register": (governing.register, answers.of_agent),
    "quiet": (governing.quiet, answers.of_agent),
    "wake": (governing.wake, answers.of_agent),
    "evict": (governing.evict, answers.evicted),
    "queue_set": (governing.queue_set, answers.of_queue),
    "pause": (governing.pause, answers.paused),
    "resume": (governing.resume, answers.paused),
    "import": (importing.bring_in, importing.brought_in),
}
LOOKS: dict[str, Callable[[Desk, Any], dict[str, Any]]] = {
    "show": looking.show,
    "list": looking.list_items,
    "count": counting.count,
    "get": looking.get,
    "held": looking.held,
    "agents": looking.agents,
    "queues": looking.queues,
    "export": exporting.export,
    "explain": explaining.explain,
    "wait": looking.wait,
    "dashboard": overview.dashboard,
}

_TIMED = frozenset((SCHEDULED, CLAIMED))
RENEWING = frozenset(("heartbeat", "progress", "import"))
"""Verbs that often change nothing, and whose replies tell how things are now: keeping them would cost a write each."""

_NOTHING: list[e.Event] = []


class WorkQueue:
    """All rules over one state. Call :meth:`serve` once the state has been loaded."""

    def __init__(self, policy: Policy, mint: Mint) -> None:
        self.tables = Tables()
        self.ready = ReadyIndex() if policy.indexed else Scan()
        self.deadlines = Deadlines()
        self.waiters = Waiters()
        self.freed: set[str] = set()  # locks that became free since those who wait for one were last looked at
        self.desk = Desk(self.tables, self.ready, policy, mint, self.waiters)
        self.reindexing: Reindexing | None = None  # whoever goes through the indexes just now
        self._swept = 0

    def serve(self) -> None:
        """Build the indexes over the tables as they are, and keep them from now on."""
        self.tables.listener = self
        self.ready.load(item for item in self.tables.open.values() if not item.is_lock)
        self.freed.update(lock.type for lock in self.tables.locks.values() if lock.state == READY)
        for queue in self.tables.queues.values():
            for state in _TIMED:
                for item in queue.items[state].values():
                    self.deadlines.set(item)
        for queue in self.tables.queues.values():
            for state in (READY, BURIED):  # a snapshot has them by id; they are told of, and kicked, by age
                moments = [item.since for item in queue.items[state].values()]
                if moments != sorted(moments):  # after a journal they often lie right
                    queue.items[state] = dict(sorted(queue.items[state].items(), key=lambda row: row[1].since))
        self.tables.settled.clear()
        overview.remember_buried(self.tables)

    # -- the listener of the tables ----------------------------------------------------------------------

    def item_moved(self, item: Item, before: str | None) -> None:
        bucket = item.bucket
        if before in _TIMED:
            self.deadlines.drop(item)
        state = item.state
        item.queue.entered[state] += state != before
        if not item.is_lock:
            self.ready.moved(item, before)
        elif state == READY:
            self.freed.add(item.type)
        if state in _TIMED:
            self.deadlines.set(item)
        if before == CLAIMED and item.queue.settings.get("limit"):
            self.ready.offers_changed(item.queue)
        if self.reindexing is not None:
            self.reindexing.moved(item, before, bucket)

    def deadline_moved(self, item: Item) -> None:
        self.deadlines.set(item)

    def offers_changed(self, queue: Queue) -> None:
        self.ready.offers_changed(queue)

    def agent_changed(self, name: str) -> None:
        agent = self.tables.agents.get(name)
        labels = () if agent is None else agent.labels
        for waiter in self.waiters.of_agent(name):
            shape = waiter.shape
            if shape is None or shape.filter[3] != labels:
                shape = self.ready.shape(claiming.filter_of(self.desk, waiter.request.command))
            self.waiters.line_up(waiter, shape)
            self.ready.woken.add(shape)
            if self.ready.crowded and shape.waiting == 1:
                self.waiters.hasten(waiter, self.desk.now)

    def everything_moved(self, gap: int) -> None:
        self.deadlines.reset()
        self.waiters.shift(gap)

    # -- commands ----------------------------------------------------------------------------------------

    def begin(self, now: int) -> None:
        """A round begins: this is the moment at which everything in it is decided."""
        self.desk.now = self.tables.time = now

    def execute(self, request: Request, actor: Actor, watch: Watch | None = None) -> tuple[list[e.Event], Any]:
        """Decide one command, apply its events, and answer it.

        Returns:
            The events, which are to be written down as one entry, and the result.

        Raises:
            Refusal: and then nothing has changed.
        """
        desk = self.desk
        desk.actor, desk.watch = actor, watch
        verb, command = request.verb, request.command
        if verb in READS:
            return _NOTHING, LOOKS[verb](desk, command)
        rule, answer = CHANGES[verb]
        key = request.key
        if key is not None:
            kept = self.tables.keys.get(key[:10])
            if kept is not None:
                if kept[0] != key[10:]:
                    raise Refusal("conflict", f"{verb}: this key was used with other content; use another key")
                return _NOTHING, answer(desk, command, kept[1])
        tables = self.tables
        tables.uid, tables.pid = actor.uid, actor.pid
        happened: list[e.Event] = []
        for event in rule(desk, command):
            tables.apply(event)
            happened.append(event)
        if not happened:
            if key is None or verb in RENEWING:
                return _NOTHING, answer(desk, command, None)
            happened.append(e.NothingChanged(answers.unchanged(desk, command)))
            tables.apply(happened[0])
        facts = tables.facts(happened) if key is None else tables.conclude(key, request.minted, happened)
        return happened, answer(desk, command, facts)

    def take_back(self, claims: Iterable[tuple[int, int]], key: bytes | None, minted: bool) -> list[e.Event]:
        """Claims (id, fence) that nobody learned of end, counted as nothing; the same request gets others.

        The events are to be written down as one entry under the key.
        """
        tables = self.tables
        happened: list[e.Event] = []
        for number, fence in claims:
            item = tables.items.get(number)
            if item is not None and item.claim is not None and item.claim.fence == fence:
                happened.append(e.ItemReturned(number, e.UNDELIVERED))
        self._apply_all(happened)
        if happened and key is not None:
            tables.conclude(key, minted, happened)
        return happened

    def reports_on(self, command: Progress, actor: Actor) -> tuple[Item, dict[str, Any]]:
        """The item that the sender of a progress holds, which is to be recorded later, and the reply to it.

        Raises:
            Refusal: as ``progress`` itself would.
        """
        self.desk.actor, self.desk.watch = actor, None
        item = holding.check_progress(self.desk, command)
        return item, {"id": item.id, "fenced": holding.fenced_by(command)}

    def beats_for(self, command: Heartbeat, actor: Actor) -> tuple[list[Item], dict[str, Any]]:
        """The items that the sender of a heartbeat holds, whose leases are to be renewed later, and the reply to it.

        Raises:
            Refusal: as ``heartbeat`` itself would.
        """
        self.desk.actor, self.desk.watch = actor, None
        return holding.beat(self.desk, command), answers.beaten(self.desk, command, None)

    def reindex(self) -> Reindexing:
        """Go through all indexes, and put right what differs."""
        return Reindexing(self)

    # -- what happens by itself --------------------------------------------------------------------------

    def _apply_all(self, happened: list[e.Event]) -> list[e.Event]:
        self.tables.uid = self.tables.pid = None
        for event in happened:
            self.tables.apply(event)
        return happened

    def run_due(self, limit: int) -> Iterator[list[e.Event]]:
        """Apply and give, entry by entry, what has come due; of at most about so many items, but all housekeeping."""
        for happened in timers.run_due(self.desk, self.deadlines, limit):
            yield self._apply_all(happened)
        yield from self.settle()
        if happened := governing.pauses_over(self.desk, limit):
            yield self._apply_all(happened)
        if self._housekeeping_due() <= self.desk.now:
            for tidy in (timers.forget, timers.forget_keys):
                happened = tidy(self.desk, FORGET_MAX)
                if happened:
                    yield self._apply_all(happened)
            if self._sweep_due() <= self.desk.now:
                self._swept = self.desk.now
                for happened in (timers.forget_agents(self.desk), locking.forget_locks(self.desk)):
                    if happened:
                        yield self._apply_all(happened)

    def settle(self) -> Iterator[list[e.Event]]:
        """Apply and give the fates of dependants of what failed."""
        if self.tables.cascade:
            for happened in timers.settle(self.desk, self.desk.policy.batch_size):
                yield self._apply_all(happened)

    def watch_ended(self, watch: Watch, *, watched: bool = True) -> Iterator[list[e.Event]]:
        """A watched process died; or, not ``watched``, is found to have died while nobody looked."""
        while watch in self.tables.watched or watch in self.tables.watchers:
            cause = e.CRASHED if watched else e.OUTAGE
            yield self._apply_all(timers.watch_ended(self.desk, watch, cause, self.desk.policy.batch_size))

    def watches(self) -> set[Watch]:
        """The processes that some claim, waiting claim or agent stands on."""
        found = set(self.tables.watched)
        found.update(self.tables.watchers)
        found.update(waiter.watch for waiter in self.waiters.all() if waiter.watch is not None)
        return found

    def watch_unproven(self, watch: Watch) -> list[e.Event]:
        """Whether a watched process lives cannot be told any more."""
        return self._apply_all(timers.watch_unproven(self.desk, watch))

    def host_restarted(self) -> Iterator[list[e.Event]]:
        """Claims from before the host came up are of processes that died with it. Harmless at any start."""
        while happened := timers.host_restarted(self.desk, self.desk.policy.batch_size):
            yield self._apply_all(happened)

    def record(self, event: e.Event) -> list[e.Event]:
        """A fact of the daemon's own: an epoch, a reserved block, a leap of the clock."""
        return self._apply_all([event])

    def next_deadline(self) -> int | None:
        """The instant at which :meth:`run_due` or :meth:`overdue` next has something to do; 0 is at once."""
        if self.tables.cascade:
            return 0
        mine = (self.deadlines.next(), self.waiters.next_deadline(), self.tables.resume_at, self._housekeeping_due())
        return min(instant for instant in mine if instant is not None)

    def _housekeeping_due(self) -> int:
        tables, policy = self.tables, self.desk.policy
        due = self._sweep_due()
        if tables.ended:
            if len(tables.ended) > policy.retain_done_items or tables.ended_bytes > policy.retain_done_bytes:
                return 0
            due = min(due, tables.items[tables.ended[0]].since + policy.retain_done)
        chosen, minted = tables.key_order
        if len(chosen) + len(minted) > policy.keys_max:
            return 0
        for order, kept in ((chosen, KEY_CHOSEN_KEPT), (minted, KEY_MINTED_KEPT)):
            if order:
                due = min(due, order[0][0] + kept + 1)
        return due

    def _sweep_due(self) -> int:
        crowded = len(self.tables.agents) > self.desk.policy.agents // 2
        return self._swept + (1000 if crowded else SWEEP_EVERY)

    # -- those who wait ----------------------------------------------------------------------------------

    def park(self, request: Request, actor: Actor, watch: Watch | None, refusal: Refusal, address: Any) -> Waiter:
        """Let a claim or a ``wait`` that was refused for now wait for its time.

        Raises:
            Refusal: the one given, if this request does not wait; ``busy`` if too many do.
        """
        command = request.command
        waits = getattr(command, "timeout" if request.verb == "wait" else "wait", 0)
        code = refusal.code
        if not waits or code not in ("empty", "capacity", "timeout"):
            raise refusal
        self.room_to_wait()
        deadline = self.desk.now + waits
        if request.verb == "wait":
            items = [] if command.group is not None else looking.waited(self.desk, command)
            if self.waiters.waited_for + len(items) > WAITED_MAX:
                raise Refusal("busy", f"{self.waiters.waited_for} items are waited for already; wait for a group")
            if items:  # from now on those that are meant now, whoever bears their refs later
                request = Request(request.verb, evolve(command, ids=tuple(item.id for item in items)))
            pending = {item.id for item in items if item.state not in SETTLED}
            return self.waiters.add_wait(pending, request, actor, deadline, address)
        if request.verb == "lock":
            return self.waiters.add_lock(request, actor, watch, deadline, address)
        shape = self.ready.shape(claiming.filter_of(self.desk, command))
        if self.ready.crowded and not shape.waiting:
            known = len(self.ready.shapes) - 1
            raise Refusal("busy", f"claims wait under {known} filters already: fewer names, or agents with like labels")
        return self.waiters.add_claim(shape, request, actor, watch, deadline, address, aside=code == "capacity")

    def room_to_wait(self) -> None:
        """Refuse as ``busy`` if nobody more may wait."""
        if len(self.waiters) + len(self.waiters.others) >= self.desk.policy.waiters_max:
            raise Refusal("busy", f"{self.desk.policy.waiters_max} requests wait already (WAITERS_MAX)")

    def serve_waiting(self, *, grant: bool = True) -> Iterator[tuple[Waiter, list[e.Event], Any]]:
        """Serve the waits whose items came to rest, and, if nothing keeps us from it, the claims that wait, fairly.

        Each is given with its events and its result, or the Refusal that ends it.
        """
        if grant:
            yield from self._serve_claims()
            yield from self._serve_locks()
        if self.tables.settled:
            yield from self._serve_waits()
            self.tables.settled.clear()

    def nobody_waits(self) -> None:
        """Forget whom something might have been for: there is nobody."""
        self.ready.woken.clear()
        self.freed.clear()
        self.tables.settled.clear()

    def _serve_claims(self) -> Iterator[tuple[Waiter, list[e.Event], Any]]:
        while self.ready.woken:
            lines = self.waiters.fairly(self.ready.woken)
            self.ready.woken = set()
            for waiter in lines:
                try:
                    happened, result = self.execute(waiter.request, waiter.actor, waiter.watch)
                except Refusal as refusal:
                    if refusal.code == "empty":
                        lines.dismiss()
                        continue
                    if refusal.code == "capacity":
                        waiter.aside = True
                        continue
                    happened, result = _NOTHING, refusal
                self.waiters.remove(waiter)
                yield waiter, happened, result

    def _serve_locks(self) -> Iterator[tuple[Waiter, list[e.Event], Any]]:
        """A lock that became free goes to whoever has waited longest; who may not have it makes way for the next."""
        while self.freed:
            waiter = self.waiters.first_for(next(iter(self.freed)))
            if waiter is None:
                self.freed.pop()
                continue
            happened, result = _NOTHING, None
            try:
                happened, result = self.execute(waiter.request, waiter.actor, waiter.watch)
            except Refusal as refusal:
                if refusal.code == "timeout":  # somebody has it again
                    self.freed.discard(waiter.request.command.name)
                    continue
                result = refusal
            self.waiters.remove(waiter)
            yield waiter, happened, result

    def _serve_waits(self) -> Iterator[tuple[Waiter, list[e.Event], Any]]:
        if not self.waiters.waits_for_items:
            return
        tables = self.tables
        groups = {tables.items[n].option("group") for n in tables.settled if n in tables.items}
        told: Outcomes = {}
        for waiter in self.waiters.touched(tables.settled, groups - {None}):
            try:
                looking.outcome(self.desk, waiter.request.command, rows=False)
            except Refusal as refusal:
                if refusal.code == "timeout":
                    waiter.pending = {
                        n for n in waiter.ids if n in tables.items and tables.items[n].state not in SETTLED
                    }
                    continue
            self.waiters.remove(waiter)
            yield waiter, _NOTHING, self._outcome(waiter.request.command, told)

    def _outcome(self, command: Wait, told: Outcomes) -> dict[str, Any] | Refusal:
        """What became of the items. Of a group all are ``told`` the same, as that takes a look at each of its items."""
        kind = (command.group, command.any)
        if kind in told:
            return told[kind]
        try:
            result: dict[str, Any] | Refusal = looking.outcome(self.desk, command)
        except Refusal as refusal:
            result = refusal
        if command.group is not None:
            told[kind] = result
        return result

    def overdue(self) -> Iterator[tuple[Waiter, Any]]:
        """Those whose time is over, with what they are told: a Refusal, unless their wait is over with their time."""
        told: Outcomes = {}
        for waiter in self.waiters.overdue(self.desk.now):
            self.waiters.remove(waiter)
            desk, command = self.desk, waiter.request.command
            desk.actor, desk.watch = waiter.actor, waiter.watch
            if waiter.request.verb == "claim":
                yield waiter, self._still_nothing(waiter)
            elif waiter.request.verb == "lock":
                yield waiter, locking.taken(desk, command.name)
            else:
                yield waiter, self._outcome(command, told)

    def _still_nothing(self, waiter: Waiter) -> Refusal:
        command = waiter.request.command
        try:
            claiming.may_claim(self.desk, self.tables.agents.get(command.agent))
        except Refusal as refusal:
            return refusal
        assert waiter.shape is not None
        return claiming.nothing(self.desk, command, waiter.shape)
