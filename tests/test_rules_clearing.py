"""A queue is cleared in bounded parts, and only of what is meant."""

import pytest

from tests.rules import HOUR, MINUTE, House, check


def clear(house: House, **args: object) -> list[int]:
    """Ask until there is no more; how many were cancelled each time."""
    told: list[int] = []
    after = 0
    while True:
        reply = house.do("clear", queue="q", after_id=after, admin=True, **args)
        told.append(reply["cleared"])
        check(house)
        assert reply["queue"] == "q"
        if not reply["more"]:
            return told
        assert reply["cleared"] or reply["after_id"] > after, "it does not come any further"
        after = reply["after_id"]
        assert len(told) < 1000


def test_open_items_that_nobody_holds_are_cancelled():
    house = House()
    held = house.held("a", queue="q")["id"]
    ready, late, elsewhere = house.submit(queue="q"), house.submit(queue="q", delay=HOUR), house.submit()
    blocked = house.submit(queue="q", after=[elsewhere])
    buried = house.held("b", queue="q")["id"]
    house.do("bury", id=buried, agent="b")
    assert clear(house) == [4]
    assert {house.state(number) for number in (ready, late, blocked, buried)} == {"cancelled"}
    assert (house.state(held), house.state(elsewhere)) == ("claimed", "ready")
    assert house.show(ready)["reason"] == "cleared"
    assert clear(house) == [0]
    assert clear(house, held=True, reason="wrong file") == [1]
    assert house.show(held)["reason"] == "wrong file"


def test_only_what_is_in_a_state_is_cancelled():
    house = House()
    ready, late = house.submit(queue="q"), house.submit(queue="q", delay=HOUR)
    assert clear(house, state=["scheduled", "buried"]) == [1]
    assert (house.state(ready), house.state(late)) == ("ready", "cancelled")
    assert "held is set" in house.no("bad_request", "clear", queue="q", state=["claimed"]).message
    assert "have ended" in house.no("bad_request", "clear", queue="q", state=["done"]).message
    house.no("bad_request", "clear", queue="q", state=["gone"])
    house.no("bad_request", "clear", queue="@lock")
    house.no("not_found", "clear", queue="nosuch")


def test_it_is_done_in_parts_that_fit_a_batch():
    house = House(batch_size=3)
    for _ in range(10):
        house.submit(queue="q")
    assert clear(house) == [3, 3, 3, 1]
    assert {item.state for item in house.tables.items.values()} == {"cancelled"}


@pytest.mark.parametrize("look", [10_000, 4, 2])
def test_only_what_is_old_enough_is_cancelled(monkeypatch: pytest.MonkeyPatch, look: int) -> None:
    monkeypatch.setattr("swarmshd.workqueue.clearing.LOOK_MAX", look)
    house = House(batch_size=3)
    young: list[int] = []
    for number in range(12):
        made = house.submit(queue="q", ref=f"r{number}")
        house.submit()
        if number % 4 == 3:  # as imports do: what is older has the larger number
            house.item(made).created_at = house.now
            house.replayed.items[made].created_at = house.now
            young.append(made)
    house.later(HOUR)
    for number in young:
        house.item(number).created_at = house.replayed.items[number].created_at = house.now
    fresh = house.submit(queue="q")
    assert house.do("count", queue=["q"], older=HOUR)["count"] == 9
    assert sum(clear(house, older=HOUR)) == 9
    open_items = [item.id for item in house.tables.open.values() if item.queue.name == "q"]
    assert open_items == [*young, fresh]
    page = house.do("list", queue=["q"], older=MINUTE, all=True)
    assert [item["state"] for item in page["items"]] == ["cancelled"] * 9


def test_the_same_request_again_gets_the_same_reply_and_does_nothing():
    house = House(batch_size=3, retain_done=MINUTE)
    for _ in range(5):
        house.submit(queue="q")
    first = house.do("clear", queue="q", key="k")
    position = house.tables.position
    assert house.do("clear", queue="q", key="k") == first == {"queue": "q", "cleared": 3, "more": True, "after_id": 3}
    assert house.tables.position == position
    house.do("clear", queue="q", key="k2")
    house.later(HOUR)
    assert house.tables.queues == {}, "everything is forgotten"
    assert house.do("clear", queue="q", key="k2")["cleared"] == 2


def test_what_waits_for_what_was_cleared_learns_its_fate():
    house = House()
    first = house.submit(queue="q")
    cancelled = house.submit(after=[first], on_failure="cancel")
    blocked = house.submit(after=[first])
    assert clear(house) == [1]
    assert (house.state(cancelled), house.state(blocked)) == ("cancelled", "blocked")
    assert house.show(blocked)["blocked_reason"] == f"{first} is cancelled"
    check(house)
