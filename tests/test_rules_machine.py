"""Whatever is asked, in any order and under limits so small that each is met: nothing contradicts itself.

The machine of test_workqueue_machine knows what must come out. This one does not: it asks for far more (every verb,
every option, batches, reboots, claims that nobody learned of, snapshots), and holds the outcome to what must be so
at any moment. Every index agrees with a full scan, the journal replays to the same rows, no limit is exceeded, one
entry of the journal stays small, a repetition changes nothing, and what is told is what a scan would tell.
"""

from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from swarmshd import commands, protocol
from swarmshd import events as e
from swarmshd.commands import Actor, Refusal
from swarmshd.protocol import STATES
from swarmshd.workqueue.drawing import draws
from swarmshd.workqueue.records import BURIED, CANCELLED, CLAIMED, ENDED, READY, SCHEDULED, Item
from swarmshd.workqueue.reindexing import Reindexing
from swarmshd.workqueue.tables import Tables
from tests.asking import (
    CHANGES,
    ENDING,
    HOLDING,
    MENDING,
    NEEDED,
    PROOFS,
    SELECTIONS,
    SUBMITS,
    agents,
    durations,
    keys,
    locks,
    numbers,
    references,
    uids,
    watches,
    wishes,
)
from tests.rules import HOUR, MINUTE, SECOND, House, check, rows

pytestmark = pytest.mark.slow

LIMITS: dict[str, Any] = {
    "lease": 30 * SECOND,
    "lease_max": 60 * SECOND,
    "stall_after": 100 * SECOND,
    "max_attempts": 3,
    "backoff_base": 4 * SECOND,
    "backoff_max": 10 * SECOND,
    "crash_cap": 2,
    "release_cap": 3,
    "retain_done": 2 * MINUTE,
    "retain_done_items": 3,
    "retain_done_bytes": 6000,
    "max_items": 24,
    "queue_max_length": 12,
    "queues": 3,
    "agents": 4,
    "keys_max": 6,
    "payload_max": 40,
    "checkpoint_max": 20,
    "output_tail": 20,
    "description_max": 20,
    "memory_max": 24_000,
    "batch_size": 3,
    "waiters_max": 4,
}
VOLATILE = (
    "clear",
    "pause",
    "claim",
    "claim_new",
    "lock",
    "register",
    "quiet",
    "wake",
    "queue_set",
    "heartbeat",
    "progress",
    "hold",
    "fail",
)
"""Verbs whose replies tell of the state as it is now, also when they are repeated."""


def selected(item: Item, wanted: dict[str, Any], now: int) -> bool:
    """Whether ``list`` and ``count`` mean this item."""
    who = item.claim.agent.name if item.claim is not None else item.note("ended_by")
    return (
        (item.state in wanted["state"] if wanted.get("state") else wanted.get("all", False) or item.state not in ENDED)
        and (item.queue.name in wanted["queue"] if wanted.get("queue") else not item.is_lock)
        and (not wanted.get("type") or item.type in wanted["type"])
        and (not wanted.get("team") or item.team in wanted["team"])
        and ("agent" not in wanted or who == wanted["agent"])
        and ("group" not in wanted or item.option("group") == wanted["group"])
        and item.created_at <= now - wanted.get("older", 0)
        and item.since >= wanted.get("since", 0)
    )


