"""The journal on a disk that crashes at any operation and loses any part of what was not synced.

`CrashingDisk` runs on real files. It keeps what is durable by the rules: the bytes of a file after a sync of the file,
a name after a sync of the directory. After the crash the directory is made to hold that, a prefix of the later changes
of names, and for each file any sectors of the later writes.
"""

import errno
import os
import random

import pytest

from swarmshd.journal import Journal, JournalFailed, SnapshotWriter, recover, room, writer
from swarmshd.journal.disk import Disk
from swarmshd.journal.files import listing

SECTOR = 512


class Crash(BaseException):
    """The machine is gone; nothing may catch this as an error."""


class CrashingDisk(Disk):
    """Crashes at operation number `crash_at`; `lose` then makes the directory what may be left of it."""

    def __init__(self, directory, crash_at=-1):
        self.directory = directory
        self.crash_at = crash_at
        self.operations = 0
        self.durable = {}  # inode -> bytes
        self.pending = {}  # inode -> [(offset, data) or new size]
        self.names = {}  # durable names -> inode
        self.renames = []  # later changes: (name, inode or None)
        self.held = []  # descriptors of files without a name, so that no new file gets their inode
        self.opened = set()  # a crash closes what its process had open
        self.syncs = 0
        self.fail_sync = -1  # this one fails, as Linux has it: what was to be written is lost, and can still be read
        for path in directory.iterdir() if directory.is_dir() else ():
            inode = path.stat().st_ino
            self.durable[inode] = path.read_bytes()
            self.names[path.name] = inode

    def step(self):
        if self.operations == self.crash_at:
            raise Crash
        self.operations += 1

    def note(self, fd, change):
        self.pending.setdefault(os.fstat(fd).st_ino, []).append(change)

    def create(self, path):
        self.step()
        fd = super().create(path)
        self.opened.add(fd)
        inode = os.fstat(fd).st_ino
        self.durable.setdefault(inode, b"")
        self.note(fd, 0)
        self.renames.append((path.name, inode))
        return fd

    def open(self, path):
        fd = super().open(path)
        self.opened.add(fd)
        return fd

    def close(self, fd):
        self.opened.discard(fd)
        os.close(fd)

    def pwrite(self, fd, data, offset):
        self.step()
        self.note(fd, (offset, bytes(data)))
        return os.pwrite(fd, data, offset)

    def ftruncate(self, fd, size):
        self.step()
        self.note(fd, size)
        os.ftruncate(fd, size)

    def fsync(self, fd):
        self.step()
        if os.fstat(fd).st_ino == self.directory.stat().st_ino:
            for name, inode in self.renames:
                self.names[name] = inode
            self.renames.clear()
            return
        inode = os.fstat(fd).st_ino
        changes = self.pending.pop(inode, [])
        self.syncs += 1
        if self.syncs - 1 == self.fail_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.durable[inode] = replay(self.durable[inode], changes)

    fdatasync = fsync

    def hold(self, path):
        if path.exists():
            self.held.append(os.open(path, os.O_RDONLY))

    def rename(self, old, new):
        self.step()
        self.hold(new)
        self.renames += [(new.name, old.stat().st_ino), (old.name, None)]
        os.rename(old, new)

    def unlink(self, path):
        self.step()
        self.hold(path)
        self.renames.append((path.name, None))
        os.unlink(path)

    def lose(self, seed, share):
        """Make the directory what a crash may leave; ``share`` of the sectors that were not synced are on the disk."""
        choose = random.Random(seed)
        contents = {}
        for inode, durable in self.durable.items():
            changes = self.pending.get(inode, [])
            contents[inode] = replay(durable, list(torn(choose, changes, share)))
        names = dict(self.names)
        names.update(self.renames[: choose.randint(0, len(self.renames))])
        for path in self.directory.iterdir():
            path.unlink()
        for name, inode in names.items():
            if inode is not None:
                (self.directory / name).write_bytes(contents[inode])
        self.close_held()

    def close_held(self):
        for fd in [*self.held, *self.opened]:
            os.close(fd)
        self.held.clear()
        self.opened.clear()


def replay(data, changes):
    data = bytearray(data)
    for change in changes:
        if isinstance(change, int):
            data = data[:change].ljust(change, b"\0")
        else:
            offset, written = change
            data = data.ljust(offset + len(written), b"\0")
            data[offset : offset + len(written)] = written
    return bytes(data)


def torn(choose, changes, share):
    """Any part of the changes, by sectors; a change of the size that is lost takes the later ones with it."""
    for change in changes:
        if isinstance(change, int):
            if choose.random() > share:
                return
            yield change
            continue
        offset, data = change
        while data:
            size = SECTOR - offset % SECTOR
            if choose.random() < share:
                yield offset, data[:size]
            offset, data = offset + size, data[size:]


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch):
    for module in (writer, room):
        for name, size in (("FIRST_ROOM", 2048), ("STEP", 1024), ("LOW", 512)):
            monkeypatch.setattr(module, name, size)


