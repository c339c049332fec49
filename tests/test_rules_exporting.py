"""What goes out comes in elsewhere as it was: all but leases."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarmshd.commands import Refusal
from swarmshd.protocol import ON_FAILURE, PRIORITIES
from tests.rules import HOUR, MINUTE, NOW, SECOND, House, check

pytestmark = pytest.mark.slow


def exported(house: House, **wanted: Any) -> list[list[Any]]:
    """All rows, page by page."""
    rows: list[list[Any]] = []
    after: dict[str, str] = {}
    while True:
        page = house.do("export", **wanted, **after)
        rows += page["rows"]
        if "next" not in page:
            return rows
        after = {"after": page["next"]}


def brought(rows: list[list[Any]], house: House | None = None, **more: Any) -> House:
    """A house into which these came; a new one, if none is given."""
    house = House() if house is None else house
    for start in range(0, len(rows), 100):
        reply = house.do(
            "import", admin=True, run="r", rows=plain(rows[start : start + 100]), **({"claimed": "keep"} | more)
        )
        assert reply["refused"] == []
    check(house)
    return house


def plain(value: Any) -> Any:
    """What the wire makes of it."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def without(rows: list[list[Any]], *names: str) -> list[list[Any]]:
    return [[kind, {name: value for name, value in said.items() if name not in names}] for kind, said in rows]


# -- from whatever may be ------------------------------------------------------------------------------------

texts = st.text(max_size=8)
names = st.sampled_from(["a", "b", "c/d", "e:f@g"])
blobs = st.binary(max_size=6)
counts = st.integers(0, 5)
instants = st.integers(0, NOW)


def maybe(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | of


fields = {
    "type": names,
    "description": texts,
    "state": st.sampled_from(["ready", "scheduled", "blocked", "claimed", "buried", "done", "cancelled"]),
    "created_at": instants,
    "queue": names,
    "priority": st.sampled_from(PRIORITIES),
    "team": maybe(names),
    "payload": maybe(blobs),
    "require": st.lists(names, max_size=2, unique=True),
    "group": maybe(names),
    "due_at": maybe(st.integers(NOW, NOW + 99 * 24 * HOUR)),
    "ended_at": maybe(instants),
    "on_failure": maybe(st.sampled_from(ON_FAILURE)),
    "max_attempts": maybe(st.integers(1, 5)),
    "lease": maybe(st.integers(1, HOUR)),
    "max_runtime": maybe(st.integers(1, HOUR)),
    "agent": maybe(names),
    "uid": maybe(counts),
    "holder": maybe(names),
    "claims": counts,
    "failures": counts,
    "crashes": counts,
    "releases": counts,
    "percent": maybe(st.integers(0, 100)),
    "status": maybe(texts),
    "message": maybe(texts),
    "checkpoint": maybe(blobs),
    "blocked": maybe(texts),
    "reason": maybe(texts),
    "note": maybe(texts),
    "points": maybe(counts),
    "exit_status": maybe(counts),
    "result": maybe(blobs),
    "output": maybe(blobs),
    "ended_by": maybe(names),
    "legacy": maybe(texts),
}


@st.composite
def items(draw: Any) -> list[list[Any]]:
    """Rows of items, some of which wait for others."""
    made: list[list[Any]] = []
    for number in range(1, draw(st.integers(1, 5))):
        row = {name: value for name, value in draw(st.fixed_dictionaries(fields)).items() if value is not None}
        if draw(st.booleans()):
            row["ref"] = f"r{number}"
        if draw(st.booleans()):
            row["unique"] = f"u{number}"
        earlier = [each[1].get("ref") or f"#{each[1]['id']}@{each[1]['created_at']}" for each in made]
        if earlier:
            row["after"] = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True))
            row["waits"] = row["after"]
        made.append(["item", {**row, "id": 7 * number}])
    return made


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(items())
def test_whatever_an_item_is_it_is_the_same_elsewhere(rows):
    first = brought(rows)
    out = exported(first)
    assert exported(brought(out)) == out
    assert exported(first.restored()) == out
    again = first.do("import", admin=True, run="again", rows=plain(out))
    assert again["refused"] == []
    assert again["unchanged"] == list(range(len(out))), "and here it is known"


# -- from whatever is done -----------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["submit", "wait", "claim", "complete", "fail", "release", "bury", "kick", "cancel", "progress", "later"]
        ),
        st.integers(1, 12),
        st.integers(0, 11),
    ),
    min_size=5,
    max_size=40,
)


