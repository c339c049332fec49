"""What the holder of an item does with it: renew, report, and the four ways to end a claim."""

from collections.abc import Sequence
from typing import Any

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.values import Reference
from swarmshd.commands.work import Bury, Complete, Fail, Heartbeat, Hold, Progress, Release
from swarmshd.workqueue.desk import (
    Desk,
    agent_for,
    check_size,
    due_among,
    find,
    find_any,
    holder,
    holds,
    is_anothers,
    max_attempts,
    own_or_admin,
    parse_token,
    renewal,
    renewed_until,
    stall_after,
    unblocked_by,
)
from swarmshd.workqueue.policy import JITTER
from swarmshd.workqueue.records import BLOCKED, DONE, READY, SCHEDULED, Item


def heartbeat(desk: Desk, command: Heartbeat) -> list[e.Event]:
    """Renew what the sender holds; what it holds no more is told in the reply (see :func:`heartbeat_lost`)."""
    return renewal(desk, beat(desk, command))


def beat(desk: Desk, command: Heartbeat) -> list[Item]:
    """Take note that the sender lives, and give the items that it holds."""
    kept, _ = _sort_out(desk, command)
    agent = None if command.agent is None else desk.tables.agents.get(command.agent)
    if agent is not None and not is_anothers(desk, agent):
        agent.seen = desk.now
    for item in kept:
        assert item.claim is not None
        item.claim.agent.seen = desk.now
    return kept


def heartbeat_lost(desk: Desk, command: Heartbeat) -> tuple[list[Item], dict[Reference, str]]:
    """The items that the sender holds, and for each that it does not, the code that says why."""
    return _sort_out(desk, command)


def _sort_out(desk: Desk, command: Heartbeat) -> tuple[list[Item], dict[Reference, str]]:
    if command.ids is None:
        if command.agent is None:
            raise Refusal("bad_request", "heartbeat: expected ids or agent")
        agent = agent_for(desk, command.agent)
        if agent is None:
            return [], {}
        numbers: Sequence[Reference] = [
            item.id for item in agent.holds.values() if item.claim is not None and item.claim.uid == desk.actor.uid
        ]
    else:
        numbers = command.ids
    kept: list[Item] = []
    lost: dict[Reference, str] = {}
    for number in numbers:
        try:
            item = find_any(desk, number)
            holds(desk, item, command)
            kept.append(item)
        except Refusal as refusal:
            lost[number] = refusal.code
    return kept, lost


def check_progress(desk: Desk, command: Progress) -> Item:
    """The item that the sender holds, if what it reports may be recorded."""
    item, _ = holder(desk, command)
    check_size("checkpoint", command.checkpoint, desk.policy.checkpoint_max)
    return item


def progress(desk: Desk, command: Progress) -> list[e.Event]:
    """Record how far the holder is; what says nothing new is a heartbeat."""
    item = check_progress(desk, command)
    claim = item.claim
    assert claim is not None
    said = (command.percent, command.status, command.message, command.checkpoint)
    if all(value is None or value == item.note(name) for name, value in zip(_PROGRESS, said, strict=True)):
        return renewal(desk, [item])
    return [e.ItemProgressed(item.id, renewed_until(desk, item, claim), *said)]


_PROGRESS = ("percent", "status", "message", "checkpoint")


def hold(desk: Desk, command: Hold) -> list[e.Event]:
    """From now on the claim stands and falls with the process whose descriptor came along."""
    item = find_any(desk, command.id)
    claim = holds(desk, item, command)
    if desk.watch is None:
        raise Refusal("bad_request", "hold: no process descriptor came with the request")
    return [e.ItemHeld(item.id, desk.now + max(stall_after(desk, item), claim.lease), desk.watch)]


def complete(desk: Desk, command: Complete) -> list[e.Event]:
    """End the item well. The same completion again, under the same token, is granted and changes nothing."""
    _check_output(desk, command.output)
    check_size("result", command.result, desk.policy.payload_max)
    if command.token is not None:
        item = find(desk, command.id)
        if item.state == DONE and item.last == parse_token(command.token):
            _same_content(item, command)
            return []
    item, _ = holder(desk, command)
    ready = unblocked_by(desk, item)
    return [
        e.ItemCompleted(
            item.id,
            ready,
            command.note,
            command.points,
            command.exit_status,
            command.result,
            command.output,
        ),
        *due_among(desk, ready),
    ]


