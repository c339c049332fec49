"""The laws, as far as they are a matter of the rules: one winner, fenced, work comes back, everything is bounded,
and the same answer to the same key."""

from typing import Any

import pytest

from swarmshd import commands, events, protocol
from swarmshd.commands import Actor, Refusal, values
from swarmshd.workqueue import ready as ready_index
from swarmshd.workqueue import records
from swarmshd.workqueue.drawing import draws
from tests.rules import HOUR, MINUTE, NOW, SECOND, House, check, rows

AGENTS = [f"a{n}" for n in range(50)]


# -- one winner ----------------------------------------------------------------------------------------------


def test_law_one_winner_of_many_racing_claims_each_gets_another_item_or_an_honest_no():
    house = House()
    ids = [house.submit() for _ in range(20)]
    got = []
    for agent in AGENTS:
        try:
            got += [item["id"] for item in house.do("claim", agent=agent)["items"]]
        except Refusal as refusal:
            assert refusal.code == "empty"
    assert got == ids
    check(house)


def test_law_one_winner_also_among_those_who_wait():
    house = House()
    waiters = [house.park("claim", agent=agent, wait=MINUTE) for agent in AGENTS]
    ids = [house.submit() for _ in range(3)]
    served = house.answers()
    assert [waiter for waiter, _ in served] == waiters[:3]
    assert [reply["items"][0]["id"] for _, reply in served] == ids


def test_law_one_winner_of_claims_by_id():
    house = House()
    number = house.submit()
    house.claim("a", id=number)
    assert "claimed" in house.no("conflict", "claim", agent="b", id=number).message
    house.no("conflict", "claim", agent="a", id=number)


# -- fenced --------------------------------------------------------------------------------------------------

HOLDERS: dict[str, dict[str, Any]] = {
    "progress": {"percent": 50, "checkpoint": b"c"},
    "complete": {"note": "n", "result": b"r"},
    "fail": {"reason": "r", "output": b"o"},
    "release": {"note": "n"},
    "bury": {"reason": "r"},
    "hold": {"watch": (71, 1)},
}
"""What a holder does, with all that it might leave behind."""


@pytest.mark.parametrize("verb", HOLDERS)
@pytest.mark.parametrize("now_held_by", [None, "a", "b"])
def test_law_fenced_a_stale_token_changes_nothing_and_is_told_lease_lost(verb, now_held_by):
    house = House()
    stale = house.held("a")
    house.do("release", id=stale["id"], token=stale["token"])
    if now_held_by:
        assert house.claim(now_held_by)["fence"] > stale["fence"]
    before = rows(house.tables)
    lost = house.no("lease_lost", verb, id=stale["id"], token=stale["token"], **HOLDERS[verb])
    assert rows(house.tables) == before
    assert lost.facts.get("holder") == now_held_by


@pytest.mark.parametrize("verb", HOLDERS)
def test_law_fenced_a_guessed_secret_is_no_token(verb):
    house = House()
    held = house.held("a")
    guessed = f"{held['fence']}.{'0' * 16}"
    house.no("lease_lost", verb, id=held["id"], token=guessed, **HOLDERS[verb])
    for wrong in ("1", "1.", ".", "1.xyz", "x.0000000000000000", "-1.0000000000000000", "1.00000000000000000"):
        house.no("bad_request", verb, id=held["id"], token=wrong, **HOLDERS[verb])


@pytest.mark.parametrize("verb", HOLDERS)
def test_law_fenced_a_lease_is_over_when_its_time_is_whether_or_not_the_timer_ran(verb):
    house = House()
    held = house.held("a", lease=10 * SECOND)
    house.now += 10 * SECOND
    before = rows(house.tables)
    house.no("lease_lost", verb, id=held["id"], token=held["token"], **HOLDERS[verb])
    house.no("lease_lost", verb, id=held["id"], agent="a", **HOLDERS[verb])
    assert house.do("heartbeat", ids=[held["id"]], token=held["token"])["lost"] == {held["id"]: "lease_lost"}
    house.no("empty", "claim", agent="a", resume=True)  # what is over cannot be taken again
    assert rows(house.tables) == before


