"""Requests that are answered later, and not by the rules: those who follow the events, and errands.

A ``watch`` follows the ring of the last events; where it begins before that, it is an errand, as a ``history`` is:
the journal's files are read for it. What is asked of the journal's files themselves always is one, and so is what the
daemon is to do to itself.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from swarmshd.commands import Refusal, Request
from swarmshd.commands.looks import History, Watch
from swarmshd.commands.values import Count, Position
from swarmshd.engine.client import Client
from swarmshd.engine.errands import Errand, Errands
from swarmshd.engine.following import Follower, Following
from swarmshd.engine.ring import Ring
from swarmshd.protocol import LOCKS
from swarmshd.told import WORK, Place, Wanted
from swarmshd.workqueue.looking import watched
from swarmshd.workqueue.queue import WorkQueue

ASIDE = frozenset(("watch", "history", "journal", "snapshot", "reindex"))
"""The verbs that are answered here."""


Answer = tuple[Client, int, bytes | Refusal]
"""Whom, the number of the request, and the frame that grants it."""


class Asked(NamedTuple):
    """What an errand into the past is to find.

    Attributes:
        upto: a durable position at which to stop.
        at: the moment before which nothing is told; with it, ``since`` may be before the oldest that is left.
        places: of the items that are named, as far as they are known; None if none are.
    """

    wanted: Wanted
    since: int
    upto: int
    limit: int
    places: dict[int, Place] | None
    at: int | None = None


class Aside:
    """See the module's text. ``may`` raises Refusal if a client may not use a verb."""

    def __init__(self, queue: WorkQueue, ring: Ring, may: Callable[[Client, str], None]) -> None:
        self._queue = queue
        self._may = may
        self.following = Following(ring, self._place)
        self.errands = Errands()
        queue.waiters.others = self.following

    def _place(self, number: int) -> Place | None:
        found = self._queue.tables.place(number)
        return None if found is None else Place(*found)

    def take(self, client: Client, number: int, request: Request, now: int) -> None:
        """Let a request wait for its answer. Raises Refusal."""
        self._may(client, request.verb)
        command = request.command
        if request.verb == "watch":
            self._queue.room_to_wait()
            self._watch(client, number, command, now)
        elif request.verb == "history":
            ids = watched(self._queue.desk, command)
            self._look_back(client, number, "history", Wanted(frozenset(ids)), command)
        else:
            self.errands.send(Errand(client, number, request.verb, command))

    def _watch(self, client: Client, number: int, command: Watch, now: int) -> None:
        wanted = WORK
        if command.ids or command.queue or command.type or command.group is not None:
            ids = frozenset(watched(self._queue.desk, command)) if command.ids else None
            locks = ids is not None or LOCKS in command.queue
            wanted = Wanted(ids, frozenset(command.queue), frozenset(command.type), command.group, locks)
        if command.at is not None and command.since is not None:
            raise Refusal("bad_request", "watch: since and at exclude each other")
        if command.at is not None or (command.since is not None and command.since < self.following.ring.first):
            self._look_back(client, number, "watch", wanted, command)
        else:
            since = self.following.ring.end if command.since is None else command.since
            self.following.add(Follower(client, number, wanted, since, command.limit, now + command.timeout))

    def _look_back(self, client: Client, number: int, verb: str, wanted: Wanted, command: Watch | History) -> None:
        since = command.since or 0
        upto = self.following.ring.end
        if since > upto:
            raise self.following.not_reached(verb, since)
        places = None
        if wanted.ids is not None:
            places = {each: place for each in wanted.ids if (place := self._place(each)) is not None}
        at = command.at if isinstance(command, Watch) else None
        self.errands.send(Errand(client, number, verb, Asked(wanted, since, upto, command.limit, places, at)))

    def serve(self, now: int) -> Iterator[Answer]:
        """Answers to those who follow, if it is time."""
        for follower, answer in self.following.serve(now):
            client, number = follower.client, follower.number
            if answer is not None:
                yield client, number, answer
                continue
            try:  # the ring has moved on past it
                command = Watch(since=Position(follower.since), limit=Count(follower.limit))
                self._look_back(client, number, "watch", follower.wanted, command)
            except Refusal as refusal:
                yield client, number, refusal

    def gone(self, client: Client) -> None:
        """Nothing is done for the client any more."""
        if client.aside:  # else all who watch would be gone through for nothing
            self.following.gone(client)
            for _ in self.errands.end(client):
                pass

    def reconsider(self, client: Client) -> Iterator[tuple[int, Refusal]]:
        """Refuse what the client waits for and may not ask any more."""
        for verb in ASIDE:
            try:
                self._may(client, verb)
            except Refusal as refusal:
                numbers = self.following.gone(client) if verb == "watch" else []
                numbers += [errand.number for errand in self.errands.end(client, verb)]
                for number in numbers:
                    yield number, refusal

    def dismiss(self) -> list[tuple[Client, int]]:
        """The daemon stops: nobody waits any more. Returns who has waited."""
        return self.following.dismiss() + [(errand.client, errand.number) for errand in self.errands.end()]
