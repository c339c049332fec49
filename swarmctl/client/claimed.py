"""A claim in hand of the blocking client."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from swarmctl.client.held import Held, last_line
from swarmctl.connection import LeaseLost, Refused

if TYPE_CHECKING:
    from swarmctl.client import Client
    from swarmctl.client.ask import Reply


class Claimed(Held[None]):
    """An item that this agent holds, under the token of its claim.

    As a context manager it ends with the block: completed, or failed with the last line of the traceback when an
    exception leaves it, or given back on KeyboardInterrupt, SystemExit and their like. If one of its methods has
    ended it before, that stands. If the claim was lost meanwhile, leaving the block raises LeaseLost.

    Its attributes are those of ``Held``; ``lost`` and ``stop`` are ``threading.Event``.
    """

    def __init__(self, client: Client, fields: Mapping[str, Any], *, watched: bool) -> None:
        super().__init__(fields, watched=watched)
        self._client = client
        self.lost: threading.Event = threading.Event()
        self.stop: threading.Event = threading.Event()

    def _act(self, verb: str, then: Callable[[Reply], None], **arguments: Any) -> None:
        try:
            reply = getattr(self._client, verb)(self.id, token=self.token, **arguments)
        except LeaseLost:
            self.lost.set()
            raise
        then(reply)
        if self._ended:
            self._client.keeper.drop(self)

    def __enter__(self) -> Self:
        self._entered = time.monotonic()
        if not self.watched:
            self._client.keeper.keep(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not self.is_ours:  # a forked child leaves its parent's block: the claim is the parent's
            return False
        self._client.keeper.drop(self)
        self.left = True
        if error is None:
            if not self._ended:
                self.finish()
            return False
        given_up = self._ended or self.lost.is_set() or self._give_up(error)
        if self.in_loop and given_up and isinstance(error, Exception):
            logging.getLogger("swarmctl").error("item %d (%s) failed", self.id, self.type, exc_info=error)
            return True
        return False

    def finish(self) -> None:
        """Complete it at the end of its block, or of its turn in a loop, which a lost claim does not end."""
        try:
            self.complete()
        except LeaseLost as refused:
            if not self.in_loop:
                raise
            # Somebody else has it, and the loop has other work.
            logging.getLogger("swarmctl").warning("item %d was done for nothing: %s", self.id, refused)

    def _give_up(self, error: BaseException) -> bool:
        try:
            if isinstance(error, Exception):
                self.fail(last_line(error))
            else:
                self.release(note=type(error).__name__, unbegun=self.unbegun)
        except Refused as refused:
            return self._stuck(error, refused)
        return True
