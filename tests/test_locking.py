"""Named locks, by the rules: one holder, in order, fenced, free when their holder is gone, and bounded."""

from typing import Any

import pytest

from swarmshd import commands
from swarmshd import events as e
from swarmshd.workqueue import locking
from tests.rules import HOUR, MINUTE, SECOND, House, check

ME, YOU = (71, 1001), (72, 1002)


def take(house: House, agent: str = "a", name: str = "l", **args: Any) -> dict[str, Any]:
    got = house.do("lock", agent=agent, name=name, **args)
    assert isinstance(got, dict)
    return got


def holder(house: House, name: str = "l") -> str | None:
    item = house.tables.locks.get(name)
    return None if item is None or item.claim is None else item.claim.agent.name


def test_it_has_one_holder_and_a_fence_that_only_grows():
    house = House()
    first = take(house)
    assert {"id", "name", "fence", "token", "expires_at", "lease"} == first.keys()
    refused = house.no("timeout", "lock", agent="b", name="l")
    assert (refused.facts["holder"], refused.facts["since"], refused.facts["waiting"]) == ("a", house.now, 0)
    house.no("timeout", "lock", agent="a", name="l")
    other = take(house, "a", "other")
    assert house.do("unlock", name="l", token=first["token"]) == {"id": first["id"], "name": "l"}
    second = take(house, "b")
    assert second["id"] == first["id"]
    assert first["fence"] < other["fence"] < second["fence"]
    house.no("lease_lost", "unlock", name="l", token=first["token"])
    assert holder(house) == "b"
    check(house)
    check(house.restored())


def test_who_may_give_it_back():
    house = House()
    take(house, uid=1)
    house.no("not_holder", "unlock", name="l", agent="b", uid=1)
    house.no("not_holder", "unlock", name="l", uid=1)
    house.no("denied", "unlock", name="l", agent="a", uid=2)
    house.no("lease_lost", "unlock", name="l", token="1.0000000000000000")
    house.no("denied", "unlock", name="l", force=True, uid=1)
    house.do("unlock", name="l", agent="a", uid=1)
    house.no("lease_lost", "unlock", name="l", agent="a", uid=1)
    house.no("lease_lost", "unlock", name="never")
    taken = take(house)
    house.do("unlock", name="l", force=True, admin=True)
    house.no("lease_lost", "unlock", name="l", token=taken["token"])


def test_those_who_wait_get_it_in_the_order_in_which_they_came():
    house = House()
    taken = take(house)
    waiters = [house.park("lock", agent=name, name="l", wait=HOUR) for name in "bcd"]
    assert house.no("timeout", "lock", agent="e", name="l").facts["waiting"] == 3
    house.do("unlock", name="l", token=taken["token"])
    house.no("timeout", "lock", agent="e", name="l")  # nobody comes between, not even before those are served
    for waiter in waiters:
        ((served, got),) = house.answers()
        assert served is waiter
        assert holder(house) == waiter.request.command.agent
        house.do("unlock", name="l", token=got["token"])
    assert house.answers() == []
    assert holder(house) is None
    take(house, "e")
    check(house)


def test_whose_time_is_over_is_told_who_has_it():
    house = House()
    take(house)
    waiter = house.park("lock", agent="b", name="l", wait=MINUTE)
    house.later(MINUTE - 1)
    house.later(1)
    ((served, refused),) = house.answers()
    assert served is waiter
    assert (refused.code, refused.facts["holder"]) == ("timeout", "a")


def test_who_may_not_have_it_makes_way_for_the_next():
    house = House()
    taken = take(house)
    denied = house.park("lock", agent="b", name="l", wait=HOUR, uid=1)
    house.submit()
    house.do("claim", agent="b", uid=2)
    last = house.park("lock", agent="c", name="l", wait=HOUR)
    house.do("unlock", name="l", token=taken["token"])
    (first, refused), (second, got) = house.answers()
    assert (first, refused.code) == (denied, "denied")
    assert second is last
    assert got["name"] == "l"


def test_it_is_free_at_once_when_its_holder_dies_and_when_its_lease_ends():
    house = House(crash_cap=1, batch_size=1)
    for _ in range(3):
        take(house, watch=ME)
        assert house.queue.watches() == {ME}
        house.die(ME)
        assert holder(house) is None
    take(house, lease=MINUTE)
    house.later(MINUTE - 1)
    house.no("timeout", "lock", agent="b", name="l")
    house.later(1)
    take(house, "b")
    check(house)


