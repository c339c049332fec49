"""The bytes of the journal: segment header, batch frame, snapshot envelope.

Pure functions over bytes; swarmsh-journal(5) draws the same layouts. All numbers are unsigned and big-endian.
Zeroes are never valid, since a segment is zeroed before it is used: every record starts with a magic. A reader
checks magic, then version, then length against bounds, then CRC, and says what was wrong by raising `Unsound`
or, for a version that only a newer program knows, `UnknownFormat`.

A *position* counts the events over the life of a journal: position 0 is before the first one, and the event that
leads to position 7 has number 7. A batch of ``count`` events that starts at position ``start`` ends at ``start +
count``. A durable position states that every event up to it is on the disk; the snapshot of a position holds the
state after all of them.

Segment
    One sector of 512 bytes: the header. Then frames.

Frame
    A header of 40 bytes, the body, the body's CRC (4 bytes), zeroes up to the next multiple of 8. A header
    starts at a multiple of 8 and lies inside one sector of 512 bytes, so that a disk that writes sectors whole
    never tears it: where less than 40 bytes are left in a sector, the frame starts with the next one
    (`frame_offset`). The CRCs are salted: the header's starts from the segment's random salt, the body's from
    the header's CRC. So no bytes of another segment, and no body of another frame, are taken for a sound frame.

Snapshot
    A header, chunks with a header each, and an end record with the totals; each is bound to the one before it
    by a running CRC, so that a chunk that is missing, doubled, moved or cut is recognised.

Backup
    The same with another header. Each chunk is a part of a file of the journal: its name, as many bytes as the
    header states instead of rows, and then what follows in that file.
"""

from struct import Struct
from typing import NamedTuple
from zlib import crc32

FORMAT = 1
"""Version of the layouts of this module."""

SECTOR = 512
"""What a disk is taken to write whole or not at all, in bytes; also the size of the segment header."""

BODY_MAX = 256 << 20
"""Most bytes in the body of a frame, and in a snapshot chunk."""

ALIGNMENT = 8

BATCH, IDLE, SEAL = 1, 2, 3
"""Kinds of frames: events; a statement of the durable position; the same, and that nothing follows in the segment."""

WORD = Struct(">I")
assert WORD.size == 4

SEGMENT_MAGIC = b"SWARMJRN"
SEGMENT_HEADER = Struct(">8sIIQQQQ460x")  # magic, format, salt, epoch, start, previous, created; a CRC follows
assert SEGMENT_HEADER.size + WORD.size == SECTOR

FRAME_MAGIC = b"SwB\xa7"
FRAME_HEADER = Struct(">4sIBBHIQQI")  # magic, salt, version, kind, zero, length, start, durable, count; a CRC follows
FRAME_CHECKED = FRAME_HEADER.size
FRAME_HEADER_SIZE = FRAME_CHECKED + WORD.size
assert FRAME_HEADER_SIZE == 40
assert FRAME_HEADER_SIZE % ALIGNMENT == 0

SNAPSHOT_MAGIC = b"SWARMSNP"
SNAPSHOT_HEADER = Struct(">8sIIIIQQQ")  # magic, format, program format, salt, zero, position, epoch, created; a CRC
SNAPSHOT_HEADER_SIZE = SNAPSHOT_HEADER.size + WORD.size
assert SNAPSHOT_HEADER_SIZE == 52

BACKUP_MAGIC = b"SWARMBAK"
BACKUP_HEADER = Struct(">8sIIQQQ")  # magic, format, salt, position, epoch, created; a CRC follows
BACKUP_HEADER_SIZE = BACKUP_HEADER.size + WORD.size
assert BACKUP_HEADER_SIZE == 44

CHUNK_MAGIC = b"SwC\xa7"
CHUNK_HEADER = Struct(">4sIII")  # magic, number of the chunk, length, rows; a CRC of header and body follows
CHUNK_HEADER_SIZE = CHUNK_HEADER.size + WORD.size
assert CHUNK_HEADER_SIZE == 20

