"""One holder per directory: an exclusive `flock` on a file, with the holder's pid written in it.

The kernel drops the lock with the process, however it ends, so a lock is never stale. The pid is for people only.
A file can be removed and made again, and then two processes would each hold one of that name. So the daemon's
lock is also one on the directory itself, where the file system can do that (NFS cannot).
"""

import fcntl
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from swarmshd.journal.disk import DISK, MODE_FILE
from swarmshd.journal.errors import Locked
from swarmshd.journal.files import make_directory

Pause = Callable[[float, int], None]
"""Waits for that many seconds, or less if the process of that pid (0: none) ends before."""


def pause(seconds: float, pid: int) -> None:
    """Sleep; but wake when process ``pid`` ends, since its lock is free then. A pid of 0 is nobody."""
    with suppress(OSError):  # gone already, or a pid of another namespace
        fd = os.pidfd_open(pid) if pid > 0 else -1
        if fd >= 0:
            try:
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(seconds * 1000)
            finally:
                os.close(fd)
            return
    time.sleep(seconds)


class StateLock:
    """The lock of a directory; ``name`` is ``lock`` for the daemon, whose lock takes the directory too.

    Use it as a context manager after `acquire`, or call `release`. The object is used once.
    """

    __slots__ = ("_directory_fd", "_fd", "_pause", "_whole", "path", "tries", "waited")

    def __init__(self, directory: Path, name: str = "lock", pause: Pause = pause) -> None:
        self.path = directory / name
        self._fd = self._directory_fd = -1
        self._whole = name == "lock"
        self._pause = pause
        self.tries = 0
        """How often it was tried to get it."""
        self.waited = 0.0
        """Seconds between the first try and the one that got it."""

    def acquire(
        self,
        timeout: float = 30.0,
        retries: int = 3,
        backoff: float = 0.05,
        multiplier: float = 2.0,
        adaptive: bool = True,
    ) -> None:
        """Take the lock: one try at once, then up to ``retries`` more, all within ``timeout`` seconds.

        Before the first of them it waits ``backoff`` seconds, before each later one ``multiplier`` times as
        long as before; the last wait is cut to what the timeout leaves. With ``adaptive`` a wait ends as soon
        as the holder's process does, so the lock is taken at the moment it is free instead of at the next try.

        Raises:
            Locked: another process still holds it.
            OSError: the directory or the file cannot be made or written.
        """
        make_directory(DISK, self.path.parent)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, MODE_FILE)
        began = time.perf_counter()
        try:
            left = timeout
            while not self._try(fd):
                if retries <= 0 or left <= 0:
                    raise Locked(self._holder(fd), self.path)
                wait = min(backoff, left)
                self._pause(wait, self._holder(fd) if adaptive else 0)
                left -= wait
                retries -= 1
                backoff *= multiplier
            self.waited = time.perf_counter() - began
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BaseException:
            self._close(fd)
            raise
        self._fd = fd

    def _try(self, fd: int) -> bool:
        self.tries += 1
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._whole and self._directory_fd < 0:
                self._take_directory()
        except BlockingIOError:
            return False
        return True

    def _take_directory(self) -> None:
        fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise
        except OSError:  # a file system without locks on directories
            os.close(fd)
        else:
            self._directory_fd = fd

    @staticmethod
    def _holder(fd: int) -> int:
        text = os.pread(fd, 20, 0).strip()
        return int(text) if text.isdigit() else 0

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes hold two files of one name."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
            self._close(self._fd)
            self._fd = -1

    def _close(self, fd: int) -> None:
        os.close(fd)
        if self._directory_fd >= 0:
            os.close(self._directory_fd)
            self._directory_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
