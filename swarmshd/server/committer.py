"""The thread that syncs when the loop should not wait for it.

One sync at a time is handed over; its end makes a descriptor readable that lies in the server's epoll set.
A lone client is better served without the two thread switches, so the choice is made for each sync.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

FAST_NS = 1_000_000
"""A sync inline is risked only if three in four of the last ones were faster than this."""

SLOW_NS = 5_000_000
"""An inline sync slower than this sends the next rounds to the thread."""

LOOKED_AT = 32
SENT_AWAY = 100


class Committer:
    """Runs ``sync``, here or in its thread; ``sync`` returns how many nanoseconds it took."""

    def __init__(self, sync: Callable[[], int]) -> None:
        self._sync = sync
        self._wanted: SimpleQueue[bool] = SimpleQueue()  # true: sync; false: stop
        self._recent: deque[bool] = deque([False] * LOOKED_AT, LOOKED_AT)
        self._slow = 0
        """How many of ``_recent``, which say of the last syncs whether they were slow."""
        self._away = 0
        self._error: BaseException | None = None
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.busy = False
        """A sync is under way in the thread."""
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def may_inline(self) -> bool:
        """Whether the disk has been quick enough to be waited for."""
        if self._away:
            self._away -= 1
            return False
        return self._slow * 4 <= LOOKED_AT

    def inline(self) -> None:
        """Sync here."""
        self._note(self._sync(), inline=True)

    def begin(self) -> None:
        """Sync in the thread; ``fd`` becomes readable when it is done."""
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
                self._note(self._sync(), inline=False)
            except BaseException as error:  # noqa: BLE001 - carried over to the loop, which ends the program
                self._error = error
            os.eventfd_write(self.fd, 1)

    def _note(self, took: int, *, inline: bool) -> None:
        slow = took >= FAST_NS
        self._slow += slow - self._recent[0]
        self._recent.append(slow)
        if inline and took > SLOW_NS:
            self._away = SENT_AWAY

    def close(self) -> None:
        """End the thread; no sync is under way."""
        self._wanted.put(False)
        self._thread.join()
        os.close(self.fd)
