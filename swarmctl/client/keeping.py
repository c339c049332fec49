"""What keeps a claim while its holder works: the daemon's watch on this process, or else heartbeats.

The watch needs nothing from this process: it may compute for minutes without letting another thread run, and its
claims are free the moment it dies. Where the kernel or a sandbox gives no pidfd, a thread sends heartbeats.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from swarmctl.connection import Refused, refusal
from swarmctl.identity import open_pidfd

if TYPE_CHECKING:
    from swarmctl.client import Client
    from swarmctl.client.claimed import Claimed

BEATS = 3
"""Heartbeats in the length of a lease."""

PAUSE = 1.0
"""Seconds until the next attempt when a heartbeat could not be sent."""

_lock = threading.Lock()
_own: tuple[int, int | None] | None = None  # this process's pid and its pidfd, None where there is none


def own_process() -> int | None:
    """The pidfd of this process, open until it ends; None if the kernel or a sandbox does not give one."""
    global _own  # noqa: PLW0603 - one for the process, whatever number of clients it has
    with _lock:
        if _own is None or _own[0] != os.getpid():
            try:
                _own = (os.getpid(), open_pidfd(os.getpid()))
            except OSError:
                _own = (os.getpid(), None)
        return _own[1]


def _forked() -> None:
    global _own, _lock  # noqa: PLW0603 - see above
    _lock = threading.Lock()  # another thread of the parent may have held it
    if _own is not None and _own[1] is not None:
        os.close(_own[1])  # it is the parent's
    _own = None


os.register_at_fork(after_in_child=_forked)


class Keeper:
    """One thread that sends the heartbeats of all claims that need them; it ends when there are none."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._due: dict[Claimed, float] = {}
        self._thread: threading.Thread | None = None

    def keep(self, claimed: Claimed) -> None:
        """Send heartbeats for this claim from now on."""
        with self._changed:
            self._due[claimed] = time.monotonic() + claimed.lease / BEATS
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="swarmsh heartbeats", daemon=True)
                self._thread.start()
            self._changed.notify()

    def drop(self, claimed: Claimed) -> None:
        """No more heartbeats for this claim."""
        with self._changed:
            self._due.pop(claimed, None)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._thread = None
                    return
                now = time.monotonic()
                first = min(self._due.values())
                if first > now:
                    self._changed.wait(min(first - now, 3600))
                    continue
                claims = [claimed for claimed, due in self._due.items() if due <= now]
            pause = self._beat(claims)
            with self._changed:
                for claimed in claims:
                    if claimed in self._due:
                        if claimed.lost.is_set():
                            del self._due[claimed]
                        else:
                            self._due[claimed] = time.monotonic() + (pause or claimed.lease / BEATS)

    def _beat(self, claims: list[Claimed]) -> float | None:
        """Send one frame of heartbeats; how long to wait before trying again, if it failed."""
        commands = [
            ["heartbeat", {"ids": [claimed.id], "token": claimed.token, "agent": self._client.agent}]
            for claimed in claims
        ]
        shortest = min(claimed.lease for claimed in claims)
        try:
            replies = self._client.call("batch", {"commands": commands}, timeout=shortest)["replies"]
        except Refused:
            return min(PAUSE, shortest / BEATS)
        for claimed, (code, body) in zip(claims, replies, strict=True):
            heard(claimed, refusal(code, body) if code != 0 else body)
        return None


def heard(claimed: Claimed, reply: dict[str, Any] | Refused) -> None:
    """Take note of what a heartbeat was answered."""
    if isinstance(reply, Refused):
        if not reply.retryable:
            claimed.lost.set()
        return
    if reply.get("stop"):
        claimed.stop.set()
    if claimed.id in reply["lost"]:
        claimed.lost.set()
    else:
        claimed.expires_at = reply["renewed"].get(claimed.id, 0) / 1000 or claimed.expires_at
