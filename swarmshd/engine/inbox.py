"""Requests that have come and are not decided yet, and those that are held back until their client is ready for it.

A client is not ready while it takes none of its replies, or has no place.
"""

from collections import deque
from collections.abc import Iterator

from swarmshd.commands import Request
from swarmshd.engine.client import Client
from swarmshd.workqueue.queue import Watch

Task = tuple[Client, int, Request, tuple[Watch, ...], int, int]
"""Client, number and request, watched processes, bytes, arrival in milliseconds."""


class Inbox:
    """See the module's text."""

    def __init__(self) -> None:
        self.tasks: deque[Task] = deque()
        """In the order in which they are decided; :meth:`pop` takes them out."""
        self.bytes = 0
        """Of ``tasks``."""
        self.held_back: dict[Client, deque[Task]] = {}

    def take(
        self, client: Client, number: int, request: Request, watches: tuple[Watch, ...], size: int, now: int
    ) -> None:
        """A request came, to be decided."""
        self.tasks.append((client, number, request, watches, size, now))
        self.bytes += size

    def pop(self) -> Task:
        """The first of ``tasks``."""
        task = self.tasks.popleft()
        self.bytes -= task[4]
        return task

    def hold_back(self, task: Task) -> None:
        """It waits for :meth:`resume` or :meth:`drop`."""
        self.held_back.setdefault(task[0], deque()).append(task)

    def resume(self, client: Client, now: int) -> None:
        """The client is ready: what was held back is decided next."""
        for _, number, request, watches, size, _ in self.held_back.pop(client, ()):
            self.take(client, number, request, watches, size, now)

    def drop(self, client: Client) -> deque[Task]:
        """Give what is held back of the client, and forget it."""
        return self.held_back.pop(client, deque())

    def came_before(self, instant: int) -> Iterator[Task]:
        """Give and forget the tasks that came before then."""
        while self.tasks and self.tasks[0][5] < instant:
            yield self.pop()

    def asking_for(self, watch: Watch) -> list[Task]:
        """Give and forget those that want this process watched."""
        found: list[Task] = []
        for queued in (self.tasks, *self.held_back.values()):
            for task in [task for task in queued if watch in task[3]]:
                queued.remove(task)
                self.bytes -= task[4] if queued is self.tasks else 0
                found.append(task)
        return found

    def watches(self) -> set[Watch]:
        """The processes that they want watched."""
        return {watch for queued in (self.tasks, *self.held_back.values()) for task in queued for watch in task[3]}
