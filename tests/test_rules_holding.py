"""What becomes of an item that is held: failures, crashes, releases, leases, reports, ends."""

import pytest

from tests.rules import HOUR, MINUTE, SECOND, House, check


def test_any_operation_of_the_holder_renews_its_lease():
    house = House()
    held = house.held("a")
    proof = {"id": held["id"], "token": held["token"]}
    for verb, arguments in (("progress", {**proof, "percent": 1}), ("heartbeat", {"agent": "a"}), ("progress", proof)):
        house.later(290 * SECOND)
        house.do(verb, **arguments)
        assert house.show(held["id"])["lease_until"] == house.now + 300 * SECOND
    house.later(300 * SECOND)
    assert house.state(held["id"]) == "ready"


def test_a_heartbeat_that_moves_the_end_by_less_than_a_tenth_of_the_lease_writes_nothing():
    house = House()
    held = house.held("a")
    position = house.tables.position
    house.now += 29 * SECOND
    assert house.do("heartbeat", agent="a")["renewed"] == {held["id"]: held["expires_at"]}
    assert house.tables.position == position
    house.now += SECOND
    assert house.do("heartbeat", agent="a")["renewed"] == {held["id"]: house.now + 300 * SECOND}
    assert house.tables.position == position + 1


def test_the_lease_is_the_claims_or_the_items_or_the_queues_and_one_above_the_longest_is_refused():
    house = House(lease_max=HOUR)
    assert house.held("a")["lease"] == 300 * SECOND
    house.do("queue_set", queue="default", lease=40 * SECOND)
    assert house.held("a")["lease"] == 40 * SECOND
    assert house.held("a", lease=50 * SECOND)["lease"] == 50 * SECOND
    number = house.submit(lease=50 * SECOND)
    house.no("too_large", "claim", agent="a", id=number, lease=2 * HOUR)
    assert house.claim("a", id=number)["lease"] == 50 * SECOND


def test_failures_back_off_exponentially_and_with_jitter_until_none_is_left():
    house = House(max_attempts=4, backoff_base=15 * SECOND, backoff_max=MINUTE)
    number = house.submit()
    for luck, seconds in ((0.5, 15), (0.0, 30 * 0.8), (0.75, 60 * 1.1)):
        house.mint.luck = luck
        held = house.claim("a")
        reply = house.do("fail", id=number, token=held["token"], reason="no")
        assert reply["state"] == "scheduled"
        assert reply["due_at"] == house.now + seconds * SECOND
        assert house.restored().show(number)["due_at"] == reply["due_at"], "the chance stands in the event"
        house.later(int(seconds * SECOND))
    held = house.claim("a")
    assert (held["attempt"], held["attempts_max"], held["last_failure"]) == (4, 4, "no")
    reply = house.do("fail", id=number, token=held["token"], reason="no", exit_status=3, output=b"tail")
    assert (reply["state"], reply["failures"]) == ("buried", 4)
    shown = house.show(number)
    assert (shown["reason"], shown["exit_status"], shown["output_size"]) == ("no", 3, 4)


def test_a_failure_may_say_when_to_try_again_or_that_it_is_in_vain():
    house = House()
    number = house.held("a")["id"]
    assert house.do("fail", id=number, agent="a", retry_after=7000)["due_at"] == house.now + 7000
    house.later(7000)
    house.claim("a")
    assert house.do("fail", id=number, agent="a", retry_after=0)["state"] == "ready"
    house.claim("a")
    assert house.do("fail", id=number, agent="a", no_retry=True)["state"] == "buried"


def test_crashes_are_counted_apart_and_past_the_cap_the_item_is_buried():
    house = House(crash_cap=2)
    number = house.submit(max_attempts=9)
    house.claim("a", watch=(71, 1))
    house.do("fail", id=number, agent="a", retry_after=0)
    house.claim("a", watch=(71, 1))
    house.die((71, 1))
    assert (house.state(number), house.item(number).failures, house.item(number).crashes) == ("ready", 1, 1)
    house.claim("b", lease=SECOND)
    house.later(SECOND)
    shown = house.show(number)
    assert (shown["state"], shown["failures"], shown["crashes"]) == ("buried", 1, 2)
    assert shown["reason"] == "2 crashes, the last: the lease of b ended"
    house.do("queue_set", queue="default", crash_cap=1)
    house.do("kick", id=number)
    house.claim("a", watch=(72, 1))
    house.die((72, 1))
    assert house.state(number) == "buried", "the queue's own cap"


def test_a_release_before_anything_was_done_counts_as_nothing():
    house = House(release_cap=2)
    number = house.submit()
    house.claim("a")
    house.do("fail", id=number, agent="a", reason="before", retry_after=0)
    for delay in (0, 0, 5000):
        house.claim("a")
        reply = house.do("release", id=number, agent="a", unbegun=True, delay=delay, note="n")
        assert reply["state"] == ("scheduled" if delay else "ready")
        house.later(delay)
        for each in (house, house.restored()):
            assert (each.item(number).releases, each.item(number).failures) == (0, 1)
            assert each.show(number)["reason"] == "before", "what is noted of the attempt before stays"
    house.claim("a")
    assert house.do("release", id=number, agent="a")["state"] == "ready", "the first that counts"
    house.claim("a")
    assert house.do("release", id=number, agent="a")["state"] == "buried"


