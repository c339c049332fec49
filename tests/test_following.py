"""Those who watch, with a real engine and no sockets: what they are told, when, and what it costs others."""

from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmshd import commands
from swarmshd import events as e
from swarmshd.engine import Engine, rates
from swarmshd.engine.following import WAKE_EVERY, WALKED_MAX
from swarmshd.engine.ring import OVERHEAD, Ring
from tests.test_engine import NOW, Peer, ask, begin, crash, take, turn

pytestmark = pytest.mark.slow

WISH: dict[str, Any] = {"type": "t", "description": "d"}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return begin(tmp_path / "state").engine


def put(engine: Engine, count: int = 1, **more: Any) -> list[int]:
    replies = ask(engine, "batch", commands=[["submit", WISH | more]] * count)["replies"]
    return [result["id"] for _, result in replies]


def end_of(engine: Engine) -> int:
    position: int = ask(engine, "watch")["position"]
    return position


def every(engine: Engine, since: int, **arguments: Any) -> list[dict[str, Any]]:
    """All events after a position, asked for page by page."""
    found: list[dict[str, Any]] = []
    while True:
        reply = ask(engine, "watch", since=since, **arguments)
        found += reply["events"]
        if reply["position"] == since:
            return found
        since = reply["position"]


def later(engine: Engine, now: int, verb: str, **arguments: Any) -> Any:
    """The result of a request that comes at that moment."""
    peer = Peer()
    take(engine, peer, 1, verb, **arguments)
    turn(engine, now)
    return peer.replies[-1][2]


def take_and_give_back(engine: Engine) -> int:
    """Four events of a lock; the id of its item."""
    locked = ask(engine, "lock", agent="a", name="l")
    later(engine, NOW + 60_000, "heartbeat", agent="a", ids=[locked["id"]])
    ask(engine, "unlock", name="l", agent="a")
    number: int = locked["id"]
    return number


def test_takings_of_locks_are_told_only_to_who_asks_for_them(engine):
    begun = end_of(engine)
    lock = take_and_give_back(engine)
    (number,) = put(engine)
    ask(engine, "claim", agent="a")
    ask(engine, "lock", agent="a", name="l")
    later(engine, NOW + 120_000, "heartbeat", agent="a")
    told = every(engine, begun)
    assert [event["event"] for event in told] == ["submitted", "claimed", "renewed"]
    assert told[-1]["ids"] == [number]
    words = ["submitted", "claimed", "renewed", "returned", "claimed", "renewed"]
    for chosen in ({"queue": ["@lock"]}, {"ids": [lock]}):
        assert [event["event"] for event in every(engine, begun, **chosen)] == words
    assert every(engine, begun, type=["l"]) == []
    assert ask(engine, "status")["counts"] == dict.fromkeys(rates.KINDS, 0) | {"submitted": 1, "claimed": 1}


def test_locks_are_not_counted_when_they_are_forgotten_either(engine):
    take_and_give_back(engine)
    assert set(later(engine, NOW + 7_200_000, "status")["counts"].values()) == {0}
    assert engine.queue.tables.locks == {}


# -- what is told, and when ----------------------------------------------------------------------------


def test_law_replies_do_not_lie_only_what_is_durable_is_told(engine):
    follower, writer = Peer(), Peer()
    take(engine, follower, 1, "watch", timeout=60_000)
    turn(engine)
    take(engine, writer, 1, "submit", **WISH)
    engine.advance(NOW)
    assert engine.write()
    engine.follow(NOW)
    engine.sync()
    engine.follow(NOW)
    assert follower.replies == [], "it is written and synced, but the owner of the loop has not been told"
    engine.durable()
    engine.follow(NOW)
    ((number, code, result),) = follower.replies
    assert (number, code) == (1, 0)
    assert [event["event"] for event in result["events"]] == ["submitted"]
    assert result["position"] == result["events"][-1]["position"] == engine.journal.durable


