"""Those who wait, and those who look: long polls in fair order, `wait`, `list`, `count`."""

import random
from typing import Any

import pytest

from swarmshd import protocol
from swarmshd.commands import Refusal
from swarmshd.workqueue import looking, ready
from tests.rules import HOUR, MINUTE, SECOND, House, check

pytestmark = pytest.mark.slow


def got(house: House) -> list[Any]:
    """(agent, id or code) of those who have been served since the last look, in order."""
    return [
        (w.request.command.agent, r.code if isinstance(r, Refusal) else [item["id"] for item in r["items"]])
        for w, r in house.answers()
    ]


# -- claims that wait ----------------------------------------------------------------------------------------


def test_claims_that_wait_are_served_in_the_order_in_which_they_came_across_all_filters():
    house = House()
    house.park("claim", agent="any", queue="*", wait=MINUTE)
    house.park("claim", agent="kind", type=["u"], wait=MINUTE)
    house.park("claim", agent="queue", queue=["q"], wait=MINUTE)
    house.park("claim", agent="last", queue="*", wait=MINUTE)
    house.submit(type="u")
    assert got(house) == [("any", [1])]
    house.submit(type="t", queue="q")
    assert got(house) == [("queue", [2])]
    for _ in range(2):
        house.submit(type="u")
    assert got(house) == [("kind", [3]), ("last", [4])]
    check(house)


def test_a_claim_that_waits_takes_as_many_as_there_are_and_no_longer_than_it_said():
    house = House()
    house.park("claim", agent="a", count=3, wait=MINUTE)
    house.do("batch", commands=[["submit", {"type": "t", "description": "d"}]] * 2)
    assert got(house) == [("a", [1, 2])]
    house.park("claim", agent="a", wait=SECOND)
    house.later(SECOND - 1)
    assert got(house) == []
    house.later(1)
    assert got(house) == [("a", "empty")]
    assert house.queue.next_deadline() != house.now


@pytest.mark.parametrize(
    "means", ["time", "release", "lease", "kick", "unblock", "resume", "resume all", "limit", "edit"]
)
def test_whatever_makes_an_item_claimable_serves_who_waits(means):
    house = House()
    number = house.submit(delay=MINUTE) if means == "time" else house.submit()
    if means in ("release", "lease", "kick", "limit"):
        house.claim("h")
    if means == "kick":
        house.do("bury", id=number, agent="h")
    if means == "unblock":
        house.claim("h")
        number = house.submit(after=[number])
    if means in ("resume", "resume all"):
        house.do("pause", **({"all": True} if means == "resume all" else {"queue": "default"}))
    if means == "limit":
        house.do("queue_set", queue="default", limit=1)
        number = house.submit()
    if means == "edit":
        house.do("edit", id=number, queue="other")
    house.park("claim", agent="a", wait=HOUR)
    house.turn()
    assert got(house) == []
    {
        "time": lambda: house.later(MINUTE),
        "release": lambda: house.do("release", id=number, agent="h"),
        "lease": lambda: house.later(300 * SECOND),
        "kick": lambda: house.do("kick", id=number),
        "unblock": lambda: house.do("complete", id=1, agent="h"),
        "resume": lambda: house.do("resume", queue="default"),
        "resume all": lambda: house.do("resume", all=True),
        "limit": lambda: house.do("complete", id=1, agent="h"),
        "edit": lambda: house.do("edit", id=number, queue="default"),
    }[means]()
    assert got(house) == [("a", [number])]
    check(house)


def test_who_waits_with_a_quiet_agent_keeps_its_place_and_others_go_on():
    house = House()
    house.do("register", agent="a")
    house.park("claim", agent="a", wait=MINUTE)
    house.do("quiet", agent="a")
    house.park("claim", agent="b", wait=MINUTE)
    house.submit()
    assert got(house) == [("b", [1])]
    house.park("claim", agent="c", wait=MINUTE)
    house.do("wake", agent="a")
    house.submit()
    assert got(house) == [("a", [2])]
    house.park("claim", agent="a", wait=MINUTE)
    house.do("quiet", agent="a")
    house.later(MINUTE)
    assert sorted(got(house)) == [("a", "capacity"), ("c", "empty")]
    check(house)


