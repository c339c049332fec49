"""Taking connections from the listening socket, and leaving it alone for a moment when descriptors run out."""

import errno
import logging
import select
import socket
from collections.abc import Callable, Iterator

log = logging.getLogger("swarmshd.server")

AT_ONCE = 64
"""Connections taken in one turn."""

PAUSE = 100
"""Milliseconds for which nobody is let in after descriptors or memory ran out; it would be tried without end."""

COMPLAIN_EVERY = 60_000
"""Milliseconds between two lines in the log about that."""


class Acceptor:
    """The listening socket in the epoll set; ``make_place`` is called when descriptors or memory ran out."""

    def __init__(self, listener: socket.socket, epoll: select.epoll, make_place: Callable[[int], None]) -> None:
        self._listener = listener
        self._epoll = epoll
        self._make_place = make_place
        self._open = True
        self._complained_at = -COMPLAIN_EVERY
        self.accepted = 0
        self.again: int | None = None
        """When it is listened to again; None if it is now."""
        epoll.register(listener.fileno(), select.EPOLLIN)

    def accept(self, now: int) -> Iterator[socket.socket]:
        """Those who have connected; some at a time."""
        for _ in range(AT_ONCE if self._open else 0):
            try:
                connected, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ECONNABORTED, errno.EINTR):
                    continue
                self._run_short(error, now)
                return
            connected.setblocking(False)
            self.accepted += 1
            yield connected

    def _run_short(self, error: OSError, now: int) -> None:
        if now - self._complained_at > COMPLAIN_EVERY:
            self._complained_at = now
            log.warning("cannot accept connections: %s; trying again and again", error.strerror)
        self._make_place(now)
        self._epoll.unregister(self._listener.fileno())
        self.again = now + PAUSE

    def resume(self, now: int) -> None:
        """Listen again, if it is time to."""
        if self.again is not None and self.again <= now and self._open:
            self.again = None
            self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    def stop(self) -> None:
        """Let nobody in any more."""
        if self._open:
            self._open = False
            if self.again is None:
                self._epoll.unregister(self._listener.fileno())
            self.again = None
