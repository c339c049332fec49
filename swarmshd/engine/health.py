"""Whether the daemon and its queue are well, as named conditions: what pages somebody at night, and why.

A condition has a name that alerts and scripts go by, how grave it is, since when it is so, one fact, and the command to
begin with. It is looked for when somebody asks, and now and then in between, so that ``since`` is true. What the
engine cannot see is told by whoever does.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from swarmshd.engine.commits import MINUTES, SLOW_NS
from swarmshd.protocol import counted
from swarmshd.workqueue.desk import queues_of_work
from swarmshd.workqueue.looking import agent_state
from swarmshd.workqueue.records import CLAIMED, READY

if TYPE_CHECKING:
    from swarmshd.engine.engine import Engine

INFO, WARNING, PAGE, PERSON = "info", "warning", "page", "person"
SEVERITIES = (PERSON, PAGE, WARNING, INFO)
"""Needs a person's hand before the next start; somebody should be woken; should be looked at; as it was asked for."""

RECENT = 1000
"""Milliseconds for which what was found is good enough for ``status``; every look walks over agents and claims."""

CLAIMS_MAX = 10_000
"""Claims that are looked at."""

STALLED_AFTER = 600_000
"""Milliseconds without a claim after which a queue with ready items is stalled."""

WINDOW = 600
"""Seconds over which ends of items are counted."""

BURIED_PERCENT, BURIED_LEAST = 1, 3
"""Burials grow when they are more than this part of all ends, and as many at least."""

LOST_MOST = 10
"""Claims that may be lost to dead holders and ended leases in the window: one a minute."""


class Condition(NamedTuple):
    """Something that is not as it should be."""

    name: str
    severity: str
    fact: str
    next: str


Check = Callable[[int], Iterator[Condition]]
"""From the moment to what is wrong then."""


ENDED_SHARE = 4
"""Ended items are named as what fills the disk, if they take more than one part in so many of what all take."""


