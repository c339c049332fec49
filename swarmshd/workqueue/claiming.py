"""Taking items: who gets which, under which lease and token."""

from collections.abc import Iterator

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.work import Claim, ClaimNew, Lock, Submit
from swarmshd.protocol import counted
from swarmshd.workqueue.desk import (
    Desk,
    agent_for,
    check_lease,
    find,
    lease_of,
    queues_of_work,
    room_for_agent,
    stall_after,
)
from swarmshd.workqueue.ready import Filter, Shape
from swarmshd.workqueue.records import READY, Agent, Item, Queue
from swarmshd.workqueue.submitting import submit

CLAIM_BYTES = 1 << 20
"""Bytes of items after which a claim of several gives no further one: its reply is one frame."""


def filter_of(desk: Desk, command: Claim) -> Filter:
    """What the command may take, in the form under which shapes are kept."""
    agent = desk.tables.agents.get(command.agent)
    queues = command.queue
    return (
        queues if queues is None or len(queues) == 1 else tuple(sorted(set(queues))),
        command.type if len(command.type) < 2 else tuple(sorted(set(command.type))),
        command.team if len(command.team) < 2 else tuple(sorted(set(command.team))),
        () if agent is None else agent.labels,
    )


def claim(desk: Desk, command: Claim) -> Iterator[e.Event]:
    """Claim up to ``count`` items.

    A generator: each event is applied before the next is asked for, so that each pick sees the one before. It
    refuses before its first event or not at all.
    """
    agent = agent_for(desk, command.agent)
    check_watch(desk, command)
    check_lease(desk, command.lease)
    if command.resume and agent is not None:
        held = _held_before(desk, command, agent)
        for item in held:
            yield take_again(desk, command, item)
        if held:
            return
    may_claim(desk, agent)
    if command.id is not None:
        yield take(desk, command, this_one(desk, command, agent), agent)
        return
    shape = desk.ready.shape(filter_of(desk, command))
    first = desk.ready.first(shape)
    if first is None:
        raise nothing(desk, command, shape)
    given = size = 0
    while first is not None:
        yield take(desk, command, first, agent)
        given += 1
        size += first.size()
        agent = desk.tables.agents[command.agent]
        if given == command.count or agent.full:
            break
        first = desk.ready.first(shape)
        if first is not None and size + first.size() > CLAIM_BYTES:
            break


def _held_before(desk: Desk, command: Claim, agent: Agent) -> list[Item]:
    """What the agent holds and takes again: of its living claims the one that is asked for, or the first."""
    found: list[Item] = []
    size = 0
    wanted = None if command.id is None else find(desk, command.id)
    for item in agent.holds.values():
        claim = item.claim
        if claim is None or item.is_lock or claim.deadline <= desk.now or (wanted is not None and item is not wanted):
            continue
        size += item.size()
        if len(found) == command.count or (found and size > CLAIM_BYTES):
            break
        found.append(item)
    return found


def check_watch(desk: Desk, command: Claim | ClaimNew | Lock) -> None:
    """Refuse what wants a process watched and brought none."""
    if command.watch and desk.watch is None:
        raise Refusal("bad_request", "watch is set, but no process descriptor came along")


def may_claim(desk: Desk, agent: Agent | None) -> None:
    """Refuse an agent that may claim nothing now."""
    if agent is None:
        room_for_agent(desk)
    else:
        if agent.quiet:
            raise Refusal("capacity", f"agent {agent.name} is quiet; `swarmctl wake {agent.name}` lets it claim again")
        if agent.full:
            most = "as many as its slots" if agent.slots else "the most that one agent may hold"
            held = len(agent.holds) - agent.locks
            raise Refusal("capacity", f"agent {agent.name} holds {counted(held, 'item')}, {most}; finish one first")
    if desk.tables.paused is not None:
        raise Refusal("empty", f"everything is paused: {desk.tables.paused}", paused=desk.tables.paused)