@pytest.mark.parametrize("means", ["complete", "lease", "cancel", "evict", "slots"])
def test_who_waits_with_a_full_agent_goes_on_when_there_is_a_slot(means):
    house = House()
    house.do("register", agent="a", slots=1)
    number = house.held("a")["id"]
    house.park("claim", agent="a", wait=HOUR)
    waiting = house.submit(priority="critical")
    assert got(house) == []
    assert not house.queue.ready.woken, "nobody looks at it again and again"
    {
        "complete": lambda: house.do("complete", id=number, agent="a"),
        "lease": lambda: house.later(300 * SECOND),
        "cancel": lambda: house.do("cancel", id=number),
        "evict": lambda: house.do("evict", agent="a"),
        "slots": lambda: house.do("register", agent="a", slots=2),
    }[means]()
    assert got(house) == [("a", [waiting])]
    check(house)


def test_who_waits_goes_by_the_labels_that_its_agent_has_now():
    house = House()
    house.do("register", agent="a", labels=["l"])
    house.park("claim", agent="b", wait=HOUR)
    house.park("claim", agent="a", wait=HOUR)
    house.do("register", agent="a", labels=["m"])
    house.submit(require=["l"])
    assert got(house) == []
    house.submit(require=["m"])
    assert got(house) == [("a", [2])]
    house.do("register", agent="b", labels=["l"])
    assert got(house) == [("b", [1])], "what lay there is found by the new labels"
    house.park("claim", agent="b", wait=HOUR)
    house.do("complete", id=1, agent="b")
    house.do("evict", agent="b")
    house.submit(require=["l"])
    house.submit()
    assert got(house) == [("b", [4])], "and without any it gets what asks for none"
    check(house)


def test_who_waits_is_served_however_many_filters_are_used_meanwhile(monkeypatch):
    monkeypatch.setattr(ready, "SHAPES_MAX", 4)
    house = House()
    house.park("claim", agent="a", type=["wanted"], wait=HOUR)
    for n in range(20):
        house.no("empty", "claim", agent="b", type=[f"t{n}"])
    assert len(house.queue.ready.shapes) == 4
    for n in range(5):
        house.park("claim", agent="b", type=[f"w{n}"], wait=HOUR)
    house.submit(type="wanted")
    house.submit(type="w3")
    assert got(house) == [("a", [1]), ("b", [2])]
    check(house)


