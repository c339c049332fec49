"""Check: is every byte sound, does it replay, to which state, and how fast is the disk.

What is found is told file by file; the verdict is that of a start, to which it is no matter what the snapshot covers.
If an older snapshot is there with all that came after it, the newest one is made anew from it and must come out the
same.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from swarmshd import events as e
from swarmshd.beside import Gauge
from swarmshd.journal import Batch
from swarmshd.salvage.repairing import told
from swarmshd.salvage.survey import Lost, Snapshot, Survey, chunks
from swarmshd.workqueue.rows import digest_of
from swarmshd.workqueue.tables import Tables

WRITES = 64
BLOCK = 4096
READ = 1 << 20


class Moved(Exception):
    """The state that was to be looked at cannot be had of the files any more; the text says why."""


class Live(NamedTuple):
    """The state that a daemon has in its memory: the position, and the digest there."""

    position: int
    digest: str


def check(
    directory: Path,
    upto: int | None = None,
    *,
    deep: bool = False,
    live: Live | None = None,
    gauge: Gauge | None = None,
) -> Iterator[dict[str, Any]]:
    """What is wrong, one by one, and at last the whole.

    Args:
        directory: that of the journal.
        upto: a durable position, if a daemon goes on writing; nothing behind it is looked at.
        deep: make the newest snapshot anew from the one before it, if that and all events are there.
        live: the state to compare with, of position ``upto``.
        gauge: shows how far it has come.

    Raises:
        Moved: a snapshot came in between that covers more than ``live``.
        VersionMismatch, ValueError: a later program wrote it. OSError: it cannot be read.
    """
    with Survey(directory, upto, gauge) as survey:
        yield from _check(survey, upto, live, deep=deep)


def _check(survey: Survey, upto: int | None, live: Live | None, *, deep: bool) -> Iterator[dict[str, Any]]:
    faults = 0
    for snapshot in survey.snapshots:
        if snapshot.why:
            faults += 1
            yield {"loss": "damaged", "file": str(snapshot.path), "why": snapshot.why}
    base = next((each for each in survey.snapshots if not each.why), None)
    began = perf_counter()
    replay = Replay(survey, base, upto)
    for fault in replay.run():
        covered = base is not None and fault.end is not None and fault.end <= base.position
        faults += fault.harms and not covered
        yield told(fault) | ({"covered": True} if covered else {})
    if replay.differs:
        faults += 1
        yield {"loss": "damaged", "file": str(base and base.path), "why": "its digest is not that of its rows"}
    took = perf_counter() - began
    older = next((each for each in survey.snapshots if base and each.position < base.position and not each.why), None)
    if deep and base is not None and older is not None:
        again = Replay(survey, older, base.position)
        whole = not any(each.harms for each in again.run())
        if whole and digest_of(again.tables) != replay.stated:
            faults += 1
            yield {"loss": "damaged", "file": str(base.path), "why": f"{older.path.name} and all after it give another"}
    tables = replay.tables
    digest = digest_of(tables).hex()
    compared: dict[str, Any] = {}
    if live is not None:
        if tables.position != live.position and not faults:
            raise Moved(f"position {live.position} was folded into a snapshot meanwhile; try again")
        compared = {"daemon_digest": live.digest}
        faults += live.digest != digest
    yield {
        "sound": not faults,
        "position": tables.position,
        "epoch": tables.epoch,
        "items": len(tables.items),
        "open": len(tables.open),
        "events": replay.events,
        "events_per_second": round(replay.events / took) if took else 0,
        "digest": digest,
        **compared,
    }


class Replay:
    """The state that a snapshot and the events after it give, as far as nothing is lost."""

    def __init__(self, survey: Survey, base: Snapshot | None, upto: int | None) -> None:
        self._survey = survey
        self._base = base
        self._upto = upto
        self.tables = Tables()
        self.events = 0
        self.stated = b""
        """The digest that the snapshot states."""
        self.differs = False

    def run(self) -> Iterator[Lost]:
        """Replay; give what is lost. Behind the first loss that harms, only look."""
        tables = self.tables
        if self._base is not None:
            for each in chunks(self._base.path, self._survey.open(self._base.path)):
                assert not isinstance(each, Lost)
                tables.restore(e.decode_rows(each[0]))
            self.stated = tables.digest
            self.differs = bool(self.stated) and digest_of(tables) != self.stated
        whole = True
        covered = 0 if self._base is None else self._base.position
        for found in self._survey.events(min(covered, self._survey.oldest)):
            if isinstance(found, Lost):
                whole = whole and (not found.harms or (found.end is not None and found.end <= covered))
                yield found
            elif whole and found.position >= covered and not self._beyond(found):
                tables.replay(e.decode_batch(found.body, found.position))
                self.events += found.event_count

    def _beyond(self, batch: Batch) -> bool:
        return self._upto is not None and batch.position >= self._upto


def measure(directory: Path) -> dict[str, Any]:
    """How long an append and a sync take in the directory, and how fast a segment is read; leaves nothing.

    Raises:
        OSError: nothing can be written there.
    """
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, bytes(WRITES * BLOCK), 0)
        os.fsync(fd)
        appends, syncs = [], []
        data = os.urandom(BLOCK)
        for number in range(WRITES):
            began = perf_counter()
            os.pwrite(fd, data, number * BLOCK)
            written = perf_counter()
            os.fdatasync(fd)
            appends.append(written - began)
            syncs.append(perf_counter() - written)
        size = os.pwrite(fd, bytes(8 * READ), 0)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        began = perf_counter()
        for at in range(0, size, READ):
            os.pread(fd, READ, at)
        took = perf_counter() - began
    finally:
        os.close(fd)
    return {
        "append_us": _us(appends, 50),
        "sync_us": _us(syncs, 50),
        "sync_us_95": _us(syncs, 95),
        "sync_us_most": _us(syncs, 100),
        "read_mib_per_second": round(size / took / (1 << 20)) if took else 0,
    }


def _us(times: list[float], percent: int) -> int:
    return round(sorted(times)[min(len(times) - 1, len(times) * percent // 100)] * 1_000_000)
