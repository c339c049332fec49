"""The bytes of the journal: what is packed is unpacked, and nothing else is."""

import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmshd import records

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
SALT = 0x5EED5EED
MANUAL = Path(__file__).parent.parent / "man" / "swarmsh-journal.5"


def frame(body=b"body", kind=records.BATCH, count=3, start=70_000, durable=69_000, salt=SALT):
    return records.pack_frame(kind, body, count, start, durable, salt)


@given(st.builds(records.SegmentHeader, U32, U64, U64, U64, U64))
def test_a_segment_header_comes_back(header):
    data = records.pack_segment_header(header)
    assert len(data) == records.SECTOR
    assert records.unpack_segment_header(data) == header


@given(st.binary(max_size=2000), st.sampled_from([1, 2, 3]), U32, st.integers(0, 2**63), U64, U32, st.integers(0, 600))
def test_a_frame_comes_back(body, kind, count, start, durable, salt, place):
    data = records.pack_frame(kind, body, count, start, durable, salt)
    assert len(data) == records.frame_size(len(body))
    assert len(data) % 8 == 0
    assert len(data) - len(body) <= 52
    at = records.frame_offset(place * 8)
    segment = bytes(at) + data
    header = records.unpack_frame_header(segment, at, salt)
    assert (header.kind, header.length, header.start, header.durable) == (kind, len(body), start, durable)
    assert header.end == start + count
    assert records.body_is_sound(memoryview(segment), at, header)


@given(st.integers(0, 10_000).map(lambda n: n * 8))
def test_a_frame_header_never_straddles_a_sector(offset):
    at = records.frame_offset(offset)
    assert offset <= at < offset + records.FRAME_HEADER_SIZE
    assert at % 8 == 0
    assert at // records.SECTOR == (at + records.FRAME_HEADER_SIZE - 1) // records.SECTOR
    assert records.frame_offset(at) == at


@given(st.integers(0, 5000))
def test_zeroes_are_nothing(length):
    data = bytes(length)
    for unpack in (
        records.unpack_segment_header,
        records.unpack_snapshot_header,
        lambda data: records.unpack_frame_header(data, 0, 0),
        lambda data: records.unpack_chunk_header(data, 0),
        lambda data: records.check_end(data, 0, 0, 0),
    ):
        with pytest.raises(records.Unsound):
            unpack(data)


