"""Reading what is left of the past, in the archive and where recovery looks, while the daemon goes on writing.

The segment in use is read as far as it is durable: those bytes never change, though what follows them does. A segment
that goes into the archive meanwhile, or is compressed there, is looked for again when its turn comes. Nothing is ever
written here. This is the one place that knows where the past lies.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from swarmshd import records
from swarmshd.journal import archive, files
from swarmshd.journal.disk import DISK, named
from swarmshd.journal.errors import ARCHIVE, Corrupt, Gone, VersionMismatch
from swarmshd.journal.recovery import Batch
from swarmshd.journal.snapshot import read_snapshot

TRIES = 100
"""Looks for a file before it is taken to be gone: between two of them it may have been moved or compressed."""


class _Segment(NamedTuple):
    header: records.SegmentHeader
    end: int


class Past:
    """The events after ``oldest`` and up to ``upto``, which is durable.

    Attributes:
        oldest: the position after which all events are left.

    What is removed as nobody is to keep it any longer goes the oldest first; what is left is looked at.

    Raises:
        Corrupt, VersionMismatch: a header is damaged, or of a newer format. OSError: a file cannot be read.
    """

    def __init__(self, directory: Path, upto: int) -> None:
        self._directory = directory
        self._upto = upto
        starts = [start for start, _ in files.listing(directory).segments]  # first, as segments go the other way
        starts += [kept.start for kept in archive.segments(directory)]
        self._segments: list[_Segment] = []
        end = upto
        for start in sorted(set(starts), reverse=True):
            if start >= upto and start != min(starts):
                continue  # it was made since
            try:
                header, sealed = self._about(start)
            except Gone:
                break
            if sealed is not None and self._segments and sealed != end:
                break  # what was between them was not kept
            self._segments.insert(0, _Segment(header, end))
            end = header.previous
        if not self._segments:
            raise Corrupt(files.segment_path(directory, 0), 0, "there is no segment at all")
        self.oldest = self._segments[0].header.previous

    def _about(self, start: int) -> tuple[records.SegmentHeader, int | None]:
        """The header of a segment, and where it ends, if it tells that at once."""
        for path in self._looks(start):
            try:
                if path.name.endswith(archive.COMPRESSED):
                    return archive.header(DISK, archive.Kept(start, path, 0, 0)), None
                header = files.read_segment_header(DISK, path, start)
                return header, files.sealed_end(path, header.salt)
            except FileNotFoundError:
                continue
        raise AssertionError("the last look raises")

    def _looks(self, start: int) -> Iterator[Path]:
        """Where the segment lies now; again, if it was not there any more.

        Raises:
            Gone: it has been removed.
        """
        path = files.segment_path(self._directory, start)
        for _ in range(TRIES):
            yield path
            for kept in archive.segments(self._directory):
                if kept.start == start:
                    yield kept.path
        raise Gone(path)

    def knows(self, position: int) -> bool:
        """Whether the position is one that was reached, and all events after it are left.

        Between the end of one epoch and the start of the next there may be positions that never were.
        """
        if position == self.oldest:
            return True
        return any(segment.header.start <= position <= segment.end for segment in self._segments)

    def snapshots(self) -> list[int]:
        """The positions of which there are snapshots, ascending."""
        found = {position for position, _ in files.listing(self._directory).snapshots}
        return sorted(found | {kept.start for kept in archive.snapshots(self._directory)})

    def chunks(self, position: int) -> Iterator[bytes]:
        """The chunks of the snapshot of a position. Raises Corrupt, VersionMismatch, Gone, OSError."""
        path = files.snapshot_path(self._directory, position)
        try:
            yield from read_snapshot(path)
        except FileNotFoundError:
            try:
                yield from read_snapshot(path.parent / ARCHIVE / path.name)
            except FileNotFoundError:
                raise Gone(path) from None

    def batches(self, since: int) -> Iterator[Batch]:
        """The batches that hold events after ``since``, in order.

        Raises:
            Corrupt: bytes that were durable are damaged or missing. VersionMismatch: of a newer format.
            Gone: removed meanwhile. OSError: unreadable.
        """
        for segment in self._segments:
            if segment.end > since and segment.header.start < self._upto:
                path, file = self._open(segment.header.start)
                with file, named(path):
                    try:
                        yield from _read(path, file, segment, since)
                    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                        raise Corrupt(path, 0, f"it cannot be decompressed: {error}") from None

    def _open(self, start: int) -> tuple[Path, BinaryIO]:
        for path in self._looks(start):
            try:
                if path.name.endswith(archive.COMPRESSED):
                    return path, cast("BinaryIO", gzip.open(path))
                return path, path.open("rb")
            except FileNotFoundError:
                continue
        raise AssertionError("the last look raises")


def _read(path: Path, file: BinaryIO, segment: _Segment, since: int) -> Iterator[Batch]:
    """The batches of one segment, which is read from its beginning to its end."""
    header, end = segment
    offset, position = records.SECTOR, header.start
    file.seek(offset)
    while position < end:
        head = file.read(records.FRAME_HEADER_SIZE)
        try:
            frame = records.unpack_frame_header(head, 0, header.salt)
        except records.Unsound as unsound:
            raise Corrupt(path, offset, str(unsound)) from None
        except records.UnknownFormat as unknown:
            raise VersionMismatch(path, unknown.found) from None
        if frame.start != position:
            raise Corrupt(path, offset, f"a frame starts at position {frame.start} where {position} must follow")
        if frame.kind == records.SEAL:
            raise Corrupt(path, offset, f"the events after position {position} and up to {end} are missing")
        size = records.frame_size(frame.length)
        position = frame.end
        if frame.kind == records.BATCH and position > since:
            data = head + file.read(size - len(head))
            if not records.body_is_sound(memoryview(data), 0, frame):
                raise Corrupt(path, offset, "the CRC of a frame's body does not match, or it is cut short")
            body = data[records.FRAME_HEADER_SIZE : records.FRAME_HEADER_SIZE + frame.length]
            yield Batch(frame.start, frame.event_count, header.epoch, body)
        offset = records.frame_offset(offset + size)
        file.seek(offset)