def test_law_fenced_the_fence_only_grows():
    house = House()
    number = house.submit()
    fences = []
    for agent in ("a", "b", "a", "c"):
        held = house.claim(agent)
        fences.append(held["fence"])
        if agent == "a":
            fences.append(house.claim(agent, resume=True)["fence"])
        house.do("release", id=number, agent=agent)
    other = house.restored()
    fences.append(other.claim("d")["fence"])
    assert fences == sorted(set(fences))


def test_law_fenced_resume_takes_the_former_process_its_token():
    house = House()
    first = house.held("a")
    again = house.claim("a", resume=True)
    assert again["resumed"]
    assert again["attempt"] == first["attempt"] == 1
    house.no("lease_lost", "complete", id=first["id"], token=first["token"])
    assert house.do("complete", id=first["id"], token=again["token"])["state"] == "done"


# -- work comes back -----------------------------------------------------------------------------------------


def test_law_work_comes_back_when_the_lease_ends():
    house = House()
    number = house.held("a", lease=10 * SECOND)["id"]
    house.later(10 * SECOND - 1)
    assert house.state(number) == "claimed"
    house.later(1)
    assert house.state(number) == "ready"
    assert house.claim("b")["attempt"] == 2


def test_law_work_comes_back_at_once_when_the_watched_process_dies():
    house = House()
    number = house.submit()
    house.claim("a", watch=(71, 1))
    waiter = house.park("claim", agent="b", wait=MINUTE)
    house.die((71, 1))
    ((served, reply),) = house.answers()
    assert served is waiter
    assert reply["items"][0]["id"] == number


def test_law_work_comes_back_also_from_a_living_process_that_says_nothing_for_long():
    house = House()
    house.submit()
    number = house.claim("a", watch=(71, 1))["id"]
    house.later(HOUR - 1)
    assert house.state(number) == "claimed"
    house.later(1)
    assert house.state(number) == "ready"


@pytest.mark.parametrize("arguments", [{"lease": 0}, {"max_runtime": 0}, {"max_attempts": 0}])
def test_law_work_comes_back_but_not_before_it_was_given(arguments):
    house = House()
    assert "must not be 0" in house.no("bad_request", "submit", type="t", description="d", **arguments).message
    house.no("bad_request", "claim_new", agent="a", type="t", description="d", **arguments)


# -- everything is bounded -----------------------------------------------------------------------------------

LIMITS: list[tuple[dict[str, Any], list[Any], Any, str, str]] = [
    # policy, what reaches it, what goes past it, code, how the limit is named
    ({"max_items": 1}, [("submit", {})], ("submit", {}), "overloaded", "MAX_ITEMS"),
    ({"memory_max": 1000}, [("submit", {"payload": b"x" * 900})], ("submit", {}), "overloaded", "MEMORY"),
    ({"queue_max_length": 1}, [("submit", {})], ("submit", {}), "queue_full", "maximum"),
    ({"queues": 1}, [("submit", {"queue": "p"})], ("submit", {"queue": "q"}), "too_many_kinds", "QUEUES"),
    (
        {"queues": 1},
        [("submit", {"queue": "p"})],
        ("queue_set", {"queue": "q", "limit": 1}),
        "too_many_kinds",
        "QUEUES",
    ),
    ({"queues": 1}, [("submit", {"queue": "p"})], ("pause", {"queue": "q"}), "too_many_kinds", "QUEUES"),
    ({"queues": 1}, [("submit", {"queue": "p"})], ("edit", {"id": 1, "queue": "q"}), "too_many_kinds", "QUEUES"),
    ({"agents": 1}, [("register", {"agent": "a"})], ("register", {"agent": "b"}), "too_many_kinds", "AGENTS"),
    ({"agents": 1}, [("register", {"agent": "a"})], ("claim", {"agent": "b"}), "too_many_kinds", "AGENTS"),
    (
        {"description_max": 3},
        [("submit", {"description": "abc"})],
        ("submit", {"description": "abcd"}),
        "too_large",
        "3",
    ),
    ({"description_max": 3}, [("submit", {"description": "é"})], ("submit", {"description": "éé"}), "too_large", "3"),
    ({"payload_max": 3}, [("submit", {"payload": b"abc"})], ("submit", {"payload": b"abcd"}), "too_large", "3"),
]


