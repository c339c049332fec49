"""Everything that can be read of a journal's files, damaged or not, and exactly what cannot.

Recovery stops at the first damage; this goes on behind it. A segment whose header is damaged is read by the salt of
its frames, damaged frames are passed over to the next sound one, missing segments are gaps, and of a damaged
snapshot the sound chunks are taken. The archive counts as well: it may hold what is damaged or missing elsewhere.
Nothing is ever written here.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from swarmshd import records
from swarmshd.beside import Gauge
from swarmshd.journal import Batch, Corrupt, VersionMismatch, archive, read_snapshot
from swarmshd.journal.errors import UNREADABLE
from swarmshd.journal.files import listing
from swarmshd.journal.scan import Scan, any_byte
from swarmshd.salvage import holes

TRIES = 100
"""Looks at a directory: between a look and the opening of what was seen a fold may have removed it."""

TORN, DAMAGED, MISSING = "torn", "damaged", "missing"


class Lost(NamedTuple):
    """Something that cannot be read: a torn tail, which was never acknowledged, a damaged part, or missing events.

    `start` and `end` are positions: the events after `start` and up to `end` are lost. `end` is None where nobody can
    tell how many there were.
    """

    kind: str
    path: Path
    offset: int
    bytes: int
    start: int
    end: int | None
    why: str

    @property
    def events(self) -> int | None:
        """How many events are lost, if that is known."""
        return None if self.end is None else self.end - self.start

    @property
    def harms(self) -> bool:
        """Whether something is gone that had been there: a torn tail never was, and some damage hits no event."""
        return self.kind != TORN and self.events != 0


class Piece(NamedTuple):
    """One segment, wherever it lies; ``header`` is None if that is damaged."""

    start: int
    path: Path
    data: bytes
    header: records.SegmentHeader | None
    unread: list[holes.Hole] = []
    """What of the data is only filling, since the disk does not give it."""


class Snapshot(NamedTuple):
    """One snapshot, and whether it is sound. ``header`` is None if not even that can be read."""

    path: Path
    position: int
    header: records.SnapshotHeader | None
    why: str


class Survey:
    """The files of the journal in ``directory``. Raises OSError, and VersionMismatch for files of a later program.

    Where a daemon goes on writing to it only what leads to position ``upto``, which is durable, is looked at; what a
    snapshot covers is durable as well. Its files are opened at once, those of its archive too, so that what it moves,
    compresses or removes meanwhile can be read.
    """

    def __init__(self, directory: Path, upto: int | None = None, gauge: Gauge | None = None) -> None:
        self.directory = directory
        self.gauge = gauge or Gauge()
        self._upto = upto
        self._held: dict[Path, BinaryIO] = {}
        self._segments: list[tuple[int, Path, archive.Kept | None]] = []
        self.snapshots: list[Snapshot] = []
        """All of them, the newest first."""
        for left in reversed(range(TRIES)):
            try:
                self._look()
                break
            except FileNotFoundError:  # the daemon has removed or moved it
                self.close()
                if not left:
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is kept open of a journal that a daemon works on."""
        while self._held:
            self._held.popitem()[1].close()

    def _look(self) -> None:
        found = listing(self.directory)
        kept = {each.start: each for each in archive.segments(self.directory)}
        own = dict(found.segments)
        snapshots = [(position, path) for position, path in found.snapshots]
        snapshots += [(each.start, each.path) for each in archive.snapshots(self.directory)]
        self.close()
        if self._upto is not None:
            self._upto = max([self._upto, *[position for position, _ in snapshots]])
            paths = [path for _, path in snapshots] + [path for start, path in found.segments if start <= self._upto]
            paths += [each.path for each in kept.values() if each.start not in own and each.start <= self._upto]
            for path in paths:
                self._held[path] = path.open("rb")
        self._segments = []
        for start in sorted(own.keys() | kept.keys()):
            if self._upto is None or start <= self._upto:
                archived = None if start in own else kept[start]
                self._segments.append((start, own[start] if archived is None else archived.path, archived))
        size = sum(path.stat().st_size for _, path in snapshots)
        size += sum(each.bytes if each else path.stat().st_size for _, path, each in self._segments)
        self.gauge.begin(size)
        self.snapshots = sorted((self._snapshot(path) for _, path in snapshots), key=lambda each: -each.position)

    def _snapshot(self, path: Path) -> Snapshot:
        snapshot = _snapshot(path)
        self.gauge.at(self.gauge.done + path.stat().st_size)
        return snapshot

    def open(self, path: Path) -> BinaryIO:
        """A file of the journal, from its beginning."""
        held = self._held.get(path)
        if held is None:
            return path.open("rb")
        file = os.fdopen(os.dup(held.fileno()), "rb")
        file.seek(0)
        return file

    @property
    def oldest(self) -> int:
        """The position after which there are segments."""
        return next((p.start if p.header is None else p.header.previous for p in self.pieces()), 0)

    @property
    def empty(self) -> bool:
        """Whether there is no journal at all."""
        return not self._segments and not self.snapshots

    def pieces(self) -> Iterator[Piece]:
        """Every segment, in the order of positions, one at a time."""
        for start, path, kept in self._segments:
            try:
                data, unread = self._bytes(path, start) if kept is None else self._unpacked(kept)
            except Corrupt:  # it cannot be decompressed
                data, unread = b"", []
            yield Piece(start, path, data, _segment_header(path, start, data), unread)

    def _unpacked(self, kept: archive.Kept) -> tuple[bytes, list[holes.Hole]]:
        """The bytes of an archived segment as they were; of a compressed one nothing, if it cannot be read."""
        with self.open(kept.path) as file:
            if not kept.compressed:
                return holes.read(file)
            try:
                return archive.unpack(kept.path, file.read()), []
            except OSError as error:
                if error.errno not in UNREADABLE:
                    raise
                return b"", [holes.Hole(0, kept.bytes, f"it cannot be read: {error.strerror}")]

    def _bytes(self, path: Path, start: int) -> tuple[bytes, list[holes.Hole]]:
        with self.open(path) as file:
            if self._upto is None or start != self._segments[-1][0]:
                return holes.read(file)
            head, unread = holes.read(file, records.SECTOR)
            header = _segment_header(path, start, head)
            if header is None:
                return head, unread
            return holes.read(file, end_of(path, file.fileno(), header, self._upto))

    def events(self, after: int) -> Iterator[Batch | Lost]:
        """All batches with events after a position, in order, and between them what is lost."""
        position, epoch = after, 0
        begun = False
        pieces = self.pieces()
        piece = next(pieces, None)
        done = self.gauge.done
        while piece is not None:
            done += len(piece.data)
            following = next(pieces, None)
            end = _previous(following)
            if end is not None and end <= after:
                piece = following
                continue
            previous = piece.start if piece.header is None else piece.header.previous
            if previous > position or (piece.header is not None and begun and piece.start < position):
                yield Lost(MISSING, piece.path, 0, 0, position, max(previous, position), "events before it are missing")
            begun = True
            epoch = epoch if piece.header is None else piece.header.epoch
            position = max(position, piece.start)
            for each in _read(piece, following is None, epoch, self._newest):
                if isinstance(each, Lost):
                    each = _why(each, piece)
                if isinstance(each, Batch):
                    if each.position + each.event_count <= after:
                        continue
                    position = each.position + each.event_count
                    self.gauge.at(min(done, self.gauge.done + len(each.body)))
                elif each.end is None and end is not None:
                    each = each._replace(end=end)
                if isinstance(each, Lost) and each.end is not None:
                    if each.end <= after and each.start < each.end:
                        continue
                    position = max(position, each.end)
                yield each
            if end is not None and position < end:
                if _sealed(piece):
                    yield Lost(MISSING, piece.path, len(piece.data), 0, position, end, "events after it are missing")
                else:
                    yield Lost(DAMAGED, piece.path, len(piece.data), 0, position, end, "it is cut short")
                position = end
            piece = following
        newest = self._newest
        if position < newest:
            yield Lost(MISSING, self.directory, 0, 0, position, newest, "a snapshot covers more than the segments")

    @property
    def _newest(self) -> int:
        """The highest position that a snapshot with a sound header states."""
        return max([each.position for each in self.snapshots if each.header is not None], default=0)


