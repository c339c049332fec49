"""A million items: how fast they are recovered, what they take, and whether a fold of them is felt by anybody."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from swarmshd import records
from swarmshd.journal import files
from swarmshd.journal.scan import Scan
from tests.benchmark import load
from tests.benchmark.figure import Figure, Found, at_least, at_most, median
from tests.benchmark.ground import Ground, resident_bytes
from tests.benchmark.load import Client, request, submit
from tests.busy import BusyDaemon

ITEMS = 1_000_000
FRAME = 1000
PAYLOAD = bytes(range(64))
CLIENTS = 8
QUIET = 8.0
"""Seconds of load without a fold."""

MIB = 1 << 20

ORDERED = """
import os
from swarmshd import keeper
keeper.LOOK = 0.1
keeper.fold_threshold = lambda sizes: 0 if os.path.exists({order!r}) else 1 << 60
"""
"""Folds are made when a file is there, and not before."""


def recovery(ground: Ground) -> Found:
    """1,000,000 items: recovery from segments and from a snapshot, and a fold under load."""
    path, directory = ground.place("million")
    order = directory / "fold"
    daemon = BusyDaemon(directory, "LOG_LEVEL=info", lines=ORDERED.format(order=str(order)))
    daemon.socket = path
    daemon.patience = 600
    try:
        daemon.start()
        _fill(daemon)
        daemon.stop()
        bare = _bare_start(ground)
        took = _start(daemon) - bare
        note = f"{took:.1f} s of replay beside a start of {bare:.1f} s; {_files(daemon)}"
        yield Figure("recovery from segments", _events(daemon) / took, "events/s", at_least(150_000), note)
        yield Figure("resident after it", resident_bytes(daemon.pid) / MIB, "MiB", at_most(700), "payloads of 64 bytes")
        without, rate = _longest_gap(daemon, lambda began: time.perf_counter() - began < QUIET)
        yield Figure(
            "longest gap between two replies, no fold", without * 1000, "ms", note=f"{CLIENTS} clients, {rate:,.0f}/s"
        )
        folded = daemon.log.read_text().count(" folded up to ")
        order.touch()
        began = time.perf_counter()
        during, rate = _longest_gap(daemon, lambda _: daemon.log.read_text().count(" folded up to ") == folded)
        order.unlink()
        note = f"{rate:,.0f}/s; the fold took {time.perf_counter() - began:.0f} s"
        yield Figure("longest gap between two replies, fold", during * 1000, "ms", note=note)
        yield Figure("what a fold adds to it", max(0, during - without) * 1000, "ms", at_most(50))
        daemon.stop()
        took = _start(daemon) - bare
        yield Figure("recovery from a snapshot", ITEMS / took, "items/s", note=f"{took:.1f} s; {_files(daemon)}")
        yield Figure("resident after that", resident_bytes(daemon.pid) / MIB, "MiB", at_most(700))
        count = daemon.call("count")["count"]
        assert count >= ITEMS, f"{count} items are left"
    finally:
        ground.remove(daemon)


def _fill(daemon: BusyDaemon) -> None:
    client = Client(daemon.socket)
    for start in range(0, ITEMS, FRAME):
        commands = [
            ["submit", submit(description=f"module {number}", payload=PAYLOAD)]
            for number in range(start, start + FRAME)
        ]
        client.ask(request("batch", commands=commands))
    client.close()


def _start(daemon: BusyDaemon) -> float:
    began = time.perf_counter()
    daemon.start()
    return time.perf_counter() - began


def _bare_start(ground: Ground) -> float:
    """Seconds that a start takes where there is nothing to recover."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        with ground.daemon():
            took.append(time.perf_counter() - began)
    return median(took)


def _events(daemon: BusyDaemon) -> int:
    """How many events there are in the segments."""
    found = 0
    for _, path in files.listing(daemon.state).segments:
        data = path.read_bytes()
        scan = Scan(data, records.unpack_segment_header(data[: records.SECTOR]))
        found += sum(header.event_count for _, header in scan)
    return found


def _files(daemon: BusyDaemon) -> str:
    found = files.listing(daemon.state)
    said = f"segments of {files.size_of(found.segments) // MIB} MiB"
    return f"snapshot of {files.size_of(found.snapshots) // MIB} MiB, {said}" if found.snapshots else said


def _longest_gap(daemon: BusyDaemon, going_on: Callable[[float], bool]) -> tuple[float, float]:
    """The longest time without a reply while many clients ask one after another, and their replies a second."""
    clients = [Client(daemon.socket) for _ in range(CLIENTS)]
    frame = request("submit", **submit(queue="load"))  # the other one is full
    longest, replies, began = 0.0, 0, time.perf_counter()
    last = [began]

    def following(index: int, body: bytes) -> bytes:
        nonlocal longest
        now = time.perf_counter()
        longest = max(longest, now - last[0]) if body else longest
        last[0] = now
        return frame

    while going_on(began):
        last[0] = time.perf_counter()
        replies += load.crowd(clients, following, 0.25)[0]
    took = time.perf_counter() - began
    for client in clients:
        client.close()
    return longest, replies / took


def room(ground: Ground) -> Found:
    """Writing into room that was made before, against a file that grows with every write."""
    growing = ground.directory / "growing"
    prepared: list[float] = []
    appended: list[float] = []
    for size in (160, 4096):
        fd = os.open(growing, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        data = os.urandom(size)
        at = 0
        for _ in range(8):
            prepared += ground.loop.run(100, size)
            for _ in range(100):
                began = time.perf_counter()
                os.pwrite(fd, data, at)
                os.fdatasync(fd)
                appended.append(time.perf_counter() - began)
                at += size
        os.close(fd)
        Path(growing).unlink()
        yield Figure(f"write+fdatasync of {size} bytes into room", median(prepared) * 1e6, "µs", note="median")
        yield Figure(f"write+fdatasync of {size} bytes, appended", median(appended) * 1e6, "µs", note="median")
        yield Figure(f"appended / into room, {size} bytes", median(appended) / median(prepared), "x")
        prepared.clear()
        appended.clear()
