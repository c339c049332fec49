"""How much happens: counts by kind since the start, and per second over the last 10 seconds, minute and 10 minutes.

Events are counted as a round takes them. At the first round of each second the totals so far are laid aside, so that a
rate is the difference of two totals over the time between them: counting costs one addition an event, and a
window is found only when somebody asks. Seconds in which nothing was decided take no place.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from swarmshd import events as e

KINDS = (
    *("submitted", "claimed", "completed", "failed", "crashed", "released", "returned"),
    *("buried", "kicked", "cancelled"),
)
"""What is counted, each item by itself. ``failed``, ``crashed`` and ``released`` are ends of claims, ``returned`` those
that count as nothing (outage, eviction, takeover, a reply that found nobody). What is buried at the end of a claim is
counted as that end and as buried."""

WINDOWS = {"10s": 10, "1m": 60, "10m": 600}
"""Name of each window, and its seconds."""

KEPT = max(WINDOWS.values())
SLACK = 64
"""Outdated seconds that may lie in the ring before they are cut off together."""

_AT = {kind: at for at, kind in enumerate(KINDS)}
_ONE = {
    e.ItemSubmitted: _AT["submitted"],
    e.ItemClaimed: _AT["claimed"],
    e.ItemCompleted: _AT["completed"],
    e.ItemCancelled: _AT["cancelled"],
}
_ENDS = tuple(_AT.get(cause, _AT["returned"]) for cause in e.CAUSES)
_BURIED, _KICKED = _AT["buried"], _AT["kicked"]


class Rates:
    """Counts from the first round on. ``no_work`` tells of an item's id whether it is a lock, which does not count."""

    __slots__ = ("_no_work", "_seconds", "_since", "_then", "_totals")

    def __init__(self, no_work: Callable[[int], bool] = lambda _: False) -> None:
        self._no_work = no_work
        self._since = 0
        self._totals = [0] * len(KINDS)
        self._seconds: list[int] = []
        """The seconds in which rounds were decided, ascending."""
        self._then: list[tuple[int, ...]] = []
        """The totals at the beginning of each of them."""

    def begin(self, now: int) -> None:
        """A round is decided at this moment; whatever is counted from here on happens then."""
        second = now // 1000
        seconds = self._seconds
        if not seconds:
            self._since = now
        elif seconds[-1] >= second:
            return
        seconds.append(second)
        self._then.append(tuple(self._totals))
        if len(seconds) > KEPT + SLACK:
            del seconds[:SLACK], self._then[:SLACK]

    def count(self, happened: Sequence[e.Event]) -> None:
        """These events were decided."""
        totals = self._totals
        for event in happened:
            kind = type(event)
            at = _ONE.get(kind)
            if at is not None:
                if not self._no_work(event.id):
                    totals[at] += 1
            elif kind is e.ItemReturned:
                if not self._no_work(event.id):
                    totals[_ENDS[event.cause]] += 1
            elif kind is e.ItemBuried:
                totals[_BURIED] += 1
                if event.cause is not None:
                    totals[_ENDS[event.cause]] += 1
            elif kind is e.ItemsKicked:
                totals[_KICKED] += len(event.ids)

    def totals(self) -> dict[str, int]:
        """How many of each kind since the start."""
        return dict(zip(KINDS, self._totals, strict=True))

    def per_second(self, now: int) -> dict[str, dict[str, float]]:
        """For each window, how many of each kind a second; of a younger daemon, since its start."""
        return {name: self._within(now, seconds) for name, seconds in WINDOWS.items()}

    def _within(self, now: int, seconds: int) -> dict[str, float]:
        spent = max(1000, now - max((now // 1000 - seconds) * 1000, self._since))
        return {kind: round(number * 1000 / spent, 3) for kind, number in self.counted(now, seconds).items()}

    def counted(self, now: int, seconds: int) -> dict[str, int]:
        """How many of each kind in the last ``seconds``, at most the longest window's."""
        at = bisect_left(self._seconds, now // 1000 - seconds)
        before: Sequence[int] = self._then[at] if at < len(self._then) else self._totals
        return {kind: total - then for kind, total, then in zip(KINDS, self._totals, before, strict=True)}