def _previous(piece: Piece | None) -> int | None:
    """Where the segment before this one ends; None if there is none that says so."""
    if piece is None:
        return None
    return piece.start if piece.header is None else piece.header.previous


def _sealed(piece: Piece) -> bool:
    """Whether the segment ends with a seal, as all do but the one in use."""
    at = len(piece.data) - records.frame_size(0)
    salt = _salt_of(piece.data) if piece.header is None else piece.header.salt
    try:
        return at > 0 and records.unpack_frame_header(piece.data, at, salt or 0).kind == records.SEAL
    except (records.Unsound, records.UnknownFormat):
        return False


def _segment_header(path: Path, start: int, data: bytes) -> records.SegmentHeader | None:
    try:
        header = records.unpack_segment_header(data[: records.SECTOR])
    except records.Unsound:
        return None
    except records.UnknownFormat as unknown:
        raise VersionMismatch(path, unknown.found) from None
    return header if header.start == start else None


def _why(lost: Lost, piece: Piece) -> Lost:
    """The same, if it is for the disk's sake with what the disk said."""
    hole = holes.within(piece.unread, lost.offset, lost.offset + max(lost.bytes, records.SECTOR))
    return lost if hole is None or lost.kind == MISSING else lost._replace(why=hole.why)


def _snapshot(path: Path) -> Snapshot:
    """Read all of it, to see whether it is sound."""
    position = int(path.name.removesuffix(".gz")[-20:])
    header = None
    try:
        with path.open("rb") as file:
            header = records.unpack_snapshot_header(file.read(records.SNAPSHOT_HEADER_SIZE))[0]
        for _chunk in read_snapshot(path):
            pass
    except records.Unsound as unsound:
        return Snapshot(path, position, None, str(unsound))
    except records.UnknownFormat as unknown:
        raise VersionMismatch(path, unknown.found) from None
    except Corrupt as corrupt:
        return Snapshot(path, position, header, f"at offset {corrupt.offset}: {corrupt.why}")
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return Snapshot(path, position, header, f"it cannot be read: {error.strerror}")
    return Snapshot(path, position, header, "")


