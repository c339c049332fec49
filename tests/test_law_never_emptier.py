"""Law 4, never emptier: a torn tail is cut and kept as evidence; any other damage stops the start.

A short journal of three segments and a snapshot is cut at every offset and flipped in every byte. Whatever comes
out is the same content, a prefix that ends before the damage with evidence of what was cut, or a refusal that
names the place.
"""

import shutil
import zlib

import pytest

from swarmshd import records
from swarmshd.journal import (
    Corrupt,
    Journal,
    JournalError,
    SnapshotWriter,
    VersionMismatch,
    recover,
    room,
    writer,
)
from swarmshd.journal.disk import Disk

pytestmark = pytest.mark.slow


class FastDisk(Disk):
    """The real disk without waiting for it."""

    fsync = fdatasync = staticmethod(lambda fd: None)


FAST = FastDisk()

BODIES = [bytes([n]) * (n * 13 % 90 + 1) for n in range(1, 60)]


def salts(length):
    return b"\x5e\xed\x5e\xed"[:length]


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch):
    for module in (writer, room):
        for name, size in (("FIRST_ROOM", 4096), ("STEP", 4096), ("LOW", 1024)):
            monkeypatch.setattr(module, name, size, raising=False)


def write(directory, bodies, rotation_bytes=1 << 20, *, position=0, epoch=1, synced=True):
    """A journal of these bodies, each of two events, that was left without a clean stop."""
    journal = Journal(directory, rotation_bytes, random=salts, disk=FAST)
    journal.begin(position, epoch)
    for body in bodies:
        journal.append(body, 2)
        if synced:
            journal.sync()
            journal.mark_durable()
    return journal


def read(directory, *, mend=False):
    recovery = recover(directory, mend=mend, disk=FAST)
    snapshot = list(recovery.chunks())
    return snapshot, [(batch.position, batch.body) for batch in recovery.batches()], recovery


def content(directory):
    snapshot, batches, _ = read(directory)
    return snapshot, batches


def segments(directory):
    return sorted(directory.glob("segment-" + "[0-9]" * 20))


def is_prefix(part, whole):
    return part == whole[: len(part)]


def test_a_start_without_journal_says_so(tmp_path):
    recovery = recover(tmp_path / "new")
    assert recovery.created
    assert list(recovery.batches()) == []
    assert (recovery.position, recovery.epoch, recovery.clean, recovery.torn) == (0, 0, True, None)


@pytest.mark.parametrize("zeroed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_journal_cut_at_every_offset_keeps_its_longest_sound_prefix(tmp_path, zeroed):
    """Cut, or zeroed from there on: both are what an unfinished write leaves."""
    origin, place = tmp_path / "origin", tmp_path / "cut"
    write(origin, BODIES[:12], synced=False)
    (path,) = segments(origin)
    data = path.read_bytes()
    _, whole, recovery = read(origin)
    ends = [0] + [n + 1 for n in range(len(whole))]
    used = recovery._scan.stop
    place.mkdir()
    target = place / path.name
    for cut in range(records.SECTOR, used + 20):
        target.write_bytes(data[:cut] + bytes(len(data) - cut if zeroed else 0))
        _, batches, found = read(place, mend=True)
        assert is_prefix(batches, whole)
        assert len(batches) in ends
        if found.torn is not None:
            assert found.torn.path == target
            kept = found.torn.copy.read_bytes()
            assert len(kept) == found.torn.bytes
            assert kept == data[found.torn.offset : found.torn.offset + found.torn.bytes]
            assert found.torn.offset + found.torn.bytes <= cut
            assert not found.clean
            found.torn.copy.unlink()
        else:
            assert not data[:cut][found._scan.stop :].strip(b"\0")
        again = read(place)
        assert again[1] == batches
        assert again[2].torn is None
        assert again[2].clean


def test_the_longest_prefix_is_really_the_longest(tmp_path):
    write(tmp_path, BODIES[:12], synced=False)
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    _, whole, recovery = read(tmp_path)
    stops = [offset for offset, _ in recovery._scan.__class__(data, recovery._last.header)]
    for number, offset in enumerate(stops):
        path.write_bytes(data[: offset + 4])
        assert read(tmp_path)[1] == whole[:number]


def build(directory):
    """A snapshot, sealed segments before and after it, and a last one that says that everything is durable."""
    journal = write(directory, BODIES[:30], 1200)
    middle = segments(directory)[1]
    position = int(middle.name[-20:])
    snapshot = SnapshotWriter(directory, position, 1, disk=FAST)
    for number in range(3):
        snapshot.add(b"rows of the state %d" % number * 3, 2)
    snapshot.finish()
    for body in BODIES[30:40]:
        journal.append(body, 2)
        journal.sync()
        journal.mark_durable()
    journal.idle()
    return journal


@pytest.mark.parametrize("mask", [0x01, pytest.param(0xFF, marks=pytest.mark.slow)])
def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path, mask):
    build(tmp_path)
    sound = content(tmp_path)
    assert len(segments(tmp_path)) >= 3
    refused = 0
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        used = len(data.rstrip(b"\0"))
        changed = bytearray(data)
        with path.open("r+b", buffering=0) as file:
            for at in range(used):
                changed[at] ^= mask
                file.seek(at)
                file.write(changed[at : at + 1])
                try:
                    after = content(tmp_path)
                except (Corrupt, VersionMismatch) as error:
                    refused += 1
                    assert error.path == path
                    assert str(path) in str(error)
                    if isinstance(error, Corrupt):
                        assert f"offset {error.offset}" in str(error)
                        assert "swarmctl journal repair" in str(error)
                else:
                    assert after == sound, (path.name, at)
                changed[at] ^= mask
                file.seek(at)
                file.write(changed[at : at + 1])
    assert refused > 2000
    assert content(tmp_path) == sound


