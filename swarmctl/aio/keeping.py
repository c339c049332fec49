"""Heartbeats for the claims of a process that the daemon does not watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from swarmctl.client.keeping import Beats, heartbeats
from swarmctl.connection import Refused

if TYPE_CHECKING:
    from swarmctl.aio import Client
    from swarmctl.client.ask import Reply
    from swarmctl.client.leased import Leased


class Keeper:
    """One task of the system that sends the heartbeats of all claims that need them; it ends when there are none.

    It belongs to no nursery, so that it goes on while the holder of an item is being cancelled.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._beats = Beats()
        self._changed = trio.Event()
        self._running = False

    def keep(self, claimed: Leased) -> None:
        """Send heartbeats for this claim from now on."""
        self._beats.keep(claimed)
        if not self._running:
            trio.lowlevel.spawn_system_task(self._run, name="swarmsh heartbeats")
            self._running = True
        self._changed.set()

    def drop(self, claimed: Leased) -> None:
        """No more heartbeats for this claim."""
        self._beats.drop(claimed)
        self._changed.set()

    async def _run(self) -> None:
        try:
            while (pause := self._beats.pause) is not None:
                if pause > 0:
                    self._changed = trio.Event()
                    with trio.move_on_after(pause):
                        await self._changed.wait()
                else:
                    claims = self._beats.due()
                    self._beats.answered(claims, await self._beat(claims))
        finally:
            self._running = False

    async def _beat(self, claims: list[Leased]) -> list[Reply] | None:
        arguments, timeout = heartbeats(claims, self._client.agent)
        try:
            replies: list[Reply] = (await self._client.call("batch", arguments, timeout=timeout))["replies"]
        except Refused:
            return None
        return replies
