"""Agents, the processes that are watched for them, queues as a whole, and the clock."""

import pytest

from swarmshd import events as e
from swarmshd.protocol import STATES
from tests.rules import HOUR, MINUTE, NOW, SECOND, House, check, rows

ME, YOU = (71, 1001), (72, 1002)
"""Watched processes."""


# -- watched processes ---------------------------------------------------------------------------------------


def test_while_its_process_is_watched_an_agent_keeps_its_work_without_a_heartbeat():
    house = House()
    house.submit()
    held = house.claim("a", watch=ME)
    assert held["expires_at"] == house.now + HOUR
    assert house.show(held["id"])["watching"] == 71
    house.later(40 * MINUTE)
    assert house.do("complete", id=held["id"], token=held["token"])["state"] == "done"
    assert not house.tables.watched


def test_half_of_stall_after_without_a_word_is_told_and_all_of_it_ends_the_claim():
    house = House()
    house.do("queue_set", queue="default", stall_after=10 * MINUTE)
    house.submit(max_runtime=HOUR)
    held = house.claim("a", watch=ME)
    house.later(5 * MINUTE - 1)
    assert "stalled" not in house.show(held["id"])
    house.later(1)
    assert house.show(held["id"])["stalled"]
    assert house.restored().show(held["id"])["stalled"]
    house.do("heartbeat", agent="a")
    assert "stalled" not in house.show(held["id"])
    house.later(5 * MINUTE)
    assert house.show(held["id"])["stalled"]
    house.later(5 * MINUTE)
    shown = house.show(held["id"])
    assert (shown["state"], shown["crashes"], shown["reason"]) == ("ready", 1, "a lives but was silent for STALL_AFTER")


def test_a_watch_frees_only_the_claims_that_were_made_under_it():
    house = House()
    for _ in range(3):
        house.submit()
    house.claim("a", watch=ME)
    house.claim("a", watch=YOU)
    house.claim("a")
    house.die(ME)
    assert [house.state(number) for number in (1, 2, 3)] == ["ready", "claimed", "claimed"]
    assert house.show(1)["reason"] == "process 71 of a died"
    house.die(YOU)
    assert [house.state(number) for number in (1, 2, 3)] == ["ready", "ready", "claimed"]
    check(house)


def test_claims_of_an_agent_that_registered_with_its_process_stand_and_fall_with_it():
    house = House(batch_size=2)
    house.do("register", agent="a", watch=ME)
    for _ in range(5):
        house.submit()
    assert len(house.do("claim", agent="a", count=5)["items"]) == 5
    assert house.queue.watches() == {ME}
    house.die(ME)
    assert {house.state(number) for number in range(1, 6)} == {"ready"}
    assert house.queue.watches() == set()
    shown = house.do("agents", agent="a")["agents"][0]
    assert (shown["state"], shown["holds"], "watching" in shown) == ("gone", [], False)
    assert house.restored().do("agents", agent="a")["agents"][0]["state"] == "gone"
    house.claim("a")
    assert house.do("agents", agent="a")["agents"][0]["state"] == "active"
    check(house)


def test_hold_puts_a_claim_under_a_process_from_then_on():
    house = House()
    held = house.held("a")
    proof = {"id": held["id"], "token": held["token"]}
    house.no("bad_request", "hold", **proof)
    assert house.do("hold", **proof, watch=ME)["watching"] == 71
    house.do("hold", **proof, watch=YOU)
    house.die(ME)
    assert house.state(held["id"]) == "claimed"
    house.die(YOU)
    assert house.state(held["id"]) == "ready"
    check(house)


@pytest.mark.parametrize("verb", ["claim", "claim_new", "register"])
def test_watch_without_a_process_is_refused_and_not_forgotten(verb):
    house = House()
    house.submit()
    arguments = {"type": "t", "description": "d"} if verb == "claim_new" else {}
    assert "no process" in house.no("bad_request", verb, agent="a", watch=True, **arguments).message


def test_a_death_that_nobody_saw_is_no_crash():
    house = House(crash_cap=1)
    house.submit()
    house.claim("a", watch=ME)
    house.die(ME, watched=False)
    assert (house.state(1), house.item(1).crashes) == ("ready", 0)


