"""The rules against a naive model, in any order: whatever is asked, both must answer alike.

After each step every index is compared with a full scan, and the journal is replayed. `make test` runs many more
cases than `make check`.
"""

from collections.abc import Callable
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

from swarmshd.commands import Refusal
from swarmshd.protocol import PRIORITIES
from swarmshd.workqueue.records import ENDED, SETTLED
from tests.model import OPEN, Model, No, Row
from tests.rules import SECOND, House, check, rows

AGENTS = {"a": 1, "b": 1, "c": 2}
"""Agents and their uids."""
TELLING_THE_STATE = ("register", "quiet", "wake", "queue_set", "claim", "heartbeat", "progress")
"""Verbs whose replies tell the state as it is, also when they are repeated."""
WATCHES = [(71, 1), (72, 1)]
QUEUES = ["p", "q"]

numbers = st.integers(0, 30)
names = st.sampled_from(sorted(AGENTS))
queues = st.sampled_from(QUEUES)
uids = st.sampled_from([1, 1, 1, 2])
maybe = st.sampled_from([False, False, True])
delays = st.sampled_from([None, None, None, None, 0, 3 * SECOND, 20 * SECOND])
watches = st.sampled_from([None, None, *WATCHES])


def given(**arguments: Any) -> dict[str, Any]:
    """Arguments without those that are left out."""
    return {name: value for name, value in arguments.items() if value not in (None, [], ())}


@st.composite
def wishes(draw: Callable[[Any], Any]) -> dict[str, Any]:
    """What is submitted, but for dependencies."""
    return given(
        type=draw(st.sampled_from("tu")),
        description="d",
        priority=draw(st.sampled_from([None, None, *PRIORITIES])),
        queue=draw(queues),
        team=draw(st.sampled_from([None, None, "x", "y"])),
        require=draw(st.sampled_from([None, None, None, None, ["l"], ["l", "m"]])),
        delay=draw(delays),
        on_failure=draw(st.sampled_from(["hold", "cancel", "run"])),
        group=draw(st.sampled_from([None, "g", "h"])),
        unique=draw(st.sampled_from([None, None, None, "u", "v"])),
        max_attempts=draw(st.sampled_from([None, None, 1, 2])),
        lease=draw(st.sampled_from([None, None, 7 * SECOND])),
        max_runtime=draw(st.sampled_from([None, None, None, 12 * SECOND])),
    )


@st.composite
def claims(draw: Callable[[Any], Any]) -> dict[str, Any]:
    return given(
        agent=draw(names),
        queue=draw(st.sampled_from(["*", "*", ["p"], ["q"], ["q", "p"]])),
        type=draw(st.sampled_from([None, None, ["t"], ["u", "t"]])),
        team=draw(st.sampled_from([None, None, None, ["x"]])),
        lease=draw(st.sampled_from([None, None, 5 * SECOND])),
        watch=draw(watches),
    )


def items(machine: "Rules") -> bool:
    """Whether there are any."""
    return bool(machine.model.items)