# -- one segment -------------------------------------------------------------------------------------------


def _read(piece: Piece, last: bool, epoch: int, stated: int) -> Iterator[Batch | Lost]:
    """The batches of a segment, and what is lost between them."""
    data, header = piece.data, piece.header
    if header is None:
        yield Lost(DAMAGED, piece.path, 0, records.SECTOR, piece.start, piece.start, "its header is damaged")
        salt = _salt_of(data)
        if salt is None:
            if any_byte(data, records.SECTOR) or not data:
                size = max(0, len(data) - records.SECTOR)
                yield Lost(
                    DAMAGED, piece.path, records.SECTOR, size, piece.start, None, "there is no sound frame in it"
                )
            return
        header = records.SegmentHeader(salt, epoch, piece.start, piece.start, 0)
    scan = Scan(data, header)
    try:
        found = [(offset, frame) for offset, frame in scan] if last else []
    except records.UnknownFormat as unknown:
        raise VersionMismatch(piece.path, unknown.found) from None
    if last and scan.damage is not None and not piece.unread and not scan.was_durable(stated):
        yield from (_batch(data, offset, frame, epoch) for offset, frame in found if frame.kind == records.BATCH)
        size = len(data[scan.damage.offset :].rstrip(b"\0"))
        yield Lost(TORN, piece.path, scan.damage.offset, size, scan.position, scan.damage.end, scan.damage.why)
        return
    yield from _through(piece, header.salt, epoch)


def _through(piece: Piece, salt: int, epoch: int) -> Iterator[Batch | Lost]:
    """All sound frames, over whatever damage."""
    data, position, at = piece.data, piece.start, records.SECTOR
    while any_byte(data, at):
        frame, why, end, resume = _frame(piece, at, salt)
        if frame is not None and frame.start == position:
            if frame.kind == records.BATCH:
                yield _batch(data, at, frame, epoch)
            position, at = frame.end, resume
            if frame.kind == records.SEAL:
                if any_byte(data, at):
                    size = len(data[at:].rstrip(b"\0"))
                    yield Lost(DAMAGED, piece.path, at, size, position, position, "there are bytes after the seal")
                return
            continue
        if frame is not None:
            why = f"a frame starts at position {frame.start} where {position} must follow"
        following = at if frame is not None and frame.start > position else _following(piece, resume, salt, position)
        if following is None:
            size = len(data[at:].rstrip(b"\0"))
            yield Lost(DAMAGED, piece.path, at, size, position, end, why)
            return
        start = records.unpack_frame_header(data, following, salt).start
        yield Lost(DAMAGED, piece.path, at, following - at, position, start, why)
        position, at = start, following


def _frame(piece: Piece, at: int, salt: int) -> tuple[records.FrameHeader | None, str, int | None, int]:
    """The sound frame at ``at``, if there is one, and where the next one belongs; else why not, and where it ends."""
    data = piece.data
    try:
        frame = records.unpack_frame_header(data, at, salt)
    except records.Unsound as unsound:
        return None, str(unsound), None, at + records.ALIGNMENT
    except records.UnknownFormat as unknown:
        raise VersionMismatch(piece.path, unknown.found) from None
    resume = records.frame_offset(at + records.frame_size(frame.length))
    if records.body_is_sound(memoryview(data), at, frame):
        return frame, "", frame.end, resume
    why = "a frame is cut short" if resume > len(data) else "the CRC of a frame's body does not match"
    return None, why, frame.end, resume


