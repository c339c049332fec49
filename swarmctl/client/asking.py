"""What can be asked about items: one function for each verb, from Python's values to the arguments of the wire.

Each function returns an ``Ask`` and sends nothing. Both clients and their pipelines offer the same functions as
methods, so every verb has its signature and its documentation here and once. Durations are seconds (int or float),
moments are seconds since the epoch or a ``datetime``; an item is named by its id (int) or its ref (str). What comes
back as a dictionary is the reply of swarmsh-protocol(7) as it stands, with milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from swarmctl.client.ask import (
    Ask,
    Reference,
    Reply,
    Seconds,
    Words,
    as_bytes,
    as_queues,
    as_words,
    member,
    milliseconds,
    moment,
    whole,
)
from swarmctl.connection import Empty

if TYPE_CHECKING:
    from swarmctl.client.asker import Asker
    from swarmctl.client.claimed import Claimed
    from swarmctl.client.locked import Lock

T = TypeVar("T")


def _id(_: Asker, reply: Reply) -> int:
    return int(reply["id"])


def _claimed(asker: Asker, reply: Reply) -> Claimed:
    if not reply["items"]:
        raise Empty("empty", {"message": "nothing to claim"})
    claimed: Claimed = asker.claimed(reply["items"][0], watched=asker.watches)
    return claimed


def _all_claimed(asker: Asker, reply: Reply) -> list[Claimed]:
    return [asker.claimed(fields, watched=asker.watches) for fields in reply["items"]]


def _all_held(asker: Asker, reply: Reply) -> list[Claimed]:
    return [asker.claimed(fields, watched=False) for fields in reply["items"]]  # not by this process, for all we know


def _locked(asker: Asker, reply: Reply) -> Lock:
    lock: Lock = asker.locked(reply)
    return lock


# -- work ----------------------------------------------------------------------------------------------


def submit(
    type: str,
    description: str = "",
    *,
    priority: str | None = None,
    queue: str | None = None,
    team: str | None = None,
    payload: bytes | str | None = None,
    delay: Seconds | None = None,
    at: Seconds | datetime | None = None,
    after: Reference | Iterable[Reference] | None = None,
    on_failure: str | None = None,
    require: Words | None = None,
    group: str | None = None,
    ref: str | None = None,
    unique: str | None = None,
    unique_strict: bool | None = None,
    max_attempts: int | None = None,
    lease: Seconds | None = None,
    max_runtime: Seconds | None = None,
    key: str | None = None,
) -> Ask[int]:
    """Put an item in; its id.

    With ``unique``, the id of the open item that has this key already, if there is one; ``unique_strict`` makes that
    a Conflict. ``key`` makes the submission itself repeatable: the same key gives the same id for a day.
    """
    what = {"type": type, "description": description, "priority": priority, "queue": queue, "team": team}
    first = [after] if isinstance(after, (int, str)) else None if after is None else list(after)
    when = {"delay": milliseconds(delay), "at": moment(at), "after": first, "on_failure": on_failure}
    names = {"group": group, "ref": ref, "unique": unique, "unique_strict": unique_strict, "key": key}
    bounds = {"max_attempts": max_attempts, "lease": milliseconds(lease), "max_runtime": milliseconds(max_runtime)}
    more = {"payload": as_bytes(payload), "require": as_words(require)}
    return Ask("submit", _id, {**what, **when, **names, **bounds, **more}, acts=True)


def claim(
    type: Words | None = None,
    *,
    queue: Words | None = None,
    team: Words | None = None,
    wait: Seconds | None = None,
    lease: Seconds | None = None,
    resume: bool | None = None,
    id: Reference | None = None,
) -> Ask[Claimed]:
    """Take the next item that this agent may have, waiting ``wait`` seconds for one.

    ``queue`` is a name, several, or ``"*"``; ``resume`` first returns what the agent holds already, under a new token.

    Raises:
        Empty: there is nothing to claim.
    """
    return _claim(_claimed, None, type, queue, team, wait, lease, resume, id)


def claim_many(
    count: int,
    type: Words | None = None,
    *,
    queue: Words | None = None,
    team: Words | None = None,
    wait: Seconds | None = None,
    lease: Seconds | None = None,
    resume: bool | None = None,
) -> Ask[list[Claimed]]:
    """Take up to ``count`` items at once; at least one, else Empty is raised."""
    return _claim(_all_claimed, count, type, queue, team, wait, lease, resume, None)


def _claim(
    read: Callable[[Asker, Reply], T],
    count: int | None,
    type: Words | None,
    queue: Words | None,
    team: Words | None,
    wait: Seconds | None,
    lease: Seconds | None,
    resume: bool | None,
    id: Reference | None,
) -> Ask[T]:
    arguments = {
        "count": count,
        "type": as_words(type),
        "queue": as_queues(queue),
        "team": as_words(team),
        "lease": milliseconds(lease),
        "resume": resume,
        "id": id,
    }
    return Ask("claim", read, arguments, acts=True, watches=True, wait=wait)


def claim_new(
    type: str,
    description: str,
    *,
    priority: str | None = None,
    team: str | None = None,
    queue: str | None = None,
    payload: bytes | str | None = None,
    group: str | None = None,
    ref: str | None = None,
    lease: Seconds | None = None,
    max_runtime: Seconds | None = None,
    max_attempts: int | None = None,
) -> Ask[Claimed]:
    """Put an item in and hold it, in one step."""
    arguments = {
        "type": type,
        "description": description,
        "priority": priority,
        "team": team,
        "queue": queue,
        "payload": as_bytes(payload),
        "group": group,
        "ref": ref,
        "lease": milliseconds(lease),
        "max_runtime": milliseconds(max_runtime),
        "max_attempts": max_attempts,
    }
    return Ask("claim_new", _claimed, arguments, acts=True, watches=True)


def heartbeat(*ids: Reference, token: str | None = None, relaxed: bool | None = None) -> Ask[Reply]:
    """Renew the leases of these items, or of all that the agent holds; ``renewed`` and ``lost`` by id.

    With ``relaxed`` the answer does not wait for the disk: a crash within seconds may lose it.
    """
    return Ask("heartbeat", whole, {"ids": list(ids) or None, "token": token, "relaxed": relaxed}, acts=True)


def progress(
    id: Reference,
    percent: int | None = None,
    status: str | None = None,
    *,
    message: str | None = None,
    checkpoint: bytes | str | None = None,
    token: str | None = None,
    relaxed: bool | None = None,
) -> Ask[Reply]:
    """Record how far it is, and renew the lease. The next holder receives ``checkpoint``.

    With ``relaxed`` the answer does not wait for the disk: a crash within seconds may lose it.
    """
    arguments = {"percent": percent, "status": status, "message": message, "checkpoint": as_bytes(checkpoint)}
    return Ask("progress", whole, {"id": id, **arguments, "token": token, "relaxed": relaxed}, acts=True)


def complete(
    id: Reference,
    note: str | None = None,
    *,
    points: int | None = None,
    output: bytes | str | None = None,
    result: bytes | str | None = None,
    exit_status: int | None = None,
    token: str | None = None,
) -> Ask[Reply]:
    """End it: done."""
    arguments = {"note": note, "points": points, "output": as_bytes(output), "result": as_bytes(result)}
    return Ask("complete", whole, {"id": id, **arguments, "exit_status": exit_status, "token": token}, acts=True)


def fail(
    id: Reference,
    reason: str | None = None,
    *,
    retry_after: Seconds | None = None,
    no_retry: bool | None = None,
    output: bytes | str | None = None,
    exit_status: int | None = None,
    token: str | None = None,
) -> Ask[Reply]:
    """Count a failure: back to the queue with a backoff, or buried."""
    arguments = {"reason": reason, "retry_after": milliseconds(retry_after), "no_retry": no_retry}
    return Ask(
        "fail",
        whole,
        {"id": id, **arguments, "output": as_bytes(output), "exit_status": exit_status, "token": token},
        acts=True,
    )


def release(
    id: Reference,
    *,
    delay: Seconds | None = None,
    note: str | None = None,
    token: str | None = None,
    unbegun: bool | None = None,
) -> Ask[Reply]:
    """Give it back; no attempt is spent. With ``unbegun``, as nothing was done on it, it is not counted either."""
    arguments = {"delay": milliseconds(delay), "note": note, "token": token, "unbegun": unbegun}
    return Ask("release", whole, {"id": id, **arguments}, acts=True)


def bury(id: Reference, reason: str | None = None, *, token: str | None = None) -> Ask[Reply]:
    """Set it aside for a person."""
    return Ask("bury", whole, {"id": id, "reason": reason, "token": token}, acts=True)


def hold(id: Reference, *, token: str | None = None) -> Ask[Reply]:
    """Have the daemon keep the lease while this process lives."""
    return Ask("hold", whole, {"id": id, "token": token}, acts=True, watches=True)


def lock(name: str, *, wait: Seconds | None = None, lease: Seconds | None = None) -> Ask[Lock]:
    """Take a named lock, waiting ``wait`` seconds for whoever has it; a context manager with its ``fence``.

    Raises:
        Refused: with the code ``timeout``, when somebody else has it; ``facts["holder"]`` is who.
    """
    return Ask("lock", _locked, {"name": name, "lease": milliseconds(lease)}, acts=True, watches=True, wait=wait)


def unlock(name: str, *, token: str | None = None, force: bool | None = None) -> Ask[Reply]:
    """Give a lock back; with ``force``, as an admin, take it from whoever has it."""
    return Ask("unlock", whole, {"name": name, "token": token, "force": force}, acts=True)


def kick(
    id: Reference | None = None, *, queue: str | None = None, group: str | None = None, count: int | None = None
) -> Ask[Reply]:
    """Put a buried item back, or up to ``count`` of a queue or group."""
    return Ask("kick", whole, {"id": id, "queue": queue, "group": group, "count": count})


def cancel(id: Reference, reason: str | None = None) -> Ask[Reply]:
    """End an open item; a holder learns it at its next operation."""
    return Ask("cancel", whole, {"id": id, "reason": reason})


def cancel_some(group: str, reason: str | None) -> Ask[Reply]:
    """Cancel open items of a group, as many as one command may; ``more`` says whether there are others."""
    return Ask("cancel", whole, {"group": group, "reason": reason})


def edit(
    id: Reference, *, priority: str | None = None, queue: str | None = None, delay: Seconds | None = None
) -> Ask[Reply]:
    """Change an item that nobody holds."""
    return Ask("edit", whole, {"id": id, "priority": priority, "queue": queue, "delay": milliseconds(delay)})


def batch(commands: list[list[Any]], *, atomic: bool | None = None, key: str | None = None) -> Ask[Reply]:
    """Commands ``[verb, arguments]`` in one frame."""
    return Ask("batch", whole, {"commands": commands, "atomic": atomic, "key": key})


def held() -> Ask[list[Claimed]]:
    """What this agent holds; with tokens where this user claimed it."""
    return Ask("held", _all_held, {}, acts=True)


# -- looking -------------------------------------------------------------------------------------------


def show(id: Reference) -> Ask[Reply]:
    """Everything about one item."""
    return Ask("show", whole, {"id": id})


def page(filters: Mapping[str, object], limit: int, after_id: int | None) -> Ask[Reply]:
    """One page of a list."""
    return Ask("list", whole, {**filters, "limit": limit, "after_id": after_id})


def filtered(
    state: Words | None = None,
    queue: Words | None = None,
    type: Words | None = None,
    team: Words | None = None,
    agent: str | None = None,
    group: str | None = None,
    all: bool | None = None,
    older: Seconds | None = None,
    since: Seconds | datetime | None = None,
) -> dict[str, object]:
    """The filters of ``list`` and ``count``: open items, unless ``state`` or ``all`` says otherwise.

    ``older`` is seconds since they were submitted, ``since`` the moment from which on they came into their state.
    """
    many = {"state": state, "queue": queue, "type": type, "team": team}
    filters: dict[str, object] = {name: as_words(words) for name, words in many.items()}
    times = {"older": milliseconds(older), "since": moment(since)}
    return {**filters, "agent": agent, "group": group, "all": all, **times}


def count(
    state: Words | None = None,
    queue: Words | None = None,
    type: Words | None = None,
    team: Words | None = None,
    agent: str | None = None,
    group: str | None = None,
    all: bool | None = None,
    older: Seconds | None = None,
    since: Seconds | datetime | None = None,
) -> Ask[int]:
    """How many items there are; open ones, unless ``state`` or ``all`` says otherwise."""
    return Ask("count", member("count"), filtered(state, queue, type, team, agent, group, all, older, since))


def count_by(
    by: str,
    state: Words | None = None,
    queue: Words | None = None,
    type: Words | None = None,
    team: Words | None = None,
    agent: str | None = None,
    group: str | None = None,
    all: bool | None = None,
    older: Seconds | None = None,
    since: Seconds | datetime | None = None,
) -> Ask[dict[str, int]]:
    """How many items there are by ``state``, ``queue``, ``type``, ``team``, ``agent`` or ``group``."""
    return Ask("count", member("by"), {**filtered(state, queue, type, team, agent, group, all, older, since), "by": by})


def get(id: Reference, what: str = "payload") -> Ask[bytes]:
    """The item's ``payload``, ``checkpoint``, ``output`` or ``result``; NotFound if it has none."""
    return Ask("get", member("data"), {"id": id, "what": what})


def wait(*ids: Reference, group: str | None = None, any: bool | None = None, timeout: Seconds = 3600) -> Ask[Reply]:
    """Wait until these items, or the group's, have ended (with ``any``: one of them).

    Raises:
        Refused: with the code ``timeout``, when it takes longer than ``timeout`` seconds.
    """
    milliseconds(timeout)
    return Ask("wait", whole, {"ids": list(ids) or None, "group": group, "any": any}, wait=timeout)
