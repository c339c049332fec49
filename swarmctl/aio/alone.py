"""Requests that have a connection for themselves: those that wait, and those whose replies bring items.

A task that is cancelled while it claims must leave no item in nobody's hand. Its connection is closed, and the daemon
takes back what it could not tell. When the call has ended, that is so, also if the daemon is killed in the next
moment: three questions that are answered one after the other, by the daemon that was asked for the item, show that it
has seen the end of the connection and written down what came of it. Where it was another daemon, or hanging up is not
enough, the claim is repeated under its key and given back. All this takes a few milliseconds, and a bounded time
(``GRACE``) if the daemon does not answer; then the lease decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from swarmctl.aio.connection import Connection
from swarmctl.client.pool import Free, no_place
from swarmctl.connection import Refused, mint_key
from swarmctl.connection.exchange import WAITS
from swarmshd.protocol import VERSION

if TYPE_CHECKING:
    from swarmctl.aio.connection import Line
    from swarmctl.connection.exchange import Pending, Result

GRACE = 5.0
"""Seconds that giving something back may take after its task was cancelled."""


class Alone:
    """At most ``size`` connections for one caller each; ``patience`` seconds for one to become free, then Busy.

    ``shared`` is the connection of all other requests.
    """

    def __init__(
        self, shared: Connection, path: str | None, timeout: float, size: int, patience: float, *, reuse: bool
    ) -> None:
        self._shared = shared
        self._size = size
        self._patience = patience
        self._free = Free(lambda: Connection(path, timeout, alone=True), reuse=reuse)
        self._places = trio.Semaphore(size)

    def close(self) -> None:
        """Close the free connections now, and those in use when they are given back."""
        self._free.close()

    def abandon(self) -> None:
        """Close the descriptors of all: they are copies of a parent's."""
        self._free.abandon()

    @trio.lowlevel.enable_ki_protection
    async def call(
        self,
        verb: str,
        arguments: Mapping[str, object],
        *,
        timeout: float | None,
        wait_ms: int | None,
        fds: Sequence[int],
    ) -> Result:
        """As ``Connection.call``."""
        with trio.move_on_after(self._patience) as patience:
            await self._places.acquire()
        if patience.cancelled_caught:
            raise no_place(self._size, self._patience)
        connection = self._free.take()
        witness = self._shared.line()
        try:
            return await connection.call(verb, arguments, timeout=timeout, wait_ms=wait_ms, fds=fds)
        except Refused:
            raise
        except BaseException:
            if connection.interrupted is not None and connection.interrupted.claims:
                await self._undo(connection, connection.interrupted, witness)
            raise
        finally:
            connection.interrupted = None
            self._free.give_back(connection)
            self._places.release()

    async def _undo(self, connection: Connection, claim: Pending, witness: Line | None) -> None:
        """Return when nothing is held by this claim, which was cancelled."""
        if not (claim.sent or claim.doubt):
            return
        with trio.move_on_after(GRACE, shield=True):
            try:
                if claim.strays or not await self._taken_back(witness):
                    await self._give_back(connection, claim)
            except Refused:
                pass  # there is none, or nobody who could be told

    async def _taken_back(self, witness: Line | None) -> bool:
        """Whether the daemon that ``witness`` leads to, since before the claim, has seen its connection end."""
        for _ in range(3):  # it may have let the claim's connection in with the first, and read it with the second
            await self._shared.call("hello", {"version": VERSION}, timeout=GRACE)
        return witness is not None and self._shared.line() is witness

    async def _give_back(self, connection: Connection, claim: Pending) -> None:
        """Ask for the claim again, under its key, and release what it brings."""
        wait_ms = 0 if claim.verb in WAITS else None
        reply = await connection.call(claim.verb, claim.arguments, timeout=GRACE, wait_ms=wait_ms, fds=claim.fds)
        bodies = [body for code, body in reply["replies"] if code == 0] if claim.verb == "batch" else [reply]
        for item in [item for body in bodies for item in body.get("items", ())]:
            note = {"note": "its claim was cancelled", "unbegun": True, "key": mint_key()}
            await self._shared.call("release", {"id": item["id"], "token": item["token"], **note}, timeout=GRACE)
        for lock in [body for body in bodies if "name" in body]:
            proof = {"name": lock["name"], "token": lock["token"], "key": mint_key()}
            await self._shared.call("unlock", proof, timeout=GRACE)
