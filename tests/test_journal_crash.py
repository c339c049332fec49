"""The journal on a disk that crashes at any operation and loses any part of what was not synced.

`CrashingDisk` runs on real files. It keeps what is durable by the rules: the bytes of a file after a sync of the file,
a name after a sync of its directory. After the crash the directory is made to hold that; of each directory a prefix of
the later changes of names, whatever became of the others; and of each file what may be there of the later writes: any
sectors of them, or all of them up to some byte. It can be small, too, and then be full.
"""

import errno
import os
import random
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmshd.journal import Full, Journal, JournalFailed, Past, SnapshotWriter, Terms, archive, recover, room, writer
from swarmshd.journal.disk import Disk, Space
from swarmshd.journal.files import listing

pytestmark = pytest.mark.slow

SECTOR = 512
ENDLESS = 1 << 40
TERMS = Terms(0, 1 << 50, 4000)
"""Of the archive: everything is compressed at once, and there is room for little."""


class Crash(BaseException):
    """The machine is gone; nothing may catch this as an error."""


class CrashingDisk(Disk):
    """Crashes at operation number `crash_at`; `lose` then makes the directory what may be left of it."""

    def __init__(self, directory, crash_at=-1, capacity=ENDLESS):
        self.directory = directory
        self.crash_at = crash_at
        self.capacity = capacity
        self.operations = 0
        self.durable = {}  # inode -> bytes; of a directory: name -> inode
        self.pending = {}  # inode -> [(offset, data) or new size]; of a directory: [(name, inode or None)]
        self.held = []  # descriptors of files without a name, so that no new file gets their inode
        self.opened = set()  # a crash closes what its process had open
        self.syncs = 0
        self.fail_sync = -1  # this one fails, as Linux has it: what was to be written is lost, and can still be read
        self.root = directory.stat().st_ino
        self._look(directory)

    def _look(self, directory):
        names = self.durable[directory.stat().st_ino] = {}
        for path in directory.iterdir():
            inode = names[path.name] = path.stat().st_ino
            if path.is_dir():
                self._look(path)
            else:
                self.durable[inode] = path.read_bytes()

    def step(self):
        if self.operations == self.crash_at:
            raise Crash
        self.operations += 1

    def note(self, fd, change):
        self.pending.setdefault(os.fstat(fd).st_ino, []).append(change)

    def name(self, path, inode):
        self.pending.setdefault(path.parent.stat().st_ino, []).append((path.name, inode))

    def mkdir(self, path):
        self.step()
        super().mkdir(path)
        inode = path.stat().st_ino
        self.durable[inode] = {}
        self.name(path, inode)

    def create(self, path):
        self.step()
        fd = super().create(path)
        self.opened.add(fd)
        inode = os.fstat(fd).st_ino
        self.durable.setdefault(inode, b"")
        self.note(fd, 0)
        self.name(path, inode)
        return fd

    def open(self, path):
        fd = super().open(path)
        self.opened.add(fd)
        return fd

    def close(self, fd):
        self.opened.discard(fd)
        os.close(fd)

    def space(self, directory=None):
        if self.capacity == ENDLESS:
            return Space(ENDLESS, ENDLESS)
        used = sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())
        return Space(self.capacity, max(0, self.capacity - used))

    def pwrite(self, fd, data, offset):
        self.step()
        grows = offset + len(data) - os.fstat(fd).st_size
        if grows > 0 and self.space().free < grows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.note(fd, (offset, bytes(data)))
        return os.pwrite(fd, data, offset)

    def ftruncate(self, fd, size):
        self.step()
        self.note(fd, size)
        os.ftruncate(fd, size)

    def fsync(self, fd):
        self.step()
        facts = os.fstat(fd)
        inode = facts.st_ino
        changes = self.pending.pop(inode, [])
        if stat.S_ISDIR(facts.st_mode):
            self.durable[inode] = dict([*self.durable[inode].items(), *changes])
            return
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
        self.name(new, old.stat().st_ino)
        self.name(old, None)
        os.rename(old, new)

    def unlink(self, path):
        self.step()
        self.hold(path)
        os.unlink(path)
        self.name(path, None)

    def lose(self, seed, share):
        """Make the directory what a crash may leave.

        ``share`` of the sectors that were not synced are on the disk; with None it is all up to some byte.
        """
        choose = random.Random(seed)
        contents = {inode: self._left(choose, share, inode) for inode in self.durable}
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._make(self.directory, self.root, contents)
        self.close_held()

    def _left(self, choose, share, inode):
        durable, changes = self.durable[inode], self.pending.get(inode, [])
        if isinstance(durable, dict):
            return dict([*durable.items(), *changes[: choose.randint(0, len(changes))]])
        return replay(durable, list(cut(choose, changes) if share is None else torn(choose, changes, share)))

    def _make(self, place, inode, contents):
        for name, each in contents[inode].items():
            if each is not None and isinstance(contents[each], dict):
                (place / name).mkdir(0o700)
                self._make(place / name, each, contents)
            elif each is not None:
                (place / name).write_bytes(contents[each])

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


