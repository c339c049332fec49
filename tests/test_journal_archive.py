"""The archive: what a snapshot covers is kept, compressed when old, removed when too old or too much."""

import errno
import gzip
import os

import pytest

from swarmshd.journal import Corrupt, SnapshotWriter, Terms, archive
from swarmshd.journal.disk import Disk
from swarmshd.journal.files import listing
from tests.test_journal import FastDisk, begin, put, read

DAY = 86_400_000
NOW = 1_700_000_000_000
FOREVER = 10_000 * DAY


@pytest.fixture
def disk():
    return FastDisk()


@pytest.fixture
def kept(tmp_path, disk):
    """A journal whose first segments are archived; their bytes by name."""
    journal = begin(tmp_path, disk, rotation_bytes=2000)
    for number in range(60):
        put(journal, b"%d" % number * 30, 2)
    found = listing(tmp_path).segments
    for position in (found[1][0], found[3][0]):
        made = SnapshotWriter(tmp_path, position, 1, disk=disk)
        made.add(b"rows", 1)
        made.finish()
    whole = {path.name: path.read_bytes() for _, path in found[:3]}
    everything = read(tmp_path)[1]
    pruned = journal.prune(found[3][0], keep=True)
    assert (pruned.segments, pruned.snapshots) == (3, 1)
    assert read(tmp_path)[1] == everything
    return whole


def date(tmp_path, *ages):
    for each, age in zip(archive.segments(tmp_path), ages, strict=True):
        os.utime(each.path, ns=((NOW - age) * 1_000_000,) * 2)


def content(kept: archive.Kept) -> bytes:
    """The bytes of an archived file as they were."""
    data = kept.path.read_bytes()
    return archive.unpack(kept.path, data) if kept.compressed else data


def test_what_is_pruned_is_in_the_archive(tmp_path, disk, kept):
    found = archive.segments(tmp_path)
    assert {each.path.name: content(each) for each in found} == kept
    assert [each.start for each in found] == sorted(each.start for each in found)
    assert [each.path.name for each in archive.snapshots(tmp_path)] == [f"snapshot-{found[1].start:020}"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "archive").iterdir()} == {0o600}


def test_old_ones_are_compressed_and_read_the_same(tmp_path, disk, kept):
    date(tmp_path, 9 * DAY, 8 * DAY, 6 * DAY)
    terms = Terms(7 * DAY, 30 * DAY, 1 << 30)
    would = archive.tend(disk, tmp_path, terms, NOW, dry=True)
    assert would.compressed == sorted(kept)[:2]
    assert not list((tmp_path / "archive").glob("*.gz"))
    assert archive.tend(disk, tmp_path, terms, NOW) == would
    found = archive.segments(tmp_path)
    assert [each.compressed for each in found] == [True, True, False]
    assert [NOW - each.written for each in found] == [9 * DAY, 8 * DAY, 6 * DAY], "they keep their dates"
    assert {each.path.name.removesuffix(".gz"): content(each) for each in found} == kept
    assert {each.path.name.removesuffix(".gz"): archive.header(disk, each).start for each in found} == {
        name: int(name[-20:]) for name in kept
    }
    assert gzip.decompress(found[0].path.read_bytes()) == kept[found[0].path.name[:-3]]
    assert archive.tend(disk, tmp_path, terms, NOW) == ([], [])


def test_too_old_ones_go_and_the_oldest_when_it_is_too_much(tmp_path, disk, kept):
    date(tmp_path, 31 * DAY, 8 * DAY, 6 * DAY)
    names = sorted(kept)
    assert archive.tend(disk, tmp_path, Terms(FOREVER, 30 * DAY, 1 << 30), NOW).removed == names[:1]
    least = archive.segments(tmp_path)[-1].bytes + archive.snapshots(tmp_path)[0].bytes
    assert archive.tend(disk, tmp_path, Terms(FOREVER, FOREVER, least), NOW).removed == names[1:2]
    assert archive.tend(disk, tmp_path, Terms(FOREVER, FOREVER, 0), NOW).removed == names[2:]
    assert archive.segments(tmp_path) == []


def test_a_crash_between_the_steps_of_compressing_does_no_harm(tmp_path, disk, kept):
    original = archive.segments(tmp_path)[0]
    data = original.path.read_bytes()
    archive.compress(disk, original)
    original.path.write_bytes(data)  # it was not removed yet
    unfinished = original.path.with_name("segment-00000000000000000099.gz.tmp")
    unfinished.write_bytes(b"half")
    found = archive.segments(tmp_path)
    assert len(found) == 3
    assert found[0].compressed
    assert content(found[0]) == data
    archive.tend(disk, tmp_path, Terms(FOREVER, FOREVER, 1 << 30), NOW)
    assert not unfinished.exists()
    assert not original.path.exists(), "nobody would count it, nor remove it, before the compressed one goes"
    archive.remove(disk, found[0])
    assert len(archive.segments(tmp_path)) == 2


def test_a_damaged_compressed_segment_is_told(tmp_path, disk, kept):
    archive.compress(disk, archive.segments(tmp_path)[0])
    (path,) = (tmp_path / "archive").glob("*.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Corrupt, match="decompressed"):
        content(archive.segments(tmp_path)[0])
    path.write_bytes(data[:10])
    with pytest.raises(Corrupt):
        archive.header(disk, archive.segments(tmp_path)[0])


def test_without_an_archive_there_is_none(tmp_path):
    assert archive.segments(tmp_path) == archive.snapshots(tmp_path) == []
    assert archive.tend(Disk(), tmp_path, Terms(0, 0, 0), NOW) == ([], [])


def test_what_cannot_be_compressed_leaves_no_file_open_and_none_half_done(tmp_path, disk, kept, monkeypatch):
    def failing(*_, **__):
        raise OSError(errno.EIO, "of the disk")

    date(tmp_path, DAY, DAY, DAY)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "utime", failing)
    with pytest.raises(OSError, match="of the disk"):
        archive.tend(disk, tmp_path, Terms(0, FOREVER, 1 << 30), NOW)
    assert len(os.listdir("/proc/self/fd")) == before
    assert {path.name for path in (tmp_path / "archive").glob("segment-*")} == set(kept)
