"""A named lock in hand of the blocking client."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from swarmctl.client.leased import Leased
from swarmctl.connection import LeaseLost

if TYPE_CHECKING:
    from swarmctl.client import Client


class Lock(Leased):
    """A lock that this process holds, until its block is left, the process ends, or ``unlock``.

    Heartbeats are sent from when it was taken until it is given back: a block may take as long as it likes. If the lock
    was lost meanwhile, leaving the block raises LeaseLost.

    Attributes:
        name: the lock's.
        id: of the item that the lock is, as ``show`` tells of it.
        token, fence: the proof of the claim, and its number, which only grows: what the lock protects can refuse a
            smaller one than it has seen.
        expires_at: when the lease ends, in seconds since the epoch.
        lease: its length in seconds.
        lost: set when the daemon has said that the lock is not ours any more.
        stop: set when the operators ask everybody to stop.
    """

    def __init__(self, client: Client, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._client = client
        self._given_back = False
        self.name: str = fields["name"]
        self.lost: threading.Event = threading.Event()
        self.stop: threading.Event = threading.Event()
        client.keeper.keep(self)

    def __repr__(self) -> str:
        return f"<Lock {self.name} fence {self.fence}>"

    def unlock(self) -> None:
        """Give it back; once is enough.

        Raises:
            LeaseLost: it was lost before; somebody else may have had it meanwhile.
        """
        self._client.keeper.drop(self)
        if self._given_back:
            return
        try:
            self._client.unlock(self.name, token=self.token)
        except LeaseLost:
            self.lost.set()
            raise
        self._given_back = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.is_ours:  # a forked child leaves its parent's block: the lock is the parent's
            return
        try:
            self.unlock()
        except Exception as refused:
            if error is None:
                raise
            error.add_note(f"swarmctl: lock {self.name} could not be given back: {refused}")
