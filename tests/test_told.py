"""What people and programs are told of an event: never a secret, never bytes, and only what they asked for."""

from typing import Any, get_args, get_type_hints

import pytest

from swarmshd import events as e
from swarmshd import told
from swarmshd.told import EVERYTHING, Gazetteer, Place, Wanted, tell

pytestmark = pytest.mark.slow

SECRET = b"\x9f\x3c\x2a\x7b\xe0\xd1\x4c\x55"

PLACES = {1: Place("q", "t"), 2: Place("q", "u", "g"), 3: Place("r", "t", "g")}

OPTIONS = {
    "group": "g",
    "ref": "r",
    "unique": "u",
    "on_failure": "run",
    "max_attempts": 3,
    "lease": 5,
    "max_runtime": 9,
    "agent": "me",
    "reason": "why",
}

SAMPLES: list[e.Event] = [
    e.EpochStarted(7, "boot", 1, 2, 3),
    e.EpochEnded(),
    e.ClockShifted(5000),
    e.ItemSubmitted(1, "q", "t", 1, "words", 99, "team", SECRET, ["gpu"], [9], [9], OPTIONS),
    e.ItemSubmitted(1, "q", "t", 1, "words"),
    e.ItemImported(1, "q", "t", 1, "words", "ready", 99)._replace(
        due_at=99,
        team="team",
        payload=SECRET,
        require=["gpu"],
        after=[9],
        options={**OPTIONS, "origin": "work_1", "imported": SECRET, "legacy": "{}"},
        notes={"checkpoint": SECRET, "result": SECRET, "output": SECRET, "note": "words"},
    ),
    e.ItemClaimed(1, "a", 41, SECRET, 99, 300, 999, [77, 5]),
    e.LeasesRenewed([1, 2], 99),
    e.ItemProgressed(1, 99, 50, "half", "words", SECRET),
    e.ItemHeld(1, 99, [77, 5]),
    e.ItemStalled(1),
    e.ItemCompleted(1, [2], "note", 3, 0, SECRET, SECRET),
    e.ItemReturned(1, e.FAILED, 99, "why", 1, SECRET),
    e.ItemReturned(1, e.RELEASED),
    e.ItemBuried(1, e.CRASHED, "why", 1, SECRET),
    e.ItemsDue([1, 3]),
    e.ItemsUnblocked(9, [1, 2], [2]),
    e.ItemsBlocked([1], "why"),
    e.ItemsKicked([1]),
    e.ItemCancelled(1, "why"),
    e.ItemEdited(1, 0, "r", 99, "q"),
    e.ItemsForgotten([1]),
    e.AgentRegistered("a", "team", 80, "words", 2, ["gpu"], 1000, [77, 5]),
    e.AgentImported("a", 1000, "team", 80, "words", 2, ["gpu"], 1000, False, True, 99, SECRET, "{}"),
    e.AgentQuieted("a", True),
    e.AgentQuieted("a", False),
    e.AgentsForgotten(["a"]),
    e.WatchEnded([77, 5], True),
    e.QueueSet("q", {"limit": 3}),
    e.EverythingPaused("why", True, 3),
    e.EverythingPaused(None),
]