def test_a_process_that_cannot_be_told_from_others_any_more_leaves_its_claims_to_their_leases():
    house = House()
    house.do("register", agent="a", watch=ME)
    house.submit()
    house.claim("a")
    house.own(house.queue.watch_unproven(ME))
    assert house.queue.watches() == set()
    assert house.do("agents", agent="a")["agents"][0]["state"] == "active"
    assert house.show(1)["lease_until"] == house.now + 300 * SECOND
    house.later(300 * SECOND)
    assert house.state(1) == "ready"
    check(house)


# -- the host, the daemon, the clock ---------------------------------------------------------------------------


def boot(house: House, name: str) -> None:
    house.queue.begin(house.now)
    house.own(house.queue.record(e.EpochStarted(house.tables.epoch + 1, name, *(3 * [1 << 20]))))


def test_after_a_restart_of_the_host_all_its_claims_come_back_and_nothing_is_counted():
    house = House(batch_size=2, crash_cap=1)
    house.do("register", agent="a", watch=ME)
    for _ in range(5):
        house.submit()
    house.do("claim", agent="a", count=3)
    house.claim("b")
    boot(house, "boot-2")
    assert house.tables.agents["a"].watch is None
    check(house)
    house = house.restored()  # a crash in the middle of the start leaves the rest to the next one
    house.claim("c")
    for happened in house.queue.host_restarted():
        house.own(happened)
    assert [house.state(number) for number in range(1, 6)] == ["ready"] * 4 + ["claimed"]
    assert house.show(1)["reason"] == "the host restarted"
    assert sum(item.crashes for item in house.tables.items.values()) == 0
    assert not list(house.queue.host_restarted()), "once"
    check(house)


def test_with_the_same_boot_claims_and_watches_go_on():
    house = House()
    house.submit()
    house.claim("a", watch=ME)
    boot(house, "boot-1")
    assert not list(house.queue.host_restarted())
    assert house.queue.watches() == {ME}


def test_a_lease_that_ends_within_its_own_length_after_a_start_is_nobodys_fault():
    house = House(crash_cap=1)
    short, long = house.held("a", lease=MINUTE)["id"], house.held("a", lease=HOUR)["id"]
    house.now += 30 * SECOND
    boot(house, "boot-1")
    house.later(HOUR)
    assert [house.item(number).crashes for number in (short, long)] == [0, 0]
    assert [house.state(number) for number in (short, long)] == ["ready", "ready"]
    house.claim("a", id=short)
    house.later(HOUR)
    assert house.item(short).crashes == 1, "this one was made after the start"


def test_a_leap_of_the_clock_neither_frees_nor_prolongs_a_lease():
    house = House()
    held = house.held("a", lease=MINUTE, max_runtime=10 * MINUTE)
    waiter = house.park("claim", agent="b", type=["x"], wait=MINUTE)
    house.later(20 * SECOND)
    house.leap(5 * HOUR)
    house.turn()
    assert house.show(held["id"])["lease_until"] == house.now + 40 * SECOND
    assert house.waiters == [waiter], "nor does it end the patience of those who wait"
    check(house)
    house.later(40 * SECOND)
    assert (house.state(held["id"]), house.item(held["id"]).crashes) == ("ready", 0)
    ((_, refused),) = house.answers()
    assert refused.code == "empty"


# -- agents --------------------------------------------------------------------------------------------------


def test_an_agent_that_never_registered_appears_at_its_first_claim():
    house = House()
    house.no("not_found", "agents", agent="a")
    house.held("a")
    shown = house.do("agents")["agents"]
    assert [(agent["agent"], agent["registered"], agent["holds"]) for agent in shown] == [("a", False, [1])]


def test_an_agents_name_belongs_to_a_uid_while_it_holds_work():
    house = House()
    number = house.submit()
    house.submit()
    house.claim("a", uid=1)
    for verb in ("claim", "register"):
        assert "belongs to uid 1" in house.no("denied", verb, agent="a", uid=2).message
    house.do("complete", id=number, agent="a", uid=1)
    assert house.claim("a", uid=2)["id"] == 2
    house.no("denied", "claim", agent="a", uid=1)
    house.no("empty", "claim", agent="a", uid=0, admin=True)


