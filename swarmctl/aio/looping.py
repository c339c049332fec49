"""What a task goes through with ``async for``: the items of a loop of work, the rows of a list, events.

These are no asynchronous generators, since trio cannot end one at once that was left half way.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

import trio

from swarmctl.client.several import LEFT_DELAY
from swarmctl.connection import Empty, Refused

if TYPE_CHECKING:
    from swarmctl.aio import Client
    from swarmctl.aio.claimed import Claimed
    from swarmctl.client.ask import Reply
    from swarmctl.client.several import Pages
    from swarmctl.client.watching import Followed


class Work:
    """The items of ``Client.work``, one after another.

    When the loop is left, a task in the background gives back what was in hand. Who wants to wait for that enters it:
    ``async with queue.work() as items: async for item in items: ...``.
    """

    _claimed: Claimed | None = None

    def __init__(self, client: Client, wait: float, filters: dict[str, Any], *, endless: bool) -> None:
        self._client = client
        self._wait = wait
        self._filters = filters
        self._endless = endless

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Claimed:
        claimed, self._claimed = self._claimed, None
        if claimed is not None:
            self._client.keeper.drop(claimed)
            if not claimed.ended and not claimed.left:
                await claimed.finish()
        while True:
            try:
                claimed = await self._client.claim(wait=self._wait, **self._filters)
                break
            except Empty:
                if not self._endless:
                    raise StopAsyncIteration from None
        claimed.in_loop = True
        if not claimed.watched:
            self._client.keeper.keep(claimed)
        self._claimed = claimed
        return claimed

    async def __aenter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Give back what is in hand."""
        claimed = self._let_go()
        if claimed is not None:
            await _leave(claimed)

    def __del__(self) -> None:
        claimed = self._let_go()
        if claimed is not None:
            try:
                trio.lowlevel.spawn_system_task(_leave, claimed, name="swarmsh gives an item back")
            except RuntimeError:  # trio has ended, or this is not its thread
                logging.getLogger("swarmctl").warning("item %d stays claimed: its loop was left too late", claimed.id)

    def _let_go(self) -> Claimed | None:
        claimed, self._claimed = self._claimed, None
        if claimed is None:
            return None
        self._client.keeper.drop(claimed)
        return claimed if claimed.in_hand else None


async def _leave(claimed: Claimed) -> None:
    try:
        await claimed.give_back(delay=LEFT_DELAY, note="its loop was left")
    except Refused as refused:
        logging.getLogger("swarmctl").warning("item %d could not be given back: %s", claimed.id, refused)


class Rows:
    """The items of ``Client.list``, read page by page."""

    def __init__(self, client: Client, pages: Pages) -> None:
        self._client = client
        self._pages = pages
        self._rows: deque[Reply] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        if self._rows:
            await trio.lowlevel.checkpoint()
        while not self._rows:
            if not self._pages.more:
                raise StopAsyncIteration
            self._rows += self._pages.take(await self._client.ask(self._pages.ask()))
        return self._rows.popleft()


class Events:
    """The events of ``Client.watch``. Ends when its time is over, else never.

    Attributes:
        position: of the last event that was given, or up to where there was none: go on from here with ``since``.
    """

    def __init__(self, client: Client, followed: Followed) -> None:
        self._client = client
        self._followed = followed

    @property
    def position(self) -> int:
        """See above; 0 before it has begun."""
        return self._followed.position

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._begun().__await__()

    async def _begun(self) -> Self:
        ask = self._followed.first()
        if ask is None:
            await trio.lowlevel.checkpoint()
        else:
            self._followed.take(await self._client.ask(ask))
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        await self._begun()
        while (event := self._followed.next()) is None:
            ask = self._followed.ask()
            if ask is None:
                raise StopAsyncIteration
            self._followed.take(await self._client.ask(ask))
        return event
