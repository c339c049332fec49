"""Many calls of a task in one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from swarmctl.client.pipeline import Gathering
from swarmctl.connection import Refused

if TYPE_CHECKING:
    from swarmctl.aio import Client


class Pipeline(Gathering):
    """``async with queue.pipeline() as p:`` calls on ``p`` return a Handle; leaving the block sends them and waits.

    The calls themselves are not awaited. The daemon takes them one after another; each is answered or refused by
    itself. If the block is left by an exception, nothing is sent.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_about: object) -> None:
        frame = self._frame()
        if kind is not None:
            return
        if not frame.handles:
            await trio.lowlevel.checkpoint()
            return
        try:
            frame.settle(await self._client.call("batch", frame.arguments, fds=frame.fds))
        except Refused as refused:
            frame.settle(refused)
            raise