def test_a_second_living_process_under_one_name_must_say_that_it_takes_over():
    house = House()
    house.do("register", agent="a", watch=ME)
    number = house.submit()
    held = house.claim("a")
    assert house.no("conflict", "register", agent="a", watch=YOU).facts["watching"] == 71
    house.do("register", agent="a", watch=ME, slots=2)
    house.do("register", agent="a", watch=YOU, takeover=True)
    house.no("lease_lost", "complete", id=number, token=held["token"])
    assert (house.state(number), house.item(number).crashes) == ("ready", 0)
    house.die(ME)
    assert house.do("agents", agent="a")["agents"][0]["watching"] == 72
    check(house)


def test_slots_bound_what_an_agent_holds():
    house = House()
    house.do(
        "register", agent="a", slots=2, capacity=80, specialization="text, with spaces", team="x", labels=["l", "k"]
    )
    for _ in range(3):
        house.submit()
    assert len(house.do("claim", agent="a", count=3)["items"]) == 2
    assert "its slots" in house.no("capacity", "claim", agent="a").message
    house.no("capacity", "claim_new", agent="a", type="t", description="d")
    assert len(house.do("claim", agent="a", count=3, resume=True)["items"]) == 2
    shown = house.do("agents", agent="a")["agents"][0]
    assert shown.items() >= {"slots": 2, "capacity": 80, "specialization": "text, with spaces", "team": "x"}.items()
    assert shown["labels"] == ["k", "l"]


def test_quiet_agents_claim_nothing_more_and_may_finish():
    house = House()
    house.no("not_found", "quiet", agent="a")
    held = house.held("a")
    house.submit()
    assert house.do("quiet", agent="a")["state"] == "quiet"
    assert "wake a" in house.no("capacity", "claim", agent="a").message
    house.do("complete", id=held["id"], token=held["token"])
    assert house.do("wake", agent="a")["state"] == "active"
    assert house.claim("a")["id"] == 2


def test_evict_gives_all_back_and_forgets_the_agent():
    house = House(crash_cap=1)
    held = house.held("a")
    assert house.do("evict", agent="a") == {"agent": "a", "returned": 1, "more": False}
    assert (house.state(1), house.item(1).crashes) == ("ready", 0)
    house.no("lease_lost", "complete", id=1, token=held["token"])
    house.no("not_found", "agents", agent="a")
    check(house)


def test_nobody_else_speaks_for_an_agent_that_holds_work():
    house = House()
    house.do("register", agent="a", heartbeat=10 * SECOND)
    held = house.held("a")
    house.later(MINUTE)
    assert house.do("agents", agent="a")["agents"][0]["state"] == "suspect"
    house.no("denied", "heartbeat", agent="a", uid=2000)
    assert house.do("heartbeat", agent="a", ids=[held["id"]], uid=2000)["lost"] == {held["id"]: "denied"}
    assert house.do("agents", agent="a")["agents"][0]["state"] == "suspect"
    house.do("heartbeat", agent="a", ids=[held["id"]], token=held["token"], uid=2000)  # who has the token is the holder
    assert house.do("agents", agent="a")["agents"][0]["state"] == "active"


def test_only_agents_that_declared_a_heartbeat_become_suspect():
    house = House()
    house.do("register", agent="a", heartbeat=10 * SECOND)
    house.do("register", agent="b")
    house.later(41 * SECOND)
    states = {agent["agent"]: agent["state"] for agent in house.do("agents")["agents"]}
    assert states == {"a": "suspect", "b": "active"}
    house.do("heartbeat", agent="a")
    assert house.do("agents", agent="a")["agents"][0]["state"] == "active"
    house.later(HOUR)
    assert house.do("agents", agent="b")["agents"][0]["state"] == "idle"


def test_agents_that_nobody_misses_are_forgotten():
    house = House(agents=10)
    house.do("register", agent="stays")
    for n in range(2):
        house.held(f"a{n}")
    house.do("complete", id=1, agent="a0")
    house.later(MINUTE)
    assert set(house.tables.agents) == {"stays", "a0", "a1"}
    house.later(HOUR + MINUTE)
    assert set(house.tables.agents) == {"stays"}
    for n in range(8):
        number = house.submit()
        house.claim(f"b{n}", id=number)
        house.do("complete", id=number, agent=f"b{n}")
        house.later(SECOND)
    assert len(house.tables.agents) <= 6, "when there are many, it takes no hour"
    assert "stays" in house.tables.agents
    check(house)


