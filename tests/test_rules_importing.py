"""What comes in from elsewhere: once, with its past, each row by itself."""

from typing import Any

import pytest

from swarmshd import events as e
from tests.rules import HOUR, MINUTE, NOW, SECOND, House, check

pytestmark = pytest.mark.slow

THEN = NOW - 24 * HOUR


def item(**fields: Any) -> list[Any]:
    """A row for an item; ready, and named ``there``, unless it says otherwise."""
    usual = {"type": "t", "description": "d", "state": "ready", "created_at": THEN, "ref": "there"}
    return ["item", {name: value for name, value in (usual | fields).items() if value is not None}]


def bring(house: House, *rows: list[Any], run: str = "r1", **more: Any) -> Any:
    """The reply to an import."""
    reply = house.do("import", admin=True, run=run, rows=list(rows), **more)
    check(house)
    return reply


def refused(reply: Any) -> dict[int, str]:
    return {each["row"]: each["code"] for each in reply["refused"]}


PAST = {
    "claims": 3,
    "failures": 1,
    "crashes": 1,
    "releases": 2,
    "percent": 40,
    "status": "s",
    "message": "m",
    "checkpoint": b"c\xff",
    "reason": "why",
    "note": "n",
    "points": 8,
    "exit_status": 3,
    "result": b"r\xff",
    "output": b"o\xff",
    "ended_by": "a9",
    "agent": "a8",
    "legacy": '{"x":1}',
    "team": "core",
    "priority": "critical",
    "payload": b"p\xff",
    "require": ["gpu", "big"],
    "group": "g",
    "max_attempts": 7,
    "lease": MINUTE,
    "max_runtime": HOUR,
    "queue": "q",
}


@pytest.mark.parametrize("state", ["ready", "done", "cancelled", "buried"])
def test_an_item_comes_in_with_its_past_and_a_restart_keeps_it(state):
    house = House()
    ended = {"ended_at": THEN + HOUR} if state in ("done", "cancelled") else {}
    reply = bring(house, item(state=state, unique="u", **ended, **PAST))
    assert reply == {"ids": [1], "unchanged": [], "refused": [], "held": []}
    for each in (house, house.restored()):
        shown = each.show("there")
        assert shown["state"] == state
        assert shown["created_at"] == THEN
        assert shown.get("ended_at") == ended.get("ended_at")
        assert shown["attempt"] == 3
        assert (shown["failures"], shown["crashes"], shown["releases"]) == (1, 1, 2)
        assert (shown["require"], shown["queue"], shown["priority"]) == (("big", "gpu"), "q", "critical")
        assert shown["submitted_by"] == {"uid": 1000, "agent": "a8"}
        assert shown.get("agent") == ("a9" if ended else None)
        for name in ("percent", "status", "message", "reason", "note", "points", "exit_status", "legacy", "group"):
            assert shown[name] == PAST[name], name
        for what in ("payload", "checkpoint", "output", "result"):
            assert each.do("get", id="there", what=what)["data"] == PAST[what]
        check(each)
    if state == "ready":
        house.do("register", agent="x", labels=["gpu", "big"])
        taken = house.claim("x", queue=["q"])
        assert (taken["attempt"], taken["checkpoint"], taken["last_failure"]) == (4, b"c\xff", "why")


def test_the_same_again_changes_nothing_whatever_has_become_of_it():
    house = House()
    rows = [item(), item(ref="other", state="done", ended_at=THEN)]
    assert bring(house, *rows)["ids"] == [1, 2]
    position = house.tables.position
    assert bring(house, *rows, run="r2") == {"ids": [1, 2], "unchanged": [0, 1], "refused": [], "held": []}
    held = house.claim("a")
    assert bring(house, *rows, run="r3")["unchanged"] == [0, 1]
    house.do("complete", id=1, token=held["token"])
    assert bring(house, *rows, run="r4")["unchanged"] == [0, 1]
    assert house.tables.position == position + 2, "a claim and a completion"
    assert house.show(1)["state"] == "done"
    restored = house.restored()
    assert restored.do("import", admin=True, run="r5", rows=rows)["unchanged"] == [0, 1]


