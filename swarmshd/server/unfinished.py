"""What peers have sent of something that is not whole yet: frames, and descriptors that came ahead of theirs.

The settings bound it for one connection; here it is bounded for all together.
"""

from collections.abc import Iterator

from swarmshd.server.connection import Closed, Connection

STRAYS_MAX = 64
"""Descriptors that came ahead of their frames, of all connections together, above which the last one is closed."""

UNFINISHED_MAX = 64 << 20
"""Bytes of unfinished frames, of all connections together, above which the one that began first is closed."""


class Unfinished:
    """The connections that have something unfinished, those first that have had it for longest."""

    def __init__(self) -> None:
        self._ahead: set[Connection] = set()
        self._held: dict[Connection, int] = {}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._ahead or self._held)

    def count(self, connection: Connection) -> Iterator[Connection]:
        """Take note of what was read from the connection, and give those that must go.

        Raises:
            Closed: it must go itself.
        """
        if connection.strays or connection in self._ahead:
            self._count_strays(connection)
        if connection.unfinished or connection in self._held:
            self._bytes += connection.unfinished - self._held.get(connection, 0)
            if connection.unfinished:
                self._held[connection] = connection.unfinished
            else:
                del self._held[connection]
            while self._bytes > UNFINISHED_MAX:
                first = next(iter(self._held))
                if first is connection:
                    raise Closed("too much is held of unfinished frames")
                yield first

    def _count_strays(self, connection: Connection) -> None:
        connection.drop_strays()
        if connection.strays:
            self._ahead.add(connection)
            if sum(each.strays for each in self._ahead) > STRAYS_MAX:
                raise Closed("too many descriptors came ahead of their frames")
        else:
            self._ahead.discard(connection)

    def forget(self, connection: Connection) -> None:
        """It has gone."""
        self._ahead.discard(connection)
        self._bytes -= self._held.pop(connection, 0)