def test_what_is_told_of_a_place_is_durable_too(engine):
    (number,) = put(engine)
    since = end_of(engine)
    ask(engine, "claim", agent="a")
    ask(engine, "release", id=number, agent="a")
    follower, writer = Peer(), Peer()
    take(engine, writer, 1, "edit", id=number, queue="other")
    take(engine, follower, 2, "watch", since=since)
    engine.advance(NOW)
    engine.follow(NOW)
    assert follower.replies == [], "it saw the queue that the item is being moved to"
    engine.commit()
    (reply,) = follower.replies
    assert [(event["event"], event["queue"]) for event in reply[2]["events"]] == [
        ("claimed", "other"),
        ("returned", "other"),
    ]


def test_without_a_position_it_begins_now(engine):
    put(engine, 3)
    assert ask(engine, "watch") == {"position": engine.journal.durable, "more": False, "events": []}
    follower = Peer()
    take(engine, follower, 1, "watch", timeout=60_000)
    turn(engine)
    (number,) = put(engine)
    assert [event["id"] for event in follower.replies[0][2]["events"]] == [number]


def test_every_event_is_told_once_whatever_the_pages(engine, tmp_path):
    begun = end_of(engine)
    for n in range(40):
        put(engine, 300 if n % 7 else 1, queue=f"q{n % 3}")
    for _ in range(20):
        held = ask(engine, "claim", agent="a", queue="*", count=20)["items"]
        lines = [["complete", {"id": item["id"], "token": item["token"]}] for item in held]
        ask(engine, "batch", commands=lines)
    put(engine, 600, delay=1000)
    turn(engine, NOW + 2000)
    assert engine.journal.durable - begun > 10_000
    whole = every(engine, begun)
    positions = [event["position"] for event in whole]
    assert positions == sorted(set(positions))
    assert positions[-1] == engine.journal.durable
    skipped = set(range(begun + 1, engine.journal.durable + 1)) - set(positions)
    assert len(skipped) < 10, "only what keeps the daemon's books is not told"
    assert every(engine, begun, limit=777) == whole
    by_queue = [every(engine, begun, queue=[f"q{n}"], type=["t"]) for n in range(3)]
    assert sum(map(len, by_queue)) == len([event for event in whole if event.get("queue", "")[:1] == "q"])
    middle = positions[len(positions) // 2]
    assert every(engine, middle) == [event for event in whole if event["position"] > middle]
    engine.close(NOW + 3000)
    again = begin(tmp_path / "state", wall=NOW + 4000).engine
    after = every(again, begun)
    assert after[: len(whole)] == whole, "the ring of the next daemon begins with what it recovered"
    assert [event["event"] for event in after[len(whole) :]] == ["stopped", "started", "clock_shifted"]


def test_followers_with_different_filters_get_their_own(engine):
    (mine,) = put(engine, queue="a", ref="mine", group="g")
    (other,) = put(engine, queue="b")
    filters: list[dict[str, Any]] = [
        {"ids": ["mine"]},
        {"ids": [other, mine]},
        {"queue": ["b"]},
        {"queue": ["c"]},
        {"type": ["u"]},
        {"group": "g"},
        {},
    ]
    followers = [Peer() for _ in filters]
    for follower, wanted in zip(followers, filters, strict=True):
        take(engine, follower, 1, "watch", timeout=60_000, **wanted)
    turn(engine)
    lines: list[list[Any]] = [["claim", {"agent": "a", "id": mine}], ["claim", {"agent": "a", "id": other}]]
    lines.append(["submit", WISH | {"type": "u", "queue": "c"}])
    third = ask(engine, "batch", commands=lines)["replies"][-1][1]["id"]
    turn(engine, NOW + WAKE_EVERY)
    got = [[event["id"] for event in follower.replies[0][2]["events"]] for follower in followers]
    assert got == [[mine], [mine, other], [other], [third], [third], [mine], [mine, other, third]]
    assert followers[0].replies[0][2]["ids"] == [mine], "whoever goes on can name the number, also when it is forgotten"


def test_equal_followers_get_one_encoding(engine, monkeypatch):
    encodings = []
    encode = commands.encode_body

    def counted(result: object) -> bytes:
        encodings.append(result)
        return encode(result)

    monkeypatch.setattr("swarmshd.engine.following.encode_body", counted)
    followers = [Peer() for _ in range(10)]
    for n, follower in enumerate(followers):
        take(engine, follower, n, "watch", timeout=60_000)
    turn(engine)
    put(engine, 100)
    assert len(encodings) == 1
    assert [follower.replies[0][0] for follower in followers] == list(range(10))
    assert all(follower.replies[0][2] == encodings[0] for follower in followers)


def test_while_events_flow_followers_are_woken_now_and_then(engine):
    follower = Peer()
    take(engine, follower, 1, "watch", timeout=60_000)
    turn(engine)
    put(engine)
    assert len(follower.replies) == 1, "after a pause at once"
    since = follower.replies[0][2]["position"]
    take(engine, follower, 2, "watch", since=since, timeout=60_000)
    turn(engine)
    for _ in range(5):
        put(engine, 3)
        assert len(follower.replies) == 1
    assert engine.next_deadline() == NOW + WAKE_EVERY
    turn(engine, NOW + WAKE_EVERY)
    assert len(follower.replies[1][2]["events"]) == 15


def test_nobody_watching_nothing_is_decoded(engine, monkeypatch):
    monkeypatch.setattr("swarmshd.engine.ring.e.decode_batch", None)
    monkeypatch.setattr("swarmshd.engine.ring.e.happened", None)
    put(engine, 100)
    assert engine.next_deadline() != NOW + WAKE_EVERY


def test_a_follower_of_rare_things_is_walked_on_and_holds_nobody_up(engine):
    begun = end_of(engine)
    for _ in range(12):
        put(engine, 500)
    rare, live = Peer(), Peer()
    take(engine, rare, 1, "watch", since=begun, queue=["rare"], timeout=60_000)
    take(engine, live, 1, "watch", timeout=60_000)
    turn(engine)
    put(engine, queue="rare")
    now = NOW
    for _ in range(3 * 12 * 500 // WALKED_MAX):
        assert engine.next_deadline() is not None
        now += WAKE_EVERY
        turn(engine, now)
    assert [event["queue"] for event in live.replies[0][2]["events"]] == ["rare"]
    assert rare.replies[0][2] == live.replies[0][2]
    take(engine, rare, 2, "watch", since=begun, queue=["other"])
    turn(engine, now)
    assert rare.replies[1][2]["events"] == []
    assert begun < rare.replies[1][2]["position"] <= begun + WALKED_MAX, "no time to wait, but a bounded look"


def test_time_over_tells_where_to_go_on(engine):
    put(engine)
    follower = Peer()
    take(engine, follower, 1, "watch", timeout=1000, queue=["nothing"])
    turn(engine)
    assert engine.next_deadline() == NOW + 1000
    put(engine, 3)
    turn(engine, NOW + 999)
    assert follower.replies == []
    turn(engine, NOW + 1000)
    assert follower.replies == [[1, 0, {"position": engine.journal.durable, "more": False, "events": []}]]
    assert len(engine.aside.following) == 0


def test_who_waits_does_not_pay_for_a_leap_of_the_clock(engine):
    follower = Peer()
    take(engine, follower, 1, "watch", timeout=1000, queue=["nothing"])
    turn(engine)
    engine.shift_clock(NOW + 500_000, 500_000)
    turn(engine, NOW + 500_000)
    assert follower.replies == []
    turn(engine, NOW + 501_000)
    assert follower.replies[0][2]["events"] == []


def test_an_item_that_is_forgotten_at_once_is_still_of_its_queue(tmp_path):
    engine = begin(tmp_path / "state", "RETAIN_DONE_ITEMS=0").engine
    begun = end_of(engine)
    (number,) = put(engine, queue="q", group="g")
    (held,) = ask(engine, "claim", agent="a", queue="*")["items"]
    ask(engine, "complete", id=number, token=held["token"])
    turn(engine)
    assert number not in engine.queue.tables.items
    filters: list[dict[str, Any]] = [{"queue": ["q"]}, {"group": "g"}, {"ids": [number]}, {"type": ["t"]}]
    for wanted in filters:
        told = every(engine, begun, **wanted)
        assert [event["event"] for event in told] == ["submitted", "claimed", "completed", "forgotten"], wanted
    assert ask(engine, "watch", ids=[number])[0] == "not_found"
    assert ask(engine, "watch", since=begun, ids=[number + 1])[0] == "not_found"


# -- positions that are not there ----------------------------------------------------------------------


def test_the_ring_is_bounded_and_says_how_far_back_it_reaches(tmp_path):
    engine = begin(tmp_path / "state", "WATCH_RING=64K").engine
    begun = end_of(engine)
    for _ in range(25):
        put(engine, 100)
    told = ask(engine, "status")["following"]
    oldest = engine.aside.following.ring.first
    assert begun < oldest < engine.journal.durable
    assert told == {"followers": 0, "ring_bytes": engine.aside.following.ring.bytes, "oldest_position": oldest}
    assert told["ring_bytes"] <= 64 << 10
    assert len(every(engine, oldest)) == engine.journal.durable - oldest
    assert ask(engine, "watch", since=begun)[0] == "busy", "the journal would be read, but there is nobody to do it"


def test_a_position_ahead_is_refused(engine):
    code, facts = ask(engine, "watch", since=engine.journal.durable + 1)
    assert (code, facts["newest"]) == ("position_gone", engine.journal.durable)
    assert "has not been reached" in facts["message"]


def test_a_position_between_two_epochs_was_never_there(tmp_path):
    place = tmp_path / "state"
    engine = begin(place).engine
    put(engine)
    last = engine.journal.durable
    again = begin(crash(engine, place), wall=NOW + 1000).engine
    assert again.journal.durable > last + 1000
    assert [event["event"] for event in every(again, last)] == ["started", "clock_shifted"]
    assert ask(again, "watch", since=last + 1)[0] == "position_gone"
    assert ask(again, "watch", since=last - 1)["events"][0]["event"] == "submitted"


# -- limits --------------------------------------------------------------------------------------------


def test_followers_count_among_those_who_wait(tmp_path):
    engine = begin(tmp_path / "state", "WAITERS_MAX=3").engine
    waiting = Peer()
    take(engine, waiting, 1, "watch", timeout=60_000)
    take(engine, waiting, 2, "claim", agent="a", wait=60_000)
    take(engine, waiting, 3, "watch", timeout=60_000)
    turn(engine)
    assert waiting.replies == []
    assert ask(engine, "status")["waiters"] == 3
    more: list[tuple[str, dict[str, Any]]] = [("watch", {}), ("claim", {"agent": "b", "wait": 60_000})]
    for verb, arguments in more:
        code, facts = ask(engine, verb, **arguments)
        assert code == "busy"
        assert "WAITERS_MAX" in facts["message"]
    engine.gone(waiting)
    assert ask(engine, "status")["waiters"] == 0
    put(engine)
    assert waiting.replies == []


def test_items_watched_by_their_ids_are_bounded(engine, monkeypatch):
    monkeypatch.setattr("swarmshd.engine.following.IDS_MAX", 3)
    numbers = put(engine, 3)
    waiting = Peer()
    take(engine, waiting, 1, "watch", ids=numbers[:2], timeout=60_000)
    turn(engine)
    assert ask(engine, "watch", ids=numbers[:2])[0] == "busy"
    ask(engine, "cancel", id=numbers[0])
    turn(engine, NOW + WAKE_EVERY)
    assert len(waiting.replies) == 1
    assert ask(engine, "watch", ids=numbers)["events"] == []


def test_a_draining_daemon_sends_followers_away(engine):
    follower = Peer()
    take(engine, follower, 1, "watch", timeout=60_000)
    turn(engine)
    engine.drain()
    assert follower.replies[0][1] == "draining"
    assert ask(engine, "watch")[0] == "draining"
    assert engine.idle


def test_the_right_to_look_is_asked_for(engine):
    code, facts = ask(engine, "watch", peer=Peer(1000, frozenset()))
    assert code == "denied"
    assert "`read`" in facts["message"]


def test_who_loses_the_right_to_look_is_told(engine):
    follower, other = Peer(), Peer()
    for each in (follower, other):
        take(engine, each, 1, "watch", timeout=60_000)
    turn(engine)
    follower.classes = frozenset()
    for each in (follower, other):
        engine.reconsider(each)
    assert (follower.replies[0][1], other.replies) == ("denied", [])
    put(engine)
    assert (len(follower.replies), len(other.replies)) == (1, 1)


def test_a_reply_that_would_be_too_long_is_cut_and_loses_nothing(tmp_path):
    engine = begin(tmp_path / "state", "DESCRIPTION_MAX=64K", "FRAME_MAX=16M").engine
    begun = end_of(engine)
    for _ in range(4):
        put(engine, 30, description="d" * 60_000)
    reply = ask(engine, "watch", since=begun, limit=10_000)
    assert 0 < len(reply["events"]) < 120
    assert len(cbor2.dumps(reply)) <= 4 << 20
    assert len(every(engine, begun, limit=10_000)) == 120


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"since": -1}, "bad_request"),
        ({"since": "now"}, "bad_request"),
        ({"since": 1 << 63}, "bad_request"),
        ({"limit": 0}, "bad_request"),
        ({"limit": 10_001}, "bad_request"),
        ({"timeout": -5}, "bad_request"),
        ({"queue": "q"}, "bad_request"),
        ({"queue": ["-"]}, "bad_request"),
        ({"ids": [0]}, "bad_request"),
        ({"ids": [5.5]}, "bad_request"),
        ({"ids": 5}, "bad_request"),
        ({"team": ["t"]}, "bad_request"),
        ({"key": "k"}, "bad_request"),
        ({"ids": list(range(1, 1002))}, "too_large"),
        ({"queue": [f"q{n}" for n in range(257)]}, "too_large"),
        ({"type": [f"t{n}" for n in range(257)]}, "too_large"),
        ({"ids": [99]}, "not_found"),
        ({"ids": ["nobody"]}, "not_found"),
    ],
)
def test_bad_arguments_are_refused_by_name(engine, arguments, code):
    try:
        found, facts = ask(engine, "watch", **arguments)
    except commands.Refusal as refusal:
        found, facts = refusal.code, refusal.wire()
    assert found == code
    assert facts["message"]