def test_the_reply_of_a_run_says_again_what_that_run_brought_in():
    house = House()
    first = bring(house, item(), key="k")
    assert bring(house, item(), key="k") == first == {"ids": [1], "unchanged": [], "refused": [], "held": []}
    assert bring(house, item(), key="k2") == first
    assert bring(house, item(), run="r2")["unchanged"] == [0]


def test_other_content_is_a_conflict_and_changes_nothing():
    house = House()
    bring(house, item())
    position = house.tables.position
    reply = bring(house, item(description="other"), item(ref="fine"), run="r2")
    assert refused(reply) == {0: "conflict"}
    assert reply["ids"] == [0, 2]
    assert house.show("there")["description"] == "d"
    assert house.tables.position == position + 1


def test_what_was_submitted_here_under_that_ref_is_not_touched():
    house = House()
    house.submit(ref="there", description="ours")
    assert refused(bring(house, item())) == {0: "conflict"}
    assert house.show("there")["description"] == "ours"


def test_nothing_comes_in_dry():
    house = House()
    bring(house, item(ref="here"))
    position = house.tables.position
    rows = [item(), item(ref="here"), item(ref="here", note="n"), ["agent", {"agent": "a"}], ["queue", {"queue": "q"}]]
    reply = bring(house, *rows, run="r2", dry_run=True)
    assert reply["unchanged"] == [1, 4]
    assert refused(reply) == {2: "conflict"}
    assert house.tables.position == position
    assert list(house.tables.agents) == []


def test_what_waits_for_something_that_is_not_here_is_told():
    rows = [item(ref="a", state="blocked", waits=["b", "here"]), item(ref="b", state="blocked", waits=["a"])]
    house = House()
    bring(house, item(ref="here"))
    dry = bring(house, *rows, run="r2", dry_run=True)["held"]
    why = {name: f"waits for {name}, which did not come in before it" for name in ("a", "b")}
    assert dry == [{"row": 0, "message": why["b"], "waits": "b"}, {"row": 1, "message": why["a"], "waits": "a"}]
    assert bring(house, *rows, run="r2", key="k")["held"] == [{"row": 0, "message": why["b"]}]
    assert bring(house, *rows, run="r2", key="k")["held"] == [{"row": 0, "message": why["b"]}]
    assert bring(house, *rows, run="r3")["held"] == [], "they are here already"
    assert [house.show(ref)["state"] for ref in ("a", "b")] == ["blocked", "blocked"]


# -- numbers -------------------------------------------------------------------------------------------------


def test_an_id_is_kept_where_none_as_large_was_handed_out():
    house = House()
    rows = [item(id=7, ref="a"), item(id=9, ref="b"), item(id=8, ref="c")]
    assert bring(house, *rows)["ids"] == [7, 9, 10]
    assert house.submit() == 11
    del rows[2][1]["ref"]
    rows[2][1]["origin"] = f"#8@{THEN}"
    assert bring(house, rows[2], run="r2")["ids"] == [12], "another name is another item"
    assert house.do("import", admin=True, run="r3", rows=[["item", rows[2][1] | {"id": 8}]])["unchanged"] == [0]


def test_an_item_without_a_ref_is_known_by_its_number_and_time():
    house = House()
    for _ in range(3):
        house.submit()
    row = item(id=2, ref=None)
    assert bring(house, row)["ids"] == [4]
    assert bring(house, row, run="r2") == {"ids": [4], "unchanged": [0], "refused": [], "held": []}
    assert house.show(4)["created_at"] == THEN
    row[1]["created_at"] += 1
    assert bring(house, row, run="r3")["ids"] == [5], "made at another time it is another one"
    assert refused(bring(house, item(ref=None))) == {0: "bad_request"}


