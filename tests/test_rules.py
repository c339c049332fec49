"""Rules that show only when a fold, a restart and the daemon that goes on meet, and what one entry may hold."""

from typing import Any

from swarmshd import commands
from swarmshd import events as e
from swarmshd.workqueue.tables import Tables
from tests.rules import HOUR, MINUTE, SECOND, House, check, rows


def undelivered(house: House, **wish: Any) -> None:
    """A claim whose reply reached nobody."""
    given = {item["id"]: item["fence"] for item in house.do("claim", **wish)["items"]}
    request = commands.structure("claim", dict(wish), 1000)
    happened = house.queue.take_back(list(given.items()), request.key, minted=request.minted)
    house.log(e.Entry(None, None, request.key, minted=request.minted, events=happened))


def fold(house: House) -> None:
    """Who starts later begins with a snapshot of now; the daemon goes on as it is."""
    tables = Tables()
    tables.restore(e.decode_rows(e.encode_rows(list(house.replayed.rows()))))
    house.replayed = tables


def test_keys_are_forgotten_alike_by_the_daemon_and_by_who_starts_from_a_fold_made_meanwhile():
    house = House()
    house.submit()
    undelivered(house, agent="a", key="k")
    fold(house)
    house.later(25 * HOUR)
    assert not any(house.tables.key_order)
    check(house)


def test_a_key_that_is_free_again_takes_no_other_key_with_it_after_a_fold():
    house = House()
    house.submit()
    undelivered(house, agent="a", key="k")
    house.later(SECOND)
    number = house.submit(key="mine")
    fold(house)
    house.later(24 * HOUR)
    assert [len(order) for order in house.tables.key_order] == [1, 0]
    check(house)
    again = {"type": "t", "description": "d", "key": "mine"}
    assert house.restored().do("submit", **again) == {"id": number, "created": True}


def test_a_key_that_was_freed_and_used_again_keeps_its_reply_over_a_fold():
    house = House()
    house.submit()
    undelivered(house, agent="a", key="k")
    item = house.do("claim", agent="a", key="k")["items"][0]
    fold(house)
    check(house)
    assert house.restored().do("claim", agent="a", key="k")["items"] == [item]
    house.later(MINUTE)
    assert house.do("claim", agent="a", key="k")["items"][0]["fence"] == item["fence"]
    house.later(25 * HOUR)
    assert not house.tables.keys
    check(house)


def test_a_ref_and_a_group_are_free_when_their_last_item_is_forgotten():
    house = House(retain_done=MINUTE)
    for _ in range(2):
        for number in [house.submit(ref=f"r{n}", group="g") for n in range(4)]:
            house.do("cancel", id=number)
        fold(house)
        house.later(MINUTE)
        assert not house.tables.items
        assert not house.tables.refs
        assert not house.tables.groups
        assert not house.tables.queues
        check(house)


def test_a_process_that_cannot_be_watched_any_more_leaves_all_its_claims_to_their_leases():
    house = House()
    ids = [house.submit() for _ in range(5)]
    house.do("claim", agent="a", count=5, watch=(71, 1))
    house.queue.begin(house.now)
    house.own(house.queue.watch_unproven((71, 1)))
    for number in ids:
        claim = house.item(number).claim
        assert claim is not None
        assert (claim.watch, claim.deadline) == (None, house.now + 300 * SECOND)
    assert not house.tables.watched
    fold(house)
    assert rows(house.replayed) == rows(house.tables)
    check(house)
