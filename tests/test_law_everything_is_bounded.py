"""Law 7: everything is bounded, and the refusal names the limit. Here: what the largest lawful requests may cost.

Whoever may work, and no more, must not be able to end the daemon, nor to have it hold up everybody else for long.
"""

import socket
from collections import Counter
from typing import Any

import pytest
import trio

from swarmshd.commands import Refusal, structure
from swarmshd.commands.values import FILTER_MAX
from swarmshd.engine import cache, numbers
from swarmshd.engine.rounds import ROUND_BYTES
from swarmshd.engine.space import ROOM_MIN
from swarmshd.protocol import NOTE_MAX, STATES
from swarmshd.server import Access, Clock, Server, listen
from swarmshd.workqueue import governing, looking, ready
from swarmshd.workqueue.records import DONE
from tests.rules import HOUR, House
from tests.test_engine import NOW, Peer, ask, begin, take, turn
from tests.wire import framed

pytestmark = pytest.mark.slow

WORK = frozenset(("read", "work"))


@pytest.fixture
def engine(tmp_path):
    made = begin(tmp_path / "state").engine
    yield made
    made.journal.close()


def fill(engine, many, **fields):
    """So many items of uid 0."""
    line = ["submit", {"type": "t", "description": "", **fields}]
    for _ in range(0, many, 2000):
        ask(engine, "batch", commands=[line] * min(many, 2000))


def written(engine):
    """Bytes of the largest batch from here on."""
    sizes = []
    append = engine.journal.append

    class Seen:
        def __getattr__(self, name):
            return getattr(journal, name)

        def append(self, body, events):
            sizes.append(len(body))
            return append(body, events)

    journal = engine.journal
    engine.journal = Seen()
    return sizes


def test_a_group_is_cancelled_in_parts_that_fit_the_journal_whatever_the_reason(engine):
    fill(engine, 2000, group="g")
    sizes = written(engine)
    done = ask(engine, "cancel", group="g", reason="x" * NOTE_MAX)
    assert done["more"]
    assert 0 < done["cancelled"] < 2000
    assert max(sizes) <= ROOM_MIN
    total = done["cancelled"]
    while done["more"]:
        done = ask(engine, "cancel", group="g", reason="x" * NOTE_MAX)
        total += done["cancelled"]
    assert total == 2000


def test_a_queue_is_cleared_in_parts_that_fit_the_journal_whatever_the_reason(engine):
    fill(engine, 2000)
    sizes = written(engine)
    done, total = {"more": True}, 0
    while done["more"]:
        done = ask(engine, "clear", queue="default", reason="x" * NOTE_MAX)
        total += done["cleared"]
    assert total == 2000
    assert max(sizes) <= ROOM_MIN


def test_many_large_changes_make_many_batches(engine):
    """Each of them is short to say; together they would be no batch that the journal takes."""
    fill(engine, 6000, group="g")
    sizes = written(engine)
    peer = Peer()
    for number in range(100):
        take(engine, peer, number, "cancel", group="g", reason="x" * 2000)
    while engine.waiting_to_decide:
        turn(engine)
    assert sum(sizes) > 6000 * 2000
    assert max(sizes) < ROUND_BYTES + 2 * ROOM_MIN


def test_a_batch_ends_where_its_changes_are_too_large(engine):
    fill(engine, 6000, group="g")
    sizes = written(engine)
    lines = [["cancel", {"group": "g", "reason": "x" * 2000}]] * 400
    replies = ask(engine, "batch", commands=lines)["replies"]
    assert [code for code, _ in replies[-2:]] == ["too_large"] * 2
    assert max(sizes) < ROUND_BYTES + 2 * ROOM_MIN
    assert ask(engine, "count")["count"] == 6000 - sum(told["cancelled"] for code, told in replies if code == 0)


def test_what_waits_to_be_recorded_is_recorded_when_it_is_much(engine):
    fill(engine, 400)
    ask(engine, "claim", agent="a", count=400)
    sizes = written(engine)
    long = "x" * NOTE_MAX
    for number in range(1, 401):
        ask(engine, "progress", id=number, agent="a", relaxed=True, status=long, message=long)
    (size,) = sizes  # long before there are as many as may wait
    assert size < ROUND_BYTES + ROOM_MIN


@pytest.mark.parametrize("verb", ["list", "count", "export"])
@pytest.mark.parametrize("field", ["queue", "type", "team", "state"])
def test_a_filter_has_no_more_names_than_one_of_a_claim(verb, field):
    names = ["ready"] * (FILTER_MAX + 1) if field == "state" else [f"n{number}" for number in range(FILTER_MAX + 1)]
    with pytest.raises(Refusal) as refused:
        structure(verb, {field: names}, 0)
    assert refused.value.code == ("bad_request" if field == "state" else "too_large")
    assert str(len(STATES) if field == "state" else FILTER_MAX) in refused.value.message


