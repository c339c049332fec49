"""Why nobody has an item, why an agent gets nothing, why a queue stands still.

The answer is a list of reasons: a code that programs know, one sentence, the facts in it, and where something can be
done about it the command that does. ``claimable`` stands first exactly when a claim would be granted: that is asked of
the rule that grants claims, and the other reasons are found by looking at what the rule looks at. Nothing is changed,
and of very many items no more are looked at than ``list`` looks at; a count that may be too small says so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from swarmshd.commands import Refusal, one_line
from swarmshd.commands.looks import Explain
from swarmshd.commands.work import Claim
from swarmshd.protocol import PRIORITIES
from swarmshd.workqueue.claiming import may_claim, this_one
from swarmshd.workqueue.desk import Desk, agent_for, find_any, max_attempts, queue_setting, queues_of_work
from swarmshd.workqueue.looking import LOOK_MAX, agent_state, blocked_reason
from swarmshd.workqueue.ready import Bucket, rank
from swarmshd.workqueue.records import BLOCKED, BURIED, CLAIMED, DONE, OPEN, READY, SCHEDULED, Agent, Item, Queue
from swarmshd.workqueue.waiting import Waiter

REASONS = {
    # code: what it means
    "claimable": "nothing stands in the way: a claim gets it",
    "held": "an agent holds it",
    "stalled": "its holder's process lives, but has not said a word for long",
    "suspect": "the agent has missed heartbeats that it promised, or its process died",
    "scheduled": "its time has not come",
    "after": "it waits for another item",
    "in_vain": "it waits for an item that will not be done by itself",
    "buried": "it was set aside for a person",
    "ended": "it is done or cancelled",
    "paused": "no claims are allowed, from its queue or anywhere",
    "limit": "as many items of its queue are held as its limit allows",
    "labels": "it requires labels that the agent, or every living agent, has not",
    "quiet": "the agent gets no new items",
    "full": "the agent holds as many items as its slots allow",
    "refused": "the claim would be refused for another reason",
    "ahead": "other items are claimed before it",
    "starved": "items of a higher priority have gone before it for long",
    "nobody_asks": "no claim is waiting that it fits",
    "filter": "claims are waiting, but for something else",
    "asks": "what the agent's waiting claim asks for",
    "empty": "nothing is ready",
    "closed": "the queue takes no new items",
}
"""Every reason that there can be."""

NAMED_MAX = 10
"""Dependencies, sets of labels and waiting claims that are told one by one."""

STARVED_AFTER = 10 * 60_000
"""How long an item must have been ready before it is said to starve."""

Reason = dict[str, Any]


def explain(desk: Desk, command: Explain) -> dict[str, Any]:
    """The reasons for an item, for an agent, or for a queue; for an item also as one agent sees it."""
    if command.id is not None:
        item = find_any(desk, command.id)
        about: dict[str, Any] = {"id": item.id, "state": item.state}
        if command.agent is not None:
            about["agent"] = command.agent
        reasons = list(_of_item(desk, item, command.agent))
    elif command.agent is not None:
        agent = desk.tables.agents.get(command.agent)
        if agent is None:
            raise Refusal("not_found", f"there is no agent {command.agent}; it is known from its first claim on")
        about = {"agent": agent.name, "state": agent_state(desk, agent)}
        reasons = list(_of_agent(desk, agent, command.queue))
    else:
        queue = desk.tables.queues.get(command.queue or "")
        if queue is None:
            raise Refusal("not_found", f"there is no queue {command.queue}")
        about = {"queue": queue.name}
        reasons = list(_of_queue(desk, queue))
    return about | {"claimable": reasons[0]["code"] == "claimable", "reasons": reasons}


def _reason(code: str, message: str, follow: str | None = None, **facts: Any) -> Reason:
    assert code in REASONS
    reason: Reason = {"code": code, "message": one_line(message)}
    if follow is not None:
        reason["next"] = f"swarmctl {follow}"
    return reason | {name: value for name, value in facts.items() if value is not None}


def _span(ms: int) -> str:
    """``90s``, ``12m``, ``5h``, ``3d``."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if ms >= 2 * length:
            return f"{ms // length}{unit}"
    return f"{max(ms, 0) // 1000}s"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# -- items -----------------------------------------------------------------------------------------------


