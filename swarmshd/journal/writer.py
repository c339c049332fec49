"""Appends batches to the newest segment, and turns to a new one in time.

The room of a segment is what was zeroed ahead: the bytes up to it can be overwritten without a change of the
file's size or of its map of blocks, so `fdatasync` has only the data to write. `append` uses room, `prepare` makes
some. They may run in two threads at once: `prepare` writes only behind the room that `append` may use, through a
descriptor of its own (so that each of them is told of a failed write), and publishes the new room when it is
durable. What turns or grows the segment otherwise takes the same lock and so waits for it.

There is always room left for a seal. A segment is made whole under a temporary name before the one in use is
sealed, so that a full disk is met while both answers are still open: then the old one is used on while it has room.

Any failed write or sync is final (`JournalFailed`), except that zeroing ahead without success is `Full`.
"""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from swarmshd import records
from swarmshd.journal import files
from swarmshd.journal.disk import DISK, Disk
from swarmshd.journal.errors import Full, JournalFailed
from swarmshd.journal.snapshot import read_snapshot_header

FIRST_ROOM = 1 << 20
"""Size of a new segment, in bytes."""

SMALL_ROOM = 1 << 16
"""Size of a new segment where the disk has no room for that: enough to finish work, and to start at all."""

STEP = 4 << 20
"""What `prepare` adds to a segment, in bytes."""

LOW = 1 << 19
"""With less room than this left, in bytes, `prepare` has something to do."""

