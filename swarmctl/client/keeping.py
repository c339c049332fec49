"""What keeps a claim while its holder works: the daemon's watch on this process, or else heartbeats.

The watch needs nothing from this process: it may compute for minutes without letting another thread run, and its
claims are free the moment it dies. Where the kernel or a sandbox gives no pidfd, heartbeats are sent: by a thread
here, by a task of trio in ``swarmctl.aio``.
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
    from swarmctl.client.ask import Reply
    from swarmctl.client.leased import Leased

BEATS = 3
"""Heartbeats in the length of a lease."""

PAUSE = 1.0
"""Seconds until the next attempt when a heartbeat could not be sent."""

LONGEST = 3600.0
"""Seconds after which it is looked again whether one is due."""

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


class Beats:
    """Which claims need heartbeats, and when."""

    def __init__(self) -> None:
        self._due: dict[Leased, float] = {}

    def keep(self, claimed: Leased) -> None:
        """This claim needs them from now on."""
        self._due[claimed] = time.monotonic() + claimed.lease / BEATS

    def drop(self, claimed: Leased) -> None:
        """It needs no more."""
        self._due.pop(claimed, None)

    @property
    def pause(self) -> float | None:
        """Seconds until the next are due; None if no claim needs any."""
        return min(min(self._due.values()) - time.monotonic(), LONGEST) if self._due else None

    def due(self) -> list[Leased]:
        """The claims whose heartbeats are due."""
        now = time.monotonic()
        return [claimed for claimed, due in self._due.items() if due <= now]

    def answered(self, claims: list[Leased], replies: list[Any] | None) -> None:
        """Take note of what they were answered; None if they were not."""
        if replies is not None:
            for claimed, (code, body) in zip(claims, replies, strict=True):
                claimed.heard(refusal(code, body) if code != 0 else body)
        for claimed in claims:
            if claimed in self._due:
                if claimed.lost.is_set():
                    del self._due[claimed]
                else:
                    pause = claimed.lease / BEATS
                    self._due[claimed] = time.monotonic() + (pause if replies is not None else min(PAUSE, pause))


def heartbeats(claims: list[Leased], agent: str) -> tuple[dict[str, object], float]:
    """The arguments of the batch that renews these, and the seconds that it may take."""
    commands = [["heartbeat", {"ids": [claimed.id], "token": claimed.token, "agent": agent}] for claimed in claims]
    return {"commands": commands}, min(claimed.lease for claimed in claims)


class Keeper:
    """One thread that sends the heartbeats of all claims that need them; it ends when there are none."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._beats = Beats()
        self._thread: threading.Thread | None = None

    def keep(self, claimed: Leased) -> None:
        """Send heartbeats for this claim from now on."""
        with self._changed:
            self._beats.keep(claimed)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="swarmsh heartbeats", daemon=True)
                self._thread.start()
            self._changed.notify()

    def drop(self, claimed: Leased) -> None:
        """No more heartbeats for this claim."""
        with self._changed:
            self._beats.drop(claimed)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                pause = self._beats.pause
                if pause is None:
                    self._thread = None
                    return
                if pause > 0:
                    self._changed.wait(pause)
                    continue
                claims = self._beats.due()
            replies = self._beat(claims)
            with self._changed:
                self._beats.answered(claims, replies)

    def _beat(self, claims: list[Leased]) -> list[Reply] | None:
        arguments, timeout = heartbeats(claims, self._client.agent)
        try:
            replies: list[Reply] = self._client.call("batch", arguments, timeout=timeout)["replies"]
        except Refused:
            return None
        return replies