@pytest.mark.parametrize(("policy", "fits", "exceeds", "code", "named"), LIMITS)
def test_law_everything_is_bounded_and_the_refusal_names_the_limit(policy, fits, exceeds, code, named):
    house = House(**policy)
    wish = {"type": "t", "description": "d"}
    for verb, arguments in fits:
        house.do(verb, **({**wish, **arguments} if verb == "submit" else arguments))
    verb, arguments = exceeds
    assert named in house.no(code, verb, **({**wish, **arguments} if verb == "submit" else arguments)).message
    check(house)


@pytest.mark.parametrize(
    ("verb", "argument", "limit"),
    [
        ("progress", "checkpoint", "checkpoint_max"),
        ("complete", "output", "output_tail"),
        ("complete", "result", "payload_max"),
        ("fail", "output", "output_tail"),
        ("bury", "output", "output_tail"),
    ],
)
def test_law_everything_is_bounded_what_a_holder_leaves_too(verb, argument, limit):
    house = House(**{limit: 5})
    held = house.held("a")
    too_large = house.no("too_large", verb, id=held["id"], token=held["token"], **{argument: b"123456"})
    assert too_large.facts == {"limit": 5, "name": argument}
    house.do(verb, id=held["id"], token=held["token"], **{argument: b"12345"})


def test_law_everything_is_bounded_on_the_wire():
    for verb, arguments in (
        ("submit", {"type": "t", "description": "d", "after": list(range(1, protocol.AFTER_MAX + 2))}),
        ("submit", {"type": "t", "description": "d", "require": [f"l{n}" for n in range(protocol.LABELS_MAX + 1)]}),
        ("register", {"agent": "a", "labels": [f"l{n}" for n in range(protocol.LABELS_MAX + 1)]}),
        ("batch", {"commands": [["show", {"id": 1}]] * (protocol.SUBMITS_MAX + 1)}),
        ("claim", {"agent": "a", "type": [f"t{n}" for n in range(values.FILTER_MAX + 1)]}),
    ):
        with pytest.raises(Refusal, match="the limit is") as caught:
            commands.structure(verb, arguments, 1000)
        assert caught.value.code == "too_large"
    for name in ("", "-a", "a b", "a\n", "é", "x" * (protocol.NAME_MAX + 1)):
        with pytest.raises(Refusal, match="expected a name"):
            commands.structure("quiet", {"agent": name}, 1000)


def test_law_everything_is_bounded_those_who_wait_too():
    house = House(waiters_max=1)
    house.park("claim", agent="a", wait=SECOND)
    request = commands.structure("claim", {"agent": "b", "wait": 1000}, 1000)
    with pytest.raises(Refusal) as caught:
        house.queue.park(request, Actor(1000, 1), None, Refusal("empty", ""), None)
    assert caught.value.code == "busy"
    assert "WAITERS_MAX" in caught.value.message


def test_law_everything_is_bounded_kinds_of_items_however_they_become_ready(monkeypatch):
    monkeypatch.setattr(ready_index, "BUCKETS_MAX", 4)
    house = House()
    first = house.submit(type="t0")
    house.submit(type="t1", delay=SECOND)
    house.submit(type="t2", after=[first])
    lines = [["submit", {"type": f"u{n}", "description": "d"}] for n in range(2)]
    assert house.no("too_many_kinds", "batch", commands=lines, atomic=True).facts["line"] == 1
    house.submit(type="t3")
    house.no("too_many_kinds", "submit", type="t4", description="d")
    house.no("too_many_kinds", "edit", id=first, queue="other")
    held = house.claim("a", id=first)
    house.later(SECOND)
    house.do("complete", id=first, token=held["token"])
    assert len(house.queue.ready.buckets) == 4
    assert [house.claim("b")["type"] for _ in range(3)] == ["t1", "t2", "t3"]
    house.submit(type="t4")  # nothing is left of t0
    check(house)


