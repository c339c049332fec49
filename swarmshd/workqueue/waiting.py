"""Those who wait: claims for an item, for a lock that is held, and ``wait`` for items to come to rest.

Nothing here is kept: a client whose connection or daemon went away asks again with what is left of its time.
Claims that wait stand in line under the shape of their filter in the order in which they came; when a shape gets
something new, the earliest one that may take it does. Those whose agent is quiet or full step out of the line and
are back in their place when the agent changes, so nobody looks at them in between.
"""

from collections.abc import Iterable, Iterator, Sized
from heapq import heapify, heappop, heappush
from typing import Any

from swarmshd.commands import Actor, Request
from swarmshd.commands.looks import Wait
from swarmshd.workqueue.ready import Shape


class Waiter:
    """One waiting request. ``address`` is the caller's: where the reply goes."""

    __slots__ = ("actor", "address", "aside", "deadline", "ids", "number", "pending", "request", "shape", "watch")

    def __init__(
        self, number: int, request: Request, actor: Actor, watch: tuple[int, int] | None, deadline: int, address: Any
    ) -> None:
        self.number = number
        self.request = request
        self.actor = actor
        self.watch = watch
        self.deadline = deadline
        self.address = address
        self.shape: Shape | None = None
        self.aside = False
        """Out of the line until its agent changes."""
        self.ids: tuple[int, ...] = ()
        self.pending: set[int] = set()
        """Of ``ids``, those that have not come to rest since the waiter last looked at all of them."""


