"""The dashboard's part of the rules: what stands first, what is cut, what has failed."""

from typing import Any

import pytest

from swarmshd.workqueue.records import FAILURES_KEPT, REASON_KEPT
from swarmshd.workqueue.tables import Tables
from tests.rules import HOUR, MINUTE, SECOND, House


@pytest.fixture
def house() -> House:
    return House()


def names(rows: list[dict[str, Any]], field: str) -> list[Any]:
    return [row[field] for row in rows]


def test_the_queue_whose_item_is_ready_for_longest_stands_first(house):
    house.submit(queue="busy")
    house.claim(queue=["busy"])
    house.submit(queue="late", delay=HOUR)
    for queue in ("old", "young"):
        house.now += SECOND
        house.submit(queue=queue, description="d" * 500)
    house.submit(queue="old")
    house.do("queue_set", queue="settings", limit=3, admin=True)
    found = house.do("dashboard")
    assert names(found["queues"], "queue") == ["old", "young", "busy", "late", "settings"]
    old = found["queues"][0]
    assert (old["ready"], old["oldest"]["id"], len(old["oldest"]["description"])) == (2, 3, 200)
    assert "oldest" not in found["queues"][2]
    cut = house.do("dashboard", queues=2)
    assert names(cut["queues"], "queue") == ["old", "young"]
    assert cut["queues_total"] == 5


def test_agents_in_trouble_stand_first_then_those_who_hold_for_longest(house):
    house.do("register", agent="silent", heartbeat=SECOND)
    house.do("register", agent="resting")
    for agent in ("first", "second"):
        house.now += SECOND
        house.held(agent, description=f"of {agent}")
    house.now += 5 * SECOND
    house.do("register", agent="new")
    found = house.do("dashboard")
    assert names(found["agents"], "agent") == ["silent", "first", "second", "new", "resting"]
    assert found["agent_states"] == {"suspect": 1, "active": 4}
    first = found["agents"][1]
    assert first["held"] == 1
    assert "holds" not in first
    assert first["oldest"] == {
        "id": 1,
        "type": "t",
        "description": "of first",
        "queue": "default",
        "claimed_at": house.now - 6 * SECOND,
        "lease_until": house.now - 6 * SECOND + 5 * MINUTE,
    }
    assert house.do("dashboard", agents=1)["agents_total"] == 5


def test_a_claim_that_stalls_is_trouble(house):
    for agent in ("well", "stalled"):
        house.submit()
        house.do("claim", agent=agent, watch=(4711, len(agent)))
    house.now += 20 * MINUTE
    house.do("progress", id=1, agent="well", percent=5, message="half way")
    house.now += 15 * MINUTE
    house.turn()
    rows = house.do("dashboard")["agents"]
    assert names(rows, "agent") == ["stalled", "well"]
    assert rows[0]["oldest"]["stalled"] is True
    assert (rows[1]["oldest"]["percent"], rows[1]["oldest"]["message"]) == (5, "half way")


def test_what_an_agent_holds_longest_is_told_after_it_was_resumed(house):
    house.held("a")
    house.now += SECOND
    house.held("a")
    house.do("claim", agent="a", resume=True, count=2)
    house.do("complete", id=1, agent="a")
    assert house.do("dashboard")["agents"][0]["oldest"]["id"] == 2


def test_failures_are_told_the_latest_first_with_what_became_of_them(house):
    house.held("a", description="one")
    house.do("fail", id=1, agent="a", reason="r" * 300)
    house.held("b")
    house.do("release", id=2, agent="b")
    house.do("bury", id=2, reason="a person must look")
    house.now += MINUTE
    house.turn()
    house.claim("c", id=1)
    house.do("complete", id=1, agent="c")
    found = house.do("dashboard")["failures"]
    assert names(found, "id") == [2, 1]
    assert found[0] == {
        "at": house.now - MINUTE,
        "id": 2,
        "queue": "default",
        "type": "t",
        "cause": "buried",
        "reason": "a person must look",
        "state": "buried",
        "description": "d",
    }
    assert (found[1]["agent"], found[1]["cause"], found[1]["state"]) == ("a", "failed", "done")
    assert found[1]["reason"] == "r" * REASON_KEPT
    assert names(house.do("dashboard", failures=1)["failures"], "id") == [2]
    assert house.do("dashboard", failures=0)["failures"] == []


def test_a_failure_outlives_its_item(house):
    house.held("a")
    house.do("fail", id=1, agent="a")
    house.do("cancel", id=1)
    house.now += 25 * HOUR
    house.turn()
    (failure,) = house.do("dashboard")["failures"]
    assert "state" not in failure
    assert failure["id"] == 1


def test_so_many_failures_are_kept_and_no_more(house):
    for number in range(1, FAILURES_KEPT + 6):
        house.held("a")
        house.do("bury", id=number, agent="a")
    found = house.do("dashboard", failures=1000)["failures"]
    assert names(found, "id") == list(range(FAILURES_KEPT + 5, 5, -1))


def test_after_a_start_from_a_snapshot_what_is_buried_is_remembered(house):
    for number in (1, 2, 3):
        house.now += SECOND
        house.held("a")
        house.do("bury", id=number, agent="a", reason=f"why {number}")
    house.do("kick", id=2)
    after = Tables()
    after.restore(house.tables.rows())
    assert not after.failures
    started = House()
    started.queue.tables = started.queue.desk.tables = after
    after.failures.append(house.tables.failures[-1])  # as the journal after the snapshot tells it
    started.queue.serve()
    assert [(failure.id, failure.agent, failure.reason) for failure in after.failures] == [
        (1, None, "why 1"),
        (3, "a", "why 3"),
    ]


def test_nothing_at_all(house):
    assert house.do("dashboard") == {
        "queues": [],
        "queues_total": 0,
        "agents": [],
        "agents_total": 0,
        "agent_states": {},
        "failures": [],
        "failures_total": 0,
    }