def _following(piece: Piece, at: int, salt: int, position: int) -> int | None:
    """Where the next sound frame is that belongs behind ``position``."""
    found = records.find_frame(piece.data, at, salt)
    while found is not None:
        offset, frame = found
        if frame.start >= position and records.body_is_sound(memoryview(piece.data), offset, frame):
            return offset
        found = records.find_frame(piece.data, offset + records.ALIGNMENT, salt)
    return None


def _batch(data: bytes, offset: int, frame: records.FrameHeader, epoch: int) -> Batch:
    start = offset + records.FRAME_HEADER_SIZE
    return Batch(frame.start, frame.event_count, epoch, data[start : start + frame.length])


def _salt_of(data: bytes) -> int | None:
    """The salt of a segment without a header: that of the first frame that is sound under its own."""
    at = data.find(records.FRAME_MAGIC)
    while at >= 0:
        salt = int.from_bytes(data[at + 4 : at + 8], "big")
        if at % records.ALIGNMENT == 0 and records.find_frame(data[at : at + records.FRAME_HEADER_SIZE], 0, salt):
            return salt
        at = data.find(records.FRAME_MAGIC, at + 1)
    return None


# -- a damaged snapshot ------------------------------------------------------------------------------------


def chunks(path: Path, file: BinaryIO | None = None) -> Iterator[tuple[bytes, int] | Lost]:
    """The sound chunks of a snapshot with their numbers of rows, and what is lost between them, counted in rows.

    ``file`` is it, if it is open already. A chunk states the running CRC after it, so the one behind a damaged chunk
    can be checked all the same.
    """
    with file or path.open("rb") as source:
        data, _ = holes.read(source)
    header, running = records.unpack_snapshot_header(data)
    at, number = records.SNAPSHOT_HEADER_SIZE, 0
    while not data.startswith(records.END_MAGIC, at):
        head = data[at : at + records.CHUNK_HEADER_SIZE]
        try:
            length, rows = records.unpack_chunk_header(head, number)
        except records.Unsound as unsound:
            following = _next_chunk(data, at + 1, number)
            size = (len(data) if following is None else following[0]) - at
            yield Lost(DAMAGED, path, at, size, header.position, None, str(unsound))
            if following is None:
                return
            at, number = following
            running = -1  # nobody knows
            continue
        body = data[at + len(head) : at + len(head) + length]
        stated: int = records.WORD.unpack_from(head, records.CHUNK_HEADER.size)[0]
        try:
            if running < 0:
                raise records.Unsound("the chunk before it is damaged, so that it cannot be checked")
            records.check_chunk(head, body, running)
            yield body, rows
        except records.Unsound as unsound:
            yield Lost(DAMAGED, path, at, len(head) + length, header.position, header.position + rows, str(unsound))
        running = stated
        at += len(head) + length
        number += 1


def _next_chunk(data: bytes, at: int, number: int) -> tuple[int, int] | None:
    """Where the next chunk header is that can be one, and the chunk's number."""
    at = data.find(records.CHUNK_MAGIC, at)
    while at >= 0:
        found = int.from_bytes(data[at + 4 : at + 8], "big")
        if number < found <= number + len(data) // records.CHUNK_HEADER_SIZE:
            return at, found
        at = data.find(records.CHUNK_MAGIC, at + 1)
    return None


def end_of(path: Path, fd: int, about: records.SegmentHeader, upto: int) -> int:
    """Where the frame ends that leads to position ``upto``, which is durable, in a segment that is being written to.

    Raises:
        Corrupt, VersionMismatch: there is no such frame. OSError: it cannot be read.
    """
    at, position = records.SECTOR, about.start
    stop = at
    while position < upto:
        try:
            frame = records.unpack_frame_header(os.pread(fd, records.FRAME_HEADER_SIZE, at), 0, about.salt)
        except records.Unsound as unsound:
            raise Corrupt(path, at, str(unsound)) from None
        except records.UnknownFormat as unknown:
            raise VersionMismatch(path, unknown.found) from None
        position = frame.end
        stop = at + records.frame_size(frame.length)
        at = records.frame_offset(stop)
    return stop