def test_every_flipped_bit_of_a_frame_is_noticed():
    sound = frame()
    padding = -(4 + records.WORD.size) % 8
    for bit in range((len(sound) - padding) * 8):
        data = bytearray(sound)
        data[bit // 8] ^= 1 << bit % 8
        try:
            header = records.unpack_frame_header(bytes(data), 0, SALT)
        except records.Unsound:
            continue
        assert not records.body_is_sound(memoryview(data), 0, header), bit


def test_every_flipped_bit_of_a_segment_header_is_noticed():
    sound = records.pack_segment_header(records.SegmentHeader(SALT, 2, 70_000, 69_000, 1_700_000_000_000))
    for bit in range(len(sound) * 8):
        data = bytearray(sound)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises((records.Unsound, records.UnknownFormat)):
            records.unpack_segment_header(bytes(data))


@given(st.binary(max_size=100), U32, U32)
def test_a_frame_of_another_salt_is_none(body, salt, other):
    data = frame(body, salt=salt)
    if salt != other:
        with pytest.raises(records.Unsound):
            records.unpack_frame_header(data, 0, other)


def test_a_body_belongs_to_its_header():
    one, other = frame(b"same", start=5), frame(b"same", start=6)
    mixed = one[: records.FRAME_HEADER_SIZE] + other[records.FRAME_HEADER_SIZE :]
    header = records.unpack_frame_header(mixed, 0, SALT)
    assert not records.body_is_sound(memoryview(mixed), 0, header)


def test_a_newer_version_is_told_from_damage(monkeypatch):
    kinds = [
        (lambda: records.pack_segment_header(records.SegmentHeader(SALT, 1, 0, 0, 0)), records.unpack_segment_header),
        (lambda: records.pack_snapshot_header(records.SnapshotHeader(1, 2, 3, 4, 5)), records.unpack_snapshot_header),
        (lambda: records.pack_backup_header(records.BackupHeader(1, 2, 3, 4)), records.unpack_backup_header),
    ]
    pack: Any
    unpack: Any
    for pack, unpack in kinds:
        monkeypatch.setattr(records, "FORMAT", records.FORMAT + 6)
        newer = pack()
        monkeypatch.undo()
        with pytest.raises(records.UnknownFormat, match="format 7") as found:
            unpack(newer)
        assert found.value.found == records.FORMAT + 6
        damaged = bytearray(pack())
        damaged[11] ^= 0x10
        with pytest.raises(records.Unsound, match="number of the format"):
            unpack(bytes(damaged))


def test_a_frame_of_a_newer_version_is_told_from_damage(monkeypatch):
    monkeypatch.setattr(records, "FORMAT", records.FORMAT + 1)
    newer = frame()
    monkeypatch.undo()
    with pytest.raises(records.UnknownFormat):
        records.unpack_frame_header(newer, 0, SALT)
    damaged = bytearray(frame())
    damaged[8] += 1
    with pytest.raises(records.Unsound):
        records.unpack_frame_header(bytes(damaged), 0, SALT)


def test_absurd_lengths_and_kinds_are_refused_whatever_the_crc():
    absurd = records.FRAME_HEADER.pack(
        records.FRAME_MAGIC, SALT, records.FORMAT, records.BATCH, 0, records.BODY_MAX + 1, 0, 0, 1
    )
    absurd += records.WORD.pack(zlib.crc32(absurd, SALT))
    with pytest.raises(records.Unsound, match="absurd length"):
        records.unpack_frame_header(absurd, 0, SALT)
    with pytest.raises(records.Unsound, match="unknown kind"):
        records.unpack_frame_header(frame(kind=4), 0, SALT)


@given(st.integers(0, records.FRAME_HEADER_SIZE - 1), st.booleans())
def test_every_prefix_of_a_header_may_be_an_unfinished_write(cut, zeroed):
    data = frame(b"")[:cut] + bytes(records.FRAME_HEADER_SIZE - cut if zeroed else 0)
    if data != frame(b"")[: records.FRAME_HEADER_SIZE]:
        assert records.header_may_be_torn(data, 0)


def test_a_whole_header_with_a_flipped_bit_is_no_unfinished_write():
    sound = frame(b"")
    assert sound[39] not in {0, 1, 2, 4, 8, 16, 32, 64, 128}  # else the flip of its last byte would be undecidable
    for bit in range(4 * 8, records.FRAME_HEADER_SIZE * 8):
        data = bytearray(sound)
        data[bit // 8] ^= 1 << bit % 8
        assert not records.header_may_be_torn(bytes(data), 0), bit


def test_find_frame_finds_only_frames_of_the_segment():
    ours, alien = frame(b"ours"), frame(b"alien", salt=SALT + 1)
    at = records.frame_offset(2048)
    data = (alien + bytes(3) + ours).ljust(at, b"\1") + ours
    assert len(alien) + 3 < at
    found = records.find_frame(data, 0, SALT)  # the first of ours is not at a multiple of 8
    assert found is not None
    assert found[0] == at
    assert found[1].start == 70_000
    assert records.find_frame(data, at + 8, SALT) is None
    astride = bytes(480) + frame()
    assert records.find_frame(astride, 0, SALT) is None


@given(st.builds(records.SnapshotHeader, U32, U32, U64, U64, U64), st.lists(st.tuples(st.binary(max_size=50), U32)))
@settings(max_examples=50)
def test_a_snapshot_comes_back(header, chunks):
    data = records.pack_snapshot_header(header)
    read, running = records.unpack_snapshot_header(data)
    assert read == header
    writing = running
    for number, (body, rows) in enumerate(chunks):
        head, writing = records.pack_chunk_header(number, body, rows, writing)
        assert records.unpack_chunk_header(head, number) == (len(body), rows)
        with pytest.raises(records.Unsound):
            records.unpack_chunk_header(head, number + 1)
        running = records.check_chunk(head, body, running)
        assert running == writing
    total = sum(rows for _, rows in chunks) % 2**64
    end = records.pack_end(len(chunks), total, writing)
    records.check_end(end, len(chunks), total, running)
    with pytest.raises(records.Unsound):
        records.check_end(end + b"\0", len(chunks), total, running)


def test_the_manual_draws_these_bytes():
    """Every row of the manual's tables is "offset size name"; together they fill the record without a gap."""
    text = MANUAL.read_text()
    sizes = {
        "segment header": records.SECTOR,
        "frame header": records.FRAME_HEADER_SIZE,
        "snapshot header": records.SNAPSHOT_HEADER_SIZE,
        "backup header": records.BACKUP_HEADER_SIZE,
        "chunk header": records.CHUNK_HEADER_SIZE,
        "end record": records.END_SIZE,
    }
    for name, size in sizes.items():
        found = re.search(rf'\.\\" table: {name}\n(.*?)\.\\" end of table', text, re.DOTALL)
        assert found, name
        rows = re.findall(r"^\.It (\d+) Ta (\d+) Ta", found[1], re.MULTILINE)
        at = 0
        for offset, length in rows:
            assert int(offset) == at, name
            at += int(length)
        assert at == size, name
    for magic in ("SWARMJRN", "SWARMSNP", "SWARMBAK", "SwB", "SwC", "SwE"):
        assert magic in text
    for body in (0, 1, 100):
        assert records.frame_size(body) == (40 + body + 4 + 7) // 8 * 8
