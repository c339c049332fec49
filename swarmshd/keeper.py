"""What the daemon does beside serving: room ahead in the journal, folds, garbage collection, watches without use.

Each is a task of its own that sleeps until it is needed. None of them decides anything about items.
"""

import gc
import json
import logging
import sys
from pathlib import Path

import trio

from swarmshd import events
from swarmshd.engine import Engine
from swarmshd.journal import Full, Journal
from swarmshd.liveness import Watches

log = logging.getLogger("swarmshd.keeper")

FOLD_BYTES = 64 << 20
"""A fold is due when the sealed segments exceed this and the last snapshot."""

FOLD_EVERY = 3600.0
FOLD_LOOK = 5.0
FOLD_PATIENCE = 60.0
"""Seconds until a fold that failed is tried again."""

FULL_PATIENCE = 1.0
SWEEP_EVERY = 30.0


class Keeper:
    """The tasks; ``journal_low`` is to be called when the journal's room runs low."""

    def __init__(self, engine: Engine, directory: Path, watches: Watches, gc_interval_ms: int) -> None:
        self._engine = engine
        self._journal: Journal = engine.journal
        self._directory = directory
        self._watches = watches
        self._gc_interval = gc_interval_ms / 1000
        self._low = trio.Event()

    def journal_low(self) -> None:
        """The journal's room runs low."""
        self._low.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """All tasks, until cancelled. Raises JournalFailed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._make_room, name="room")
            nursery.start_soon(self._fold, name="fold")
            nursery.start_soon(self._sweep, name="sweep")
            if self._gc_interval:
                nursery.start_soon(self._collect, name="collect")
            task_status.started()

    async def _make_room(self) -> None:
        while True:
            await self._low.wait()
            self._low = trio.Event()
            try:
                await trio.to_thread.run_sync(self._journal.prepare)
            except Full as full:
                if self._engine.full is None:
                    log.error("%s; new work is refused until there is room", full)
                self._engine.full = full
                await trio.sleep(FULL_PATIENCE)
                self._low.set()
            else:
                if self._engine.full is not None:
                    log.warning("there is room for the journal again; new work is taken")
                self._engine.full = None

    async def _fold(self) -> None:
        last = trio.current_time()
        while True:
            await trio.sleep(FOLD_LOOK)
            self._journal.check_place()
            due = trio.current_time() - last > FOLD_EVERY
            try:
                sealed, snapshot = await trio.to_thread.run_sync(self._journal.sealed_bytes)
                if not sealed or not (due or sealed > max(FOLD_BYTES, snapshot)):
                    continue
                last = trio.current_time()
                folded = await self.fold()
            except OSError as error:  # out of descriptors, processes or memory: serving goes on without a fold
                log.error("fold: %s", error)
                last, folded = trio.current_time(), False
            if not folded:
                last -= FOLD_EVERY - FOLD_PATIENCE

    async def fold(self) -> bool:
        """Fold what is sealed into the next snapshot, in a process of its own; prune what it covers."""
        upto = str(self._journal.durable)
        command = [sys.executable, "-m", "swarmshd.compact", "--directory", str(self._directory)]
        command += ["--upto", upto, "--format", str(events.FORMAT)]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            log.error("fold: exit status %d: %s", done.returncode, said[-1] if said else "it said nothing")
            return False
        facts = json.loads(done.stdout)
        if not facts["position"]:
            return True
        pruned = await trio.to_thread.run_sync(self._journal.prune, facts["position"])  # or an earlier fold was not
        if facts["written"]:
            log.info(
                "folded up to position %d: %d items, %d bytes in %.1f s; pruned %d segments, %d bytes",
                facts["position"], facts["items"], facts["bytes"], facts["seconds"], pruned.segments, pruned.bytes,
            )  # fmt: skip
        return True

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_EVERY)
            used = self._engine.watches_in_use()
            for identity in self._watches.identities():
                if identity not in used:
                    self._watches.discard(identity)

    async def _collect(self) -> None:
        """The automatic collection of the oldest generation is off: it would stop the loop for tens of ms."""
        while True:
            await trio.sleep(self._gc_interval)
            gc.collect(1)
            gc.freeze()


def calm_collector() -> None:
    """After loading: what is there stays; the oldest generation is not collected automatically any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 3, 1_000_000)  # a pass takes about 1 us an object: 10 ms, and 30 ms at the third
