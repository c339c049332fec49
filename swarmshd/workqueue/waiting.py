"""Those who wait: claims for an item, and ``wait`` for items to come to rest.

Nothing here is kept: a client whose connection or daemon went away asks again with what is left of its time.
Claims that wait lie under the shape of their filter in the order in which they came; when a shape gets
something new, the earliest one that may take it does. Those whose agent is quiet or full are passed over and
keep their place.
"""

from collections.abc import Iterator
from heapq import heappop, heappush, merge
from typing import Any

from swarmshd.commands import Actor, Request, Wait
from swarmshd.workqueue.ready import ReadyIndex, Shape


class Waiter:
    """One waiting request. ``address`` is the caller's: where the reply goes."""

    __slots__ = ("actor", "address", "deadline", "ids", "number", "pending", "request", "shape", "watch")

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
        self.ids: tuple[int, ...] = ()
        self.pending: set[int] = set()
        """Of ``ids``, those that have not come to rest since the waiter last looked at all of them."""


class Waiters:
    """All waiting requests."""

    def __init__(self) -> None:
        self._all: dict[int, Waiter] = {}
        self._by_shape: dict[Shape, dict[int, Waiter]] = {}
        self._by_item: dict[int, dict[int, Waiter]] = {}
        self._by_group: dict[str, dict[int, Waiter]] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._number = 0
        self.waited_for = 0
        """Items that are waited for, counted once for each that waits."""
        self.passed_over: set[Shape] = set()
        """Shapes with claims that were not served because of their agent."""

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
        passed_over: bool,
    ) -> Waiter:
        """A claim that found nothing (or, passed over, that its agent may not take yet) waits."""
        waiter = self._add(request, actor, watch, deadline, address)
        waiter.shape = shape
        shape.waiting += 1
        self._by_shape.setdefault(shape, {})[waiter.number] = waiter
        if passed_over:
            self.passed_over.add(shape)
        return waiter

    def add_wait(self, ids: tuple[int, ...], request: Request, actor: Actor, deadline: int, address: Any) -> Waiter:
        """A ``wait`` whose items are not all at rest."""
        waiter = self._add(request, actor, None, deadline, address)
        waiter.ids = ids
        self.waited_for += len(ids)
        waiter.pending = set(ids)
        command: Wait = request.command
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
            waiter.shape.waiting -= 1
            _discard(self._by_shape, waiter.shape, waiter)
        else:
            command: Wait = waiter.request.command
            self.waited_for -= len(waiter.ids)
            if command.group is not None:
                _discard(self._by_group, command.group, waiter)
            for number in waiter.ids:
                _discard(self._by_item, number, waiter)

    def all(self) -> list[Waiter]:
        """Every waiting request, in the order in which they came."""
        return list(self._all.values())

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

    def claims(self, ready: ReadyIndex) -> Iterator[Waiter]:
        """Claims under shapes that got something new, earliest first."""
        shapes = [shape for shape in ready.woken if shape in self._by_shape]
        ready.woken.clear()
        queues = [list(self._by_shape[shape].values()) for shape in shapes]
        yield from queues[0] if len(queues) == 1 else merge(*queues, key=_number)

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


def _number(waiter: Waiter) -> int:
    return waiter.number


def _discard(table: dict[Any, dict[int, Waiter]], key: Any, waiter: Waiter) -> None:
    found = table.get(key)
    if found is not None:
        found.pop(waiter.number, None)
        if not found:
            del table[key]