def _of_item(desk: Desk, item: Item, name: str | None) -> Iterator[Reason]:
    if item.is_lock and item.state == READY:
        yield _reason("refused", f"it is the lock {item.type}, and free", refused="bad_state")
    elif item.state == READY:
        yield from _of_ready(desk, item, name)
    elif item.state == CLAIMED:
        yield from _of_held(desk, item)
    elif item.state == SCHEDULED:
        yield from _of_scheduled(desk, item)
    elif item.state == BLOCKED:
        yield from _of_blocked(desk, item)
    elif item.state == BURIED:
        yield _buried(desk, item)
    else:
        yield _ended(desk, item)


def _of_held(desk: Desk, item: Item) -> Iterator[Reason]:
    claim = item.claim
    assert claim is not None
    name = claim.agent.name
    left = claim.deadline - desk.now
    keeps = f"for another {_span(left)}" if claim.watch is None else f"while process {claim.watch[0]} lives"
    yield _reason(
        "held",
        f"{name} has held it for {_span(desk.now - claim.at)} (attempt {item.claims}), and keeps it {keeps}",
        f"show {item.id}",
        agent=name,
        since=claim.at,
        lease_until=claim.deadline,
        left=left,
        watching=None if claim.watch is None else claim.watch[0],
        attempt=item.claims,
    )
    if claim.stalled:
        silent = desk.now - claim.seen
        yield _reason(
            "stalled",
            f"{name} lives, but has not said a word for {_span(silent)}; in {_span(left)} the item is taken back",
            f"evict {name}",
            agent=name,
            silent=silent,
        )
    state = agent_state(desk, claim.agent)
    if state in ("suspect", "gone"):
        yield _suspect(desk, claim.agent, state)


def _suspect(desk: Desk, agent: Agent, state: str) -> Reason:
    silent = desk.now - agent.seen
    why = "its process died" if state == "gone" else f"it promised a word every {_span(agent.heartbeat or 0)}"
    text = f"agent {agent.name} is {state}: {why}; the last was {_span(silent)} ago"
    return _reason("suspect", text, f"evict {agent.name}", agent=agent.name, silent=silent)


def _of_scheduled(desk: Desk, item: Item) -> Iterator[Reason]:
    assert item.due_at is not None
    left = item.due_at - desk.now
    text = f"it is not to be claimed for another {_span(left)}"
    if item.failures:
        text += f", after failure {item.failures} of {max_attempts(desk, item)}{_because(item)}"
    facts = {"due_at": item.due_at, "left": left, "failures": item.failures, "reason": item.note("reason")}
    yield _reason("scheduled", text, f"edit {item.id} --delay 0", **facts)


def _because(item: Item) -> str:
    reason = item.note("reason")
    return f" ({reason})" if reason else ""


def _of_blocked(desk: Desk, item: Item) -> Iterator[Reason]:
    waits = sorted(item.waits or ())
    vain = blocked_reason(desk, item)
    if vain is not None:
        text = f"it waits in vain: {vain}" if waits else f"it is held back: {vain}"
        yield _reason("in_vain", text, f"kick {item.id}", reason=vain)
    for number in waits[:NAMED_MAX]:
        waited = desk.tables.items.get(number)
        state = "forgotten" if waited is None else waited.state
        by = "" if waited is None or waited.claim is None else f" by {waited.claim.agent.name}"
        follow = f"explain {number}" if waited is not None else None
        yield _reason("after", f"it waits for item {number}, which is {state}{by}", follow, id=number, state=state)
    if len(waits) > NAMED_MAX:
        yield _reason("after", f"and for {len(waits) - NAMED_MAX} more", f"show {item.id}", count=len(waits))
    if item.due_at is not None and item.due_at > desk.now:
        yield from _of_scheduled(desk, item)


def _buried(desk: Desk, item: Item) -> Reason:
    counts = f"{_many(item.failures, 'failure')} of {max_attempts(desk, item)}"
    counts += f", {item.crashes} of {desk.setting(item, 'crash_cap', desk.policy.crash_cap)} crashes"
    counts += f", {item.releases} of {desk.policy.release_cap} releases in a row"
    return _reason(
        "buried",
        f"it was set aside {_span(desk.now - item.since)} ago{_because(item)}: {counts}",
        f"kick {item.id}",
        since=item.since,
        reason=item.note("reason"),
        failures=item.failures,
        crashes=item.crashes,
        releases=item.releases,
    )


