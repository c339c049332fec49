"""What is held under a lease and a token, be it an item or a named lock: the proof of it, and what heartbeats tell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from swarmctl.connection import Refused

if TYPE_CHECKING:
    from swarmctl.client.ask import Reply


class Flag(Protocol):
    """An event of threads or of tasks."""

    def is_set(self) -> bool:
        """Whether it has happened."""

    def set(self) -> None:
        """It has happened."""


class Leased:
    """A claim of this process."""

    lost: Flag
    stop: Flag

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._pid = os.getpid()
        self.id: int = fields["id"]
        self.token: str | None = fields.get("token")
        self.fence: int = fields["fence"]
        self.expires_at: float = fields["expires_at"] / 1000
        self.lease: float = fields["lease"] / 1000

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that claimed it, not a copy."""
        return self._pid == os.getpid()

    def heard(self, reply: Reply | Refused) -> None:
        """Take note of what a heartbeat in the background was answered."""
        if isinstance(reply, Refused):
            if not reply.retryable:
                self.lost.set()
            return
        if reply.get("stop"):
            self.stop.set()
        if self.id in reply["lost"]:
            self.lost.set()
        else:
            self.expires_at = reply["renewed"].get(self.id, 0) / 1000 or self.expires_at
