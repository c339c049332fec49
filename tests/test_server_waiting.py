"""Batches, claims that wait, ``wait``, and claims that could not be told of: with a real daemon.

The order of waiting claims is fair; who has gone gets nothing; what nobody learned of goes back.
"""

import os
import signal
import subprocess
import threading
import time
from typing import Any

import pytest

from swarmshd.commands import Refusal
from swarmshd.engine import Delivery
from swarmshd.workqueue import queue
from tests.conftest import until
from tests.test_engine import NOW, Peer, ask, begin, crash, take, turn
from tests.wire import Refused

pytestmark = pytest.mark.slow

WISH: dict[str, Any] = {"type": "t", "description": "d"}
SUBMIT = ["submit", WISH]


def waiters(daemon, count):
    until(lambda: daemon.call("status")["waiters"] == count, f"{count} wait")


@pytest.fixture
def engine(directory):
    started = begin(directory / "state")
    yield started.engine
    started.engine.journal.close()


# -- batches -------------------------------------------------------------------------------------------


def test_each_line_of_a_batch_has_its_own_reply(daemon):
    with daemon.wire() as wire:
        lines = [SUBMIT, ["show", {"id": 99999}], ["nonsense", {}], SUBMIT, 5, ["claim", {"agent": "a"}], ["count", {}]]
        replies = wire.call("batch", commands=lines)["replies"]
        assert [code for code, _ in replies] == [0, "not_found", "unknown_verb", 0, "bad_request", 0, 0]
        assert replies[5][1]["items"][0]["id"] == replies[0][1]["id"]
        assert replies[6][1]["count"] == 2


def test_what_cannot_stand_in_a_batch(daemon):
    with daemon.wire() as wire:
        replies = wire.call("batch", commands=[["hello", {}], SUBMIT, ["batch", {}], ["wait", {}]])["replies"]
        assert [code for code, _ in replies] == ["bad_request", 0, "bad_request", "bad_request"]
        replies = wire.call("batch", commands=[["claim", {"agent": "a", "wait": 5}]])["replies"]
        assert replies[0][0] == "bad_request"


UNLAWFUL: list[tuple[Any, str]] = [
    (["submit", {"type": "t"}], "bad_request"),
    (["submit", WISH | {"after": [99999]}], "not_found"),
    (["submit", WISH | {"payload": b"x" * 70_000}], "too_large"),
    (["submit", WISH | {"ref": "taken"}], "duplicate"),
    (["submit", WISH | {"ref": "self", "after": ["self"]}], "cycle"),
    (["submit", WISH | {"queue": "closed"}], "queue_closed"),
    (["submit", WISH | {"queue": "short"}], "queue_full"),
    (["claim", {"agent": "a"}], "bad_request"),
    ("nonsense", "bad_request"),
]


def test_an_atomic_batch_is_refused_as_a_whole_and_names_the_line(daemon):
    with daemon.wire() as wire:
        wire.call("submit", type="t", description="d", ref="taken", queue="short")
        wire.call("queue_set", queue="closed", closed=True)
        wire.call("queue_set", queue="short", max_length=1)
        before = wire.call("count")
        for bad, code in UNLAWFUL:
            with pytest.raises(Refused) as refused:
                wire.call("batch", commands=[SUBMIT, SUBMIT, bad, SUBMIT], atomic=True)
            assert (refused.value.code, refused.value.facts["line"]) == (code, 2)
            assert wire.call("count") == before
    daemon.restart()
    assert daemon.call("count") == before


def test_an_atomic_batch_may_refer_forward(daemon):
    with daemon.wire() as wire:
        lines = [["submit", WISH | {"ref": f"r{n}", "after": [f"r{n + 1}"]}] for n in range(19)]
        lines.append(["submit", WISH | {"ref": "r19"}])
        replies = wire.call("batch", commands=lines, atomic=True, key="k")["replies"]
        assert wire.call("batch", commands=lines, atomic=True, key="k")["replies"] == replies
        assert wire.call("count", by="state")["by"] == {"ready": 1, "blocked": 19}
        with pytest.raises(Refused, match="other content"):
            wire.call("batch", commands=lines[:5], atomic=True, key="k")


