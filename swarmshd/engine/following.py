"""Those who follow the events: requests that wait until something happens that they want to know.

A ``watch`` is answered with the events after its position, and with the position to go on from; whoever wants more
asks again. So a slow reader holds nothing up, and one that comes back after a restart misses nothing. Only events
that are durable are told.

While events flow, those who wait are answered every :data:`WAKE_EVERY` milliseconds, not for each batch, and those
who want the same from the same position get one encoding. The events are walked once for all who stand at the same
position: who wants a few items is found by their ids and costs nothing when others change. A turn walks a bounded
number of events, so that followers can slow the queue down only so much; they come later instead.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from swarmshd import events as e
from swarmshd.commands import Refusal, encode_body, encode_granted
from swarmshd.engine.client import Client
from swarmshd.engine.ring import Ring
from swarmshd.engine.rounds import REPLY_MAX
from swarmshd.told import WORK, Happened, Places, Told, Wanted, tell, touched

WAKE_EVERY = 50
"""Milliseconds between two turns in which followers are answered, while events flow."""

WALKED_MAX = 2048
"""Events that are looked at in one of these turns, at most."""

WALKED_MIN = 64
"""Events that each position gets of a turn, if several have followers."""

IDS_MAX = 100_000
"""Items that may be watched by their ids, counted once for each request: in each turn all are looked through."""

Written = tuple[int, int, int, list[list[Any]], bytes]
"""Of a batch: the position before it, the number of its events, its time, its entries, and its bytes."""


class Follower:
    """A request that waits for events after ``since``."""

    __slots__ = ("client", "deadline", "limit", "number", "since", "wanted")

    def __init__(self, client: Client, number: int, wanted: Wanted, since: int, limit: int, deadline: int) -> None:
        self.client = client
        self.number = number
        self.wanted = wanted
        self.since = since
        self.limit = limit
        self.deadline = deadline


Answer = tuple[Follower, bytes | None]
"""Whom, and the frame of the result."""


class Following:
    """All followers, and the ring that they are served from.

    Args:
        ring: the batches that were written last.
        places: where items belong.
    """

    def __init__(self, ring: Ring, places: Places) -> None:
        self.ring = ring
        self._places = places
        self._followers: dict[int, Follower] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._last = 0
        self._ids = 0
        self._served = 0
        """When followers were last answered."""
        self._behind = False
        """Whether somebody may stand before the ring's end."""
        self._unsynced: Written | None = None

    def __len__(self) -> int:
        return len(self._followers)

    # -- batches -----------------------------------------------------------------------------------------

    def written(self, position: int, count: int, time: int, entries: list[list[Any]], body: bytes) -> None:
        """A batch was written, and is not durable yet."""
        self._unsynced = position, count, time, entries, body

    def durable(self, limit: int) -> None:
        """What was written is durable: it may be told. ``limit`` is how many bytes the ring may hold."""
        if self._unsynced is not None:
            position, count, time, entries, body = self._unsynced
            self._unsynced = None
            self.ring.limit = limit
            self.ring.add(position, count, body)
            if self._followers:
                self.ring.keep(position, len(body), time, e.happened(entries))
                self._behind = True

    # -- followers ---------------------------------------------------------------------------------------

    def add(self, follower: Follower) -> None:
        """Let a request wait, until there is something for it or its time is over.

        Raises:
            Refusal: ``position_gone``, or ``busy``.
        """
        since, ids = follower.since, follower.wanted.ids or ()
        if not self.ring.knows(since):
            raise self.not_reached("watch", since)
        if self._ids + len(ids) > IDS_MAX:
            raise Refusal("busy", f"watch: {self._ids} items are watched by their ids already; watch a queue or group")
        self._last += 1
        self._followers[self._last] = follower
        self._ids += len(ids)
        follower.client.aside += 1
        heappush(self._deadlines, (follower.deadline, self._last))
        if since < self.ring.end:
            self._behind = True

    def not_reached(self, verb: str, since: int) -> Refusal:
        """The refusal of a position that there never was, as far as is known here."""
        end = self.ring.end
        why = f"{verb}: position {since} has not been reached, the journal is at {end}"
        if since < end:
            why = f"{verb}: position {since} was never reached, it lies between two epochs"
        return Refusal("position_gone", f"{why}; it was restored, or it is another daemon's", newest=end)

    def gone(self, client: Client) -> list[int]:
        """The client's connection has closed, or it may not look any more. Returns the numbers of its requests."""
        keys = [key for key, follower in self._followers.items() if follower.client is client]
        return [self._remove(key).number for key in keys]

    def dismiss(self) -> list[tuple[Client, int]]:
        """The daemon stops: nobody waits any more. Returns who has waited."""
        waited = [(follower.client, follower.number) for follower in self._followers.values()]
        for key in list(self._followers):
            self._remove(key)
        return waited

    def _remove(self, key: int) -> Follower:
        follower = self._followers.pop(key)
        self._ids -= len(follower.wanted.ids or ())
        follower.client.aside -= 1
        if len(self._deadlines) > 2 * len(self._followers) + 64:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._followers]
            heapify(self._deadlines)
        return follower

    def shift(self, gap: int) -> None:
        """The clock leapt by ``gap`` milliseconds, in which nobody waited."""
        for follower in self._followers.values():
            follower.deadline += gap
        self._deadlines = [(follower.deadline, key) for key, follower in sorted(self._followers.items())]
        self._deadlines.sort()
        self._served = 0

    def next_deadline(self) -> int | None:
        """When :meth:`serve` has something to do."""
        if not self._followers:
            return None
        while self._deadlines[0][1] not in self._followers:
            heappop(self._deadlines)
        due = self._deadlines[0][0]
        return min(due, self._served + WAKE_EVERY) if self._behind else due

    # -- answering ---------------------------------------------------------------------------------------

    def serve(self, now: int) -> Iterator[Answer]:
        """Those for whom there is something, if it is time, and those whose own time is over; with their answer.

        Who stands before what the ring holds gets None.
        """
        if not self._followers:
            self._behind = False
            return
        reached: set[int] = set()
        if self._behind and now >= self._served + WAKE_EVERY:
            self._served = now
            yield from self._deliver(list(self._followers), reached)
            end = self.ring.end
            self._behind = any(follower.since < end for follower in self._followers.values())
        overdue = []
        while self._deadlines and self._deadlines[0][0] <= now:
            key = heappop(self._deadlines)[1]
            if key in self._followers:
                overdue.append(key)
        if overdue:
            yield from self._deliver([key for key in overdue if key not in reached], reached)
            for key in overdue:
                if key in self._followers:
                    follower = self._remove(key)
                    body, _ = encoded(follower.since, [], follower.wanted, self.ring.end)
                    yield follower, encode_granted(follower.number, body)

    def _deliver(self, keys: Sequence[int], reached: set[int]) -> Iterator[Answer]:
        """Walk on with these followers, as far as a turn goes, and answer those who got something."""
        standing: dict[int, list[int]] = {}
        for key in keys:
            since = self._followers[key].since
            if since < self.ring.end:
                standing.setdefault(since, []).append(key)
        left = WALKED_MAX
        share = max(WALKED_MIN, WALKED_MAX // max(1, len(standing)))
        for since, some in standing.items():
            if left <= 0:
                return
            reached.update(some)
            if not self.ring.knows(since):  # it has moved on meanwhile
                for key in some:
                    yield self._remove(key), None
                continue
            audience = Audience((key, self._followers[key]) for key in some)
            end, walked = audience.walk(self.ring, since, min(share, left), self._places)
            left -= walked
            for group in audience.groups:
                yield from self._answer(group, group.full_at or end)

    def _answer(self, group: "Group", end: int) -> Iterator[Answer]:
        """Give everybody in a group what was found for it up to ``end``, or let them wait there."""
        body = b""
        if group.rows:
            body, end = encoded(end, group.rows, group.wanted, self.ring.end)
        for key in group.keys:
            if group.rows:
                follower = self._remove(key)
                yield follower, encode_granted(follower.number, body)
            else:
                self._followers[key].since = end


class Group:
    """Followers who want the same from the same position, and what was found for them."""

    __slots__ = ("full_at", "keys", "limit", "rows", "wanted")

    def __init__(self, wanted: Wanted, limit: int) -> None:
        self.wanted = wanted
        self.limit = limit
        self.keys: list[int] = []
        self.rows: list[Told] = []
        self.full_at = 0
        """The position at which there was enough; 0 while there is not."""

    def take(self, position: int, told: Told) -> None:
        """An event that is wanted, while there is not enough."""
        if not self.full_at:
            self.rows.append(told)
            if len(self.rows) >= self.limit:
                self.full_at = position


class Audience:
    """The followers who stand at one position, by what they want."""

    def __init__(self, followers: Iterable[tuple[int, Follower]]) -> None:
        found: dict[tuple[Wanted, int], Group] = {}
        for key, follower in followers:
            kind = (follower.wanted, follower.limit)
            if kind not in found:
                found[kind] = Group(*kind)
            found[kind].keys.append(key)
        self.groups = list(found.values())
        self._all = [group for group in self.groups if group.wanted is WORK]
        self._by_id: dict[int, list[Group]] = {}
        self._others: list[Group] = []
        for group in self.groups:
            if group.wanted.ids is not None:
                for number in group.wanted.ids:
                    self._by_id.setdefault(number, []).append(group)
            elif group.wanted is not WORK:
                self._others.append(group)

    def walk(self, ring: Ring, since: int, most: int, places: Places) -> tuple[int, int]:
        """Look at the events after ``since``, at most so many; the position reached, and how many there were."""
        position, walked = since, 0
        while walked < most and (found := ring.after(position, most - walked)) is not None:
            time, happened, position = found
            if self._by_id or self._others:
                for at, each in enumerate(happened, position + 1):
                    self._hear(at, time, each, places)
            else:
                for at, each in enumerate(happened, position + 1):
                    told = tell(at, time, each, places, WORK)
                    if told is not None:
                        for group in self._all:
                            group.take(at, told)
            position += len(happened)
            walked += len(happened)
            if all(group.full_at for group in self.groups):
                break
        return position, walked

    def _hear(self, position: int, time: int, happened: Happened, places: Places) -> None:
        if self._all:
            told = tell(position, time, happened, places, WORK)
            if told is None:
                return
            for group in self._all:
                group.take(position, told)
        concerned = self._others
        if self._by_id:
            by_id = [group for number in touched(happened[2]) for group in self._by_id.get(number, ())]
            concerned = [*concerned, *dict.fromkeys(by_id)]
        for group in concerned:
            told = tell(position, time, happened, places, group.wanted)
            if told is not None:
                group.take(position, told)


def encoded(position: int, rows: list[Told], wanted: Wanted, end: int) -> tuple[bytes, int]:
    """The result with these events, and the position that it goes on from: an earlier one, if they are too many.

    ``end`` is the position up to which there are events.
    """
    while True:
        result: dict[str, Any] = {"position": position, "more": position < end, "events": rows}
        if wanted.ids is not None:
            result["ids"] = sorted(wanted.ids)
        body = encode_body(result)
        if len(body) <= REPLY_MAX or len(rows) < 2:
            return body, position
        rows = rows[: len(rows) // 2]
        position = rows[-1]["position"]