def test_heartbeats_keep_it_and_hold_puts_it_under_a_process():
    house = House()
    taken = take(house)
    for _ in range(3):
        house.later(4 * MINUTE)
        assert house.do("heartbeat", ids=[taken["id"]], token=taken["token"])["renewed"]
    house.do("heartbeat", agent="a")
    house.do("hold", id=taken["id"], token=taken["token"], watch=YOU)
    house.later(50 * MINUTE)
    assert holder(house) == "a"
    house.do("heartbeat", ids=[taken["id"]], token=taken["token"])
    house.later(50 * MINUTE)
    assert holder(house) == "a"
    house.die(YOU)
    assert holder(house) is None


@pytest.mark.parametrize("how", ["evict", "takeover", "boot", "undelivered"])
def test_however_its_claim_ends_it_is_free_and_the_next_has_it(how):
    house = House()
    taken = take(house, key="k")
    house.park("lock", agent="b", name="l", wait=HOUR)
    if how == "evict":
        assert house.do("evict", agent="a", admin=True)["returned"] == 1
    elif how == "takeover":
        house.do("register", agent="a", takeover=True)
    elif how == "boot":
        house.tables.boot_fence = house.tables.next_fence
        for happened in house.queue.host_restarted():
            house.own(happened)
    else:
        request = commands.structure("lock", {"agent": "a", "name": "l", "key": "k"}, 1000)
        claims = [(taken["id"], taken["fence"])]
        happened = house.queue.take_back(claims, request.key, minted=False)
        house.log(e.Entry(None, None, request.key, minted=False, events=happened))
    assert house.item(taken["id"]).crashes == 0
    ((_, got),) = house.answers()
    assert got["fence"] > taken["fence"]
    assert holder(house) == "b"
    house.no("timeout", "lock", agent="a", name="l", key="k2")


def test_the_same_key_gets_the_same_reply_while_it_is_held():
    house = House()
    taken = take(house, key="k")
    assert take(house, key="k") == taken
    assert take(house, key="k", wait=5) == taken, "what is left of the wait is no other content"
    assert house.do("unlock", name="l", token=taken["token"], key="u")["id"] == taken["id"]
    assert house.do("unlock", name="l", token=taken["token"], key="u")["id"] == taken["id"]
    house.no("lease_lost", "lock", agent="a", name="l", key="k")
    house.no("conflict", "lock", agent="a", name="other", key="k")


def test_it_is_no_work():
    house = House()
    house.do("register", agent="a", slots=1)
    taken = take(house)
    number = taken["id"]
    proof = {"id": number, "token": taken["token"]}
    for verb in ("complete", "fail", "release", "bury", "progress"):
        assert f"item {number} is the lock l" in house.no("bad_state", verb, **proof).message
    for verb in ("kick", "cancel", "edit"):
        house.no("bad_state", verb, id=number, **({"priority": "low"} if verb == "edit" else {}))
    house.no("bad_state", "claim", agent="b", id=number)
    house.no("bad_state", "submit", type="t", description="d", after=[number])
    house.no("empty", "claim", agent="b", queue="*")
    house.held("a")  # its one slot is free
    assert [item["id"] for item in house.do("held", agent="a")["items"]] == [number + 1]
    assert len(house.do("claim", agent="a", resume=True, count=5)["items"]) == 1
    (agent,) = house.do("agents", agent="a")["agents"]
    assert (agent["holds"], agent["locks"]) == ([number + 1], ["l"])


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("submit", {"type": "t", "description": "d", "queue": "@lock"}),
        ("claim", {"agent": "a", "queue": "@lock"}),
        ("claim", {"agent": "a", "queue": ["q", "@other"]}),
        ("claim_new", {"agent": "a", "type": "t", "description": "d", "queue": "@lock"}),
        ("edit", {"id": 1, "queue": "@lock"}),
        ("kick", {"queue": "@lock"}),
        ("queue_set", {"queue": "@lock", "limit": 1, "admin": True}),
        ("pause", {"queue": "@lock", "admin": True}),
        ("resume", {"queue": "@lock", "admin": True}),
    ],
)
def test_its_queue_is_not_for_users(verb, args):
    house = House()
    house.submit()
    message = house.no("bad_request", verb, **args).message
    assert "begin with @" in message
    assert "\n" not in message


