"""A claim in hand of a task, and how it ends when the task is cancelled."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio

from swarmctl.aio.alone import GRACE
from swarmctl.client import asking
from swarmctl.client.held import Held, last_line
from swarmctl.connection import LeaseLost, Refused, mint_key

if TYPE_CHECKING:
    from swarmctl.aio import Client
    from swarmctl.client.ask import Reply


class Claimed(Held[Coroutine[Any, Any, None]]):
    """An item that this agent holds, under the token of its claim.

    As an asynchronous context manager it ends with the block: completed, or failed with the last line of the traceback
    when an exception leaves it, or given back when it was cancelled, and on KeyboardInterrupt and SystemExit. If one
    of its methods has ended it before, that stands. If the claim was lost meanwhile, leaving the block raises
    LeaseLost.

    The end is carried out although the task is cancelled, within five seconds: a block that came to its end was worth
    its work. The cancellation is not lost by that.

    Its attributes are those of ``Held``; ``lost`` and ``stop`` are ``trio.Event``.
    """

    def __init__(self, client: Client, fields: Mapping[str, Any], *, watched: bool) -> None:
        super().__init__(fields, watched=watched)
        self._client = client
        self.lost: trio.Event = trio.Event()
        self.stop: trio.Event = trio.Event()

    async def _act(self, verb: str, then: Callable[[Reply], None], *, key: str | None = None, **arguments: Any) -> None:
        asked, fds = self._client.arguments(getattr(asking, verb)(self.id, token=self.token, **arguments))
        if key is not None:
            asked["key"] = key
        try:
            reply = await self._client.call(verb, asked, fds=fds)
        except LeaseLost:
            self.lost.set()
            raise
        then(reply)
        if self._ended:
            self._client.keeper.drop(self)

    async def _end(self, verb: str, **arguments: Any) -> None:
        """End it, also if the task is cancelled meanwhile; once, as both attempts have one key."""
        key = mint_key()
        try:
            await self._act(verb, self._over, key=key, **arguments)
        except Refused:
            raise
        except BaseException as interrupt:
            try:
                with trio.move_on_after(GRACE, shield=True):
                    await self._act(verb, self._over, key=key, **arguments)
            except Refused as refused:
                self._stuck(interrupt, refused)
            raise

    # -- as a context manager

    async def __aenter__(self) -> Self:
        self._entered = time.monotonic()
        if not self.watched:
            self._client.keeper.keep(self)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not self.is_ours:
            return False
        self._client.keeper.drop(self)
        self.left = True
        if error is None:
            if self._ended:
                await trio.lowlevel.checkpoint()
            else:
                await self.finish()
            return False
        given_up = self._ended or self.lost.is_set() or await self._give_up(error)
        if self.in_loop and given_up and isinstance(error, Exception):
            logging.getLogger("swarmctl").error("item %d (%s) failed", self.id, self.type, exc_info=error)
            return True
        return False

    async def finish(self) -> None:
        """Complete it at the end of its block, or of its turn in a loop, which a lost claim does not end."""
        try:
            await self._end("complete")
        except LeaseLost as refused:
            if not self.in_loop:
                raise
            # Somebody else has it, and the loop has other work.
            logging.getLogger("swarmctl").warning("item %d was done for nothing: %s", self.id, refused)

    async def _give_up(self, error: BaseException) -> bool:
        try:
            if isinstance(error, Exception):
                await self._end("fail", reason=last_line(error))
            else:
                await self.give_back(note=type(error).__name__, unbegun=self.unbegun)
        except Refused as refused:
            return self._stuck(error, refused)
        except trio.Cancelled:
            pass  # the error goes first; the cancellation comes again at the next checkpoint
        return self._ended

    async def give_back(self, **arguments: Any) -> None:
        """Release it, although the task is cancelled, and although a control-C comes meanwhile."""
        key = mint_key()
        with trio.move_on_after(GRACE, shield=True):
            try:
                await self._act("release", self._over, key=key, **arguments)
            except KeyboardInterrupt:
                await self._act("release", self._over, key=key, **arguments)
                raise
        if not self._ended:
            logging.getLogger("swarmctl").warning("item %d could not be given back in %g s", self.id, GRACE)
