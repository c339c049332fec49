"""Connections for many callers: as many as are used at once, up to a limit, and each used by one at a time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

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


class Link(Protocol):
    """A connection of either kind."""

    def close(self) -> None:
        """Hang up."""


C = TypeVar("C", bound=Link)


class Free(Generic[C]):
    """Connections that are used by one at a time, and kept for the next."""

    def __init__(self, make: Callable[[], C], *, reuse: bool) -> None:
        self._make = make
        self._reuse = reuse
        self._free: list[C] = []
        self._all: set[C] = set()
        self._open = True

    def take(self) -> C:
        """One that nobody uses."""
        try:
            return self._free.pop()  # the one used last: those that are not needed fall idle
        except IndexError:
            connection = self._make()
            self._all.add(connection)
            return connection

    def give_back(self, connection: C) -> None:
        """It is not used any more."""
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

    def abandon(self) -> None:
        """Close all: they are copies of a parent's."""
        for connection in self._all:
            connection.close()

    def __len__(self) -> int:
        return len(self._all)


def no_place(size: int, patience: float) -> Busy:
    """The refusal when all connections of a pool are in use."""
    text = f"all {size} connections (CONNECTION_POOL_SIZE) have been in use for {patience:g} s"
    return Busy("busy", {"message": text, "retryable": True})


class Pool:
    """At most ``size`` connections; ``patience`` seconds for one to become free, then Busy."""

    def __init__(self, path: str | None, timeout: float, size: int, patience: float, *, reuse: bool) -> None:
        self._size = size
        self._patience = patience
        self._free = Free(lambda: Connection(path, timeout), reuse=reuse)
        self._places = threading.Semaphore(size)

    def abandon(self) -> None:
        """Close all connections, after a fork: they are copies of the parent's."""
        self._free.abandon()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for this thread alone, for the length of the block."""
        if not self._places.acquire(timeout=self._patience):
            raise no_place(self._size, self._patience)
        try:
            connection = self._free.take()
            try:
                yield connection
            finally:
                self._free.give_back(connection)
        finally:
            self._places.release()

    def close(self) -> None:
        """Close the free connections now, and those in use when they are given back."""
        self._free.close()

    def __len__(self) -> int:
        return len(self._free)
