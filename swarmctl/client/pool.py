"""Connections for threads: as many as are used at once, up to a limit, and each used by one thread at a time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from swarmctl.connection import Busy, Connection

SIZE = 100
"""Connections at once (CONNECTION_POOL_SIZE)."""

PATIENCE = 60_000
"""Milliseconds to wait for a free one (CONNECTION_POOL_TIMEOUT)."""


def setting(name: str, default: int) -> int:
    """A whole number from the environment, as ``SWARMSH_<NAME>`` or by its bare name.

    Raises:
        ValueError: ``SWARMSH_<NAME>`` is no such number. A bare name may be meant for another program: it is only
            warned about.
    """
    for variable in (f"SWARMSH_{name}", name):
        text = os.environ.get(variable)
        if text is None:
            continue
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
        why = f"{variable}={text!r} in the environment is not a whole number"
        if variable != name:
            raise ValueError(why)
        warnings.warn(f"{why}; {default} is used", RuntimeWarning, stacklevel=3)
    return default


class Pool:
    """At most ``size`` connections; ``patience`` seconds for one to become free, then Busy."""

    def __init__(self, path: str | None, timeout: float, size: int, patience: float, *, reuse: bool) -> None:
        self._path = path
        self._timeout = timeout
        self._size = size
        self._patience = patience
        self._reuse = reuse
        self._all: set[Connection] = set()
        self.reset()

    def reset(self) -> None:
        """Begin anew: after a fork, whose child has copies of its parent's sockets and perhaps of held locks."""
        for connection in self._all:
            connection.close()
        self._all = set()
        self._free: list[Connection] = []
        self._places = threading.Semaphore(self._size)
        self._open = True

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for this thread alone, for the length of the block."""
        places = self._places
        if not places.acquire(timeout=self._patience):
            text = f"all {self._size} connections (CONNECTION_POOL_SIZE) have been in use for {self._patience:g} s"
            raise Busy("busy", {"message": text, "retryable": True})
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            places.release()

    def _take(self) -> Connection:
        try:
            return self._free.pop()  # the one used last: those that are not needed fall idle
        except IndexError:
            connection = Connection(self._path, self._timeout)
            self._all.add(connection)
            return connection

    def _give_back(self, connection: Connection) -> None:
        if self._open and self._reuse:
            self._free.append(connection)
        else:
            self._all.discard(connection)
            connection.close()

    def close(self) -> None:
        """Close the free connections now, and those in use when they are given back."""
        self._open = False
        while self._free:
            connection = self._free.pop()
            self._all.discard(connection)
            connection.close()

    def __len__(self) -> int:
        return len(self._all)