END_MAGIC = b"SwE\xa7"
END_RECORD = Struct(">4sIQ")  # magic, chunks, rows; the running CRC follows
END_SIZE = END_RECORD.size + WORD.size
assert END_SIZE == 20

_PADDING = tuple(bytes(n) for n in range(ALIGNMENT))


class Unsound(Exception):
    """The bytes are not a sound record; the text says why."""


class UnknownFormat(Exception):
    """The record is of a format that this program does not know."""

    def __init__(self, found: int) -> None:
        super().__init__(f"format {found}; this program knows format {FORMAT}")
        self.found = found


class SegmentHeader(NamedTuple):
    """The first sector of a segment.

    `start` is the position before its first event, `previous` the one at which the segment before it ended (0 if
    there is none: the journal begins here), `created` milliseconds since the epoch of the clock.
    """

    salt: int
    epoch: int
    start: int
    previous: int
    created: int


class FrameHeader(NamedTuple):
    """What a frame's header states: kind, body length in bytes, positions, number of events."""

    kind: int
    length: int
    start: int
    durable: int
    event_count: int
    crc: int

    @property
    def end(self) -> int:
        """The position after the frame's last event."""
        return self.start + self.event_count


class SnapshotHeader(NamedTuple):
    """What a snapshot states of itself.

    It holds the state after every event up to `position`. `program_format` is the number of the rows' own
    format, which the journal does not read.
    """

    program_format: int
    salt: int
    position: int
    epoch: int
    created: int


class BackupHeader(NamedTuple):
    """What a backup states of itself: it holds every event up to `position`, and was made at `created`."""

    salt: int
    position: int
    epoch: int
    created: int


# --- segment -----------------------------------------------------------------------------------------------


def pack_segment_header(header: SegmentHeader) -> bytes:
    """The 512 bytes that open a segment."""
    head = SEGMENT_HEADER.pack(
        SEGMENT_MAGIC, FORMAT, header.salt, header.epoch, header.start, header.previous, header.created
    )
    return head + WORD.pack(crc32(head))


def unpack_segment_header(data: bytes) -> SegmentHeader:
    """Read the header back.

    Raises:
        Unsound: it is cut short, has another magic, or a bad CRC.
        UnknownFormat: it is of a newer format. This is asked before the CRC, whose place may have changed.
    """
    if len(data) < SECTOR:
        raise Unsound("the segment header is cut short")
    magic, version, salt, epoch, start, previous, created = SEGMENT_HEADER.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        raise Unsound("this is no segment: its first 8 bytes are wrong")
    _check_format(data, SEGMENT_MAGIC, version, SECTOR - WORD.size)
    if WORD.unpack_from(data, SECTOR - WORD.size)[0] != crc32(memoryview(data)[: SECTOR - WORD.size]):
        raise Unsound("the CRC of the segment header does not match")
    return SegmentHeader(salt, epoch, start, previous, created)


def format_of(head: bytes) -> int:
    """The number of the format in the header of a segment or snapshot that is sound."""
    number: int = WORD.unpack_from(head, len(SEGMENT_MAGIC))[0]
    return number


def _check_format(data: bytes, magic: bytes, version: int, size: int) -> None:
    """Tell a later format from a damaged number: where all else is as we would have written it, that is damaged."""
    if version > FORMAT:
        ours = magic + WORD.pack(FORMAT) + data[len(magic) + WORD.size : size]
        if WORD.unpack_from(data, size)[0] == crc32(ours):
            raise Unsound("the number of the format is damaged")
        raise UnknownFormat(version)


# --- frames ------------------------------------------------------------------------------------------------


def frame_offset(offset: int) -> int:
    """Where the frame starts that is to follow the byte before ``offset``, a multiple of 8."""
    left = SECTOR - offset % SECTOR
    return offset + left if left < FRAME_HEADER_SIZE else offset


def frame_size(length: int) -> int:
    """Bytes of a frame whose body has ``length`` bytes, padding included."""
    size = FRAME_HEADER_SIZE + length + WORD.size
    return size + -size % ALIGNMENT