class Waiters:
    """All waiting requests."""

    def __init__(self) -> None:
        self._all: dict[int, Waiter] = {}
        self._lines: dict[Shape, list[tuple[int, Waiter]]] = {}
        """A heap for each shape; entries of those that left, stepped aside or changed their shape are stale."""
        self._by_agent: dict[str, dict[int, Waiter]] = {}
        self._by_item: dict[int, dict[int, Waiter]] = {}
        self._by_group: dict[str, dict[int, Waiter]] = {}
        self._by_lock: dict[str, dict[int, Waiter]] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._number = 0
        self.waited_for = 0
        """Items that are waited for, counted once for each that waits."""
        self.lock_turns = 0
        """How often somebody began or ceased to wait for a lock; what is told of a lock says how many do."""
        self.others: Sized = ()
        """Requests that wait elsewhere, under the same limit; the caller's."""

    def __len__(self) -> int:
        return len(self._all)

    def _add(
        self, request: Request, actor: Actor, watch: tuple[int, int] | None, deadline: int, address: Any
    ) -> Waiter:
        self._number += 1
        waiter = Waiter(self._number, request, actor, watch, deadline, address)
        self._all[waiter.number] = waiter
        heappush(self._deadlines, (deadline, waiter.number))
        return waiter

    def add_claim(
        self,
        shape: Shape,
        request: Request,
        actor: Actor,
        watch: tuple[int, int] | None,
        deadline: int,
        address: Any,
        *,
        aside: bool,
    ) -> Waiter:
        """A claim that found nothing waits; ``aside`` if it is its agent that may not claim yet."""
        waiter = self._add(request, actor, watch, deadline, address)
        self._by_agent.setdefault(request.command.agent, {})[waiter.number] = waiter
        self.line_up(waiter, shape)
        waiter.aside = aside
        return waiter

    def add_lock(
        self, request: Request, actor: Actor, watch: tuple[int, int] | None, deadline: int, address: Any
    ) -> Waiter:
        """One who wants a lock that is held."""
        waiter = self._add(request, actor, watch, deadline, address)
        self._by_lock.setdefault(request.command.name, {})[waiter.number] = waiter
        self.lock_turns += 1
        return waiter

    def add_wait(self, pending: set[int], request: Request, actor: Actor, deadline: int, address: Any) -> Waiter:
        """A ``wait`` for a group, or for the items of these ids; ``pending`` of them are not at rest."""
        waiter = self._add(request, actor, None, deadline, address)
        command: Wait = request.command
        ids = [number for number in command.ids if isinstance(number, int)]
        waiter.ids = tuple(ids)
        self.waited_for += len(ids)
        waiter.pending = pending
        if command.group is not None:
            self._by_group.setdefault(command.group, {})[waiter.number] = waiter
        for number in ids:
            self._by_item.setdefault(number, {})[waiter.number] = waiter
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """It was served, its time is over, or its client is gone."""
        if self._all.pop(waiter.number, None) is None:
            return
        if waiter.shape is not None:
            self._leave(waiter, waiter.shape)
            _discard(self._by_agent, waiter.request.command.agent, waiter)
        elif waiter.request.verb == "lock":
            _discard(self._by_lock, waiter.request.command.name, waiter)
            self.lock_turns += 1
        else:
            command: Wait = waiter.request.command
            self.waited_for -= len(waiter.ids)
            if command.group is not None:
                _discard(self._by_group, command.group, waiter)
            for number in waiter.ids:
                _discard(self._by_item, number, waiter)
        if len(self._deadlines) > 2 * len(self._all) + 64:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._all]
            heapify(self._deadlines)

    def all(self) -> list[Waiter]:
        """Every waiting request, in the order in which they came."""
        return list(self._all.values())

    def claims(self) -> Iterator[Waiter]:
        """Every claim that waits, in the order in which they came."""
        return (waiter for waiter in self._all.values() if waiter.shape is not None)

    # -- locks -------------------------------------------------------------------------------------------

    def first_for(self, name: str) -> Waiter | None:
        """Who has waited longest for the lock of that name."""
        return next(iter(self._by_lock.get(name, {}).values()), None)

    def count_for(self, name: str) -> int:
        """How many wait for the lock of that name."""
        return len(self._by_lock.get(name, ()))

    # -- lines -------------------------------------------------------------------------------------------

    def line_up(self, waiter: Waiter, shape: Shape) -> None:
        """The claim stands in the line of this shape from now on, where it belongs by its age."""
        if waiter.shape is shape and not waiter.aside:
            return
        if waiter.shape is not shape:
            if waiter.shape is not None:
                self._leave(waiter, waiter.shape)
            waiter.shape = shape
            shape.waiting += 1
        waiter.aside = False
        heappush(self._lines.setdefault(shape, []), (waiter.number, waiter))

    def _leave(self, waiter: Waiter, shape: Shape) -> None:
        shape.waiting -= 1
        if not shape.waiting:
            del self._lines[shape]
        elif len(self._lines[shape]) > 2 * shape.waiting + 64:
            line = {n: each for n, each in self._lines[shape] if each is not waiter and self._stands(each, shape)}
            self._lines[shape] = list(line.items())
            heapify(self._lines[shape])

    def _stands(self, waiter: Waiter, shape: Shape) -> bool:
        return waiter.shape is shape and not waiter.aside and waiter.number in self._all

    def first(self, shape: Shape) -> Waiter | None:
        """The earliest claim in the line of this shape."""
        line = self._lines.get(shape)
        while line:
            waiter = line[0][1]
            if self._stands(waiter, shape):
                return waiter
            heappop(line)
        return None

    def fairly(self, shapes: Iterable[Shape]) -> "Fairly":
        """Walk the lines of these shapes together."""
        return Fairly(self, shapes)

    def of_agent(self, name: str) -> list[Waiter]:
        """The claims that wait in the name of this agent."""
        return list(self._by_agent.get(name, {}).values())

    # -- time --------------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        while self._deadlines:
            at, number = self._deadlines[0]
            if number in self._all:
                return at
            heappop(self._deadlines)
        return None

    def overdue(self, now: int) -> Iterator[Waiter]:
        """Those whose time is over; the caller removes each."""
        while self._deadlines and self._deadlines[0][0] <= now:
            waiter = self._all.get(heappop(self._deadlines)[1])
            if waiter is not None:
                yield waiter

    def hasten(self, waiter: Waiter, now: int) -> None:
        """It cannot wait any longer."""
        waiter.deadline = now
        heappush(self._deadlines, (now, waiter.number))

    def shift(self, gap: int) -> None:
        """The clock leapt by ``gap`` milliseconds, in which nobody waited."""
        for waiter in self._all.values():
            waiter.deadline += gap
        self._deadlines = [(waiter.deadline, number) for number, waiter in self._all.items()]
        heapify(self._deadlines)

    # -- waiting for items -------------------------------------------------------------------------------

    def touched(self, settled: list[int], groups: set[str]) -> list[Waiter]:
        """The ``wait`` requests whose last item came to rest, or one of whose items did if any will do."""
        found: dict[int, Waiter] = {}
        for number in settled:
            for key, waiter in self._by_item.get(number, {}).items():
                waiter.pending.discard(number)
                if not waiter.pending or waiter.request.command.any:
                    found[key] = waiter
        for group in groups:
            found.update(self._by_group.get(group, {}))
        return list(found.values())

    @property
    def waits_for_items(self) -> bool:
        return bool(self._by_item or self._by_group)


class Fairly:
    """The claims in some lines, earliest first over all of them; the caller says what became of each.

    Whoever is given must be removed, or set aside, or have its whole line :meth:`dismiss`-ed, before the next.
    """

    def __init__(self, waiters: Waiters, shapes: Iterable[Shape]) -> None:
        self._waiters = waiters
        self._heads: list[tuple[int, int, Shape]] = []
        self._dismissed = False
        for shape in shapes:
            self._push(shape)

    def _push(self, shape: Shape) -> None:
        waiter = self._waiters.first(shape)
        if waiter is not None:
            heappush(self._heads, (waiter.number, id(shape), shape))

    def __iter__(self) -> Iterator[Waiter]:
        while self._heads:
            number, _, shape = heappop(self._heads)
            waiter = self._waiters.first(shape)
            self._dismissed = False
            if waiter is not None and waiter.number == number:
                yield waiter
            if not self._dismissed:
                self._push(shape)

    def dismiss(self) -> None:
        """There is nothing for the line of the claim that was given last."""
        self._dismissed = True


def _discard(table: dict[Any, dict[int, Waiter]], key: Any, waiter: Waiter) -> None:
    found = table.get(key)
    if found is not None:
        found.pop(waiter.number, None)
        if not found:
            del table[key]