# -- claims that wait ----------------------------------------------------------------------------------


def test_twenty_waiting_claims_are_served_in_their_order(daemon):
    wires = [daemon.wire() for _ in range(20)]
    for number, wire in enumerate(wires):
        wire.send("claim", agent=f"a{number}", wait=30_000)
        waiters(daemon, number + 1)
    with daemon.wire() as wire:
        for number in range(0, 20, 4):
            replies = wire.call("batch", commands=[SUBMIT] * 4)["replies"]
            ids = [reply["id"] for _, reply in replies]
            for offset, expected in enumerate(ids):
                _, code, result = wires[number + offset].receive()
                assert code == 0
                assert result["items"][0]["id"] == expected
    for wire in wires:
        wire.close()


def test_who_has_gone_gets_nothing(daemon):
    with daemon.wire() as first, daemon.wire() as second:
        first.send("claim", agent="first", wait=30_000)
        waiters(daemon, 1)
        second.send("claim", agent="second", wait=30_000)
        waiters(daemon, 2)
        first.close()
        waiters(daemon, 1)
        number = daemon.call("submit", type="t", description="d")["id"]
        assert second.receive()[2]["items"][0]["id"] == number
        assert daemon.call("show", id=number)["attempt"] == 1


def test_filters_and_priorities_across_waiting_claims(daemon):
    with daemon.wire() as wire:
        wire.call("register", agent="labelled", labels=["gpu"])
        numbers = {
            "type": wire.send("claim", agent="a", wait=30_000, type=["x"]),
            "team": wire.send("claim", agent="a", wait=30_000, team=["blue"]),
            "queue": wire.send("claim", agent="a", wait=30_000, queue=["q1", "q2"]),
            "label": wire.send("claim", agent="labelled", wait=30_000, queue=["gpus"]),
            "all": wire.send("claim", agent="a", wait=30_000, queue="*", count=3),
        }
        waiters(daemon, 5)

        def puts(**more):
            wire.send("submit", type=more.pop("type", "t"), description="d", **more)
            got = {}
            for _ in range(2):
                number, code, result = wire.receive()
                assert code == 0
                got[number] = result
            (waiter,) = [name for name, number in numbers.items() if number in got]
            return waiter

        assert puts(type="x") == "type"
        assert puts(queue="q2", priority="low") == "queue"
        assert puts(team="blue", queue="default") == "team"
        assert puts(queue="gpus", require=["gpu"]) == "label"
        assert puts(queue="anything", priority="critical") == "all"


def test_a_wait_that_is_over_ends_with_empty(daemon):
    with daemon.wire() as wire:
        wire.send("claim", agent="a", wait=50)
        _, code, facts = wire.receive()
        assert code == "empty"
        assert facts["retryable"] is True
        wire.call("pause", queue="default", reason="lunch")
        wire.call("submit", **WISH)
        wire.send("claim", agent="a", wait=50)
        _, code, facts = wire.receive()
        assert (code, facts["paused"]) == ("empty", "lunch")


def test_the_end_of_a_pause_serves_who_waits(daemon):
    with daemon.wire() as wire:
        wire.call("pause", queue="default")
        number = wire.call("submit", **WISH)["id"]
        wire.send("claim", agent="a", wait=30_000)
        waiters(daemon, 1)
        wire.send("resume", queue="default")
        found = {wire.receive()[0]: None for _ in range(2)}
        assert len(found) == 2
        assert daemon.call("show", id=number)["state"] == "claimed"


def test_drain_sends_away_who_waits(daemon):
    with daemon.wire() as claims, daemon.wire() as waits, daemon.wire() as idle:
        number = idle.call("submit", **WISH)["id"]
        claims.send("claim", agent="a", wait=60_000, queue=["other"])
        waits.send("wait", ids=[number], timeout=60_000)
        waiters(daemon, 2)
        os.kill(daemon.pid, signal.SIGTERM)
        assert claims.receive()[1] == "draining"
        assert waits.receive()[1] == "draining"
        assert daemon.wait() == 0


def test_too_many_waiters(make_daemon):
    daemon = make_daemon("WAITERS_MAX=3").start()
    with daemon.wire() as wire:
        for _ in range(3):
            wire.send("claim", agent="a", wait=60_000)
        number = wire.send("claim", agent="a", wait=60_000)
        got, code, facts = wire.receive()
        assert (got, code) == (number, "busy")
        assert "WAITERS_MAX" in facts["message"]


