"""What happens to a daemon whose disk fails, is full, turns read-only or is taken away, and whose clock is set."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from swarmctl.connection import Refused
from swarmshd.journal.files import listing
from tests import wire as raw
from tests.busy import BUSY, BusyDaemon
from tests.conftest import PATIENCE, ROOT, Daemon, until
from tests.filesystem import Ext4, ext4
from tests.test_refusing import manager

pytestmark = pytest.mark.real

DAY = 86_400_000
UNREAD = "it cannot be read: Input/output error"


@pytest.fixture
def disk(directory: Path) -> Iterator[Ext4]:
    with ext4(directory, 8) as made:
        yield made


@pytest.fixture
def daemon(directory: Path) -> Iterator[BusyDaemon]:
    """A daemon that is not started."""
    made = BusyDaemon(directory)
    yield made
    if made.process is not None:
        made.kill()
    assert "Traceback" not in made.log.read_text()


def submit(daemon: Daemon, name: str) -> int:
    number: int = daemon.call("submit", type="t", description=name)["id"]
    return number


def names(daemon: Daemon) -> list[str]:
    return sorted(item["description"] for item in daemon.call("list", all=True, limit=1000)["items"])


def last_line(daemon: Daemon) -> str:
    return daemon.log.read_text().splitlines()[-1]


def test_a_small_file_system_that_somebody_fills_and_frees(disk: Ext4, daemon: BusyDaemon) -> None:
    daemon.state, daemon.lines = disk.place / "state", ""
    daemon.settings = ("JOURNAL_RESERVE_MB=1",)
    daemon.start()
    number = submit(daemon, "first")
    foreign = disk.place / "foreign"
    with foreign.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    taken = 0
    with daemon.wire() as wire:
        while True:
            try:
                wire.call("submit", type="t", description="x" * 4000)
                taken += 1
            except raw.Refused as refused:
                assert refused.code == "disk_full"
                break
    assert daemon.ctl("submit", "t", "more").returncode == 75
    token = daemon.call("claim", agent="a", id=number)["items"][0]["token"]
    daemon.call("heartbeat", agent="a", ids=[number])
    assert daemon.call("complete", id=number, token=token)["state"] == "done"
    foreign.unlink()

    def healed() -> bool:
        try:
            return bool(submit(daemon, "after"))
        except Refused as refused:
            assert refused.code == "disk_full"
            return False

    until(healed, "it never healed")
    daemon.restart()
    assert daemon.call("count", all=True)["count"] == taken + 2
    assert daemon.call("show", id=number)["state"] == "done"
    assert daemon.stop() == 0


def test_a_disk_that_turns_read_only(disk: Ext4, daemon: BusyDaemon) -> None:
    """As the kernel does it when it finds an error: under the feet of whoever writes."""
    daemon.state = disk.place / "state"
    daemon.settings = ("JOURNAL_RESERVE_MB=1",)
    daemon.start()
    submit(daemon, "acknowledged")
    disk.give_up()
    with pytest.raises((EOFError, OSError)), daemon.wire() as wire:
        wire.call("submit", type="t", description="lost")
    assert daemon.wait() == 74
    assert re.fullmatch(
        r"swarmshd: the journal could not be written: .*; mend the disk, then start again", last_line(daemon)
    )
    done = subprocess.run(
        daemon.command(), cwd=ROOT, env=daemon.environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (78, "")
    said = r"swarmshd: state directory \S+: \S+: Read-only file system \(EROFS\); make it writable, or give .*\n"
    assert re.fullmatch(said, done.stderr)
    disk.restore()
    daemon.start()
    assert names(daemon) == ["acknowledged"]


@pytest.fixture
def unreadable(disk: Ext4, daemon: BusyDaemon) -> BusyDaemon:
    """A daemon that was stopped, and whose disk fails where the journal's end is read."""
    daemon.state, daemon.lines = disk.place / "state", ""
    daemon.settings = ("JOURNAL_RESERVE_MB=1",)
    daemon.start()
    for number in range(40):
        submit(daemon, f"item {number:02} {'x' * 1000}")
    assert daemon.stop() == 0
    disk.lose_from(listing(daemon.state).segments[-1][1], 20_000)
    return daemon


def test_a_place_of_the_disk_that_cannot_be_read(unreadable: BusyDaemon) -> None:
    """A start says what, where and why; what can be read is taken over by a repair, which says what could not."""
    state = unreadable.state
    (segment,) = [path for _, path in listing(state).segments]
    mend = ["journal", "repair", "--state-dir", str(state), "--to", f"{unreadable.directory}/sound"]
    done = subprocess.run(
        unreadable.command(), cwd=ROOT, env=unreadable.environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (74, "")
    said = re.escape(f"{state}: {segment}: Input/output error (EIO); mend the disk, then start again; or run ")
    assert re.fullmatch(
        rf"swarmshd: state directory {said}`swarmctl {' '.join(mend[:5])} \S+`, which .*\n", done.stderr
    )
    done = unreadable.ctl("journal", "list", "--state-dir", str(state))
    assert done.returncode == 0, done.stderr
    assert "cannot be read: Input/output error" in done.stderr
    done = unreadable.ctl("--json", "journal", "check", "--no-measure", "--state-dir", str(state))
    *losses, verdict = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, verdict["sound"]) == (78, False)
    assert {(loss["file"], loss["why"]) for loss in losses} == {(str(segment), UNREAD)}
    done = unreadable.ctl("--json", *mend)
    *losses, made = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert [loss["why"] for loss in losses if "loss" in loss] == [UNREAD]
    assert not made["whole"]
    unreadable.state = Path(mend[-1])
    unreadable.start()
    found = names(unreadable)
    assert len(found) > 10
    assert [name[:7] for name in found] == [f"item {number:02}" for number in range(len(found))]