def test_ids_that_would_use_up_the_numbers_are_not_kept():
    house = House()
    assert bring(house, item(id=(1 << 63) - 1), item(ref="b", id=1 << 47))["ids"] == [1, 1 << 47]


def test_what_came_in_does_not_come_in_again_when_it_is_forgotten(monkeypatch):
    house = House(retain_done=HOUR)
    rows = [item(ref=name) for name in "abc"]
    bring(house, *rows)
    for number in (1, 2, 3):
        house.claim("w", id=number)
        house.do("complete", id=number, agent="w")
    house.later(2 * HOUR)
    assert not house.tables.items
    check(house)
    for each in (house, house.restored()):
        reply = each.do("import", admin=True, run="r2", rows=[*rows, item(ref="a", note="n")])
        assert reply["unchanged"] == [0, 1, 2]
        assert reply["ids"] == [0, 0, 0, 0]
        assert refused(reply) == {3: "conflict"}
    monkeypatch.setattr("swarmshd.workqueue.tables.IMPORTED_MAX", 200)
    names = [b"%8d" % number for number in range(1000)]
    kept = set()
    for name in names:
        house.tables.remember_imported(name, b"content.")
        kept.add(len(house.tables.imported))
    assert list(house.tables.imported)[-200:] == names[-200:]
    assert max(kept) == 202, "the oldest go, a few at a time"


def test_an_ended_item_is_remembered_from_when_it_came_in():
    house = House(retain_done=HOUR)
    row = item(id=1, ref=None, state="done", ended_at=THEN)
    house.submit()
    assert bring(house, row)["ids"] == [2]
    house.later(HOUR - SECOND)
    assert house.show(2)["ended_at"] == THEN, "it is remembered from when it came in"
    house.later(2 * SECOND)
    house.no("not_found", "show", id=2)
    check(house)


# -- who holds what ------------------------------------------------------------------------------------------


def test_what_is_held_elsewhere_is_held_back_until_it_is_kicked():
    house = House()
    bring(house, item(state="claimed", holder="a1", claims=1, percent=30))
    shown = house.show("there")
    assert shown["state"] == "blocked"
    assert "held by a1" in shown["blocked_reason"]
    house.no("empty", "claim", agent="b")
    house.later(24 * HOUR)
    assert house.show("there")["state"] == "blocked"
    assert house.do("kick", id="there")["state"] == "ready"
    taken = house.claim("b")
    assert taken["percent"] == 30
    check(house)


def test_what_is_held_elsewhere_may_be_claimed_at_once_if_that_is_asked_for():
    house = House()
    bring(house, item(state="claimed", holder="a1", claims=1), claimed="ready")
    assert house.claim("b")["attempt"] == 2


def test_what_is_held_elsewhere_may_stay_with_its_holder_under_another_lease():
    house = House()
    reply = bring(house, item(state="claimed", holder="a1", claims=1), claimed="keep")
    assert reply == {"ids": [1], "unchanged": [], "refused": [], "held": []}
    shown = house.show("there")
    assert (shown["state"], shown["agent"], shown["attempt"]) == ("claimed", "a1", 1)
    resumed = house.claim("a1", resume=True)
    house.do("complete", id=1, token=resumed["token"])
    assert bring(house, item(state="claimed", holder="a1", claims=1), run="r2", claimed="ready")["unchanged"] == [0]
    bring(house, item(ref="b", state="claimed", holder="a2"), claimed="keep")
    house.later(HOUR)
    assert house.state(2) == "ready", "the lease has ended as any other"
    bring(house, item(ref="c", state="claimed"), claimed="keep")
    assert house.state(3) == "blocked", "nobody is said to hold it"
    check(house)


# -- dependencies --------------------------------------------------------------------------------------------