def _ended(desk: Desk, item: Item) -> Reason:
    by = item.note("ended_by")
    left = max(0, item.since + desk.policy.retain_done - desk.now)
    text = f"it is {item.state} since {_span(desk.now - item.since)}{f', by {by}' if by else ''}{_because(item)}"
    return _reason(
        "ended",
        f"{text}; it is forgotten in {_span(left)}, or sooner when many end",
        since=item.since,
        agent=by,
        reason=item.note("reason"),
        left=left,
    )


def _of_ready(desk: Desk, item: Item, name: str | None) -> Iterator[Reason]:
    """What stands in the way of a ready item; where nothing does, what comes before it, and who might ask."""
    agent = None if name is None else desk.tables.agents.get(name)
    blocking = [*_of_everything(desk), *_of_offer(desk, item.queue)]
    if name is None:
        blocking += _lacking(desk, item.require)
    else:
        blocking += _lacking_in(item.require, name, agent)
        if agent is not None:
            blocking += _of_place(agent)
        refused = _refused(desk, item, name)
        if refused is not None and not blocking:
            blocking.append(_reason("refused", refused.message, refused=refused.code))
    yield from blocking
    if not blocking:
        ready = f"it has been ready for {_span(desk.now - item.since)}"
        who = "the next claim that asks for it" if name is None else f"a claim of {name} that asks for it"
        yield _reason("claimable", f"{ready}: {who} gets it", f"claim --id {item.id}", since=item.since)
        yield from _of_line(desk, item)
        yield from _of_waiting(desk, item)


def _refused(desk: Desk, item: Item, name: str) -> Refusal | None:
    """Why a claim of this agent for this item would be refused, if it would be."""
    try:
        agent = agent_for(desk, name)
        may_claim(desk, agent)
        this_one(desk, Claim(agent=name, id=item.id), agent)  # type: ignore[arg-type]
    except Refusal as refusal:
        return refusal
    return None


def _of_everything(desk: Desk) -> Iterator[Reason]:
    paused = desk.tables.paused
    if paused is not None:
        hard = ", and holders are told to stop" if desk.tables.paused_hard else ""
        until = desk.tables.paused_until
        left = _left(desk, until)
        text = f"everything is paused{_for_another(left)}{hard}: {paused}"
        yield _reason("paused", text, "resume --all", all=True, reason=paused, left=left)


def _left(desk: Desk, until: int | None) -> int | None:
    return None if until is None else max(0, until - desk.now)


def _for_another(left: int | None) -> str:
    return "" if left is None else f" for another {_span(left)}"


def _of_offer(desk: Desk, queue: Queue) -> Iterator[Reason]:
    """Why nothing of the queue may be claimed now, whoever asks."""
    reason = queue.settings.get("paused")
    if reason is not None:
        left = _left(desk, queue.settings.get("paused_until"))
        text = f"queue {queue.name} is paused{_for_another(left)}: {reason}"
        yield _reason("paused", text, f"resume {queue.name}", queue=queue.name, reason=reason, left=left)
    limit, held = queue.settings.get("limit"), len(queue.items[CLAIMED])
    if limit and held >= limit:
        text = f"queue {queue.name} is at its limit: {held} of {limit} held"
        yield _reason("limit", text, f"limit {queue.name} {held + 1}", queue=queue.name, limit=limit, held=held)


def _of_place(agent: Agent) -> Iterator[Reason]:
    """Why the agent may claim nothing."""
    if agent.quiet:
        text = f"agent {agent.name} is quiet: it gets no new items"
        yield _reason("quiet", text, f"wake {agent.name}", agent=agent.name)
    if agent.full:
        text = f"agent {agent.name} holds {_many(len(agent.holds) - agent.locks, 'item')}, as many as it may"
        ids = list(islice((item.id for item in agent.holds.values() if not item.is_lock), NAMED_MAX))
        yield _reason("full", text, f"list --agent {agent.name}", agent=agent.name, slots=agent.slots, ids=ids)


def _living(desk: Desk) -> list[Agent]:
    return [agent for agent in desk.tables.agents.values() if agent_state(desk, agent) != "gone"]


def _lacking(desk: Desk, require: tuple[str, ...]) -> Iterator[Reason]:
    """Labels that no living agent has together."""
    if require and not any(set(require) <= set(agent.labels) for agent in _living(desk)):
        those = "that" if len(require) == 1 else "all of them"
        text = f"it requires {', '.join(require)}, and no living agent has {those}"
        yield _reason("labels", text, f"register AGENT --label {','.join(require)}", require=list(require))