def test_a_crowd_of_registered_agents_whose_processes_are_gone_makes_room():
    house = House(agents=6)
    for n in range(6):
        house.do("register", agent=f"a{n}", watch=(80 + n, n))
    for n in range(4):
        house.die((80 + n, n))
    house.later(MINUTE)
    assert set(house.tables.agents) == {"a4", "a5"}
    house.do("register", agent="b")


def test_resume_gives_what_the_agent_holds_as_many_as_asked_for_or_the_one_that_is_named():
    house = House()
    first, second = house.held("a"), house.held("a")
    named = house.claim("a", id=second["id"], resume=True)
    assert (named["id"], named["resumed"]) == (second["id"], True)
    house.do("progress", id=first["id"], token=first["token"])
    both = house.do("claim", agent="a", resume=True, count=5)["items"]
    assert {item["id"] for item in both} == {first["id"], second["id"]}
    assert house.do("held", agent="a")["items"] == both
    assert all("token" not in item for item in house.do("held", agent="a", uid=2)["items"])
    assert "resumed" not in house.claim("b", id=house.submit(), resume=True)
    check(house)


# -- queues --------------------------------------------------------------------------------------------------


def test_a_paused_queue_gives_nothing_and_takes_everything():
    house = House()
    house.do("pause", queue="default", reason="deploy", admin=True)
    number = house.submit()
    assert house.no("empty", "claim", agent="a").facts == {"paused": "deploy"}
    house.no("conflict", "claim", agent="a", id=number)
    other = house.submit(queue="q")
    assert house.claim("a", queue=["default", "q"])["id"] == other
    assert house.do("queues", queue="default")["queues"][0]["paused"] == "deploy"
    assert house.do("resume", queue="default") == {"queue": "default", "paused": ""}
    assert house.do("resume", queue="default") == {"queue": "default", "paused": ""}
    assert house.claim("a")["id"] == number
    check(house)


def test_everything_may_be_paused_and_hard_asks_holders_to_stop():
    house = House()
    held = house.held("a")
    proof = {"id": held["id"], "token": held["token"]}
    house.submit()
    house.do("pause", all=True, reason="power")
    assert house.no("empty", "claim", agent="a").facts == {"paused": "power"}
    assert "stop" not in house.do("progress", **proof)
    house.no("bad_request", "pause", queue="default", hard=True)
    house.do("pause", all=True, hard=True)
    assert house.do("progress", **proof)["stop"]
    assert house.do("heartbeat", agent="a")["stop"]
    assert house.do("release", **proof)["state"] == "ready"
    house.restored().no("empty", "claim", agent="a")
    house.do("resume", all=True)
    assert house.claim("a")["id"] == held["id"]


def test_a_pause_for_a_time_ends_by_itself():
    house = House()
    first, second = house.submit(queue="q"), house.submit()
    ends = house.now + 10 * MINUTE
    assert house.do("pause", queue="q", lasts=10 * MINUTE) == {"queue": "q", "paused": "paused", "paused_until": ends}
    reply = house.do("pause", all=True, reason="deploy", lasts=20 * MINUTE)
    assert reply == {"all": True, "paused": "deploy", "paused_until": house.now + 20 * MINUTE}
    waiter = house.park("claim", agent="b", queue="q", wait=HOUR)
    house = house.restored()
    (reason,) = [each for each in house.do("explain", queue="q")["reasons"] if each.get("queue") == "q"]
    assert reason["left"] == 10 * MINUTE
    assert "for another 10m" in reason["message"]
    check(house)
    house.later(10 * MINUTE)
    assert "paused" not in house.do("queues", queue="q")["queues"][0]
    assert house.no("empty", "claim", agent="a", queue="q").facts == {"paused": "deploy"}
    house.later(10 * MINUTE)
    assert [house.claim("a", queue=["q", "default"])["id"] for _ in range(2)] == [first, second]
    assert waiter.request.command.wait == HOUR
    check(house)


