"""Room on the disk that nobody else can take: a file of zeroes, which is cut when the disk is full.

What is decided must be written, and a fold, which frees room, must find some first. So the journal keeps a file
``reserve`` of written blocks. On a full disk the segment in use grows by what is cut off it, a little at a time, and
the snapshot of a fold takes the rest. It is filled again as soon as there is room; until then the disk counts as full.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swarmshd.journal.disk import Disk, named
from swarmshd.journal.errors import NO_ROOM, Full

NAME = "reserve"

STEP = 1 << 20
"""Bytes that are written at a time, so that a short look ends in between."""


class Reserve:
    """The reserve in ``directory``, to be of ``wanted`` bytes; 0 for none. Not for two threads at once."""

    __slots__ = ("_disk", "_path", "had", "size", "wanted")

    def __init__(self, directory: Path, wanted: int, disk: Disk) -> None:
        self._disk = disk
        self._path = directory / NAME
        self.wanted = wanted
        self.size = 0
        """What there is of it, in bytes."""
        self.had = 0
        """The most that there was of it."""

    def look(self) -> None:
        """Take up what an earlier daemon left. Raises OSError."""
        self.size = 0
        with suppress(FileNotFoundError):
            self.size = os.stat(self._path, follow_symlinks=False).st_size
        self.had = self.size

    @property
    def whole(self) -> bool:
        """Whether all of it is there."""
        return self.size == self.wanted

    def fill(self) -> None:
        """Make it whole, up or down.

        Raises:
            Full: the disk has no room for it; what could be had stays.
            OSError: the file cannot be written.
        """
        if self.whole:
            return
        with self._opened() as fd:
            try:
                while self.size < self.wanted:
                    stop = min(self.size + STEP, self.wanted)
                    self._disk.zero(fd, self.size, stop)
                    self._disk.fsync(fd)  # some file systems look for blocks only now
                    self.size = stop
                    self.had = max(self.had, stop)
            except OSError as error:
                self._cut(fd, self.size)
                if error.errno not in NO_ROOM:
                    raise
                raise Full(self._path, self.wanted - self.size) from None
            self._cut(fd, self.wanted)

    def give(self, amount: int) -> None:
        """Free so many bytes of the disk, or what there is. Raises OSError."""
        if amount > 0 and self.size:
            with self._opened() as fd:
                self._cut(fd, max(0, self.size - amount))
                self._disk.fsync(fd)

    def _cut(self, fd: int, size: int) -> None:
        self._disk.ftruncate(fd, size)
        self.size = size

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, made if there is none."""
        with named(self._path):
            try:
                fd = self._disk.open(self._path)
            except FileNotFoundError:
                fd = self._disk.create(self._path)
            try:
                yield fd
            finally:
                self._disk.close(fd)
