"""The journal in use: appending, turning to new segments, room, pruning, failing, the lock."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmshd import records
from swarmshd.journal import (
    Full,
    Journal,
    JournalFailed,
    Locked,
    SnapshotWriter,
    StateLock,
    read_snapshot,
    recover,
    writer,
)
from swarmshd.journal.disk import Disk
from swarmshd.journal.files import listing, read_segment_header, sealed_end

MIB = 1 << 20


class FastDisk(Disk):
    """The real disk without waiting for it; it fails as `fails` says, by operation."""

    def __init__(self):
        self.fails = {}
        self.calls = []

    def _do(self, name, call, *arguments):
        self.calls.append((name, *arguments))
        failure = self.fails.get(name)
        if failure is not None:
            result = failure(*arguments)
            if result is not None:
                return result
        return call(*arguments)

    def pwrite(self, fd, data, offset):
        return self._do("pwrite", os.pwrite, fd, data, offset)

    def fsync(self, fd):
        return self._do("fsync", lambda fd: None, fd)

    def fdatasync(self, fd):
        return self._do("fdatasync", lambda fd: None, fd)

    def rename(self, old, new):
        return self._do("rename", os.rename, old, new)


def failing(number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def disk():
    return FastDisk()


def begin(directory, disk, rotation_bytes=100 * MIB, position=0, epoch=1):
    journal = Journal(directory, rotation_bytes, disk=disk)
    journal.begin(position, epoch)
    return journal


def put(journal, body, count=1):
    end = journal.append(body, count)
    assert journal.sync() == end
    journal.mark_durable()
    assert journal.durable == journal.end == end
    return end


def read(directory, mend=False):
    recovery = recover(directory, mend=mend)
    return recovery, [(batch.position, batch.event_count, batch.body) for batch in recovery.batches()]


def snapshot(directory, position, disk, chunks=(b"rows",)):
    made = SnapshotWriter(directory, position, 1, disk=disk)
    for chunk in chunks:
        made.add(chunk, 1)
    return made.finish()


@given(
    st.lists(st.tuples(st.binary(max_size=700), st.integers(1, 9), st.sampled_from("nsi")), max_size=40),
    st.sampled_from([1500, 100 * MIB]),
    st.sampled_from(["kill", "close"]),
)
@settings(max_examples=60, deadline=None)
def test_what_was_appended_is_read(tmp_path_factory, appends, rotation_bytes, end):
    directory = tmp_path_factory.mktemp("journal")
    journal = begin(directory, FastDisk(), rotation_bytes)
    wanted = []
    for body, count, then in appends:
        wanted.append((journal.end, count, body))
        journal.append(body, count)
        if then != "n":
            journal.sync()
            journal.mark_durable()
        if then == "i":
            journal.idle()
    if end == "close":
        journal.close()
    recovery, batches = read(directory)
    assert batches == wanted
    assert recovery.position == sum(count for _, count, _ in appends)
    assert recovery.epoch == 1
    assert recovery.torn is None
    assert recovery.clean or end == "kill"


def test_files_are_for_their_owner_alone(tmp_path, disk):
    old = os.umask(0)
    try:
        directory = tmp_path / "state" / "journal"
        journal = begin(directory, disk)
        snapshot(directory, 0, disk)
        StateLock(directory).acquire()
    finally:
        os.umask(old)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    journal.close()


def test_an_append_changes_no_size_and_is_one_write(tmp_path, disk):
    journal = begin(tmp_path, disk)
    size = journal._path.stat().st_size
    assert size == MIB
    disk.calls.clear()
    for _ in range(50):
        put(journal, b"x" * 1000)
    assert [call[0] for call in disk.calls] == ["pwrite", "fdatasync"] * 50
    assert journal._path.stat().st_size == size


def test_a_stop_is_clean_after_a_seal_or_an_idle_frame_only(tmp_path, disk):
    journal = begin(tmp_path, disk)
    assert not read(tmp_path)[0].clean
    put(journal, b"one")
    assert not read(tmp_path)[0].clean
    assert journal.idle()
    assert not journal.idle()
    assert read(tmp_path)[0].clean
    journal.append(b"two", 1)
    assert journal.idle()
    assert journal.durable == 2
    put(journal, b"three")
    assert not read(tmp_path)[0].clean
    journal.close()
    journal.close()
    assert read(tmp_path)[0].clean


def test_an_idle_frame_is_synced_before_anything_follows_it(tmp_path, disk):
    journal = begin(tmp_path, disk)
    put(journal, b"one")
    disk.calls.clear()
    journal.idle()
    assert [call[0] for call in disk.calls] == ["pwrite", "fdatasync"]


def test_segments_turn_and_sealed_ones_never_change(tmp_path, disk):
    journal = begin(tmp_path, disk, rotation_bytes=2000)
    seen: dict[Path, bytes] = {}
    for number in range(60):
        put(journal, b"%d" % number * 30, 2)
        for _, path in listing(tmp_path).segments[:-1]:
            assert seen.setdefault(path, path.read_bytes()) == path.read_bytes()
            assert path.stat().st_size < 3000  # the room that was not used is given back
    assert len(seen) >= 3
    journal.close()
    assert [batch[2] for batch in read(tmp_path)[1]] == [b"%d" % number * 30 for number in range(60)]


@pytest.mark.parametrize("length", range(0, 520, 8))
def test_a_sealed_segment_ends_with_its_seal_wherever_that_lies_in_a_sector(tmp_path, disk, length):
    journal = begin(tmp_path, disk, rotation_bytes=512)
    put(journal, b"x" * length)
    put(journal, b"in the next one")
    journal.close()
    for (start, path), end in zip(listing(tmp_path).segments, (1, 2), strict=True):
        salt = read_segment_header(disk, path, start).salt
        assert sealed_end(path, salt) == end
    begin(tmp_path, disk, position=2).close()


def test_a_restart_goes_on_in_a_new_segment(tmp_path, disk):
    for number in range(3):
        recovery, batches = read(tmp_path, mend=True)
        assert len(batches) == number
        journal = begin(tmp_path, disk, position=recovery.position, epoch=recovery.epoch + 1)
        put(journal, b"%d" % number, 5)
        if number % 2:
            journal.close()
    assert len(listing(tmp_path).segments) == 3


def test_restarts_without_a_change_leave_one_segment(tmp_path, disk):
    for _ in range(4):
        recovery, _ = read(tmp_path, mend=True)
        begin(tmp_path, disk, position=recovery.position).close()
    assert len(listing(tmp_path).segments) == 1
    journal = begin(tmp_path, disk)
    put(journal, b"first")
    journal.close()
    begin(tmp_path, disk, position=1).close()
    recovery, batches = read(tmp_path, mend=True)
    begin(tmp_path, disk, position=recovery.position).close()
    assert len(listing(tmp_path).segments) == 2
    assert batches == [(0, 1, b"first")]


def test_a_higher_epoch_may_skip_positions(tmp_path, disk):
    put(begin(tmp_path, disk), b"one", 3)
    recovery, _ = read(tmp_path, mend=True)
    with pytest.raises(ValueError, match="cannot follow"):
        begin(tmp_path, disk, position=65_536, epoch=1)
    with pytest.raises(ValueError, match="cannot follow"):
        begin(tmp_path, disk, position=recovery.position - 1, epoch=2)
    put(begin(tmp_path, disk, position=65_536, epoch=2), b"two")
    recovery, batches = read(tmp_path)
    assert batches == [(0, 3, b"one"), (65_536, 1, b"two")]
    assert (recovery.position, recovery.epoch) == (65_537, 2)


def test_what_was_not_recovered_is_not_written_to(tmp_path, disk):
    put(begin(tmp_path, disk), b"one")
    with pytest.raises(RuntimeError, match="recover the journal first"):
        begin(tmp_path, disk, position=1)
    recovery = recover(tmp_path)
    with pytest.raises(RuntimeError, match="after the last"):
        _ = recovery.position


def test_unfinished_files_mean_nothing_and_are_removed(tmp_path, disk):
    put(begin(tmp_path, disk), b"one")
    snapshot(tmp_path, 1, disk).path.rename(tmp_path / "snapshot-00000000000000000001.tmp")
    (tmp_path / "segment-00000000000000000009.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_text("not ours")
    assert len(read(tmp_path)[1]) == 1
    assert read(tmp_path, mend=True)[0].snapshot is None
    assert {path.name for path in tmp_path.iterdir()} == {"segment-00000000000000000000", "notes.tmp"}


def test_what_a_fold_that_still_ended_has_taken_away_stops_no_start(tmp_path):
    """It may rename or remove its unfinished file between our look and our tidying: it was told to end only then."""
    disk = FastDisk()
    begin(tmp_path, disk).close()
    unfinished = tmp_path / "snapshot-00000000000000000001.tmp"
    unfinished.write_bytes(b"half")
    recovery = recover(tmp_path, disk=disk)
    unfinished.unlink()
    assert list(recovery.batches()) == []
    assert recovery.clean


# --- room


def test_a_body_larger_than_the_room_is_taken_at_once(tmp_path, disk):
    journal = begin(tmp_path, disk)
    assert MIB - 1000 < journal.free < MIB
    body = os.urandom(3 * MIB)
    put(journal, body)
    assert journal._path.stat().st_size == 4 * MIB
    put(journal, b"x" * journal.free)
    journal.close()
    assert read(tmp_path)[1][0] == (0, 1, body)


def test_room_is_prepared_ahead_and_is_always_zero(tmp_path, disk):
    journal = begin(tmp_path, disk)
    journal.prepare()
    assert journal._path.stat().st_size == MIB
    while not journal.needs_room:
        put(journal, b"x" * 50_000)
    journal.prepare()
    assert not journal.needs_room
    assert journal._path.stat().st_size == 5 * MIB
    assert not journal._path.read_bytes()[journal._at :].strip(b"\0")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_met_before_anything_changes(tmp_path, disk, number):
    journal = begin(tmp_path, disk)
    put(journal, b"before")
    disk.fails["pwrite"] = lambda fd, data, at: failing(number)() if at >= MIB else None
    before = journal._path.read_bytes()
    for attempt in (lambda: journal.make_room(MIB), lambda: journal.append(b"x" * MIB, 1)):
        with pytest.raises(Full, match="no room"):
            attempt()
    assert journal._path.read_bytes() == before
    put(journal, b"small ones go on")
    disk.fails.clear()
    put(journal, b"x" * MIB)
    journal.close()
    assert len(read(tmp_path)[1]) == 3


def test_on_a_full_disk_the_segment_is_used_to_its_end_and_still_sealed(tmp_path, disk):
    journal = begin(tmp_path, disk, rotation_bytes=10_000)
    first = journal._fd
    disk.fails["pwrite"] = lambda fd, data, at: failing(errno.ENOSPC)() if fd != first or at >= MIB else None
    count = 0
    while journal.free >= 5000:
        put(journal, b"y" * 5000)
        count += 1
    assert count > 190
    with pytest.raises(Full):
        journal.append(b"y" * 5000, 1)
    assert journal.idle()
    assert len(listing(tmp_path).segments) == 1
    assert listing(tmp_path).temporaries == []
    journal.close()
    recovery, batches = read(tmp_path)
    assert len(batches) == count
    assert recovery.clean


def test_a_start_needs_little_room(tmp_path, disk):
    """A daemon that was killed on a full disk must come back, so that work can be finished."""
    disk.fails["pwrite"] = lambda fd, data, at: failing(errno.ENOSPC)() if at + len(data) > 100_000 else None
    journal = begin(tmp_path, disk)
    put(journal, b"x" * journal.free)
    assert journal._path.stat().st_size == 1 << 16
    with pytest.raises(Full):
        put(journal, b"x" * 60_000)
    journal.close()
    assert read(tmp_path)[0].clean


def fill_up(journal):
    while True:
        journal.make_room(100_000)
        put(journal, b"x" * 100_000)
        if journal.needs_room:
            journal.prepare()


def test_all_files_together_are_bounded(tmp_path, disk):
    """Past the bound the disk counts as full; what is decided already is written into what the reserve gives up."""
    journal = Journal(tmp_path, 100 * MIB, disk=disk, reserve_bytes=8 * MIB, most_bytes=4 * MIB)
    journal.begin(0, 1)
    journal.prepare()
    assert (tmp_path / "reserve").stat().st_size == MIB // 2
    with pytest.raises(Full, match="MAX_DISK_MB"):
        fill_up(journal)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * MIB
    written = 0
    while journal.last_free > 300_000:
        put(journal, b"x" * 100_000)
        written += 100_000
    assert written >= 300_000
    assert (tmp_path / "reserve").stat().st_size < 300_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * MIB
    journal.close()
    assert read(tmp_path)[0].clean


def test_the_room_of_the_next_snapshot_is_kept(tmp_path, disk):
    journal = Journal(tmp_path, 100 * MIB, disk=disk)
    journal.begin(0, 1)
    journal.prepare()
    journal.room.next_snapshot = disk.space(tmp_path).free + MIB
    with pytest.raises(Full, match="the next snapshot"):
        journal.prepare()
    put(journal, b"x" * 2 * MIB)


def test_a_turn_leaves_nothing_for_a_fold_to_miss(tmp_path, disk):
    journal = begin(tmp_path, disk)
    assert journal.turn()
    assert len(listing(tmp_path).segments) == 1
    put(journal, b"one")
    assert journal.turn()
    assert (journal.start, journal.end) == (1, 1)
    assert [start for start, _ in listing(tmp_path).segments] == [0, 1]
    put(journal, b"two")
    journal.want_turn()
    put(journal, b"three")
    assert [start for start, _ in listing(tmp_path).segments] == [0, 1, 2]
    assert len(read(tmp_path)[1]) == 3


def test_evidence_is_bounded(tmp_path, disk):
    for number in range(20):
        journal = begin(tmp_path, disk, position=number * 10, epoch=number)
        disk.fails["pwrite"] = lambda fd, data, at: os.pwrite(fd, data[:20], at)
        with pytest.raises(JournalFailed):
            journal.append(b"x" * number, 1)
        disk.fails.clear()
        torn = read(tmp_path, mend=True)[0].torn
        assert torn is not None
        assert torn.copy is not None
        assert torn.copy.read_bytes()
        assert torn.copy in listing(tmp_path).evidence
    assert len(listing(tmp_path).evidence) == 16


def test_prepare_runs_beside_append_and_sync(tmp_path, disk):
    """The two threads meet at every edge of the room, since it is small and prepared all the time."""
    journal = begin(tmp_path, disk, rotation_bytes=6 * MIB)
    stop = threading.Event()

    def prepare():
        while not stop.is_set():
            journal.prepare()

    thread = threading.Thread(target=prepare)
    thread.start()
    bodies = [bytes([number % 255 + 1]) * (number * 37 % 200_000) for number in range(150)]
    for body in bodies:
        put(journal, body)
    stop.set()
    thread.join()
    journal.close()
    assert [batch[2] for batch in read(tmp_path)[1]] == bodies


# --- failing


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_a_failed_write_or_sync_is_final(tmp_path, disk, operation, number):
    journal = begin(tmp_path, disk)
    put(journal, b"before")
    disk.fails[operation] = failing(number)
    with pytest.raises(JournalFailed) as failed:
        put(journal, b"lost")
    assert failed.value.errno == number
    assert failed.value.path == journal._path
    assert str(journal._path) in str(failed.value)
    disk.fails.clear()
    for attempt in (
        lambda: journal.append(b"more", 1),
        journal.sync,
        journal.idle,
        lambda: journal.make_room(1),
        journal.prepare,
    ):
        with pytest.raises(JournalFailed):
            attempt()
    disk.calls.clear()
    journal.close()
    assert disk.calls == []


def test_nothing_is_acknowledged_in_a_file_that_was_removed(tmp_path, disk):
    """It could be written to and synced for ever, and the next start would find an empty queue."""
    journal = begin(tmp_path, disk)
    put(journal, b"before")
    journal._path.unlink()
    with pytest.raises(JournalFailed, match="ENOENT") as failed:
        put(journal, b"after")
    assert failed.value.errno == errno.ENOENT


def test_a_journal_that_was_moved_away_is_a_failed_one(tmp_path, disk):
    journal = begin(tmp_path / "state", disk)
    put(journal, b"before")
    journal.check_place()
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    with pytest.raises(JournalFailed, match="ENOENT"):
        journal.check_place()
    with pytest.raises(JournalFailed):
        journal.append(b"after", 1)
    assert len(read(tmp_path / "elsewhere")[1]) == 1


def test_a_short_write_is_a_failed_one(tmp_path, disk):
    journal = begin(tmp_path, disk)
    disk.fails["pwrite"] = lambda fd, data, at: os.pwrite(fd, data[:20], at)
    with pytest.raises(JournalFailed, match="write"):
        journal.append(b"x" * 100, 1)
    disk.fails.clear()
    recovery, batches = read(tmp_path)
    assert batches == []
    assert recovery.torn is not None


def test_a_failed_zeroing_ahead_stops_the_journal_too(tmp_path, disk):
    journal = begin(tmp_path, disk)
    put(journal, b"x" * journal.free)
    disk.fails["fsync"] = failing(errno.EIO)
    with pytest.raises(JournalFailed, match="zeroing ahead"):
        journal.prepare()
    with pytest.raises(JournalFailed):
        journal.append(b"x", 1)


@pytest.mark.parametrize("operation", ["rename", "fsync"])
def test_a_failed_turn_stops_the_journal(tmp_path, disk, operation):
    journal = begin(tmp_path, disk, rotation_bytes=1000)
    put(journal, b"x" * 1000)
    disk.fails[operation] = failing(errno.EIO)
    with pytest.raises(JournalFailed):
        journal.append(b"y", 1)
    disk.fails.clear()
    assert [batch[2] for batch in read(tmp_path, mend=True)[1]] == [b"x" * 1000]


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as error:
        begin(tmp_path / "file", Disk())
    assert error.value.filename is not None


def test_nonsense_is_refused(tmp_path, disk):
    journal = begin(tmp_path, disk)
    with pytest.raises(ValueError, match="0 events"):
        journal.append(b"x", 0)
    with pytest.raises(RuntimeError):
        journal.begin(0, 1)
    with pytest.raises(ValueError, match="no snapshot"):
        journal.prune(7)


# --- snapshots and pruning


def test_a_snapshot_covers_what_is_before_it(tmp_path, disk):
    journal = begin(tmp_path, disk, rotation_bytes=2000)
    for number in range(60):
        put(journal, b"%d" % number * 30, 2)
    _, everything = read(tmp_path)
    starts = [start for start, _ in listing(tmp_path).segments]
    for position in (starts[1], starts[3]):
        made = snapshot(tmp_path, position, disk, [b"a", b"", b"c" * 10_000])
        assert (made.chunks, made.rows) == (3, 3)
        assert made.bytes == made.path.stat().st_size
        recovery, batches = read(tmp_path)
        assert list(recovery.chunks()) == [b"a", b"", b"c" * 10_000]
        assert recovery.snapshot_position == position
        assert batches == [batch for batch in everything if batch[0] >= position]
    before = journal.sizes()
    assert before.segments == len(starts)
    assert before.snapshot_position == starts[3]
    pruned = journal.prune(starts[3])
    assert (pruned.segments, pruned.snapshots) == (3, 1)
    after = journal.sizes()
    assert after.bytes == before.bytes - pruned.bytes
    assert after.segments == len(starts) - 3
    recovery, batches = read(tmp_path)
    assert batches == [batch for batch in everything if batch[0] >= starts[3]]
    put(journal, b"goes on")
    assert journal.prune(starts[3]) == (0, 0, 0)


def test_the_segment_in_use_is_never_pruned(tmp_path, disk):
    journal = begin(tmp_path, disk)
    put(journal, b"x")
    journal.close()
    snapshot(tmp_path, 1, disk)
    journal = begin(tmp_path, disk, position=1)
    assert journal.prune(1).segments == 1
    put(journal, b"y")
    assert read(tmp_path)[1] == [(1, 1, b"y")]


def test_every_subset_of_a_prune_is_recovered_from(tmp_path, disk):
    journal = begin(tmp_path, disk, rotation_bytes=600)
    for number in range(9):
        put(journal, b"%d" % number * 50)
    starts = [start for start, _ in listing(tmp_path).segments]
    snapshot(tmp_path, starts[4], disk)
    files = [(path, path.read_bytes()) for _, path in listing(tmp_path).segments[:4]]
    wanted = read(tmp_path)[1]
    for subset in range(16):
        for number, (path, data) in enumerate(files):
            if subset >> number & 1:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(data)
        assert read(tmp_path)[1] == wanted


def test_a_snapshot_that_does_not_read_back_gets_no_name(tmp_path, disk):
    made = SnapshotWriter(tmp_path, 5, 1, disk=disk)
    disk.fails["pwrite"] = lambda fd, data, at: os.pwrite(fd, bytes(len(data)), at)
    made.add(b"rows", 4)
    with pytest.raises(Exception, match="journal damaged"):
        made.finish()
    made.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_large_snapshot_goes_to_the_disk_a_little_at_a_time(tmp_path, disk):
    """What is written at once stands in the way of the syncs of the daemon."""
    made = SnapshotWriter(tmp_path, 0, 1, disk=disk)
    before = len(disk.calls)
    for _ in range(20):
        made.add(bytes(1 << 20), 1)
    unsynced = most = 0
    for name, *arguments in disk.calls[before:]:
        unsynced = 0 if name == "fdatasync" else unsynced + len(arguments[1])
        most = max(most, unsynced)
    assert MIB <= most <= 4 * MIB
    made.finish()
    assert len(list(read_snapshot(listing(tmp_path).snapshots[0][1]))) == 20


def test_a_snapshot_that_cannot_be_begun_leaves_nothing(tmp_path, disk):
    before = len(os.listdir("/proc/self/fd"))
    disk.fails["pwrite"] = failing(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        SnapshotWriter(tmp_path, 0, 1, disk=disk)
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_under_another_name_is_refused(tmp_path, disk):
    path = snapshot(tmp_path, 5, disk).path
    other = path.rename(tmp_path / "snapshot-00000000000000000006")
    with pytest.raises(Exception, match="position 5 under another name"):
        list(read_snapshot(other))


# --- the lock

HOLD = """
import sys
from pathlib import Path
from swarmshd.journal import StateLock
lock = StateLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    root = str(Path(__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_two_processes_cannot_open_one_directory(tmp_path, holder):
    waits = []
    lock = StateLock(tmp_path, pause=lambda seconds, pid: waits.append((seconds, pid)))
    with pytest.raises(Locked) as locked:
        lock.acquire(retries=3, backoff=0.05, multiplier=2)
    assert locked.value.pid == holder.pid
    assert str(holder.pid) in str(locked.value)
    assert str(tmp_path / "lock") in str(locked.value)
    assert waits == [(0.05, holder.pid), (0.1, holder.pid), (0.2, holder.pid)]


@pytest.mark.parametrize(
    ("settings", "waits"),
    [
        ({"retries": 0}, []),
        ({"timeout": 0}, []),
        ({"timeout": 1, "retries": 9, "backoff": 0.3}, [0.3, 0.6, pytest.approx(0.1)]),
        ({"retries": 2, "backoff": 1, "multiplier": 1}, [1, 1]),
    ],
)
def test_the_lock_is_waited_for_as_it_is_set(tmp_path, holder, settings, waits):
    seen = []
    lock = StateLock(tmp_path, pause=lambda seconds, pid: seen.append(seconds))
    with pytest.raises(Locked):
        lock.acquire(adaptive=False, **settings)
    assert seen == waits


def test_a_lock_is_free_when_its_holder_is_killed(tmp_path, holder):
    """The adaptive wait ends with the process, not after its ten minutes."""
    holder.kill()
    with StateLock(tmp_path) as lock:
        lock.acquire(timeout=1200, retries=1, backoff=600)
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(Locked, match=str(os.getpid())):
            StateLock(tmp_path).acquire(retries=0)
    with StateLock(tmp_path) as again:
        again.acquire(retries=0)


def test_a_lock_whose_file_was_removed_still_holds(tmp_path, holder):
    (tmp_path / "lock").unlink()
    with pytest.raises(Locked, match="another process"):
        StateLock(tmp_path).acquire(retries=0)
    holder.kill()
    holder.wait()
    with StateLock(tmp_path) as lock:
        lock.acquire(retries=0)


def test_the_fold_has_a_lock_of_its_own(tmp_path):
    with StateLock(tmp_path) as lock, StateLock(tmp_path, "fold.lock") as fold:
        lock.acquire()
        fold.acquire()


def test_overhead_of_a_batch(tmp_path, disk):
    journal = begin(tmp_path, disk)
    before = journal._at
    for _ in range(1000):
        journal.append(b"x" * 333, 1)
    assert (journal._at - before) / 1000 - 333 < 52
    assert records.frame_size(0) == 48
    assert writer.SEAL_ROOM >= 48 + 32