def test_refusing_changes_nothing(tmp_path):
    build(tmp_path)
    path = segments(tmp_path)[-1]
    data = bytearray(path.read_bytes())
    data[records.SECTOR + 45] ^= 1
    path.write_bytes(data)
    (tmp_path / (path.name + ".tmp")).write_bytes(b"unfinished")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(Corrupt):
        read(tmp_path, mend=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_missing_file_is_noticed(tmp_path):
    origin = tmp_path / "origin"
    build(origin).close()
    whole = content(origin)
    needed = [path for path in segments(origin) if path.name[-20:] >= next(origin.glob("snapshot-*")).name[-20:]]
    for path in sorted(origin.iterdir()):
        place = tmp_path / f"without-{path.name}"
        shutil.copytree(origin, place)
        (place / path.name).unlink()
        if path == segments(origin)[-1]:
            continue  # the newest segment of a clean stop leaves no trace elsewhere
        if path.name.startswith("snapshot") or path not in needed:
            assert content(place)[1][-len(whole[1]) :] == whole[1]  # the segments hold it too
        else:
            with pytest.raises(Corrupt):
                content(place)


def test_the_first_segment_cannot_go_missing_without_a_snapshot(tmp_path):
    write(tmp_path, BODIES, 1200).close()
    segments(tmp_path)[0].unlink()
    with pytest.raises(Corrupt, match="missing"):
        read(tmp_path)


def test_a_snapshot_alone_is_no_journal(tmp_path):
    build(tmp_path)
    for path in segments(tmp_path):
        path.unlink()
    with pytest.raises(Corrupt, match="no segment"):
        read(tmp_path)


def test_a_cut_snapshot_is_refused_at_every_length(tmp_path):
    build(tmp_path)
    (path,) = tmp_path.glob("snapshot-*")
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(Corrupt):
            content(tmp_path)
    path.write_bytes(data + b"\0")
    with pytest.raises(Corrupt):
        content(tmp_path)


def test_a_damaged_sealed_segment_is_refused_even_where_nothing_was_said_durable(tmp_path):
    write(tmp_path, BODIES[:3], synced=False).close()
    write(tmp_path, [], position=6)
    path = segments(tmp_path)[0]
    data = path.read_bytes()
    for cut in range(records.SECTOR, len(data) - 4):  # the last four are padding
        path.write_bytes(data[:cut])
        with pytest.raises(JournalError):
            read(tmp_path)


def test_what_is_damaged_before_a_statement_is_corruption_and_after_it_a_torn_tail(tmp_path):
    """Three batches in one sync: the second is lost by the crash. Then the same after an idle frame."""
    journal = write(tmp_path, BODIES[:1])
    (path,) = segments(tmp_path)
    start = journal._at
    for body in BODIES[1:4]:
        journal.append(body, 2)
    data = path.read_bytes()
    damaged = bytearray(data)
    hurt = start + records.frame_size(len(BODIES[1])) + records.FRAME_HEADER_SIZE
    damaged[hurt] ^= 0xFF
    path.write_bytes(damaged)
    _, batches, recovery = read(tmp_path)
    assert [body for _, body in batches] == BODIES[:2]
    assert recovery.torn is not None
    path.write_bytes(data)
    journal.sync()
    journal.mark_durable()
    journal.idle()
    damaged = bytearray(path.read_bytes())
    damaged[hurt] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(Corrupt, match="CRC"):
        read(tmp_path)


def test_a_damaged_header_of_the_very_last_batch_is_no_unfinished_write(tmp_path):
    """Headers lie inside one sector; a whole one that does not match was damaged after it was written."""
    journal = write(tmp_path, BODIES[:3])
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    start = journal._at - records.frame_size(len(BODIES[2]))
    for at in range(start + 4, start + records.FRAME_HEADER_SIZE):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(Corrupt, match="header"):
            read(tmp_path)


def test_a_damaged_body_of_the_very_last_batch_cannot_be_told_from_an_unfinished_write(tmp_path):
    """The one thing that is undecidable, until the idle frame a second later; so the evidence is kept."""
    journal = write(tmp_path, BODIES[:3])
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[journal._at - 10] ^= 0xFF
    path.write_bytes(data)
    _, batches, recovery = read(tmp_path, mend=True)
    assert [body for _, body in batches] == BODIES[:2]
    assert recovery.torn.copy.read_bytes() == data[recovery.torn.offset :].rstrip(b"\0")


def test_a_damaged_idle_frame_is_corruption_once_something_follows_it(tmp_path):
    journal = write(tmp_path, BODIES[:2])
    idle = journal._at
    journal.idle()
    (path,) = segments(tmp_path)
    alone = path.read_bytes()
    journal.append(BODIES[2], 2)
    followed = path.read_bytes()
    for at in (idle + 41, idle + 3):  # its body's CRC; its magic
        for data, refused in ((alone, False), (followed, True)):
            damaged = bytearray(data)
            damaged[at] ^= 0xFF
            path.write_bytes(damaged)
            if refused:
                with pytest.raises(Corrupt):
                    read(tmp_path)
            else:
                assert [body for _, body in read(tmp_path)[1]] == BODIES[:2]


def test_nothing_may_follow_a_seal(tmp_path):
    write(tmp_path, BODIES[:2]).close()
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data + bytes(100))
    assert read(tmp_path)[2].clean
    path.write_bytes(data + bytes(100) + b"x")
    with pytest.raises(Corrupt, match="after the seal"):
        read(tmp_path)