class Life:
    """What was appended over all starts, and how much of it was acknowledged."""

    def __init__(self, directory):
        self.directory = directory
        self.appended = {}  # position -> body
        self.acknowledged = 0

    def run(self, disk, seed):
        """Start, do a bit of everything, stop."""
        choose = random.Random(seed)
        recovery = self.start(disk, seed)
        self.acknowledged = recovery.position  # a client may have been told what the recovery found
        journal = Journal(self.directory, 1500, disk=disk)
        journal.begin(recovery.position + 1000 * (not recovery.clean), recovery.epoch + 1)
        for number in range(24):
            body = choose.randbytes(choose.randint(1, 400))
            self.appended[journal.end] = body
            journal.append(body, 1)
            if choose.random() < 0.7:
                journal.sync()
                journal.mark_durable()
                self.acknowledged = journal.durable
            if number % 5 == 3:
                journal.prepare()
            if number % 5 == 4:
                journal.idle()
                self.acknowledged = journal.durable
            if number in {8, 19}:
                self.fold(journal, disk)
        journal.close()
        self.acknowledged = journal.end

    def fold(self, journal, disk):
        starts = [start for start, _ in listing(self.directory).segments]
        if len(starts) > 1 and starts[-1] in self.appended:
            snapshot = SnapshotWriter(self.directory, starts[-1], 1, disk=disk)
            snapshot.add(repr(sorted(p for p in self.appended if p < starts[-1])).encode(), 1)
            snapshot.finish()
            journal.prune(starts[-1])

    def start(self, disk, seed):
        """Recover, and check that everything acknowledged is there, and nothing that was never appended."""
        recovery = recover(self.directory, disk=disk)
        chunks = list(recovery.chunks())
        found = {batch.position: batch.body for batch in recovery.batches()}
        covered = recovery.snapshot_position
        wanted = {position: body for position, body in self.appended.items() if covered <= position < self.acknowledged}
        assert wanted.items() <= found.items(), seed
        assert found.items() <= self.appended.items(), seed
        if covered:
            assert chunks == [repr(sorted(p for p in self.appended if p < covered)).encode()]
        for position in [p for p in self.appended if p >= covered and p not in found]:
            del self.appended[position]
        return recovery


@pytest.mark.parametrize("share", [0.5, pytest.param(0.0, marks=pytest.mark.slow)])
def test_what_a_killed_daemon_left_unsynced_is_durable_before_it_is_built_upon(tmp_path, share):
    """First only the process dies, so its writes are still there to be read; then the power fails."""
    total = crash_points(tmp_path)
    for killed_at in range(0, total, 2):
        directory = tmp_path / f"{killed_at}"
        directory.mkdir()
        life = Life(directory)
        disk = CrashingDisk(directory, killed_at)
        with pytest.raises(Crash):
            life.run(disk, 1)
        disk.crash_at = killed_at + 3 + killed_at % 29
        with pytest.raises(Crash):
            life.run(disk, 2)
        disk.lose(killed_at, share)
        last = CrashingDisk(directory)
        life.run(last, 3)
        last.close_held()


def crash_points(tmp_path):
    directory = tmp_path / "counted"
    directory.mkdir()
    disk = CrashingDisk(directory)
    Life(directory).run(disk, 1)
    disk.close_held()
    assert {path.name.split("-")[0] for path in directory.iterdir()} == {"segment", "snapshot"}
    return disk.operations


def test_the_work_is_more_than_a_few_operations(tmp_path):
    assert crash_points(tmp_path) >= 100


@pytest.mark.parametrize("share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.95, 1.0))])
def test_a_crash_at_any_operation_loses_nothing_that_was_acknowledged(tmp_path, share):
    """A life of three starts: the second crashes in recovery or early, the third sees what is left."""
    total = crash_points(tmp_path)
    for crash_at in range(total):
        directory = tmp_path / f"{crash_at}"
        directory.mkdir()
        life = Life(directory)
        for seed, limit in ((1, crash_at), (2, crash_at % 37), (3, -1)):
            disk = CrashingDisk(directory, limit)
            try:
                life.run(disk, seed)
                disk.close_held()
            except Crash:
                disk.lose(crash_at * 10 + seed, share)
        life.start(CrashingDisk(directory), 4)
        for path in directory.iterdir():
            path.unlink()


def test_what_a_failed_sync_lost_is_written_anew_by_the_next_start(tmp_path):
    """After a sync that failed, the system's copy of a page counts as written, and is not.

    The next start reads it, tells clients what it says, and builds upon it; so it must bring it to the disk.
    """
    failed = 0
    for number in range(200):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        life = Life(directory)
        disk = CrashingDisk(directory)
        disk.fail_sync = number
        try:
            life.run(disk, 1)
        except (JournalFailed, OSError):
            failed += 1
        else:
            break
        for fd in disk.opened:  # the program ended with status 74
            os.close(fd)
        disk.opened.clear()
        disk.crash_at = disk.operations + 12 + number % 17
        with pytest.raises(Crash):
            life.run(disk, 2)
        disk.lose(number, 0.0)
        life.start(CrashingDisk(directory), 3)
    assert failed > 30