def test_a_pause_for_a_time_is_not_moved_by_the_clock_and_another_pause_replaces_it():
    house = House()
    house.submit(queue="q")
    house.do("pause", queue="q", lasts=10 * MINUTE)
    house.leap(9 * MINUTE)
    house.no("empty", "claim", agent="a", queue="q")
    house.do("queue_set", queue="q", limit=5)
    house.later(1 * MINUTE)
    house.claim("a", queue="q")
    house.do("pause", queue="q", lasts=MINUTE)
    house.do("pause", queue="q", reason="for good")
    house.submit(queue="q")
    house.later(2 * MINUTE)
    assert house.no("empty", "claim", agent="a", queue="q").facts == {"paused": "for good"}
    house.do("resume", queue="q")
    house.do("pause", all=True, lasts=MINUTE)
    house.do("resume", all=True)
    assert house.queue.tables.resume_at is None
    house.no("bad_request", "pause", all=True, lasts=0)
    check(house)


def test_those_who_wait_are_served_when_a_pause_ends_by_itself():
    house = House()
    house.do("pause", queue="q", lasts=MINUTE)
    number = house.submit(queue="q")
    house.park("claim", agent="b", queue="q", wait=HOUR)
    house.later(MINUTE - 1)
    assert house.answers() == []
    house.now += 1
    ((_, result),) = house.answers()
    assert [item["id"] for item in result["items"]] == [number]


def test_many_pauses_end_a_bounded_number_at_a_time():
    house = House(batch_size=3)
    for number in range(10):
        house.do("pause", queue=f"q{number}", lasts=MINUTE)
    house.queue.begin(house.now + MINUTE)
    assert list(house.queue.run_due(0)) == [], "on a full disk none, and no empty entry either"
    (happened,) = house.queue.run_due(3)
    assert len(happened) == 3
    house.own(happened)
    house.later(MINUTE)
    assert house.tables.queues == {}
    check(house)


def test_a_queue_tells_what_went_through_it():
    house = House()
    first, second = house.submit(queue="q"), house.submit(queue="q", type="u")
    house.submit(queue="q", delay=HOUR)
    house.held("a", queue="p")
    house.park("claim", agent="b", queue="p", wait=HOUR)
    house.park("claim", agent="c", queue=["none"], wait=HOUR)
    told = house.do("queues", queue="q", stats=True)
    (queue,) = told["queues"]
    assert queue["since_start"] == dict.fromkeys(STATES, 0) | {"ready": 2, "scheduled": 1}
    assert (queue["kinds"], queue["waiting"], "last_claim_at" in queue) == (2, 0, False)
    assert told["index"]["ordered"]
    assert told["index"]["kinds"] == 3
    held = house.claim("a", id=first)
    house.do("release", id=first, token=held["token"])
    held = house.claim("a", id=first)
    house.do("complete", id=first, token=held["token"])
    house.do("bury", id=second)
    house.do("edit", id=3, queue="r", delay=HOUR)
    stats = {queue["queue"]: queue for queue in house.do("queues", stats=True)["queues"]}
    passed = dict.fromkeys(STATES, 0) | {"ready": 3, "scheduled": 1, "claimed": 2, "done": 1, "buried": 1}
    assert stats["q"]["since_start"] == passed
    assert stats["q"]["last_claim_at"] == house.now
    assert stats["p"]["waiting"] == 1
    assert "since_start" not in house.do("queues", queue="q")["queues"][0]
    assert not any(house.restored().do("queues", queue="q", stats=True)["queues"][0]["since_start"].values())


def test_a_closed_queue_drains():
    house = House()
    number = house.submit()
    assert house.do("queue_set", queue="default", closed=True)["closed"]
    house.no("queue_closed", "submit", type="t", description="d")
    house.claim("a")
    house.do("fail", id=number, agent="a")
    house.later(15 * SECOND)
    assert house.claim("a")["id"] == number, "what is in it is worked off"
    assert not house.do("queue_set", queue="default", closed=False)["closed"]
    house.submit()


