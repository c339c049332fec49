"""What the daemon does beside serving: room ahead in the journal, folds, the archive, watches without use.

Each is a task of its own that sleeps until it is needed. None of them decides anything about items.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from swarmshd import events
from swarmshd.beside import Gauge
from swarmshd.engine import Client, Engine
from swarmshd.journal import Full, Journal, Sizes, Tended, Terms, fold_threshold
from swarmshd.liveness import Watches
from swarmshd.settings import Settings

log = logging.getLogger("swarmshd.keeper")

T = TypeVar("T")

FOLD_EVERY = 3600.0
LOOK = 5.0
"""Seconds between two looks at what lies on the disk."""

FOLD_PATIENCE = 60.0
"""Seconds until a fold that failed is tried again."""

FOLD_LIMIT, FOLD_LIMIT_PER_MIB = 600.0, 1.0
"""Seconds after which a fold is ended, and what each MiB that it reads adds: it hangs, or somebody has stopped it."""

FOLD_SMALLEST = 256 << 10
"""On a full disk a fold is worth its while if it frees as much, in bytes."""

PROGRAM_BYTES = 64 << 20
"""Memory of a fold beside the items."""

FULL_PATIENCE = 1.0
SWEEP_EVERY = 30.0
TEND_EVERY = 3600.0
DAY = 86_400_000


class FoldFailed(Exception):
    """No snapshot was made, and the one before is as it was. ``code`` is that of a refusal, if one fits."""

    def __init__(self, why: str, code: str | None = None) -> None:
        super().__init__(why)
        self.code = code


FAILURES = {74: "disk_full", 75: "busy", 76: "version", 78: "journal_corrupt"}
"""What the exit status of a fold means. 74 may be another failure of the disk; its line says which."""


class Keeper:
    """The tasks; ``journal_low`` is to be called when the journal's room runs low."""

    def __init__(self, engine: Engine, directory: Path, watches: Watches) -> None:
        self._engine = engine
        self._journal: Journal = engine.journal
        self._directory = directory
        self._watches = watches
        self._threads = Threads(engine.settings.parallel_workers)
        engine.sections["threads"] = self._threads.tell
        self._low = trio.Event()
        self._folding = trio.Lock()
        self._tending = trio.Lock()
        self._pruned = trio.Event()
        self._fold_after = 0.0
        """No fold before this moment: one has failed."""
        self._declined = False
        self._progress = os.memfd_create("progress")
        """Where the fold tells how far it is."""

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on; what concerns the journal is looked up when it is needed."""
        self._threads.limiter.total_tokens = settings.parallel_workers
        self._pruned.set()  # the archive may be too large, or too old, by these

    def journal_low(self) -> None:
        """The journal's room runs low."""
        self._low.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """All tasks, until cancelled. Raises JournalFailed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._make_room, name="room")
            nursery.start_soon(self._fold, name="fold")
            nursery.start_soon(self._tend, name="archive")
            nursery.start_soon(self._sweep, name="sweep")
            task_status.started()

    # -- a snapshot on demand

    @property
    def folded(self) -> float:
        """How much of the fold under way is done, from 0 to 1."""
        done, whole = Gauge.read(self._progress)
        return done / whole if whole else 0.0

    async def snapshot(self, upto: int) -> dict[str, Any]:
        """See to it that a snapshot covers all up to a durable position; what there is then.

        Raises:
            FoldFailed: and why.
        """
        async with self._folding:
            sizes: Sizes = await self._threads.run(self._journal.sizes)
            done: dict[str, Any] = {"seconds": 0.0, "written": False}
            if sizes.snapshot_position < upto:
                Gauge.clear(self._progress)
                if not await self._turn(somehow=False):
                    raise FoldFailed("the journal's disk has no room for another segment", "disk_full")
                sizes = await self._threads.run(self._journal.sizes)
                if not self._fits(sizes.largest):
                    raise FoldFailed(f"a fold {self._engine.fold['declined']}", "overloaded")
                done = await self._fold_sealed()
                sizes = await self._threads.run(self._journal.sizes)
        return {
            "position": sizes.snapshot_position,
            "bytes": sizes.snapshot,
            "seconds": done["seconds"],
            "written": done["written"],
        }

    # -- room

    async def _make_room(self) -> None:
        space = self._engine.space
        told = False
        while True:
            before = space.full
            self._low = trio.Event()
            space.look()
            try:
                await self._threads.run(self._journal.prepare)
            except Full as full:
                if not told:
                    log.error("%s; new work is refused until there is room", full, extra={"kind": "full"})
                told, space.full = True, full
                await self._relieve()
                await trio.sleep(FULL_PATIENCE)
                continue
            if space.full is not before:  # the engine has found none meanwhile
                continue
            if told:
                log.warning("there is room for the journal again; new work is taken", extra={"kind": "healed"})
            told, space.full = False, None
            await self._relieve()
            with trio.move_on_after(LOOK):
                await self._low.wait()

    def _terms(self) -> Terms:
        settings = self._engine.settings
        return Terms(
            settings.journal_compression_age_days * DAY,
            settings.journal_retention_days * DAY,
            settings.archive_max_bytes,
        )

    async def _tend(self) -> None:
        """The archive: compress what is old enough, remove what is too old or too much."""
        while True:
            try:
                await self.tend_archive()
            except OSError as error:
                log.error("archive: %s", error)
            with trio.move_on_after(TEND_EVERY):
                await self._pruned.wait()
            self._pruned = trio.Event()

    async def tend_archive(self, *, dry: bool = False, whatever_age: bool = False, prune: int | None = None) -> Tended:
        """Do what is due, or only find out what is. Raises OSError.

        ``whatever_age`` they have all are compressed; what is ``prune`` milliseconds old is removed.
        """
        terms = self._terms()
        if whatever_age:
            terms = terms._replace(compress_after=0)
        if prune is not None:
            terms = terms._replace(remove_after=min(prune, terms.remove_after))
        tend = partial(self._journal.tend_archive, terms, time.time_ns() // 1_000_000, dry=dry)
        async with self._tending:
            done = await self._threads.run(tend)
        if not dry and (done.compressed or done.removed):
            counts = (len(done.compressed), len(done.removed))
            log.info("archive: compressed %d segments, removed %d", *counts, extra={"kind": "archived"})
        return done

    async def _relieve(self) -> None:
        """Free what can be freed. Nobody depends on that, so a failure is only told."""
        try:
            await self._free_room()
        except OSError as error:
            log.error("no room could be freed: %s", error)
            self._fold_after = trio.current_time() + FOLD_PATIENCE

    async def _free_room(self) -> None:
        """On a disk that is full, or nearly: fold what is there, if that frees enough. The reserve has the room.

        Raises OSError.
        """
        now = trio.current_time()
        if self._engine.space.full is not None:
            gone = await self._threads.run(self._journal.yield_archive)
            if gone is not None:
                log.warning("archive: removed %s as the disk is full", gone)
                return
        if now < self._fold_after or self._folding.locked():
            return
        needed = self._engine.snapshot_size
        sizes: Sizes = await self._threads.run(self._journal.sizes)
        frees = sizes.sealed + sizes.used + sizes.snapshot - needed
        if self._engine.space.full is None and sizes.free > sizes.sealed + sizes.used:
            return
        needed += needed // 4 + FOLD_SMALLEST
        if frees < max(FOLD_SMALLEST, needed // 2) or sizes.free + sizes.reserve < needed:
            return
        await self._threads.run(self._journal.give, needed - sizes.free)
        if not (await self._turn(somehow=True) and await self.fold()):
            self._fold_after = now + LOOK

    async def _turn(self, *, somehow: bool) -> bool:
        """Have everything that was written lie in sealed segments; whether it does."""
        journal = self._journal
        wanted = journal.end
        journal.want_turn(somehow=somehow)
        with trio.move_on_after(LOOK):
            while journal.start < wanted:
                if not self._engine.syncing:
                    return journal.turn(somehow=somehow)
                await trio.sleep(0.005)
        return journal.start >= wanted

    # -- folds

    async def _fold(self) -> None:
        last = trio.current_time()
        while True:
            await trio.sleep(LOOK)
            self._journal.check_place()
            now = trio.current_time()
            if now < self._fold_after:
                continue
            try:
                sizes: Sizes = await self._threads.run(self._journal.sizes)
                due = now - last > FOLD_EVERY or sizes.sealed > fold_threshold(sizes)
                if not (sizes.sealed and due and self._fits(sizes.largest)):
                    continue
                folded = await self.fold()
            except OSError as error:  # out of descriptors, processes or memory: serving goes on without a fold
                log.error("fold: %s", error, extra={"kind": "fold_failed"})
                folded = False
            if folded:
                last = trio.current_time()
            else:
                self._fold_after = trio.current_time() + FOLD_PATIENCE

    def memory_for_copy(self, segment: int) -> tuple[int, int]:
        """The memory that a program takes which loads all items and reads segments, and what it may take."""
        needed = self._engine.queue.tables.bytes + segment + PROGRAM_BYTES
        return needed, min(self._engine.settings.process_memory_limit_bytes, _memory_available())

    def _fits(self, segment: int) -> bool:
        """Whether the memory is there that a fold will take: once more that of the items, and one segment."""
        needed, most = self.memory_for_copy(segment)
        declined = needed > most
        if declined and not self._declined:
            self._engine.fold |= {"declined": f"needs about {needed >> 20} MiB of memory and may take {most >> 20}"}
            log.warning("no fold: it needs about %d MiB of memory and may take %d", needed >> 20, most >> 20)
        elif not declined:
            self._engine.fold.pop("declined", None)
        self._declined = declined
        return not declined

    async def fold(self) -> bool:
        """Fold what is sealed into the next snapshot, in a process of its own; prune what it covers."""
        async with self._folding:
            try:
                await self._fold_sealed()
            except FoldFailed:
                return False
            return True

    async def _fold_sealed(self) -> dict[str, Any]:
        """What the fold says of itself. Raises FoldFailed, when the log has it."""
        upto = str(self._journal.durable)
        command = [sys.executable, "-m", "swarmshd.compact", "--directory", str(self._directory)]
        settings = self._engine.settings
        command += ["--upto", upto, "--format", str(events.FORMAT), "--progress", str(self._progress)]
        command += ["--buffer", str(settings.io_buffer_size), *(["--mapped"] if settings.mmap_enabled else [])]
        sizes: Sizes = await self._threads.run(self._journal.sizes)
        limit = FOLD_LIMIT + (sizes.bytes >> 20) * FOLD_LIMIT_PER_MIB
        status, out, err = await run_beside(command, limit, pass_fds=(self._progress,))
        if status != 0:
            said = err.decode(errors="replace").strip().splitlines()
            why = f"exit status {status}: {said[-1] if said else 'it said nothing'}"
            if status is None:
                why = f"it had not ended after {limit:.0f} s"
            elif status < 0:
                why = f"it was killed by {signal.Signals(-status).name}"
            log.error("fold: %s", why, extra={"kind": "fold_failed"})
            self._engine.fold |= {"failed": why}
            raise FoldFailed(why, FAILURES.get(status or 0))
        facts: dict[str, Any] = json.loads(out)
        self._engine.fold = {"position": facts["position"], "seconds": facts["seconds"]}
        if not facts["position"]:
            return facts
        keep = self._terms().most > 0
        pruned = await self._threads.run(  # or an earlier fold was not
            partial(self._journal.prune, facts["position"], keep=keep)
        )
        self._pruned.set()
        if facts["written"]:
            log.info(
                "folded up to position %d: %d items, %d bytes in %.1f s; pruned %d segments, %d bytes",
                facts["position"], facts["items"], facts["bytes"], facts["seconds"], pruned.segments, pruned.bytes,
                extra={"kind": "folded", "fields": {"position": facts["position"]}},
            )  # fmt: skip
        return facts

    # -- memory

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_EVERY)
            used = self._engine.watches_in_use()
            for identity in self._watches.identities():
                if identity not in used:
                    self._watches.discard(identity)


class Threads:
    """Runs what would block the loop in threads, so many at a time; others wait their turn."""

    def __init__(self, most: int) -> None:
        self.limiter = trio.CapacityLimiter(most)
        self._runs = self._waits = self._peak = 0

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of ``function``, called in a thread."""
        self._runs += 1
        self._waits += self.limiter.available_tokens < 1
        self._peak = max(self._peak, min(self.limiter.borrowed_tokens + 1, int(self.limiter.total_tokens)))
        return await trio.to_thread.run_sync(function, *arguments, limiter=self.limiter)

    def tell(self, _: Client) -> dict[str, Any]:
        """Its part of ``stats``."""
        return {
            "limit": self.limiter.total_tokens,
            "busy": self.limiter.borrowed_tokens,
            "peak": self._peak,
            "runs": self._runs,
            "waits": self._waits,
        }


async def run_beside(
    command: list[str], limit: float, pass_fds: tuple[int, ...] = ()
) -> tuple[int | None, bytes, bytes]:
    """Run a program that says little; its exit status and what it wrote. After so many seconds it is killed: None.

    It is started by this thread, the one that lives as long as the daemon: see `beside.settle`.
    """
    process = subprocess.Popen(  # noqa: ASYNC220 - the interpreter uses vfork: a millisecond, whatever our size
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=pass_fds
    )
    with process:
        try:
            descriptor = os.pidfd_open(process.pid)
            try:
                with trio.move_on_after(limit) as patience:
                    await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
        finally:
            process.kill()  # nothing, if it has ended
            process.wait()
        assert process.stdout is not None
        assert process.stderr is not None
        status = None if patience.cancelled_caught else process.returncode
        return status, process.stdout.read(), process.stderr.read()


def _memory_available() -> int:
    """Bytes of memory that programs may still take, where the system tells."""
    with suppress(OSError), open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) << 10
    return sys.maxsize