def pack_frame(kind: int, body: bytes, count: int, start: int, durable: int, salt: int) -> bytes:
    """A whole frame, ready to be written at a place that `frame_offset` gave."""
    length = len(body)
    head = FRAME_HEADER.pack(FRAME_MAGIC, salt, FORMAT, kind, 0, length, start, durable, count)
    crc = crc32(head, salt)
    return b"".join((head, WORD.pack(crc), body, WORD.pack(crc32(body, crc)), _PADDING[-(length + WORD.size) % 8]))


def unpack_frame_header(data: bytes, offset: int, salt: int) -> FrameHeader:
    """Read the header of the frame at ``offset`` of a segment's bytes.

    Raises:
        Unsound: cut short, no magic, absurd length, bad CRC, unknown kind.
        UnknownFormat: sound, but of a newer version. The place and size of the CRC are the same in all versions.
    """
    if len(data) - offset < FRAME_HEADER_SIZE:
        raise Unsound("the frame header is cut short")
    magic, _salt, version, kind, _zero, length, start, durable, count = FRAME_HEADER.unpack_from(data, offset)
    if magic != FRAME_MAGIC:
        raise Unsound("there is no frame header where one must be")
    crc: int = WORD.unpack_from(data, offset + FRAME_CHECKED)[0]
    sound = crc32(data[offset : offset + FRAME_CHECKED], salt) == crc
    if version != FORMAT and sound:
        raise UnknownFormat(version)
    if length > BODY_MAX:
        raise Unsound(f"the frame header states an absurd length, {length} bytes")
    if not sound:
        raise Unsound("the CRC of the frame header does not match")
    if not BATCH <= kind <= SEAL:
        raise Unsound(f"the frame header states an unknown kind, {kind}")
    return FrameHeader(kind, length, start, durable, count, crc)


def body_is_sound(data: memoryview, offset: int, header: FrameHeader) -> bool:
    """Whether body and body CRC of the frame at ``offset`` are all there and match."""
    start = offset + FRAME_HEADER_SIZE
    stop = start + header.length
    if len(data) < stop + WORD.size:
        return False
    stated: int = WORD.unpack_from(data, stop)[0]
    return crc32(data[start:stop], header.crc) == stated


def header_may_be_torn(data: bytes, offset: int) -> bool:
    """Whether an unsound header at ``offset`` may be an unfinished write over zeroes.

    A write that did not finish leaves bytes missing: the file ends, the bytes from some point on are still
    zero, or a whole word of 8 bytes is. A header that has its magic and nothing of the kind was written
    whole and damaged later.
    """
    head = data[offset : offset + FRAME_HEADER_SIZE]
    if len(head) < FRAME_HEADER_SIZE or not head.startswith(FRAME_MAGIC) or head[-1] == 0:
        return True
    return any(not any(head[at : at + ALIGNMENT]) for at in range(0, FRAME_HEADER_SIZE, ALIGNMENT))


def find_frame(data: bytes, offset: int, salt: int) -> tuple[int, FrameHeader] | None:
    """The first sound frame header at or after ``offset``, with its place; None if there is no other."""
    wanted = FRAME_MAGIC + WORD.pack(salt)
    at = data.find(wanted, offset)
    while at >= 0:
        if at % ALIGNMENT == 0 and frame_offset(at) == at:
            try:
                return at, unpack_frame_header(data, at, salt)
            except Unsound:
                pass
        at = data.find(wanted, at + 1)
    return None


# --- snapshot ----------------------------------------------------------------------------------------------


def pack_snapshot_header(header: SnapshotHeader) -> bytes:
    """The bytes that open a snapshot; their last four are where the running CRC of the chunks starts."""
    head = SNAPSHOT_HEADER.pack(
        SNAPSHOT_MAGIC, FORMAT, header.program_format, header.salt, 0, header.position, header.epoch, header.created
    )
    return head + WORD.pack(crc32(head))