def test_a_disk_that_cannot_be_read_is_told_to_all_who_come(unreadable: BusyDaemon) -> None:
    """Where a service manager holds the socket, the daemon would be started for each of them, for ever."""
    with manager(unreadable) as systemd:
        clients = [unreadable.spawn("submit", "t", f"from {number}") for number in range(5)]
        systemd.tend(clients)
        for client in clients:
            _, stderr = client.communicate(timeout=PATIENCE)
            assert client.returncode == 78, stderr
            assert "Input/output error (EIO); mend the disk, then start again; or run `swarmctl journal" in stderr
        assert systemd.starts == 1
        assert systemd.told().startswith("READY=1\nSTATUS=needs a person: state directory ")
        assert unreadable.stop() == 0


@pytest.mark.parametrize("taken", ["removed", "moved"])
def test_a_directory_that_is_taken_away(daemon: BusyDaemon, taken: str) -> None:
    daemon.start()
    submit(daemon, "acknowledged")
    elsewhere = daemon.directory / "elsewhere"
    if taken == "moved":
        daemon.state.rename(elsewhere)
    else:
        shutil.rmtree(daemon.state)
        with pytest.raises((EOFError, OSError)), daemon.wire() as wire:
            wire.call("submit", type="t", description="lost")
    assert daemon.wait() == 74
    assert last_line(daemon).startswith("swarmshd: the journal could not be written: ")
    assert not daemon.state.exists(), "it does not begin anew by itself"
    if taken == "moved":
        elsewhere.rename(daemon.state)
        daemon.start()
        assert names(daemon) == ["acknowledged"]


IMPATIENT = """
import os
beside = keeper.run_beside
async def run_beside(command, limit, **more):
    return await beside(command, limit if os.path.exists({path!r}) else 0.5, **more)
keeper.run_beside = run_beside
"""
"""A fold has half a second, until a file is there."""


def test_a_fold_that_is_stopped_is_given_up_and_the_next_one_works(daemon: BusyDaemon) -> None:
    patient = daemon.directory / "patient"
    daemon.lines = BUSY + IMPATIENT.format(path=str(patient))
    daemon.start()
    submit(daemon, "first")
    stopped = ""
    deadline = time.monotonic() + PATIENCE
    with daemon.wire() as wire:
        while "had not ended" not in daemon.log.read_text():  # meanwhile all are served
            assert time.monotonic() < deadline, "it was never given up"
            wire.call("submit", type="t", description="x" * 2000)
            for pid in folds(daemon.pid):
                if pid != stopped:
                    os.kill(int(pid), signal.SIGSTOP)
                    stopped = pid
    assert re.search(r"fold: it had not ended after \d+ s", daemon.log.read_text())
    before = daemon.log.read_text().count("folded up to")
    patient.touch()
    until(lambda: daemon.log.read_text().count("folded up to") > before, "the next one did not work")
    assert not os.path.exists(f"/proc/{stopped}"), "it was killed"
    daemon.restart()
    assert "first" in names(daemon)


def folds(pid: int) -> list[str]:
    """Its folds that run. One that is about to be has not been executed yet, and whoever starts it waits for that."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        with suppress(OSError):
            if b"swarmshd.compact" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


CLOCK = """
from swarmshd import main
from swarmshd.server import clock
wall = clock.wall
def moved():
    with open({path!r}) as file:
        return wall() + int(file.read() or 0)
clock.Clock.__init__.__defaults__ = (moved, clock.monotonic)
main.wall = moved
"""
"""The wall clock is as far off as a file says."""


def test_a_wall_clock_that_is_set_ahead_by_a_day_and_back(daemon: BusyDaemon) -> None:
    """A lease neither ends nor lasts for that; what is due by the wall is due; and nothing goes back."""
    path = daemon.directory / "offset"
    path.write_text("0", encoding="ascii")
    daemon.lines = CLOCK.format(path=str(path))
    daemon.start()
    held, later = submit(daemon, "held"), daemon.call("submit", type="t", description="later", delay=DAY // 2)["id"]
    token = daemon.call("claim", agent="a", id=held, lease=60_000)["items"][0]["token"]
    began = daemon.call("status")["now"]

    path.write_text(str(DAY), encoding="ascii")
    until(lambda: daemon.call("status")["now"] > began + DAY - 5000, "time has not followed")
    assert re.search(r"the clock leapt ahead by 864\d{5} ms", daemon.log.read_text())
    assert daemon.call("show", id=held)["state"] == "claimed"
    until(lambda: daemon.call("show", id=later)["state"] == "ready", "it was due")

    path.write_text("0", encoding="ascii")
    before = daemon.call("status")["now"]
    until(lambda: daemon.call("status")["now"] > before + 1200, "time stands still")
    assert daemon.call("status")["now"] < before + DAY
    daemon.restart()
    assert daemon.call("status")["now"] > began + DAY - 5000
    assert daemon.call("complete", id=held, token=token)["state"] == "done"
