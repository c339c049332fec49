"""The rules in a room of their own: commands in, replies out, the clock in the caller's hand, no engine.

A :class:`House` does around the work queue what the engine does, and no more. Everything that it decides is
also encoded, decoded and replayed into tables of their own, as recovery and the fold do it, so that any test may
ask whether they agree.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from swarmshd import commands
from swarmshd import events as e
from swarmshd.commands import Actor, Batch, Refusal, Request
from swarmshd.workqueue.deadlines import instant
from swarmshd.workqueue.policy import Policy
from swarmshd.workqueue.queue import Watch, WorkQueue
from swarmshd.workqueue.ready import Filter, rank
from swarmshd.workqueue.records import CLAIMED, ENDED, READY, SCHEDULED, SETTLED, Item
from swarmshd.workqueue.rows import AGENT, STATE
from swarmshd.workqueue.tables import Tables
from swarmshd.workqueue.waiting import Waiter

NOW = 1_800_000_000_000
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

POLICY: dict[str, Any] = {
    "lease": 300 * SECOND,
    "lease_max": 24 * HOUR,
    "stall_after": HOUR,
    "max_attempts": 5,
    "backoff_base": 15 * SECOND,
    "backoff_max": HOUR,
    "crash_cap": 3,
    "release_cap": 20,
    "retain_done": 24 * HOUR,
    "retain_done_items": 100_000,
    "retain_done_bytes": 256 << 20,
    "max_items": 2_000_000,
    "queue_max_length": 1_000_000,
    "queues": 10_000,
    "agents": 10_000,
    "payload_max": 64 << 10,
    "checkpoint_max": 4 << 10,
    "output_tail": 64 << 10,
    "description_max": 8 << 10,
    "keys_max": 200_000,
    "memory_max": 2 << 30,
    "require_token": False,
    "waiters_max": 10_000,
    "batch_size": 2000,
}


class Numbers:
    """A mint whose numbers and chances are known."""

    def __init__(self) -> None:
        self.ids = self.fences = 0
        self.luck = 0.5

    def id(self) -> int:
        self.ids += 1
        return self.ids

    def keep(self, number: int) -> bool:
        if number <= self.ids:
            return False
        self.ids = number
        return True

    def fence(self) -> int:
        self.fences += 1
        return self.fences

    def secret(self) -> bytes:
        return (self.fences * 0x9E3779B97F4A7C15 % (1 << 64)).to_bytes(8, "big")

    def chance(self) -> float:
        return self.luck


class House:
    """A work queue that serves, its clock, its journal as bytes, and the tables that the journal gives."""

    def __init__(self, **policy: Any) -> None:
        self.policy = Policy(**{**POLICY, **policy})
        self.mint = Numbers()
        self.queue = WorkQueue(self.policy, self.mint)
        self.replayed = Tables()
        self.written: list[tuple[int, bytes]] = []
        """The batches of the journal, each with its position."""
        self.now = NOW
        self.waiters: list[Waiter] = []
        self.served: list[tuple[Waiter, Any]] = []
        """Who has waited, and the result or the refusal that ended it."""
        self.queue.serve()
        self.queue.begin(self.now)
        self.own(self.queue.record(e.EpochStarted(1, "boot-1", 1 << 16, 1 << 16, 1 << 16)))
        self.now += 7 * 24 * HOUR  # long past the calm after a start

    @property
    def tables(self) -> Tables:
        return self.queue.tables

    def item(self, number: int) -> Item:
        return self.tables.items[number]

    # -- asking ------------------------------------------------------------------------------------------

    def do(self, verb: str, **args: Any) -> Any:
        """One command and its result. Raises Refusal. A batch that is not atomic gives a list of both.

        Besides the command's arguments: ``uid``, ``admin``, and ``watch``, a process whose descriptor comes along.
        """
        actor = Actor(args.pop("uid", 1000), 4711, args.pop("admin", False))
        watch: Watch | None = None
        if isinstance(args.get("watch"), tuple):
            watch, args["watch"] = args["watch"], True
        request = commands.structure(verb, args, actor.uid)
        if isinstance(request.command, Batch):
            return [self._try(each, actor) for each in request.command.requests]
        return self._do(request, actor, watch)

    def _do(self, request: Request, actor: Actor, watch: Watch | None) -> Any:
        self.queue.begin(self.now)
        position = self.tables.position
        try:
            happened, result = self.queue.execute(request, actor, watch)
        except Refusal:
            assert self.tables.position == position, "a refused command changes nothing"
            raise
        if happened:
            self.log(e.Entry(actor.uid, actor.pid, request.key, request.minted, happened))
        for settled in self.queue.settle():
            self.own(settled)
        return result

    def _try(self, request: Request | Refusal, actor: Actor) -> Any:
        try:
            if isinstance(request, Refusal):
                raise request
            return self._do(request, actor, None)
        except Refusal as refusal:
            return refusal

    def no(self, code: str, verb: str, **args: Any) -> Refusal:
        """The refusal with this code, which the command must get."""
        with pytest.raises(Refusal) as caught:
            self.do(verb, **args)
        refusal: Refusal = caught.value
        assert refusal.code == code, f"{refusal.code}: {refusal.message}"
        return refusal

    def park(self, verb: str, *, uid: int = 1000, watch: Watch | None = None, **args: Any) -> Waiter:
        """A claim or a wait that finds nothing yet and waits."""
        if watch is not None:
            args["watch"] = True
        request = commands.structure(verb, args, uid)
        actor = Actor(uid, 4711)
        with pytest.raises(Refusal) as caught:
            self._do(request, actor, watch)
        waiter = self.queue.park(request, actor, watch, caught.value, None)
        self.waiters.append(waiter)
        return waiter

    def submit(self, **args: Any) -> int:
        """The id of a new item."""
        number: int = self.do("submit", **{"type": "t", "description": "d", **args})["id"]
        return number

    def claim(self, agent: str = "a", **args: Any) -> dict[str, Any]:
        """The one item that a claim gives."""
        (item,) = self.do("claim", agent=agent, **args)["items"]
        assert isinstance(item, dict)
        return item

    def held(self, agent: str = "a", **args: Any) -> dict[str, Any]:
        """A new item, claimed."""
        number = self.submit(**args)
        return self.claim(agent, id=number)

    def show(self, number: int | str) -> Any:
        return self.do("show", id=number)

    def state(self, number: int) -> str:
        return self.item(number).state

    # -- time --------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """What is due happens, and who waits is served."""
        queue = self.queue
        queue.begin(self.now)
        for _ in range(100_000):
            position = self.tables.position
            for happened in queue.run_due(queue.desk.policy.batch_size):  # at most a batch of it
                self.own(happened)
            if self.tables.position == position:
                self.serve()
                if self.tables.position == position:
                    break
        else:
            raise AssertionError("there is no end of it")
        due = queue.next_deadline()
        assert queue.waiters or due is None or due > self.now, "something is due for ever"

    def serve(self) -> None:
        for waiter, happened, result in self.queue.serve_waiting():
            if happened:
                self.log(
                    e.Entry(waiter.actor.uid, waiter.actor.pid, waiter.request.key, waiter.request.minted, happened)
                )
            self._served(waiter, result)
        for waiter, refused in self.queue.overdue():
            assert isinstance(refused, Refusal), "a wait was over before its time was, and nobody said so"
            self._served(waiter, refused)

    def _served(self, waiter: Waiter, result: Any) -> None:
        self.waiters.remove(waiter)
        self.served.append((waiter, result))

    def answers(self) -> list[tuple[Waiter, Any]]:
        """Who has been served since the last call."""
        self.turn()
        served, self.served = self.served, []
        return served

    def later(self, milliseconds: int) -> None:
        """Time passes."""
        self.now += milliseconds
        self.turn()

    def leap(self, gap: int) -> None:
        """The clock leaps."""
        self.now += gap
        self.queue.begin(self.now)
        self.own(self.queue.record(e.ClockShifted(gap)))

    def die(self, watch: Watch, *, watched: bool = True) -> None:
        """A process ends."""
        self.queue.begin(self.now)
        for happened in self.queue.watch_ended(watch, watched=watched):
            self.own(happened)

    # -- the journal -------------------------------------------------------------------------------------

    def own(self, happened: list[e.Event]) -> None:
        self.log(e.Entry(None, None, None, minted=False, events=happened))

    def log(self, entry: e.Entry) -> None:
        """Into bytes, out of them, and into the other tables."""
        body = e.encode_batch(self.now, [e.encode_entry(entry)])
        self.written.append((self.replayed.position, body))
        self.replayed.replay(e.decode_batch(body, self.replayed.position))

    def restored(self) -> "House":
        """Another house over tables that were made from a snapshot of these."""
        other = House.__new__(House)
        other.policy, other.mint, other.now = self.policy, self.mint, self.now
        other.waiters, other.served = [], []
        other.written = self.written
        rows = list(self.tables.rows())
        other.replayed = Tables()
        other.queue = WorkQueue(self.policy, self.mint)
        for tables in (other.replayed, other.queue.tables):
            for row in rows:
                tables.restore(e.decode_rows(e.encode_rows([row])))
        other.queue.serve()
        other.queue.begin(self.now)
        return other


# -- what must be so at any moment ---------------------------------------------------------------------------


def rows(tables: Tables) -> list[list[Any]]:
    """The rows of a snapshot as its reader gets them, without what is volatile.

    That is the time, which goes on without events, and when an agent was last heard of, which may cost none.
    """
    found = e.decode_rows(e.encode_rows(list(tables.rows())))
    for row in found:
        if row[0] == STATE:
            row[2] = None
        elif row[0] == AGENT:
            row[12] = None
    return found


def check(house: House) -> None:
    """Every index agrees with a full scan, and what was written down with what is."""
    tables = house.tables
    items = list(tables.items.values())
    assert list(tables.items) == [number for number in tables.after(0) if number in tables.items]
    _check_sets(tables, items)
    _check_claims(tables, items)
    _check_options(tables, items)
    ready = house.queue.ready
    work = [i for i in items if not i.is_lock]
    for kind, bucket in ready.buckets.items():
        mine = [i for i in work if (i.queue.name, i.type, i.team, i.require) == kind and i.state not in ENDED]
        assert bucket.counts == {state: sum(i.state == state for i in mine) for state in bucket.counts}
    assert {(i.queue.name, i.type, i.team, i.require) for i in work if i.state not in ENDED} <= set(ready.buckets)
    for wanted in list(ready.shapes):
        first = min((i for i in work if takes(wanted, i)), key=rank, default=None)
        assert ready.first(ready.shape(wanted)) is first, wanted
    instants = [instant(i) for i in items if i.state in (SCHEDULED, CLAIMED)]
    assert house.queue.deadlines.next() == min(instants, default=None)
    assert rows(house.replayed) == rows(tables)


def takes(wanted: Filter, item: Item) -> bool:
    queues, kinds, teams, labels = wanted
    settings = item.queue.settings
    limit = settings.get("limit")
    return (
        item.state == READY
        and (queues is None or item.queue.name in queues)
        and (not kinds or item.type in kinds)
        and (not teams or item.team in teams)
        and set(item.require) <= set(labels)
        and "paused" not in settings
        and not (limit and len(item.queue.items[CLAIMED]) >= limit)
    )


def _check_sets(tables: Tables, items: list[Item]) -> None:
    for queue in tables.queues.values():
        for state, found in queue.items.items():
            assert set(found) == {i.id for i in items if i.queue is queue and i.state == state}
    assert {i.queue.name for i in items} <= set(tables.queues)
    assert set(tables.open) == {i.id for i in items if i.state not in ENDED}
    assert sorted(tables.ended) == [i.id for i in items if i.state in ENDED]
    assert tables.bytes == sum(i.size() for i in items)
    assert tables.ended_bytes == sum(i.size() for i in items if i.state in ENDED)


def _check_claims(tables: Tables, items: list[Item]) -> None:
    locks = [i for i in items if i.is_lock]
    assert tables.locks == {i.type: i for i in locks if i.state not in ENDED}
    assert {i.state for i in tables.locks.values()} <= {READY, CLAIMED}, "a lock is held or free"
    for agent in tables.agents.values():
        assert agent.locks == sum(i.is_lock for i in agent.holds.values())
    held = [i for i in items if i.claim is not None]
    assert [i.id for i in held] == [i.id for i in items if i.state == CLAIMED]
    assert sorted(n for agent in tables.agents.values() for n in agent.holds) == [i.id for i in held], "one holder"
    watched: dict[Watch, set[int]] = {}
    for item in held:
        assert item.claim is not None
        assert tables.agents[item.claim.agent.name].holds[item.id] is item
        if item.claim.watch is not None:
            watched.setdefault(item.claim.watch, set()).add(item.id)
    assert {watch: set(ids) for watch, ids in tables.watched.items()} == watched
    fences = [i.claim.fence for i in held if i.claim is not None]
    assert len(set(fences)) == len(fences)
    watchers = {(a.watch, a.name) for a in tables.agents.values() if a.watch is not None}
    assert {(watch, name) for watch, names in tables.watchers.items() for name in names} == watchers


def _check_options(tables: Tables, items: list[Item]) -> None:
    def named(option: str, *, ended: bool) -> Iterator[tuple[str, int]]:
        return ((i.option(option), i.id) for i in items if i.option(option) and (ended or i.state not in ENDED))

    assert tables.uniques == dict(named("unique", ended=False))
    assert tables.refs == dict(named("ref", ended=True))
    assert tables.origins == dict(named("origin", ended=True))
    for item in items:
        if item.state not in SETTLED and item.waits:
            assert all(item.id in (tables.items[n].dependants or ()) for n in item.waits if n in tables.items)
    assert set(tables.groups) == {name for name, _ in named("group", ended=True)}
    for name, group in tables.groups.items():
        mine = [i for i in items if i.option("group") == name]
        assert set(group.open) == {i.id for i in mine if i.state not in ENDED}
        assert set(group.ended) == {i.id for i in mine if i.state in ENDED}
        assert group.pending == sum(i.state not in SETTLED for i in mine)
