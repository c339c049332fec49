"""How long a write with its sync takes, as things are and as they would be.

Disks differ from themselves from one second to the next, by more than schedulers differ from each other. So the two are
measured in turns, many short rounds, each pair in the other order than the one before; each pair gives a ratio, and the
answer is the middle ratio with the lowest and the highest. Where 1 lies between these, there is no difference that
could be told, and that is what is said.
"""

import errno
import os
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns
from typing import NamedTuple

from swarmshd.tuning.host import EX_DENIED, Refused, shown

BLOCK = 4096
ROUNDS, WRITES = 8, 64
ROUNDS_MAX, WRITES_MAX = 1000, 10_000
PERCENTILES = (50, 90, 99)


class Compared(NamedTuple):
    """One percentile, in microseconds, and the ratio of the two with its spread."""

    percentile: int
    now: float
    wanted: float | None = None
    ratio: float | None = None
    lowest: float | None = None
    highest: float | None = None

    @property
    def verdict(self) -> str:
        """What may be believed."""
        if self.ratio is None or self.lowest is None or self.highest is None:
            return ""
        if self.lowest > 1:
            return "slower"
        return "faster" if self.highest < 1 else "no difference that can be told"


class Place:
    """A nameless file in a directory, zeroed ahead as the journal's are."""

    def __init__(self, directory: str, writes: int) -> None:
        self._writes = writes
        self._block = os.urandom(BLOCK)
        try:
            self._fd = _nameless(directory)
            try:
                os.pwrite(self._fd, bytes(BLOCK * writes), 0)
                os.fsync(self._fd)
            except OSError:
                os.close(self._fd)
                raise
        except OSError as error:
            status = EX_DENIED if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} else 1
            raise Refused(f"{shown(directory)}: cannot write there: {error.strerror}", status) from None

    def round(self) -> list[int]:
        """Nanoseconds of each write with its sync."""
        took = []
        for n in range(self._writes):
            before = perf_counter_ns()
            os.pwrite(self._fd, self._block, n * BLOCK)
            os.fdatasync(self._fd)
            took.append(perf_counter_ns() - before)
        return took

    def close(self) -> None:
        """It is gone, as it has no name."""
        os.close(self._fd)


def _nameless(directory: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(directory, flags | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOTSUP}:
            raise
    path = os.path.join(directory, f".swarmsh-tune.{os.getpid()}")
    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return fd


def percentile(values: list[int], percent: int) -> float:
    """That percentile of ``values``, in their unit."""
    return float(sorted(values)[min(len(values) - 1, len(values) * percent // 100)])


def alone(place: Place, rounds: int, tell: Callable[[int], None]) -> list[Compared]:
    """As things are."""
    place.round()
    took = []
    for n in range(rounds):
        took += place.round()
        tell(n + 1)
    return [Compared(percent, percentile(took, percent) / 1000) for percent in PERCENTILES]


def compare(
    place: Place, rounds: int, to_wanted: Callable[[], None], to_now: Callable[[], None], tell: Callable[[int], None]
) -> list[Compared]:
    """As things are and as they would be, in turns; at the end they are as they were, unless ``to_now`` raises."""
    pairs: list[tuple[list[int], list[int]]] = []
    place.round()
    switched = False
    try:
        for n in range(rounds):
            halves: list[list[int]] = [[], []]
            for wanted in (False, True) if n % 2 == 0 else (True, False):
                if wanted != switched:
                    switched = True  # also when it fails half way
                    (to_wanted if wanted else to_now)()
                    switched = wanted
                place.round()  # the queue was stopped for the change
                halves[wanted] = place.round()
            pairs.append((halves[0], halves[1]))
            tell(n + 1)
    finally:
        if switched:
            to_now()
    return [_compared(pairs, percent) for percent in PERCENTILES]


def _compared(pairs: list[tuple[list[int], list[int]]], percent: int) -> Compared:
    now = [percentile(pair[0], percent) for pair in pairs]
    wanted = [percentile(pair[1], percent) for pair in pairs]
    ratios = [after / before for before, after in zip(now, wanted, strict=True)]
    return Compared(percent, median(now) / 1000, median(wanted) / 1000, median(ratios), min(ratios), max(ratios))
