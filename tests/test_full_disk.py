"""A disk that is really full: new work is refused, finishing work goes on, and it heals without a restart."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmctl.connection import Refused
from tests import wire as raw
from tests.conftest import PATIENCE, Daemon
from tests.filesystem import ext4

pytestmark = pytest.mark.real


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = directory / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(daemon: Daemon) -> int:
    """Submit until the disk is full; how many went in."""
    taken: int = 0
    with daemon.wire() as wire:
        while True:
            replies = wire.call("batch", commands=[["submit", {"type": "t", "description": "x" * 4000}]] * 10)[
                "replies"
            ]
            taken += sum(code == 0 for code, _ in replies)
            codes = {code for code, _ in replies} - {0}
            if codes:
                assert codes == {"disk_full"}
                return taken


def test_full_disk(small_disk: Path, make_daemon: Any) -> None:
    daemon = make_daemon()
    daemon.state = small_disk / "state"
    daemon.start()
    taken = fill(daemon)
    assert taken > 100
    with pytest.raises(Refused, match="no room") as refused:
        daemon.call("submit", type="t", description="d")
    assert (refused.value.code, refused.value.exit, refused.value.retryable) == ("disk_full", 75, True)
    for _ in range(20):
        claimed = daemon.call("claim", agent="a")["items"][0]
        daemon.call("heartbeat", agent="a", ids=[claimed["id"]])
        assert daemon.call("complete", id=claimed["id"], token=claimed["token"])["state"] == "done"
    assert daemon.call("count", all=True)["count"] == taken

    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            daemon.call("submit", type="t", description="d")
            break
        except Refused as refused_again:
            assert refused_again.code == "disk_full"
            assert time.monotonic() < deadline, "it never healed"
    daemon.restart()
    assert daemon.call("count", state=["done"])["count"] == 20
    assert daemon.call("count", all=True)["count"] == taken + 1


def test_a_disk_filled_by_somebody_else(small_disk: Path, make_daemon: Any) -> None:
    daemon = make_daemon()
    daemon.state = small_disk / "state"
    daemon.start()
    daemon.call("submit", type="t", description="d")
    with (small_disk / "foreign").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
    taken = fill(daemon)
    assert taken > 10, "what was zeroed ahead can be used"
    assert daemon.call("claim", agent="a")["items"][0]["id"] == 1
    assert daemon.call("complete", id=1, agent="a")["state"] == "done"
    os.unlink(small_disk / "foreign")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            daemon.call("submit", type="t", description="d")
            break
        except Refused:
            assert time.monotonic() < deadline, "it never healed"
    assert daemon.stop() == 0


def test_finished_work_frees_a_full_disk_by_itself(small_disk: Path, make_daemon: Any) -> None:
    """The reserve has the room for the fold, and the fold frees what is finished and forgotten.

    In the end more has gone through the queue than the disk could ever hold.
    """
    daemon = make_daemon("RETAIN_DONE_ITEMS=0")
    daemon.state = small_disk / "state"
    daemon.start()
    through = 0
    while through * 4000 < 8 << 20:
        taken = fill(daemon)
        assert taken > 100
        finish(daemon, taken)
        through += taken
        wait_until_healed(daemon)
        daemon.call("cancel", id=daemon.call("list")["items"][0]["id"])
    assert "folded up to position" in daemon.log.read_text()
    daemon.restart()
    assert daemon.call("count", all=True)["count"] < 2


def test_leases_that_end_on_a_full_disk_do_not_end_the_daemon(small_disk: Path, make_daemon: Any) -> None:
    daemon = make_daemon("LEASE=1")
    daemon.state = small_disk / "state"
    daemon.start()
    taken = fill(daemon)
    claimed = 0
    with daemon.wire() as wire:
        while True:
            try:
                claimed += len(wire.call("claim", agent="a", count=50)["items"])
            except raw.Refused as refused:
                assert refused.code in ("disk_full", "empty")
                break
    assert claimed > 20
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        held = daemon.call("status")["held"]
        if not held or daemon.call("status")["disk"]["reserve_percent"] < 25:
            break
    assert daemon.call("count") == {"count": taken}
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    wait_until_healed(daemon)


@pytest.fixture
def smallest(directory: Path) -> Iterator[Path]:
    """An ext4 of 4 MiB, of which its own log takes a third."""
    with ext4(directory, 4) as made:
        yield made.place


def test_the_smallest_disk_heals_when_what_was_done_is_forgotten(smallest: Path, make_daemon: Any) -> None:
    daemon = make_daemon("RETAIN_DONE_ITEMS=0")
    daemon.state = smallest / "state"
    daemon.start()
    finish(daemon, fill(daemon))
    wait_until_healed(daemon)
    daemon.restart()
    assert daemon.call("count", all=True) == {"count": 1}


def test_items_that_have_ended_and_are_kept_are_named_as_what_fills_the_disk(smallest: Path, make_daemon: Any) -> None:
    """They were promised to be kept, so it is for a person to let them go; that is one command, and heals."""
    daemon = make_daemon()
    daemon.state = smallest / "state"
    daemon.start()
    taken = fill(daemon)
    (told,) = daemon.call("health")["conditions"]
    assert (told["name"], told["next"]) == ("disk_full", "swarmctl status")
    with daemon.wire() as wire:
        for item in daemon.call("list", limit=1000)["items"]:
            wire.call("cancel", id=item["id"])
    assert daemon.call("count", state=["cancelled"]) == {"count": taken}
    with pytest.raises(Refused, match="no room"):
        daemon.call("submit", type="t", description="d")
    (told,) = daemon.call("health")["conditions"]
    assert f"{taken} items that have ended are kept" in told["fact"]
    done = daemon.ctl(*told["next"].split()[1:])
    assert done.returncode == 0, done.stderr
    wait_until_healed(daemon)
    daemon.restart()
    assert daemon.call("count") == {"count": 1}


def finish(daemon: Daemon, count: int) -> None:
    """Claim and complete so many. While a fold takes the reserve, claims may be refused."""
    deadline = time.monotonic() + PATIENCE
    with daemon.wire() as wire:
        while count:
            try:
                (item,) = wire.call("claim", agent="a")["items"]
            except raw.Refused as refused:
                assert refused.code == "disk_full"
                assert time.monotonic() < deadline, "the fold gave nothing back"
                time.sleep(0.01)  # it needs a processor, too
                continue
            wire.call("complete", id=item["id"], token=item["token"])
            count -= 1


def wait_until_healed(daemon: Daemon) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            daemon.call("submit", type="t", description="d")
            return
        except Refused as refused:
            assert refused.code == "disk_full"
            assert time.monotonic() < deadline, "it never healed"