def test_law_everything_is_bounded_what_one_agent_holds(monkeypatch):
    monkeypatch.setattr(records, "HOLDS_MAX", 2)
    house = House()
    for _ in range(3):
        house.submit()
    assert len(house.do("claim", agent="a", count=3)["items"]) == 2
    assert "the most that one agent may hold" in house.no("capacity", "claim", agent="a").message
    assert house.claim("b")["id"] == 3


def test_law_everything_is_bounded_one_claim_of_many_large_items():
    house = House()
    for _ in range(40):
        house.submit(payload=b"x" * 64_000)
    first = house.do("claim", agent="a", count=1000)["items"]
    assert sum(len(item["payload"]) for item in first) <= 1 << 20
    resumed = house.do("claim", agent="a", count=1000, resume=True)["items"]
    assert sum(len(item["payload"]) for item in resumed) <= 1 << 20
    assert len(house.do("claim", agent="b", count=1000)["items"]) == len(first) == 16


def test_law_everything_is_bounded_what_one_entry_of_the_journal_holds():
    house = House(batch_size=10)
    for _ in range(25):
        house.submit(group="g")
    house.do("claim", agent="a", count=25)
    assert house.no("busy", "register", agent="a", takeover=True).facts["limit"] == 10
    replies = [house.do("evict", agent="a", admin=True) for _ in range(3)]
    assert [(reply["returned"], reply["more"]) for reply in replies] == [(10, True), (10, True), (5, False)]
    house.no("not_found", "evict", agent="a", admin=True)
    assert [house.do("cancel", group="g")["cancelled"] for _ in range(4)] == [10, 10, 5, 0]


# -- the same key, the same answer -----------------------------------------------------------------------------


CAME_FROM = {"created_at": NOW - HOUR, "ref": "there"}


def keyed(verb: str, held: Any) -> dict[str, Any]:
    """Arguments for the verb where item 1 is ready, 2 buried, and one held."""
    token = {"id": held["id"], "token": held["token"]}
    arguments: dict[str, dict[str, Any]] = {
        "submit": {"type": "t", "description": "d"},
        "batch": {"commands": [["submit", {"type": "t", "description": "d", "ref": "r"}]], "atomic": True},
        "claim": {"agent": "b"},
        "claim_new": {"agent": "b", "type": "t", "description": "d"},
        "heartbeat": {"agent": "a"},
        "progress": {**token, "percent": 5},
        "hold": {**token, "watch": (71, 1)},
        "lock": {"name": "m", "agent": "b"},
        "unlock": {"name": "l", "agent": "a"},
        "complete": {**token, "note": "n"},
        "fail": {**token, "reason": "r"},
        "release": {**token, "delay": 1000},
        "bury": {**token, "reason": "r"},
        "kick": {"id": 2},
        "cancel": {"id": 1, "reason": "r"},
        "edit": {"id": 1, "priority": "high"},
        "register": {"agent": "c", "slots": 2},
        "quiet": {"agent": "a"},
        "wake": {"agent": "z"},
        "evict": {"agent": "a"},
        "queue_set": {"queue": "default", "limit": 3},
        "clear": {"queue": "default", "state": ["buried"]},
        "pause": {"queue": "default"},
        "resume": {"all": True},
        "import": {"run": "r", "rows": [["item", {"type": "t", "description": "d", "state": "done", **CAME_FROM}]]},
    }
    return arguments[verb]


OF_THE_DAEMON = {"config_set", "config_unset", "reload", "journal", "snapshot", "reindex"}
"""They change no item, agent or queue, and nothing that is kept: doing them twice is doing them once."""

CHANGES = sorted(
    verb for verb, access in protocol.VERBS.items() if access != protocol.READ and verb not in OF_THE_DAEMON
)


