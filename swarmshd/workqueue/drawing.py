"""How many numbers a command may draw, ids, fences or positions, before it is decided.

Numbers are drawn from blocks that the journal holds already. A command begins only when there are as many left as it
may take at most, so that a rule never finds none.
"""

from collections.abc import Callable
from typing import Any

from swarmshd.commands import Batch, Refusal, Request
from swarmshd.commands.governing import Evict, Register
from swarmshd.commands.rows import Import
from swarmshd.commands.work import Cancel, Claim, Clear, Heartbeat, Lock, SubmitAll
from swarmshd.workqueue.desk import Desk
from swarmshd.workqueue.importing import kept_id

USUAL = 2
"""What a command takes at most that is not named here."""


def draws(desk: Desk, request: Request) -> int:
    """At most how many numbers of a kind the request takes; for a batch, all its commands together."""
    of_kind = _DRAWS.get(type(request.command))
    return USUAL if of_kind is None else of_kind(desk, request.command)


def far_id(request: Request) -> int:
    """The largest id that the request brings along, 0 if it brings none."""
    command = request.command
    if type(command) is not Import or command.dry_run:
        return 0
    return max((kept_id(row) for row in command.rows), default=0)


def _each(desk: Desk, batch: Batch) -> int:
    return sum(draws(desk, request) for request in batch.requests if not isinstance(request, Refusal))


def _renewals(desk: Desk, command: Heartbeat) -> int:
    if command.ids is not None:
        return len(command.ids)
    agent = None if command.agent is None else desk.tables.agents.get(command.agent)
    return 0 if agent is None else len(agent.holds)


def _many(desk: Desk, _: object) -> int:
    return desk.policy.batch_size + 1


_DRAWS: dict[type, Callable[[Desk, Any], int]] = {
    Batch: _each,
    SubmitAll: lambda _, command: len(command.submits),
    Claim: lambda _, command: int(command.count),
    Heartbeat: _renewals,
    Import: lambda _, command: 2 * len(command.rows),
    Lock: lambda *_: 2 * USUAL,
    **dict.fromkeys((Cancel, Clear, Evict, Register), _many),
}
