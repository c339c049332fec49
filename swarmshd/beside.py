"""What the programs have in common that the daemon runs beside itself: the fold, and the reader of the past.

Each is a process of its own at low priority, ends with the daemon, and says what went wrong in one line.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

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


class Progress:
    """How far a program is, told by a file that both it and the daemon have open; it may be told to nobody."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._told = -1

    def tell(self, share: float) -> None:
        """So much is done, from 0 to 1."""
        thousandths = int(min(share, 1.0) * 1000)
        if self._descriptor is not None and thousandths != self._told:
            self._told = thousandths
            os.pwrite(self._descriptor, b"%04d" % thousandths, 0)

    @staticmethod
    def read(descriptor: int) -> float:
        """What was told last."""
        return int(os.pread(descriptor, 4, 0) or b"0") / 1000


def fail(program: str, error: Exception, status: int) -> int:
    """Say in one line why nothing, or nothing more, comes of it; returns the status."""
    sys.stderr.write(f"swarmshd.{program}: {error}\n")
    return status