def test_what_an_item_waits_for_is_found_by_its_name_under_whatever_number():
    house = House()
    house.submit()
    names = [f"#1@{THEN}", "r"]
    first, second = item(id=1, ref=None), item(id=2, ref=None, state="blocked", waits=names, after=names)
    assert bring(house, first, item(ref="r", id=3), second)["ids"] == [2, 3, 4]
    assert house.show(4)["blocked_by"] == [2, 3]
    for number in (2, 3):
        house.claim("a", id=number)
        house.do("complete", id=number, agent="a")
    assert house.state(4) == "ready"
    check(house)


def test_what_waits_for_something_that_did_not_come_in_is_held_back():
    house = House()
    bring(house, item(state="blocked", waits=["gone"], after=["gone"]))
    assert house.show("there")["blocked_reason"] == "waits for gone, which did not come in before it"
    house.do("kick", id="there")
    assert house.state(1) == "ready"
    bring(house, item(ref="b", state="blocked", blocked="as it was"))
    assert house.show("b")["blocked_reason"] == "as it was"


def test_what_waits_for_nothing_any_more_is_ready_and_what_is_due_too():
    house = House()
    bring(house, item(state="done", ended_at=THEN), item(ref="b", state="blocked", waits=["there"]))
    assert house.state(2) == "ready"
    bring(
        house,
        item(ref="c", state="scheduled", due_at=THEN),
        item(ref="d", state="scheduled", due_at=NOW + 99 * 24 * HOUR),
    )
    assert [house.state(number) for number in (3, 4)] == ["ready", "scheduled"]


def test_a_group_that_is_waited_for_counts_what_comes_in():
    house = House()
    bring(house, item(group="g"), item(ref="b", group="g", state="done"))
    assert house.no("timeout", "wait", group="g", timeout=0).facts["pending"] == 1


# -- bounds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"description": "d" * 9000}, "too_large"),
        ({"payload": b"p" * (65 << 10)}, "too_large"),
        ({"output": b"p" * (65 << 10)}, "too_large"),
        ({"checkpoint": b"p" * 5000}, "too_large"),
        ({"legacy": "p" * 5000}, "too_large"),
        ({"require": [f"l{n}" for n in range(17)]}, "too_large"),
        ({"after": [f"l{n}" for n in range(65)]}, "too_large"),
        ({"state": "lost"}, "bad_request"),
        ({"on_failure": "cry"}, "bad_request"),
        ({"lease": 0}, "bad_request"),
        ({"queue": "@lock"}, "bad_request"),
        ({"origin": "there", "ref": None}, "bad_request"),
        ({"waits": ["#x"]}, "bad_request"),
        ({"percent": 101}, "bad_request"),
        ({"note": 5}, "bad_request"),
        ({"unknown": 5}, "bad_request"),
        ({"unique": "u"}, "duplicate"),
    ],
)
def test_a_row_that_cannot_be_is_refused_alone(fields, code):
    house = House()
    house.submit(unique="u")
    reply = bring(house, item(**fields), item(ref="fine"))
    assert refused(reply) == {0: code}
    assert reply["refused"][0]["message"]
    assert reply["ids"] == [0, 2]


def test_rows_that_are_none_are_refused_alone():
    house = House()
    reply = bring(house, ["thing", {}], ["item", 5], item(), [], run="r1")
    assert refused(reply) == {0: "bad_request", 1: "bad_request", 3: "bad_request"}
    house.no("bad_request", "import", admin=True, run="r", rows=[[]] * 1001)
    house.no("bad_request", "import", admin=True, rows=[])
    house.no("bad_request", "import", admin=True, run="r", claimed="steal")
    (inside,) = house.do("batch", commands=[["import", {"run": "r"}]])
    assert inside.code == "bad_request"


