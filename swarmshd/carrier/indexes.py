"""Goes through the indexes of the queue, a short step at a time; at least half of the time the daemon serves."""

import logging
from typing import Any

import trio

from swarmshd.commands import Refusal, encode_body
from swarmshd.engine import Engine, Errand

log = logging.getLogger("swarmshd.carrier")

REST = 0.001
"""Seconds between two steps, at least."""


class Indexes:
    """One time through after another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def reindex(self, errand: Errand) -> bytes:
        """What was found. Raises Refusal."""
        queue = self._engine.queue
        if queue.reindexing is not None:
            raise Refusal("busy", f"{errand.verb}: the indexes are being rebuilt already; try again when that is done")
        work = queue.reindex()
        began = at = trio.current_time()
        longest = 0.0
        steps = work.steps()
        try:
            for _ in steps:
                took = trio.current_time() - at
                longest = max(longest, took)
                await trio.sleep(max(took, REST))
                at = trio.current_time()
        finally:
            steps.close()
        found: dict[str, Any] = {
            "items": work.items,
            "differed": work.differed.total(),
            "indexes": dict(work.differed),
            "differences": work.told,
            "seconds": round(trio.current_time() - began, 3),
            "longest_step_ms": round(longest * 1000, 1),
        }
        if found["differed"]:
            log.warning(
                "indexes: %d entries differed from the items, and were put right: %s", found["differed"], work.told[0]
            )
            self._engine.wake()  # who waits may get something now
        return encode_body(found)