@pytest.mark.parametrize("verb", CHANGES)
def test_law_the_same_key_gets_the_same_answer_also_after_a_restart_and_other_content_a_conflict(verb):
    house = House()
    house.submit()
    house.submit()
    house.do("bury", id=2)
    house.do("register", agent="z")
    house.do("quiet", agent="z", admin=True)
    house.do("pause", all=True, admin=True)
    house.do("resume", all=True, admin=True) if verb != "resume" else None
    house.submit(lease=MINUTE)
    held = house.claim("a", id=3) if verb != "resume" else {"id": 3, "token": "1.0000000000000000"}
    house.do("lock", agent="a", name="l")
    house.now += 20 * SECOND
    arguments = keyed(verb, held)
    reply = house.do(verb, key="k", admin=True, **arguments)
    position = house.tables.position
    assert house.do(verb, key="k", admin=True, **arguments) == reply
    shuffled = dict(reversed(arguments.items()))
    assert house.do(verb, key="k", admin=True, **shuffled) == reply, "the order of arguments is no content"
    assert house.tables.position == position, "nothing happened"
    other = house.restored()
    assert other.do(verb, key="k", admin=True, **arguments) == reply
    if verb in ("batch", "resume"):
        lines = [["submit", {"type": "u", "description": "d"}]]
        changed = {"queue": "q"} if verb == "resume" else {**arguments, "commands": lines}
    else:
        name = next(iter(arguments))
        changed = {**arguments, name: 77 if name == "id" else "other"}
    assert "another key" in house.no("conflict", verb, key="k", admin=True, **changed).message
    assert house.tables.position == position
    check(house)


def test_law_the_same_key_of_another_uid_or_verb_is_another_key():
    house = House()
    ids = {house.do("submit", type="t", description="d", key="k", uid=uid)["id"] for uid in (1, 2)}
    assert len(ids) == 2
    assert house.do("claim", agent="a", key="k", uid=1)["items"]


def test_law_the_same_key_of_a_claim_that_waited_gets_the_same_item():
    house = House()
    house.park("claim", agent="a", wait=MINUTE, key="k")
    number = house.submit()
    ((_, reply),) = house.answers()
    assert house.do("claim", agent="a", wait=SECOND, key="k") == reply, "what is left of the wait is no other content"
    assert reply["items"][0]["id"] == number
    house.do("complete", id=number, agent="a")
    assert "not held" in house.no("lease_lost", "claim", agent="a", key="k").message


def test_law_the_same_key_of_a_claim_that_nobody_learned_of_gets_another_one():
    house = House()
    number = house.submit()
    request = commands.structure("claim", {"agent": "a", "key": "k"}, 1000)
    item = house.do("claim", agent="a", key="k")["items"][0]
    happened = house.queue.take_back([(item["id"], item["fence"])], request.key, minted=False)
    house.log(events.Entry(None, None, request.key, minted=False, events=happened))
    assert house.state(number) == "ready"
    again = house.do("claim", agent="a", key="k")["items"][0]
    assert again["fence"] > item["fence"]
    assert house.do("claim", agent="a", key="k")["items"][0] == again
    assert house.item(number).crashes == house.item(number).releases == 0
    check(house)
    house.later(25 * HOUR)
    assert not house.tables.keys
    check(house)


def test_law_the_same_key_says_again_that_the_item_was_there_already():
    house = House()
    number = house.submit(unique="u")
    wish = {"type": "t", "description": "d", "unique": "u", "key": "k"}
    found = {"id": number, "created": False}
    assert house.do("submit", **wish) == found
    house.do("cancel", id=number)
    assert house.do("submit", **wish) == found, "and does not put another one in when that one has ended"
    assert house.restored().do("submit", **wish) == found
    assert house.do("submit", **{**wish, "key": "other"})["created"]