def test_it_shows_only_to_who_asks_for_it():
    house = House()
    taken = take(house, "a", "one")
    take(house, "b", "two")
    house.park("lock", agent="c", name="one", wait=HOUR)
    house.submit()
    assert [item["id"] for item in house.do("list", all=True)["items"]] == [3]
    assert house.do("list", agent="a", state=["claimed"])["items"] == []
    assert house.do("count") == {"count": 1}
    assert house.do("count", by="queue") == {"by": {"default": 1}}
    assert house.do("count", by="type") == {"by": {"t": 1}}
    assert [queue["queue"] for queue in house.do("queues")["queues"]] == ["default"]
    one, two = house.do("list", queue=["@lock"])["items"]
    assert (one["type"], one["agent"], one["claimed_at"], one["waiting"]) == ("one", "a", house.now, 1)
    assert (two["type"], two["agent"], two["waiting"]) == ("two", "b", 0)
    for by in (None, "state", "queue", "type", "agent"):
        told = house.do("count", queue=["@lock"], **({"by": by} if by else {}))
        assert told == {"count": 2} or sum(told["by"].values()) == 2
    assert house.do("queues", queue="@lock")["queues"][0]["claimed"] == 2
    assert house.show(taken["id"])["waiting"] == 1
    reasons = house.do("explain", id=taken["id"])["reasons"]
    assert reasons[0]["code"] == "held"
    house.do("unlock", name="one", force=True, admin=True)
    house.answers()
    house.do("unlock", name="one", force=True, admin=True)
    assert house.do("explain", id=taken["id"])["reasons"][0]["code"] == "refused"


def test_neither_a_pause_nor_a_quiet_agent_keeps_anybody_from_it():
    house = House()
    house.do("register", agent="a")
    house.do("quiet", agent="a", admin=True)
    house.do("pause", all=True, admin=True)
    taken = take(house)
    house.do("unlock", name="l", token=taken["token"])


def test_there_are_so_many_and_no_more(monkeypatch):
    monkeypatch.setattr(locking, "LOCKS_MAX", 2)
    house = House()
    first, second = take(house, name="one"), take(house, name="two")
    assert house.no("too_many_kinds", "lock", agent="a", name="three").facts["limit"] == 2
    house.do("unlock", name="two", token=second["token"])
    house.later(SECOND)
    house.do("unlock", name="one", token=first["token"])
    taken = take(house, name="three")
    assert set(house.tables.locks) == {"one", "three"}, "the one that was free longest made room"
    assert second["id"] not in house.tables.items
    assert not house.tables.ended
    assert take(house, name="one")["fence"] > taken["fence"]
    check(house)
    house = House(queues=1)
    house.submit()
    house.no("too_many_kinds", "lock", agent="a", name="l")
    house = House(max_items=1)
    house.submit()
    house.no("overloaded", "lock", agent="a", name="l")
    house = House(agents=1)
    take(house)
    house.no("too_many_kinds", "lock", agent="b", name="m")


def test_a_lock_that_nobody_wants_is_forgotten():
    house = House()
    taken = take(house)
    house.held("b", lease=24 * HOUR)
    take(house, "a", "kept", lease=24 * HOUR)
    house.do("unlock", name="l", token=taken["token"])
    house.later(locking.LOCK_FREE_KEPT - 1)
    assert "l" in house.tables.locks
    house.later(MINUTE + 1)
    assert set(house.tables.locks) == {"kept"}
    assert not house.tables.ended
    check(house)
    assert take(house)["fence"] > taken["fence"]


def test_a_lease_and_a_watch_must_make_sense():
    house = House()
    house.no("bad_request", "lock", agent="a", name="l", lease=0)
    house.no("bad_request", "lock", agent="a", name="l", watch=True)
    house.no("bad_request", "lock", agent="a", name="bad name")
    (refused,) = house.do("batch", commands=[["lock", {"agent": "a", "name": "l", "wait": 1}]])
    assert "cannot stand in a batch" in refused.message
    (taken,) = house.do("batch", commands=[["lock", {"agent": "a", "name": "l"}]])
    assert taken["name"] == "l"
