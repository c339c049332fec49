"""From the files of a stopped daemon to a queue that serves.

Recovery replays the newest snapshot and what the journal holds after it. Then a new epoch begins: counting
goes on where nothing can be handed out twice, claims of processes that are gone come back, and every lease is
moved by the time in which nobody could renew it.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from swarmshd import events as e
from swarmshd.engine.engine import Engine
from swarmshd.engine.numbers import Numbers
from swarmshd.engine.policy import policy
from swarmshd.engine.ring import Ring
from swarmshd.journal import Disk, Journal, Recovery, Torn, VersionMismatch, recover
from swarmshd.settings import Settings
from swarmshd.workqueue.queue import WorkQueue

Adopt = Callable[[int, int], str]
"""Watch a process again: ``alive``, ``dead`` or ``unknown``."""


class Started(NamedTuple):
    """What a start found, for the log.

    Attributes:
        engine: ready to take commands; what the start itself changed is durable.
        created: there was no journal.
        torn: the torn tail that was cut, if there was one.
        clean: the last stop was clean.
        items: how many there are.
        unproven: watched processes of which nobody can tell whether they live; their leases decide.
    """

    engine: Engine
    created: bool
    torn: Torn | None
    clean: bool
    items: int
    unproven: int


Progress = Callable[[int, int], None]
"""Told now and then how many bytes have been read, of how many."""


def untold(_done: int, _size: int) -> None:
    """Nobody is told."""


TELL_EVERY = 4 << 20
"""Bytes of the journal between two words about how far it is; read in a quarter of a second."""


def start(
    directory: Path, settings: Settings, wall: int, boot: str, adopt: Adopt, progress: Progress = untold
) -> Started:
    """Recover what the directory holds and begin a new epoch.

    Args:
        directory: the state directory; the caller holds its lock.
        settings: those that the daemon runs with.
        wall: the wall clock, in milliseconds.
        boot: the id of this boot of the host.
        adopt: finds a process again that was watched before.
        progress: is told how far reading is.

    Raises:
        Corrupt, VersionMismatch: the journal needs a person; nothing was changed.
        Full, JournalFailed, OSError: the disk does not take it.
    """
    numbers = Numbers()
    queue = WorkQueue(policy(settings), numbers)
    disk = Disk(settings.io_buffer_size, mapped=settings.mmap_enabled, direct=settings.direct_io)
    began = perf_counter()
    recovery = recover(directory, disk=disk)
    ring = Ring(settings.watch_ring, recovery.snapshot_position)
    _replay(recovery, queue, ring, progress)
    took = perf_counter() - began
    tables = queue.tables
    numbers.resume(tables, clean=recovery.clean)
    position = recovery.position if recovery.clean else max(recovery.position, tables.positions_end)
    journal = Journal(
        directory,
        settings.journal_rotation_bytes,
        reserve_bytes=settings.journal_reserve_bytes,
        most_bytes=settings.max_disk_bytes,
        disk=disk,
    )
    journal.begin(position, recovery.epoch + 1)
    tables.position = position
    queue.serve()
    engine = Engine(journal, queue, numbers, settings, ring)
    engine.recovery_ms = round(took * 1000)
    engine.health.started = max(wall, tables.time)
    unproven = _begin_epoch(engine, recovery, max(wall, tables.time), boot, adopt)
    return Started(engine, recovery.created, recovery.torn, recovery.clean, len(tables.items), unproven)


def _replay(recovery: Recovery, queue: WorkQueue, ring: Ring, progress: Progress) -> None:
    """Make the state what it was; the ring keeps the last batches, so that those who watch go on after a restart."""
    tables = queue.tables
    snapshot = recovery.snapshot
    if snapshot is not None and snapshot.program_format > e.FORMAT:
        raise VersionMismatch(Path(f"snapshot of position {snapshot.position}"), snapshot.program_format)
    size = recovery.size
    done = told = 0
    for chunk in recovery.chunks():
        tables.restore(e.decode_rows(chunk))
        done += len(chunk)
        if done >= told + TELL_EVERY:
            told = done
            progress(done, size)
    for batch in recovery.batches():
        tables.replay(e.decode_batch(batch.body, batch.position))
        ring.add(batch.position, batch.event_count, batch.body)
        done += len(batch.body)
        if done >= told + TELL_EVERY:
            told = done
            progress(done, size)


def _begin_epoch(engine: Engine, recovery: Recovery, now: int, boot: str, adopt: Adopt) -> int:
    """Write down what the start changes, and make it durable."""
    queue, tables = engine.queue, engine.queue.tables
    downtime = 0 if recovery.created else now - tables.time
    queue.begin(now)
    reserved = engine.numbers.first_reservation(tables.position)
    engine.record(queue.record(e.EpochStarted(recovery.epoch + 1, boot, *reserved)))
    if downtime > 0:
        engine.record(queue.record(e.ClockShifted(downtime)))
    engine.commit()
    engine.numbers.granted(reserved)
    for happened in queue.host_restarted():  # at every start: one that crashed may have come only half way
        engine.record(happened)
    unproven = 0
    for watch in queue.watches():
        state = adopt(*watch)
        if state == "dead":
            for happened in queue.watch_ended(watch, watched=False):
                engine.record(happened)
        elif state == "unknown":
            unproven += 1
            engine.record(queue.watch_unproven(watch))
    engine.commit()
    return unproven
