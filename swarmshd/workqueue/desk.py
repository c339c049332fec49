"""What every rule starts from: the desk with the state, the policy and the moment, and who may do what.

A rule is a function of the desk and a command. It gives events and changes nothing, or raises a Refusal.
"""

from collections.abc import Sequence
from typing import Any

from attrs import define

from swarmshd import events as e
from swarmshd.commands import Actor, Refusal
from swarmshd.workqueue.mint import Mint
from swarmshd.workqueue.policy import Policy
from swarmshd.workqueue.ready import ReadyIndex
from swarmshd.workqueue.records import CANCELLED, DONE, LOCKS, Agent, Claim, Item, Queue
from swarmshd.workqueue.tables import Tables
from swarmshd.workqueue.waiting import Waiters

ROOT = Actor(0, 0, admin=True)


@define
class Desk:
    """The state as it is, and the moment at which a rule looks at it."""

    tables: Tables
    ready: ReadyIndex
    policy: Policy
    mint: Mint
    waiters: Waiters
    now: int = 0
    actor: Actor = ROOT
    watch: tuple[int, int] | None = None
    """The process whose descriptor came with the command."""

    def setting(self, item: Item, name: str, default: int) -> int:
        """A setting of the item, else of its queue, else the default."""
        value = item.option(name)
        if value is None:
            value = item.queue.settings.get(name)
        return default if value is None else int(value)


def find(desk: Desk, reference: object) -> Item:
    """The item of an id, a ref, or ``work_ID``, for whatever is done with work.

    Raises:
        Refusal: ``not_found``; ``bad_state`` for a named lock.
    """
    item = find_any(desk, reference)
    if item.is_lock:
        text = f"item {item.id} is the lock {item.type}: lock, unlock, heartbeat and hold are for it"
        raise Refusal("bad_state", text, state=item.state)
    return item


def find_any(desk: Desk, reference: object) -> Item:
    """The item, be it work or a named lock.

    Raises:
        Refusal: ``not_found``.
    """
    tables = desk.tables
    number = reference
    if isinstance(reference, str):
        number = tables.refs.get(reference)
        if number is None and reference.startswith("work_") and reference[5:].isdecimal() and len(reference) < 25:
            number = int(reference[5:])
    item = tables.items.get(number) if isinstance(number, int) else None
    if item is None:
        known = isinstance(number, int) and number < tables.next_id
        raise Refusal("not_found", f"there is no item {reference}" + (" (forgotten, or never there)" if known else ""))
    return item


CANCELLED_BYTES = 128 << 10
"""Bytes that one command may take in the journal which cancels many items, each with a reason of its own there."""

CANCELLED_EACH = 24
"""Bytes that one of them takes beside its reason, at most."""


