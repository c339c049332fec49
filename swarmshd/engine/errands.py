"""Requests that take long and are carried out beside the engine: they read files, or walk over everything.

The engine sees to who may ask, how many there are, and that nobody is answered who has gone; what an errand is
about it does not know. Whoever carries errands out is told of each by ``carry``, and gives the result to
:meth:`Engine.finish` when there is one. Nobody else's answer waits for it.
"""

from collections.abc import Callable, Iterator
from typing import Any

from swarmshd.commands import Refusal
from swarmshd.engine.client import Client
from swarmshd.protocol import counted

ERRANDS_MAX = 8
"""Errands under way at once."""

KEPT_FOR_ADMINS = 2
"""Of these, those that only admins get."""


class Errand:
    """One request: ``asked`` is what the engine has made of its arguments; ``cancel`` ends the work on it."""

    __slots__ = ("asked", "cancel", "client", "number", "verb")

    def __init__(self, client: Client, number: int, verb: str, asked: Any) -> None:
        self.client = client
        self.number = number
        self.verb = verb
        self.asked = asked
        self.cancel: Callable[[], None] = _nothing


class Errands:
    """All errands under way. ``carry`` is set by whoever carries them out."""

    def __init__(self) -> None:
        self.carry: Callable[[Errand], None] | None = None
        self._under_way: dict[Errand, None] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def send(self, errand: Errand) -> None:
        """Have it carried out.

        Raises:
            Refusal: ``busy``, as too many are under way.
        """
        most = ERRANDS_MAX - (0 if errand.client.actor.admin else KEPT_FOR_ADMINS)
        if self.carry is None or len(self._under_way) >= most:
            text = f"{errand.verb}: {counted(len(self._under_way), 'long request')} under way already; try again"
            raise Refusal("busy", text)
        self._under_way[errand] = None
        errand.client.aside += 1
        self.carry(errand)

    def over(self, errand: Errand) -> bool:
        """It has been carried out; whether somebody still waits for the answer."""
        if errand not in self._under_way:
            return False
        self._remove(errand)
        return True

    def end(self, client: Client | None = None, verb: str | None = None) -> Iterator[Errand]:
        """End and give the errands of a client and a verb, or of all."""
        for errand in list(self._under_way):
            if client in (None, errand.client) and verb in (None, errand.verb):
                self._remove(errand)
                errand.cancel()
                yield errand

    def _remove(self, errand: Errand) -> None:
        del self._under_way[errand]
        errand.client.aside -= 1


def _nothing() -> None:
    """An errand that has not begun."""
