"""Peers that do not take their replies: they are not read from, and closed when it lasts or when memory is needed."""

from collections.abc import Iterator
from operator import attrgetter

from swarmshd.server.connection import Connection

STUCK_AFTER = 60_000
"""Milliseconds after which a peer that takes none of its replies, and has many, is closed."""

OWED_TOGETHER = 256 << 20
"""Bytes of replies not taken, of all congested connections together, above which the most indebted are closed."""


class Stuck:
    """Connections that are owed too much, the one first that has taken nothing for longest."""

    def __init__(self) -> None:
        self._since: dict[Connection, int] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def note(self, connection: Connection, now: int, *, moved: bool) -> None:
        """It is owed too much, and may have taken something just now."""
        if moved or connection not in self._since:
            self._since.pop(connection, None)
            self._since[connection] = now

    def forget(self, connection: Connection) -> None:
        """It is not owed too much any more, or is gone."""
        self._since.pop(connection, None)

    @property
    def deadline(self) -> int:
        """When the first of them, of which there is one, is to be closed; in milliseconds."""
        return next(iter(self._since.values())) + STUCK_AFTER

    def to_close(self, now: int) -> Iterator[tuple[Connection, str]]:
        """Each that is to be closed now, and why; the caller has it forgotten before it takes the next."""
        while self._since and self.deadline <= now:
            first = next(iter(self._since))
            yield first, f"{first.owed} bytes of replies were not taken in {STUCK_AFTER // 1000} s"
        while sum(connection.owed for connection in self._since) > OWED_TOGETHER:
            most = max(self._since, key=attrgetter("owed"))
            yield most, f"{most.owed} bytes of replies were not taken, and memory was needed"