def test_what_became_of_a_group_is_found_once_for_all_who_wait(monkeypatch):
    house = House()
    for _ in range(50):
        house.submit(group="g")
    looked: Counter[int] = Counter()

    def look(item):
        looked[item.id] += 1
        return item.state == DONE, item.id

    monkeypatch.setattr(looking, "_failures_first", look)
    for _ in range(20):
        house.park("wait", group="g", timeout=HOUR)
    house.do("cancel", group="g")
    results = [result for _, result in house.answers()]
    assert [result["total"] for result in results] == [50] * 20
    assert set(looked.values()) == {1}


def test_the_numbers_of_queues_take_one_look_at_who_waits():
    class Names(tuple[str, ...]):
        __slots__ = ()

        def __contains__(self, name):
            raise AssertionError("each queue was looked for among the names of each filter")

    house = House()
    for number in range(3):
        house.submit(queue=f"q{number}", team="far")
    house.park("claim", agent="a", queue=["q0", "q1"], team=["near"], wait=HOUR)
    house.park("claim", agent="a", queue="*", team=["near"], wait=HOUR)
    for shape in house.queue.ready.shapes.values():
        if shape.filter[0] is not None:
            shape.filter = (Names(shape.filter[0]), *shape.filter[1:])
    assert [queue["waiting"] for queue in house.do("queues", stats=True)["queues"]] == [2, 2, 1]


def test_what_is_refused_for_want_of_numbers_takes_its_process_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(numbers, "BLOCK", 100)
    monkeypatch.setattr(numbers, "AHEAD", 200)
    engine = begin(tmp_path / "state", "BATCH_SIZE=50").engine
    for _ in range(20):
        ask(engine, "batch", commands=[["submit", {"type": "t", "description": "d", "group": "g"}]] * 50)
    lines = [["cancel", {"group": "g"}]] * 20
    lines += [["register", {"agent": "a", "watch": True}], ["claim", {"agent": "b", "watch": True}]]
    replies = ask(engine, "batch", [(77, 1), (88, 2)], commands=lines)["replies"]
    assert (replies[-2][0], replies[-1][0]) == ("too_large", 0)
    assert ask(engine, "show", id=replies[-1][1]["items"][0]["id"])["watching"] == 88
    engine.journal.close()


def linked(house):
    """Pairs of a shape and a bucket."""
    buckets = house.queue.ready.buckets.values()
    found = sum(len(bucket.shapes) for bucket in buckets)
    assert found == house.queue.ready.links
    return found


def test_claims_wait_under_so_many_filters_that_memory_has_room_for_them(monkeypatch):
    """Each filter knows each kind of items that it may take: 10,000 of both would be 100,000,000 pairs."""
    monkeypatch.setattr(ready, "SHAPES_MAX", 4)
    monkeypatch.setattr(ready, "LINKS_MAX", 60)
    house = House()
    for number in range(10):
        house.submit(type=f"t{number}", delay=HOUR)
    for number in range(6):
        house.park("claim", agent="a", queue=["default", f"x{number}"], wait=HOUR)
    with pytest.raises(Refusal) as refused:
        house.park("claim", agent="a", queue=["default", "x7"], wait=HOUR)
    assert (refused.value.code, linked(house) <= 70) == ("busy", True)
    house.park("claim", agent="b", queue=["default", "x1"], wait=HOUR)  # as another does
    house.no("too_many_kinds", "submit", type="new", description="d")
    for number in range(1, 6):
        house.do("cancel", id=number)
    house.submit(type="new", delay=HOUR)
    assert linked(house) <= 60


def test_agents_that_get_labels_of_their_own_do_not_wait_beyond_that(monkeypatch):
    monkeypatch.setattr(ready, "SHAPES_MAX", 4)
    monkeypatch.setattr(ready, "LINKS_MAX", 60)
    house = House()
    for number in range(10):
        house.submit(type=f"t{number}", delay=HOUR)
    for number in range(20):
        house.park("claim", agent=f"a{number}", wait=HOUR)
    assert linked(house) == 10
    for number in range(20):
        house.do("register", agent=f"a{number}", labels=[f"l{number}"])
        house.turn()
    ended = house.answers()
    assert {result.code for _, result in ended} == {"empty"}
    assert 0 < len(ended) < 20
    assert linked(house) <= 70


