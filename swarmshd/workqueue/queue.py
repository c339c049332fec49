"""The work queue as a whole: decide a command, apply its events, answer it; run what is due; serve who waits.

Pure: the moment, the numbers and chance come from the caller, nothing is logged, nothing waits. The caller is
the engine, which writes the events down and lets a reply go only when they are on disk.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from swarmshd import events as e
from swarmshd.commands import READS, Actor, Refusal, Request, SubmitAll, Wait
from swarmshd.workqueue import answers, claiming, governing, holding, looking, mending, submitting, timers
from swarmshd.workqueue.deadlines import Deadlines
from swarmshd.workqueue.desk import Desk, find
from swarmshd.workqueue.mint import Mint
from swarmshd.workqueue.policy import KEY_CHOSEN_KEPT, KEY_MINTED_KEPT, Policy
from swarmshd.workqueue.ready import ReadyIndex
from swarmshd.workqueue.records import CLAIMED, DONE, READY, SCHEDULED, SETTLED, Item, Queue
from swarmshd.workqueue.tables import Tables
from swarmshd.workqueue.waiting import Waiter, Waiters

Rule = Callable[[Desk, Any], Iterable[e.Event]]
Answer = Callable[[Desk, Any, Any], dict[str, Any]]
Watch = tuple[int, int]

WAIT_ROWS = 1000
WAITED_MAX = 1_000_000
"""Items that may be waited for, counted once for each that waits; a group is none."""

SWEEP_EVERY = 60_000


def _submit(desk: Desk, command: Any) -> list[e.Event]:
    return [] if submitting.already_open(desk, command) is not None else submitting.submit(desk, command)


CHANGES: dict[str, tuple[Rule, Answer]] = {
    "submit": (_submit, answers.submitted),
    "batch": (submitting.submit_all, answers.all_submitted),
    "claim": (claiming.claim, answers.claimed),
    "claim_new": (claiming.claim_new, answers.claimed),
    "heartbeat": (holding.heartbeat, answers.beaten),
    "progress": (holding.progress, answers.reported),
    "hold": (holding.hold, answers.reported),
    "complete": (holding.complete, answers.ended),
    "fail": (holding.fail, answers.failed),
    "release": (holding.release, answers.ended),
    "bury": (holding.bury, answers.ended),
    "kick": (mending.kick, answers.kicked),
    "cancel": (mending.cancel, answers.cancelled),
    "edit": (mending.edit, answers.ended),
    "register": (governing.register, answers.of_agent),
    "quiet": (governing.quiet, answers.of_agent),
    "wake": (governing.wake, answers.of_agent),
    "evict": (governing.evict, answers.evicted),
    "queue_set": (governing.queue_set, answers.of_queue),
    "pause": (governing.pause, answers.paused),
    "resume": (governing.resume, answers.paused),
}
LOOKS: dict[str, Callable[[Desk, Any], dict[str, Any]]] = {
    "show": looking.show,
    "list": looking.list_items,
    "count": looking.count,
    "get": looking.get,
    "held": looking.held,
    "agents": looking.agents,
    "queues": looking.queues,
}

_NOTHING: list[e.Event] = []


class WorkQueue:
    """All rules over one state. Call :meth:`serve` once the state has been loaded."""

    def __init__(self, policy: Policy, mint: Mint) -> None:
        self.tables = Tables()
        self.ready = ReadyIndex()
        self.deadlines = Deadlines()
        self.waiters = Waiters()
        self.desk = Desk(self.tables, self.ready, policy, mint)
        self._swept = 0

    def serve(self) -> None:
        """Build the indexes over the tables as they are, and keep them from now on."""
        self.tables.listener = self
        for item in self.tables.open.values():
            self.item_moved(item, None)
        self.tables.settled.clear()

    # -- the listener of the tables ----------------------------------------------------------------------

    def item_moved(self, item: Item, before: str | None) -> None:
        if before == READY:
            self.ready.remove(item)
        elif before in (SCHEDULED, CLAIMED):
            self.deadlines.drop(item)
        state = item.state
        if state == READY:
            self.ready.add(item)
        elif state in (SCHEDULED, CLAIMED):
            self.deadlines.set(item)
        if before == CLAIMED and item.queue.settings.get("limit"):
            self.ready.offers_changed(item.queue)

    def deadline_moved(self, item: Item) -> None:
        self.deadlines.set(item)

    def offers_changed(self, queue: Queue) -> None:
        self.ready.offers_changed(queue)

    def everything_moved(self) -> None:
        self.deadlines.reset()

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
            return _NOTHING, (self._wait(command) if verb == "wait" else LOOKS[verb](desk, command))
        rule, answer = CHANGES[verb]
        key = request.key
        if key is not None:
            kept = self.tables.keys.get(key[:10])
            if kept is not None and not (verb == "claim" and isinstance(kept[1], dict)):  # those were taken back
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
            return _NOTHING, answer(desk, command, None)
        facts = tables.facts(happened)
        if key is not None:
            tables.remember(key, request.minted, facts)
        return happened, answer(desk, command, facts)

    def take_back(self, claims: Iterable[tuple[int, int]], key: bytes | None, minted: bool) -> list[e.Event]:
        """Claims (id, fence) that nobody learned of end, counted as nothing; the same request gets others."""
        tables = self.tables
        happened: list[e.Event] = []
        for number, fence in claims:
            item = tables.items.get(number)
            if item is not None and item.claim is not None and item.claim.fence == fence:
                happened.append(e.ItemReturned(number, e.UNDELIVERED))
        self._apply_all(happened)
        if happened and key is not None:
            tables.remember(key, minted, tables.facts(happened))
        return happened

    def numbers_needed(self, request: Request) -> int:
        """At most how many ids, fences or positions the command takes."""
        command = request.command
        if isinstance(command, SubmitAll):
            return len(command.submits)
        return max(getattr(command, "count", 1), 2) if request.verb in ("submit", "claim", "claim_new") else 1

    # -- what happens by itself --------------------------------------------------------------------------

    def _apply_all(self, happened: list[e.Event]) -> list[e.Event]:
        self.tables.uid = self.tables.pid = None
        for event in happened:
            self.tables.apply(event)
        return happened

    def run_due(self) -> Iterator[list[e.Event]]:
        """Apply and give, entry by entry, what has come due; at most about a batch of it."""
        limit = self.desk.policy.batch_size
        for happened in timers.run_due(self.desk, self.deadlines, limit):
            yield self._apply_all(happened)
        yield from self.settle()
        if self._housekeeping_due() <= self.desk.now:
            for tidy in (timers.forget, timers.forget_keys):
                happened = tidy(self.desk, limit)
                if happened:
                    yield self._apply_all(happened)
            if self._swept + SWEEP_EVERY <= self.desk.now:
                self._swept = self.desk.now
                happened = timers.forget_agents(self.desk)
                if happened:
                    yield self._apply_all(happened)

    def settle(self) -> Iterator[list[e.Event]]:
        """Apply and give the fates of dependants of what failed."""
        if self.tables.cascade:
            for happened in timers.settle(self.desk, self.desk.policy.batch_size):
                yield self._apply_all(happened)

    def watch_ended(self, watch: Watch, *, watched: bool = True) -> Iterator[list[e.Event]]:
        """A watched process died; or, not ``watched``, is found to have died while nobody looked."""
        while watch in self.tables.watched or any(a.watch == watch for a in self.tables.agents.values()):
            cause = e.CRASHED if watched else e.OUTAGE
            yield self._apply_all(timers.watch_ended(self.desk, watch, cause, self.desk.policy.batch_size))

    def watches(self) -> set[Watch]:
        """The processes that some claim, waiting claim or agent stands on."""
        found = set(self.tables.watched)
        found.update(agent.watch for agent in self.tables.agents.values() if agent.watch is not None)
        found.update(waiter.watch for waiter in self.waiters.all() if waiter.watch is not None)
        return found

    def watch_unproven(self, watch: Watch) -> list[e.Event]:
        """Whether a watched process lives cannot be told any more."""
        return self._apply_all(timers.watch_unproven(self.desk, watch))

    def host_restarted(self) -> Iterator[list[e.Event]]:
        """All claims are of processes that died with the host."""
        for agent in self.tables.agents.values():
            agent.watch = None
        while happened := timers.host_restarted(self.desk, self.desk.policy.batch_size):
            yield self._apply_all(happened)

    def record(self, event: e.Event) -> list[e.Event]:
        """A fact of the daemon's own: an epoch, a reserved block, a leap of the clock."""
        return self._apply_all([event])

    def next_deadline(self) -> int | None:
        """The instant at which :meth:`run_due` or :meth:`overdue` next has something to do; 0 is at once."""
        if self.tables.cascade:
            return 0
        instants = (self.deadlines.next(), self.waiters.next_deadline(), self._housekeeping_due())
        return min(instant for instant in instants if instant is not None)

    def _housekeeping_due(self) -> int:
        tables, policy = self.tables, self.desk.policy
        due = self._swept + SWEEP_EVERY
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

    # -- those who wait ----------------------------------------------------------------------------------

    def park(self, request: Request, actor: Actor, watch: Watch | None, refusal: Refusal, address: Any) -> Waiter:
        """Let a claim or a ``wait`` that was refused for now wait for its time.

        Raises:
            Refusal: the one given, if this request does not wait; ``busy`` if too many do.
        """
        command = request.command
        waits = command.wait if request.verb == "claim" else command.timeout if request.verb == "wait" else 0
        code = refusal.code
        if not waits or code not in ("empty", "capacity", "timeout"):
            raise refusal
        if len(self.waiters) >= self.desk.policy.waiters_max:
            raise Refusal("busy", f"{self.desk.policy.waiters_max} requests wait already (WAITERS_MAX)")
        deadline = self.desk.now + waits
        if request.verb == "wait":
            ids = () if command.group is not None else tuple(find(self.desk, number).id for number in command.ids)
            if self.waiters.waited_for + len(ids) > WAITED_MAX:
                raise Refusal("busy", f"{self.waiters.waited_for} items are waited for already; wait for a group")
            return self.waiters.add_wait(ids, request, actor, deadline, address)
        shape = self.ready.shape(claiming.filter_of(self.desk, command))
        return self.waiters.add_claim(shape, request, actor, watch, deadline, address, passed_over=code == "capacity")

    def serve_waiting(self) -> Iterator[tuple[Waiter, list[e.Event], Any]]:
        """Serve the claims that wait, fairly, and the waits whose items came to rest.

        Each is given with its events and its result, or the Refusal that ends it.
        """
        yield from self._serve_claims()
        if self.tables.settled:
            yield from self._serve_waits()
            self.tables.settled.clear()

    def _serve_claims(self) -> Iterator[tuple[Waiter, list[e.Event], Any]]:
        waiters, ready = self.waiters, self.ready
        if waiters.passed_over:
            ready.woken |= waiters.passed_over
            waiters.passed_over = set()
        while ready.woken:
            spent: set[Any] = set()
            for waiter in waiters.claims(ready):
                if waiter.shape in spent:
                    continue
                try:
                    happened, result = self.execute(waiter.request, waiter.actor, waiter.watch)
                except Refusal as refusal:
                    if refusal.code == "empty":
                        spent.add(waiter.shape)
                        continue
                    if refusal.code == "capacity" and waiter.shape is not None:
                        waiters.passed_over.add(waiter.shape)
                        continue
                    happened, result = _NOTHING, refusal
                waiters.remove(waiter)
                yield waiter, happened, result

    def _serve_waits(self) -> Iterator[tuple[Waiter, list[e.Event], Any]]:
        if not self.waiters.waits_for_items:
            return
        tables = self.tables
        groups = {tables.items[n].option("group") for n in tables.settled if n in tables.items}
        for waiter in self.waiters.touched(tables.settled, groups - {None}):
            try:
                result: Any = self._wait(waiter.request.command)
            except Refusal as refusal:
                if refusal.code == "timeout":
                    waiter.pending = {
                        n for n in waiter.ids if n in tables.items and tables.items[n].state not in SETTLED
                    }
                    continue
                result = refusal
            self.waiters.remove(waiter)
            yield waiter, _NOTHING, result

    def overdue(self) -> Iterator[tuple[Waiter, Refusal]]:
        """Those whose time is over, with what they are told."""
        for waiter in self.waiters.overdue(self.desk.now):
            self.waiters.remove(waiter)
            desk, command = self.desk, waiter.request.command
            desk.actor, desk.watch = waiter.actor, waiter.watch
            if waiter.request.verb == "claim":
                yield waiter, self._still_nothing(waiter)
            else:
                try:
                    self._wait(command)
                except Refusal as refusal:
                    yield waiter, refusal

    def _still_nothing(self, waiter: Waiter) -> Refusal:
        command = waiter.request.command
        try:
            claiming.may_claim(self.desk, self.tables.agents.get(command.agent))
        except Refusal as refusal:
            return refusal
        assert waiter.shape is not None
        return claiming.nothing(self.desk, command, waiter.shape)

    def _wait(self, command: Wait) -> dict[str, Any]:
        """The outcome of the items, or the refusal ``timeout`` with what is known so far."""
        tables, desk = self.tables, self.desk
        if command.group is not None:
            group = tables.groups.get(command.group)
            if group is None:
                raise Refusal("not_found", f"there is no group {command.group}")
            total, pending = len(group.ids), group.pending
            if pending and not command.any:
                raise Refusal(
                    "timeout", f"{pending} of {total} items are not done", total=total, pending=pending, ended=[]
                )
            items: list[Item] = [tables.items[number] for number in group.ids]
        else:
            items = [find(desk, number) for number in command.ids]
            total = len(items)
        rest = [item for item in items if item.state in SETTLED]
        pending = total - len(rest)
        rest.sort(key=_failures_first)
        facts = {"total": total, "pending": pending, "ended": [_ended_row(item) for item in rest[:WAIT_ROWS]]}
        if pending and not (command.any and rest):
            raise Refusal("timeout", f"{pending} of {total} items are not done", **facts)
        return facts


def _failures_first(item: Item) -> tuple[bool, int]:
    return item.state == DONE, item.id


def _ended_row(item: Item) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.id, "state": item.state}
    for name in ("exit_status", "reason"):
        value = item.note(name)
        if value is not None and item.state != DONE:
            row[name] = value
    return row