def test_releases_burn_no_attempt_but_an_item_that_nobody_keeps_is_buried_in_the_end():
    house = House(release_cap=3)
    number = house.submit()
    for _ in range(2):
        house.claim("a")
        assert house.do("release", id=number, agent="a")["state"] == "ready"
    house.claim("a")
    house.do("fail", id=number, agent="a", retry_after=0)
    assert house.item(number).releases == 0, "in a row"
    for delay in (0, 5000):
        house.claim("a")
        house.do("release", id=number, agent="a", delay=delay)
        house.later(delay)
    assert (house.item(number).failures, house.item(number).releases) == (1, 2)
    house.claim("a", watch=(71, 1))
    house.die((71, 1), watched=False)
    assert house.item(number).releases == 2, "an outage neither counts nor ends the row"
    house.claim("a")
    assert house.do("release", id=number, agent="a", note="not mine")["state"] == "buried"
    assert house.show(number)["reason"] == "released 3 times in a row: not mine"


def test_max_runtime_caps_any_lease_and_counts_as_a_failure():
    house = House()
    number = house.submit(max_runtime=400 * SECOND, max_attempts=2)
    held = house.claim("a", watch=(71, 1))
    assert held["expires_at"] == house.now + 400 * SECOND
    house.later(290 * SECOND)
    house.do("heartbeat", agent="a")
    again = house.claim("a", resume=True)
    assert again["expires_at"] == held["expires_at"], "it is the same attempt"
    house.later(110 * SECOND)
    item = house.item(number)
    assert (item.state, item.failures, item.crashes) == ("scheduled", 1, 0)
    house.later(MINUTE)
    assert house.claim("b")["last_failure"] == "max_runtime is over (held by a)"
    house.later(400 * SECOND)
    assert house.state(number) == "buried"


def test_a_checkpoint_is_handed_to_the_next_holder():
    house = House()
    held = house.held("a")
    proof = {"id": held["id"], "token": held["token"]}
    house.do("progress", **proof, percent=40, status="half", message="m", checkpoint=b"\0at 40")
    house.do("progress", **proof, percent=50)
    house.do("fail", **proof, retry_after=0, reason="oops")
    again = house.restored().claim("b")
    assert (again["checkpoint"], again["percent"], again["last_failure"]) == (b"\0at 40", 50, "oops")
    assert house.do("get", id=held["id"], what="checkpoint") == {"data": b"\0at 40"}
    house.no("not_found", "get", id=held["id"], what="output")


def test_notes_tell_of_the_last_attempt_only():
    house = House()
    number = house.held("a")["id"]
    house.do("fail", id=number, agent="a", retry_after=0, reason="first", exit_status=1, output=b"out")
    house.claim("a")
    house.do("fail", id=number, agent="a", retry_after=0, exit_status=2)
    shown = house.show(number)
    assert ("reason" in shown, shown["exit_status"], "output_size" in shown) == (False, 2, False)
    held = house.claim("a")
    done = {"id": number, "token": held["token"], "note": "fine"}
    house.do("complete", **done)
    assert "exit_status" not in house.show(number), "that was of an earlier attempt"
    house.do("complete", **done)
    check(house)


def test_completing_again_under_the_same_token_gets_the_same_reply_and_is_counted_once():
    house = House()
    held = house.held("a")
    done = {"id": held["id"], "token": held["token"], "note": "n", "points": 3, "result": b"r", "output": b"o"}
    reply = house.do("complete", **done)
    assert reply == {"id": held["id"], "state": "done", "fenced": "token"}
    position = house.tables.position
    assert house.do("complete", **done) == reply
    assert house.tables.position == position
    for name, other in (("note", "m"), ("points", 4), ("result", b"s"), ("output", b""), ("exit_status", 0)):
        refused = house.no("conflict", "complete", **{**done, name: other})
        assert name in refused.message
    house.no("bad_state", "complete", id=held["id"], agent="a")
    house.no("lease_lost", "fail", id=held["id"], token=held["token"])


def test_a_cancelled_item_is_told_of_at_its_holders_next_operation():
    house = House()
    held = house.held("a")
    number, token = held["id"], held["token"]
    house.do("cancel", id=number, reason="not needed")
    for verb in ("progress", "complete", "fail", "release", "bury"):
        assert "not needed" in house.no("cancelled", verb, id=number, token=token).message
        house.no("cancelled", verb, id=number, agent="a")
    assert house.do("heartbeat", ids=[number], token=token)["lost"] == {number: "cancelled"}
    assert house.do("held", agent="a") == {"items": []}
    house.no("bad_state", "cancel", id=number)