def _lacking_in(require: tuple[str, ...], name: str, agent: Agent | None) -> Iterator[Reason]:
    missing = [label for label in require if agent is None or label not in agent.labels]
    if missing:
        text = f"it requires {', '.join(missing)}, which agent {name} has not"
        yield _reason("labels", text, f"agent show {name}" if agent else None, require=missing, agent=name)


def _of_line(desk: Desk, item: Item) -> Iterator[Reason]:
    """What is claimed before the item, now and since it became ready."""
    mine = rank(item)
    ready = item.queue.items[READY]
    ahead = sum(rank(other) < mine for other in islice(ready.values(), LOOK_MAX))
    short = len(ready) > LOOK_MAX
    if ahead:
        text = f"{'at least ' if short else ''}{_many(ahead, 'item')} of queue {item.queue.name} come before it"
        yield _reason("ahead", text, count=ahead, at_least=short or None)
    waited = desk.now - item.since
    passed = _gone_before(desk, item) if waited >= STARVED_AFTER else 0
    if passed:
        text = f"{_many(passed, 'item')} of a higher priority than {PRIORITIES[item.priority]} have been claimed"
        follow = f"edit {item.id} --priority {PRIORITIES[max(0, item.priority - 1)]}"
        yield _reason("starved", f"{text} since it became ready", follow, count=passed)


def _gone_before(desk: Desk, item: Item) -> int:
    """Items of a higher priority that were claimed since this one became ready, of those that are remembered."""

    def before(other: Item) -> bool:
        return other.queue is item.queue and other.priority < item.priority

    held = islice(item.queue.items[CLAIMED].values(), LOOK_MAX)
    count = sum(before(other) and other.claim is not None and other.claim.at >= item.since for other in held)
    for number in islice(reversed(desk.tables.ended), LOOK_MAX):
        other = desk.tables.items[number]
        if other.since < item.since:
            break
        count += other.state == DONE and before(other)
    return count


def _of_waiting(desk: Desk, item: Item) -> Iterator[Reason]:
    """Claims that wait although this item is ready: what each asks for instead."""
    instead: Counter[str] = Counter()
    waiting = desk.waiters.claims()
    for waiter in islice(waiting, LOOK_MAX):
        assert waiter.shape is not None
        queues, kinds, teams, labels = waiter.shape.filter
        if queues is not None and item.queue.name not in queues:
            instead["queue"] += 1
        elif kinds and item.type not in kinds:
            instead["type"] += 1
        elif teams and item.team not in teams:
            instead["team"] += 1
        elif not set(item.require) <= set(labels):
            instead["labels"] += 1
        else:
            instead["agent"] += 1
    if not instead:
        yield _reason("nobody_asks", "no claim is waiting")
        return
    words = {
        "queue": "for other queues",
        "type": "for other types",
        "team": "for other teams",
        "labels": "of agents without its labels",
        "agent": "of agents that are quiet or full",
    }
    told = ", ".join(f"{count} {words[what]}" for what, count in instead.most_common())
    yield _reason("filter", f"{_many(instead.total(), 'claim')} wait, but not for it: {told}", counts=dict(instead))


# -- agents ----------------------------------------------------------------------------------------------


def _of_agent(desk: Desk, agent: Agent, name: str | None) -> Iterator[Reason]:
    state = agent_state(desk, agent)
    blocking = [*_of_place(agent), *_of_everything(desk)]
    try:
        agent_for(desk, agent.name)
    except Refusal as refusal:
        blocking.append(_reason("refused", refusal.message, refused=refusal.code))
    queues = _scope(desk, name)
    buckets = [bucket for queue in queues for bucket in queue.buckets if bucket.counts[READY]]
    mine = [bucket for bucket in buckets if bucket.queue.offers and set(bucket.require) <= set(agent.labels)]
    if mine and not blocking:
        yield _first_of(mine)
    yield from blocking
    if state in ("suspect", "gone"):
        yield _suspect(desk, agent, state)
    offering = (reason for queue in queues if queue.items[READY] for reason in _of_offer(desk, queue))
    yield from islice(offering, NAMED_MAX)
    yield from _labels_of(bucket for bucket in buckets if not set(bucket.require) <= set(agent.labels))
    if not buckets:
        yield _nothing_ready(queues)
    yield from _asked(desk, agent)