def act(house: House, what: str, number: int, other: int) -> None:
    """One thing that people do; some of it is refused."""
    reference = {"id": number, "agent": "a"}
    if what == "submit":
        house.submit(queue="pq"[other % 2], group="g", priority=PRIORITIES[other % 4], payload=bytes([other]))
    elif what == "wait":
        house.submit(after=[number], on_failure=ON_FAILURE[other % 3], delay=other * MINUTE or None)
    elif what == "claim":
        house.do("claim", agent="a", queue="*", lease=HOUR)
    elif what == "progress":
        house.do("progress", **reference, percent=other, message="m", checkpoint=b"c")
    elif what == "later":
        house.later(other * 10 * SECOND)
    elif what == "kick":
        house.do("kick", id=number)
    elif what == "cancel":
        house.do("cancel", id=number, reason="why")
    else:
        house.do(what, **reference)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_whatever_was_done_is_the_same_elsewhere(done):
    house = House(max_attempts=2, retain_done=3 * MINUTE, crash_cap=2)
    house.do("register", agent="a", team="t", labels=["l"], slots=20, heartbeat=HOUR)
    house.do("queue_set", queue="p", limit=9, admin=True)
    house.do("pause", queue="q", reason="why", lasts=90_000_000, admin=True)
    house.do("resume", queue="q", admin=True)
    for what, number, other in done:
        try:
            act(house, what, number, other)
        except Refusal:
            pass
    out = exported(house)
    other = House()
    other.now = house.now
    assert without(exported(brought(out, other)), "seen_at") == without(out, "seen_at"), "a claim that stays is a word"
    here = house.do("import", admin=True, run="again", rows=plain(out))
    assert here["refused"] == []
    assert here["unchanged"] == list(range(len(out)))


def test_under_other_numbers_what_waits_for_what_is_the_same():
    house = House()
    for _ in range(3):
        house.submit()
    house.submit(after=[1, 2], ref="late")
    other = House()
    other.now += 1
    for _ in range(5):
        other.submit(description="ours")
    brought(exported(house), other)
    assert other.show("late")["blocked_by"] == [6, 7]
    third = brought(exported(other))
    assert without(exported(third), "id") == without(exported(other), "id")
    back = house.do("import", admin=True, run="back", rows=plain(exported(other)))
    assert back["unchanged"] == [5, 6, 7, 8], "what has come from here is known here, under its number"
    assert len(house.tables.items) == 9


# -- page by page --------------------------------------------------------------------------------------------


def test_what_is_exported_can_be_chosen():
    house = House()
    house.do("register", agent="a")
    house.do("queue_set", queue="p", limit=9, admin=True)
    house.submit(queue="p", group="g", type="x", team="t")
    house.submit(queue="q")
    house.do("cancel", id=2)

    def ids(**wanted: Any) -> list[Any]:
        return [said.get("id", kind) for kind, said in exported(house, **wanted)]

    assert ids() == ["queue", "agent", 1, 2]
    assert ids(queue=["p"]) == ["queue", 1]
    assert ids(queue=["q"]) == [2]
    assert ids(group="g") == ids(type=["x"]) == ids(team=["t"]) == ids(state=["ready"]) == ["queue", 1]
    assert ids(state=["done"]) == ["queue"]


def test_pages_are_bounded_and_leave_nothing_out():
    house = House()
    for number in range(30):
        house.submit(payload=bytes(60_000), queue=f"q{number}")
        house.do("register", agent=f"a{number}")
        house.do("queue_set", queue=f"q{number}", limit=1, admin=True)
    page = house.do("export")
    assert len(page["rows"]) == 69, "30 queues, 30 agents, and the items that fill it"
    assert page["next"] == "item:9"
    assert [said["id"] for kind, said in exported(house) if kind == "item"] == list(range(1, 31))
    for _ in range(12_000):
        house.submit()
    assert "next" in house.do("export", group="none")
    assert exported(house, group="none", queue=["x"]) == []
    assert len(exported(house)) == 12_090


@pytest.mark.parametrize("after", ["item", "item:x", "x:1", "item:-1", ":", "queue", "item:" + "9" * 5000])
def test_a_place_that_no_page_gave_is_refused(after):
    House().no("bad_request", "export", after=after)
