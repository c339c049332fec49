"""Who is connected, and who must go when somebody else needs the place."""

from collections.abc import Iterator

from swarmshd.commands import Actor, Refusal
from swarmshd.server.connection import Connection

KEPT_FOR_ADMINS = 16
"""Places that only root and admins get."""


class Places:
    """All connections, in the order in which they were last heard of. One uid gets at most three quarters."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._by_fd: dict[int, Connection] = {}
        self._per_uid: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_fd)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._by_fd.values())

    def get(self, fd: int) -> Connection | None:
        """The connection of that descriptor."""
        return self._by_fd.get(fd)

    def add(self, connection: Connection) -> None:
        self._by_fd[connection.fd] = connection
        uid = connection.actor.uid
        self._per_uid[uid] = self._per_uid.get(uid, 0) + 1

    def remove(self, connection: Connection) -> None:
        del self._by_fd[connection.fd]
        uid = connection.actor.uid
        self._per_uid[uid] -= 1
        if not self._per_uid[uid]:
            del self._per_uid[uid]

    def heard(self, connection: Connection) -> None:
        """It said something."""
        self._by_fd[connection.fd] = self._by_fd.pop(connection.fd)

    def idlest(self, uid: int | None = None) -> Connection | None:
        """Of those (of that user) that could be closed without harm, the one of which nothing was heard for longest."""
        return next((c for c in self if c.idle and (uid is None or c.actor.uid == uid)), None)

    def who_must_go(self, actor: Actor) -> Connection | None:
        """Who is to be closed before this peer is let in; None if there is room.

        Raises:
            Refusal: ``busy``, as nobody can be closed.
        """
        limit = self.limit if actor.admin else self.limit - KEPT_FOR_ADMINS
        if not actor.admin and self._per_uid.get(actor.uid, 0) >= limit * 3 // 4:
            found = self.idlest(actor.uid)
        elif len(self) >= limit:
            found = self.idlest()
        else:
            return None
        if found is None:
            raise Refusal("busy", f"{len(self)} connections (MAX_CONNECTIONS), and none is idle; try again")
        return found
