"""What the programs have in common that the daemon runs beside itself: the fold, and the reader of the past.

Each is a process of its own at low priority, ends with the daemon, and says what went wrong in one line.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from struct import Struct

NICENESS = 10

GONE = 75
"""Exit status: something was removed that was to be read, as it is to be kept no longer; it may be asked again."""

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def settle(parent: int) -> None:
    """Be a program beside process ``parent``: end with it, also if it is stopped then, and stand back.

    The kernel sends the signal when the *thread* ends that started us; it must live as long as its process.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    with suppress(OSError):
        os.nice(NICENESS)


MARKS = Struct(">QQ")
"""What is done, and what there is to do in all."""

STEPS = 1000
"""The mark is moved when so small a part of all is done."""


class Gauge:
    """How far a program has come, where its caller can look: two numbers at the beginning of a file that both have.

    Nothing has to be read in step, so whoever draws a bar looks when it is time for that, and a program that nobody
    looks at is not held up. Without a descriptor it does nothing.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
        self._all = self._next = 0
        self.done = 0

    def begin(self, size: int) -> None:
        """So much is to be done in all; before the first of it."""
        self._all = size
        self._mark()

    def at(self, done: int) -> None:
        """So much is done."""
        self.done = done
        if done >= self._next:
            self._mark()

    def _mark(self) -> None:
        self._next = self.done + max(1, self._all // STEPS)
        if self._fd is not None:
            os.pwrite(self._fd, MARKS.pack(min(self.done, self._all), self._all), 0)

    @staticmethod
    def read(fd: int) -> tuple[int, int]:
        """What the marks in a file are; both 0 as long as nobody has begun."""
        done, size = MARKS.unpack(os.pread(fd, MARKS.size, 0).ljust(MARKS.size, b"\0"))
        return done, size

    @staticmethod
    def clear(fd: int) -> None:
        """Have the file say that nobody has begun."""
        os.ftruncate(fd, 0)


def fail(program: str, error: Exception, status: int) -> int:
    """Say in one line why nothing, or nothing more, comes of it; returns the status."""
    sys.stderr.write(f"swarmshd.{program}: {error}\n")
    return status