def _scope(desk: Desk, name: str | None) -> list[Queue]:
    """The queue of that name, or all."""
    queues = desk.tables.queues
    if name is None:
        return queues_of_work(desk)
    if name not in queues:
        raise Refusal("not_found", f"there is no queue {name}")
    return [queues[name]]


def _first_of(buckets: list[Bucket]) -> Reason:
    """What a claim gets next, of these buckets."""
    first = min(((bucket.head() or 0, bucket.first()) for bucket in buckets), key=_rank)[1]
    count = sum(bucket.counts[READY] for bucket in buckets)
    text = f"{_many(count, 'item')} can be claimed; the next is {first.id}, of queue {first.queue.name}"
    return _reason("claimable", text, f"claim --queue {first.queue.name}", count=count, id=first.id)


def _rank(head: tuple[int, Item]) -> int:
    return head[0]


def _labels_of(buckets: Iterable[Bucket]) -> Iterator[Reason]:
    """Ready items that require what is lacking, by what they require."""
    lacking: Counter[tuple[str, ...]] = Counter()
    for bucket in buckets:
        lacking[bucket.require] += bucket.counts[READY]
    for require, count in lacking.most_common(NAMED_MAX):
        text = f"{_many(count, 'ready item')} {'requires' if count == 1 else 'require'} {', '.join(require)}"
        yield _reason("labels", text, f"register AGENT --label {','.join(require)}", require=list(require), count=count)


def _nothing_ready(queues: list[Queue]) -> Reason:
    counts = {state: sum(len(queue.items[state]) for queue in queues) for state in sorted(OPEN - {READY})}
    there = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no open item"
    where = f"queue {queues[0].name}" if len(queues) == 1 else "any queue"
    return _reason("empty", f"nothing is ready in {where}: there is {there}", "count --by state", counts=counts)


def _asked(desk: Desk, agent: Agent) -> Iterator[Reason]:
    for waiter in desk.waiters.of_agent(agent.name)[:NAMED_MAX]:
        assert waiter.shape is not None
        queues, kinds, teams, _ = waiter.shape.filter
        text = f"it waits for an item of {'any queue' if queues is None else ', '.join(queues)}"
        text += f", type {', '.join(kinds)}" if kinds else ""
        text += f", team {', '.join(teams)}" if teams else ""
        yield _reason(
            "asks",
            text,
            left=waiter.deadline - desk.now,
            queues=None if queues is None else list(queues),
            types=list(kinds) or None,
            teams=list(teams) or None,
        )


# -- queues ----------------------------------------------------------------------------------------------


def _of_queue(desk: Desk, queue: Queue) -> Iterator[Reason]:
    blocking = [*_of_everything(desk), *_of_offer(desk, queue)]
    buckets = [bucket for bucket in queue.buckets if bucket.counts[READY]]
    living = [set(agent.labels) for agent in _living(desk)]
    orphans = [b for b in buckets if b.require and not any(set(b.require) <= labels for labels in living)]
    if not blocking and len(buckets) > len(orphans):
        yield _first_of([bucket for bucket in buckets if bucket not in orphans])
    yield from blocking
    yield from _labels_of(orphans)
    if not buckets:
        yield _nothing_ready([queue])
    if queue.settings.get("closed"):
        yield _reason("closed", "it takes no new items", f"queue set {queue.name} closed=no", queue=queue.name)
    length = queue_setting(queue, "max_length", desk.policy.queue_max_length)
    if queue.open >= length:
        text = f"it takes no new items: it holds {queue.open}, its maximum"
        yield _reason("closed", text, f"queue set {queue.name} max-length={queue.open * 2}", max_length=length)
    asking = [waiter for waiter in desk.waiters.claims() if _asks_for(waiter, queue)]
    if buckets and not asking:
        yield _reason("nobody_asks", "no claim is waiting for anything of it")
    elif asking:
        names = ", ".join(sorted({waiter.request.command.agent for waiter in asking})[:NAMED_MAX])
        yield _reason("asks", f"{_many(len(asking), 'claim')} wait for something of it: {names}", count=len(asking))


def _asks_for(waiter: Waiter, queue: Queue) -> bool:
    queues = None if waiter.shape is None else waiter.shape.filter[0]
    return queues is None or queue.name in queues
