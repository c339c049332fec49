"""The reply to a change, from the facts that are kept of it and the state right after it.

The same facts give the same reply when the request is repeated under its idempotency key: that is why
replies to changes are made here and not where the change was decided.
"""

from typing import Any

from swarmshd.commands import Refusal
from swarmshd.commands.governing import Evict, Pause, QueueSet, Resume
from swarmshd.commands.work import Cancel, Claim, ClaimNew, Heartbeat, Kick, Lock, Submit, SubmitAll, Unlock
from swarmshd.workqueue import looking
from swarmshd.workqueue.desk import Desk, find, holder, max_attempts, most_cancelled
from swarmshd.workqueue.holding import fenced_by, heartbeat_lost
from swarmshd.workqueue.records import Queue
from swarmshd.workqueue.submitting import in_order


def unchanged(desk: Desk, command: Any) -> dict[str, Any]:
    """The facts that are kept of a keyed command which found what it wants to be so already."""
    if isinstance(command, Submit):
        return {"found": desk.tables.uniques[str(command.unique)]}
    if getattr(command, "id", None) is None:
        return {"touched": 0}
    item = find(desk, command.id)
    facts = {"id": item.id, "state": item.state}
    return facts if item.due_at is None else {**facts, "due_at": item.due_at}


def submitted(desk: Desk, command: Submit, facts: Any) -> dict[str, Any]:
    """The id of the item; ``created`` is false where an open one with the unique key was there already."""
    if facts is None:
        facts = unchanged(desk, command)
    if isinstance(facts, dict):
        return {"id": facts["found"], "created": False}
    return {"id": facts, "created": True}


def all_submitted(_: Desk, command: SubmitAll, facts: Any) -> dict[str, Any]:
    """Ids stand in the order in which the items went in; replies stand in the order of the lines."""
    numbers = [facts] if isinstance(facts, int) else facts
    by_line = dict(zip(in_order(command.submits), numbers, strict=True))
    return {"replies": [[0, {"id": by_line[line], "created": True}] for line in range(len(numbers))]}


def claimed(desk: Desk, _: Claim | ClaimNew, facts: Any) -> dict[str, Any]:
    """Of ``claim`` and ``claim_new``; told again, only what is still held under the same fence."""
    items = []
    for number, fence in facts:
        item = desk.tables.items.get(number)
        if item is not None and item.claim is not None and item.claim.fence == fence:
            items.append(looking.claimed_view(desk, item))
    if not items:
        raise Refusal("lease_lost", "what this request once claimed is not held under it any more; claim again")
    return {"items": items}


def locked(desk: Desk, command: Lock, facts: Any) -> dict[str, Any]:
    """Of ``lock``; told again, only if it is still held under the same fence."""
    item = desk.tables.locks.get(command.name)
    claim = None if item is None else item.claim
    if item is None or claim is None or [item.id, claim.fence] != list(facts[0]):
        raise Refusal("lease_lost", f"lock {command.name} is not held under this request any more; lock it again")
    return {
        "id": item.id,
        "name": command.name,
        "fence": claim.fence,
        "token": claim.token,
        "expires_at": claim.deadline,
        "lease": claim.lease,
    }


def unlocked(_: Desk, command: Unlock, facts: Any) -> dict[str, Any]:
    """Of ``unlock``."""
    return {"id": facts["id"], "name": command.name}


def beaten(desk: Desk, command: Heartbeat, _: Any) -> dict[str, Any]:
    """Of ``heartbeat``: what is renewed until when, and why the rest is lost."""
    kept, lost = heartbeat_lost(desk, command)
    renewed = {item.id: item.claim.deadline for item in kept if item.claim is not None}
    reply: dict[str, Any] = {"renewed": renewed, "lost": lost}
    if desk.tables.paused_hard:
        reply["stop"] = True
    return reply


def reported(desk: Desk, command: Any, facts: Any) -> dict[str, Any]:
    """Of ``progress`` and ``hold``."""
    if facts is None:
        item, claim = holder(desk, command)
        facts = {"id": item.id, "expires_at": claim.deadline}
    reply: dict[str, Any] = {"id": facts["id"], "expires_at": facts["expires_at"], "fenced": fenced_by(command)}
    if desk.tables.paused_hard:
        reply["stop"] = True
    if desk.watch is not None:
        reply["watching"] = desk.watch[0]
    return reply


def ended(desk: Desk, command: Any, facts: Any) -> dict[str, Any]:
    """Of what ends a claim, and of ``edit`` and ``cancel`` of one item."""
    if facts is None:
        facts = unchanged(desk, command)
    reply = {"id": facts["id"], "state": facts["state"]}
    if "due_at" in facts and facts["state"] == "scheduled":
        reply["due_at"] = facts["due_at"]
    if hasattr(command, "token"):
        reply["fenced"] = fenced_by(command)
    return reply


def failed(desk: Desk, command: Any, facts: Any) -> dict[str, Any]:
    """Of ``fail``: as :func:`ended`, with what the count has come to."""
    reply = ended(desk, command, facts)
    item = desk.tables.items.get(reply["id"])
    if facts is not None:
        reply["failures"] = facts["failures"]
    if item is not None:
        reply["attempts_max"] = max_attempts(desk, item)
    return reply


def kicked(desk: Desk, command: Kick, facts: Any) -> dict[str, Any]:
    """Of ``kick``: one item, or how many."""
    if command.id is not None:
        return ended(desk, command, facts)
    return {"kicked": facts["touched"] if facts else 0}


def cancelled(desk: Desk, command: Cancel, facts: Any) -> dict[str, Any]:
    """Of ``cancel``: one item, or how many of a group and whether there may be more."""
    if command.id is not None:
        return ended(desk, command, facts)
    number = facts["touched"] if facts else 0
    return {"cancelled": number, "more": number >= most_cancelled(desk, command.reason)}


def of_agent(desk: Desk, command: Any, _: Any) -> dict[str, Any]:
    """Of ``register``, ``quiet`` and ``wake``."""
    agent = desk.tables.agents.get(command.agent)
    if agent is None:
        raise Refusal("not_found", f"there is no agent {command.agent}")
    return looking.agent_view(desk, agent)


def evicted(_: Desk, command: Evict, facts: Any) -> dict[str, Any]:
    """Of ``evict``; with ``more`` it is to be asked again."""
    return {"agent": command.agent, "returned": facts.get("touched", 0), "more": not facts.get("forgotten", False)}


def of_queue(desk: Desk, command: QueueSet, _: Any) -> dict[str, Any]:
    """Of ``queue_set``."""
    queue = desk.tables.queues.get(command.queue) or Queue(command.queue)
    return looking.queue_view(queue, queue.oldest)


def paused(desk: Desk, command: Pause | Resume, _: Any) -> dict[str, Any]:
    """Of ``pause`` and ``resume``."""
    what: dict[str, Any] = {"all": True} if command.all else {"queue": command.queue}
    if isinstance(command, Resume):
        return what | {"paused": ""}
    what["paused"] = command.reason
    until = desk.tables.paused_until if command.all else desk.tables.resumes.get(command.queue or "")
    return what if until is None else what | {"paused_until": until}
