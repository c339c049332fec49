"""The one place where time is read.

Time never goes back: it starts at the wall clock or, if the journal is ahead of that, at the journal's, and
goes on with the monotonic clock. When the wall clock is found well ahead (the host slept, or somebody set the
clock), time leaps after it and the leap is told, so that no lease pays for it. A wall clock that was set back
is not followed.
"""

import time
from collections.abc import Callable

LEAP = 2000
"""Milliseconds that the wall clock must be ahead before time follows it."""

Reading = Callable[[], int]
"""Reads a clock, in milliseconds."""


def wall() -> int:
    """The wall clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def monotonic() -> int:
    """The clock that is never set and stands still while the host sleeps, in milliseconds."""
    return time.monotonic_ns() // 1_000_000


class Clock:
    """Time as the daemon has it, in milliseconds since the epoch, from ``start`` on."""

    def __init__(self, start: int, wall: Reading = wall, monotonic: Reading = monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._base = start - monotonic()
        self._looked = start

    def now(self) -> int:
        """The moment."""
        return self._base + self._monotonic()

    def leap(self, now: int) -> int:
        """How far time leaps now; 0 mostly. Looks at the wall clock at most once a second."""
        if now - self._looked < 1000:
            return 0
        self._looked = now
        gap = self._wall() - now
        if gap <= LEAP:
            return 0
        self._base += gap
        self._looked += gap
        return gap