def test_a_process_that_dies_while_its_claim_waits_gets_nothing(daemon):
    process = subprocess.Popen(["sleep", "600"])
    descriptor = os.pidfd_open(process.pid)
    with daemon.wire() as wire:
        number = wire.send("claim", [descriptor], agent="a", wait=60_000, watch=True)
        waiters(daemon, 1)
        process.kill()
        process.wait()
        os.close(descriptor)
        got, code, facts = wire.receive()
        assert (got, code) == (number, "bad_request")
        assert "exited" in facts["message"]
        item = wire.call("submit", **WISH)["id"]
        assert wire.call("show", id=item)["state"] == "ready"


# -- wait ----------------------------------------------------------------------------------------------


def test_wait_for_items_and_for_a_group(daemon):
    with daemon.wire() as wire, daemon.wire() as worker:
        ids = [wire.call("submit", type="t", description="d", group="g")["id"] for _ in range(3)]
        by_ids = wire.send("wait", ids=ids, timeout=30_000)
        by_group = wire.send("wait", group="g", timeout=30_000)
        by_any = wire.send("wait", group="g", any=True, timeout=30_000)
        for number, verb in zip(ids, ("complete", "bury", "cancel"), strict=True):
            if verb != "cancel":
                worker.call("claim", agent="a", id=number)
            worker.call(verb, id=number, **({} if verb == "cancel" else {"agent": "a"}))
        answers = wire.answers(3)
        assert answers[by_any][1]["pending"] == 2
        for which in (by_ids, by_group):
            code, facts = answers[which]
            assert (code, facts["total"], facts["pending"]) == (0, 3, 0)
            assert [row["state"] for row in facts["ended"]] == ["buried", "cancelled", "done"]
        with pytest.raises(Refused) as refused:
            wire.call("wait", ids=[*ids, 99999], timeout=1)
        assert refused.value.code == "not_found"
        more = wire.call("submit", type="t", description="d", group="g")["id"]
        with pytest.raises(Refused) as refused:
            wire.call("wait", ids=[ids[0], more], timeout=20)
        assert (refused.value.code, refused.value.facts["pending"]) == ("timeout", 1)
        with pytest.raises(Refused) as refused:
            wire.call("wait", group="g", timeout=0)
        assert refused.value.code == "timeout"


def test_a_wait_that_comes_while_the_daemon_stops_is_told_so(engine):
    number = ask(engine, "submit", **WISH)["id"]
    engine.drain()
    assert ask(engine, "wait", ids=[number], timeout=60_000)[0] == "draining"
    assert ask(engine, "wait", ids=[99], timeout=60_000)[0] == "not_found"


def test_what_is_waited_for_is_bounded(engine, monkeypatch):
    monkeypatch.setattr(queue, "WAITED_MAX", 5)
    ids = [ask(engine, "submit", **WISH)["id"] for _ in range(3)]
    peer = Peer()
    take(engine, peer, 1, "wait", ids=ids, timeout=60_000)
    turn(engine)
    code, facts = ask(engine, "wait", ids=ids, timeout=60_000)
    assert (code, facts["retryable"]) == ("busy", True)
    engine.gone(peer)
    again = Peer()
    take(engine, again, 1, "wait", ids=ids, timeout=60_000)
    turn(engine)
    assert not again.replies


def test_the_filters_of_claims_are_bounded(engine):
    names = [f"q{n}" for n in range(257)]
    for name in ("queue", "type", "team"):
        many: dict[str, Any] = {name: names}
        few: dict[str, Any] = {name: names[1:]}
        with pytest.raises(Refusal, match="256") as refused:
            ask(engine, "claim", agent="a", **many)
        assert refused.value.code == "too_large"
        assert ask(engine, "claim", agent="a", **few)[0] == "empty"


# -- claims that nobody could be told of ---------------------------------------------------------------


def claimed(engine, key="k", **more):
    """A claim that was decided and not synced yet, and the client that waits for its reply."""
    peer = Peer()
    take(engine, peer, 7, "claim", agent="a", key=key, **more)
    engine.advance(NOW)
    assert engine.write()
    return peer