def test_a_kind_that_there_is_no_room_for_is_refused_without_a_look_at_all_others(monkeypatch):
    monkeypatch.setattr(ready, "BUCKETS_MAX", 3)
    house = House()
    for number in range(3):
        house.submit(type=f"t{number}")
    house.no("empty", "claim", agent="a", type=["t1", "t9"], queue=["other"])

    def looked(bucket):
        raise AssertionError("nothing has left it, so it is not empty")

    with monkeypatch.context() as watched:
        watched.setattr(ready.Bucket, "empty", property(looked))
        for number in range(5):
            house.no("too_many_kinds", "submit", type=f"u{number}", description="d")
    house.do("cancel", id=2)
    house.submit(type="new")
    assert {bucket.type for bucket in house.queue.ready.buckets.values()} == {"t0", "t2", "new"}
    house.no("too_many_kinds", "submit", type="other", description="d")
    assert house.claim(type=["new"])["type"] == "new"
    assert linked(house) == 1


def test_kept_replies_are_counted_with_what_was_asked(engine, monkeypatch):
    """The reply is of a few bytes, the question of many."""
    monkeypatch.setattr(cache, "BYTES_MAX", 100_000)
    for number in range(10):
        ask(engine, "list", queue=[f"{number}.{each}." + "x" * 150 for each in range(FILTER_MAX)])
        ask(engine, "list", queue=[f"{number}.{each}." + "x" * 150 for each in range(FILTER_MAX)])
    told = engine.cache.tell(0)
    assert (told["entries"], told["evicted"], told["hits"]) == (1, 9, 10)


def test_watches_that_were_answered_long_before_their_time_leave_nothing(engine):
    """While somebody waits whose time is over sooner."""
    patient = Peer()
    take(engine, patient, 1, "watch", group="other", timeout=HOUR)
    for number in range(300):
        asked = Peer()
        take(engine, asked, 1, "watch", timeout=1000 * HOUR)
        turn(engine)
        ask(engine, "submit", type="t", description="d")
        turn(engine, NOW + 100 * (number + 1))
        assert asked.replies
    assert len(engine.aside.following._deadlines) < 100
    turn(engine, NOW + HOUR)
    assert patient.replies


def test_agents_are_forgotten_in_parts_that_fit_the_journal(monkeypatch):
    house = House(agents=20)
    monkeypatch.setattr(governing, "SWEPT_BYTES", 1000)
    for number in range(20):
        house.submit()
        held = house.claim(f"a{number}." + "x" * 190)
        house.do("complete", id=held["id"], token=held["token"])
    forgotten = [20]
    while len(house.tables.agents) > 0:
        house.later(HOUR)
        forgotten.append(len(house.tables.agents))
        assert 0 < forgotten[-2] - forgotten[-1] <= 6
    assert len(forgotten) > 3


def test_what_an_agent_holds_is_told_as_far_as_a_reply_has_room():
    """Its payloads are told with it: more than that would be encoded in vain, again and again."""
    house = House()
    for _ in range(100):
        house.submit(payload=b"x" * 65_536)
    for _ in range(10):
        house.do("claim", agent="a", count=10)
    told = house.do("held", agent="a")
    assert told["more"]
    assert 4 << 20 > sum(len(item["payload"]) for item in told["items"]) > 3 << 20
    house.do("claim", agent="b", id=house.submit())
    assert set(house.do("held", agent="b")) == {"items"}


def test_who_goes_and_has_not_watched_is_not_looked_for_among_those_who_do(engine):
    """Each call of a script is a connection that comes and goes."""
    watches, goes = Peer(), Peer()
    take(engine, watches, 1, "watch", timeout=HOUR)
    take(engine, goes, 1, "count")
    turn(engine)

    class Followers(dict[int, Any]):
        def items(self):
            raise AssertionError("all of them were looked at")

    engine.aside.following._followers = Followers(engine.aside.following._followers)
    engine.gone(goes)
    with pytest.raises(AssertionError):
        engine.gone(watches)


async def test_who_came_and_went_leaves_nothing_behind_one_who_says_nothing(engine, directory):
    settings = engine.settings
    path = str(directory / "s")
    with listen(path, 0o600) as listener:
        server = Server(engine, listener, Clock(NOW), Access(settings), settings, 100, NotImplemented, lambda: None, {})
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            with socket.socket(socket.AF_UNIX) as silent:
                silent.connect(path)
                for _ in range(50):
                    async with await trio.open_unix_socket(path) as stream:
                        await stream.send_all(framed([1, "count", {}]))
                        assert await stream.receive_some()
                assert len(server._newcomers) <= 2  # the last one may not have been missed yet
            server.drain()