def most_cancelled(desk: Desk, reason: str | None) -> int:
    """How many items one command cancels at most for this reason."""
    each = CANCELLED_EACH + len((reason or "").encode())
    return min(desk.policy.batch_size, CANCELLED_BYTES // each)


def max_attempts(desk: Desk, item: Item) -> int:
    """Failures after which the item is buried."""
    return desk.setting(item, "max_attempts", desk.policy.max_attempts)


def check_lease(desk: Desk, wanted: int | None) -> None:
    """Refuse a lease that is asked for and longer than any may be."""
    most = desk.policy.lease_max
    if wanted is not None and wanted > most:
        text = f"a lease of {wanted / 1000:.15g} s is more than LEASE_MAX, {most / 1000:.15g} s"
        raise Refusal("too_large", text, limit=most, name="lease")


def lease_of(desk: Desk, item: Item, wanted: int | None = None) -> int:
    """The lease that a claim of the item gets: what is kept from before LEASE_MAX was lowered is cut to it."""
    lease = wanted if wanted is not None else desk.setting(item, "lease", desk.policy.lease)
    return min(lease, desk.policy.lease_max)


def stall_after(desk: Desk, item: Item) -> int:
    """How long a living watched holder may be silent."""
    return desk.setting(item, "stall_after", desk.policy.stall_after)


def renewed_until(desk: Desk, item: Item, claim: Claim) -> int:
    """The end that the claim gets from an operation of its holder now."""
    return desk.now + (claim.lease if claim.watch is None else max(stall_after(desk, item), claim.lease))


def renewal(desk: Desk, items: Sequence[Item]) -> list[e.Event]:
    """Renew what is worth a write: an end that moves by less than a tenth of the lease stays where it is."""
    ends: dict[int, list[int]] = {}
    for item in items:
        claim = item.claim
        assert claim is not None
        until = renewed_until(desk, item, claim)
        if (until - claim.until) * 10 >= claim.lease or claim.stalled:
            ends.setdefault(until, []).append(item.id)
    return [e.LeasesRenewed(ids, until) for until, ids in ends.items()]


def parse_token(token: str) -> tuple[int, bytes]:
    """``FENCE.SECRET`` taken apart.

    Raises:
        Refusal: ``bad_request``.
    """
    fence, dot, secret = token.partition(".")
    if dot and fence.isascii() and fence.isdecimal() and len(fence) < 20 and len(secret) == 16:
        try:
            return int(fence), bytes.fromhex(secret)
        except ValueError:
            pass
    raise Refusal("bad_request", "token: expected FENCE.SECRET as the claim gave it")


def holder(desk: Desk, command: Any) -> tuple[Item, Claim]:
    """The claimed item that the command's sender holds, and which is work.

    Raises:
        Refusal: ``not_found``, and as :func:`holds`.
    """
    item = find(desk, command.id)
    return item, holds(desk, item, command)


def holds(desk: Desk, item: Item, command: Any) -> Claim:
    """The claim under which the command's sender holds the item.

    The token is proof enough. Without one it must be the same agent under the same uid.

    Raises:
        Refusal: ``lease_lost``, ``not_holder``, ``cancelled``, ``bad_state``, ``denied``.
    """
    claim = item.claim
    if command.token is not None:
        token = parse_token(command.token)
        if claim is None or (claim.fence, claim.secret) != token:
            raise _stale(item, token)
    elif claim is None:
        if item.state == CANCELLED:
            raise Refusal("cancelled", f"item {item.id} was cancelled{_because(item)}")
        raise Refusal("bad_state", f"item {item.id} is {item.state}: nobody holds it", state=item.state)
    else:
        _same_agent(desk, item, claim, command.agent)
    assert claim is not None
    if claim.deadline <= desk.now:
        raise Refusal("lease_lost", f"item {item.id}: the lease has ended; claim it again", since=claim.deadline)
    return claim


def _stale(item: Item, token: tuple[int, bytes]) -> Refusal:
    if item.state == CANCELLED and item.last == token:
        return Refusal("cancelled", f"item {item.id} was cancelled{_because(item)}")
    if item.claim is not None:
        held = item.claim
        return Refusal(
            "lease_lost",
            f"item {item.id}: lease lost (now held by {held.agent.name}); claim another",
            holder=held.agent.name,
            since=held.at,
        )
    return Refusal(
        "lease_lost", f"item {item.id}: lease lost (the item is {item.state}); claim it again", state=item.state
    )


def _because(item: Item) -> str:
    reason = item.note("reason")
    return f": {reason}" if reason else ""


def _same_agent(desk: Desk, item: Item, claim: Claim, agent: str | None) -> None:
    if agent is None or agent != claim.agent.name:
        you = f"you are {agent}" if agent else "you gave neither token nor agent"
        raise Refusal(
            "not_holder",
            f"item {item.id} is held by {claim.agent.name}, {you}: pass the token, or act as that agent",
            holder=claim.agent.name,
            since=claim.at,
        )
    if claim.uid != desk.actor.uid and not desk.actor.admin:
        raise Refusal(
            "denied", f"item {item.id} is held by {agent} under uid {claim.uid}, you are uid {desk.actor.uid}"
        )
    if desk.policy.require_token:
        raise Refusal("denied", f"item {item.id}: a token is required here (REQUIRE_TOKEN)")


def own_or_admin(desk: Desk, item: Item, verb: str) -> None:
    """Only an admin may change what another uid submitted."""
    if item.uid != desk.actor.uid and not desk.actor.admin:
        raise Refusal(
            "denied", f"{verb} {item.id}: submitted by uid {item.uid}, you are uid {desk.actor.uid}; an admin may do it"
        )


def agent_for(desk: Desk, name: str) -> Agent | None:
    """The agent of that name, if it exists and the sender may act as it.

    Raises:
        Refusal: ``denied`` while the name holds work under another uid.
    """
    agent = desk.tables.agents.get(name)
    if agent is not None and is_anothers(desk, agent):
        raise Refusal("denied", f"agent {name} belongs to uid {agent.uid} while it holds work; use another name")
    return agent


def is_anothers(desk: Desk, agent: Agent) -> bool:
    """Whether the agent belongs to another user."""
    return agent.uid != desk.actor.uid and not desk.actor.admin and bool(agent.holds)


def room_for_agent(desk: Desk) -> None:
    """Refuse one more agent when there are as many as may be."""
    if len(desk.tables.agents) >= desk.policy.agents:
        raise Refusal("too_many_kinds", f"there are {desk.policy.agents} agents (AGENTS); evict some")


def too_many_kinds() -> Refusal:
    """There is no room for one more bucket."""
    return Refusal("too_many_kinds", "too many different queues, types, teams and label sets have items; use fewer")


def too_large(what: str, size: int, limit: int) -> Refusal:
    """The refusal of something whose size, in bytes, is above its limit."""
    return Refusal("too_large", f"{what}: {size} bytes; the limit is {limit}", limit=limit, name=what)


def check_size(what: str, data: bytes | str | None, limit: int) -> None:
    """Refuse what is larger than its limit, in bytes."""
    if data is None or len(data) * 4 <= limit:
        return
    size = len(data.encode()) if isinstance(data, str) else len(data)
    if size > limit:
        raise too_large(what, size, limit)


def unblocked_by(desk: Desk, item: Item) -> list[int]:
    """Dependants that wait for this item alone."""
    waiting = desk.tables.items
    return [number for number in item.dependants or () if number in waiting and waiting[number].waits == {item.id}]


def due_among(desk: Desk, numbers: Sequence[int]) -> list[e.Event]:
    """What follows when these are unblocked: those whose time came while they were blocked are ready at once."""
    if not numbers:
        return []
    due = [number for number in numbers if (desk.tables.items[number].due_at or desk.now + 1) <= desk.now]
    return [e.ItemsDue(due)] if due else []


def queues_of_work(desk: Desk) -> list[Queue]:
    """All queues but those that are the daemon's own."""
    return [queue for queue in desk.tables.queues.values() if queue.name != LOCKS]


def states_of_work(desk: Desk) -> dict[str, int]:
    """How many items of work there are in each state."""
    states: dict[str, int] = {}
    for queue in queues_of_work(desk):
        for state, items in queue.items.items():
            states[state] = states.get(state, 0) + len(items)
    return states


def is_ended(item: Item) -> bool:
    """Whether the item is done or cancelled."""
    return item.state in (DONE, CANCELLED)


def queue_setting(queue: Queue | None, name: str, default: int) -> int:
    """A setting of a queue that may not exist yet, else the default."""
    value = None if queue is None else queue.settings.get(name)
    return default if value is None else int(value)
