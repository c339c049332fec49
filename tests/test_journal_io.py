"""DIRECT_IO, IO_BUFFER_SIZE, MMAP_ENABLED: other ways to the same bytes, each with its counter."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from swarmshd.journal import Disk, Journal, JournalFailed, SnapshotWriter, recover
from swarmshd.journal.disk import BLOCK
from swarmshd.journal.files import listing
from tests.test_engine import Peer, ask, begin, take, turn

pytestmark = pytest.mark.slow

SIZES = [1, 40, 300, 471, 472, 473, 4000, 4096, 70_000, 300_000, 3]


def journal(directory: Path, disk: Disk, rotation: int = 1 << 20) -> Journal:
    made = Journal(directory, rotation, disk=disk, random=lambda count: b"\x55" * count)
    made.begin(0, 1)
    return made


def write(made: Journal, seed: int) -> None:
    """Batches of all sizes, and now and then an empty frame."""
    chance = random.Random(seed)
    for _ in range(60):
        made.append(chance.randbytes(chance.choice(SIZES)), chance.randint(1, 9))
        made.sync()
        made.mark_durable()
        if chance.random() < 0.2:
            made.idle()


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def bodies(directory: Path, disk: Disk) -> list[bytes]:
    return [batch.body for batch in recover(directory, mend=False, disk=disk).batches()]


# -- past the page cache -----------------------------------------------------------------------------------


def direct(directory: Path) -> Journal:
    """A journal that writes so; skips the test where the file system cannot."""
    made = journal(directory, Disk(direct=True))
    if not made.io()["direct_io"]:
        pytest.skip(f"{directory}: no O_DIRECT here: {made.io()['direct_io_refused']}")
    return made


@pytest.mark.parametrize("seed", range(6))
def test_past_the_page_cache_the_bytes_are_the_same(tmp_path: Path, seed: int) -> None:
    usual, other = journal(tmp_path / "usual", Disk()), direct(tmp_path / "direct")
    for made in (usual, other):
        write(made, seed)
    assert content(tmp_path / "usual") == content(tmp_path / "direct"), "while they are written to"
    for made in (usual, other):
        made.close()
    assert content(tmp_path / "usual") == content(tmp_path / "direct"), "and sealed"
    assert len(listing(tmp_path / "direct").segments) > 1
    told = other.io()
    assert told["direct_bytes"] % BLOCK == 0
    assert 0 < told["direct_padding_bytes"] < told["direct_bytes"]


def test_where_the_file_system_refuses_it_is_told_and_the_page_cache_does(tmp_path: Path) -> None:
    class Refusing(Disk):
        def open_direct(self, path: Path) -> int:
            raise OSError(errno.EINVAL, "Invalid argument", str(path))

    made = journal(tmp_path, Refusing(direct=True))
    write(made, 1)
    told = made.io()
    assert (told["direct_io"], told["direct_io_refused"], told["direct_bytes"]) == (False, "Invalid argument", 0)
    made.close()
    assert len(bodies(tmp_path, Disk())) == 60


def test_a_write_that_is_refused_at_first_goes_through_the_page_cache(tmp_path: Path) -> None:
    class Refusing(Disk):
        def open_direct(self, path: Path) -> int:
            found = os.open(path, os.O_RDONLY)  # cannot be written to
            self.refused = found
            return found

        def pwrite(self, fd: int, data: Any, at: int) -> int:
            if fd == getattr(self, "refused", -1):
                raise OSError(errno.EINVAL, "Invalid argument")
            return os.pwrite(fd, data, at)

    made = journal(tmp_path, Refusing(direct=True))
    made.append(b"first", 1)
    made.append(b"second", 1)
    made.sync()
    made.mark_durable()
    assert made.io()["direct_io_refused"] == "Invalid argument"
    made.close()
    assert bodies(tmp_path, Disk()) == [b"first", b"second"]


def test_a_new_segment_that_cannot_be_written_to_so_fails_the_journal(tmp_path: Path) -> None:
    """It fails as such, with the file and why, and takes nothing more."""

    class OutOfDescriptors(Disk):
        left = 3

        def open_direct(self, path: Path) -> int:
            return os.open(path, os.O_WRONLY)

        def open(self, path: Path) -> int:
            self.left -= path.name.startswith("segment")
            if not self.left:
                raise OSError(errno.EMFILE, "Too many open files", str(path))
            return super().open(path)

    def fill() -> None:
        for _ in range(100):
            made.append(bytes(100_000), 1)
            made.sync()
            made.mark_durable()
            made.turn_if_due()

    made = journal(tmp_path, OutOfDescriptors(direct=True))
    with pytest.raises(JournalFailed, match="Too many open files"):
        fill()
    with pytest.raises(JournalFailed):
        made.append(b"more", 1)
    made.close()


def test_a_daemon_with_direct_io_says_whether_it_has_it(tmp_path: Path) -> None:
    engine = begin(tmp_path / "state", "DIRECT_IO=true").engine
    for _ in range(3):
        ask(engine, "submit", type="t", description="d")
    wal = ask(engine, "stats", section="wal")["sections"]["wal"]
    if wal["direct_io"]:
        assert wal["direct_bytes"] >= 3 * BLOCK
        assert not ask(engine, "health")["conditions"]
    else:
        (condition,) = ask(engine, "health")["conditions"]
        assert condition["name"] == "direct_io_refused"
    engine.close(engine.queue.desk.now)
    again = begin(tmp_path / "state").engine
    assert len(again.queue.tables.items) == 3
    assert ask(again, "stats", section="wal")["sections"]["wal"]["direct_io"] is False


# -- pieces, and maps --------------------------------------------------------------------------------------


def test_files_are_read_and_zeroed_in_pieces_of_the_size_that_is_set(tmp_path: Path) -> None:
    small, large = Disk(4096), Disk(1 << 20)
    made = journal(tmp_path, small)
    assert small.zero_writes == (1 << 20) // 4096, "but for the header's sector, in one piece less"
    write(made, 2)
    made.close()
    found = bodies(tmp_path, small)
    assert bodies(tmp_path, large) == found
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert small.reads >= size // 4096
    assert large.reads <= size // (1 << 20) + 2 * len(listing(tmp_path).segments) + 1


def test_sealed_segments_are_mapped_and_the_newest_is_not(tmp_path: Path) -> None:
    made = journal(tmp_path, Disk())
    write(made, 3)
    made.close()
    segments = len(listing(tmp_path).segments)
    assert segments > 1
    mapped, read = Disk(mapped=True), Disk()
    assert bodies(tmp_path, mapped) == bodies(tmp_path, read)
    assert (mapped.maps, read.maps) == (segments - 1, 0)


@pytest.mark.parametrize("settings", [["MMAP_ENABLED=false"], ["IO_BUFFER_SIZE=4096"], ["DIRECT_IO=true"]])
def test_a_daemon_finds_the_same_items_however_it_reads(tmp_path: Path, settings: list[str]) -> None:
    place = tmp_path / "state"
    engine = begin(place, "JOURNAL_ROTATION_MB=1").engine
    peer = Peer()
    for number in range(60):
        take(engine, peer, number, "submit", type="t", description="d", payload=os.urandom(40_000))
        turn(engine)
    engine.close(engine.queue.desk.now)
    again = begin(place, *settings).engine
    assert [item.payload for item in again.queue.tables.items.values()] == [
        item.payload for item in engine.queue.tables.items.values()
    ]
    wal = ask(again, "stats", section="wal")["sections"]["wal"]
    assert wal["recovery_ms"] >= 0
    assert wal["io_maps"] == (0 if settings == ["MMAP_ENABLED=false"] else 2)
    assert (wal["io_reads"] > 400) == (settings == ["IO_BUFFER_SIZE=4096"])


def test_what_is_mapped_was_readable(tmp_path: Path) -> None:
    """A sector that cannot be read is an error with the file's name, not a signal."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10_000)
    disk = Disk(4096, mapped=True)
    assert bytes(disk.read_sealed(path)) == b"x" * 10_000
    assert (disk.reads, disk.maps) == (3, 1)
    with pytest.raises(OSError, match="/proc/self/mem"):
        disk.read_sealed(Path("/proc/self/mem"))


def test_a_snapshot_is_read_back_from_the_disk(tmp_path: Path) -> None:
    """Not from what the system still has in memory of what was written."""
    calls: list[str] = []

    class Watched(Disk):
        def fsync(self, fd: int) -> None:  # type: ignore[override]
            calls.append("fsync")
            os.fsync(fd)

        def forget(self, fd: int) -> None:
            calls.append("forget")
            super().forget(fd)

        def close(self, fd: int) -> None:
            calls.append("close")
            super().close(fd)

    made = SnapshotWriter(tmp_path, 5, 1, disk=Watched())
    made.add(b"\x80", 0)
    made.finish()
    assert calls[:3] == ["fsync", "forget", "close"]