def test_law_the_same_key_says_again_that_there_was_nothing_to_do():
    house = House()
    number = house.submit(group="g", delay=MINUTE)
    commands_: dict[str, dict[str, Any]] = {
        "edit": {"id": number, "priority": "medium"},
        "kick": {"queue": "default"},
        "resume": {"queue": "default"},
        "queue_set": {"queue": "default", "limit": 0},
    }
    replies = {verb: house.do(verb, key="k", **arguments) for verb, arguments in commands_.items()}
    house.do("bury", id=number)
    house.do("pause", queue="default")
    for each in (house, house.restored()):
        for verb in ("edit", "kick", "resume"):
            assert each.do(verb, key="k", **commands_[verb]) == replies[verb]
        assert each.state(number) == "buried"
        assert each.do("queue_set", key="k", **commands_["queue_set"])["paused"] == "paused"
    check(house)


def test_law_a_refusal_is_not_kept_under_the_key():
    house = House()
    house.no("empty", "claim", agent="a", key="k")
    house.submit()
    assert house.do("claim", agent="a", key="k")["items"]


def test_law_keys_that_clients_mint_are_kept_a_quarter_of_an_hour_and_chosen_ones_a_day():
    house = House()
    house.submit(key="mine")
    house.submit(key=protocol.MINTED_PREFIX + "1")
    assert len(house.tables.keys) == 2
    house.later(15 * MINUTE)
    assert len(house.tables.keys) == 2
    house.later(1)
    assert len(house.tables.keys) == 1
    house.later(24 * HOUR - 15 * MINUTE)
    assert not house.tables.keys
    check(house)


def test_law_keys_are_bounded_the_oldest_goes_first_and_minted_ones_before_chosen_ones():
    house = House(keys_max=4)
    first = [house.submit(key=f"mine{n}") for n in range(3)]
    for n in range(3):
        house.submit(key=f"{protocol.MINTED_PREFIX}{n}")
    house.turn()
    assert [len(order) for order in house.tables.key_order] == [3, 1]
    for n in range(20):
        house.submit(key=f"more{n}")
    house.turn()
    assert [len(order) for order in house.tables.key_order] == [4, 0]
    assert len(house.tables.keys) == 4
    assert house.do("submit", type="t", description="d", key="more19") == {"id": 26, "created": True}
    assert house.submit(key="mine0") > first[-1], "forgotten, it is a new one"
    check(house)


def test_numbers_needed_covers_what_a_command_takes():
    house = House(batch_size=10)
    for _ in range(30):
        house.submit(group="g", lease=MINUTE)
    for verb, arguments in (
        ("claim", {"agent": "a", "count": 30}),
        ("heartbeat", {"agent": "a"}),
        ("heartbeat", {"ids": list(range(1, 31)), "agent": "a"}),
        ("claim_new", {"agent": "a", "type": "t", "description": "d"}),
        ("complete", {"id": 1, "agent": "a"}),
        ("kick", {"queue": "default"}),
        ("cancel", {"group": "g"}),
        ("evict", {"agent": "a"}),
        ("batch", {"commands": [["submit", {"type": "t", "description": "d"}]] * 7, "atomic": True}),
    ):
        house.now += 10 * SECOND
        before = (house.mint.ids, house.mint.fences, house.tables.position)
        needed = draws(house.queue.desk, commands.structure(verb, arguments, 1000))
        house.do(verb, admin=True, **arguments)
        after = (house.mint.ids, house.mint.fences, house.tables.position)
        assert max(now - then for now, then in zip(after, before, strict=True)) <= needed, verb


def test_texts_are_kept_as_they_are():
    house = House()
    text = "a\0b\nc\r\"'\\\t\x7f\u202e🐝 é"
    number = house.submit(description=text, payload=text.encode())
    held = house.claim("a")
    assert (held["description"], held["payload"]) == (text, text.encode())
    house.do("progress", id=number, token=held["token"], status=text, message=text, checkpoint=b"\0\xff")
    house.do("fail", id=number, token=held["token"], reason=text, output=b"\0\xff")
    shown = house.restored().show(number)
    assert (shown["description"], shown["status"], shown["message"], shown["reason"]) == (text,) * 4
    house.later(HOUR)
    refusal = house.no("bad_state", "complete", id=number)
    assert str(refusal.wire()["message"]).isprintable()
    again = house.claim("b")
    assert (again["last_failure"], again["checkpoint"]) == (text, b"\0\xff")
    assert house.now > NOW
    check(house)
