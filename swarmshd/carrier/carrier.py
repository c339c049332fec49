"""One task for each errand.

The engine hands an errand over while it decides, and goes on; the task works on it beside the server's, and gives the
engine the answer, which leaves like any other. When the client goes, or the daemon drains, the task is cancelled.
"""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from swarmshd.carrier.indexes import Indexes
from swarmshd.carrier.inspection import Inspection
from swarmshd.carrier.past import Past
from swarmshd.carrier.snapshots import Snapshots
from swarmshd.carrier.streams import Streams
from swarmshd.commands import Refusal, encode_granted, encode_refusal
from swarmshd.engine import Engine, Errand
from swarmshd.keeper import Keeper

log = logging.getLogger("swarmshd.carrier")

Carry = Callable[[Errand], Awaitable[bytes]]
"""Carries an errand out, to the encoded result. Raises Refusal, or OSError where the system does not let it."""


class Carrier:
    """Carries errands out while :meth:`run` runs."""

    def __init__(self, engine: Engine, keeper: Keeper, directory: Path) -> None:
        self._engine = engine
        self._snapshots = Snapshots(engine, keeper)
        self._past = Past(directory, lambda: engine.journal.durable)
        self._streams = Streams(directory, lambda: engine.space.full is not None)
        self._inspection = Inspection(engine, keeper, self._streams)
        self._verbs: dict[str, Carry] = {
            "watch": self._past.watch,
            "history": self._past.history,
            "journal": self._inspection.journal,
            "snapshot": self._snapshots.take,
            "reindex": Indexes(engine).reindex,
        }

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take errands, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._past.forget)
            nursery.start_soon(self._streams.forget)
            nursery.start_soon(self._snapshots.run)

            def carry(errand: Errand) -> None:
                nursery.start_soon(self._carry, errand, name=errand.verb)

            self._engine.aside.errands.carry = carry
            task_status.started()

    async def _carry(self, errand: Errand) -> None:
        with trio.CancelScope() as scope:
            errand.cancel = scope.cancel
            try:
                frame = encode_granted(errand.number, await self._verbs[errand.verb](errand))
            except Refusal as refusal:
                frame = encode_refusal(errand.number, refusal)
            except OSError as error:  # out of descriptors, processes or memory: it may be there again soon
                log.error("%s: %s", errand.verb, error, extra={"kind": "errand", "fields": {"verb": errand.verb}})
                why = f"{errand.verb}: {error.strerror or error}; try again"
                frame = encode_refusal(errand.number, Refusal("overloaded", why))
            self._engine.finish(errand, frame)
