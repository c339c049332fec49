"""The laws at their edges: bounds of the wire from both sides, every former token, every claim that falls silent."""

from itertools import product
from typing import Any

import pytest

from swarmshd import commands, protocol
from swarmshd.commands import Refusal, values
from tests.rules import HOUR, MINUTE, SECOND, House, check, rows

SUBMIT = {"type": "t", "description": "d"}
COUNT_MAX = (1 << 31) - 1

NAME, NOTE, AFTER, LABELS, SUBMITS = (
    protocol.NAME_MAX, protocol.NOTE_MAX, protocol.AFTER_MAX, protocol.LABELS_MAX, protocol.SUBMITS_MAX,
)  # fmt: skip
FILTER, CLAIM, LIST, ID = values.FILTER_MAX, values.CLAIM_MAX, values.LIST_MAX, values.ID_MAX
DURATION, INSTANT = values.DURATION_MAX, values.INSTANT_MAX
AGENT = {"agent": "a"}
ALL = {"all": True}

BOUNDS: list[tuple[str, dict[str, Any], str, Any, Any, str, int]] = [
    # verb, what it needs, argument, the most, one more, code, the limit that the refusal names
    ("submit", SUBMIT, "queue", "q" * NAME, "q" * (NAME + 1), "bad_request", NAME),
    ("pause", ALL, "reason", "x" * NOTE, "x" * (NOTE + 1), "bad_request", NOTE),
    ("pause", ALL, "reason", "é" * (NOTE // 2), "é" * (NOTE // 2 + 1), "bad_request", NOTE),
    ("submit", SUBMIT, "after", [1] * AFTER, [1] * (AFTER + 1), "too_large", AFTER),
    ("submit", SUBMIT, "require", ["l"] * LABELS, ["l"] * (LABELS + 1), "too_large", LABELS),
    ("register", AGENT, "labels", ["l"] * LABELS, ["l"] * (LABELS + 1), "too_large", LABELS),
    ("claim", AGENT, "queue", ["q"] * FILTER, ["q"] * (FILTER + 1), "too_large", FILTER),
    ("claim", AGENT, "team", ["x"] * FILTER, ["x"] * (FILTER + 1), "too_large", FILTER),
    ("claim", AGENT, "count", CLAIM, CLAIM + 1, "bad_request", CLAIM),
    ("list", {}, "limit", LIST, LIST + 1, "bad_request", LIST),
    ("list", {}, "after_id", ID, ID + 1, "bad_request", ID),
    ("wait", {"timeout": 1}, "ids", [1] * SUBMITS, [1] * (SUBMITS + 1), "bad_request", SUBMITS),
    ("submit", SUBMIT, "delay", DURATION, DURATION + 1, "bad_request", DURATION),
    ("submit", SUBMIT, "at", INSTANT, INSTANT + 1, "bad_request", INSTANT),
    ("register", AGENT, "slots", COUNT_MAX, COUNT_MAX + 1, "bad_request", COUNT_MAX),
    ("progress", {"id": 1}, "percent", 100, 101, "bad_request", 100),
]


@pytest.mark.parametrize(("verb", "needed", "argument", "most", "more", "code", "limit"), BOUNDS)
def test_law_everything_is_bounded_the_most_is_taken_and_one_more_is_refused(
    verb, needed, argument, most, more, code, limit
):
    commands.structure(verb, {**needed, argument: most}, 1000)
    with pytest.raises(Refusal) as caught:
        commands.structure(verb, {**needed, argument: more}, 1000)
    assert caught.value.code == code
    assert str(limit) in caught.value.message


def test_law_everything_is_bounded_an_atomic_batch_too():
    line = ["submit", SUBMIT]
    commands.structure("batch", {"commands": [line] * SUBMITS, "atomic": True}, 1000)
    with pytest.raises(Refusal, match=str(SUBMITS)):
        commands.structure("batch", {"commands": [line] * (SUBMITS + 1), "atomic": True}, 1000)


def test_law_everything_is_bounded_a_lease_that_is_too_long_is_refused_and_the_refusal_names_the_limit():
    house = House(lease_max=HOUR)
    number = house.submit()
    refusal = house.no("too_large", "claim", agent="a", id=number, lease=HOUR + 1)
    assert "LEASE_MAX" in str(refusal)
    item = house.claim("a", id=number, lease=HOUR)
    assert (item["lease"], item["expires_at"]) == (HOUR, house.now + HOUR)
    house.no("bad_request", "claim", agent="a", lease=0)


def ended(house: House, number: int, how: str, item: dict[str, Any]) -> None:
    """The claim ends, one way or another."""
    token = {"id": number, "token": item["token"]}
    if how in ("complete", "release", "bury"):
        house.do(how, **token)
    elif how == "fail":
        house.do("fail", **token, retry_after=0)
    elif how == "cancel":
        house.do("cancel", id=number)
    elif how == "evict":
        house.do("evict", agent="a", admin=True)
    elif how == "takeover":
        house.do("register", agent="a", takeover=True)
    elif how == "resume":
        house.claim("a", resume=True)
    elif how == "death":
        house.die((71, 1))
    else:
        house.later(2 * HOUR)


WAYS = "complete release bury fail cancel evict takeover resume death silence".split()
REPORTS = ("progress", "complete", "fail", "release", "bury")


@pytest.mark.parametrize("how", WAYS)
def test_law_fenced_however_a_claim_ended_its_token_changes_nothing_any_more_also_after_a_restart(how):
    house = House()
    number = house.submit()
    item = house.claim("a", watch=(71, 1)) if how == "death" else house.claim("a")
    ended(house, number, how, item)
    for place in (house, house.restored()):
        before = rows(place.tables)
        for verb in REPORTS:
            code = "cancelled" if how == "cancel" else "lease_lost"
            if (how, verb) == ("complete", "complete"):
                assert place.do(verb, id=number, token=item["token"])["state"] == "done"
                code = "conflict"
                place.no(code, verb, id=number, token=item["token"], note="other")
            else:
                place.no(code, verb, id=number, token=item["token"])
        assert place.do("heartbeat", ids=[number], token=item["token"])["lost"]
        assert rows(place.tables) == before
    if house.state(number) == "ready":
        assert house.claim("b")["fence"] > item["fence"]
    check(house)


@pytest.mark.parametrize(("watched", "runtime", "paused", "quiet"), list(product([False, True], repeat=4)))
def test_law_work_comes_back_when_all_fall_silent(watched, runtime, paused, quiet):
    house = House()
    number = house.submit(**({"max_runtime": 10 * MINUTE} if runtime else {}))
    house.claim("a", **({"watch": (71, 1)} if watched else {}))
    if paused:
        house.do("pause", all=True, hard=True)
    if quiet:
        house.do("quiet", agent="a")
    due = min(HOUR if watched else 300 * SECOND, 10 * MINUTE if runtime else HOUR)
    house.later(due - 1)
    assert house.state(number) == "claimed"
    house.later(1)
    assert house.state(number) in ("ready", "scheduled")
    house.later(MINUTE)
    assert house.state(number) == "ready"
    check(house)


def test_law_one_winner_a_claim_that_waits_and_one_that_comes_never_get_the_same_item():
    house = House()
    for n in range(5):
        house.park("claim", agent=f"w{n}", wait=MINUTE)
    ids = [house.submit() for _ in range(3)]
    direct = house.claim("direct")["id"]
    waited = [reply["items"][0]["id"] for _, reply in house.answers()]
    assert sorted([direct, *waited]) == ids
    check(house)
