"""How the commits go: how much went into each, why it was closed, and how long the disk took.

Counting is a few additions a commit. Times of syncs go into a histogram whose steps are at most an eighth of what they
count, so that a percentile is exact enough to judge a disk by, and into minutes, to tell whether it is slow now.
"""

from collections import deque
from typing import Any

SLOW_NS = 1_000_000_000
"""A sync is slow that takes as long."""

MINUTES = 5
"""Whether the disk is slow is judged by so many minutes."""

MINUTE = 60_000


def _step(microseconds: int) -> int:
    shift = max(0, microseconds.bit_length() - 4)
    return (shift << 3) + (microseconds >> shift)


def _most(step: int) -> int:
    """The largest number of microseconds that is counted under this step."""
    if step < 16:
        return step
    shift = (step - 8) >> 3
    return ((step - (shift << 3) + 1) << shift) - 1


class Commits:
    """The counters; ``last_ns`` is how long the last sync took."""

    def __init__(self) -> None:
        self.batches = self.commands = self.events = self.bytes = self.largest = 0
        self.closed = {"size": 0, "volume": 0, "room": 0, "time": 0, "drain": 0}
        """How many were closed because they had as many commands as may be; as many bytes; all the room that there
        was, for them or for replies; because deciding took long; or because nothing else was waiting."""
        self.timeouts = self.syncs = self.last_ns = self._longest_ns = 0
        self._steps: dict[int, int] = {}
        self._minutes: deque[list[int]] = deque(maxlen=MINUTES + 1)
        """Minute, syncs in it, and slow ones of these."""

    def written(self, commands: int, events: int, size: int, why: str) -> None:
        """A batch was written."""
        self.batches += 1
        self.commands += commands
        self.events += events
        self.bytes += size
        self.largest = max(self.largest, commands)
        self.closed[why] += 1

    def synced(self, now: int) -> None:
        """The sync that took ``last_ns`` has been taken note of, at this moment."""
        self.syncs += 1
        took = self.last_ns
        self._longest_ns = max(took, self._longest_ns)
        step = _step(took // 1000)
        self._steps[step] = self._steps.get(step, 0) + 1
        minute = now // MINUTE
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0, 0])
        self._minutes[-1][1] += 1
        self._minutes[-1][2] += took >= SLOW_NS

    def percentile_us(self, percent: int) -> int:
        """So many of a hundred syncs took at most as many microseconds."""
        left = -(-self.syncs * percent // 100)
        for step in sorted(self._steps):
            left -= self._steps[step]
            if left <= 0:
                return _most(step)
        return 0

    def slow(self, now: int) -> tuple[int, int]:
        """Of the syncs in the last minutes: how many were slow, and how many there were."""
        recent = [each for each in self._minutes if each[0] > now // MINUTE - MINUTES]
        return sum(each[2] for each in recent), sum(each[1] for each in recent)

    def tell(self) -> dict[str, Any]:
        """Its part of ``stats``."""
        return {
            "commits": self.batches,
            "commands": self.commands,
            "events": self.events,
            "bytes": self.bytes,
            "largest_commit": self.largest,
            **{f"closed_by_{why}": number for why, number in self.closed.items()},
            "timeouts": self.timeouts,
            "syncs": self.syncs,
            "sync_last_us": self.last_ns // 1000,
            "sync_p50_us": self.percentile_us(50),
            "sync_p99_us": self.percentile_us(99),
            "sync_max_us": self._longest_ns // 1000,
        }
