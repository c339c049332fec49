"""``explain``: each reason in the situation that it is about, and the claim that would be made agrees with it."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmctl import parse
from swarmshd.commands import Refusal
from swarmshd.workqueue.explaining import NAMED_MAX, REASONS, STARVED_AFTER
from swarmshd.workqueue.looking import LOOK_MAX
from tests.pages import page
from tests.rules import HOUR, MINUTE, SECOND, House

ME = (71, 1001)


def told(house: House, **about: Any) -> dict[str, dict[str, Any]]:
    """The reasons by their codes (the first of each)."""
    reply = house.do("explain", **about)
    found: dict[str, dict[str, Any]] = {}
    for reason in reply["reasons"]:
        assert reason["code"] in REASONS
        assert reason["message"].isprintable()
        if "next" in reason:
            parse.parse(reason["next"].split()[1:])
        found.setdefault(reason["code"], reason)
    assert found
    assert reply["claimable"] == ("claimable" in found) == (reply["reasons"][0]["code"] == "claimable")
    return found


def granted(house: House, **wish: Any) -> bool:
    """Whether a claim is granted now; asked of a copy, so that nothing changes."""
    house.turn()
    try:
        house.restored().do("claim", **wish)
    except Refusal:
        return False
    return True


def no(house: House, number: int, name: str | None = None) -> dict[str, dict[str, Any]]:
    """The reasons for an item that cannot be claimed, by this agent or by a new one."""
    assert not granted(house, agent=name or "somebody-new", id=number)
    found = told(house, id=number) if name is None else told(house, id=number, agent=name)
    assert "claimable" not in found
    return found


# -- items ---------------------------------------------------------------------------------------------------


def test_a_ready_item():
    house = House()
    number = house.submit(queue="q")
    house.later(5 * MINUTE)
    assert granted(house, agent="new", id=number)
    found = told(house, id=number)
    assert found["claimable"]["since"] == house.now - 5 * MINUTE
    assert found["claimable"]["next"] == "swarmctl claim --id 1"
    assert "for 5m" in found["claimable"]["message"]
    assert set(found) == {"claimable", "nobody_asks"}
    assert set(told(house, id=number, agent="new")) == {"claimable", "nobody_asks"}


def test_held_and_for_how_long():
    house = House()
    number = house.held("a")["id"]
    house.later(MINUTE)
    held = no(house, number, "b")["held"]
    want = {"agent": "a", "since": house.now - MINUTE, "left": 4 * MINUTE, "attempt": 1, "watching": None}
    assert {name: held.get(name) for name in want} == want
    assert held["lease_until"] == house.now + 4 * MINUTE
    assert "a has held it for 60s (attempt 1), and keeps it for another 4m" in held["message"]


def test_held_under_a_watch_and_stalled():
    house = House()
    house.submit()
    house.claim("a", watch=ME)
    assert "while process 71 lives" in no(house, 1)["held"]["message"]
    house.later(40 * MINUTE)
    stalled = no(house, 1)["stalled"]
    assert (stalled["agent"], stalled["silent"]) == ("a", 40 * MINUTE)
    assert "in 20m the item is taken back" in stalled["message"]


def test_a_holder_that_is_suspect_or_gone():
    house = House()
    house.do("register", agent="a", heartbeat=SECOND, watch=ME)
    house.submit(lease=HOUR)
    house.claim("a")
    assert "suspect" not in no(house, 1)
    house.later(MINUTE)
    suspect = no(house, 1)["suspect"]
    assert suspect["agent"] == "a"
    assert "promised a word every 1s" in suspect["message"]
    house.die(ME)
    assert "claimable" in told(house, id=1)
    assert "its process died" in told(house, agent="a")["suspect"]["message"]


def test_scheduled_and_after_a_failure():
    house = House()
    number = house.submit(delay=HOUR)
    assert no(house, number)["scheduled"]["left"] == HOUR
    held = house.held("a", max_attempts=2)
    house.do("fail", id=held["id"], token=held["token"], reason="no\nluck")
    scheduled = no(house, held["id"])["scheduled"]
    assert (scheduled["failures"], scheduled["reason"], scheduled["left"]) == (1, "no\nluck", 15 * SECOND)
    assert "after failure 1 of 2 (no luck)" in scheduled["message"]
    house.do("edit", id=number, delay=0)
    assert granted(house, agent="b", id=number)


def test_dependencies_and_their_states():
    house = House()
    first, second = house.submit(), house.submit(delay=HOUR)
    number = house.submit(after=[first, second], delay=2 * HOUR)
    house.claim("a")
    found = no(house, number)
    waits = [reason for reason in house.do("explain", id=number)["reasons"] if reason["code"] == "after"]
    assert [(reason["id"], reason["state"]) for reason in waits] == [(first, "claimed"), (second, "scheduled")]
    assert waits[0]["message"] == "it waits for item 1, which is claimed by a"
    assert waits[0]["next"] == "swarmctl explain 1"
    assert "scheduled" in found
    assert "in_vain" not in found
    many = house.submit(after=[house.submit() for _ in range(NAMED_MAX + 3)])
    assert house.do("explain", id=many)["reasons"][-1]["message"] == "and for 3 more"


def test_waiting_in_vain_until_kicked():
    house = House()
    first = house.submit()
    number = house.submit(after=[first])
    house.do("cancel", id=first)
    vain = no(house, number)["in_vain"]
    assert (vain["reason"], vain["next"]) == ("1 is cancelled", "swarmctl kick 2")
    house.later(25 * HOUR)
    assert "forgotten" in no(house, number)["after"]["message"]
    house.do("kick", id=number)
    assert "claimable" in told(house, id=number)
    assert granted(house, agent="b", id=number)


def test_buried_with_its_counts():
    house = House()
    held = house.held("a", max_attempts=1)
    house.do("fail", id=held["id"], token=held["token"], reason="exit status 1")
    buried = no(house, held["id"])["buried"]
    assert (buried["failures"], buried["crashes"], buried["releases"]) == (1, 0, 0)
    assert buried["next"] == "swarmctl kick 1"
    assert "(exit status 1): 1 failure of 1, 0 of 3 crashes, 0 of 20 releases" in buried["message"]


def test_ended_and_when_it_is_forgotten():
    house = House()
    held = house.held("a")
    house.do("complete", id=held["id"], token=held["token"])
    house.later(HOUR)
    ended = no(house, held["id"])["ended"]
    assert (ended["agent"], ended["left"]) == ("a", 23 * HOUR)
    assert ended["message"].startswith("it is done since 60m, by a; it is forgotten in 23h")


def test_paused():
    house = House()
    number = house.submit(queue="q")
    house.do("pause", queue="q", reason="new disk", admin=True)
    assert no(house, number)["paused"]["reason"] == "new disk"
    assert no(house, number)["paused"]["next"] == "swarmctl resume q"
    house.do("pause", all=True, hard=True, reason="stop", admin=True)
    paused = [reason for reason in house.do("explain", id=number)["reasons"] if reason["code"] == "paused"]
    assert [reason.get("all", False) for reason in paused] == [True, False]
    assert paused[0]["next"] == "swarmctl resume --all"
    assert "holders are told to stop: stop" in paused[0]["message"]
    house.do("resume", all=True, admin=True)
    house.do("resume", queue="q", admin=True)
    assert "claimable" in told(house, id=number)
    assert granted(house, agent="b", id=number)


def test_the_limit_of_its_queue():
    house = House()
    house.do("queue_set", queue="q", limit=1, admin=True)
    house.held("a", queue="q")
    number = house.submit(queue="q")
    limit = no(house, number)["limit"]
    assert (limit["queue"], limit["limit"], limit["held"], limit["next"]) == ("q", 1, 1, "swarmctl limit q 2")
    house.do("queue_set", queue="q", limit=2, admin=True)
    assert "claimable" in told(house, id=number)
    assert granted(house, agent="b", id=number)


def test_labels_that_nobody_alive_has():
    house = House()
    number = house.submit(require=["gpu", "big"])
    house.do("register", agent="a", labels=["gpu"], watch=ME)
    house.do("register", agent="b", labels=["big"])
    labels = no(house, number)["labels"]
    assert labels["require"] == ["big", "gpu"]
    assert labels["message"] == "it requires big, gpu, and no living agent has all of them"
    mine = no(house, number, "a")["labels"]
    assert (mine["agent"], mine["require"]) == ("a", ["big"])
    house.do("register", agent="a", labels=["gpu", "big"], watch=ME)
    assert "claimable" in told(house, id=number)
    assert granted(house, agent="a", id=number)
    house.die(ME)
    assert "labels" in told(house, id=number), "what a dead agent could do helps nobody"


def test_an_agent_that_is_quiet_or_full():
    house = House()
    house.do("register", agent="a", slots=1)
    house.held("a")
    number = house.submit()
    full = no(house, number, "a")["full"]
    assert (full["slots"], full["ids"]) == (1, [1])
    house.do("quiet", agent="a", admin=True)
    found = no(house, number, "a")
    assert set(found) == {"quiet", "full"}
    assert found["quiet"]["next"] == "swarmctl wake a"
    assert "claimable" in told(house, id=number), "another may have it"


def test_what_else_would_refuse_the_claim():
    house = House()
    house.submit()
    house.claim("a", uid=1)
    number = house.submit()
    assert told(house, id=number, agent="a", uid=2)["refused"]["refused"] == "denied"
    house = House(agents=1)
    house.held("a")
    number = house.submit()
    assert no(house, number, "b")["refused"]["refused"] == "too_many_kinds"


def test_who_comes_before_it_and_who_has_gone_before():
    house = House()
    number = house.submit(priority="low")
    house.submit(priority="high")
    house.submit()
    house.submit(queue="elsewhere", priority="critical")
    assert told(house, id=number)["ahead"]["count"] == 2
    for _ in range(2):
        held = house.claim("a")
        house.do("complete", id=held["id"], token=held["token"])
    assert "ahead" not in told(house, id=number)
    assert "starved" not in told(house, id=number), "that is how it should be"
    house.later(STARVED_AFTER)
    house.held("a", priority="critical")
    starved = told(house, id=number)["starved"]
    assert (starved["count"], starved["next"]) == (3, "swarmctl edit 1 --priority medium")


def test_of_very_many_no_more_than_a_list_looks_at():
    house = House()
    for _ in range(LOOK_MAX + 1):
        house.submit(priority="high")
    ahead = told(house, id=house.submit())["ahead"]
    assert (ahead["count"], ahead["at_least"]) == (LOOK_MAX, True)
    assert ahead["message"].startswith("at least 5000 items")


def test_claims_that_wait_for_something_else():
    house = House()
    house.do("register", agent="e", labels=["gpu"])
    house.do("quiet", agent="e", admin=True)
    number = house.submit(queue="q", type="t", require=["gpu"])
    house.park("claim", agent="a", wait=HOUR)
    house.park("claim", agent="b", queue="*", type=["u"], wait=HOUR)
    house.park("claim", agent="c", queue="q", team=["x"], wait=HOUR)
    house.park("claim", agent="d", queue="q", wait=HOUR)
    house.park("claim", agent="e", queue="q", wait=HOUR)
    found = told(house, id=number)
    assert found["filter"]["counts"] == {"queue": 1, "type": 1, "team": 1, "labels": 1, "agent": 1}
    assert found["filter"]["message"].startswith("5 claims wait, but not for it: 1 for other queues, ")


# -- agents --------------------------------------------------------------------------------------------------


def test_an_agent_that_may_have_something():
    house = House()
    house.held("a")
    assert set(told(house, agent="a")) == {"empty"}
    house.submit(queue="q", priority="low")
    best = house.submit(queue="r")
    house.submit(queue="r", require=["gpu"])
    found = told(house, agent="a")
    assert (found["claimable"]["id"], found["claimable"]["count"]) == (best, 2)
    assert (found["labels"]["require"], found["labels"]["count"]) == (["gpu"], 1)
    assert told(house, agent="a", queue="q")["claimable"]["id"] == 2
    house.no("not_found", "explain", agent="nobody")
    house.no("not_found", "explain", agent="a", queue="nowhere")


def test_an_agent_that_gets_nothing():
    house = House()
    house.do("register", agent="a", slots=1, heartbeat=SECOND)
    house.submit(queue="p")
    house.submit(queue="q", delay=HOUR)
    house.do("pause", queue="p", reason="why", admin=True)
    found = told(house, agent="a")
    assert set(found) == {"paused"}
    assert not granted(house, agent="a", queue="*")
    assert told(house, agent="a", queue="q")["empty"]["counts"]["scheduled"] == 1
    house.park("claim", agent="a", queue="q", type=["u", "t"], wait=MINUTE)
    house.later(10 * SECOND)
    found = told(house, agent="a")
    assert set(found) == {"paused", "suspect", "asks"}
    assert (found["asks"]["queues"], found["asks"]["types"], found["asks"]["left"]) == (["q"], ["t", "u"], 50 * SECOND)
    assert found["asks"]["message"] == "it waits for an item of q, type t, u"
    house.do("quiet", agent="a", admin=True)
    assert set(told(house, agent="a")) == {"quiet", "paused", "asks"}


def test_an_agent_of_another_user():
    house = House()
    house.submit()
    house.claim("a", uid=1)
    house.submit()
    assert told(house, agent="a", uid=2)["refused"]["refused"] == "denied"
    assert "claimable" in told(house, agent="a", uid=1)


# -- queues --------------------------------------------------------------------------------------------------


def test_a_queue_that_stands_still():
    house = House()
    number = house.submit(queue="q", require=["gpu"])
    found = told(house, queue="q")
    assert set(found) == {"labels", "nobody_asks"}
    assert found["labels"]["next"] == "swarmctl register AGENT --label gpu"
    house.do("register", agent="a", labels=["gpu", "x"])
    assert told(house, queue="q")["claimable"]["id"] == number
    assert granted(house, agent="a", queue="q")
    house.do("pause", queue="q", reason="why", admin=True)
    house.park("claim", agent="a", queue="q", wait=HOUR)
    house.park("claim", agent="b", wait=HOUR)
    found = told(house, queue="q")
    assert set(found) == {"paused", "asks"}
    assert found["asks"]["message"] == "1 claim wait for something of it: a"
    house.no("not_found", "explain", queue="nowhere")


def test_a_queue_that_takes_nothing():
    house = House()
    house.do("queue_set", queue="q", closed=True, admin=True)
    found = told(house, queue="q")
    assert set(found) == {"empty", "closed"}
    assert found["closed"]["next"] == "swarmctl queue set q closed=no"
    house.do("queue_set", queue="q", closed=False, max_length=1, admin=True)
    house.submit(queue="q")
    assert told(house, queue="q")["closed"]["max_length"] == 1


def test_what_is_asked_must_be_one_thing():
    house = House()
    number = house.submit()
    assert "expected id, agent or queue" in house.no("bad_request", "explain").message
    assert "exclude each other" in house.no("bad_request", "explain", id=number, queue="q").message
    house.no("not_found", "explain", id=99)


# -- in general ----------------------------------------------------------------------------------------------


def test_every_reason_is_described_and_has_been_seen():
    (table,) = re.findall(r"^The codes of reasons:$(.*?)^\.El$", page("swarmsh-protocol.7"), re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\.It Li (\w+) Ta (.*)$", table, re.MULTILINE)
    assert rows == list(REASONS.items())


LABELS = [[], ["l"], ["l", "m"]]


@given(data=st.data())
def test_claimable_is_what_a_claim_gets(data: st.DataObject) -> None:
    """For any item and agent, any agent, and any queue: what is explained is what happens."""
    house = House(lease=30 * SECOND, agents=5)
    draw = data.draw
    few = st.integers(0, 3)
    for number in range(draw(st.integers(1, 6))):
        house.submit(
            queue=draw(st.sampled_from("pq")),
            type=draw(st.sampled_from("tu")),
            require=draw(st.sampled_from(LABELS)),
            **({"delay": SECOND} if draw(few) == 3 else {}),
            **({"after": [draw(st.integers(1, number))]} if number and draw(few) == 3 else {}),
        )
    for name in draw(st.lists(st.sampled_from("abc"), unique=True)):
        watch = {"watch": ME} if draw(st.booleans()) else {}
        house.do("register", agent=name, labels=draw(st.sampled_from(LABELS)), slots=draw(st.integers(0, 2)), **watch)
    for name in draw(st.lists(st.sampled_from("abcd"))):
        if granted(house, agent=name, queue="*"):
            item = house.claim(name, queue="*", uid=1000)
            end = draw(st.sampled_from(["", "", "complete", "fail", "bury", "release"]))
            if end:
                house.do(end, id=item["id"], token=item["token"])
    for verb in draw(st.lists(st.sampled_from(["quiet", "pause", "all", "limit", "die", "cancel"]), unique=True)):
        if verb == "quiet" and "a" in house.tables.agents:
            house.do("quiet", agent="a", admin=True)
        elif verb == "pause":
            house.do("pause", queue="p", admin=True)
        elif verb == "all" and draw(st.booleans()):
            house.do("pause", all=True, admin=True)
        elif verb == "limit":
            house.do("queue_set", queue="q", limit=1, admin=True)
        elif verb == "die":
            house.die(ME)
        elif verb == "cancel" and house.state(1) not in ("done", "cancelled"):
            house.do("cancel", id=1)
    house.later(draw(st.sampled_from([0, 2 * SECOND, MINUTE])))
    for name in [*"abcd", "new"]:
        for number in house.tables.items:
            assert ("claimable" in told(house, id=number, agent=name)) == granted(house, agent=name, id=number)
        if name in house.tables.agents:
            for queue in ("p", "q"):
                if queue in house.tables.queues:
                    able = "claimable" in told(house, agent=name, queue=queue)
                    assert able == granted(house, agent=name, queue=queue)
            assert ("claimable" in told(house, agent=name)) == granted(house, agent=name, queue="*")


@pytest.mark.real
def test_on_the_command_line(daemon):
    number = daemon.call("submit", type="t", description="d", queue="q", require=["gpu"], key="k")["id"]
    said = daemon.ctl("explain", str(number))
    assert (said.returncode, said.stderr) == (0, "")
    row = [str(number), "labels", "swarmctl register AGENT --label gpu"]
    assert said.stdout.split("\t") == [*row, "it requires gpu, and no living agent has that\n"]
    assert daemon.ctl("register", "a", "--label", "gpu").returncode == 0
    assert daemon.ctl("explain", str(number), "--agent", "a", "-q").stdout == "1\n"
    assert daemon.ctl("explain", "--queue", "q", "-q").stdout == "claimable\nnobody_asks\n"
    assert '"code":"claimable"' in daemon.ctl("explain", "--agent", "a", "--json").stdout
    assert daemon.ctl("explain").returncode == 2
    assert daemon.ctl("explain", "99", str(number)).returncode == 4
