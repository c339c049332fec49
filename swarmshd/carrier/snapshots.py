"""Snapshots that somebody asks for: one fold for all who wait, and an answer now and then that says how far it is.

A request is answered when a snapshot covers all that was durable when it came; or, when its time is over, with how much
is done and the position to go on from. The fold itself depends on nobody's patience: who asks again joins it, and who
goes away leaves it running. When it has failed all who wait for it are told why, those too who ask again after that.
"""

from typing import Any

import trio

from swarmshd.commands import Refusal, encode_body
from swarmshd.commands.governing import Snapshot
from swarmshd.engine import Engine, Errand
from swarmshd.keeper import FoldFailed, Keeper

NOTHING: dict[str, Any] = {"position": -1}
"""What is known of no snapshot."""


class Snapshots:
    """Has the keeper make them while :meth:`run` runs."""

    def __init__(self, engine: Engine, keeper: Keeper) -> None:
        self._engine = engine
        self._keeper = keeper
        self._wanted = 0
        """The highest position that is to be covered."""
        self._asked = trio.Event()
        self._ended = trio.Event()
        self._made = NOTHING
        self._failed: tuple[int, FoldFailed] = (-1, FoldFailed(""))
        """The position that the last failure left uncovered, and why."""

    async def run(self) -> None:
        """Make a snapshot whenever one is wanted, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            wanted = self._wanted
            try:
                self._made = await self._keeper.snapshot(wanted)
            except FoldFailed as failed:
                self._failed = wanted, failed
            except OSError as error:  # out of descriptors, processes or memory
                self._failed = wanted, FoldFailed(error.strerror or str(error), "overloaded")
            self._ended.set()
            self._ended = trio.Event()

    async def take(self, errand: Errand) -> bytes:
        """The answer to one request. Raises Refusal."""
        command: Snapshot = errand.asked
        upto: int = self._engine.journal.end if command.upto is None else command.upto
        if upto > self._engine.journal.end:
            raise Refusal(
                "position_gone", f"snapshot: position {upto} was never reached", newest=self._engine.journal.end
            )
        if command.upto is None or upto > self._wanted:  # it may have been asked for before a restart
            self._made = NOTHING
            self._failed = -1, self._failed[1]
            self._wanted = max(self._wanted, upto)
            self._asked.set()
        with trio.move_on_after(command.wait / 1000):
            while not self._covers(upto) and not self._failed[0] >= upto:
                await self._ended.wait()
        if self._covers(upto):
            return encode_body({**self._made, "upto": upto, "done": True})
        if self._failed[0] >= upto:
            failed = self._failed[1]
            why = f"no snapshot was made: {failed}"
            raise Refusal("failed", why) if failed.code is None else Refusal(failed.code, why)
        return encode_body({"upto": upto, "done": False, "share": self._keeper.folded})

    def _covers(self, upto: int) -> bool:
        return bool(self._made["position"] >= upto)