def unpack_snapshot_header(data: bytes) -> tuple[SnapshotHeader, int]:
    """Read the header back; return it and its CRC.

    Raises:
        Unsound: it is cut short, has another magic, or a bad CRC.
        UnknownFormat: it is of a newer format.
    """
    if len(data) < SNAPSHOT_HEADER_SIZE:
        raise Unsound("the snapshot header is cut short")
    magic, version, program_format, salt, _zero, position, epoch, created = SNAPSHOT_HEADER.unpack_from(data)
    if magic != SNAPSHOT_MAGIC:
        raise Unsound("this is no snapshot: its first 8 bytes are wrong")
    _check_format(data, SNAPSHOT_MAGIC, version, SNAPSHOT_HEADER.size)
    crc: int = WORD.unpack_from(data, SNAPSHOT_HEADER.size)[0]
    if crc32(memoryview(data)[: SNAPSHOT_HEADER.size]) != crc:
        raise Unsound("the CRC of the snapshot header does not match")
    return SnapshotHeader(program_format, salt, position, epoch, created), crc


def pack_chunk_header(number: int, body: bytes, rows: int, running: int) -> tuple[bytes, int]:
    """The header that goes before chunk ``number`` (from 0), and the running CRC after the chunk."""
    head = CHUNK_HEADER.pack(CHUNK_MAGIC, number, len(body), rows)
    crc = crc32(body, crc32(head, running))
    return head + WORD.pack(crc), crc


def unpack_chunk_header(data: bytes, number: int) -> tuple[int, int]:
    """Length of the body in bytes, and rows, as the header of chunk ``number`` states; its CRC is yet to be checked.

    Raises:
        Unsound: cut short, no chunk header, not chunk ``number``, or an absurd length.
    """
    if len(data) < CHUNK_HEADER_SIZE:
        raise Unsound("the snapshot is cut short")
    magic, found, length, rows = CHUNK_HEADER.unpack_from(data)
    if magic != CHUNK_MAGIC or found != number:
        raise Unsound(f"there is no header of chunk {number} where it must be")
    if length > BODY_MAX:
        raise Unsound(f"chunk {number} states an absurd length, {length} bytes")
    return length, rows


def check_chunk(header: bytes, body: bytes, running: int) -> int:
    """The running CRC after a chunk whose header was unpacked and whose body was read.

    Raises:
        Unsound: the CRC does not match.
    """
    crc = crc32(body, crc32(header[: CHUNK_HEADER.size], running))
    if WORD.unpack_from(header, CHUNK_HEADER.size)[0] != crc:
        raise Unsound("the CRC of a chunk does not match")
    return crc


def pack_end(chunks: int, rows: int, running: int) -> bytes:
    """The record that closes a snapshot."""
    head = END_RECORD.pack(END_MAGIC, chunks, rows)
    return head + WORD.pack(crc32(head, running))


def check_end(data: bytes, chunks: int, rows: int, running: int) -> None:
    """Check the last bytes of a snapshot against what was read.

    Raises:
        Unsound: they are not exactly the end record of these totals.
    """
    if data != pack_end(chunks, rows, running):
        raise Unsound("the end record of the snapshot is missing or does not match")


# --- backup ------------------------------------------------------------------------------------------------


def pack_backup_header(header: BackupHeader) -> bytes:
    """The bytes that open a backup; their last four are where the running CRC of the chunks starts."""
    head = BACKUP_HEADER.pack(BACKUP_MAGIC, FORMAT, *header)
    return head + WORD.pack(crc32(head))


def unpack_backup_header(data: bytes) -> tuple[BackupHeader, int]:
    """Read the header back; return it and its CRC.

    Raises:
        Unsound: it is cut short, has another magic, or a bad CRC.
        UnknownFormat: it is of a newer format.
    """
    if not data.startswith(BACKUP_MAGIC):
        raise Unsound("this is no backup: its first 8 bytes are wrong")
    if len(data) < BACKUP_HEADER_SIZE:
        raise Unsound("the header of the backup is cut short")
    _, version, *stated = BACKUP_HEADER.unpack_from(data)
    _check_format(data, BACKUP_MAGIC, version, BACKUP_HEADER.size)
    crc: int = WORD.unpack_from(data, BACKUP_HEADER.size)[0]
    if crc32(memoryview(data)[: BACKUP_HEADER.size]) != crc:
        raise Unsound("the CRC of the header of the backup does not match")
    return BackupHeader(*stated), crc