SEAL_ROOM = files.SEAL_SIZE + records.FRAME_HEADER_SIZE
"""Kept free behind every frame: a seal, and what the sector rule may skip before it."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Sizes(NamedTuple):
    """What the journal takes on the disk, all in bytes.

    `room` is what the segment in use has left; `free` is what the file system has left for us, of `total`.
    """

    segments: int
    bytes: int
    snapshot_position: int
    room: int
    free: int
    total: int


class Pruned(NamedTuple):
    """What `Journal.prune` removed."""

    segments: int
    snapshots: int
    bytes: int


class Journal:
    """The writing end of the journal in a directory; `begin` before anything else.

    `end` is the position of the last event, `durable` the one up to which all is on the disk as far as
    `mark_durable` was told. One thread appends; `sync` or `idle` may run in another while the first leaves the
    journal alone; `prepare` may run in another at any time.

    Args:
        rotation_bytes: a segment that is larger is sealed and followed by a new one.
        clock: milliseconds since the epoch, for the date in a segment's header, which nothing depends on.
        random: gives that many random bytes, for salts.
    """

    __slots__ = (
        "_at",
        "_clock",
        "_directory",
        "_disk",
        "_epoch",
        "_failed",
        "_fd",
        "_growing",
        "_path",
        "_random",
        "_room",
        "_rotate_at",
        "_rotation_bytes",
        "_salt",
        "_start",
        "_stated",
        "_synced",
        "durable",
        "end",
    )

    def __init__(
        self,
        directory: Path,
        rotation_bytes: int = 100 << 20,
        *,
        clock: Callable[[], int] = int,
        random: Callable[[int], bytes] = os.urandom,
        disk: Disk = DISK,
    ) -> None:
        self._directory = directory
        self._rotation_bytes = rotation_bytes
        self._clock = clock
        self._random = random
        self._disk = disk
        self._growing = threading.Lock()
        self._failed: JournalFailed | None = None
        self._fd = -1
        self._path = directory
        self.end = self.durable = self._synced = 0
        self._stated = -1
        self._at = self._room = self._rotate_at = self._salt = self._epoch = self._start = 0

    # --- segments

    def begin(self, position: int, epoch: int) -> None:
        """Create the segment that the next events go to; after `recover`, which sealed the one before.

        Args:
            position: the recovered one; or, in a higher epoch, a later one.
            epoch: the recovered one or a higher one.

        Raises:
            Full: the disk has no room for it.
            OSError: the directory or the file cannot be written.
            ValueError: position or epoch do not follow what is there. RuntimeError: it was not recovered.
        """
        if self._fd >= 0 or self._failed is not None:
            raise RuntimeError("a journal begins once")
        files.make_directory(self._disk, self._directory)
        previous = self._previous(position, epoch)
        self._epoch = epoch
        try:
            room = FIRST_ROOM
            path, salt, fd = self._draft(position, previous, room)
        except Full:
            room = SMALL_ROOM
            path, salt, fd = self._draft(position, previous, room)
        try:
            files.adopt(self._disk, path)
        except OSError:
            self._disk.close(fd)
            files.discard(self._disk, path)
            raise
        self._use(path, salt, fd, position, room)

    def _previous(self, start: int, epoch: int) -> int:
        """Where the newest segment ends, which a new one is to name; an empty one of the same position is replaced."""
        segments = files.listing(self._directory).segments
        if not segments:
            return 0
        name, path = segments[-1]
        header = files.read_segment_header(self._disk, path, name)
        end = files.sealed_end(path, header.salt)
        if end is None:
            raise RuntimeError(f"{path} is not sealed: recover the journal first")
        if start < end or epoch < header.epoch or (start > end and epoch == header.epoch):
            raise ValueError(f"position {start}, epoch {epoch} cannot follow position {end}, epoch {header.epoch}")
        return header.previous if name == start else end

    def _draft(self, start: int, previous: int, room: int) -> tuple[Path, int, int]:
        """A new segment under its temporary name: its path, salt and descriptor."""
        path = files.segment_path(self._directory, start)
        salt = int.from_bytes(self._random(4), "big") | 1
        head = records.pack_segment_header(records.SegmentHeader(salt, self._epoch, start, previous, self._clock()))

        def fill(fd: int) -> None:
            self._disk.write(fd, head, 0)
            self._disk.zero(fd, len(head), room)

        try:
            return path, salt, files.draft(self._disk, path, fill)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise Full(path, room) from None
            raise

    def _use(self, path: Path, salt: int, fd: int, start: int, room: int) -> None:
        self._path, self._salt, self._fd, self._start = path, salt, fd, start
        self.end = self.durable = self._synced = start
        self._stated = -1
        self._at = records.SECTOR
        self._room = room
        self._rotate_at = self._rotation_bytes

    def _rotate(self) -> None:
        """Seal the segment and go on in a new one; on a full disk, stay and try again after another step."""
        with self._growing:
            try:
                path, salt, fd = self._draft(self.end, self.end, FIRST_ROOM)
            except Full:
                self._rotate_at = self._at + STEP
                return
            except OSError as error:
                self._fail("creation of the next segment", error)
            try:
                self._seal()
                files.adopt(self._disk, path)
            except OSError as error:
                self._disk.close(fd)
                self._fail("turning to the next segment", error)
            except JournalFailed:
                self._disk.close(fd)
                raise
            self._disk.close(self._fd)
            self._use(path, salt, fd, self.end, FIRST_ROOM)

    def _seal(self) -> None:
        """Make all durable, then say so in a seal, and give the rest of the room back."""
        if self.durable < self.end:
            self.sync()
            self.mark_durable()
        seal = records.pack_frame(records.SEAL, b"", 0, self.end, self.end, self._salt)
        stop = self._at + len(seal)
        self._write(seal)
        try:
            self._disk.ftruncate(self._fd, stop)
            self._disk.fsync(self._fd)
        except OSError as error:
            self._fail("sealing", error)
        self._stated = self.end

    # --- the hot path

    def append(self, body: bytes, count: int) -> int:
        """Write one batch of ``count`` events; it is durable after the next `sync`.

        Where the segment is due to be sealed (see `reserve`), all that was appended before is made durable with it.

        Returns:
            the position after the batch.

        Raises:
            Full: there is no room, and nothing was changed.
            JournalFailed: it, or an earlier write or sync, failed.
            ValueError: no event, or a body above `records.BODY_MAX`.
        """
        if self._failed is not None:
            raise self._failed
        length = len(body)
        if count <= 0 or length > records.BODY_MAX:
            raise ValueError(f"a batch of {count} events, {length} bytes")
        if self._at >= self._rotate_at or self._at + records.frame_size(length) + SEAL_ROOM > self._room:
            self.reserve(length)
        self._write(records.pack_frame(records.BATCH, body, count, self.end, self.durable, self._salt))
        self.end += count
        return self.end

    def _write(self, frame: bytes) -> None:
        """One frame with one call. A write that was cut short is a failed one: part of it may be on the disk."""
        at = self._at
        try:
            written = self._disk.pwrite(self._fd, frame, at)
        except OSError as error:
            self._fail("write", error)
        at += len(frame)
        if written != len(frame):
            self._fail("write", OSError(errno.EIO, "cut short"))
        left = records.SECTOR - at % records.SECTOR
        self._at = at + left if left < records.FRAME_HEADER_SIZE else at

    def sync(self) -> int:
        """Make durable what was appended before the call.

        Returns:
            the position up to which all is durable now. `durable` says so only after `mark_durable`.

        Raises:
            JournalFailed: what is on the disk is unknown; the journal takes nothing more.
        """
        if self._failed is not None:
            raise self._failed
        end = self.end
        try:
            self._disk.fdatasync(self._fd)
            if not self._disk.fstat(self._fd).st_nlink:  # nobody would find what was synced
                raise FileNotFoundError(errno.ENOENT, "the file was removed")
        except OSError as error:
            self._fail("sync", error)
        self._synced = end
        return end

    def mark_durable(self) -> None:
        """Take over what the last `sync` reached, from the thread that appends."""
        self.durable = self._synced

    def _fail(self, operation: str, error: OSError) -> NoReturn:
        self._failed = JournalFailed(self._path, operation, error.errno or errno.EIO)
        raise self._failed from error

    # --- room

    @property
    def room(self) -> int:
        """Bytes of the largest body that can be appended now without making room."""
        free = self._room - self._at - SEAL_ROOM - records.FRAME_HEADER_SIZE - records.WORD.size - records.ALIGNMENT
        return max(0, free)

    @property
    def needs_room(self) -> bool:
        """Whether `prepare` would do something."""
        return self._room - self._at < LOW

    def reserve(self, length: int) -> None:
        """See to it that a body of ``length`` bytes can be appended next without growing a file; may block for that.

        Where the segment is due to be sealed, that happens first.

        Raises:
            Full: the disk has no room. Nothing was changed.
            JournalFailed: a write or a sync failed, now or earlier.
        """
        if self._failed is not None:
            raise self._failed
        if self._at >= self._rotate_at and self.end > self._start:
            self._rotate()
        stop = self._at + records.frame_size(length) + SEAL_ROOM
        if stop > self._room:
            with self._growing:
                if stop > self._room:
                    try:
                        self._grow(-(-stop // FIRST_ROOM) * FIRST_ROOM)
                    except Full:
                        self._grow(-(-stop // SMALL_ROOM) * SMALL_ROOM)

    def prepare(self) -> None:
        """Zero a step ahead if little room is left. May run in a thread of its own beside `append` and `sync`.

        Raises:
            Full: the disk has no room for a step. What room there is can still be used.
            JournalFailed: a sync failed, now or earlier.
        """
        with self._growing:
            if self._failed is not None:
                raise self._failed
            if not self.needs_room or self._fd < 0:
                return
            try:
                self._grow(self._room + STEP)
            except Full:
                self._grow(self._room + FIRST_ROOM)  # a small disk never has room for a whole step

    def _grow(self, stop: int) -> None:
        """Zero from the room's end up to ``stop``; publish it when it is durable."""
        start = self._room
        try:
            fd = self._disk.open(self._path)
            try:
                self._zero(fd, start, stop)
                self._disk.fsync(fd)
            finally:
                self._disk.close(fd)
        except OSError as error:
            self._fail("zeroing ahead", error)
        self._room = stop

    def _zero(self, fd: int, start: int, stop: int) -> None:
        try:
            self._disk.zero(fd, start, stop)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._disk.ftruncate(fd, start)
            raise Full(self._path, stop - start) from None

    # --- the rest

    def idle(self) -> bool:
        """Write and sync an empty frame that states that all is durable, unless the last frame does so.

        Then a crash leaves nothing undecided. It is synced here, because damage is judged by this: what follows
        an empty frame was written after that frame was durable.

        Returns:
            whether one was written. On a full disk none is.

        Raises:
            JournalFailed: a write or a sync failed.
        """
        if self._failed is not None:
            raise self._failed
        if self._stated == self.end:
            return False
        if self.durable < self.end:
            self.sync()
            self.mark_durable()
        try:
            self.reserve(0)
        except Full:
            return False
        self._write(records.pack_frame(records.IDLE, b"", 0, self.end, self.end, self._salt))
        self.sync()
        self._stated = self.end
        return True

    def check_place(self) -> None:
        """See that the segment in use is where the next start would look for it.

        Raises:
            JournalFailed: it was moved or removed; or an earlier write or sync failed.
        """
        if self._failed is not None:
            raise self._failed
        try:
            there, here = os.stat(self._path), self._disk.fstat(self._fd)
            if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
                raise FileNotFoundError(errno.ENOENT, "another file has its name")
        except OSError as error:
            self._fail("the place", error)

    def close(self) -> None:
        """Make all durable, seal the segment, close it. A journal that failed is only closed.

        Raises:
            JournalFailed: the seal could not be made durable.
        """
        with self._growing:
            if self._fd < 0:
                return
            try:
                if self._failed is None:
                    self._seal()
            finally:
                self._disk.close(self._fd)
                self._fd = -1
                self._failed = self._failed or JournalFailed(self._path, "use after close", errno.EBADF)

    def prune(self, snapshot_position: int) -> Pruned:
        """Remove the older snapshots, and the segments whose every event the snapshot of that position covers.

        The segment in use always stays. May run in a thread of its own.

        Raises:
            ValueError: there is no snapshot of that position. Corrupt: its header is damaged.
            OSError: a file cannot be removed; what is left is removed the next time.
        """
        found = files.listing(self._directory)
        if snapshot_position not in [position for position, _ in found.snapshots]:
            raise ValueError(f"no snapshot of position {snapshot_position}")
        read_snapshot_header(files.snapshot_path(self._directory, snapshot_position))
        self._disk.sync_directory(self._directory)  # the snapshot's name first, then nothing depends on the rest
        old = [path for position, path in found.snapshots if position < snapshot_position]
        covered = []
        for (_, path), (start, following) in zip(found.segments, found.segments[1:], strict=False):
            if files.read_segment_header(self._disk, following, start).previous > snapshot_position:
                break
            covered.append(path)
        size = 0
        for path in old + covered:
            size += path.stat().st_size
            self._disk.unlink(path)
        self._disk.sync_directory(self._directory)
        return Pruned(len(covered), len(old), size)

    def sealed_bytes(self) -> tuple[int, int]:
        """The bytes of the sealed segments that a fold could take in, and of the newest snapshot."""
        found = files.listing(self._directory)
        return files.size_of(found.segments[:-1]), files.size_of(found.snapshots[-1:])

    def sizes(self) -> Sizes:
        """What there is on the disk now, by listing the directory."""
        found = files.listing(self._directory)
        size = files.size_of(found.segments + found.snapshots)
        position = found.snapshots[-1][0] if found.snapshots else 0
        return Sizes(len(found.segments), size, position, self.room, *self._disk.space(self._directory))
