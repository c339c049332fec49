"""The process's memory: when Python's collector runs and for how long, and what is done when memory runs short.

A pass over everything would stop the loop for tenths of a second on a large queue. So what is there after a start or a
pass is frozen, which takes it out of all later passes; the young are collected by themselves, and by the clock or when
the process has grown. Collecting everything, and giving free memory back to the system, has to be asked for.

How much is used is what items are counted with, which is what PROCESS_MEMORY_LIMIT_MB bounds.
"""

import ctypes
import gc
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter_ns
from typing import Any

import trio

from swarmshd.engine import PAGE, WARNING, Client, Condition, Engine
from swarmshd.settings import Settings

log = logging.getLogger("swarmshd.memory")

LOOK = 5.0
"""Seconds between two looks at how much there is."""

EASED = 2
"""Percent that the use must be below a threshold to be no longer above it, so that it does not change all the time."""

LEVELS = ("ok", "warning", "critical")

LIMIT = "PROCESS_MEMORY_LIMIT_MB"


def rss() -> int:
    """Bytes of memory that the process has."""
    with suppress(OSError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def rest() -> None:
    """No collection until a :class:`Collector` starts: loading drops nothing, and each pass would be over all of it."""
    gc.disable()


class Collector:
    """Python's collector: its passes, counted and timed by generation and by why they ran."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._began = 0
        self._grown_from = 0
        self._passes = [0, 0, 0]
        self._total_ns = self._longest_ns = self._last_ns = 0
        self._runs = {"timed": 0, "growth": 0, "pressure": 0}
        self._trims = 0

    def start(self) -> None:
        """After loading: what is there stays; the oldest generation is not collected automatically any more."""
        gc.callbacks.append(self._clock)
        gc.freeze()  # without a pass before it: loading leaves no cycles, and a million items would take it a second
        gc.set_threshold(10_000, 3, 1_000_000)  # a pass takes about 1 us an object: 10 ms, and 30 ms at the third
        self._grown_from = rss()
        self.configure(self._settings)

    def stop(self) -> None:
        """Count no more."""
        with suppress(ValueError):
            gc.callbacks.remove(self._clock)

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        if settings.gc_enabled:
            gc.enable()
        else:
            gc.disable()

    def _clock(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = perf_counter_ns()
            return
        self._last_ns = perf_counter_ns() - self._began
        self._passes[info["generation"]] += 1
        self._total_ns += self._last_ns
        self._longest_ns = max(self._longest_ns, self._last_ns)

    def look(self, since: float) -> bool:
        """Collect if ``since`` the last time enough seconds have passed, or the process has grown; whether it did."""
        settings = self._settings
        if not settings.gc_enabled:
            return False
        if settings.gc_interval and since * 1000 >= settings.gc_interval:
            self.run("timed")
        elif settings.gc_threshold_bytes and rss() - self._grown_from >= settings.gc_threshold_bytes:
            self.run("growth")
        else:
            return False
        return True

    def run(self, why: str) -> None:
        """Collect now: the young, or all and give back what is free."""
        self._runs[why] += 1
        if self._settings.gc_aggressive:
            gc.unfreeze()
            gc.collect()
            self._trims += _trim()
        else:
            gc.collect(1)
        gc.freeze()
        self._grown_from = rss()

    def tell(self, _: Client) -> dict[str, Any]:
        """Its part of ``stats``."""
        return {
            "enabled": gc.isenabled(),
            "aggressive": self._settings.gc_aggressive,
            **{f"passes_{generation}": passes for generation, passes in enumerate(self._passes)},
            **self._runs,
            "trims": self._trims,
            "young": gc.get_count()[0],
            "pause_last_us": self._last_ns // 1000,
            "pause_max_us": self._longest_ns // 1000,
            "pause_total_us": self._total_ns // 1000,
        }


def _trim() -> bool:
    """Give free memory back to the system, where the C library can; whether it did."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False


class Memory:
    """Looks after the collector and after how much the items take."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._collector = Collector(settings)
        self._changed = trio.Event()
        self._level = 0
        self._warnings = 0
        engine.health.checks.append(self._check)
        engine.sections["memory"] = self._tell
        engine.sections["gc"] = self._collector.tell

    @property
    def level(self) -> str:
        """``ok``, ``warning`` or ``critical``."""
        return LEVELS[self._level]

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self._collector.configure(settings)
        self._changed.set()
        self._changed = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look again and again, until cancelled."""
        self._collector.start()
        last = trio.current_time()
        task_status.started()
        try:
            while True:
                self.look()
                self._engine.health.look(self._engine.queue.desk.now)
                if self._collector.look(trio.current_time() - last):
                    last = trio.current_time()
                with trio.move_on_after(min(LOOK, self._settings.gc_interval / 1000 or LOOK)):
                    await self._changed.wait()
        finally:
            self._collector.stop()

    def look(self) -> None:
        """See whether there is enough memory; if not, say so and shrink what can be done without."""
        used = self._used_percent
        bounds = (self._settings.memory_warning_threshold_pct, self._settings.memory_critical_threshold_pct)
        level = sum(used >= bound - (EASED if self._level > at else 0) for at, bound in enumerate(bounds))
        if level > self._level:
            self._warnings += 1
            log.warning(
                "items take %d MiB, %d %% of PROCESS_MEMORY_LIMIT_MB%s",
                self._engine.queue.tables.bytes >> 20, used,
                "; new ones are refused" if level == 2 else "", extra={"kind": "memory"},
            )  # fmt: skip
            self._engine.cache.clear()
            self._collector.run("pressure")
        elif level < self._level:
            log.info("items take %d %% of PROCESS_MEMORY_LIMIT_MB again", used, extra={"kind": "memory"})
        self._level = level
        self._engine.cache.short_of_memory = level > 0

    def _check(self, _: int) -> Iterator[Condition]:
        if self._level:
            name, severity = ("memory_critical", PAGE) if self._level == 2 else ("memory_high", WARNING)
            yield Condition(name, severity, f"items take {self._used_percent} % of {LIMIT}", "swarmctl stats memory")

    @property
    def _used_percent(self) -> int:
        return 100 * self._engine.queue.tables.bytes // self._settings.process_memory_limit_bytes

    def _tell(self, _: Client) -> dict[str, Any]:
        tables = self._engine.queue.tables
        return {
            "rss_bytes": rss(),
            "rss_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
            "items": len(tables.items),
            "items_bytes": tables.bytes,
            "bytes_per_item": tables.bytes // len(tables.items) if tables.items else 0,
            "limit_bytes": self._settings.process_memory_limit_bytes,
            "used_percent": self._used_percent,
            "level": self.level,
            "warnings": self._warnings,
            "descriptors": len(os.listdir("/proc/self/fd")),
        }
