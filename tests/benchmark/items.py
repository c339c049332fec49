"""200,000 items: the memory that they take in the daemon, and how long a start with them lasts."""

import subprocess
import sys
import time

import cbor2

from swarmshd import events
from swarmshd.journal import files
from tests.benchmark.figure import Figure, Found, at_most
from tests.benchmark.ground import Ground, resident_bytes
from tests.benchmark.load import Client, request, submit
from tests.conftest import ROOT, Daemon

ITEMS = 200_000
KEYED = 20_000
"""More of them, each with an idempotency key, which the daemon keeps for a while."""

FRAME = 1000
PAYLOAD = bytes(range(256))


def items(ground: Ground) -> Found:
    """200,000 queued items: memory, and start from snapshot and journal."""
    daemon = ground.make("JOURNAL_ROTATION_MB=16")
    try:
        daemon.start()
        before = resident_bytes(daemon.pid)
        _fill(daemon, 0, ITEMS)
        full = resident_bytes(daemon.pid)
        each = (full - before) / ITEMS
        yield Figure(
            "memory of a queued item beyond its payload",
            each - len(PAYLOAD),
            "bytes",
            at_most(1024),
            _memory(full - before),
        )
        _fill(daemon, ITEMS, KEYED, keys=True)
        keyed = (resident_bytes(daemon.pid) - full) / KEYED
        yield Figure(
            "the same with an idempotency key", keyed - len(PAYLOAD), "bytes", note="keys are kept 15 min to 24 h"
        )
        daemon.stop()
        yield Figure("start, all in segments, clean stop", _start(daemon), "s", at_most(5), _files(daemon))
        daemon.stop()
        note = _fold(daemon)
        yield Figure("start, snapshot and segments, clean stop", _start(daemon), "s", at_most(5), note)
        _touch(daemon)
        daemon.kill()
        yield Figure("start, snapshot and segments, SIGKILL", _start(daemon), "s", at_most(5), _files(daemon))
        grown = resident_bytes(daemon.pid) - before
        each = grown / (ITEMS + KEYED)
        yield Figure("memory of a queued item after a start", each - len(PAYLOAD), "bytes", at_most(1024))
        count = daemon.call("count")["count"]
        assert count == ITEMS + KEYED, f"{count} items are left"
    finally:
        ground.remove(daemon)


def _fill(daemon: Daemon, first: int, count: int, *, keys: bool = False) -> None:
    """Put the items in, each with words of its own, as they would differ in use."""
    client = Client(daemon.socket)
    for start in range(first, first + count, FRAME):
        commands = [
            ["submit", submit(description=f"compile module {number} and run its tests", payload=PAYLOAD)]
            for number in range(start, start + FRAME)
        ]
        key = {"key": f"auto:{start:032x}"} if keys else {}
        client.ask(request("batch", commands=commands, **key))
    client.close()


def _touch(daemon: Daemon) -> None:
    """Leave a change behind that no clean stop has stated."""
    client = Client(daemon.socket)
    (item,) = client.call("claim", agent="a")["items"]
    client.call("release", id=item["id"], token=item["token"])
    client.close()


def _start(daemon: Daemon) -> float:
    """Seconds from the start of the process to its ready line."""
    began = time.perf_counter()
    daemon.start()
    return time.perf_counter() - began


def _fold(daemon: Daemon) -> str:
    """Fold the first half of the segments; the daemon is stopped."""
    starts = [start for start, _ in files.listing(daemon.state).segments]
    upto = starts[(len(starts) + 1) // 2]
    command = [sys.executable, "-m", "swarmshd.compact", "--directory", str(daemon.state)]
    command += ["--upto", str(upto), "--format", str(events.FORMAT)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return f"{_files(daemon)}; the fold took {time.perf_counter() - began:.1f} s"


def _files(daemon: Daemon) -> str:
    found = files.listing(daemon.state)
    position = found.snapshots[-1][0] if found.snapshots else 0
    segments = [path.stat().st_size for start, path in found.segments if start >= position]
    said = f"{len(segments)} segments of {sum(segments) >> 20} MiB"
    if found.snapshots:
        said = f"snapshot of {files.size_of(found.snapshots) >> 20} MiB, {said}"
    return said


def _memory(grown: int) -> str:
    bare = len(cbor2.dumps(submit(description="compile module 100000 and run its tests")))
    return f"{grown >> 20} MiB for {ITEMS:,}; payload {len(PAYLOAD)}, the rest on the wire {bare} bytes"
