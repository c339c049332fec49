"""What the daemon counts and what it calls unwell: commits, kept answers, what is relaxed, scans, conditions."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmshd import commands
from swarmshd.configuration import resolve
from swarmshd.engine import Engine, health
from swarmshd.engine.cache import CACHED
from swarmshd.engine.commits import SLOW_NS, Commits, _most, _step
from swarmshd.journal import Full
from swarmshd.workqueue.ready import Scan
from tests.pages import page, sections
from tests.rules import House
from tests.test_engine import Peer, ask, begin, take, turn
from tests.wire import lawful

pytestmark = pytest.mark.slow

WORK: dict[str, Any] = {"type": "t", "description": "d"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = begin(tmp_path / "state").engine
    yield made
    made.journal.close()


def section(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(engine, "stats", section=name)["sections"][name]
    return found


# -- commits -------------------------------------------------------------------------------------------


def test_steps_of_the_histogram_follow_each_other() -> None:
    for microseconds in (*range(200), 999, 1000, 1023, 1024, 10**6, 10**9):
        step = _step(microseconds)
        assert _most(step) >= microseconds
        assert step == 0 or _most(step - 1) < microseconds
        assert _most(step) <= microseconds * 9 // 8 + 1


def test_percentiles() -> None:
    commits = Commits()
    for microseconds in range(1, 101):
        commits.last_ns = microseconds * 1000
        commits.synced(0)
    assert 50 <= commits.percentile_us(50) <= 57
    assert 99 <= commits.percentile_us(99) <= 112
    assert commits.tell()["sync_max_us"] == 100
    assert Commits().percentile_us(99) == 0


def test_whether_the_disk_is_slow_is_judged_by_the_last_minutes() -> None:
    commits = Commits()
    commits.last_ns = SLOW_NS
    commits.synced(0)
    commits.last_ns = 1000
    for minute in range(5):
        commits.synced(minute * 60_000)
    assert commits.slow(4 * 60_000) == (1, 6)
    assert commits.slow(5 * 60_000) == (0, 4)


# -- kept answers --------------------------------------------------------------------------------------


def test_an_answer_that_is_kept_is_never_stale(engine: Engine) -> None:
    """Whatever happens between them, each question is answered as if nothing were kept."""
    chance = random.Random(5)
    questions: list[tuple[str, dict[str, Any]]] = [
        ("show", {"id": 1}), ("show", {"id": 2}), ("list", {}), ("list", {"all": True, "limit": 2}), ("count", {}),
        ("count", {"by": "state", "all": True}), ("queues", {}), ("get", {"id": 1, "what": "checkpoint"}),
        ("count", {"older": 60_000}), ("list", {"older": 60_000, "limit": 1}),
    ]  # fmt: skip
    changes: list[tuple[str, dict[str, Any]]] = [
        ("submit", {**WORK, "priority": "high"}), ("claim", {"agent": "a"}), ("pause", {"queue": "default"}),
        ("resume", {"queue": "default"}), ("progress", {"id": 1, "agent": "a", "percent": 5, "checkpoint": b"x"}),
        ("release", {"id": 1, "agent": "a"}), ("complete", {"id": 2, "agent": "a"}), ("kick", {"id": 2}),
        ("queue_set", {"queue": "default", "limit": 3}), ("fail", {"id": 1, "agent": "a"}),
    ]  # fmt: skip
    for _ in range(300):
        if chance.random() < 0.3:
            verb, arguments = chance.choice(changes)
            ask(engine, verb, **arguments)
        elif chance.random() < 0.1:
            turn(engine, engine.queue.desk.now + chance.randrange(40_000))
        verb, arguments = chance.choice(questions)
        kept = ask(engine, verb, **arguments)
        engine.cache.clear()
        assert ask(engine, verb, **arguments) == kept
        assert ask(engine, verb, **arguments) == kept
    assert section(engine, "cache")["hits"] > 100


def test_what_goes_by_age_is_not_kept(engine: Engine) -> None:
    ask(engine, "submit", **WORK)
    assert ask(engine, "count", older=2000) == {"count": 0}
    turn(engine, engine.queue.desk.now + 3000)
    assert ask(engine, "count", older=2000) == {"count": 1}


def test_who_waits_for_a_lock_is_told_of_at_once(engine: Engine) -> None:
    """No event says that somebody began or ceased to wait."""
    number = ask(engine, "lock", agent="a", name="l")["id"]
    assert ask(engine, "show", id=number)["waiting"] == 0
    other = Peer()
    take(engine, other, 1, "lock", agent="b", name="l", wait=60_000)
    turn(engine)
    assert ask(engine, "show", id=number)["waiting"] == 1
    engine.gone(other)
    assert ask(engine, "show", id=number)["waiting"] == 0


def test_answers_that_settings_are_part_of_are_forgotten_with_them(engine: Engine) -> None:
    ask(engine, "submit", **WORK)
    assert ask(engine, "show", id=1)["attempts_max"] == 5
    engine.configure(resolve(None, {}, ["MAX_ATTEMPTS=7"]))
    assert ask(engine, "show", id=1)["attempts_max"] == 7


def test_who_may_not_look_gets_no_answer_that_is_kept(engine: Engine) -> None:
    ask(engine, "submit", **WORK)
    for _ in range(2):
        ask(engine, "show", id=1)
    assert ask(engine, "show", peer=Peer(7, frozenset()), id=1)[0] == "denied"
    assert {"held", "agents", "status", "stats", "explain"}.isdisjoint(CACHED)


def test_what_is_kept_is_bounded_in_bytes(engine: Engine) -> None:
    engine.configure(resolve(None, {}, ["PAYLOAD_MAX=900K"]))
    for number in range(1, 90):
        ask(engine, "submit", **WORK, payload=bytes([number]) * 900_000)
    for number in range(1, 90):
        ask(engine, "get", id=number, what="payload")
    found = section(engine, "cache")
    assert found["bytes"] <= 64 << 20
    assert found["evicted"] > 10


# -- what is relaxed -----------------------------------------------------------------------------------


def test_relaxed_heartbeats_are_answered_at_once_and_written_together(engine: Engine) -> None:
    for _ in range(3):
        ask(engine, "submit", **WORK)
    tokens = [ask(engine, "claim", agent="a")["items"][0]["token"] for _ in range(3)]
    ends = [ask(engine, "show", id=number)["lease_until"] for number in (1, 2, 3)]
    turn(engine, engine.queue.desk.now + 100_000)
    before = engine.journal.end
    for _ in range(4):
        reply = ask(engine, "heartbeat", agent="a", relaxed=True)
        assert (reply["renewed"], reply["lost"], reply["queued"]) == (dict(zip((1, 2, 3), ends, strict=True)), {}, True)
    assert ask(engine, "heartbeat", ids=[1], token="1.0000000000000000", relaxed=True)["lost"] == {1: "lease_lost"}
    assert ask(engine, "heartbeat", ids=[1], token=tokens[0], relaxed=True)["queued"]
    assert engine.journal.end == before
    found = section(engine, "async")
    assert (found["depth"], found["queued"], found["coalesced"]) == (3, 13, 10)
    assert ask(engine, "agents", agent="a")["agents"][0]["seen_at"] == engine.queue.desk.now, "the agent lives, though"
    turn(engine, engine.queue.desk.now + 5000)
    assert engine.journal.end == before + 1, "one event for all"
    assert [ask(engine, "show", id=number)["lease_until"] for number in (1, 2, 3)] == [end + 105_000 for end in ends]
    assert section(engine, "async")["recorded"] == 3


def test_what_is_relaxed_renews_a_lease_before_it_ends(engine: Engine) -> None:
    ask(engine, "submit", **WORK, lease=2000)
    ask(engine, "claim", agent="a")
    turn(engine, engine.queue.desk.now + 1500)
    ask(engine, "heartbeat", agent="a", relaxed=True)
    due = engine.next_deadline()
    assert due is not None
    turn(engine, due)
    assert ask(engine, "show", id=1)["lease_until"] == engine.queue.desk.now + 2000


def test_what_a_former_holder_said_is_not_said_by_the_next(engine: Engine) -> None:
    ask(engine, "submit", **WORK)
    ask(engine, "claim", agent="a")
    ask(engine, "progress", id=1, agent="a", percent=90, message="from a", relaxed=True)
    ask(engine, "release", id=1, agent="a")
    ask(engine, "claim", agent="b")
    ask(engine, "progress", id=1, agent="b", status="mine", relaxed=True)
    turn(engine, engine.queue.desk.now + 5000)
    shown = ask(engine, "show", id=1)
    assert (shown.get("percent"), shown.get("message"), shown["status"]) == (None, None, "mine")
    ask(engine, "progress", id=1, agent="b", percent=7, relaxed=True)
    ask(engine, "complete", id=1, agent="b")
    turn(engine, engine.queue.desk.now + 5000)
    assert section(engine, "async")["dropped"] == 1


def test_progress_and_heartbeats_of_an_item_are_one(engine: Engine) -> None:
    ask(engine, "submit", **WORK)
    ask(engine, "claim", agent="a")
    ask(engine, "heartbeat", agent="a", relaxed=True)
    ask(engine, "progress", id=1, agent="a", percent=7, relaxed=True)
    ask(engine, "heartbeat", agent="a", relaxed=True)
    assert section(engine, "async")["depth"] == 1
    turn(engine, engine.queue.desk.now + 5000)
    assert ask(engine, "show", id=1)["percent"] == 7


# -- without an index ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_queue_without_an_index_does_the_same(seed: int) -> None:
    chance = random.Random(seed)
    plain, scanning = House(), House(indexed=False)
    assert isinstance(scanning.queue.ready, Scan)
    for _ in range(400):
        verb, arguments = _something(chance)
        found = [_outcome(house, verb, arguments) for house in (plain, scanning)]
        assert found[0] == found[1], (verb, arguments)
    assert plain.queue.ready.scanned * 4 < scanning.queue.ready.scanned


def _something(chance: random.Random) -> tuple[str, dict[str, Any]]:
    queue, kind, agent = chance.choice("pq"), chance.choice("tu"), chance.choice("abc")
    number = chance.randrange(1, 60)
    some: list[tuple[str, dict[str, Any]]] = [
        ("submit", {"type": kind, "description": "d", "queue": queue, "priority": chance.choice(("low", "high"))}),
        ("submit", {"type": kind, "description": "d", "queue": queue, "require": ["gpu"], "team": "x"}),
        ("claim", {"agent": agent, "queue": "*"}),
        ("claim", {"agent": agent, "queue": [queue], "type": [kind], "count": 2}),
        ("complete", {"id": number, "agent": agent}),
        ("release", {"id": number, "agent": agent}),
        ("cancel", {"id": number}),
        ("edit", {"id": number, "priority": "critical", "queue": queue}),
        ("register", {"agent": agent, "labels": chance.choice(([], ["gpu"]))}),
        ("pause", {"queue": queue}),
        ("resume", {"queue": queue}),
        ("queue_set", {"queue": queue, "limit": chance.randrange(3)}),
        ("list", {"queue": [queue], "state": ["ready"]}),
        ("list", {"type": [kind], "limit": 3}),
        ("count", {"by": chance.choice(("state", "type", "team", "agent"))}),
        ("explain", {"agent": agent}),
        ("explain", {"queue": queue}),
    ]
    return chance.choice(some)


def _outcome(house: House, verb: str, arguments: dict[str, Any]) -> Any:
    try:
        found = house.do(verb, admin=True, **arguments)
        return found["items"] if verb == "list" else found  # how far it looked is another matter
    except commands.Refusal as refusal:
        lawful(refusal.code, refusal.wire())
        return refusal.code


# -- conditions ----------------------------------------------------------------------------------------


def names(engine: Engine) -> dict[str, str]:
    return {each["name"]: each["severity"] for each in ask(engine, "health")["conditions"]}


def test_all_is_well(engine: Engine) -> None:
    ask(engine, "submit", **WORK)
    ask(engine, "claim", agent="a")
    assert ask(engine, "health") == {"conditions": []}
    assert ask(engine, "status")["conditions"] == []


def test_a_queue_from_which_nobody_claims_is_stalled(engine: Engine) -> None:
    ask(engine, "submit", **WORK, queue="nightly")
    ask(engine, "submit", **WORK, queue="nightly")
    turn(engine, engine.queue.desk.now + health.STALLED_AFTER - 1)
    assert names(engine) == {}
    turn(engine, engine.queue.desk.now + 1)
    (condition,) = ask(engine, "health")["conditions"]
    assert condition == {
        "name": "queue_stalled",
        "severity": "page",
        "since": engine.queue.desk.now,
        "fact": "nobody has claimed from nightly for 10 min, with 2 ready",
        "next": "swarmctl explain --queue nightly",
    }
    since = engine.queue.desk.now
    turn(engine, since + 60_000)
    assert ask(engine, "health")["conditions"][0]["since"] == since
    assert ask(engine, "status")["conditions"] == [f"queue_stalled: {ask(engine, 'health')['conditions'][0]['fact']}"]
    ask(engine, "claim", agent="a", queue="nightly")
    assert names(engine) == {}
    turn(engine, engine.queue.desk.now + health.STALLED_AFTER)
    assert names(engine)["queue_stalled"] == "page"
    ask(engine, "pause", queue="nightly", reason="why")
    assert names(engine)["queue_paused"] == "info"
    assert "queue_stalled" not in names(engine)
    ask(engine, "resume", queue="nightly")
    ask(engine, "queue_set", queue="nightly", limit=1)
    ask(engine, "claim", agent="b", queue="nightly", lease=3_600_000)
    turn(engine, engine.queue.desk.now + health.STALLED_AFTER)
    assert "queue_stalled" not in names(engine), "its limit is reached"


def test_a_start_after_a_long_time_is_no_stall(tmp_path: Path) -> None:
    first = begin(tmp_path / "state").engine
    ask(first, "submit", **WORK)
    first.close(first.queue.desk.now)
    engine = begin(tmp_path / "state", wall=first.queue.desk.now + 10 * health.STALLED_AFTER).engine
    assert names(engine) == {}
    turn(engine, engine.queue.desk.now + health.STALLED_AFTER)
    assert names(engine) == {"queue_stalled": "page"}
    engine.journal.close()


def test_each_condition_of_the_engine_can_be_met(engine: Engine) -> None:
    engine.space.full = Full(Path("/x"), 4096)
    assert names(engine)["disk_full"] == "page"
    engine.space.full = None
    engine.commits.last_ns = 2 * SLOW_NS
    engine.commits.synced(engine.queue.desk.now)
    assert names(engine)["sync_slow"] == "warning"
    engine.fold = {"failed": "exit status 1"}
    assert names(engine)["fold_failing"] == "warning"
    engine.fold = {"position": 5}
    assert "fold_failing" not in names(engine)
    ask(engine, "register", agent="h", heartbeat=1000)
    ask(engine, "submit", **WORK)
    ask(engine, "claim", [(71, 1)], agent="a", watch=True)
    ask(engine, "progress", id=1, percent=1, agent="a", relaxed=True)
    assert names(engine)["relaxed_durability"] == "info"
    turn(engine, engine.queue.desk.now + 5000)
    assert "relaxed_durability" not in names(engine)
    turn(engine, engine.queue.desk.now + 1_900_000)
    found = names(engine)
    assert found["items_stalled"] == found["agents_lost"] == "warning"
    ask(engine, "pause", all=True, reason="night")
    assert names(engine)["queue_paused"] == "info"
    ask(engine, "resume", all=True)
    for _ in range(health.LOST_MOST + 3):
        number = ask(engine, "submit", **WORK)["id"]
        ask(engine, "claim", [(72, 2)], agent="b", id=number, watch=True)
        engine.died((72, 2))
        turn(engine)
        ask(engine, "bury", id=number)
    found = names(engine)
    assert found["leases_lost"] == found["buried_growing"] == "warning"


def test_the_conditions_of_the_code_are_those_of_the_page() -> None:
    text = page("swarmsh-protocol.7")
    told = re.findall(
        r"^\.It Li (\w+) Ta", text.partition("The names of conditions:")[2].partition(".El")[0], re.MULTILINE
    )
    sources = "".join(path.read_text() for path in Path("swarmshd").rglob("*.py"))
    known = set(re.findall(r'Condition\(\s*"(\w+)"', sources)) | {"memory_high", "memory_critical"}
    assert sorted(told) == sorted(known)


# -- the wire ------------------------------------------------------------------------------------------


@pytest.mark.real
def test_every_counter_is_described(daemon: Any) -> None:
    described = next(found for found in sections(page("swarmsh-protocol.7")) if found.title == "stats").lines
    entries = re.split(r"^\.It Li ", "\n".join(described), flags=re.MULTILINE)[1:]
    words = {entry.split("\n", 1)[0]: set(re.findall(r"\w+", entry)) for entry in entries}
    found = daemon.call("stats")["sections"]
    assert found.keys() == words.keys()
    for name, counters in found.items():
        assert counters.keys() - words[name] == set(), name
        assert daemon.call("stats", section=name)["sections"].keys() == {name}


def test_there_is_no_such_section(engine: Engine) -> None:
    code, facts = ask(engine, "stats", section="nosuch")
    assert code == "not_found"
    assert facts["message"] == "stats: there is no section nosuch; there are queue, wal, async, cache"


def test_reads_and_refusals_make_no_commit(engine: Engine) -> None:
    before = section(engine, "wal")
    peer = Peer()
    for number in range(5):
        take(engine, peer, number, "count")
        take(engine, peer, number + 5, "show", id=99)
    turn(engine)
    assert section(engine, "wal") == before