def _same_content(item: Item, command: Complete) -> None:
    for name in ("note", "points", "exit_status", "result", "output"):
        if getattr(command, name) != item.note(name):
            raise Refusal("conflict", f"item {item.id} was completed with another {name}")


def _check_output(desk: Desk, output: bytes | None) -> None:
    check_size("output", output, desk.policy.output_tail)


def backoff(desk: Desk, failures: int) -> int:
    """Milliseconds until the next attempt after that many failures: exponential, spread, bounded."""
    policy = desk.policy
    delay = min(policy.backoff_base << min(failures - 1, 40), policy.backoff_max)
    return int(delay * (1 - JITTER + 2 * JITTER * desk.mint.chance()))


def fail(desk: Desk, command: Fail) -> list[e.Event]:
    """Count a failure; the item goes back with backoff, or is buried."""
    item, _ = holder(desk, command)
    _check_output(desk, command.output)
    return [
        failed(
            desk, item, command.reason, command.exit_status, command.output, command.retry_after, bury=command.no_retry
        )
    ]


def failed(
    desk: Desk,
    item: Item,
    reason: str | None,
    exit_status: int | None = None,
    output: bytes | None = None,
    retry_after: int | None = None,
    *,
    bury: bool = False,
) -> e.Event:
    """The attempt failed: back to the queue with backoff, or buried when none is left."""
    if bury or item.failures + 1 >= max_attempts(desk, item):
        return e.ItemBuried(item.id, e.FAILED, reason, exit_status, output)
    delay = backoff(desk, item.failures + 1) if retry_after is None else retry_after
    return e.ItemReturned(item.id, e.FAILED, desk.now + delay if delay else None, reason, exit_status, output)


def release(desk: Desk, command: Release) -> list[e.Event]:
    """Give it back. No attempt is spent, but an item that nobody wants to keep is buried in the end.

    A claim with which nobody had begun anything says nothing about the item: it counts as nothing.
    """
    item, _ = holder(desk, command)
    if command.unbegun:
        return [e.ItemReturned(item.id, e.UNBEGUN, desk.now + command.delay if command.delay else None)]
    if item.releases + 1 >= desk.policy.release_cap:
        reason = f"released {item.releases + 1} times in a row"
        return [e.ItemBuried(item.id, e.RELEASED, f"{reason}: {command.note}" if command.note else reason)]
    due_at = desk.now + command.delay if command.delay else None
    return [e.ItemReturned(item.id, e.RELEASED, due_at, command.note)]


def bury(desk: Desk, command: Bury) -> list[e.Event]:
    """Set an item aside for a person: its holder does, or, while nobody holds it, who submitted it or an admin."""
    _check_output(desk, command.output)
    item = find(desk, command.id)
    if command.token is None and item.state in (READY, SCHEDULED, BLOCKED):
        own_or_admin(desk, item, "bury")
    else:
        item, _ = holder(desk, command)
    return [e.ItemBuried(item.id, None, command.reason, command.exit_status, command.output)]


def lost(desk: Desk, item: Item, cause: int, reason: str) -> e.Event:
    """The claim ended without a word of its holder.

    A crash or a lost lease is counted, and past the crash cap the item is buried: it may be what kills its
    holders. An outage, a restart or an eviction is not the item's doing. A lock is free again whatever its holder did.
    """
    if (
        cause == e.CRASHED
        and not item.is_lock
        and item.crashes + 1 >= desk.setting(item, "crash_cap", desk.policy.crash_cap)
    ):
        return e.ItemBuried(item.id, e.CRASHED, f"{item.crashes + 1} crashes, the last: {reason}")
    return e.ItemReturned(item.id, cause, None, reason)


def fenced_by(command: Any) -> str:
    """What proved that the sender holds the item."""
    return "agent" if command.token is None else "token"