def test_a_limit_bounds_how_many_of_a_queue_are_held_at_once():
    house = House()
    for _ in range(3):
        house.submit()
    house.do("queue_set", queue="default", limit=2)
    assert len(house.do("claim", agent="a", count=3)["items"]) == 2
    house.no("empty", "claim", agent="b")
    house.no("conflict", "claim", agent="b", id=3)
    house.do("release", id=2, agent="a")
    assert house.claim("b")["id"] == 2
    house.do("queue_set", queue="default", limit=0)
    assert house.claim("b")["id"] == 3
    check(house)


def test_queues_exist_on_demand_and_go_with_their_last_item_and_setting():
    house = House(retain_done=MINUTE)
    house.submit(queue="q")
    house.do("queue_set", queue="q", limit=1, lease=HOUR, max_attempts=2, crash_cap=1, stall_after=HOUR, max_length=9)
    shown = house.do("queues", queue="q")["queues"][0]
    wanted = {"limit": 1, "lease": HOUR, "max_attempts": 2, "crash_cap": 1, "stall_after": HOUR, "max_length": 9}
    assert shown.items() >= {"ready": 1, "closed": False, **wanted}.items()
    house.do("complete", id=house.claim("a", queue=["q"])["id"], agent="a")
    house.later(MINUTE)
    assert [queue["queue"] for queue in house.do("queues")["queues"]] == ["q"], "it has settings"
    house.do("queue_set", queue="q", **dict.fromkeys(wanted, 0))
    assert house.do("queues")["queues"] == []
    house.no("not_found", "queues", queue="q")
    check(house)


def test_the_oldest_ready_item_is_told_also_after_a_restart():
    house = House()
    first = house.submit()
    house.later(SECOND)
    house.submit()
    since = house.now
    house.claim("a", id=first)
    house.later(SECOND)
    house.do("release", id=first, agent="a")
    for each in (house, house.restored()):
        assert each.do("queues", queue="default")["queues"][0]["oldest_ready_at"] == since


# -- what is forgotten ---------------------------------------------------------------------------------------


def test_ended_items_are_forgotten_by_age():
    house = House(retain_done=HOUR)
    number = house.held("a", group="g", ref="r")["id"]
    house.do("complete", id=number, agent="a")
    house.later(HOUR - 1)
    assert house.state(number) == "done"
    house.later(1)
    assert "forgotten" in house.no("not_found", "show", id=number).message
    assert house.submit(ref="r") > number
    house.no("not_found", "cancel", group="g")
    check(house)


def test_ended_items_are_forgotten_by_number_and_buried_ones_are_not():
    house = House(retain_done_items=3)
    for n in range(6):
        number = house.held("a")["id"]
        house.do("bury" if n == 0 else "complete", id=number, agent="a")
        house.turn()
    assert list(house.tables.items) == [1, 4, 5, 6]
    check(house)


def test_ended_items_are_forgotten_by_bytes():
    house = House(retain_done_bytes=3000)
    for _ in range(4):
        number = house.held("a", payload=b"x" * 600)["id"]
        house.do("complete", id=number, agent="a", result=b"y" * 100)
        house.turn()
    assert list(house.tables.items) == [3, 4]
    assert house.tables.bytes == house.tables.ended_bytes <= 3000
    check(house)


def test_forgetting_keeps_up_with_the_largest_batches():
    house = House(retain_done_items=100, keys_max=100, batch_size=10)
    for _ in range(3):
        ids = [house.submit(key=f"k{house.mint.ids}") for _ in range(1000)]
        house.queue.begin(house.now)
        for number in ids:
            house.do("cancel", id=number)
        for happened in house.queue.run_due(house.queue.desk.policy.batch_size):
            house.own(happened)
        assert len(house.tables.items) <= 100
        assert len(house.tables.keys) <= 100
    check(house)


def test_ids_are_never_used_again():
    house = House(retain_done=SECOND)
    numbers = []
    for _ in range(3):
        numbers.append(house.submit())
        house.do("cancel", id=numbers[-1])
        house.later(MINUTE)
        house = house.restored()
    assert numbers == [1, 2, 3]
    assert house.tables.next_id == 4
    assert house.now > NOW
    assert rows(house.tables) == rows(house.restored().tables)