# -- the ring ------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(0, 400)), max_size=60), st.data())
@settings(max_examples=50)
def test_the_ring_against_a_list(batches, data):
    """Batches with gaps between some of them: what it holds is a bounded tail, and it finds every place in it."""
    limit = 3000
    ring = Ring(limit, 7)
    assert (ring.first, ring.end, ring.knows(7), ring.after(7, 9)) == (7, 7, True, None)
    model: list[tuple[int, int, int]] = []
    position = 7
    for number, (count, gap, size) in enumerate(batches):
        position += gap
        entry = e.Entry(1, 2, None, minted=False, events=[e.ItemCancelled(number, "x" * size)] * count)
        body = e.encode_batch(number, [e.encode_entry(entry)])
        ring.add(position, count, body)
        model.append((position, position + count, len(body) + OVERHEAD))
        position += count
        while sum(size for *_, size in model) > limit and len(model) > 1:
            model.pop(0)
    assert ring.bytes == sum(size for *_, size in model)
    assert (ring.first, ring.end) == ((model[0][0], position) if model else (7, 7))
    for at in range(position + 2):
        assert ring.knows(at) == (at == position or any(start <= at <= end for start, end, _ in model)), at
    walked = ring.first
    most = data.draw(st.integers(1, 9))
    found = []
    while (step := ring.after(walked, most)) is not None:
        _, happened, before = step
        assert 0 < len(happened) <= most
        walked = before + len(happened)
        found += list(range(before + 1, walked + 1))
    assert found == [each for start, end, _ in model for each in range(start + 1, end + 1)]
