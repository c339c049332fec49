"""Appends batches to the newest segment, and turns to a new one in time.

The room of a segment is what was zeroed ahead (see `room`): the bytes up to it can be overwritten without a change of
the file's size or of its map of blocks, so `fdatasync` has only the data to write. `append` uses room, `prepare` makes
some. They may run in two threads at once: `prepare` writes only behind the room that `append` may use, through a
descriptor of its own (so that each of them is told of a failed write), and publishes the new room when it is
durable. What turns or grows the segment otherwise takes the same lock and so waits for it.

There is always room left for a seal. A segment is made whole under a temporary name before the one in use is
sealed, so that a full disk is met while both answers are still open: then the old one is used on while it has room.
Where that ends, what has been decided already is written into room that the reserve gives up.

Any failed write or sync is final (`JournalFailed`), except that zeroing ahead without success is `Full`.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from swarmshd import records
from swarmshd.journal import archive, files
from swarmshd.journal.direct import Direct
from swarmshd.journal.disk import DISK, Disk
from swarmshd.journal.errors import NO_ROOM, Full, JournalFailed
from swarmshd.journal.holdings import Pruned, Sizes, prune, sizes
from swarmshd.journal.room import FIRST_ROOM, SMALL_ROOM, STEP, Room

SEAL_ROOM = files.SEAL_SIZE + records.FRAME_HEADER_SIZE
"""Kept free behind every frame: a seal, and what the sector rule may skip before it."""


class Journal:
    """The writing end of the journal in a directory; `begin` before anything else.

    `end` is the position of the last event, `durable` the one up to which all is on the disk as far as
    `mark_durable` was told. One thread appends; `sync` or `idle` may run in another while the first leaves the
    journal alone; `prepare` may run in another at any time.

    Args:
        rotation_bytes: a segment that is larger is sealed and followed by a new one.
        clock: milliseconds since the epoch, for the date in a segment's header, which nothing depends on.
        random: gives that many random bytes, for salts.
        reserve_bytes: what is kept on the disk for finishing work when it is full.
        most_bytes: what all files in the directory may take; 0 if only the disk says.
    """

    __slots__ = (
        "_at",
        "_clock",
        "_direct",
        "_directory",
        "_disk",
        "_epoch",
        "_failed",
        "_fd",
        "_path",
        "_random",
        "_rotate_at",
        "_rotation_bytes",
        "_salt",
        "_somehow",
        "_start",
        "_stated",
        "_synced",
        "durable",
        "end",
        "room",
    )

    def __init__(
        self,
        directory: Path,
        rotation_bytes: int = 100 << 20,
        *,
        clock: Callable[[], int] = int,
        random: Callable[[int], bytes] = os.urandom,
        disk: Disk = DISK,
        reserve_bytes: int = 0,
        most_bytes: int = 0,
    ) -> None:
        self._directory = directory
        self._rotation_bytes = rotation_bytes
        self._clock = clock
        self._random = random
        self._disk = disk
        self.room = Room(directory, disk, reserve_bytes, most_bytes)
        self._failed: JournalFailed | None = None
        self._fd = -1
        self._direct: Direct | None = None
        self._path = directory
        self.end = self.durable = self._synced = 0
        self._stated = -1
        self._somehow = False
        self._at = self._rotate_at = self._salt = self._epoch = self._start = 0

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
        self.room.look()
        path, salt, fd, room = self._draft(position, previous, somehow=True)
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

    def _draft(self, start: int, previous: int, *, somehow: bool) -> tuple[Path, int, int, int]:
        """A new segment under its temporary name: its path, salt, descriptor and room.

        Where the disk has not enough and it must be had ``somehow``, it is a small one; the reserve gives up its room.
        """
        path = files.segment_path(self._directory, start)
        salt = int.from_bytes(self._random(4), "big") | 1
        head = records.pack_segment_header(records.SegmentHeader(salt, self._epoch, start, previous, self._clock()))

        def make(room: int) -> tuple[Path, int, int, int]:
            def fill(fd: int) -> None:
                self._disk.write(fd, head, 0)
                self._disk.zero(fd, len(head), room)

            self.room.check_bound(path, room)
            try:
                return path, salt, files.draft(self._disk, path, fill), room
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise Full(path, room) from None
                raise

        try:
            return make(FIRST_ROOM)
        except Full:
            if not somehow:
                raise
        try:
            return make(SMALL_ROOM)
        except Full:
            if not self.room.reserve.size:
                raise
        self.room.give(2 * SMALL_ROOM)  # a file system takes some for itself
        return make(SMALL_ROOM)

    def _use(self, path: Path, salt: int, fd: int, start: int, room: int) -> None:
        self._path, self._salt, self._fd, self._start = path, salt, fd, start
        self.end = self.durable = self._synced = start
        self._stated = -1
        self._at = records.SECTOR
        if self._disk.direct:
            self._direct = Direct.of(self._disk, path, self._direct)
        self.room.take(path, room)
        self._rotate_at = self._rotation_bytes
        self._somehow = False

    def rotate_past(self, rotation_bytes: int) -> None:
        """From now on a segment that is larger than this is sealed, the one in use as well."""
        if rotation_bytes != self._rotation_bytes:
            self._rotation_bytes = self._rotate_at = rotation_bytes

    @property
    def start(self) -> int:
        """The position at which the segment in use starts."""
        return self._start

    @property
    def turn_due(self) -> bool:
        """Whether the segment in use is to be sealed; if `turn_if_due` is not called, the next `append` does it."""
        return self._at >= self._rotate_at and self.end > self._start

    def turn_if_due(self) -> None:
        """Turn after a `sync`, in the thread that has the journal. Raises JournalFailed."""
        if self._failed is None and self.turn_due:
            self._rotate(somehow=self._somehow)

    def want_turn(self, *, somehow: bool = False) -> None:
        """Turn with the next batch; for who cannot wait until nothing is unsynced. See `turn`."""
        self._rotate_at = 0
        self._somehow = somehow

    def turn(self, *, somehow: bool = False) -> bool:
        """Seal the segment in use and go on in a new one, so that a fold can take it in. Nothing may be unsynced.

        Args:
            somehow: take room from the reserve if there is no other.

        Returns:
            whether everything is in sealed segments now; on a full disk it may not be.

        Raises:
            JournalFailed: a write or a sync failed, now or earlier.
        """
        if self._failed is not None:
            raise self._failed
        if self.end > self._start:
            self._rotate(somehow=somehow)
        return self.end == self._start

    def _rotate(self, *, somehow: bool = False) -> None:
        """Seal the segment and go on in a new one; on a full disk, stay and try again after another step."""
        with self.room.lock:
            try:
                path, salt, fd, room = self._draft(self.end, self.end, somehow=somehow)
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
            try:
                self._use(path, salt, fd, self.end, room)
            except OSError as error:
                self._fail("turning to the next segment", error)

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

        Where the segment is due to be sealed (see `make_room`), all that was appended before is made durable with it.

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
        if self._at >= self._rotate_at or self._at + records.frame_size(length) + SEAL_ROOM > self.room.end:
            self.make_room(length, somehow=True)
        self._write(records.pack_frame(records.BATCH, body, count, self.end, self.durable, self._salt))
        self.end += count
        return self.end

    def _write(self, frame: bytes) -> None:
        """One frame with one call. A write that was cut short is a failed one: part of it may be on the disk."""
        at = self._at
        try:
            direct = self._direct
            written = self._disk.pwrite(self._fd, frame, at) if direct is None else direct.write(frame, at)
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
    def free(self) -> int:
        """Bytes of the largest body that can be appended now without making room."""
        free = self.room.end - self._at - SEAL_ROOM - records.FRAME_HEADER_SIZE - records.WORD.size - records.ALIGNMENT
        return max(0, free)

    @property
    def last_free(self) -> int:
        """The same, if the disk has no more and the reserve gives up all it has."""
        return self.free + self.room.reserve.size

    @property
    def needs_room(self) -> bool:
        """Whether `prepare` would make some."""
        return self.room.is_low(self._at) or not self.room.reserve.whole

    def make_room(self, length: int, *, somehow: bool = False) -> None:
        """See to it that a body of ``length`` bytes can be appended next without growing a file; may block for that.

        Where the segment is due to be sealed, that happens first.

        Args:
            length: of a body, in bytes.
            somehow: take it from the reserve if the disk has no more.

        Raises:
            Full: the disk has no room. Nothing was changed.
            JournalFailed: a write or a sync failed, now or earlier.
        """
        if self._failed is not None:
            raise self._failed
        self.turn_if_due()
        stop = self._at + records.frame_size(length) + SEAL_ROOM
        if stop > self.room.end:
            try:
                self.room.grow(stop, somehow=somehow)
            except OSError as error:
                self._fail("zeroing ahead", error)

    def give(self, amount: int) -> None:
        """Have the reserve free so many bytes for a snapshot. May run in a thread of its own. Raises JournalFailed."""
        with self.room.lock:
            try:
                self.room.give(amount)
            except OSError as error:
                self._fail("cutting the reserve", error)

    def prepare(self) -> None:
        """See to it that there is room: a step ahead, the reserve, the next snapshot.

        May run in a thread of its own beside `append` and `sync`.

        Raises:
            Full: the disk has no room for one of them. What room there is can still be used.
            JournalFailed: a write or a sync failed, now or earlier.
        """
        if self._failed is not None:
            raise self._failed
        try:
            self.room.prepare(self._at)
        except OSError as error:
            self._fail("zeroing ahead", error)

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
            self.make_room(0)
        except Full:
            return False
        self._write(records.pack_frame(records.IDLE, b"", 0, self.end, self.end, self._salt))
        self.sync()
        self._stated = self.end
        return True

    def check_place(self) -> None:
        """See that the segment in use is where the next start would look for it; not while the journal turns.

        Raises:
            JournalFailed: it was moved or removed; or an earlier write or sync failed.
        """
        if self._failed is not None:
            raise self._failed
        if self.room.lock.acquire(blocking=False):
            try:
                self._check_place()
            finally:
                self.room.lock.release()

    def _check_place(self) -> None:
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
        with self.room.lock:
            if self._fd < 0:
                return
            self.room.in_use = False
            try:
                if self._failed is None:
                    self._seal()
            finally:
                if self._direct is not None:
                    self._direct.close()
                self._disk.close(self._fd)
                self._fd = -1
                self._failed = self._failed or JournalFailed(self._path, "use after close", errno.EBADF)

    def prune(self, snapshot_position: int, *, keep: bool = False) -> Pruned:
        """Remove what the snapshot of that position covers; see `holdings.prune`. May run in a thread of its own."""
        return prune(self._disk, self._directory, snapshot_position, keep=keep)

    def tend_archive(self, terms: archive.Terms, now: int, *, dry: bool = False) -> archive.Tended:
        """See `archive.tend`. May run in a thread of its own."""
        return archive.tend(self._disk, self._directory, terms, now, dry=dry)

    def yield_archive(self) -> str | None:
        """Remove the oldest of the archive for the sake of work; its name, or None if there is none."""
        kept = archive.segments(self._directory) + archive.snapshots(self._directory)
        if not kept:
            return None
        archive.remove(self._disk, kept[0])
        return kept[0].path.name

    def io(self) -> dict[str, Any]:
        """How files are read and written, and how often."""
        direct = Direct.nothing() if self._direct is None else self._direct.tell()
        return {**self._disk.tell(), "room_made_late": self.room.late, **direct}

    def sizes(self) -> Sizes:
        """What there is on the disk now."""
        return sizes(self._disk, self._directory, self._at)