def nothing(desk: Desk, command: Claim, shape: Shape) -> Refusal:
    """Say why there is nothing, and where there is something."""
    wanted = shape.filter[0]
    for name in wanted or ():
        queue = desk.tables.queues.get(name)
        if queue is not None and "paused" in queue.settings:
            return _paused(queue)
    where = "any queue" if wanted is None else ", ".join(wanted)
    facts: dict[str, object] = {}
    text = f"nothing to claim in {where}"
    if command.wait == 0 and wanted is not None and len(desk.tables.queues) <= 100:
        elsewhere = {queue.name: len(queue.items[READY]) for queue in queues_of_work(desk) if queue.items[READY]}
        matching = sum(elsewhere.pop(name, 0) for name in wanted)
        if elsewhere:
            facts["elsewhere"] = elsewhere
            text += f" ({', '.join(f'{count} ready in {name}' for name, count in list(elsewhere.items())[:3])})"
        elif matching:
            text += f" for this agent and filter ({matching} ready there for others)"
    return Refusal("empty", text, **facts)


def _paused(queue: Queue) -> Refusal:
    reason = queue.settings["paused"]
    return Refusal("empty", f"queue {queue.name} is paused: {reason}", paused=reason)


def this_one(desk: Desk, command: Claim, agent: Agent | None) -> Item:
    """The item that a claim asks for by its id.

    Raises:
        Refusal: it may not be claimed now, or not by this agent.
    """
    item = find(desk, command.id)
    if item.state != READY:
        by = f" by {item.claim.agent.name}" if item.claim is not None else ""
        raise Refusal(
            "conflict", f"item {item.id} is {item.state}{by}", state=item.state, next=f"swarmctl explain {item.id}"
        )
    labels = () if agent is None else agent.labels
    missing = [label for label in item.require if label not in labels]
    if missing:
        raise Refusal("conflict", f"item {item.id} requires {', '.join(missing)}, which agent {command.agent} has not")
    if not item.queue.offers:
        raise Refusal("conflict", f"item {item.id}: its queue {item.queue.name} is paused or at its limit")
    return item


def _watch(desk: Desk, watch: bool, agent: Agent | None) -> tuple[int, int] | None:
    """The process that the claim stands and falls with."""
    if watch:
        return desk.watch
    return None if agent is None else agent.watch


def take(desk: Desk, command: Claim | ClaimNew | Lock, item: Item, agent: Agent | None) -> e.ItemClaimed:
    """The event by which the agent holds the item from now on."""
    watch = _watch(desk, command.watch, agent)
    lease = lease_of(desk, item, command.lease)
    until = desk.now + (lease if watch is None else max(stall_after(desk, item), lease))
    runtime = item.option("max_runtime")
    return e.ItemClaimed(
        item.id,
        command.agent,
        desk.mint.fence(),
        desk.mint.secret(),
        until,
        lease,
        None if runtime is None else desk.now + runtime,
        watch,
    )


def take_again(desk: Desk, command: Claim, item: Item) -> e.ItemClaimed:
    """The same agent takes what it holds under a new token: its former process is fenced off."""
    claim = item.claim
    assert claim is not None
    claim_watch = _watch(desk, command.watch, claim.agent)
    return e.ItemClaimed(
        item.id,
        claim.agent.name,
        desk.mint.fence(),
        desk.mint.secret(),
        desk.now + (claim.lease if claim_watch is None else max(stall_after(desk, item), claim.lease)),
        claim.lease,
        claim.runtime_until,
        claim_watch,
    )


def claim_new(desk: Desk, command: ClaimNew) -> Iterator[e.Event]:
    """Put an item in and hold it, in one step."""
    agent = agent_for(desk, command.agent)
    check_watch(desk, command)
    check_lease(desk, command.lease)
    may_claim(desk, agent)
    wish = Submit(
        command.type,
        command.description,
        command.priority,
        command.queue,
        command.team,
        command.payload,
        group=command.group,
        ref=command.ref,
        max_runtime=command.max_runtime,
        max_attempts=command.max_attempts,
        agent=command.agent,
    )
    submitted = submit(desk, wish)
    queue = desk.tables.queues.get(command.queue)
    if queue is not None and not queue.offers:
        if "paused" in queue.settings:
            raise _paused(queue)
        raise Refusal("empty", f"queue {queue.name} is at its limit of claimed items")
    yield submitted
    yield take(desk, command, desk.tables.items[submitted.id], agent)
