"""What is left of a state when a part of its past is lost: whatever is missing, the rest makes a sound one."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from swarmshd import events as e
from swarmshd.workqueue import lost
from swarmshd.workqueue.queue import WorkQueue
from swarmshd.workqueue.records import BLOCKED, CLAIMED, DONE, READY
from swarmshd.workqueue.rows import ITEM
from swarmshd.workqueue.tables import Tables
from tests.rules import House, check, rows
from tests.test_rules_machine import Anything


def replay(written: list[tuple[int, bytes]]) -> lost.Mended:
    mended = lost.Mended(Tables())
    for position, body in written:
        mended.replay(e.decode_batch(body, position))
    return mended


def house_over(tables: Tables) -> House:
    """A house over a snapshot of these tables; everything in it is looked at."""
    house = House()
    house.queue = WorkQueue(house.policy, house.mint)
    house.replayed = Tables()
    for each in (house.queue.tables, house.replayed):
        each.restore(e.decode_rows(e.encode_rows(list(tables.rows()))))
    house.now = max(house.now, tables.time)
    house.mint.ids, house.mint.fences = tables.next_id, tables.next_fence
    house.queue.serve()
    house.queue.begin(house.now)
    check(house)
    return house


def finish_everything(house: House) -> None:
    """The state serves: all that is open can be brought to its end."""
    house.turn()
    for number, item in list(house.tables.open.items()):
        if item.is_lock:
            if item.claim is not None:
                house.do("unlock", name=item.type, force=True, admin=True)
        elif number in house.tables.open:
            house.do("cancel", id=number, admin=True)
    house.turn()
    check(house)


class Forgetful(Anything):
    """Whatever was asked: a part of what was written is taken away, by turns here and there."""

    def teardown(self) -> None:
        written = self.house.written
        whole = replay(written)
        assert not whole.unknown
        assert not whole.assumed
        assert rows(whole.tables) == rows(self.house.replayed)
        choose = random.Random(len(written))
        for _ in range(4):
            first = choose.randrange(len(written))
            left = written[:first] + written[first + choose.choice([1, 1, 2, 5, 20]) :]
            mended = replay(left)
            finish_everything(house_over(mended.tables))
        self.lose_rows(choose)

    def lose_rows(self, choose: random.Random) -> None:
        every = e.decode_rows(e.encode_rows(list(self.house.replayed.rows())))
        for share in (0.1, 0.5):
            tables = Tables()
            lost.restore(tables, [row for row in every if choose.random() > share])
            finish_everything(house_over(tables))


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Forgetful,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_is_left_serves() -> None:
    run(5, 40)


@pytest.mark.slow
def test_what_is_left_serves_in_many_more_cases() -> None:
    run(150, 60)


def without(house: House, *which: int) -> lost.Mended:
    """The state without these batches; the first is number 0, in which the epoch starts."""
    return replay([each for number, each in enumerate(house.written) if number not in which])


def state(mended: lost.Mended, number: int) -> Any:
    return mended.tables.items[number].state


def test_a_lost_submission_leaves_the_others_alone() -> None:
    house = House()
    for _ in range(3):
        house.submit()
    token = house.claim("a", id=2)["token"]
    house.do("complete", id=2, token=token)
    mended = without(house, 2)
    assert list(mended.tables.items) == [1, 3]
    assert mended.unknown == {2: "ItemCompleted"}
    assert not mended.assumed


def test_what_ended_has_ended_though_its_claim_is_lost() -> None:
    house = House()
    number = house.submit()
    token = house.claim("a", id=number)["token"]
    house.do("complete", id=number, token=token, result=b"r")
    mended = without(house, 2)
    assert state(mended, number) == DONE
    assert mended.assumed == {number: "ItemCompleted"}


def test_a_claim_whose_end_is_lost_gives_way_to_the_next() -> None:
    house = House()
    number = house.submit()
    house.do("release", id=number, token=house.claim("a", id=number)["token"])
    house.claim("b", id=number)
    mended = without(house, 3)
    assert state(mended, number) == CLAIMED
    claim = mended.tables.items[number].claim
    assert claim is not None
    assert claim.agent.name == "b"
    assert number in mended.assumed


def test_nobody_waits_for_an_item_that_is_lost() -> None:
    house = House()
    first, other = house.submit(), house.submit()
    waits = house.submit(after=[first])
    both = house.submit(after=[first, other])
    mended = without(house, 1)
    assert state(mended, waits) == READY
    assert state(mended, both) == BLOCKED
    house.do("complete", id=other, token=house.claim("a", id=other)["token"])
    assert state(without(house, 1), both) == READY


def test_rows_that_are_left_of_a_snapshot_make_a_whole() -> None:
    house = House()
    first, other = house.submit(), house.submit()
    waits = house.submit(after=[first])
    house.claim("a", id=other)
    every = e.decode_rows(e.encode_rows(list(house.tables.rows())))
    tables = Tables()
    lost.restore(tables, [row for row in every if row[0] == ITEM and row[1] != first])
    assert tables.items[waits].state == READY
    assert tables.agents["a"].holds.keys() == {other}
    assert tables.next_id > waits
    finish_everything(house_over(tables))