def test_a_claim_whose_connection_closed_while_it_was_synced_is_taken_back(engine):
    number = ask(engine, "submit", **WISH)["id"]
    peer = claimed(engine)
    peer.closing = True
    engine.gone(peer)
    engine.sync()
    engine.durable()
    assert not peer.replies
    turn(engine)
    item = ask(engine, "show", id=number)
    assert item["state"] == "ready"
    assert [item[name] for name in ("failures", "crashes", "releases")] == [0, 0, 0]


@pytest.mark.parametrize("when", ["before the sync", "after it", "after a crash"])
def test_the_same_key_gets_a_fresh_claim(directory, when):
    engine = begin(directory / "state").engine
    number = ask(engine, "submit", **WISH)["id"]
    peer = claimed(engine)
    peer.closing = True
    again = Peer()
    if when == "before the sync":
        # Told of again before the first reply could have left: the claim stands.
        take(engine, again, 1, "claim", agent="a", key="k")
        engine.advance(NOW)
    engine.sync()
    engine.durable()
    turn(engine)
    if when != "before the sync":
        assert ask(engine, "show", id=number)["state"] == "ready"
    if when == "after a crash":
        engine = begin(crash(engine, directory / "state")).engine
    (item,) = ask(engine, "claim", agent="a", key="k")["items"]
    assert item["id"] == number
    if when == "before the sync":
        assert again.replies[0][2]["items"] == [item]
    assert ask(engine, "complete", id=number, token=item["token"])["state"] == "done"
    engine.journal.close()


def test_what_was_made_with_its_claim_is_not_made_twice(engine):
    peer = Peer()
    wish: dict[str, Any] = {"agent": "a", "type": "t", "description": "d", "key": "k"}
    take(engine, peer, 1, "claim_new", **wish)
    engine.advance(NOW)
    engine.write()
    peer.closing = True
    engine.sync()
    engine.durable()
    turn(engine)
    (item,) = ask(engine, "claim_new", **wish)["items"]
    assert ask(engine, "count") == {"count": 1}
    assert ask(engine, "complete", id=item["id"], token=item["token"])["state"] == "done"


def test_claims_in_a_batch_are_taken_back_too(engine):
    for _ in range(3):
        ask(engine, "submit", **WISH)
    peer = Peer()
    take(engine, peer, 1, "batch", commands=[["claim", {"agent": "a"}], ["claim", {"agent": "b", "count": 2}]], key="k")
    engine.advance(NOW)
    engine.write()
    peer.closing = True
    engine.sync()
    engine.durable()
    turn(engine)
    assert ask(engine, "count", by="state")["by"] == {"ready": 3}


def test_a_claim_that_its_holder_has_ended_is_left_alone(engine):
    number = ask(engine, "submit", **WISH)["id"]
    (item,) = ask(engine, "claim", agent="a")["items"]
    ask(engine, "complete", id=number, token=item["token"])
    engine.undelivered([Delivery([(number, item["fence"]), (99, 99)], None, minted=False)])
    turn(engine)
    assert ask(engine, "show", id=number)["state"] == "done"


@pytest.mark.real
def test_clients_killed_at_their_claim_leave_nothing_claimed(daemon):
    """Each asks for an item and closes without reading, at every stage of the daemon's work."""
    for _ in range(60):
        daemon.call("submit", **WISH)
    for round_ in range(150):
        with daemon.wire() as wire:
            wire.send("claim", agent=f"a{round_}", key=f"auto:{round_}", wait=5000)
            if round_ % 3:
                time.sleep(0.0005 * (round_ % 12))
    until(lambda: daemon.call("count", by="state")["by"] == {"ready": 60}, daemon.call("count", by="state"))


@pytest.mark.real
def test_who_reads_his_claim_and_goes_keeps_it(daemon):
    for _ in range(100):
        daemon.call("submit", **WISH)

    def work():
        for _ in range(25):
            with daemon.wire() as wire:
                wire.call("claim", agent=f"a{threading.get_ident()}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    daemon.call("status")
    assert daemon.call("count", by="state")["by"] == {"claimed": 100}
