"""Snapshots on demand: with a real engine and real folds, and through swarmctl to a real daemon."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmshd import beside, compact
from tests.conftest import PATIENCE, ROOT, Daemon
from tests.test_engine import NOW, Peer, ask, begin, take, turn
from tests.test_following import put
from tests.test_history import answer, carrying
from tests.test_live import Watched

pytestmark = pytest.mark.slow


async def test_a_snapshot_covers_all_that_was_there_and_is_told_of_when_it_is(tmp_path: Path) -> None:
    engine = begin(tmp_path).engine
    put(engine, 300)
    end = engine.journal.end
    async with carrying(engine, tmp_path):
        made = await answer(engine, "snapshot", wait=60_000)
        assert (made["done"], made["upto"], made["written"]) == (True, end, True)
        assert made["position"] >= end
        (path,) = tmp_path.glob("snapshot-*")
        assert path.stat().st_size == made["bytes"]
        again = await answer(engine, "snapshot", wait=60_000)
        assert again == made | {"seconds": 0.0, "written": False}
        put(engine, 1)
        assert (await answer(engine, "snapshot", wait=60_000))["position"] > made["position"]
    rows = list(engine.queue.tables.rows())[1:]
    engine.close(NOW + 1)
    assert list(begin(tmp_path, wall=NOW + 1).engine.queue.tables.rows())[1:] == rows


async def test_who_asks_meanwhile_joins_and_who_has_no_patience_goes_on_later(tmp_path: Path) -> None:
    engine = begin(tmp_path).engine
    put(engine, 300)
    async with carrying(engine, tmp_path):
        first = await answer(engine, "snapshot", wait=0)
        assert (first["done"], first["upto"]) == (False, engine.journal.end)
        assert 0 <= first["share"] <= 1
        peers = [Peer(), Peer()]
        for peer in peers:
            take(engine, peer, 7, "snapshot", wait=60_000, upto=first["upto"])
        turn(engine)
        gone = Peer()
        take(engine, gone, 7, "snapshot", wait=60_000)
        turn(engine)
        engine.gone(gone)
        with trio.fail_after(PATIENCE):
            while not all(peer.replies for peer in peers):
                await trio.sleep(0.005)
        replies = [peer.replies[0][2] for peer in peers]
        assert replies[0] == replies[1]
        assert replies[0]["done"]
        assert len(list(tmp_path.glob("snapshot-*"))) == 1
        code, facts = await answer(engine, "snapshot", upto=1 << 40)
        assert (code, facts["newest"]) == ("position_gone", engine.journal.end)
        late = await answer(engine, "snapshot", upto=1, wait=60_000)
        assert late["done"], "a position of before a restart is covered too"


async def test_a_fold_that_fails_is_told_to_all_who_wait_and_the_next_is_made_anew(tmp_path: Path) -> None:
    engine = begin(tmp_path, "JOURNAL_ROTATION_MB=1").engine
    for _ in range(30):
        ask(engine, "batch", commands=[["submit", {"type": "t", "description": "d" * 500}]] * 100)
    sealed = min(tmp_path.glob("segment-*"))
    sound = sealed.read_bytes()
    data = bytearray(sound)
    data[len(data) // 2] ^= 1
    sealed.write_bytes(data)
    async with carrying(engine, tmp_path):
        code, facts = await answer(engine, "snapshot", wait=60_000)
        assert code == "journal_corrupt"
        assert facts["message"].startswith("no snapshot was made: exit status 78: swarmshd.compact: journal damaged")
        assert await answer(engine, "snapshot", upto=engine.journal.end, wait=60_000) == (code, facts)
        sealed.write_bytes(sound)
        assert (await answer(engine, "snapshot", wait=60_000))["done"]


async def test_a_snapshot_that_memory_has_no_room_for_is_refused(tmp_path: Path) -> None:
    engine = begin(tmp_path, "PROCESS_MEMORY_LIMIT_MB=64", "RETAIN_DONE_MB=1").engine
    put(engine, 10)
    async with carrying(engine, tmp_path):
        code, facts = await answer(engine, "snapshot", wait=60_000)
        assert code == "overloaded"
        assert "may take 64" in facts["message"]


def test_a_fold_tells_how_far_it_is(tmp_path: Path) -> None:
    engine = begin(tmp_path).engine
    put(engine, 600)
    engine.journal.turn()
    told: list[int] = []

    class Heard(beside.Gauge):
        def at(self, done: int) -> None:
            told.append(done)

    compact.fold(tmp_path, engine.journal.durable, Heard())
    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == compact.PARTS * compact.WRITTEN
    file = os.memfd_create("progress")
    gauge = beside.Gauge(file)
    assert beside.Gauge.read(file) == (0, 0)
    gauge.begin(100_000)
    for done, read in ((50_000, 50_000), (50_001, 50_000), (120_000, 100_000)):
        gauge.at(done)
        assert beside.Gauge.read(file) == (read, 100_000)
    beside.Gauge.clear(file)
    assert beside.Gauge.read(file) == (0, 0)
    os.close(file)


def test_a_fold_that_is_of_another_format_has_a_status_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "swarmshd.compact", "--directory", str(tmp_path), "--upto", "1", "--format", "99"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 76
    assert "restart it" in ran.stderr


# -- through swarmctl ----------------------------------------------------------------------------------


def fill(daemon: Daemon, count: int) -> None:
    for _ in range(0, count, 1000):
        daemon.call("batch", commands=[["submit", {"type": "t", "description": "d"}]] * 1000)


def fold_of(daemon: Daemon) -> int | None:
    """The pid of the daemon's fold, if one is at work."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                command = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"swarmshd.compact" in command and str(daemon.pid).encode() in _parent(name):
                return int(name)
    return None


