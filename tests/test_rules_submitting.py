"""How items come in and in which order they go out: one or all of many, dependencies, unique keys, refs, order."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from swarmshd import protocol
from tests.rules import HOUR, MINUTE, SECOND, House, check, rows


def lines(*submits: Mapping[str, object]) -> list[Any]:
    """An atomic batch."""
    return [["submit", {"type": "t", "description": "d", **each}] for each in submits]


# -- order ---------------------------------------------------------------------------------------------------


def test_priority_goes_before_age_and_age_before_everything_else():
    house = House()
    rng = random.Random(7)
    wanted = []
    for _ in range(60):
        priority = rng.randrange(4)
        kind, team, queue = rng.choice("tu"), rng.choice([None, "x"]), rng.choice("pq")
        arguments = {"team": team} if team else {}
        number = house.submit(priority=protocol.PRIORITIES[priority], type=kind, queue=queue, **arguments)
        wanted.append((priority, number))
    assert [house.claim("a", queue="*")["id"] for _ in wanted] == [number for _, number in sorted(wanted)]


def test_an_item_that_comes_back_has_the_place_of_its_age():
    house = House()
    first = house.submit()
    house.submit()
    house.claim("a")
    house.do("release", id=first, agent="a")
    assert house.claim("b")["id"] == first


def test_a_claim_takes_only_what_its_filter_and_its_agents_labels_allow():
    house = House()
    house.do("register", agent="gpu", labels=["gpu", "big"])
    ids = {"needs": house.submit(require=["gpu"]), "team": house.submit(team="x")}
    ids |= {"kind": house.submit(type="u"), "queue": house.submit(queue="q")}
    house.no("conflict", "claim", agent="a", id=ids["needs"])
    assert house.claim("a", team=["y", "x"])["id"] == ids["team"]
    assert house.claim("a", type=["u"])["id"] == ids["kind"]
    empty = house.no("empty", "claim", agent="a")
    assert empty.facts["elsewhere"] == {"q": 1}
    assert "1 ready in q" in empty.message
    assert house.claim("a", queue=["default", "q"])["id"] == ids["queue"]
    assert "1 ready there for others" in house.no("empty", "claim", agent="a").message
    assert house.claim("gpu")["id"] == ids["needs"]


def test_items_wait_for_their_time():
    house = House()
    by_delay = house.submit(delay=MINUTE)
    by_clock = house.submit(at=house.now + 2 * MINUTE)
    past = house.submit(at=house.now - 1)
    assert [house.state(number) for number in (by_delay, by_clock, past)] == ["scheduled", "scheduled", "ready"]
    house.later(MINUTE - 1)
    assert house.state(by_delay) == "scheduled"
    house.later(1)
    assert (house.state(by_delay), house.state(by_clock)) == ("ready", "scheduled")
    assert "due_at" not in house.show(by_delay)
    house.leap(MINUTE)
    house.turn()
    assert house.state(by_clock) == "ready", "instants are not shifted"


# -- names ---------------------------------------------------------------------------------------------------


def test_an_item_is_known_by_its_id_its_ref_and_the_id_it_had_elsewhere():
    house = House()
    number = house.submit(ref="TICKET-7")
    imported = house.submit(ref="work_1738000000")
    for reference in (number, "TICKET-7", f"work_{number}"):
        assert house.show(reference)["id"] == number
    assert house.show("work_1738000000")["id"] == imported
    for wrong in ("work_x", "work_", "other", f"{number}", "work_999", 999):
        house.no("not_found", "show", id=wrong)
    assert house.no("duplicate", "submit", type="t", description="d", ref="TICKET-7").facts["id"] == number
    assert house.submit(after=["TICKET-7", f"work_{imported}"]) == 3
    assert house.show(3)["blocked_by"] == [number, imported]


def test_unique_finds_the_open_item_and_unique_strict_refuses():
    house = House()
    wish = {"type": "t", "description": "d", "unique": "nightly"}
    number = house.do("submit", **wish)["id"]
    for _ in range(2):
        assert house.do("submit", **wish) == {"id": number, "created": False}
    assert house.no("duplicate", "submit", **wish, unique_strict=True).facts["id"] == number
    assert house.no("duplicate", "batch", commands=lines({}, wish), atomic=True).facts == {"id": number, "line": 1}
    house.claim("a")
    assert not house.do("submit", **wish)["created"], "held is open"
    house.do("complete", id=number, agent="a")
    assert house.do("submit", **wish, unique_strict=True)["created"]
    check(house)


# -- all or none ---------------------------------------------------------------------------------------------


def test_all_lines_or_none():
    house = House(queue_max_length=3)
    before = rows(house.tables)
    for wrong, code, at in (
        (lines({}, {}, {}, {}), "queue_full", 3),
        (lines({"ref": "r"}, {"ref": "r"}), "duplicate", 1),
        (lines({"unique": "u"}, {}, {"unique": "u"}), "duplicate", 2),
        (lines({}, {"after": ["nobody"]}), "not_found", 1),
        (lines({}, {"description": "x" * 9000}), "too_large", 1),
        (lines({}, {"type": ""}), "bad_request", 1),
        (lines({"ref": "a", "after": ["b"]}, {"ref": "b", "after": ["c"]}, {"ref": "c", "after": ["a"]}), "cycle", 0),
        (lines({}, {"ref": "a", "after": ["a"]}), "cycle", 1),
        ([*lines({}), ["claim", {"agent": "a"}]], "bad_request", 1),
        ([], "bad_request", None),
    ):
        refused = house.no(code, "batch", commands=wrong, atomic=True)
        assert refused.facts.get("line") == at
        assert rows(house.tables) == before
    house.no("cycle", "submit", type="t", description="d", ref="r", after=["r"])
    house.do("batch", commands=lines({}, {}, {}), atomic=True)
    check(house)


def test_lines_may_wait_for_lines_that_come_later():
    house = House()
    reply = house.do(
        "batch",
        commands=lines({"ref": "link", "after": ["a", "b"]}, {"ref": "b", "after": ["a"]}, {"ref": "a"}),
        atomic=True,
    )
    link, b, a = (result["id"] for _, result in reply["replies"])
    assert (house.show(link)["after"], house.show(b)["after"]) == ((a, b), (a,))
    for number in (a, b, link):
        assert house.claim("a")["id"] == number
        house.no("empty", "claim", agent="a")
        house.do("complete", id=number, agent="a")


def test_a_batch_that_is_not_atomic_is_decided_line_by_line():
    house = House()
    batch = [
        *lines({}),
        ["show", {"id": 77}],
        ["claim", {"agent": "a"}],
        ["nonsense", {}],
        ["claim", {"agent": "a", "wait": 5}],
    ]
    replies = house.do("batch", commands=batch)
    assert [getattr(reply, "code", 0) for reply in replies] == [0, "not_found", 0, "unknown_verb", "bad_request"]


# -- dependencies --------------------------------------------------------------------------------------------


def test_a_dependant_becomes_ready_with_the_last_of_what_it_waits_for():
    house = House()
    first, second = house.submit(), house.submit()
    number = house.submit(after=[first, second, first])
    for waited, state in ((second, "blocked"), (first, "ready")):
        house.do("complete", id=house.claim("a", id=waited)["id"], agent="a")
        assert house.state(number) == state
    assert house.state(house.submit(after=[first])) == "ready", "what is done is not waited for"
    check(house)


def test_a_dependant_may_also_have_a_time_of_its_own():
    house = House()
    first = house.submit()
    soon, later = (house.submit(after=[first], delay=delay) for delay in (MINUTE, HOUR))
    house.later(2 * MINUTE)
    house.do("edit", id=later, delay=2 * HOUR)
    house.do("complete", id=house.claim("a")["id"], agent="a")
    assert (house.state(soon), house.state(later)) == ("ready", "scheduled")
    assert "due_at" not in house.show(soon)
    house.do("edit", id=soon, priority="high")
    assert house.state(soon) == "ready"
    check(house)
    house.later(2 * HOUR)
    assert house.state(later) == "ready"


@pytest.mark.parametrize("end", ["buried", "cancelled"])
def test_on_failure_says_what_becomes_of_a_dependant(end):
    house = House()
    first, other = house.submit(), house.submit()
    hold = house.submit(after=[first])
    cancel = house.submit(after=[first, other], on_failure="cancel")
    run = house.submit(after=[first, other], on_failure="run")
    runs = house.submit(after=[first], on_failure="run", delay=MINUTE)
    house.do("bury" if end == "buried" else "cancel", id=first)
    assert [house.state(number) for number in (hold, cancel, run, runs)] == [
        "blocked",
        "cancelled",
        "blocked",
        "scheduled",
    ]
    assert house.show(hold)["blocked_reason"] == house.show(cancel)["reason"] == f"{first} is {end}"
    assert house.show(run)["blocked_by"] == [other]
    assert "blocked_reason" not in house.show(run)
    house.do("complete", id=house.claim("a", id=other)["id"], agent="a")
    assert house.state(run) == "ready"
    late = {how: {"type": "t", "description": "d", "after": [first], "on_failure": how} for how in protocol.ON_FAILURE}
    assert house.state(house.do("submit", **late["hold"])["id"]) == "blocked"
    assert house.state(house.do("submit", **late["run"])["id"]) == "ready"
    house.no("bad_state", "submit", **late["cancel"])
    check(house)


def test_a_dependant_that_waits_in_vain_may_be_kicked_and_its_reason_is_true_at_any_time():
    house = House(retain_done=HOUR)
    first = house.submit()
    number, other = house.submit(after=[first]), house.submit(after=[first])
    house.no("bad_state", "kick", id=number)
    house.do("bury", id=first)
    assert house.show(number)["blocked_reason"] == f"{first} is buried"
    house.do("kick", id=number)
    assert house.state(number) == "ready"
    house.do("kick", id=first)
    assert "blocked_reason" not in house.show(other), "it will come again"
    house.no("bad_state", "kick", id=other)
    house.do("cancel", id=first)
    house.later(HOUR)
    house.no("not_found", "show", id=first)
    assert house.show(other)["blocked_reason"] == f"{first} is cancelled"
    house.do("kick", id=other)
    assert house.state(other) == "ready"
    check(house)


@pytest.mark.parametrize(("how", "end"), [("cancel", "cancelled"), ("run", "ready"), ("hold", "blocked")])
def test_a_chain_of_thousands_falls_in_rounds_of_a_batch(how, end):
    house = House(batch_size=100)
    number = first = house.submit()
    for _ in range(2000):  # deeper than calls may be
        number = house.submit(after=[number], on_failure=how)
    house.do("cancel", id=first)
    fallen = sum(item.state != "blocked" for item in house.tables.items.values())
    assert fallen <= 101
    house.turn()
    states = [house.state(n) for n in range(first + 1, number + 1)]
    if how == "cancel":
        assert set(states) == {end}
    else:
        assert (states[0], set(states[1:])) == (end, {"blocked"})
    assert not house.tables.cascade
    check(house)


def test_a_thousand_dependants_are_the_most_and_those_that_wait_no_more_make_room():
    house = House()
    first = house.submit()
    ids = [house.submit(after=[first]) for _ in range(protocol.DEPENDANTS_MAX)]
    assert "1000" in house.no("too_large", "submit", type="t", description="d", after=[first]).message
    many = lines({"ref": "r"}, *({"after": ["r"]} for _ in range(protocol.DEPENDANTS_MAX + 1)))
    assert house.no("too_large", "batch", commands=many, atomic=True).facts["line"] == protocol.DEPENDANTS_MAX + 1
    house.do("cancel", id=ids[0])
    house.do("bury", id=ids[1])
    more = [house.submit(after=[first]) for _ in range(2)]
    house.no("too_large", "submit", type="t", description="d", after=[first])
    check(house)
    house.do("complete", id=house.claim("a")["id"], agent="a")
    assert {house.state(number) for number in [*ids[2:], *more]} == {"ready"}
    assert (house.state(ids[0]), house.state(ids[1])) == ("cancelled", "buried")
    check(house)


def test_a_thousand_dependants_fall_together():
    house = House()
    first = house.submit()
    for n in range(999):
        house.submit(after=[first], on_failure=("cancel", "run", "hold")[n % 3])
    house.do("cancel", id=first)
    house.turn()
    counted = house.do("count", by="state", all=True)["by"]
    assert counted == {"cancelled": 334, "ready": 333, "blocked": 333}
    check(house)


def test_what_an_item_is_counted_with_grows_with_all_that_it_keeps():
    house = House()
    plain = house.item(house.submit()).size()
    names = house.item(house.submit(group="g" * 200, ref="r" * 200, unique="u" * 200)).size()
    waits = house.item(house.submit(after=list(range(1, 3)))).size()
    assert names > plain + 600
    assert waits > plain + 200
    house.later(SECOND)
    check(house)