def test_a_hundred_who_wait_in_any_order_of_events_are_served_fairly():
    house = House()
    rng = random.Random(3)
    line = []
    for n in range(100):
        agent = f"a{n}"
        if rng.random() < 0.3:
            house.do("register", agent=agent, slots=1)
            house.do("quiet", agent=agent)
        line.append((agent, house.park("claim", agent=agent, wait=HOUR)))
    for agent in rng.sample([agent for agent, _ in line], 10):
        house.queue.waiters.remove(dict(line)[agent])
        house.waiters.remove(dict(line)[agent])
        line = [each for each in line if each[0] != agent]
    quiet = [agent for agent, _ in line if agent in house.tables.agents]
    loud = [agent for agent, _ in line if agent not in house.tables.agents]
    for _ in range(len(loud) // 2):
        house.submit()
    assert [agent for agent, _ in got(house)] == loud[: len(loud) // 2]
    for agent in rng.sample(quiet, len(quiet)):
        house.do("wake", agent=agent)
    left = [agent for agent, _ in line if agent not in loud[: len(loud) // 2]]
    for _ in left:
        house.submit()
    assert [agent for agent, _ in got(house)] == left
    assert not house.queue.waiters
    check(house)


def test_a_heap_of_buckets_that_is_rebuilt_while_it_is_walked_loses_none():
    house = House()
    rng = random.Random(5)
    priorities = [rng.randrange(4) for _ in range(300)]
    wanted = [(p, house.submit(type=f"t{n % 97}", priority=protocol.PRIORITIES[p])) for n, p in enumerate(priorities)]
    for _ in range(400):
        number = rng.choice([number for _, number in wanted])
        priority = rng.randrange(4)
        house.do("edit", id=number, priority=protocol.PRIORITIES[priority])
        wanted = [(priority if n == number else p, n) for p, n in wanted]
    assert [house.claim("a")["id"] for _ in wanted] == [number for _, number in sorted(wanted)]


# -- wait ----------------------------------------------------------------------------------------------------


def test_wait_tells_what_became_of_items_failures_first():
    house = House()
    ids = [house.held("a", ref=f"r{n}")["id"] for n in range(4)]
    waiter = house.park("wait", ids=[ids[0], "r1", "r2", ids[1], ids[3]], timeout=HOUR)
    house.do("complete", id=ids[0], agent="a", exit_status=0)
    house.do("fail", id=ids[1], agent="a", no_retry=True, reason="no", exit_status=2)
    house.do("cancel", id=ids[2], reason="why")
    assert house.answers() == []
    house.do("complete", id=ids[3], agent="a")
    ((served, reply),) = house.answers()
    assert served is waiter
    assert reply == {
        "total": 4,
        "pending": 0,
        "ended": [
            {"id": ids[1], "state": "buried", "reason": "no", "exit_status": 2},
            {"id": ids[2], "state": "cancelled", "reason": "why"},
            {"id": ids[0], "state": "done", "exit_status": 0},
            {"id": ids[3], "state": "done"},
        ],
    }
    assert house.do("wait", ids=ids, timeout=0)["ended"] == reply["ended"]


def test_wait_for_any_and_for_a_group():
    house = House()
    first, second = (house.held("a", group="g")["id"] for _ in range(2))
    house.park("wait", group="g", any=True, timeout=HOUR)
    house.park("wait", group="g", timeout=HOUR)
    house.park("wait", ids=[second, first], any=True, timeout=HOUR)
    house.do("complete", id=first, agent="a")
    assert [(reply["pending"], reply["ended"]) for _, reply in house.answers()] == 2 * [
        (1, [{"id": first, "state": "done"}])
    ]
    house.do("bury", id=second, agent="a")
    house.do("kick", id=second)
    assert house.answers() == [], "it came to rest and is up again before anyone looked"
    refused = house.no("timeout", "wait", group="g", timeout=0)
    assert refused.facts == {"total": 2, "pending": 1, "ended": [{"id": first, "state": "done"}]}
    house.later(HOUR)
    ((_, late),) = house.answers()
    assert late.facts == refused.facts, "the same facts when the time is over"


@pytest.mark.parametrize("ended", ["complete", "bury", "cancel"])
def test_what_has_ended_already_is_not_waited_for_again(ended):
    house = House()
    first, second = house.held("a", ref="first")["id"], house.held("a")["id"]
    house.do(ended, id=first, **({} if ended == "cancel" else {"agent": "a"}))
    assert house.answers() == []
    waiter = house.park("wait", ids=["first", second], timeout=HOUR)
    house.do("complete", id=second, agent="a")
    ((served, reply),) = house.answers()
    assert (served, reply["total"], reply["pending"]) == (waiter, 2, 0)
    house.later(HOUR)
    assert house.answers() == []


def test_a_reference_means_the_item_that_it_meant_when_the_waiting_began():
    house = House(retain_done=MINUTE)
    first, second = house.held("a", ref="r")["id"], house.held("a")["id"]
    house.park("wait", ids=["r", second], timeout=HOUR)
    house.do("complete", id=first, agent="a")
    house.later(MINUTE)  # it is forgotten, and its name is free
    other = house.held("a", ref="r")["id"]
    house.do("complete", id=second, agent="a")
    ((_, refused),) = house.answers()
    assert (refused.code, refused.facts) == ("not_found", {"ids": [first]})
    house.do("complete", id=other, agent="a")
    house.later(HOUR)
    assert house.answers() == []


def test_wait_for_what_is_not_there():
    house = House(retain_done=MINUTE)
    number = house.held("a", group="g")["id"]
    assert house.no("not_found", "wait", ids=[number, 77, "r"], timeout=SECOND).facts == {"ids": [77, "r"]}
    house.no("not_found", "wait", group="h", timeout=SECOND)
    house.do("complete", id=number, agent="a")
    house.later(MINUTE)
    assert house.no("not_found", "wait", ids=[number], timeout=SECOND).facts == {"ids": [number]}
    house.no("not_found", "wait", group="g", timeout=SECOND)


def test_wait_tells_of_at_most_a_thousand():
    house = House()
    for n in range(1100):
        house.submit(group="g")
        house.do("bury" if n >= 1099 else "cancel", id=n + 1)
    reply = house.do("wait", group="g", timeout=0)
    assert (reply["total"], len(reply["ended"])) == (1100, 1000)
    assert [row["id"] for row in reply["ended"]] == list(range(1, 1001))


# -- looking -------------------------------------------------------------------------------------------------


def crowd(house: House) -> None:
    """Items of all kinds and states."""
    rng = random.Random(11)
    for n in range(120):
        arguments: dict[str, Any] = {"queue": rng.choice("pq"), "type": rng.choice("tu")}
        if rng.random() < 0.5:
            arguments["team"] = rng.choice("xy")
        if rng.random() < 0.5:
            arguments["group"] = rng.choice("gh")
        if rng.random() < 0.1:
            arguments["delay"] = HOUR
        if n and rng.random() < 0.1:
            arguments["after"] = [n]
        house.submit(**arguments)
    for n in range(70):
        number = house.claim(f"a{n % 3}", queue="*")["id"]
        match rng.randrange(4):
            case 0:
                house.do("complete", id=number, agent=f"a{n % 3}")
            case 1:
                house.do("bury", id=number, agent=f"a{n % 3}")
            case 2:
                house.do("cancel", id=number)


FILTERS: list[dict[str, Any]] = [
    {},
    {"all": True},
    {"state": ["done", "buried", "done"]},
    {"state": ["claimed"], "agent": "a1"},
    {"agent": "a1", "all": True},
    {"agent": "nobody"},
    {"group": "g"},
    {"group": "g", "state": ["cancelled"]},
    {"group": "nobody"},
    {"queue": ["p", "p", "nothing"]},
    {"queue": ["nothing"]},
    {"type": ["t"], "team": ["x", "y"]},
    {"type": ["t"], "all": True, "queue": ["q"]},
    {"team": ["x"], "state": ["ready", "done"]},
]


def matches(item: Any, wanted: dict[str, Any]) -> bool:
    agent = item.claim.agent.name if item.claim else (item.notes or {}).get("ended_by")
    ended = item.state in ("done", "cancelled")
    return (
        (item.state in wanted["state"] if "state" in wanted else wanted.get("all", False) or not ended)
        and item.queue.name in wanted.get("queue", [item.queue.name])
        and item.type in wanted.get("type", [item.type])
        and item.team in wanted.get("team", [item.team])
        and agent == wanted.get("agent", agent)
        and item.option("group") == wanted.get("group", item.option("group"))
    )


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
@pytest.mark.parametrize("look_max", [7, 5000])
@pytest.mark.parametrize("limit", [1, 10, 1000])
def test_list_gives_every_item_that_is_meant_once_page_by_page(monkeypatch, wanted, look_max, limit):
    monkeypatch.setattr(looking, "LOOK_MAX", look_max)
    house = House()
    crowd(house)
    expected = [number for number, item in house.tables.items.items() if matches(item, wanted)]
    found: list[int] = []
    after = 0
    while True:
        page = house.do("list", **wanted, limit=limit, after_id=after)
        assert len(page["items"]) <= limit
        found += [item["id"] for item in page["items"]]
        if not page["more"]:
            break
        assert page["after_id"] > after
        after = page["after_id"]
    assert found == expected


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_count_counts_what_list_lists(wanted):
    house = House()
    crowd(house)
    items = [item for item in house.tables.items.values() if matches(item, wanted)]
    assert house.do("count", **wanted) == {"count": len(items)}
    values = {
        "state": lambda item: item.state,
        "queue": lambda item: item.queue.name,
        "type": lambda item: item.type,
        "team": lambda item: item.team or "-",
        "group": lambda item: item.option("group") or "-",
        "agent": lambda item: (item.claim.agent.name if item.claim else item.note("ended_by")) or "-",
    }
    for by, value in values.items():
        expected: dict[str, int] = {}
        for item in items:
            expected[value(item)] = expected.get(value(item), 0) + 1
        assert house.do("count", **wanted, by=by) == {"by": expected}, by


def test_list_goes_on_after_ids_of_any_size():
    house = House()
    house.mint.ids = (1 << 32) + 5
    first, second = house.submit(), house.submit()
    assert house.do("list", limit=1)["after_id"] == first > 1 << 32
    assert [item["id"] for item in house.do("list", after_id=first)["items"]] == [second]


def test_show_tells_all_that_is_known():
    house = House()
    house.do("queue_set", queue="q", max_attempts=7, lease=MINUTE)
    first = house.submit()
    number = house.submit(
        queue="q", priority="high", team="x", group="g", ref="r", unique="u", on_failure="run", after=[first],
        require=["l"], payload=b"pay", max_runtime=HOUR, agent="me", delay=SECOND,
    )  # fmt: skip
    shown = house.show(number)
    assert shown == {
        "id": number, "state": "blocked", "type": "t", "description": "d", "priority": "high", "queue": "q",
        "team": "x", "group": "g", "ref": "r", "unique": "u", "on_failure": "run", "after": (first,),
        "blocked_by": [first], "require": ("l",), "attempt": 0, "failures": 0, "crashes": 0, "releases": 0,
        "attempts_max": 7, "lease": MINUTE, "max_runtime": HOUR, "payload_size": 3, "created_at": house.now,
        "due_at": house.now + SECOND, "submitted_by": {"uid": 1000, "pid": 4711, "agent": "me"},
    }  # fmt: skip
