"""Where a sync is waited for: here in the loop while the disk is quick, else in a thread.

The loop and the thread share the interpreter: while the loop has work, each of its system calls hands it over and
takes it back, and the end of a sync waits for that as well. That costs more than a quick sync takes. A slow one
would keep reads, deaths and whatever comes waiting, so it is handed over; its end makes a descriptor readable that
lies in the server's epoll set.
"""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

QUICK_NS = 1_000_000
"""While the syncs in the loop take no longer than this on average, they stay there."""

LOOKED_AT = 8
"""About how many of the last ones make the average."""

AWAY = 100
"""How many syncs go to the thread before one is tried in the loop again."""


class Committer:
    """Runs ``sync``, here or in its thread; ``sync`` returns how many nanoseconds it took."""

    def __init__(self, sync: Callable[[], int]) -> None:
        self._sync = sync
        self._wanted: SimpleQueue[bool] = SimpleQueue()  # true: sync; false: stop
        self._average = 0
        """Nanoseconds of a sync in the loop; in the thread it takes as long as the loop lets it."""
        self._away = 0
        """How many are still to go to the thread."""
        self._error: BaseException | None = None
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.busy = False
        """A sync is under way in the thread."""
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    @property
    def quick(self) -> bool:
        """Whether the disk has been quick enough to be waited for."""
        return not self._away

    def inline(self) -> None:
        """Sync here."""
        self._average += (self._sync() - self._average) // LOOKED_AT
        if self._average > QUICK_NS:
            self._average = 0
            self._away = AWAY

    def begin(self) -> None:
        """Sync in the thread; ``fd`` becomes readable when it is done."""
        self._away = max(0, self._away - 1)
        self.busy = True
        self._wanted.put(True)

    def finish(self) -> None:
        """Take note that the thread is done. Raises what the sync raised."""
        os.eventfd_read(self.fd)
        self.busy = False
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while self._wanted.get():
            try:
                self._sync()
            except BaseException as error:  # noqa: BLE001 - carried over to the loop, which ends the program
                self._error = error
            os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """End the thread; no sync is under way."""
        self._wanted.put(False)
        self._thread.join()
        os.close(self.fd)
