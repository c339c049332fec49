"""Going through the indexes: what differs from the items is found and put right, and nothing else is touched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarmshd.workqueue import reindexing
from swarmshd.workqueue.records import BURIED, DONE, READY, Group, Queue
from swarmshd.workqueue.reindexing import Reindexing
from tests.rules import HOUR, MINUTE, House, check
from tests.test_engine import ask, begin

pytestmark = pytest.mark.slow

WATCH = (71, 1)

ENDED_THERE: dict[str, Any] = {"type": "t", "description": "d", "queue": "q0", "state": "done", "created_at": 1}


def furnished() -> House:
    """Items in every state, with everything by which they are found. 1 is ready, 2 claimed, 3 scheduled."""
    house = House()
    house.submit(ref="r1", unique="u1", group="g", queue="q")
    house.submit(queue="q")
    house.submit(delay=HOUR, queue="q")
    house.do("claim", agent="a", id=2, watch=WATCH)
    house.submit(after=[3], queue="q", group="g")  # 4: blocked
    house.submit(queue="q", type="u")  # 5: buried
    house.do("bury", id=5)
    house.held("b", queue="q", group="g")
    house.do("complete", id=6, agent="b")
    house.do("lock", agent="a", name="l")
    house.do("register", agent="w", watch=WATCH)
    house.do("pause", queue="later", lasts=HOUR)
    for number in range(8, 12):
        assert house.submit(queue="p", type=f"t{number % 2}", team="x", priority="high" if number == 11 else "low")
    house.no("empty", "claim", agent="a", queue=["later"], type=["u"])
    check(house)
    return house


def through(house: House) -> Reindexing:
    """All the way."""
    work = house.queue.reindex()
    for _ in work.steps():
        assert house.queue.reindexing is work
    assert house.queue.reindexing is None
    return work


def bucket(house: House, number: int) -> Any:
    return house.item(number).bucket


def misplace(house: House) -> None:
    """The ready item lies among the buried ones."""
    queue = house.item(1).queue
    queue.items[BURIED][1] = queue.items[READY].pop(1)


def unheld(house: House) -> None:
    del house.tables.agents["a"].holds[2]


def wrong_group(house: House) -> None:
    house.tables.groups["g"].open[2] = house.item(2)
    house.tables.groups["g"].pending += 3


def other_queue(house: House) -> None:
    house.tables.queues["q"] = Queue("q")


def unknown_to_filters(house: House) -> None:
    for shape in house.queue.ready.shapes.values():
        shape.best.clear()


def gone_from_filters(house: House) -> None:
    for shape in house.queue.ready.shapes.values():
        shape.heap.clear()


DAMAGE: dict[str, tuple[Callable[[House], object], set[str]]] = {
    # what is wrong: (how it comes about, the indexes in which it shows)
    "not among the open": (lambda house: house.tables.open.pop(1), {"open"}),
    "still among the open": (lambda house: house.tables.open.setdefault(6, house.item(6)), {"open"}),
    "in the set of another state": (misplace, {"states"}),
    "not in the order": (lambda house: house.tables.order.remove(4), {"order"}),
    "no ref": (lambda house: house.tables.refs.clear(), {"refs"}),
    "a ref of nobody": (lambda house: house.tables.refs.setdefault("x", 2), {"refs"}),
    "a ref of somebody else": (lambda house: house.tables.refs.update(r1=2), {"refs"}),
    "no unique key": (lambda house: house.tables.uniques.clear(), {"uniques"}),
    "a unique key of what has ended": (lambda house: house.tables.uniques.setdefault("v", 6), {"uniques"}),
    "an origin of nobody": (lambda house: house.tables.origins.setdefault("#9@9", 99), {"origins"}),
    "not in the order of ends": (lambda house: house.tables.ended.clear(), {"ended"}),
    "twice in the order of ends": (lambda house: house.tables.ended.append(6), {"ended"}),
    "in the order of ends by mistake": (lambda house: house.tables.ended.appendleft(1), {"ended"}),
    "an end of nothing": (lambda house: house.tables.ended.append(99), {"ended"}),
    "wrong sums": (lambda house: setattr(house.tables, "bytes", 5), {"sizes"}),
    "wrong sums of what has ended": (lambda house: setattr(house.tables, "ended_bytes", -5), {"sizes"}),
    "no group": (lambda house: house.tables.groups.clear(), {"groups"}),
    "not in its group": (lambda house: house.tables.groups["g"].ended.clear(), {"groups"}),
    "in a group that is not its own": (wrong_group, {"groups"}),
    "held by nobody": (unheld, {"holders"}),
    "held by somebody else": (lambda house: house.tables.agents["b"].holds.setdefault(2, house.item(2)), {"holders"}),
    "too many locks": (lambda house: setattr(house.tables.agents["a"], "locks", 5), {"holders"}),
    "no lock": (lambda house: house.tables.locks.clear(), {"locks"}),
    "a lock that is none": (lambda house: house.tables.locks.setdefault("m", house.item(1)), {"locks"}),
    "not watched": (lambda house: house.tables.watched.clear(), {"watches"}),
    "watched by mistake": (lambda house: house.tables.watched.setdefault((9, 9), {1: None}), {"watches"}),
    "an agent that is not watched": (lambda house: house.tables.watchers.clear(), {"watches"}),
    "no end of a pause": (lambda house: house.tables.resumes.clear(), {"pauses"}),
    "another queue of that name": (other_queue, {"queues"}),
    "no bucket": (lambda house: setattr(house.item(8), "bucket", None), {"ready"}),
    "the bucket of another kind": (
        lambda house: setattr(house.item(8), "bucket", bucket(house, 9)),
        {"ready"},
    ),
    "wrong counts": (lambda house: bucket(house, 8).counts.update(ready=7), {"ready counts"}),
    "nothing in the heap": (lambda house: bucket(house, 8).heap.clear(), {"ready order"}),
    "a bucket that no filter knows": (unknown_to_filters, {"filters"}),
    "a bucket that lies too far behind": (gone_from_filters, {"filters"}),
    "no deadline": (lambda house: house.queue.deadlines.drop(house.item(3)), {"deadlines"}),
    "a deadline of nothing": (
        lambda house: house.queue.deadlines._items.update({1: (5, house.item(1))}),
        {"deadlines"},
    ),
    "nothing in the heap of deadlines": (lambda house: house.queue.deadlines._heap.clear(), {"deadlines"}),
}


def test_nothing_differs_where_all_is_right() -> None:
    house = furnished()
    position = house.tables.position
    work = through(house)
    assert (work.items, dict(work.differed), work.told) == (len(house.tables.items), {}, [])
    assert house.tables.position == position
    check(house)
    assert through(House()).items == 0


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("what", DAMAGE)
def test_what_differs_is_found_and_put_right(monkeypatch: pytest.MonkeyPatch, what: str, step: int) -> None:
    monkeypatch.setattr(reindexing, "STEP", step)
    house = furnished()
    for queues in ("p", "q"):
        house.queue.ready.shape(((queues,), (), (), ()))
    damage, shown = DAMAGE[what]
    damage(house)
    work = through(house)
    assert set(work.differed) >= shown, work.told
    assert all(each["index"] in work.differed and each["what"] for each in work.told)
    assert work.differed.total() == len(work.told)
    check(house)
    assert not through(house).differed
    first = house.claim("z", queue=["p"], id=None)
    assert first["id"] == 11
    house.later(2 * HOUR)
    check(house)


def test_many_differences_are_counted_and_some_are_told() -> None:
    house = House()
    for _ in range(300):
        house.submit()
    house.tables.open.clear()
    work = through(house)
    assert work.differed == {"open": 300}
    assert len(work.told) == reindexing.TOLD_MAX
    check(house)


def test_whoever_waits_gets_what_was_lost() -> None:
    house = House()
    house.park("claim", agent="z", queue="q", wait=HOUR)
    house.do("pause", queue="q")
    number = house.submit(queue="q")
    bucket(house, number).heap.clear()
    house.do("resume", queue="q")
    assert house.answers() == [], "it is ready, and no claim finds it"
    through(house)
    ((_, reply),) = house.answers()
    assert reply["items"][0]["id"] == number
    check(house)


def test_what_moves_meanwhile_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindexing, "STEP", 1)
    house = House(retain_done_items=3)
    for number in range(30):
        house.submit(queue=f"q{number % 3}", group="g", delay=HOUR if number % 5 == 0 else None)
    work = house.queue.reindex()
    for turn, _ in enumerate(work.steps()):
        if turn % 7 == 0:
            house.submit(queue=f"q{turn % 4}", group="g")
        elif turn % 7 == 1:
            house.claim("a", queue="*") if house.do("count", state=["ready"])["count"] else house.submit()
        elif turn % 7 == 2:
            for found in [item.id for item in house.tables.open.values() if item.state == READY][:1]:
                house.do("edit", id=found, priority="high", queue=f"q{turn % 5}")
        elif turn % 7 == 3:
            for held in list(house.tables.agents["a"].holds)[:1]:
                house.do("progress", id=held, agent="a", percent=1, checkpoint=b"c" * turn)
                house.do("release", id=held, agent="a") if turn % 2 else house.do(
                    "complete", id=held, agent="a", output=b"o" * turn
                )
        elif turn % 7 == 4:  # what has ended is forgotten while sums are taken
            house.do("import", admin=True, run=f"r{turn}", rows=[["item", {**ENDED_THERE, "ref": f"r{turn}"}]])
        house.later(MINUTE // 10)
        assert turn < 10_000
    assert not work.differed, work.told
    assert {DONE, READY} <= {item.state for item in house.tables.items.values()}
    assert len(house.tables.items) < house.tables.next_id - 1, "some were forgotten meanwhile"
    check(house)


def test_it_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindexing, "STEP", 1)
    engine = begin(tmp_path).engine
    for number in range(20):
        ask(engine, "submit", type="t", description="d", ref=f"r{number}")
    assert "reindexed_percent" not in ask(engine, "stats", section="queue")["sections"]["queue"]
    work = engine.queue.reindex()
    told = [ask(engine, "stats", section="queue")["sections"]["queue"]["reindexed_percent"] for _ in work.steps()]
    assert told == sorted(told)
    assert told[0] < 10
    assert told[-1] > 90
    assert "reindexed_percent" not in ask(engine, "stats", section="queue")["sections"]["queue"]
    engine.journal.close()


def test_one_that_is_left_leaves_nothing_behind() -> None:
    house = furnished()
    steps = house.queue.reindex().steps()
    next(steps)
    steps.close()
    assert house.queue.reindexing is None


def test_without_an_index_there_is_no_order_to_go_through() -> None:
    house = House(indexed=False)
    house.submit()
    house.no("empty", "claim", agent="a", queue=["q"])
    assert not through(house).differed
    assert isinstance(house.tables.groups.get("g", Group()), Group)
