"""What is left of the past, read while the journal is written, folded and archived."""

import pytest

from swarmshd.journal import Corrupt, Gone, Past, SnapshotWriter, Terms, VersionMismatch, archive
from swarmshd.journal.files import listing, segment_path
from tests.test_journal import FastDisk, begin, put

NOW = 1 << 50
ALL = 120


@pytest.fixture
def disk():
    return FastDisk()


@pytest.fixture
def journal(tmp_path, disk):
    """Sixty batches of two events in several segments; the last segment is in use."""
    journal = begin(tmp_path, disk, rotation_bytes=1300)
    for number in range(ALL // 2):
        put(journal, b"%d" % number * 30, 2)
    assert len(listing(tmp_path).segments) > 4
    return journal


def fold(tmp_path, disk, position, journal, *, keep=True):
    made = SnapshotWriter(tmp_path, position, 1, disk=disk)
    made.add(b"rows of %d" % position, 1)
    made.finish()
    journal.prune(position, keep=keep)


def told(past, since):
    """Start and number of events of each batch, whose body is what was put there."""
    found = []
    for batch in past.batches(since):
        assert batch.body == b"%d" % (batch.position // 2) * 30
        found.append((batch.position, batch.event_count))
    return found


def expected(since, upto=ALL):
    return [(start, 2) for start in range(0, upto, 2) if start + 2 > since]


def test_every_place_can_be_gone_on_from(tmp_path, journal):
    past = Past(tmp_path, ALL)
    assert past.oldest == 0
    assert past.snapshots() == []
    for since in range(ALL + 1):
        assert past.knows(since)
        assert told(past, since) == expected(since)
    assert not past.knows(ALL + 1)


def test_what_is_not_durable_yet_is_not_read(tmp_path, journal):
    for upto in (0, 2, 50, ALL):
        past = Past(tmp_path, upto)
        assert told(past, 0) == expected(0, upto)
        assert past.knows(upto)
    put(journal, b"more", 3)
    assert told(Past(tmp_path, ALL), 100) == expected(100)


def test_half_a_frame_behind_what_is_durable_is_none_of_our_business(tmp_path, journal):
    path = listing(tmp_path).segments[-1][1]
    data = path.read_bytes().rstrip(b"\0")
    with path.open("r+b") as file:
        file.seek(len(data) + 8)
        file.write(b"SwB\xa7 and so on")
    assert told(Past(tmp_path, ALL), 0) == expected(0)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_archive_is_part_of_it(tmp_path, disk, journal, compressed):
    starts = [start for start, _ in listing(tmp_path).segments]
    fold(tmp_path, disk, starts[2], journal)
    fold(tmp_path, disk, starts[3], journal)
    if compressed:
        archive.tend(disk, tmp_path, Terms(0, 1 << 60, 1 << 40), NOW)
        assert all(kept.compressed for kept in archive.segments(tmp_path))
    past = Past(tmp_path, ALL)
    assert past.oldest == 0
    for since in (0, 1, starts[1], starts[2] + 1, starts[3] - 1, starts[3], ALL - 1):
        assert past.knows(since)
        assert told(past, since) == expected(since)
    assert past.snapshots() == starts[2:4]
    assert list(past.chunks(starts[2])) == [b"rows of %d" % starts[2]]
    assert list(past.chunks(starts[3])) == [b"rows of %d" % starts[3]]


def test_without_an_archive_the_past_begins_later(tmp_path, disk, journal):
    starts = [start for start, _ in listing(tmp_path).segments]
    fold(tmp_path, disk, starts[3], journal, keep=False)
    past = Past(tmp_path, ALL)
    assert past.oldest == starts[3]
    assert [past.knows(since) for since in (0, starts[3] - 1, starts[3], ALL)] == [False, False, True, True]
    assert told(past, starts[3]) == expected(starts[3])
    journal.turn()
    fold(tmp_path, disk, ALL, journal, keep=False)
    past = Past(tmp_path, ALL)
    assert (past.oldest, past.knows(ALL), told(past, ALL)) == (ALL, True, [])
    assert Past(tmp_path, 50).oldest == ALL, "what was asked for has been pruned meanwhile"


def test_what_is_moved_and_compressed_while_it_is_read_is_found_again(tmp_path, disk, journal):
    starts = [start for start, _ in listing(tmp_path).segments]
    past = Past(tmp_path, ALL)
    found = []
    for batch in past.batches(0):
        found.append((batch.position, batch.event_count))
        if batch.position == starts[1]:
            fold(tmp_path, disk, starts[3], journal)
        elif batch.position == starts[2]:
            archive.tend(disk, tmp_path, Terms(0, 1 << 60, 1 << 40), NOW)
            fold(tmp_path, disk, starts[4], journal)
        put(journal, b"more", 1)
    assert found == expected(0)


def test_what_is_removed_while_it_is_to_be_read_is_said(tmp_path, disk, journal):
    starts = [start for start, _ in listing(tmp_path).segments]
    past = Past(tmp_path, ALL)
    fold(tmp_path, disk, starts[3], journal, keep=False)
    with pytest.raises(Gone, match="ask again"):
        told(past, 0)
    assert told(past, starts[3]) == expected(starts[3])


def test_a_part_that_was_not_kept_ends_the_past(tmp_path, disk, journal):
    starts = [start for start, _ in listing(tmp_path).segments]
    fold(tmp_path, disk, starts[1], journal)
    fold(tmp_path, disk, starts[3], journal, keep=False)
    fold(tmp_path, disk, starts[4], journal)
    past = Past(tmp_path, ALL)
    assert past.oldest == starts[3]
    assert told(past, starts[3]) == expected(starts[3])
    kept = archive.segments(tmp_path)
    archive.compress(disk, kept[0])
    with pytest.raises(Corrupt, match=f"after position {starts[1]} and up to {starts[3]} are missing"):
        told(Past(tmp_path, ALL), 0)


def test_positions_between_two_epochs_were_never_reached(tmp_path, disk):
    journal = begin(tmp_path, disk)
    put(journal, b"0" * 30, 2)
    journal.close()
    again = begin(tmp_path, disk, position=1000, epoch=2)
    put(again, b"500" * 30, 2)
    past = Past(tmp_path, 1002)
    assert [past.knows(position) for position in (0, 2, 3, 999, 1000, 1001, 1002)] == [1, 1, 0, 0, 1, 1, 1]
    assert told(past, 2) == [(1000, 2)]


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_told_with_its_place(tmp_path, disk, journal, compressed):
    path = listing(tmp_path).segments[0][1]
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    if compressed:
        starts = [start for start, _ in listing(tmp_path).segments]
        fold(tmp_path, disk, starts[2], journal)
        kept = archive.segments(tmp_path)[0]
        archive.compress(disk, kept)
        with pytest.raises(Corrupt, match="does not match"):
            told(Past(tmp_path, ALL), 0)
        path = archive.segments(tmp_path)[0].path
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(Corrupt):
            told(Past(tmp_path, ALL), 0)
    else:
        with pytest.raises(Corrupt, match="does not match") as damage:
            told(Past(tmp_path, ALL), 0)
        assert damage.value.path == path
    assert told(Past(tmp_path, ALL), 60) == expected(60), "what is not asked for is not read"


@pytest.fixture
def archived(tmp_path, disk, journal):
    """Three archived segments, of which two are compressed, and a snapshot; in all there are two."""
    starts = [start for start, _ in listing(tmp_path).segments]
    for position in starts[1], starts[3]:
        fold(tmp_path, disk, position, journal)
    for kept in archive.segments(tmp_path)[:2]:
        archive.compress(disk, kept)
    return tmp_path


def everything(directory):
    """All that is left of the past: from where on, its batches, and the rows of each snapshot."""
    past = Past(directory, ALL)
    batches = told(past, past.oldest)
    return past.oldest, batches, [list(past.chunks(position)) for position in past.snapshots()]


def check_refusal(refusal, path, directory):
    assert refusal.path == path
    assert f"{path} at offset {refusal.offset}: " in str(refusal)
    assert f"`swarmctl journal repair --state-dir {directory} --to {directory}.sound`" in str(refusal)


@pytest.mark.slow
def test_law_never_emptier_any_flipped_byte_of_the_past_is_told_with_its_place(archived):
    """Of any file, the archive's too: what is read is all of it, as it was, or the place of the damage is told."""
    sound = everything(archived)
    assert len(sound[1]) == ALL // 2
    refused = 0
    for path in sorted(path for path in archived.rglob("*-*") if path.is_file()):
        data = path.read_bytes()
        changed = bytearray(data)
        for at in range(len(data.rstrip(b"\0"))):
            changed[at] ^= 0x10
            path.write_bytes(changed)
            try:
                assert everything(archived) == sound, (path, at)
            except Corrupt as refusal:
                refused += 1
                check_refusal(refusal, path, archived)
            except VersionMismatch as refusal:
                assert refusal.path == path
            changed[at] ^= 0x10
        path.write_bytes(data)
    assert refused > 4000
    assert everything(archived) == sound


@pytest.mark.slow
def test_law_never_emptier_any_cut_of_an_archived_file_is_told_with_its_place(archived):
    sound = everything(archived)
    for path in sorted((archived / "archive").iterdir()):
        data = path.read_bytes()
        for size in range(len(data)):
            path.write_bytes(data[:size])
            try:
                assert everything(archived) == sound, (path, size)
            except Corrupt as refusal:
                check_refusal(refusal, path, archived)
        path.write_bytes(data)
    assert everything(archived) == sound


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(Corrupt, match="no segment"):
        Past(tmp_path, 0)
    segment_path(tmp_path, 0).write_bytes(b"nonsense")
    with pytest.raises(Corrupt):
        Past(tmp_path, 0)
