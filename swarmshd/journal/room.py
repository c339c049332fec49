"""The room of the segment in use, and of the disk behind it.

Room is what was zeroed ahead and is durable: it can be written to without a change of the file's size or of its map
of blocks. There are three things to be had from the disk, and all are looked after here, so that each is there before
it is needed: a step ahead in the segment, the `reserve`, and as much free space as the next snapshot will take. If
one of them cannot be had the disk counts as full (`Full`), while what is there can still be used.

What the files of the journal may take together is bounded too, whatever the disk has.
"""

import threading
from pathlib import Path

from swarmshd.journal import files
from swarmshd.journal.disk import Disk
from swarmshd.journal.errors import NO_ROOM, Full
from swarmshd.journal.reserve import Reserve

FIRST_ROOM = 1 << 20
"""Size of a new segment, in bytes."""

SMALL_ROOM = 1 << 16
"""Size of a new segment where the disk has no room for that: enough to finish work, and to start at all."""

STEP = 4 << 20
"""What is zeroed ahead at a time, in bytes."""

LOW = 2 << 20
"""With less room than this left, in bytes, it is time for a step; a quarter of it is enough in a new segment."""

LOW_SHARE = 64
"""On a disk of which that were more than one part in so many a quarter is enough too, or it would be full too soon."""

SHARE = 8
"""The reserve takes at most one part in so many of the file system, or of the bound; else a small one is born full."""


class Room:
    """The room of one segment after another; `take` names the one in use.

    `end` is where it ends, an offset in that segment. Whatever changes it holds `lock`; only `prepare` may be called
    beside the thread that appends.
    """

    __slots__ = (
        "_directory",
        "_disk",
        "_held",
        "_low",
        "_most",
        "_path",
        "end",
        "in_use",
        "late",
        "lock",
        "next_snapshot",
        "reserve",
    )

    def __init__(self, directory: Path, disk: Disk, reserve_bytes: int, most_bytes: int) -> None:
        self._directory = directory
        self._disk = disk
        self._most = most_bytes
        self._held = 0
        self._low = LOW
        self._path = directory
        self.end = 0
        self.in_use = False
        self.lock = threading.Lock()
        self.reserve = Reserve(directory, reserve_bytes, disk)
        self.late = 0
        """How often room was made only when it was needed."""
        self.next_snapshot = 0
        """Bytes that the next snapshot will take, as far as its maker knows."""

    def look(self) -> None:
        """Take up what there is, before the first segment. Raises OSError."""
        self.reserve.look()
        whole = self._disk.space(self._directory).total
        self._low = min(LOW, max(LOW // 4, (self._most or whole) // LOW_SHARE))
        self.reserve.wanted = min(self.reserve.wanted, (self._most or whole) // SHARE, whole // SHARE)

    def is_low(self, at: int) -> bool:
        """Whether it is time for a step, while offset ``at`` is written to."""
        return self.end - at < min(self._low, max(self.end // 2, LOW // 4))

    def take(self, path: Path, end: int) -> None:
        """The segment at ``path``, which has room up to ``end``, is in use from now on."""
        self._path = path
        self.end = end
        self.in_use = True
        self.count()

    def count(self) -> None:
        """Take up what the files beside the segment in use take."""
        self._held = files.size_beside(self._directory, self._path)

    def check_bound(self, path: Path, wanted: int) -> None:
        """Raise Full if the files in the directory may not take so much more, for the sake of ``path``."""
        if self._most and self._held + self.end + wanted > self._most:
            raise Full(path, wanted, most=self._most)

    def give(self, amount: int) -> None:
        """Have the reserve free so many bytes. Raises OSError."""
        self.reserve.give(amount)
        self.count()

    def grow(self, stop: int, *, somehow: bool) -> None:
        """Have room up to ``stop`` at least.

        Args:
            stop: an offset in the segment in use.
            somehow: take it from the reserve if the disk has no more.

        Raises:
            Full: the disk has no room. Nothing was changed.
            OSError: the file cannot be written.
        """
        with self.lock:
            if stop <= self.end:
                return
            self.late += 1
            try:
                large = -(-stop // FIRST_ROOM) * FIRST_ROOM
                self._check_snapshot(large - self.end)
                self._zero_to(large)
            except Full:
                small = -(-stop // SMALL_ROOM) * SMALL_ROOM
                try:
                    if not somehow:
                        self._check_snapshot(small - self.end)
                    self._zero_to(small)
                except Full:
                    if not somehow or not self.reserve.size:
                        raise
                    self.give(small - self.end + SMALL_ROOM)  # a file system takes some for itself
                    self._zero_to(small)

    def prepare(self, at: int) -> None:
        """See to it that everything is there that can be needed while offset ``at`` is written to.

        Raises:
            Full: the disk has no room for one of them. OSError: a file cannot be written.
        """
        with self.lock:
            if not self.in_use:
                return
            self.count()
            if self.is_low(at):
                try:
                    self._check_snapshot(STEP)
                    self._zero_to(self.end + STEP)
                except Full:
                    self._check_snapshot(FIRST_ROOM)
                    self._zero_to(self.end + FIRST_ROOM)  # a small disk never has room for a whole step
            if not self.reserve.whole:
                self.check_bound(self._path, self.reserve.wanted - self.reserve.size)
                try:
                    self.reserve.fill()
                finally:
                    self.count()
            self._check_snapshot(0)

    def _check_snapshot(self, step: int) -> None:
        """Raise Full if the next snapshot would find no room after a step of so many bytes."""
        drafts = files.listing(self._directory).temporaries  # one that is being written takes its room already
        wanted = max(0, self.next_snapshot - files.size_of([(0, path) for path in drafts]))
        self.check_bound(self._path, step + wanted)
        if wanted + step > self._disk.space(self._directory).free + self.reserve.size:
            raise Full(self._directory, self.next_snapshot, what="the next snapshot")

    def _zero_to(self, stop: int) -> None:
        """Zero from the room's end up to ``stop``; publish it when it is durable."""
        start = self.end
        self.check_bound(self._path, stop - start)
        fd = self._disk.open(self._path)
        try:
            try:
                self._disk.zero(fd, start, stop)
                self._disk.fsync(fd)  # some file systems look for blocks only now
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._disk.ftruncate(fd, start)
                raise Full(self._path, stop - start) from None
        finally:
            self._disk.close(fd)
        self.end = stop