def _parent(name: str) -> list[bytes]:
    try:
        status = Path(f"/proc/{name}/status").read_bytes()
    except OSError:
        return []
    return re.findall(rb"PPid:\t(\d+)", status)


def until(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < end
    return value


@pytest.mark.real
def test_a_snapshot_is_made_while_work_goes_on_and_a_start_begins_there(daemon: Daemon) -> None:
    fill(daemon, 3000)
    snapshot = daemon.spawn("snapshot", "--json")
    until(lambda: fold_of(daemon) or snapshot.poll() is not None)
    daemon.call("submit", type="t", description="meanwhile")
    out, err = snapshot.communicate(timeout=PATIENCE)
    assert (snapshot.returncode, err) == (0, "")
    position = int(re.findall(r'"position":(\d+)', out)[0])
    assert daemon.call("status")["journal"]["snapshot_position"] == position >= 3000
    daemon.restart()
    assert daemon.call("count")["count"] == 3001
    said = daemon.ctl("journal", "snapshot")
    assert re.fullmatch(r"\d+\t\d+\t[0-9.]+\n", said.stdout)
    assert daemon.ctl("snapshot", "-q").stdout.strip().isdigit()
    assert daemon.ctl("snapshot", "now").returncode == 2


@pytest.mark.real
def test_a_fold_that_is_killed_is_one_clear_line_and_the_daemon_lives_on(daemon: Daemon) -> None:
    fill(daemon, 20_000)
    snapshot = daemon.spawn("snapshot")
    os.kill(until(lambda: fold_of(daemon)), signal.SIGKILL)
    out, err = snapshot.communicate(timeout=PATIENCE)
    assert (snapshot.returncode, out) == (1, "")
    assert err == "swarmctl: snapshot: no snapshot was made: it was killed by SIGKILL\n"
    assert "fold_failing" in daemon.ctl("health", "-q").stdout
    assert daemon.call("count")["count"] == 20_000
    assert not list(daemon.state.glob("snapshot-*"))
    assert daemon.ctl("snapshot").returncode == 0
    assert daemon.ctl("health", "-q").stdout == ""


@pytest.mark.real
def test_on_a_terminal_a_bar_shows_how_far_it_is(daemon: Daemon) -> None:
    fill(daemon, 5000)
    snapshot = Watched(daemon, [sys.executable, "-m", "swarmctl", "snapshot"])
    try:
        assert snapshot.ended() == 0
    finally:
        snapshot.close()
    assert "\r[" in snapshot.written
    assert re.search(r"snapshot of position \d+: [0-9.]+ KiB, in [0-9.]+ s\r\n$", snapshot.written)


@pytest.mark.real
def test_a_restart_while_one_waits_for_it_is_a_pause(daemon: Daemon) -> None:
    fill(daemon, 20_000)
    snapshot = daemon.spawn("snapshot")
    until(lambda: fold_of(daemon))
    daemon.restart()
    out, err = snapshot.communicate(timeout=PATIENCE)
    assert snapshot.returncode == 0, err
    assert int(out.split("\t")[0]) >= 20_000
