"""Every setting that a running daemon takes really takes effect: the rules, the journal, memory and what is kept.

One function for each; those that need sockets or a log stand in ``test_live_settings_of_connections``.
"""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmshd.configuration import resolve
from swarmshd.engine import Engine
from swarmshd.keeper import Keeper
from swarmshd.liveness import Watches
from swarmshd.memory import Collector, Memory
from swarmshd.settings import TABLE
from tests.test_engine import Peer, ask, begin, take, turn
from tests.test_live_settings_of_connections import EFFECTS as OF_CONNECTIONS

pytestmark = pytest.mark.slow

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
WORK: dict[str, Any] = {"type": "t", "description": "d"}


class Live:
    """An engine that runs, and takes other settings while it does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engine: Engine = begin(directory).engine

    def set(self, *settings: str) -> None:
        self.engine.configure(resolve(None, {}, settings))

    def ask(self, verb: str, **arguments: Any) -> Any:
        return ask(self.engine, verb, **arguments)

    def submit(self, **more: Any) -> int:
        return int(self.ask("submit", **WORK, **more)["id"])

    def claim(self, agent: str = "a", **more: Any) -> Any:
        return self.ask("claim", agent=agent, **more)["items"][0]

    def refusal(self, verb: str, **arguments: Any) -> str:
        answer = self.ask(verb, **arguments)
        assert isinstance(answer, tuple), answer
        return str(answer[0])

    def later(self, ms: int) -> None:
        turn(self.engine, self.engine.queue.desk.now + ms)

    @property
    def now(self) -> int:
        return self.engine.queue.desk.now

    def burst(self, count: int) -> int:
        """So many submits come at once; how many commits they take."""
        before = self.engine.commits.batches
        peer = Peer()
        for number in range(count):
            take(self.engine, peer, number, "submit", **WORK)
        while not self.engine.idle:
            turn(self.engine)
        assert len(peer.replies) == count
        return self.engine.commits.batches - before

    def memory(self, *settings: str) -> Memory:
        self.engine.settings = resolve(None, {}, settings)
        return Memory(self.engine, self.engine.settings)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path / "state")
    yield made
    made.engine.journal.close()


EFFECTS: dict[str, Callable[[Live], None]] = {}


def effect(of: Callable[[Live], None]) -> Callable[[Live], None]:
    """What shows that the setting of this name took effect."""
    EFFECTS[of.__name__.upper()] = of
    return of


# -- the journal and its rounds ------------------------------------------------------------------------


@effect
def batch_size(live: Live) -> None:
    assert live.burst(6) == 1
    live.set("BATCH_SIZE=2")
    assert live.burst(6) == 3
    assert live.engine.commits.closed["size"] == 2


@effect
def batch_mode(live: Live) -> None:
    live.set("BATCH_MODE=0")
    assert live.burst(6) == 6


@effect
def batch_timeout(live: Live) -> None:
    live.set("BATCH_TIMEOUT=100ms", "BATCH_SIZE=1")
    peer = Peer()
    for number in (1, 2):
        take(live.engine, peer, number, "submit", **WORK)
    live.engine.advance(live.now)  # the first fills the round, and no commit begins
    live.engine.advance(live.now + 101)
    assert live.engine.commits.timeouts == 1
    turn(live.engine)
    assert {number: code for number, code, _ in peer.replies} == {1: 0, 2: "commit_timeout"}


def relaxed(live: Live) -> int:
    """How long progress waits that need not be written at once."""
    live.submit()
    live.claim()
    item = live.ask("held", agent="a")["items"][-1]["id"]
    assert live.ask("progress", id=item, percent=1, agent="a", relaxed=True)["queued"]
    due = live.engine.next_deadline()
    assert due is not None
    left = due - live.now
    live.later(left)
    assert live.ask("stats", section="wal")["sections"]["wal"]["oldest_unflushed_ms"] == 0
    return left


def unsynced(live: Live) -> tuple[bool, Any]:
    """Whether a change is answered before it is synced, and what its answer says of that."""
    peer = Peer()
    take(live.engine, peer, 1, "submit", **WORK)
    live.engine.advance(live.now)
    live.engine.write()
    early = bool(peer.replies)
    live.engine.commit()
    return early, peer.replies[-1][2].get("relaxed")


@effect
def wal_sync_interval(live: Live) -> None:
    assert unsynced(live) == (False, None)
    live.set("WAL_SYNC_INTERVAL=5000")
    assert unsynced(live) == (True, "sync within 5000 ms")
    assert live.ask("stats", section="wal")["sections"]["wal"]["strict"] is False


@effect
def wal_enabled(live: Live) -> None:
    live.set("WAL_ENABLED=0")
    assert unsynced(live) == (True, "no sync")
    assert "WAL_ENABLED=0" in live.ask("status")["durability"]


@effect
def batch_flush_interval(live: Live) -> None:
    assert relaxed(live) == 5000
    live.set("BATCH_FLUSH_INTERVAL=300ms")
    assert relaxed(live) == 300


@effect
def async_flush_interval(live: Live) -> None:
    live.set("ASYNC_FLUSH_INTERVAL=700ms")
    assert relaxed(live) == 700


@effect
def async_operations(live: Live) -> None:
    live.submit()
    live.claim()
    live.set("ASYNC_OPERATIONS=0")
    assert "queued" not in live.ask("progress", id=1, percent=1, agent="a", relaxed=True)
    assert live.ask("stats", section="async")["sections"]["async"]["direct"] == 1


@effect
def async_buffer_size(live: Live) -> None:
    for _ in range(2):
        live.submit()
        live.claim()
    live.set("ASYNC_BUFFER_SIZE=1")
    peer = Peer()
    for number in (1, 2):
        take(live.engine, peer, number, "progress", id=number, percent=1, agent="a", relaxed=True)
    live.engine.advance(live.now)
    assert live.ask("stats", section="async")["sections"]["async"]["direct"] == 1
    assert ["queued" in result for _, _, result in peer.replies] == [True, False]


@effect
def journal_rotation_mb(live: Live) -> None:
    live.set("JOURNAL_ROTATION_MB=1")
    for _ in range(30):
        live.submit(payload=b"x" * 60_000)
    assert live.ask("status")["journal"]["segments"] == 2


def _terms(live: Live) -> Any:
    return Keeper(live.engine, live.directory, Watches(lambda _: None))._terms()


@effect
def journal_compression_age_days(live: Live) -> None:
    live.set("JOURNAL_COMPRESSION_AGE_DAYS=3")
    assert _terms(live)[0] == 3 * 24 * HOUR


@effect
def journal_retention_days(live: Live) -> None:
    live.set("JOURNAL_RETENTION_DAYS=3")
    assert _terms(live)[1] == 3 * 24 * HOUR


@effect
def archive_max_mb(live: Live) -> None:
    live.set("ARCHIVE_MAX_MB=3")
    assert _terms(live)[2] == 3 << 20


# -- the rules of items --------------------------------------------------------------------------------


def leased(live: Live, **more: Any) -> int:
    number = live.submit()
    live.claim(id=number, **more)
    return int(live.ask("show", id=number)["lease_until"]) - live.now


@effect
def lease(live: Live) -> None:
    assert leased(live) == 5 * MINUTE
    live.set("LEASE=7m")
    assert live.ask("show", id=1)["lease_until"] == live.now + 5 * MINUTE, "what was given stays"
    live.ask("heartbeat", agent="a")
    assert live.ask("show", id=1)["lease_until"] == live.now + 5 * MINUTE, "and its claim keeps its length"
    assert leased(live) == 7 * MINUTE


ASK_FOR_A_LEASE: dict[str, dict[str, Any]] = {
    "submit": WORK,
    "claim": {"agent": "a", "wait": HOUR},
    "claim_new": {"agent": "a", **WORK},
    "lock": {"agent": "a", "name": "l"},
    "queue_set": {"queue": "q"},
}


@effect
def lease_max(live: Live) -> None:
    number = live.submit(lease=HOUR)
    live.set("LEASE_MAX=10m")
    live.claim(id=number)
    assert live.ask("show", id=number)["lease_until"] == live.now + 10 * MINUTE, "what is kept from before is cut"
    for verb, more in ASK_FOR_A_LEASE.items():
        refused = live.ask(verb, **more, lease=HOUR)
        assert refused[0] == "too_large", verb
        assert refused[1]["message"] == "a lease of 3600 s is more than LEASE_MAX, 600 s"


@effect
def stall_after(live: Live) -> None:
    live.set("STALL_AFTER=2h")
    number = live.submit()
    ask(live.engine, "claim", [(71, 1)], agent="a", id=number, watch=True)
    assert live.ask("show", id=number)["lease_until"] == live.now + 2 * HOUR


def state_after(live: Live, verb: str, **more: Any) -> str:
    number = live.submit()
    live.claim(id=number)
    return str(live.ask(verb, id=number, agent="a", **more)["state"])


@effect
def max_attempts(live: Live) -> None:
    assert state_after(live, "fail") == "scheduled"
    live.set("MAX_ATTEMPTS=1")
    assert state_after(live, "fail") == "buried"


@effect
def backoff_base(live: Live) -> None:
    live.set("BACKOFF_BASE=50m")
    number = live.submit()
    live.claim(id=number)
    live.ask("fail", id=number, agent="a")
    assert 40 * MINUTE <= live.ask("show", id=number)["due_at"] - live.now <= 60 * MINUTE


@effect
def backoff_max(live: Live) -> None:
    live.set("BACKOFF_MAX=1s", "BACKOFF_BASE=1s")
    number = live.submit()
    for _ in range(2):
        live.claim(id=number)
        live.ask("fail", id=number, agent="a")
        assert live.ask("show", id=number)["due_at"] - live.now <= 1200
        live.later(1200)


@effect
def crash_cap(live: Live) -> None:
    live.set("CRASH_CAP=1")
    number = live.submit()
    ask(live.engine, "claim", [(71, 1)], agent="a", id=number, watch=True)
    live.engine.died((71, 1))
    live.later(HOUR)
    assert live.ask("show", id=number)["state"] == "buried"


@effect
def release_cap(live: Live) -> None:
    live.set("RELEASE_CAP=1")
    assert state_after(live, "release") == "buried"


def end(live: Live, count: int, **more: Any) -> int:
    """So many items are done; how many are remembered after a while."""
    for _ in range(count):
        number = live.submit(**more)
        live.claim(id=number)
        live.ask("complete", id=number, agent="a")
    live.later(2 * MINUTE)
    live.later(0)
    return int(live.ask("count", all=True)["count"])


@effect
def retain_done(live: Live) -> None:
    assert end(live, 2) == 2
    live.set("RETAIN_DONE=1m")
    live.later(0)
    assert live.ask("count", all=True)["count"] == 0


@effect
def retain_done_items(live: Live) -> None:
    live.set("RETAIN_DONE_ITEMS=1")
    assert end(live, 4) == 1


@effect
def retain_done_mb(live: Live) -> None:
    live.set("RETAIN_DONE_MB=1")
    assert end(live, 30, payload=b"x" * 60_000) < 20


# -- limits --------------------------------------------------------------------------------------------


@effect
def max_items(live: Live) -> None:
    live.submit()
    live.set("MAX_ITEMS=1")
    assert live.refusal("submit", **WORK) == "overloaded"


@effect
def queue_max_length(live: Live) -> None:
    live.submit()
    live.set("QUEUE_MAX_LENGTH=1")
    assert live.refusal("submit", **WORK) == "queue_full"


@effect
def queues(live: Live) -> None:
    live.submit()
    live.set("QUEUES=1")
    assert live.refusal("submit", **WORK, queue="other") == "too_many_kinds"


@effect
def agents(live: Live) -> None:
    live.ask("register", agent="a")
    live.set("AGENTS=1")
    assert live.refusal("register", agent="b") == "too_many_kinds"


@effect
def payload_max(live: Live) -> None:
    live.set("PAYLOAD_MAX=10")
    assert live.refusal("submit", **WORK, payload=b"x" * 11) == "too_large"


@effect
def checkpoint_max(live: Live) -> None:
    live.submit()
    live.claim()
    live.set("CHECKPOINT_MAX=10")
    assert live.refusal("progress", id=1, agent="a", percent=1, checkpoint=b"x" * 11) == "too_large"


@effect
def output_tail(live: Live) -> None:
    live.submit()
    live.claim()
    live.set("OUTPUT_TAIL=10")
    assert live.refusal("complete", id=1, agent="a", output=b"x" * 11) == "too_large"


@effect
def description_max(live: Live) -> None:
    live.set("DESCRIPTION_MAX=64")
    assert live.refusal("submit", type="t", description="x" * 65) == "too_large"


@effect
def keys_max(live: Live) -> None:
    peer = Peer()
    for number in range(1100):
        take(live.engine, peer, number, "submit", **WORK, key=f"k{number}")
    turn(live.engine)
    assert live.ask("status")["keys"]["kept"] == 1100
    live.set("KEYS_MAX=1000")
    live.later(0)
    assert live.ask("status")["keys"]["kept"] == 1000


@effect
def waiters_max(live: Live) -> None:
    live.set("WAITERS_MAX=1")
    peer = Peer()
    for number, agent in enumerate("ab"):
        take(live.engine, peer, number, "claim", agent=agent, wait=MINUTE)
    turn(live.engine)
    assert [code for _, code, _ in peer.replies] == ["busy"]


@effect
def watch_ring(live: Live) -> None:
    live.set("WATCH_RING=1M")
    live.submit()
    assert live.engine.aside.following.ring.limit == 1 << 20


@effect
def require_token(live: Live) -> None:
    live.submit()
    live.claim()
    live.set("REQUIRE_TOKEN=yes")
    assert live.refusal("complete", id=1, agent="a") == "denied"


# -- kept answers --------------------------------------------------------------------------------------


def cached(live: Live) -> dict[str, Any]:
    found: dict[str, Any] = live.ask("stats", section="cache")["sections"]["cache"]
    return found


@effect
def cache_enabled(live: Live) -> None:
    live.submit()
    for _ in range(3):
        live.ask("show", id=1)
    assert (cached(live)["hits"], cached(live)["misses"]) == (2, 1)
    live.set("CACHE_ENABLED=no")
    for _ in range(3):
        live.ask("show", id=1)
    assert (cached(live)["hits"], cached(live)["misses"], cached(live)["entries"]) == (2, 1, 0)


@effect
def cache_ttl(live: Live) -> None:
    live.submit()
    live.set("CACHE_TTL=1")
    live.ask("show", id=1)
    live.later(1001)
    live.ask("show", id=1)
    assert (cached(live)["hits"], cached(live)["expired"]) == (0, 1)


@effect
def cache_max_size(live: Live) -> None:
    live.set("CACHE_MAX_SIZE=2")
    for limit in (1, 2, 3):
        live.ask("list", limit=limit)
    assert (cached(live)["entries"], cached(live)["evicted"]) == (2, 1)


@effect
def cache_compression(live: Live) -> None:
    live.submit(payload=b"x" * 10_000)
    live.set("CACHE_COMPRESSION=yes")
    plain = live.ask("get", id=1, what="payload")
    assert live.ask("get", id=1, what="payload") == plain
    assert cached(live)["hits"] == 1
    assert cached(live)["bytes"] * 10 < cached(live)["raw_bytes"]


# -- memory and threads --------------------------------------------------------------------------------


@effect
def process_memory_limit_mb(live: Live) -> None:
    live.set("PROCESS_MEMORY_LIMIT_MB=64")
    assert live.engine.queue.desk.policy.memory_max == 64 * (1 << 20) * 90 // 100


@effect
def memory_critical_threshold_pct(live: Live) -> None:
    live.set("PROCESS_MEMORY_LIMIT_MB=64", "MEMORY_CRITICAL_THRESHOLD_PCT=2", "MEMORY_WARNING_THRESHOLD_PCT=1")
    for _ in range(25):
        live.ask("submit", **WORK, payload=b"x" * 60_000)
    assert live.refusal("submit", **WORK) == "overloaded"
    live.claim()
    assert live.ask("complete", id=1, agent="a")["state"] == "done"


@effect
def memory_warning_threshold_pct(live: Live) -> None:
    memory = live.memory()
    live.submit(payload=b"x" * 60_000)
    for _ in range(12):
        live.submit(payload=b"x" * 60_000)
    memory.look()
    assert memory.level == "ok"
    memory.configure(resolve(None, {}, ["MEMORY_WARNING_THRESHOLD_PCT=1", "PROCESS_MEMORY_LIMIT_MB=64"]))
    live.ask("show", id=1)
    assert cached(live)["entries"] == 1
    memory.look()
    assert memory.level == "warning"
    assert (cached(live)["entries"], cached(live)["limit"]) == (0, 1000)
    assert [each["name"] for each in live.engine.health.look(live.now)] == ["memory_high"]
    memory.configure(resolve(None, {}, []))
    memory.look()
    assert memory.level == "ok"
    assert cached(live)["limit"] == 10_000


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.enable()


@effect
def gc_enabled(live: Live) -> None:
    collector = Collector(resolve(None, {}, []))
    collector.configure(resolve(None, {}, ["GC_ENABLED=no"]))
    assert not gc.isenabled()
    assert not collector.look(HOUR)
    collector.configure(resolve(None, {}, []))
    assert gc.isenabled()


@effect
def gc_interval(live: Live) -> None:
    collector = Collector(resolve(None, {}, ["GC_THRESHOLD_MB=0"]))
    assert not collector.look(299)
    collector.configure(resolve(None, {}, ["GC_INTERVAL=10s", "GC_THRESHOLD_MB=0"]))
    assert not collector.look(9.9)
    assert collector.look(10)
    assert collector.tell(Peer())["timed"] == 1
    collector.configure(resolve(None, {}, ["GC_INTERVAL=0", "GC_THRESHOLD_MB=0"]))
    assert not collector.look(HOUR)


@effect
def gc_threshold_mb(live: Live) -> None:
    collector = Collector(resolve(None, {}, ["GC_THRESHOLD_MB=0", "GC_INTERVAL=0"]))
    collector.run("timed")
    grown = bytearray(64 << 20)
    grown[::4096] = b"x" * len(grown[::4096])
    assert not collector.look(0)
    collector.configure(resolve(None, {}, ["GC_THRESHOLD_MB=4", "GC_INTERVAL=0"]))
    assert collector.look(0)
    assert collector.tell(Peer())["growth"] == 1
    assert not collector.look(0)


@effect
def gc_aggressive(live: Live) -> None:
    collector = Collector(resolve(None, {}, []))
    collector.start()
    try:
        before = collector.tell(Peer())
        collector.run("timed")
        assert collector.tell(Peer())["passes_2"] == before["passes_2"]
        collector.configure(resolve(None, {}, ["GC_AGGRESSIVE=yes"]))
        collector.run("timed")
        after = collector.tell(Peer())
        assert (after["passes_2"], after["aggressive"]) == (before["passes_2"] + 1, True)
        assert after["pause_max_us"] > 0
    finally:
        collector.stop()


@effect
def parallel_workers(live: Live) -> None:
    keeper = Keeper(live.engine, live.directory, Watches(lambda _: None))
    assert live.ask("stats", section="threads")["sections"]["threads"]["limit"] == 16
    keeper.configure(resolve(None, {}, ["PARALLEL_WORKERS=1"]))
    assert live.ask("stats", section="threads")["sections"]["threads"]["limit"] == 1


# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EFFECTS)
def test_it_takes_effect_at_once(name: str, live: Live) -> None:
    EFFECTS[name](live)


def test_every_live_setting_is_looked_at() -> None:
    assert EFFECTS.keys().isdisjoint(OF_CONNECTIONS)
    assert EFFECTS.keys() | OF_CONNECTIONS.keys() == {name for name, row in TABLE.items() if row.live}
