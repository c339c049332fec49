"""From the files to what they hold: the newest snapshot, then the batches after it, in order, without a gap.

Nothing is changed before everything was read and found sound. Then, if the daemon asks for it, the last segment is
mended so that work can go on in a new one:

1. a torn tail is copied to a file beside it, which is synced;
2. the segment is cut there, and the frames before it are written again that no later frame states to be durable;
3. it is synced;
4. the segment is sealed (a clean stop did that already).

A crash between any two of these leaves files that are read with the same result: the copy is written again, the
cut is done again, the seal is written where it is missing. Step 2 is for the daemon that ended because a sync had
failed: the system then counts as written what is not on the disk and can still be read, so that a mere sync would
report success, and the seal would say what is not true.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swarmshd import records
from swarmshd.journal import files
from swarmshd.journal.disk import DISK, Disk, named
from swarmshd.journal.errors import NO_ROOM, Corrupt, VersionMismatch
from swarmshd.journal.reserve import Reserve
from swarmshd.journal.scan import Scan
from swarmshd.journal.snapshot import read_snapshot, read_snapshot_header

SPARE = 1 << 16
"""Bytes that are freed beside what a torn tail needs: a file system takes some for itself."""

EVIDENCE_MAX = 16
"""Torn tails that are kept; the oldest goes when there would be one more."""


class Batch(NamedTuple):
    """The events of one round, as they were appended after `position`."""

    position: int
    event_count: int
    epoch: int
    body: bytes


class Torn(NamedTuple):
    """A torn tail: that many bytes at ``offset`` of the segment at ``path``; ``copy`` is where they are once cut."""

    path: Path
    offset: int
    bytes: int
    copy: Path | None


class Segment(NamedTuple):
    """A segment by its header."""

    path: Path
    header: records.SegmentHeader


class Recovery:
    """What `recover` found. Take `chunks`, then `batches`, each to its end; then the facts below are known.

    Attributes, at once:
        created: there was no journal at all.
        snapshot: the header of the newest snapshot; None if there is none.
    Attributes, after the last of `batches`:
        position: that of the last event.
        epoch: the epoch of the last segment; 0 if there is none.
        clean: the last thing written says that everything was durable, so nothing can be missing.
        torn: the torn tail, if there was one.
    """

    def __init__(self, directory: Path, *, mend: bool, upto: int | None, disk: Disk) -> None:
        self._disk = disk
        self._mend = mend
        self._found = files.listing(directory)
        self.created = not self._found.segments and not self._found.snapshots
        self.snapshot: records.SnapshotHeader | None = None
        self._snapshot_path: Path | None = None
        if self._found.snapshots:
            self._snapshot_path = self._found.snapshots[-1][1]
            self.snapshot = read_snapshot_header(self._snapshot_path)
        every = [Segment(path, files.read_segment_header(disk, path, start)) for start, path in self._found.segments]
        if not every and not self.created:
            raise Corrupt(
                files.segment_path(directory, self.snapshot_position), 0, "there is a snapshot, but no segment at all"
            )
        self._last = every[-1] if every else None
        self._segments = self._wanted(every, upto)
        self._position = self.snapshot_position
        self.epoch = self.snapshot.epoch if self.snapshot else 0
        self._scan: Scan | None = None
        self._torn: Torn | None = None
        self._done = False

    @property
    def snapshot_position(self) -> int:
        """The position of the newest snapshot; 0 if there is none."""
        return self.snapshot.position if self.snapshot else 0

    @property
    def segments(self) -> int:
        """How many segments hold something that the snapshot does not, or are open to be written to."""
        return len(self._segments)

    @property
    def size(self) -> int:
        """Bytes of the files that will be read."""
        snapshots = files.size_of(self._found.snapshots[-1:])
        return snapshots + files.size_of([(0, segment.path) for segment in self._segments])

    @property
    def position(self) -> int:
        """The position of the last event; 0 if there was none."""
        self._need_done()
        return self._position

    @property
    def clean(self) -> bool:
        """Whether the last thing written says that everything was durable."""
        self._need_done()
        return self.created or (self._scan is not None and self._scan.clean)

    @property
    def torn(self) -> Torn | None:
        """The torn tail, if there was one."""
        self._need_done()
        return self._torn

    def _need_done(self) -> None:
        if not self._done:
            raise RuntimeError("this is known after the last of batches()")

    def _wanted(self, every: list[Segment], upto: int | None) -> list[Segment]:
        """The segments that hold events which the snapshot does not, and that end at or before ``upto``."""
        start = 0
        while start + 1 < len(every) and every[start + 1].header.previous <= self.snapshot_position:
            start += 1
        wanted = every[start:]
        if upto is None:
            return wanted
        ends = [following.header.previous for following in wanted[1:]]
        newest = files.sealed_end(wanted[-1].path, wanted[-1].header.salt) if wanted else None
        ends += [] if newest is None else [newest]
        return [segment for segment, end in zip(wanted, ends, strict=False) if end <= upto]

    def chunks(self) -> Iterator[bytes]:
        """The chunks of the snapshot. Raises `Corrupt`, `VersionMismatch`."""
        if self._snapshot_path is not None:
            yield from read_snapshot(self._snapshot_path)

    def batches(self) -> Iterator[Batch]:
        """The batches after the snapshot; after the last one the journal is mended, if that was asked for.

        Raises:
            Corrupt: bytes that were durable are damaged or missing. Nothing was changed.
            VersionMismatch: a segment is of a newer format. Nothing was changed.
            OSError: a file cannot be read, or not be mended.
        """
        for number, segment in enumerate(self._segments):
            self._check_order(segment, number)
            read = self._disk.read if segment is self._last else self._disk.read_sealed
            self._scan = scan = Scan(read(segment.path), segment.header)
            yield from self._read(segment, scan)
            self._check_end(segment, scan)
            self._position = scan.position
            self.epoch = segment.header.epoch
        self._done = True
        if self._mend:
            self._mend_files()

    def _check_order(self, segment: Segment, number: int) -> None:
        """Check that nothing is missing between what was read so far and this segment."""
        path, header = segment
        if number == 0:
            if header.previous > self.snapshot_position:
                known = self.snapshot_position
                raise Corrupt(path, 0, f"the events after position {known} and up to {header.previous} are missing")
        elif header.previous != self._position:
            raise Corrupt(
                path, 0, f"the events after position {self._position} and up to {header.previous} are missing"
            )
        elif header.epoch < self.epoch or (header.start > header.previous and header.epoch == self.epoch):
            raise Corrupt(path, 0, f"epoch {header.epoch} at position {header.start} cannot follow epoch {self.epoch}")

    def _read(self, segment: Segment, scan: Scan) -> Iterator[Batch]:
        data, epoch, covered = scan.data, segment.header.epoch, self.snapshot_position
        try:
            for offset, frame in scan:
                if frame.kind != records.BATCH or frame.end <= covered:
                    continue
                if frame.start < covered:
                    raise Corrupt(segment.path, offset, f"the snapshot of position {covered} ends inside this batch")
                start = offset + records.FRAME_HEADER_SIZE
                yield Batch(frame.start, frame.event_count, epoch, data[start : start + frame.length])
        except records.UnknownFormat as unknown:
            raise VersionMismatch(segment.path, unknown.found) from None

    def _check_end(self, segment: Segment, scan: Scan) -> None:
        """Tell a torn tail from corruption, and see that a segment before the last one has its seal."""
        damage = scan.damage
        last = segment is self._last
        if damage is not None:
            if not last or scan.was_durable(self.snapshot_position):
                raise Corrupt(segment.path, damage.offset, damage.why)
            tail = len(scan.data[damage.offset :].rstrip(b"\0"))
            self._torn = Torn(segment.path, damage.offset, tail, None)
        elif not last and not scan.sealed:
            raise Corrupt(segment.path, scan.offset, "a later segment exists, but this one ends without its seal")
        if last and scan.position < self.snapshot_position:
            why = f"it ends at position {scan.position}, but the snapshot covers all up to {self.snapshot_position}"
            raise Corrupt(segment.path, scan.offset, why)

    def _mend_files(self) -> None:
        """Leave the last segment sealed and without a tail; remove what is unfinished."""
        disk = self._disk
        for path in self._found.temporaries:
            with suppress(FileNotFoundError):  # a fold of the daemon before this one may have ended only now
                disk.unlink(path)
        if self._last is None or self._scan is None:
            return
        path, scan = self._last.path, self._scan
        fd = disk.open(path)
        try:
            with named(path):
                if self._torn is not None:
                    self._torn = self._keep(self._torn, scan.data)
                    disk.ftruncate(fd, scan.offset)
                disk.write(fd, memoryview(scan.data)[scan.loose : scan.stop], scan.loose)
                disk.fsync(fd)  # what was read may not have been durable, and the seal is to say that it is
                stop = scan.stop
                if not scan.sealed:
                    seal = records.pack_frame(records.SEAL, b"", 0, self._position, self._position, scan.salt)
                    disk.write(fd, seal, scan.offset)
                    stop = scan.offset + len(seal)
                if stop != len(scan.data) or not scan.sealed:
                    disk.ftruncate(fd, stop)
                    disk.fsync(fd)
        finally:
            disk.close(fd)
        disk.sync_directory(path.parent)

    def _keep(self, torn: Torn, data: bytes) -> Torn:
        """Copy the torn tail to a durable file beside the segment."""
        copy = torn.path.with_name(f"{torn.path.name}.torn-{torn.offset}")
        tail = memoryview(data)[torn.offset : torn.offset + torn.bytes]
        for old in self._found.evidence[: 1 - EVIDENCE_MAX]:
            self._disk.unlink(old)
        try:
            fd = files.draft(self._disk, copy, lambda fd: self._disk.write(fd, tail, 0))
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            reserve = Reserve(torn.path.parent, 0, self._disk)
            reserve.look()
            reserve.give(len(tail) + SPARE)
            fd = files.draft(self._disk, copy, lambda fd: self._disk.write(fd, tail, 0))
        self._disk.close(fd)
        files.adopt(self._disk, copy)
        return torn._replace(copy=copy)


def recover(directory: Path, *, mend: bool = True, upto: int | None = None, disk: Disk = DISK) -> Recovery:
    """Look at the journal in ``directory``.

    Args:
        directory: where it is, or is to be.
        mend: make it ready for `Journal.begin` when all was read; else nothing is ever changed.
        upto: read only the sealed segments that end at or before this position. Only to look: needs ``mend=False``.
        disk: what mends it.

    Raises:
        Corrupt, VersionMismatch, OSError: as `Recovery.batches`.
    """
    if mend and upto is not None:
        raise ValueError("upto is only for reading")
    return Recovery(directory, mend=mend, upto=upto, disk=disk)