def said(event: e.Event, wanted: Wanted = EVERYTHING, uid: int | None = 1000) -> dict[str, Any] | None:
    return tell(12, 1_800_000_000_000, (uid, 4711, event), PLACES.get, wanted)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [part for name, one in value.items() for part in (name, *flat(one))]
    return [part for one in value for part in flat(one)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_no_secret_and_no_bytes_are_told(event):
    found = said(event)
    assert found is not None
    parts = flat(found)
    assert not [part for part in parts if isinstance(part, bytes)]
    assert {type(part) for part in parts} <= {int, str, bool}
    assert SECRET.hex() not in "".join(map(str, parts))
    assert (found["position"], found["time"]) == (12, 1_800_000_000_000)
    assert (found["uid"], found["pid"]) == (1000, 4711)
    sizes = {name for name in found if name.endswith("_size")}
    assert all(found[name] == len(SECRET) for name in sizes)
    hints = get_type_hints(type(event))
    held = [
        name for name in hints if bytes in (hints[name], *get_args(hints[name])) and name not in ("secret", "imported")
    ]
    held += [name for name in getattr(event, "notes", None) or () if name != "note"]
    assert sizes == {f"{name}_size" for name in held if getattr(event, name, SECRET) is not None}


def test_every_event_is_told_or_left_out_on_purpose():
    assert {type(event) for event in SAMPLES} == set(told.TELLERS) == set(e.KINDS.values()) - told.UNTOLD
    for event in (e.BlocksReserved(1, 2, 3), e.NothingChanged({}), e.KeysForgotten(1, 2), e.CascadeSettled(1)):
        assert said(event) is None


def test_what_the_daemon_did_by_itself_has_no_uid():
    found = said(e.ItemStalled(1), uid=None)
    assert found is not None
    assert "uid" not in found
    assert "pid" not in found


def test_an_item_is_told_with_its_place():
    assert said(e.ItemStalled(2)) == {
        "position": 12,
        "time": 1_800_000_000_000,
        "event": "stalled",
        "id": 2,
        "queue": "q",
        "type": "u",
        "group": "g",
        "uid": 1000,
        "pid": 4711,
    }
    nowhere = said(e.ItemStalled(99))
    assert nowhere is not None
    assert nowhere.keys() == {"position", "time", "event", "id", "uid", "pid"}


@pytest.mark.parametrize(
    ("event", "wanted", "ids"),
    [
        (e.ItemStalled(1), Wanted(ids=frozenset((1, 5))), [1]),
        (e.ItemStalled(1), Wanted(ids=frozenset((2,))), None),
        (e.ItemStalled(99), Wanted(ids=frozenset((99,))), [99]),
        (e.ItemStalled(99), Wanted(queues=frozenset(("q",))), None),
        (e.ItemStalled(1), Wanted(queues=frozenset(("q", "x"))), [1]),
        (e.ItemStalled(1), Wanted(queues=frozenset(("q",)), types=frozenset(("u",))), None),
        (e.ItemStalled(1), Wanted(group="g"), None),
        (e.ItemStalled(2), Wanted(group="g"), [2]),
        (e.ItemsDue([1, 2, 3]), Wanted(queues=frozenset(("q",))), [1, 2]),
        (e.ItemsDue([1, 2, 3]), Wanted(ids=frozenset((3,))), [3]),
        (e.ItemsDue([1, 2, 3]), Wanted(queues=frozenset(("q",)), ids=frozenset((3,))), None),
        (e.ItemsUnblocked(9, [1, 2], [2]), Wanted(ids=frozenset((2,))), [2]),
        (e.ItemCompleted(1, [3]), Wanted(ids=frozenset((3,))), [1]),
        (e.ItemCompleted(1, [3]), Wanted(queues=frozenset(("r",))), [1]),
        (e.ItemCompleted(1), Wanted(queues=frozenset(("r",))), None),
        (e.ItemSubmitted(50, "new", "t", 1, "d"), Wanted(queues=frozenset(("new",))), [50]),
        (e.ItemSubmitted(50, "new", "t", 1, "d", options={"group": "g"}), Wanted(group="g"), [50]),
        (e.ItemSubmitted(50, "new", "t", 1, "d"), Wanted(group="g"), None),
        (e.ItemEdited(1, 1, "r", None, "q"), Wanted(queues=frozenset(("q",))), [1]),
        (e.ItemEdited(1, 1, "r", None, "q"), Wanted(queues=frozenset(("r",))), [1]),
        (e.ItemEdited(1, 1, "r", None, "q"), Wanted(queues=frozenset(("x",))), None),
        (e.AgentQuieted("a", True), Wanted(queues=frozenset(("q",))), None),
        (e.AgentQuieted("a", True), Wanted(ids=frozenset((1,))), None),
    ],
)
def test_only_what_is_wanted_is_told(event, wanted, ids):
    found = said(event, wanted)
    assert (None if found is None else found.get("ids", [found.get("id")])) == ids


@pytest.mark.parametrize(
    ("wanted", "set_of_q", "pause"),
    [
        (EVERYTHING, True, True),
        (Wanted(queues=frozenset(("q",))), True, True),
        (Wanted(queues=frozenset(("r",))), False, True),
        (Wanted(queues=frozenset(("q",)), types=frozenset(("t",))), False, False),
        (Wanted(ids=frozenset((1,))), False, False),
        (Wanted(group="g"), False, False),
    ],
)
def test_what_happens_to_a_queue_is_for_those_who_watch_the_queue(wanted, set_of_q, pause):
    assert (said(e.QueueSet("q", {}), wanted) is not None) == set_of_q
    assert (said(e.EverythingPaused("why"), wanted) is not None) == pause


def test_a_gazetteer_knows_where_items_belonged_at_each_moment():
    known = Gazetteer()
    known.learn(e.ItemSubmitted(5, "q", "t", 1, "d", options={"group": "g"}))
    assert known.get(5) == Place("q", "t", "g")
    known.learn(e.ItemEdited(5, 1, "q", None))
    known.learn(e.ItemEdited(6, 1, "q", None, "p"))
    assert known == {5: Place("q", "t", "g")}
    known.learn(e.ItemEdited(5, 1, "r", None, "q"))
    assert known.get(5) == Place("r", "t", "g")
    known.learn(e.ItemsForgotten([5, 6]))
    assert 5 in known
    known.unlearn(e.ItemsForgotten([5, 6]))
    assert not known