class Rules(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.house = House(
            lease=30 * SECOND,
            stall_after=100 * SECOND,
            max_attempts=3,
            backoff_base=4 * SECOND,
            backoff_max=10 * SECOND,
            crash_cap=2,
            release_cap=3,
            retain_done=200 * SECOND,
            batch_size=3,
        )
        self.model = Model(self.house.policy, self.house.now)
        self.tokens: list[tuple[int, str]] = []
        self.keys = 0
        self.repeat: tuple[dict[str, Any], Any] | None = None
        """The last command that changed something, with its key, and its reply."""
        self.refs = 0

    @initialize(wish=st.lists(wishes(), min_size=3, max_size=6))
    def begin(self, wish: list[dict[str, Any]]) -> None:
        for line in wish:
            self.submit(wish=line, after=[], strict=False, uid=1)
        for agent in "abc":
            self.claim_any(agent=agent, count=1)

    # -- both sides ------------------------------------------------------------------------------------

    def ask(self, verb: str, expected: Callable[[], Any], **args: Any) -> Any:
        """Ask both; they must refuse with the same code, or neither. Returns the reply, or None if refused."""
        args = given(**args)
        args.setdefault("uid", 1)
        self.keys += 1
        args["key"] = f"k{self.keys}"
        code = None
        try:
            expected()
        except No as no:
            code = str(no)
        try:
            reply = self.house.do(verb, **args)
        except Refusal as refusal:
            told = f"{verb} {args}: {refusal.code}: {refusal.message}; the model says {code}"
            assert refusal.code in (code or "").split(" or "), told
            return None
        assert code is None, f"{verb} {args}: granted; the model says {code}"
        self.model.settle()
        self.repeat = ({"verb": verb, **args}, reply)
        return reply

    def pick(self, number: int, *states: str) -> int:
        """The id of one of the items, in one of these states if there are any."""
        found = [n for n, i in self.model.items.items() if not states or i["state"] in states]
        found = found or list(self.model.items) or [77]
        return found[number % len(found)]

    def own(self, number: int, uid: int) -> Row:
        item = self.model.items.get(number)
        if item is None:
            raise No("not_found")
        if item["uid"] != uid:
            raise No("denied")
        return item

    # -- items come ------------------------------------------------------------------------------------

    def expect_submit(self, wish: dict[str, Any], after: list[int], uid: int, unborn: set[int] | None = None) -> Row:
        if self.model.queues.get(wish["queue"], {}).get("closed"):
            raise No("queue_closed")
        waits = set()
        for number in after:
            target = self.model.items.get(number)
            if target is None and number not in (unborn or ()):
                raise No("not_found")
            state = "blocked" if target is None else target["state"]
            if state in ("buried", "cancelled") and wish["on_failure"] == "cancel":
                raise No("bad_state")
            if state != "done" and not (state in ("buried", "cancelled") and wish["on_failure"] == "run"):
                waits.add(number)
        row: Row = dict.fromkeys(("failures", "crashes", "releases", "due_at", "until", "seen"), 0)
        row |= {"agent": None, "token": None, "watch": None, "runtime_until": 0, "stalled": False, "lease": 0}
        row |= {"require": [], "team": None, "group": None, "unique": None, "max_attempts": None}
        row |= {**wish, "own_lease": wish.get("lease"), "max_runtime": wish.get("max_runtime"), "uid": uid}
        row["priority"] = PRIORITIES.index(wish.get("priority", "medium"))
        row["waits"] = waits
        row["due_at"] = self.house.now + wish["delay"] if wish.get("delay") else 0
        row["state"] = "blocked" if waits else "scheduled" if row["due_at"] else "ready"
        return row

    def open_unique(self, key: str | None) -> list[int]:
        return [n for n, i in self.model.items.items() if key and i["unique"] == key and i["state"] in OPEN]

    @rule(wish=wishes(), after=st.lists(numbers, max_size=2), strict=maybe, uid=uids)
    def submit(self, wish: dict[str, Any], after: list[int], strict: bool, uid: int) -> None:
        after = [self.pick(n) for n in after] if self.model.items else []
        row: list[Row] = []
        taken = self.open_unique(wish.get("unique"))

        def expected() -> None:
            if taken and strict:
                raise No("duplicate")
            if not taken:
                row.append(self.expect_submit(wish, after, uid))

        reply = self.ask("submit", expected, **wish, after=after, unique_strict=strict, uid=uid)
        if reply is not None:
            assert reply["created"] is not bool(taken)
            assert not taken or reply["id"] == taken[0]
            if not taken:
                self.model.items[reply["id"]] = row[0]

    @rule(wish=st.lists(wishes(), min_size=2, max_size=4), links=st.lists(st.tuples(numbers, numbers), max_size=3))
    def submit_all(self, wish: list[dict[str, Any]], links: list[tuple[int, int]]) -> None:
        size = len(wish)
        self.refs += 1
        waits: list[set[int]] = [set() for _ in wish]
        for waiting, waited in links:
            waits[waiting % size].add(waited % size)
        lines = [
            ["submit", {**line, "ref": f"r{self.refs}.{n}", "after": [f"r{self.refs}.{w}" for w in sorted(waits[n])]}]
            for n, line in enumerate(wish)
        ]

        def expected() -> None:
            free = set(range(size))
            while ripe := {n for n in free if not waits[n] & free}:
                free -= ripe
            if free:
                raise No("cycle")
            uniques = [line["unique"] for line in wish if "unique" in line]
            wrong = {"queue_closed": any(self.model.queues.get(line["queue"], {}).get("closed") for line in wish)}
            wrong["duplicate"] = len(set(uniques)) < len(uniques) or any(map(self.open_unique, uniques))
            if any(wrong.values()):
                raise No(" or ".join(code for code in wrong if wrong[code]))

        reply = self.ask("batch", expected, commands=lines, atomic=True)
        if reply is not None:
            ids = [result["id"] for _, result in reply["replies"]]
            for n in sorted(range(size), key=ids.__getitem__):
                after = [ids[w] for w in waits[n]]
                assert all(number < ids[n] for number in after)
                self.model.items[ids[n]] = self.expect_submit(wish[n], after, 1, set(ids))

    # -- claims ----------------------------------------------------------------------------------------

    def took(self, wish: dict[str, Any], reply: dict[str, Any]) -> list[int]:
        """The model follows what was claimed."""
        for item in reply["items"]:
            row = self.model.items[item["id"]]
            resumed = row["state"] == "claimed"
            self.tokens.append((item["id"], item["token"]))
            lease = row["lease"] if resumed else wish.get("lease") or row["own_lease"] or self.house.policy.lease
            watch = wish.get("watch") or self.model.agent(wish["agent"])["watch"]
            row |= {"state": "claimed", "agent": wish["agent"], "token": item["token"], "lease": lease, "watch": watch}
            if not resumed:
                row["runtime_until"] = self.house.now + row["max_runtime"] if row["max_runtime"] else 0
            self.model.renew_now(row)
            assert item["expires_at"] == self.model.deadline(row)
        self.model.agent(wish["agent"])
        return [item["id"] for item in reply["items"]]

    @rule(wish=claims(), count=st.integers(1, 3), resume=maybe)
    def claim(self, wish: dict[str, Any], count: int, resume: bool) -> None:
        found: list[int] = []
        held = self.model.holds(wish["agent"])

        def expected() -> None:
            found.extend(self.taken(wish, count, resume))

        uid = AGENTS[wish["agent"]]
        reply = self.ask("claim", expected, **wish, count=count, resume=resume, uid=uid)
        if reply is not None:
            got = self.took(wish, reply)
            if resume and held:
                assert set(got) <= set(held)
                assert len(got) == min(count, len(held))
            else:
                assert got == found

    def taken(self, wish: dict[str, Any], count: int = 1, resume: bool = False) -> list[int]:
        full = {"type": [], "team": [], **wish, "resume": resume}
        return self.model.taken(full, count)

    @rule(agent=names, count=st.integers(1, 2))
    def claim_any(self, agent: str, count: int) -> None:
        self.claim(wish={"agent": agent, "queue": "*"}, count=count, resume=False)

    @rule(wish=claims(), wait=st.sampled_from([2, 10, 40]))
    def wait_for_work(self, wish: dict[str, Any], wait: int) -> None:
        try:
            self.taken(wish)
        except No as no:
            if str(no) in ("empty", "capacity"):
                self.house.park("claim", **wish, wait=wait * SECOND, uid=AGENTS[wish["agent"]])

    @rule(group=st.sampled_from("gh"), any_=st.booleans(), wait=st.sampled_from([2, 40]))
    def wait_for_group(self, group: str, any_: bool, wait: int) -> None:
        states = [i["state"] for i in self.model.items.values() if i["group"] == group]
        rest = [state for state in states if state in SETTLED]
        if states and len(rest) < len(states) and not (any_ and rest):
            self.house.park("wait", group=group, any=any_, timeout=wait * SECOND)

    # -- what holders do -------------------------------------------------------------------------------

    def proof(self, number: int, by_token: bool, n: int) -> tuple[int, dict[str, Any]]:
        """An item, and a token for it, old or new, or its agent, or another one."""
        if by_token and self.tokens:
            current = [each for each in self.tokens if self.model.items.get(each[0], {}).get("token") == each[1]]
            found = current if n % 3 and current else self.tokens
            item, token = found[-1 - number % min(6, len(found))]
            return item, {"token": token}
        item = self.pick(number, "claimed")
        agent = (self.model.items.get(item) or {}).get("agent") if n % 4 else "b"
        return item, {"agent": agent or "a", "uid": AGENTS[agent or "a"]}

    def holder(self, what: str, number: int, by_token: bool, n: int, **args: Any) -> tuple[Row, Any] | None:
        item, proof = self.proof(number, by_token, n)
        held: list[Row] = []

        def expected() -> None:
            held.append(self.model.held(item, proof.get("token"), proof.get("agent")))

        reply = self.ask(what, expected, id=item, **proof, **args)
        return None if reply is None else (held[0], reply)

    @precondition(items)
    @rule(number=numbers, by_token=st.booleans(), n=numbers)
    def complete(self, number: int, by_token: bool, n: int) -> None:
        item, proof = self.proof(number, by_token, n)
        row = self.model.items.get(item)
        if row is not None and row["state"] == "done" and row["token"] == proof.get("token"):
            position = self.house.tables.position
            assert self.house.do("complete", id=item, **proof)["state"] == "done", "the same completion again"
            assert self.house.tables.position == position
        elif (done := self.holder("complete", number, by_token, n)) is not None:
            self.model.complete(item)
            self.model.settle()
            assert done[1]["state"] == "done"

    @precondition(items)
    @rule(number=numbers, by_token=st.booleans(), n=numbers, retry_after=delays, no_retry=maybe)
    def fail(self, number: int, by_token: bool, n: int, retry_after: int | None, no_retry: bool) -> None:
        failed = self.holder("fail", number, by_token, n, retry_after=retry_after, no_retry=no_retry)
        if failed is not None:
            self.model.fail(failed[0], retry_after, bury=no_retry)
            self.model.settle()
            assert failed[1]["state"] == failed[0]["state"]
            assert failed[1]["failures"] == failed[0]["failures"]

    @precondition(items)
    @rule(number=numbers, by_token=st.booleans(), n=numbers, delay=delays)
    def release(self, number: int, by_token: bool, n: int, delay: int | None) -> None:
        released = self.holder("release", number, by_token, n, delay=delay)
        if released is not None:
            self.model.release(released[0], delay or 0)
            self.model.settle()
            assert released[1]["state"] == released[0]["state"]

    @precondition(items)
    @rule(number=numbers, by_token=st.booleans(), n=numbers)
    def bury(self, number: int, by_token: bool, n: int) -> None:
        item, proof = self.proof(number, by_token, n)
        if "token" in proof or self.model.items.get(item, {}).get("state") not in ("ready", "scheduled", "blocked"):
            buried = self.holder("bury", number, by_token, n)
            if buried is not None:
                buried[0]["state"] = "buried"
                self.model.settle()

    @precondition(items)
    @rule(number=numbers, uid=uids)
    def set_aside(self, number: int, uid: int) -> None:
        item = self.pick(number, "ready", "scheduled", "blocked")
        open_ = self.model.items[item]["state"] in ("ready", "scheduled", "blocked")
        if open_ and self.ask("bury", lambda: self.own(item, uid), id=item, uid=uid) is not None:
            self.model.items[item] |= {"state": "buried", "waits": set(), "due_at": 0}
            self.model.settle()

    @precondition(items)
    @rule(number=numbers, by_token=st.booleans(), n=numbers, percent=st.sampled_from([None, 1, 2]))
    def progress(self, number: int, by_token: bool, n: int, percent: int | None) -> None:
        reported = self.holder("progress", number, by_token, n, percent=percent)
        if reported is not None:
            row = reported[0]
            if percent is not None and row.get("percent") != percent:
                row["percent"] = percent
                self.model.renew_now(row)
            else:
                self.model.renew(row)
            assert reported[1]["expires_at"] == self.model.deadline(row)

    @precondition(items)
    @rule(number=numbers, by_token=st.booleans(), n=numbers, watch=st.sampled_from(WATCHES))
    def hold(self, number: int, by_token: bool, n: int, watch: tuple[int, int]) -> None:
        held = self.holder("hold", number, by_token, n, watch=watch)
        if held is not None:
            held[0]["watch"] = watch
            self.model.renew_now(held[0])

    @rule(agent=names)
    def heartbeat(self, agent: str) -> None:
        reply = self.ask("heartbeat", lambda: None, agent=agent, uid=AGENTS[agent])
        for number in self.model.holds(agent):
            self.model.renew(self.model.items[number])
        assert reply["renewed"] == {n: self.model.deadline(self.model.items[n]) for n in self.model.holds(agent)}

    @precondition(lambda self: self.tokens)
    @rule(number=numbers)
    def heartbeat_of_one(self, number: int) -> None:
        item, token = self.tokens[-1 - number % min(6, len(self.tokens))]
        reply = self.house.do("heartbeat", ids=[item], token=token)
        try:
            row = self.model.held(item, token, None)
        except No as no:
            assert reply["lost"] == {item: str(no)}
        else:
            self.model.renew(row)
            assert reply["renewed"] == {item: self.model.deadline(row)}

    # -- what people do --------------------------------------------------------------------------------

    @precondition(items)
    @rule(number=numbers, uid=uids)
    def kick(self, number: int, uid: int) -> None:
        item = self.pick(number, "buried", "blocked")

        def expected() -> None:
            row = self.own(item, uid)
            lost = [self.model.items.get(n, {"state": "cancelled"})["state"] for n in row["waits"]]
            hopeless = row["state"] == "blocked" and any(state in ("buried", "cancelled", "done") for state in lost)
            if row["state"] != "buried" and not hopeless:
                raise No("bad_state")
            row |= {"state": "ready", "waits": set(), "due_at": 0, "failures": 0, "crashes": 0, "releases": 0}

        self.ask("kick", expected, id=item, uid=uid)

    @rule(queue=queues)
    def kick_queue(self, queue: str) -> None:
        while self.house.do("kick", queue=queue, admin=True)["kicked"]:
            pass
        for row in self.model.items.values():
            if row["queue"] == queue and row["state"] == "buried":
                row |= {"state": "ready", "waits": set(), "due_at": 0, "failures": 0, "crashes": 0, "releases": 0}

    @precondition(items)
    @rule(number=numbers, uid=uids)
    def cancel(self, number: int, uid: int) -> None:
        item = self.pick(number, *OPEN)

        def expected() -> None:
            if self.own(item, uid)["state"] not in OPEN:
                raise No("bad_state")
            self.model.end(item, "cancelled")

        self.ask("cancel", expected, id=item, uid=uid)

    @rule(group=st.sampled_from("gh"), uid=uids)
    def cancel_group(self, group: str, uid: int) -> None:
        mine = [n for n, i in self.model.items.items() if i["group"] == group]
        if mine:
            while self.house.do("cancel", group=group, uid=uid)["more"]:
                pass
            for number in mine:
                row = self.model.items[number]
                if row["state"] in OPEN and row["uid"] == uid:
                    self.model.end(number, "cancelled")
            self.model.settle()

    @precondition(items)
    @rule(number=numbers, uid=uids, priority=st.sampled_from([None, *PRIORITIES]), queue=queues, delay=delays)
    def edit(self, number: int, uid: int, priority: str | None, queue: str, delay: int | None) -> None:
        item = self.pick(number)

        def expected() -> None:
            row = self.own(item, uid)
            if row["state"] in ("claimed", *ENDED) or (row["state"] == "buried" and delay is not None):
                raise No("bad_state")
            if queue != row["queue"] and self.model.queues.get(queue, {}).get("closed"):
                raise No("queue_closed")
            row["queue"] = queue
            if priority is not None:
                row["priority"] = PRIORITIES.index(priority)
            if delay is not None:
                row["due_at"] = self.house.now + delay if delay else 0
                if row["state"] != "blocked":
                    self.model.back(row, row["due_at"])

        self.ask("edit", expected, id=item, uid=uid, priority=priority, queue=queue, delay=delay)

    # -- agents and queues -----------------------------------------------------------------------------

    @rule(agent=names, slots=st.sampled_from([None, 1, 2]), labels=st.sampled_from([(), ("l",), ("m", "l")]))
    def register(self, agent: str, slots: int | None, labels: tuple[str, ...]) -> None:
        self.ask("register", lambda: None, agent=agent, slots=slots, labels=list(labels), uid=AGENTS[agent])
        self.model.agent(agent).update(slots=slots or 0, labels=labels, watch=None)

    @rule(agent=names, watch=st.sampled_from(WATCHES), takeover=maybe)
    def register_process(self, agent: str, watch: tuple[int, int], takeover: bool) -> None:
        held = self.model.holds(agent)

        def expected() -> None:
            if self.model.agent(agent)["watch"] not in (None, watch) and not takeover:
                raise No("conflict")
            if takeover and len(held) > self.house.policy.batch_size:
                raise No("busy")

        reply = self.ask("register", expected, agent=agent, watch=watch, takeover=takeover, uid=AGENTS[agent])
        if reply is not None:
            self.model.agent(agent).update(slots=0, labels=(), watch=watch)
            for number in held if takeover else ():
                self.model.lose(self.model.items[number], crash=False)

    @rule(agent=names, quiet=st.booleans())
    def quiet(self, agent: str, quiet: bool) -> None:
        if agent in self.house.tables.agents:
            self.ask("quiet" if quiet else "wake", lambda: None, agent=agent)
            self.model.agent(agent)["quiet"] = quiet

    @rule(agent=names)
    def evict(self, agent: str) -> None:
        if agent in self.house.tables.agents:
            held = self.model.holds(agent)
            returned = 0
            more = True
            while more:
                reply = self.house.do("evict", agent=agent, admin=True)
                returned += reply["returned"]
                more = reply["more"]
            assert returned == len(held)
            for number in held:
                self.model.lose(self.model.items[number], crash=False)
            del self.model.agents[agent]

    @rule(
        queue=queues, limit=st.sampled_from([None, 0, 1, 2]), closed=st.sampled_from([None, None, True, False, False])
    )
    def queue_set(self, queue: str, limit: int | None, closed: bool | None) -> None:
        self.ask("queue_set", lambda: None, queue=queue, limit=limit, closed=closed)
        for name, value in given(limit=limit, closed=closed).items():
            self.model.queues.setdefault(queue, {})[name] = value

    @rule(queue=st.sampled_from([*QUEUES, None]), pause=maybe)
    def pause(self, queue: str | None, pause: bool) -> None:
        verb = "pause" if pause else "resume"
        self.ask(verb, lambda: None, **({"all": True} if queue is None else {"queue": queue}))
        if queue is None:
            self.model.paused = pause
        else:
            self.model.queues.setdefault(queue, {})["paused"] = pause

    # -- what happens ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 4, 10, 40]))
    def later(self, seconds: int) -> None:
        self.house.now += seconds * SECOND
        self.turn()

    @rule(seconds=st.sampled_from([3, 20]))
    def leap(self, seconds: int) -> None:
        gap = seconds * SECOND
        self.turn()
        for row in self.model.items.values():
            row["until"] += gap
            row["seen"] += gap
            row["runtime_until"] += gap if row["runtime_until"] else 0
        before = {waiter.number: waiter.deadline for waiter in self.house.waiters}
        self.model.calm_at = self.house.now + gap
        self.house.leap(gap)
        assert all(w.deadline == before[w.number] + gap for w in self.house.waiters)
        self.model.now = self.house.now

    @rule(watch=st.sampled_from(WATCHES), watched=st.booleans())
    def die(self, watch: tuple[int, int], watched: bool) -> None:
        self.house.die(watch, watched=watched)
        for waiter in [waiter for waiter in self.house.waiters if waiter.watch == watch]:
            self.house.queue.waiters.remove(waiter)
            self.house.waiters.remove(waiter)
        for row in self.model.items.values():
            if row["state"] == "claimed" and row["watch"] == watch:
                self.model.lose(row, crash=watched)
        for agent in self.model.agents.values():
            agent["watch"] = None if agent["watch"] == watch else agent["watch"]
        self.model.settle()

    @rule()
    def restart(self) -> None:
        """A snapshot and a new daemon: who waited asks again, and all else goes on."""
        before = rows(self.house.tables)
        self.house = self.house.restored()
        assert rows(self.house.tables) == before

    @precondition(lambda self: self.repeat)
    @rule()
    def ask_again(self) -> None:
        """The same command under the same key gets the same reply, and changes nothing."""
        assert self.repeat is not None
        args, reply = self.repeat
        position = self.house.tables.position
        kept = len(self.house.tables.keys)
        verb = args["verb"]
        args = {name: value for name, value in args.items() if name != "verb"}
        if self.house.tables.keys and verb not in TELLING_THE_STATE:
            assert self.house.do(verb, **args) == reply
            assert self.house.tables.position == position
        assert len(self.house.tables.keys) == kept
        self.repeat = None

    # -- after each step -------------------------------------------------------------------------------

    def turn(self) -> None:
        """What is due happens on both sides, and the claims that wait are served as the model serves them."""
        self.model.now = self.house.now
        self.model.turn()
        waiting = [w for w in self.house.waiters if w.request.verb == "claim"]
        expected: list[tuple[int, Any]] = []
        self.house.turn()
        served = self.house.answers()
        for waiter in waiting:
            command = waiter.request.command
            wish = given(agent=command.agent, queue=command.queue or "*", watch=waiter.watch, lease=command.lease)
            wish |= {"type": command.type, "team": command.team}
            try:
                found = self.model.taken(wish, 1)
            except No as no:
                if waiter.deadline <= self.house.now:
                    expected.append((waiter.number, str(no)))
            else:
                expected.append((waiter.number, found))
                reply = next((r for w, r in served if w is waiter and not isinstance(r, Refusal)), None)
                assert reply is not None, f"{wish} waits for {found} in vain"
                self.took(wish, reply)
        got = [
            (w.number, r.code if isinstance(r, Refusal) else [item["id"] for item in r["items"]])
            for w, r in served
            if w.request.verb == "claim"
        ]
        assert sorted(got, key=lambda row: row[0]) == expected, (got, expected)
        granted = [row[0] for row in got if isinstance(row[1], list)]
        assert granted == sorted(granted), "fair: in the order in which they came"
        self.check_waits(served)

    def check_waits(self, served: list[Any]) -> None:
        for waiter, result in served:
            if waiter.request.verb == "wait":
                code = result.code if isinstance(result, Refusal) else None
                assert code in (None, "not_found") or waiter.deadline <= self.house.now
        for waiter in self.house.waiters:
            if waiter.request.verb == "wait":
                states = [i["state"] for i in self.model.items.values() if i["group"] == waiter.request.command.group]
                assert [s for s in states if s not in SETTLED], "a wait that is over was not served"
                assert waiter.deadline > self.house.now

    @invariant()
    def agree(self) -> None:
        self.turn()
        house, model = self.house, self.model
        got = {n: i.state for n, i in house.tables.items.items()}
        expected = {n: i["state"] for n, i in model.items.items()}
        assert got == expected, (got, expected)
        for number, item in house.tables.items.items():
            row = model.items[number]
            assert (item.failures, item.crashes, item.releases) == (row["failures"], row["crashes"], row["releases"])
            assert item.queue.name == row["queue"]
            assert item.priority == row["priority"]
            if item.claim is not None:
                assert item.claim.deadline == model.deadline(row)
                assert item.claim.stalled == row["stalled"]
                assert item.claim.agent.name == row["agent"]
            if item.state == "scheduled":
                assert item.due_at == row["due_at"]
        check(house)

    def teardown(self) -> None:
        """The state as a snapshot has it gives the same next claims."""
        other = self.house.restored()
        for agent, uid in AGENTS.items():
            here, there = (self.drain(each, agent, uid) for each in (self.house, other))
            assert here == there

    def drain(self, house: House, agent: str, uid: int) -> list[int]:
        try:
            return [item["id"] for item in house.do("claim", agent=agent, queue="*", count=100, uid=uid)["items"]]
        except Refusal as refusal:
            assert refusal.code in ("empty", "capacity")
            return []


def run(examples: int) -> None:
    run_state_machine_as_test(
        Rules,
        settings=settings(
            max_examples=examples, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_the_rules_agree_with_a_naive_model() -> None:
    run(5)


@pytest.mark.slow
def test_the_rules_agree_with_a_naive_model_in_many_cases() -> None:
    run(300)
