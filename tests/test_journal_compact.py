"""The fold as a process: what it writes is what a replay of everything gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarmshd import compact, events
from swarmshd.journal import Corrupt, Journal, SnapshotWriter, StateLock, recover
from swarmshd.journal.disk import Disk
from swarmshd.journal.files import listing
from swarmshd.workqueue.rows import ITEM
from swarmshd.workqueue.tables import Tables

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NOW = 1_700_000_000_000


class FastDisk(Disk):
    """The real disk without waiting for it."""

    fsync = fdatasync = staticmethod(lambda fd: None)


def entry(*happened, key=None):
    return events.encode_entry(events.Entry(1000, 4711, key, False, happened))


def rounds(count):
    """Items that are submitted, claimed, and mostly completed; some with a key."""
    yield entry(events.EpochStarted(1, "boot", 65_536, 65_536, 65_536))
    for number in range(1, count + 1):
        submitted = events.ItemSubmitted(number, f"q{number % 3}", "hash", 1, f"file {number}", payload=b"x" * 50)
        yield entry(submitted, key=number.to_bytes(16, "big") if number % 4 == 0 else None)
        if number % 2 == 0:
            yield entry(events.ItemClaimed(number - 1, "agent-1", number, b"secret!!", NOW + 300_000, 300_000))
        if number % 4 == 0:
            yield entry(events.ItemCompleted(number - 1, result=b"sum"))


def fill(directory, count=60, rotation_bytes=3000):
    journal = Journal(directory, rotation_bytes, disk=FastDisk())
    journal.begin(0, 1)
    for number, row in enumerate(rounds(count)):
        journal.append(events.encode_batch(NOW + number, [row]), len(row[3:]) // 2)
        journal.sync()
        journal.mark_durable()
    return journal


def state(directory, upto=None):
    recovery = recover(directory, mend=False, upto=upto)
    tables, _ = compact.load(recovery)
    return list(tables.rows())


def fold(directory, upto, *more, cwd=ROOT):
    command = [sys.executable, "-m", "swarmshd.compact", "--directory", str(directory), "--upto", str(upto)]
    run = subprocess.run(
        [*command, "--format", str(events.FORMAT), *more], cwd=cwd, capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout, run.stderr


def test_a_fold_keeps_the_state(tmp_path):
    journal = fill(tmp_path)
    whole = state(tmp_path)
    starts = [start for start, _ in listing(tmp_path).segments]
    assert len(starts) > 3
    status, out, err = fold(tmp_path, journal.durable)
    assert (status, err) == (0, "")
    done = json.loads(out)
    assert done["written"] is True
    assert done["position"] == starts[-1]
    assert done["segments"] == len(starts) - 1
    assert done["items"] == sum(row[0] == ITEM for row in state(tmp_path, upto=starts[-1]))
    assert done["bytes"] == listing(tmp_path).snapshots[0][1].stat().st_size
    assert state(tmp_path) == whole
    assert journal.prune(done["position"]).segments == len(starts) - 1
    assert state(tmp_path) == whole
    assert (journal.sizes().sealed, journal.sizes().snapshot) == (0, done["bytes"])
    journal.close()
    tables = Tables()
    tables.restore(whole)
    assert list(tables.rows()) == whole


def test_folds_build_on_each_other_and_stop_at_the_given_position(tmp_path):
    journal = fill(tmp_path)
    whole = state(tmp_path)
    starts = [start for start, _ in listing(tmp_path).segments]
    for upto, position in ((starts[1] - 1, 0), (starts[2], starts[2]), (starts[3] + 1, starts[3])):
        done = compact.fold(tmp_path, upto)
        assert done["position"] == position
        assert state(tmp_path) == whole
        if position:
            journal.prune(position)
    assert compact.fold(tmp_path, starts[3]) == {
        "position": starts[3],
        "written": False,
        "segments": 0,
        "seconds": pytest.approx(0, abs=10),
    }


def test_a_large_state_is_cut_into_chunks(tmp_path):
    fill(tmp_path, count=700, rotation_bytes=20_000)
    whole = state(tmp_path)
    compact.fold(tmp_path, 1 << 60)
    recovery = recover(tmp_path, mend=False)
    assert [len(events.decode_rows(chunk)) for chunk in recovery.chunks()][:2] == [256, 256]
    assert state(tmp_path) == whole


def test_a_journal_without_sealed_segments_is_left_alone(tmp_path):
    fill(tmp_path, count=5, rotation_bytes=1 << 20)
    before = sorted(tmp_path.iterdir())
    assert compact.fold(tmp_path, 1 << 60)["written"] is False
    assert sorted(tmp_path.iterdir()) == before


def test_a_segment_that_lost_its_seal_is_not_passed_over(tmp_path):
    fill(tmp_path)
    path = listing(tmp_path).segments[1][1]
    path.write_bytes(path.read_bytes()[:-48])
    with pytest.raises(Corrupt, match="without its seal"):
        compact.fold(tmp_path, 1 << 60)


def refusal(run):
    status, out, err = run
    assert out == ""
    assert err.startswith("swarmshd.compact: ")
    assert err.count("\n") == 1
    return status, err


def test_what_cannot_be_folded_is_said_in_one_line(tmp_path):
    directory = tmp_path / "journal"
    status, err = refusal(fold(directory, 5))
    assert status == 74
    assert str(directory) in err
    assert not directory.exists()
    fill(directory)
    status, err = refusal(fold(directory, 5, "--format", "99"))
    assert status == 76
    assert "format 99" in err
    with StateLock(directory, "fold.lock") as lock:
        lock.acquire()
        status, err = refusal(fold(directory, 5))
        assert status == 75
        assert str(os.getpid()) in err
    path = listing(directory).segments[1][1]
    path.write_bytes(path.read_bytes().replace(b"secret", b"forged"))
    status, err = refusal(fold(directory, 1 << 40))
    assert status == 78
    assert str(path) in err
    assert not list(directory.glob("snapshot-*"))


@pytest.mark.parametrize("row", [b"\x00", b"\x81\x82\x18\x63\x00", b"\xff"])
def test_rows_of_a_later_program_are_not_guessed_at(tmp_path, row):
    journal = fill(tmp_path)
    start = listing(tmp_path).segments[1][0]
    later = SnapshotWriter(tmp_path, start, 1, disk=FastDisk())
    later.add(row, 1)
    later.finish()
    with pytest.raises(compact.Declined, match="does not know"):
        compact.fold(tmp_path, journal.end)
    SnapshotWriter(tmp_path, start, 1, program_format=events.FORMAT + 1, disk=FastDisk()).finish()
    with pytest.raises(compact.Declined, match="format 2"):
        compact.fold(tmp_path, journal.end)


def test_a_failed_fold_leaves_nothing(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setattr(events, "join_rows", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compact.fold(tmp_path, 1 << 60)
    assert not list(tmp_path.glob("snapshot-*"))


ORPHAN = """
import os, signal, sys, time
from swarmshd import beside
read, write = os.pipe()
if os.fork() == 0:
    beside.settle(os.getppid())
    os.write(write, b"x")
    if sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(60)
os.read(read, 1)
if sys.argv[1:]:
    os.waitid(os.P_ALL, 0, os.WSTOPPED)
os._exit(0)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_fold_ends_with_its_parent(stopped):
    """The pipe that the child holds open ends only when the child does."""
    command = [sys.executable, "-c", ORPHAN, *["stopped"] * stopped]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert run.returncode == 0