def test_without_a_token_the_agent_must_be_the_holder_under_the_same_uid():
    house = House()
    number = house.held("a")["id"]
    refused = house.no("not_holder", "progress", id=number, agent="b")
    assert refused.facts["holder"] == "a"
    house.no("not_holder", "progress", id=number)
    house.no("denied", "progress", id=number, agent="a", uid=2)
    assert house.do("progress", id=number, agent="a")["fenced"] == "agent"
    assert house.do("progress", id=number, agent="a", uid=0, admin=True)["fenced"] == "agent"


def test_holding_the_token_is_enough():
    house = House(require_token=True)
    held = house.held("a")
    assert "REQUIRE_TOKEN" in house.no("denied", "complete", id=held["id"], agent="a").message
    assert house.do("heartbeat", agent="a")["lost"] == {held["id"]: "denied"}
    done = house.do("complete", id=held["id"], token=held["token"], uid=2)
    assert done["fenced"] == "token"


def test_bury_sets_aside_what_one_holds_and_what_nobody_holds():
    house = House()
    held = house.held("a")
    house.do("bury", id=held["id"], token=held["token"], reason="strange")
    assert house.show(held["id"])["reason"] == "strange"
    first, later = house.submit(), house.submit(delay=MINUTE)
    blocked = house.submit(after=[first])
    for number in (first, later, blocked):
        house.no("denied", "bury", id=number, uid=2)
        assert house.do("bury", id=number)["state"] == "buried"
    house.no("bad_state", "bury", id=first)
    house.do("kick", id=first)
    house.do("complete", id=house.claim("a")["id"], agent="a")
    assert house.state(blocked) == "buried", "what it waited for no longer matters"
    house.later(HOUR)
    assert house.state(later) == "buried"
    check(house)


def test_kick_puts_buried_items_back_and_their_counts_begin_anew():
    house = House(max_attempts=1)
    ids = [house.submit(queue="q", group="g", uid=uid) for uid in (1000, 1000, 2)]
    for number in ids:
        house.claim("a", id=number)
        house.do("fail", id=number, agent="a")
    house.no("denied", "kick", id=ids[2])
    assert house.do("kick", queue="q", count=1) == {"kicked": 1}
    assert house.do("kick", group="g") == {"kicked": 1}
    assert house.do("kick", queue="q") == {"kicked": 0}, "the rest is another's"
    assert house.do("kick", queue="q", uid=0, admin=True) == {"kicked": 1}
    assert [house.item(number).failures for number in ids] == [0, 0, 0]
    house.no("bad_state", "kick", id=ids[0])
    house.no("not_found", "kick", group="h")


def test_cancel_and_edit_are_for_ones_own_items_and_for_admins():
    house = House()
    ids = [house.submit(group="g", uid=uid) for uid in (1, 2, 1)]
    house.no("denied", "cancel", id=ids[1], uid=1)
    house.no("denied", "edit", id=ids[1], uid=1, priority="low")
    assert house.do("cancel", group="g", uid=1) == {"cancelled": 2, "more": False}
    assert house.state(ids[1]) == "ready"
    house.do("edit", id=ids[1], uid=0, admin=True, priority="low")
    assert house.do("cancel", group="g", uid=0, admin=True)["cancelled"] == 1
    house.no("not_found", "cancel", group="h")


def test_edit_changes_what_nobody_holds():
    house = House()
    first, second = house.submit(), house.submit()
    assert house.do("edit", id=second, priority="critical") == {"id": second, "state": "ready"}
    assert house.do("edit", id=first, delay=MINUTE)["state"] == "scheduled"
    assert house.claim("a", id=second)["priority"] == "critical"
    house.no("bad_state", "edit", id=second, priority="low")
    assert house.do("edit", id=first, delay=0, queue="q")["state"] == "ready"
    assert house.claim("b", queue=["q"])["id"] == first
    house.do("bury", id=first, agent="b")
    house.no("bad_state", "edit", id=first, delay=MINUTE)
    house.do("edit", id=first, priority="low")
    house.do("queue_set", queue="shut", closed=True)
    house.no("queue_closed", "edit", id=first, queue="shut")
    check(house)


@pytest.mark.parametrize("queue", ["default", "q"])
def test_claim_new_makes_an_item_and_holds_it_in_one_step(queue):
    house = House()
    wish = {"agent": "a", "type": "t", "description": "d", "queue": queue}
    (item,) = house.do("claim_new", **wish, group="g", ref="r", payload=b"p")["items"]
    assert (item["attempt"], item["group"], item["ref"], item["payload"]) == (1, "g", "r", b"p")
    house.no("duplicate", "claim_new", **wish, ref="r")
    house.do("queue_set", queue=queue, limit=1)
    house.no("empty", "claim_new", **wish)
    house.do("pause", queue=queue, reason="later", admin=True)
    assert house.no("empty", "claim_new", **wish).facts == {"paused": "later"}
    check(house)