class Health:
    """All checks, and since when each condition holds."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._since: dict[str, int] = {}
        self.started = 0
        """When the daemon began to serve; nobody could claim before."""
        self._looked: int | None = None
        self._rows: list[dict[str, Any]] = []
        self.checks: list[Check] = [
            self._disk, self._syncs, self._folds, self._queues, self._claims, self._ends, self._agents, self._pauses,
            self._relaxed, self._direct,
        ]  # fmt: skip
        """What is looked at; whoever can see more adds to it."""

    def look(self, now: int) -> list[dict[str, Any]]:
        """The conditions that hold, the gravest first."""
        found = {condition.name: condition for check in self.checks for condition in check(now)}
        self._since = {name: self._since.get(name, now) for name in found}
        rows = [{**each._asdict(), "since": self._since[name]} for name, each in found.items()]
        self._rows = sorted(rows, key=lambda row: SEVERITIES.index(row["severity"]))
        self._looked = now
        return self._rows

    def recent(self, now: int) -> list[dict[str, Any]]:
        """The same, but not looked for anew if somebody looked in the last second."""
        return self.look(now) if self._looked is None or now - self._looked >= RECENT else self._rows

    # -- the journal

    def _disk(self, _: int) -> Iterator[Condition]:
        full = self._engine.space.full
        if full is None:
            return
        fact, follow = f"{full}: new work is refused", "swarmctl status"
        tables = self._engine.queue.tables
        if tables.ended_bytes * ENDED_SHARE >= tables.bytes > 0:
            fact += f"; {len(tables.ended)} items that have ended are kept, and their room with them"
            follow = "swarmctl config set RETAIN_DONE_ITEMS=0"
        yield Condition("disk_full", PAGE, fact, follow)

    def _syncs(self, now: int) -> Iterator[Condition]:
        slow, syncs = self._engine.commits.slow(now)
        if slow and slow * 100 >= syncs:
            last = self._engine.commits.last_ns // 1_000_000
            fact = f"{slow} of {syncs} syncs in {MINUTES} min took over {SLOW_NS // 10**9} s, the last one {last} ms"
            yield Condition("sync_slow", WARNING, fact, "swarmctl stats wal")

    def _direct(self, _: int) -> Iterator[Condition]:
        refused = self._engine.journal.io().get("direct_io_refused")
        if refused:
            fact = f"the journal is not written past the page cache, as DIRECT_IO asks for: {refused}"
            yield Condition("direct_io_refused", WARNING, fact, "swarmctl config show DIRECT_IO")

    def _folds(self, _: int) -> Iterator[Condition]:
        for what in ("failed", "declined"):
            if what in self._engine.fold:
                fact = f"the last fold {what}: {self._engine.fold[what]}; the journal grows until one is made"
                yield Condition("fold_failing", WARNING, fact, "swarmctl status")

    def _relaxed(self, _: int) -> Iterator[Condition]:
        waiting = len(self._engine.relaxed)
        if not self._engine.durability.strict:
            fact = self._engine.durability.words.removeprefix("RELAXED: ")
            yield Condition("relaxed_durability", INFO, fact, "swarmctl config show WAL_ENABLED WAL_SYNC_INTERVAL")
        elif waiting:
            fact = f"of {waiting} items something is answered and not on the disk yet, as was asked for (--async)"
            yield Condition("relaxed_durability", INFO, fact, "swarmctl stats async")

    # -- the queue

    def _queues(self, now: int) -> Iterator[Condition]:
        stalled = []
        for queue in queues_of_work(self._engine.queue.desk):
            since = max(queue.claimed_at, self.started)
            if now - since >= STALLED_AFTER and queue.offers and (oldest := queue.oldest) is not None:
                since = max(since, oldest.since)
                if now - since >= STALLED_AFTER:
                    stalled.append((now - since, queue.name, len(queue.items[READY])))
        if stalled and self._engine.queue.tables.paused is None:
            longest, name, ready_items = max(stalled)
            others = f", and so {counted(len(stalled) - 1, 'other')}" if len(stalled) > 1 else ""
            fact = f"nobody has claimed from {name} for {longest // 60_000} min, with {ready_items} ready{others}"
            yield Condition("queue_stalled", PAGE, fact, f"swarmctl explain --queue {name}")

    def _claims(self, _: int) -> Iterator[Condition]:
        queues = self._engine.queue.tables.queues.values()
        held = (item for queue in queues for item in queue.items[CLAIMED].values())
        stalled = [item for item in islice(held, CLAIMS_MAX) if item.claim is not None and item.claim.stalled]
        if stalled:
            fact = f"{counted(len(stalled), 'item')} with a living holder that said nothing for half of STALL_AFTER"
            yield Condition("items_stalled", WARNING, fact, f"swarmctl explain {stalled[0].id}")

    def _ends(self, now: int) -> Iterator[Condition]:
        counts = self._engine.rates.counted(now, WINDOW)
        buried = counts["buried"]
        ends = buried + counts["completed"] + counts["cancelled"]
        if buried >= BURIED_LEAST and buried * 100 > ends * BURIED_PERCENT:
            fact = f"{buried} of {ends} ends of items in {WINDOW // 60} min were burials"
            yield Condition("buried_growing", WARNING, fact, "swarmctl list --state buried --since -1h")
        if counts["crashed"] > LOST_MOST:
            fact = f"{counted(counts['crashed'], 'claim')} in {WINDOW // 60} min ended with their holder or their lease"
            yield Condition("leases_lost", WARNING, fact, "swarmctl agent ls")

    def _agents(self, _: int) -> Iterator[Condition]:
        desk = self._engine.queue.desk
        lost = [agent.name for agent in desk.tables.agents.values() if agent_state(desk, agent) == "suspect"]
        if lost:
            fact = f"{counted(len(lost), 'agent')} missed promised heartbeats, {lost[0]} among them"
            yield Condition("agents_lost", WARNING, fact, "swarmctl agent ls")

    def _pauses(self, _: int) -> Iterator[Condition]:
        tables = self._engine.queue.tables
        paused = [queue.name for queue in queues_of_work(self._engine.queue.desk) if "paused" in queue.settings]
        if tables.paused is not None:
            yield Condition("queue_paused", INFO, f"everything is paused: {tables.paused}", "swarmctl resume --all")
        elif paused:
            others = f", and {counted(len(paused) - 1, 'other')}" if len(paused) > 1 else ""
            fact = f"queue {paused[0]} is paused{others}"
            yield Condition("queue_paused", INFO, fact, f"swarmctl resume {paused[0]}")
