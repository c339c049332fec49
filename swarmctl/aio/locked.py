"""A named lock in hand of a task, and how it goes back when the task is cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio

from swarmctl.aio.alone import GRACE
from swarmctl.client import asking
from swarmctl.client.leased import Leased
from swarmctl.connection import LeaseLost, Refused, mint_key

if TYPE_CHECKING:
    from swarmctl.aio import Client


class Lock(Leased):
    """A lock that this process holds, until its block is left, the process ends, or ``unlock``.

    As ``swarmctl.Lock``, with ``await``; ``lost`` and ``stop`` are ``trio.Event``. It is given back although the task
    is cancelled, within five seconds.
    """

    def __init__(self, client: Client, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._client = client
        self._given_back = False
        self._key = mint_key()
        self.name: str = fields["name"]
        self.lost: trio.Event = trio.Event()
        self.stop: trio.Event = trio.Event()
        client.keeper.keep(self)

    def __repr__(self) -> str:
        return f"<Lock {self.name} fence {self.fence}>"

    async def unlock(self) -> None:
        """Give it back, also if the task is cancelled meanwhile; once is enough.

        Raises:
            LeaseLost: it was lost before; somebody else may have had it meanwhile.
        """
        self._client.keeper.drop(self)
        if self._given_back:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._give_back()
        except Refused:
            raise
        except BaseException as interrupt:
            try:
                with trio.move_on_after(GRACE, shield=True):
                    await self._give_back()
            except Refused as refused:
                self._stuck(interrupt, refused)
            raise

    async def _give_back(self) -> None:
        """Ask for it; under one key, so that it may be asked again."""
        asked, fds = self._client.arguments(asking.unlock(self.name, token=self.token))
        try:
            await self._client.call("unlock", {**asked, "key": self._key}, fds=fds)
        except LeaseLost:
            self.lost.set()
            raise
        self._given_back = True

    def _stuck(self, error: BaseException, refused: Refused) -> None:
        error.add_note(f"swarmctl: lock {self.name} could not be given back: {refused}")

    async def __aenter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not self.is_ours:
            return False
        try:
            await self.unlock()
        except Refused as refused:
            if error is None:
                raise
            self._stuck(error, refused)
        except trio.Cancelled:
            if error is None:
                raise
            # the error goes first; the cancellation comes again at the next checkpoint
        return False