@pytest.mark.parametrize(
    ("policy", "fields", "code"),
    [
        ({"max_items": 2}, {}, "overloaded"),
        ({"memory_max": 1000}, {}, "overloaded"),
        ({"retain_done_items": 2}, {"state": "done"}, "overloaded"),
        ({"queue_max_length": 2}, {}, "queue_full"),
        ({"queues": 2}, {"queue": True}, "too_many_kinds"),
    ],
)
def test_the_limits_of_the_daemon_hold(policy, fields, code):
    house = House(**policy)
    rows = [
        item(ref=f"r{n}", **{name: f"q{n}" if value is True else value for name, value in fields.items()})
        for n in range(3)
    ]
    assert refused(bring(house, *rows)) == {2: code}


def test_a_queue_takes_what_is_not_new_although_it_is_closed_or_full():
    house = House()
    rows = [["queue", {"queue": "q", "closed": True, "max_length": 1, "paused": "why"}], item(queue="q")]
    assert bring(house, *rows, item(ref="b", queue="q"))["refused"] == []
    house.no("queue_closed", "submit", type="t", description="d", queue="q")
    assert "paused" in house.no("empty", "claim", agent="a", queue=["q"]).facts


# -- agents and queues ---------------------------------------------------------------------------------------


def test_agents_come_in_once_and_keep_what_they_said_here():
    house = House()
    row = ["agent", {"agent": "a", "team": "core", "capacity": 80, "labels": ["gpu"], "slots": 2, "seen_at": THEN}]
    assert bring(house, row) == {"ids": [0], "unchanged": [], "refused": [], "held": []}
    for each in (house, house.restored()):
        (shown,) = each.do("agents", agent="a")["agents"]
        assert (shown["team"], shown["capacity"], shown["labels"], shown["slots"]) == ("core", 80, ["gpu"], 2)
        assert (shown["seen_at"], shown["state"], shown["registered"]) == (THEN, "idle", True)
        check(each)
    house.do("register", agent="a", team="other")
    assert bring(house, row, run="r2")["unchanged"] == [0], "it came in before, whatever it is now"
    assert refused(bring(house, ["agent", {"agent": "a", "team": "third"}], run="r3")) == {0: "conflict"}
    house.do("register", agent="b")
    assert refused(bring(house, ["agent", {"agent": "b", "team": "third"}])) == {0: "conflict"}
    house.held("c")
    assert bring(house, ["agent", {"agent": "c", "slots": 1, "quiet": True}])["refused"] == []
    assert house.do("agents", agent="c")["agents"][0]["state"] == "quiet"
    assert refused(bring(house, ["agent", {"agent": "d", "labels": [f"l{n}" for n in range(17)]}])) == {0: "too_large"}
    assert refused(bring(House(agents=1), row, ["agent", {"agent": "z"}])) == {1: "too_many_kinds"}


def test_settings_of_queues_come_in_where_there_are_none():
    house = House()
    row = ["queue", {"queue": "q", "limit": 4, "lease": MINUTE}]
    assert bring(house, row)["unchanged"] == []
    assert house.do("queues", queue="q")["queues"][0]["limit"] == 4
    assert bring(house, row, run="r2")["unchanged"] == [0]
    assert refused(bring(house, ["queue", {"queue": "q", "limit": 5}], run="r3")) == {0: "conflict"}
    assert refused(bring(house, ["queue", {"queue": "@lock"}])) == {0: "bad_request"}
    assert bring(house, ["queue", {"queue": "p", "limit": 1}], key="k")["unchanged"] == []
    assert bring(house, ["queue", {"queue": "p", "limit": 1}], key="k")["unchanged"] == []


# -- the journal ---------------------------------------------------------------------------------------------


def test_a_snapshot_of_before_there_were_imports_is_read():
    house = House()
    house.do("register", agent="a", team="core")
    rows = [row[:14] if row[0] == 2 else row for row in house.tables.rows()]
    other = House().tables
    other.__init__()  # type: ignore[misc]
    other.restore(e.decode_rows(e.encode_rows(rows)))
    assert other.agents["a"].team == "core"
    assert other.agents["a"].imported is None
