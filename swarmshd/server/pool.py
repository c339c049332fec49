"""The busy places: how many connections may have requests under way at a time.

A connection is busy while the engine owes it an answer that it can give by itself: not while its claim waits for an
item or its watch for an event, not while an errand is carried out for it beside the engine, nor while it does not take
its replies. When all places are taken, the requests of others are held back by the engine and wait in line here; what
has waited for too long is refused as busy.
"""

from collections.abc import Iterator

from swarmshd.engine import OWED_MAX
from swarmshd.server.connection import Connection


class Pool:
    """Who is busy, and who waits for a place, in the order in which they came."""

    def __init__(self) -> None:
        self._busy: set[Connection] = set()
        self.waiting: dict[Connection, list[int]] = {}
        """Since when each waits, in milliseconds, and the bytes of its requests."""
        self.bytes = 0
        """Of the requests of all that wait."""
        self.peak = self.waits = self.waited_ms = self.longest_ms = self.timeouts = 0

    def take(self, connection: Connection, places: int, size: int, now: int) -> bool:
        """Whether the connection has one of so many places for a request of that size; if not, it waits for one."""
        busy = self._busy
        if connection in busy:
            return True
        if not self.waiting and len(busy) < places:
            busy.add(connection)
            self.peak = max(self.peak, len(busy))
            return True
        if connection not in self.waiting:
            self.waits += 1
            self.waiting[connection] = [now, 0]
        self.waiting[connection][1] += size
        self.bytes += size
        return False

    def leave(self) -> None:
        """The round is over: who has all that it can get now gives its place back."""
        self._busy = {
            each
            for each in self._busy
            if each.in_flight > len(each.waiting) + each.aside and each.owed <= OWED_MAX and not each.closing
        }

    def admit(self, places: int, now: int) -> Iterator[Connection]:
        """Those who waited and for whom there is a place now, out of so many."""
        while self.waiting and len(self._busy) < places:
            connection = self._first(now)
            self._busy.add(connection)
            self.peak = max(self.peak, len(self._busy))
            yield connection

    def overdue(self, since: int, now: int) -> Iterator[Connection]:
        """Those who have waited since then or longer, and wait no more."""
        while self.waiting and self.since() <= since:
            self.timeouts += 1
            yield self._first(now)

    def _first(self, now: int) -> Connection:
        connection, (came, size) = next(iter(self.waiting.items()))
        del self.waiting[connection]
        self.bytes -= size
        self.waited_ms += now - came
        self.longest_ms = max(self.longest_ms, now - came)
        return connection

    def since(self) -> int:
        """Since when the first of them waits."""
        return next(iter(self.waiting.values()))[0]

    def forget(self, connection: Connection) -> None:
        """It has gone."""
        self._busy.discard(connection)
        self.bytes -= self.waiting.pop(connection, [0, 0])[1]

    def tell(self, size: int) -> dict[str, int]:
        """Its part of ``stats``."""
        return {
            "pool_size": size,
            "pool_in_use": len(self._busy),
            "pool_peak": self.peak,
            "pool_waiting": len(self.waiting),
            "pool_waits": self.waits,
            "pool_wait_ms": self.waited_ms,
            "pool_wait_max_ms": self.longest_ms,
            "pool_timeouts": self.timeouts,
        }
