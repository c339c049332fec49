"""What the programs have in common that the daemon runs beside itself: the fold, and the reader of the past.

Each is a process of its own at low priority, ends with the daemon, and says what went wrong in one line.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

NICENESS = 10

PR_SET_PDEATHSIG = 1


def settle(parent: int) -> None:
    """Be a program beside process ``parent``: end with it, also if it is stopped then, and stand back.

    The kernel sends the signal when the *thread* ends that started us; it must live as long as its process.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    with suppress(OSError):
        os.nice(NICENESS)


def fail(program: str, error: Exception, status: int) -> int:
    """Say in one line why nothing, or nothing more, comes of it; returns the status."""
    sys.stderr.write(f"swarmshd.{program}: {error}\n")
    return status