def cut(choose, changes):
    """All of the changes up to some byte."""
    left = choose.randint(0, sum(1 if isinstance(change, int) else len(change[1]) for change in changes))
    for change in changes:
        if left <= 0:
            return
        if isinstance(change, int):
            yield change
            left -= 1
        else:
            offset, data = change
            yield offset, data[:left]
            left -= len(data)


@pytest.fixture(autouse=True, scope="module")
def _small_segments():
    with pytest.MonkeyPatch.context() as patch:
        for module in (writer, room):
            for name, size in (("FIRST_ROOM", 2048), ("STEP", 1024), ("LOW", 512), ("SMALL_ROOM", 1024)):
                patch.setattr(module, name, size, raising=False)
        yield


def steps(seed):
    """A bit of everything."""
    choose = random.Random(seed)
    for number in range(24):
        yield "append"
        if choose.random() < 0.7:
            yield "sync"
        if number % 5 == 3:
            yield "prepare"
        if number % 5 == 4:
            yield "idle"
        if number == 12:
            yield "give"
        if number in {8, 14, 19}:
            yield "fold"
        if number == 21:
            yield "tend"


class Life:
    """What was appended over all starts, and how much of it was acknowledged."""

    def __init__(self, directory, reserve=0):
        self.directory = directory
        self.reserve = reserve
        self.appended = {}  # position -> body
        self.acknowledged = 0

    def run(self, disk, seed):
        """Start, do a bit of everything, stop."""
        self.live(disk, steps(seed), seed)

    def live(self, disk, wanted, seed):
        """Start, do what is wanted, stop."""
        choose = random.Random(seed)
        recovery = self.start(disk, seed)
        self.acknowledged = recovery.position  # a client may have been told what the recovery found
        journal = Journal(self.directory, 1500, disk=disk, reserve_bytes=self.reserve)
        journal.begin(recovery.position + 1000 * (not recovery.clean), recovery.epoch + 1)
        for step in wanted:
            try:
                self.do(journal, disk, step, choose)
            except Full:
                assert disk.capacity < ENDLESS
            self.acknowledged = journal.durable
        journal.close()
        self.acknowledged = journal.end

    def do(self, journal, disk, step, choose):
        if step == "append":
            body = choose.randbytes(choose.randint(1, 400))
            at = journal.end
            journal.append(body, 1)
            self.appended[at] = body
        elif step == "sync":
            journal.sync()
            journal.mark_durable()
        elif step == "give":
            journal.give(512)
        elif step == "fold":
            self.fold(journal, disk)
        elif step == "tend":
            journal.tend_archive(TERMS, 1 << 50)
        elif step == "turn":
            journal.sync()
            journal.mark_durable()
            journal.turn()
        else:
            getattr(journal, step)()

    def fold(self, journal, disk):
        starts = [start for start, _ in listing(self.directory).segments]
        if len(starts) > 1 and starts[-1] in self.appended:
            snapshot = SnapshotWriter(self.directory, starts[-1], 1, disk=disk)
            try:
                snapshot.add(repr(sorted(p for p in self.appended if p < starts[-1])).encode(), 1)
                snapshot.finish()
            except OSError as error:
                snapshot.abort()
                if error.errno != errno.ENOSPC:
                    raise
                return
            journal.prune(starts[-1], keep=True)

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
        self.look_back()
        return recovery

    def look_back(self):
        """What is in the archive is whole; what is left of the past has no gap."""
        for kept in archive.segments(self.directory):
            assert archive.header(Disk(), kept).start == kept.start
            if kept.compressed:
                archive.unpack(kept.path, kept.path.read_bytes())
        if self.appended:
            past = Past(self.directory, max(self.appended) + 1)
            left = {batch.position: batch.body for batch in past.batches(past.oldest)}
            assert left == {position: body for position, body in self.appended.items() if position >= past.oldest}


@pytest.mark.parametrize("share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, None))])
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
    assert {path.name.split("-")[0] for path in directory.iterdir()} == {"segment", "snapshot", "archive"}
    assert list(directory.glob("archive/segment-*.gz"))
    return disk.operations


def test_the_work_is_more_than_a_few_operations(tmp_path):
    assert crash_points(tmp_path) >= 100


@pytest.mark.parametrize(
    "share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.95, 1.0, None))]
)
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
        shutil.rmtree(directory)


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


lives = st.tuples(
    st.lists(st.sampled_from("append sync prepare idle turn fold tend give append sync".split()), max_size=40),
    st.integers(0, 150),
    st.sampled_from([None, 0.0, 0.5, 0.9, 1.0]),
    st.integers(0, 1 << 32),
)


@given(st.lists(lives, min_size=1, max_size=4), st.sampled_from([0, 2048]), st.sampled_from([ENDLESS, 14_000, 9_000]))
def test_law_acknowledged_is_durable_whatever_is_done_wherever_it_crashes(past, reserve, capacity):
    """Also with a reserve, and on a small disk that is full now and then."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        life = Life(directory, reserve)
        for wanted, crash_at, share, seed in past:
            disk = CrashingDisk(directory, crash_at, capacity)
            try:
                life.live(disk, wanted, seed)
            except Full:  # not even a start
                assert capacity < ENDLESS
                disk.close_held()
            except Crash:
                disk.lose(seed, share)
            else:
                disk.close_held()
        life.start(CrashingDisk(directory), 0)
