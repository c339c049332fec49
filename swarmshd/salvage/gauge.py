"""How far a program has come, where its caller can look: two numbers at the beginning of a file that both have open.

Nothing has to be read in step, so whoever draws a bar looks when it is time for that, and a program that nobody looks
at is not held up.
"""

import os
from struct import Struct

MARKS = Struct(">QQ")
"""Bytes that are done, and bytes in all."""

STEPS = 500
"""The mark is moved when so small a part of all is done."""


class Gauge:
    """Writes the marks into descriptor ``fd``; with none it does nothing."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
        self._all = self._next = 0
        self.done = 0

    def begin(self, size: int) -> None:
        """So many bytes are to be done in all; before the first of them."""
        self._all = size
        self._mark()

    def at(self, done: int) -> None:
        """So many are done."""
        self.done = done
        if done >= self._next:
            self._mark()

    def _mark(self) -> None:
        self._next = self.done + max(1, self._all // STEPS)
        if self._fd is not None:
            os.pwrite(self._fd, MARKS.pack(min(self.done, self._all), self._all), 0)
