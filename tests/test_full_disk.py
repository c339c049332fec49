"""A disk that is really full: new work is refused, finishing work goes on, and it heals without a restart."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmctl.connection import Refused
from tests.conftest import PATIENCE, Daemon

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