class Anything(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.house = House(**LIMITS)
        self.boots = 1
        self.fence = 0
        self.tokens: list[str] = ["1.0000000000000000"]
        self.through: tuple[Reindexing, Generator[None]] | None = None
        self.kept: dict[str, tuple[str, dict[str, Any], Any]] = {}
        """Key -> verb, arguments and reply of the last command under it that was granted."""

    @initialize(
        lines=st.lists(SUBMITS, min_size=6, max_size=9), names=st.lists(agents, max_size=4), counts=st.integers(1, 3)
    )
    def begin(self, lines: list[dict[str, Any]], names: list[str], counts: int) -> None:
        """A house with items in many states, so that what is asked meets something."""
        for line in lines:
            self.asked("submit", line)
        for name in names:
            self.asked("claim", {"agent": name, "count": counts})

    # -- asking ----------------------------------------------------------------------------------------

    def ask(self, verb: str, **args: Any) -> Any:
        """One command; the reply, or the refusal, which must be one of those that there are."""
        mint = self.house.mint
        before = (mint.ids, mint.fences)
        needed = self.needed(verb, args)
        try:
            reply = self.house.do(verb, **args)
        except Refusal as refusal:
            assert refusal.code in protocol.CODES
            assert str(refusal.wire()["message"]).isprintable()
            return refusal
        if needed is not None:
            assert mint.ids - before[0] <= needed
            assert mint.fences - before[1] <= needed
        for item in reply.get("items", ()) if isinstance(reply, dict) else ():
            if "token" in item:
                self.tokens = [*self.tokens[-5:], item["token"]]
        return reply

    def needed(self, verb: str, args: dict[str, Any]) -> int | None:
        """How many numbers the engine would set aside for the command; None where it asks for each line."""
        wish = {name: value for name, value in args.items() if name not in ("uid", "admin")}
        if "watch" in wish:
            wish["watch"] = True
        if verb == "batch" and not wish.get("atomic"):
            return None
        try:
            return draws(self.house.queue.desk, commands.structure(verb, wish, args.get("uid", 1000)))
        except Refusal:
            return None

    def meant(self, reference: Any, state: str | None = None) -> Any:
        """A number names one of the items that there are, by turns, those in this state first; a ref itself."""
        items = self.house.tables.items
        found = [n for n, item in items.items() if item.state == state] or list(items)
        if type(reference) is not int or not found or reference > 36:
            return reference
        return found[reference % len(found)]

    def filled(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments, complete, with real items and tokens where numbers stand for them."""
        args = {**NEEDED.get(verb, {}), **args}
        state = {"kick": BURIED, "claim": READY, "edit": READY}.get(verb, CLAIMED if verb in HOLDING else None)
        if "id" in args:
            args["id"] = self.meant(args["id"], state)
        for name in ("ids", "after"):
            if name in args:
                args[name] = [self.meant(each, CLAIMED if name == "ids" else None) for each in args[name]]
        if verb in HOLDING:
            item = self.house.tables.items.get(args["id"]) if type(args["id"]) is int else None
            claim = None if item is None else item.claim
            if claim is not None:
                args["uid"] = claim.uid
                if "agent" not in args and args.get("token", 0) < 4:
                    args["token"] = claim.token
        if type(args.get("token")) is int:
            args["token"] = self.tokens[args["token"] % len(self.tokens)]
        return args

    def asked(self, verb: str, args: dict[str, Any], key: str | None = None) -> Any:
        """Ask, and hold what comes to what was said under this key before."""
        args = self.filled(verb, args)
        if key is not None:
            args["key"] = key
        uid = args.setdefault("uid", 1)
        before = self.kept.get(key) if key is not None and self.remembers(key, verb, uid) else None
        position = self.house.tables.position
        reply = self.ask(verb, **args)
        happened = self.house.tables.position > position
        if before is not None and before[0] == verb and before[1]["uid"] == uid:
            assert not happened, f"{before} and then {args}"
            same = {**args, "admin": 0} == {**before[1], "admin": 0}
            assert same or isinstance(reply, Refusal), f"{before} and then {args}"
        elif key is not None and happened and not isinstance(reply, Refusal):
            self.kept[key] = (verb, args, reply)
        return reply

    def remembers(self, key: str, verb: str, uid: int) -> bool:
        return commands.digest(uid, verb, key, {})[:10] in self.house.tables.keys

    @rule(args=SUBMITS, key=keys, uid=uids)
    def submit(self, args: dict[str, Any], key: str | None, uid: int) -> None:
        self.asked("submit", args | {"uid": uid}, key)

    @rule(args=CHANGES["claim"], key=keys, uid=uids)
    def claim(self, args: dict[str, Any], key: str | None, uid: int) -> None:
        self.asked("claim", args | {"uid": uid}, key)

    @rule(wish=wishes(HOLDING[:-1]), number=references, proof=PROOFS, key=keys)
    def holder(self, wish: tuple[str, dict[str, Any]], number: Any, proof: dict[str, Any], key: str | None) -> None:
        verb, args = wish
        self.asked(verb, {**args, "id": number, **proof}, key)

    @rule(agent=agents, count=st.integers(1, 4), wish=wishes(ENDING), key=keys, watch=st.one_of(st.none(), watches))
    def work(self, agent: str, count: int, wish: tuple[str, dict[str, Any]], key: str | None, watch: Any) -> None:
        """Claim some, and do with each what is done with work."""
        known = self.house.tables.agents.get(agent)
        uid = 1 if known is None or known.uid is None else known.uid
        proof = {} if watch is None else {"watch": watch}
        reply = self.ask("claim", agent=agent, queue="*", count=count, uid=uid, **proof)
        if not isinstance(reply, Refusal):
            verb, args = wish
            for n, item in enumerate(reply["items"]):
                told = self.ask(
                    verb, id=item["id"], token=item["token"], **args, **({} if key is None else {"key": f"{key}.{n}"})
                )
                assert not isinstance(told, Refusal) or told.code in ("too_large", "conflict", "bad_request"), told

    @rule(wish=wishes(MENDING), number=references, admin=st.booleans(), uid=uids, key=keys)
    def change(self, wish: tuple[str, dict[str, Any]], number: Any, admin: bool, uid: int, key: str | None) -> None:
        verb, args = wish
        if verb == "edit" or (verb in ("kick", "cancel") and not args):
            args = {**args, "id": number}
        self.asked(verb, args | {"uid": uid, "admin": admin}, key)

    @rule(lists=st.lists(SUBMITS, min_size=1, max_size=5), key=keys)
    def submit_all(self, lists: list[dict[str, Any]], key: Any) -> None:
        lines = [["submit", self.filled("submit", line)] for line in lists]
        before = set(self.house.tables.items)
        reply = self.ask("batch", commands=lines, atomic=True, uid=1, **({} if key is None else {"key": key}))
        came = set(self.house.tables.items) - before
        if isinstance(reply, Refusal):
            assert not came
        elif came:
            assert len(came) == len(lines)
            assert {told["id"] for _, told in reply["replies"]} == came

    @rule(batch=st.lists(wishes(("submit", "claim", "cancel", "kick", "edit", "register")), max_size=4))
    def each_by_itself(self, batch: list[tuple[str, dict[str, Any]]]) -> None:
        replies = self.ask("batch", commands=[[verb, self.filled(verb, args)] for verb, args in batch])
        assert len(replies) == len(batch)

    @rule(agent=agents, watch=watches, verb=st.sampled_from(["claim", "register", "hold"]), number=numbers, uid=uids)
    def watched(self, agent: str, watch: tuple[int, int], verb: str, number: int, uid: int) -> None:
        if verb == "hold":
            self.asked("hold", {"id": number, "watch": watch})
        else:
            more = {"queue": "*"} if verb == "claim" else {"takeover": bool(number % 2)}
            self.ask(verb, agent=agent, watch=watch, uid=uid, **more)

    @precondition(lambda self: self.kept)
    @rule(n=st.integers(0, 9))
    def again(self, n: int) -> None:
        """A repetition under the same key changes nothing, and most tell the same."""
        key = sorted(self.kept)[n % len(self.kept)]
        verb, args, reply = self.kept[key]
        if not self.remembers(key, verb, args["uid"]):
            return
        position = self.house.tables.position
        told = self.ask(verb, **args)
        assert self.house.tables.position == position, f"{verb} {args} once more"
        if verb not in VOLATILE and not isinstance(told, Refusal):
            assert told == reply

    # -- reads -----------------------------------------------------------------------------------------

    @rule(
        wanted=SELECTIONS,
        limit=st.integers(1, 4),
        by=st.sampled_from([None, *"state queue type team agent group".split()]),
    )
    def look(self, wanted: dict[str, Any], limit: int, by: str | None) -> None:
        """Pages and counts tell what a scan would."""
        found = [item for item in self.house.tables.items.values() if selected(item, wanted, self.house.now)]
        listed: list[int] = []
        page: dict[str, Any] = {"after_id": 0, "more": True}
        while page["more"]:
            page = self.ask("list", **wanted, limit=limit, after_id=page["after_id"])
            assert len(page["items"]) <= limit
            listed += [item["id"] for item in page["items"]]
        assert listed == sorted(item.id for item in found)
        counted = self.ask("count", **wanted, **({} if by is None else {"by": by}))
        if by is None:
            assert counted == {"count": len(found)}
        else:
            assert counted == {"by": dict(Counter(self.value(item, by) for item in found))}

    def value(self, item: Item, by: str) -> str:
        who = item.claim.agent.name if item.claim is not None else item.note("ended_by")
        told = {
            "state": item.state, "queue": item.queue.name, "type": item.type, "team": item.team, "agent": who,
            "group": item.option("group"),
        }[by]  # fmt: skip
        return told or "-"

    @rule(number=references, agent=agents, what=st.sampled_from(["payload", "checkpoint", "output", "result"]))
    def ask_about(self, number: Any, agent: str, what: str) -> None:
        number = self.meant(number)
        shown = self.ask("show", id=number)
        got = self.ask("get", id=number, what=what)
        if not isinstance(got, Refusal):
            assert shown[what + "_size"] == len(got["data"])
        held = self.ask("held", agent=agent)
        known = self.ask("agents", agent=agent)
        if not isinstance(known, Refusal):
            assert [item["id"] for item in held["items"]] == known["agents"][0]["holds"]
        for told in self.ask("queues")["queues"]:
            mine = Counter(i.state for i in self.house.tables.items.values() if i.queue.name == told["queue"])
            assert {state: told[state] for state in STATES} == {state: mine[state] for state in STATES}

    # -- who waits -------------------------------------------------------------------------------------

    @rule(agent=agents, queue=st.sampled_from(["*", "p", "q"]), wait=durations)
    def wait_for_work(self, agent: str, queue: str, wait: int) -> None:
        self.park("claim", agent=agent, queue=queue, wait=wait)

    @rule(agent=agents, name=locks, wait=durations, watch=st.one_of(st.none(), watches), admin=st.booleans())
    def lock(self, agent: str, name: str, wait: int, watch: Any, admin: bool) -> None:
        """Take a lock, or wait for it; an admin takes it away first."""
        if admin:
            self.ask("unlock", name=name, force=True, admin=True)
        self.park("lock", agent=agent, name=name, wait=wait)
        if watch is not None:
            self.ask("lock", agent=agent, name=name, watch=watch)

    @rule(ids=st.lists(numbers, min_size=1, max_size=3), any_=st.booleans(), wait=durations)
    def wait_for_items(self, ids: list[int], any_: bool, wait: int) -> None:
        self.park("wait", ids=[self.meant(n, CLAIMED) for n in ids], any=any_, timeout=wait)

    def park(self, verb: str, **args: Any) -> None:
        refused = self.ask(verb, **args)
        if isinstance(refused, Refusal) and refused.code in ("empty", "capacity", "timeout"):
            request = commands.structure(verb, args, 1000)
            try:
                self.house.waiters.append(self.house.queue.park(request, Actor(1000, 1), None, refused, None))
            except Refusal as refusal:
                assert refusal.code in ("busy", refused.code)

    # -- what happens ----------------------------------------------------------------------------------

    @rule(gap=st.sampled_from([1, SECOND, 4 * SECOND, 10 * SECOND, 31 * SECOND, 2 * MINUTE, 15 * MINUTE]))
    def later(self, gap: int) -> None:
        self.house.now += gap

    @rule(
        what=st.sampled_from(["fold", "fold", "leap", "die", "lose_sight", "restart"]),
        watch=watches,
        sure=st.booleans(),
    )
    def happens(self, what: str, watch: tuple[int, int], sure: bool) -> None:
        """What comes from outside, now and then."""
        if what == "fold":
            self.fold()
        elif what == "leap":
            self.leap(3 * SECOND if sure else HOUR)
        elif what == "die":
            self.die(watch, sure)
        elif what == "lose_sight":
            self.lose_sight(watch)
        else:
            self.restart(not sure)

    @rule(steps=st.sampled_from([1, 2, 3, 8, 1000]))
    def go_through_the_indexes(self, steps: int) -> None:
        """A part of the way; whatever happens in between, nothing differs."""
        if self.through is None:
            work = self.house.queue.reindex()
            self.through = work, work.steps()
        work, remaining = self.through
        for _ in range(steps):
            if next(remaining, self) is self:
                self.through = None
                break
        assert not work.differed, work.told

    def fold(self) -> None:
        """A snapshot is made, and the daemon goes on: who starts later begins with the one and replays the rest."""
        tables = Tables()
        tables.restore(e.decode_rows(e.encode_rows(list(self.house.replayed.rows()))))
        self.house.replayed = tables

    def leap(self, gap: int) -> None:
        self.turn()
        self.house.leap(gap)

    def die(self, watch: tuple[int, int], watched: bool) -> None:
        self.house.die(watch, watched=watched)
        assert watch not in self.house.tables.watched
        assert watch not in self.house.tables.watchers

    def lose_sight(self, watch: tuple[int, int]) -> None:
        """It cannot be told any more whether the process lives: the leases decide."""
        held = set(self.house.tables.watched.get(watch, ()))
        self.house.queue.begin(self.house.now)
        self.house.own(self.house.queue.watch_unproven(watch))
        for number in held:
            claim = self.house.item(number).claim
            assert claim is not None
            assert claim.watch is None
            assert claim.deadline <= self.house.now + claim.lease

    def restart(self, other_boot: bool) -> None:
        """From a snapshot, a new epoch, perhaps of another boot, after which nothing of before is held."""
        self.turn()
        before = rows(self.house.tables)
        seen = self.told()
        if self.through is not None:
            self.through[1].close()
            self.through = None
        self.house = self.house.restored()
        assert rows(self.house.tables) == before
        assert self.told() == seen
        self.boots += other_boot
        house = self.house
        house.own(house.queue.record(e.EpochStarted(self.boots, f"boot-{self.boots}", 1 << 16, 1 << 16, 1 << 16)))
        for happened in house.queue.host_restarted():
            house.own(happened)
        if other_boot:
            assert not any(item.state == CLAIMED for item in house.tables.items.values())
            assert not house.tables.watched
            assert not house.tables.watchers

    def told(self) -> Any:
        """What the reads tell."""
        listed = self.ask("list", all=True, limit=1000)["items"]
        return listed, sorted(self.ask("queues")["queues"], key=lambda view: str(view["queue"]))

    @precondition(lambda self: any(item.state == READY for item in self.house.tables.items.values()))
    @rule(agent=agents, count=st.integers(1, 3))
    def nobody_learned_of_it(self, agent: str, count: int) -> None:
        position = self.house.tables.position
        reply = self.ask("claim", agent=agent, queue="*", count=count, key="lost", uid=1)
        if isinstance(reply, Refusal) or self.house.tables.position == position:
            return
        ids = {item["id"]: item["fence"] for item in reply["items"]}
        counts = {n: (i.failures, i.crashes, i.releases) for n, i in self.house.tables.items.items() if n in ids}
        wish = {"agent": agent, "queue": "*", "count": count, "key": "lost"}
        request = commands.structure("claim", dict(wish), 1)
        happened = self.house.queue.take_back(list(ids.items()), request.key, minted=False)
        self.house.log(e.Entry(None, None, request.key, minted=False, events=happened))
        for number in ids:
            item = self.house.item(number)
            assert (item.state, (item.failures, item.crashes, item.releases)) == (READY, counts[number])
        again = self.ask("claim", **wish, uid=1)
        assert not isinstance(again, Refusal), "as if it had never been claimed"

    # -- after each step -------------------------------------------------------------------------------

    def turn(self) -> None:
        self.house.turn()
        for waiter, reply in self.house.served:
            if waiter.request.verb in ("claim", "lock") and not isinstance(reply, Refusal):
                self.tokens = [*self.tokens[-5:], reply.get("items", [reply])[0]["token"]]
        self.house.served.clear()

    @invariant()
    def nothing_contradicts(self) -> None:
        self.turn()
        check(self.house)
        self.nothing_is_overdue()
        self.nothing_exceeds_its_limit()
        fences = [i.claim.fence for i in self.house.tables.items.values() if i.claim is not None]
        assert max(fences, default=0) < self.house.tables.next_fence
        assert self.house.tables.next_fence >= self.fence, "the fence only grows"
        self.fence = self.house.tables.next_fence

    def nothing_is_overdue(self) -> None:
        house = self.house
        for item in house.tables.items.values():
            if item.claim is not None:
                assert item.claim.deadline > house.now
                assert (
                    item.claim.until - item.claim.seen <= max(LIMITS["stall_after"], 5 * MINUTE) + LIMITS["lease_max"]
                )
            if item.state == SCHEDULED:
                assert item.due_at is not None
                assert item.due_at > house.now
            if item.state == "blocked":
                assert item.waits
                waited = [house.tables.items[n].state for n in item.waits if n in house.tables.items]
                assert "done" not in waited
                if item.option("on_failure", "hold") != "hold":
                    assert not {BURIED, CANCELLED} & set(waited)
            else:
                assert not item.waits

    def nothing_exceeds_its_limit(self) -> None:
        tables, policy = self.house.tables, self.house.policy
        assert len(tables.items) <= policy.max_items
        assert len(tables.agents) <= policy.agents
        assert len(tables.queues) <= policy.queues
        assert len(tables.ended) <= policy.retain_done_items
        assert tables.ended_bytes <= policy.retain_done_bytes
        assert len(tables.keys) <= sum(map(len, tables.key_order)) <= policy.keys_max
        assert all(queue.open <= policy.queue_max_length for queue in tables.queues.values())
        assert len(tables.order) <= 2 * len(tables.items) + 1000
        assert len(self.house.queue.waiters) == len(self.house.waiters) <= policy.waiters_max


def test_nothing_contradicts_itself_whatever_is_asked() -> None:
    run_state_machine_as_test(
        Anything,
        settings=settings(
            max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
