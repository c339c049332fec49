"""What a call of a verb gives: something to await, and to enter if it brings an item or a lock."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from swarmctl.aio.claimed import Claimed
    from swarmctl.aio.locked import Lock

T = TypeVar("T")
E = TypeVar("E", "Claimed", "Lock")
"""What can be entered."""


class Answer(Coroutine[Any, Any, T]):
    """``await queue.claim()`` gives the item; ``async with queue.claim() as item:`` has it for the block.

    There is no checkpoint between having the item and being in the block, so nothing can come in between that would
    leave it in nobody's hand.
    """

    __slots__ = ("_coroutine", "_entered")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._entered: Claimed | Lock | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self: Answer[E]) -> E:
        entered = await self._coroutine
        self._entered = entered
        return await entered.__aenter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self: Answer[E],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._entered is not None
        return await self._entered.__aexit__(kind, error, traceback)
