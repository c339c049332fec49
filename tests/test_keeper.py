"""The daemon's side tasks, with a real engine, a real fold in its own process, and no sockets."""

import errno
import logging
import os
import subprocess
from pathlib import Path

import pytest
import trio

from swarmshd import keeper as keeping
from swarmshd.engine import Engine
from swarmshd.journal import Journal, Sizes
from swarmshd.journal.disk import Disk
from swarmshd.journal.room import LOW
from swarmshd.keeper import Keeper
from swarmshd.liveness import Watches
from tests.test_engine import NOW, ask, begin

pytestmark = pytest.mark.slow


def _low(engine: Engine) -> bool:
    return engine.journal.free < LOW // 4


def _full(engine: Engine) -> bool:
    return engine.space.full is not None


async def test_a_fold_writes_a_snapshot_and_the_daemon_prunes(tmp_path: Path) -> None:
    engine = begin(tmp_path, "JOURNAL_ROTATION_MB=1").engine
    for _ in range(30):
        replies = ask(engine, "batch", commands=[["submit", {"type": "t", "description": "d" * 500}]] * 100)["replies"]
        assert all(code == 0 for code, _ in replies)
    ask(engine, "claim", agent="a", count=5)
    before = engine.journal.sizes()
    assert before.segments >= 2
    assert engine.journal.sizes().sealed > 0
    keeper = Keeper(engine, tmp_path, Watches(lambda _: None))
    assert await keeper.fold()
    after = engine.journal.sizes()
    assert after.segments == 1, "what the snapshot covers is gone, the segment in use is not"
    assert 0 < after.snapshot_position <= engine.journal.durable
    assert engine.journal.sizes().sealed == 0
    rows = list(engine.queue.tables.rows())[1:]
    engine.close(NOW + 1)
    again = begin(tmp_path, wall=NOW + 1).engine
    assert list(again.queue.tables.rows())[1:] == rows


async def test_a_fold_that_fails_is_told_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = begin(tmp_path, "JOURNAL_ROTATION_MB=1").engine
    for _ in range(30):
        ask(engine, "batch", commands=[["submit", {"type": "t", "description": "d" * 500}]] * 100)
    sealed = min(tmp_path.glob("segment-*"))
    data = bytearray(sealed.read_bytes())
    data[len(data) // 2] ^= 1
    sealed.write_bytes(data)
    keeper = Keeper(engine, tmp_path, Watches(lambda _: None))
    assert not await keeper.fold()
    assert "exit status 78" in caplog.text
    assert engine.journal.sizes().snapshot_position == 0


async def test_no_fold_beyond_the_memory_that_is_allowed(tmp_path: Path) -> None:
    engine = begin(tmp_path, "PROCESS_MEMORY_LIMIT_MB=70", "RETAIN_DONE_MB=1").engine
    keeper = Keeper(engine, tmp_path, Watches(lambda _: None))
    assert keeper._fits(1 << 20)
    assert not keeper._fits(100 << 20)
    assert "may take 70" in ask(engine, "status")["fold"]["declined"]
    assert keeper._fits(1 << 20)
    assert "declined" not in ask(engine, "status")["fold"]


async def test_what_hangs_beside_is_ended() -> None:
    status, out, err = await keeping.run_beside(["sh", "-c", "echo out; echo err >&2; exec sleep 600"], 0.2)
    assert (status, out, err) == (None, b"out\n", b"err\n")
    assert await keeping.run_beside(["sh", "-c", "exit 7"], 60) == (7, b"", b"")


async def test_room_is_made_when_asked_for(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    engine = begin(tmp_path).engine
    before = engine.journal.free
    while not _low(engine):
        ask(engine, "batch", commands=[["submit", {"type": "t", "description": "d" * 4000}]] * 100)
    keeper = Keeper(engine, tmp_path, Watches(lambda _: None))
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        keeper.journal_low()
        while _low(engine):
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert engine.journal.free > before


class SmallDisk(Disk):
    """The disk, but there is no room while ``full``."""

    def __init__(self) -> None:
        self.full = True
        self.tries = 0

    def zero(self, fd: int, start: int, stop: int) -> None:
        self.tries += 1
        if self.full:
            raise OSError(errno.ENOSPC, "no room")
        super().zero(fd, start, stop)


async def test_a_full_disk_is_noticed_and_heals(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = begin(tmp_path).engine
    disk = SmallDisk()
    engine.journal.room.reserve._disk = disk
    keeper = Keeper(engine, tmp_path, Watches(lambda _: None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper._make_room)
        while disk.tries < 2:
            await trio.sleep(0.1)
        assert _full(engine)
        assert ask(engine, "submit", type="t", description="d")[0] == "disk_full"
        assert ask(engine, "status")["disk"]["full"] == str(engine.space.full)
        disk.full = False
        while _full(engine):
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert ask(engine, "submit", type="t", description="d")["created"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


async def test_room_that_cannot_be_freed_is_told_and_serving_goes_on(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Out of descriptors, say: that is no reason to end, as nothing that is acknowledged depends on it."""

    def failing(_: Journal) -> Sizes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Journal, "sizes", failing)
    engine = begin(tmp_path).engine
    keeper = Keeper(engine, tmp_path, Watches(lambda _: None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper._make_room)
        while not caplog.records:
            await trio.sleep(0.1)
        assert ask(engine, "submit", type="t", description="d")["created"]
        nursery.cancel_scope.cancel()
    assert caplog.records[0].getMessage() == "no room could be freed: [Errno 24] Too many open files"


async def test_watches_that_nothing_stands_on_are_dropped(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    engine = begin(tmp_path).engine
    watches = Watches(lambda _: None)
    process = subprocess.Popen(["sleep", "60"])
    try:
        used = watches.add(os.pidfd_open(process.pid)).identity
        idle = watches.add(os.pidfd_open(os.getpid())).identity
        ask(engine, "submit", type="t", description="d")
        ask(engine, "claim", agent="a", watch=True, watches=[used])
        keeper = Keeper(engine, tmp_path, watches)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper._sweep)
            while idle in watches:
                await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert used in watches
    finally:
        process.kill()
        process.wait()
        watches.close()