def test_zeroes_over_what_was_durable_are_corruption(tmp_path):
    journal = write(tmp_path, BODIES[:6])
    journal.idle()
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    for at in range(records.SECTOR, journal._at - 48, 8):
        path.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
        try:
            after = content(tmp_path)
        except Corrupt:
            continue
        assert len(after[1]) == 6, at


@pytest.mark.parametrize("kind", [records.BATCH, records.IDLE, records.SEAL])
def test_a_frame_inside_a_body_is_not_taken_for_a_frame(tmp_path, kind):
    """A body that holds frames of another segment, or of this one as it was: say, a backup put into the queue."""
    salt = int.from_bytes(salts(4), "big") | 1
    fake = records.pack_frame(kind, b"fake", 2, 900, 900, salt + 1)
    old = records.pack_frame(records.BATCH, BODIES[0], 2, 0, 0, salt)
    inner = (bytes(8) + fake + bytes(8)) * 4 + old
    journal = write(tmp_path, [BODIES[0], inner])
    _, batches, recovery = read(tmp_path)
    assert [body for _, body in batches] == [BODIES[0], inner]
    assert recovery.torn is None
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    start = journal._at - records.frame_size(len(inner))
    for cut in range(start + 1, journal._at - 8, 7):  # the frames inside say nothing about the one that is torn
        path.write_bytes(data[:cut] + bytes(len(data) - cut))
        _, batches, recovery = read(tmp_path)
        assert [body for _, body in batches] == [BODIES[0]]
        assert recovery.torn is not None


def test_a_snapshot_beyond_the_journal_is_corruption(tmp_path):
    write(tmp_path, BODIES[:4]).close()
    snapshot = SnapshotWriter(tmp_path, 100, 1, disk=FAST)
    snapshot.finish()
    with pytest.raises(Corrupt, match="snapshot"):
        read(tmp_path)


def test_a_newer_format_is_never_called_damage(tmp_path):
    build(tmp_path)
    for path, size in [(segments(tmp_path)[-1], 508), (next(tmp_path.glob("snapshot-*")), 48)]:
        data = path.read_bytes()
        newer = data[:8] + (9).to_bytes(4, "big") + data[12:size]
        path.write_bytes(newer + zlib.crc32(newer).to_bytes(4, "big") + data[size + 4 :])
        with pytest.raises(VersionMismatch, match="journal format 9"):
            read(tmp_path)
        path.write_bytes(data)
