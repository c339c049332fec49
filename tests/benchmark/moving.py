"""Moving a queue: ``swarmctl export`` of many items, and ``swarmctl import`` of what it wrote into another daemon."""

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmark.figure import Figure, Found, at_least
from tests.benchmark.ground import Ground
from tests.benchmark.load import Client, submit
from tests.conftest import Daemon

ITEMS = 100_000
FRAME = 1000


def moving(ground: Ground) -> Found:
    """100,000 items from one daemon to another, through a file."""
    file = ground.directory / "moving.jsonl"
    try:
        with ground.daemon() as before:
            client = Client(before.socket)
            for first in range(0, ITEMS, FRAME):
                lines = [["submit", submit(ref=f"job-{number}")] for number in range(first, first + FRAME)]
                client.call("batch", commands=lines)
            client.close()
            exported = _timed(before, "export", into=file)
        with ground.daemon() as after:
            imported = _timed(after, "import", str(file))
            client = Client(after.socket)
            assert client.call("count")["count"] == ITEMS
            client.close()
    finally:
        file.unlink(missing_ok=True)
    yield Figure(f"export of {ITEMS:,} items", ITEMS / exported, "/s")
    yield Figure(f"import of {ITEMS:,} items", ITEMS / imported, "/s", at_least(10_000), "durable; one swarmctl")


def _timed(daemon: Daemon, *words: str, into: Path | None = None) -> float:
    """Seconds of one swarmctl, whole process."""
    with open(into or "/dev/null", "wb") as out:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "swarmctl", *words], env=daemon.environment(), stdout=out, check=True)
        return time.perf_counter() - began
