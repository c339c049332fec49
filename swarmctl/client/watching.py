"""Events as an iterator: asked for page by page, from a position that is known after each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Self

from swarmctl.client.ask import Ask, Reference, Reply, Seconds, Words, as_words, milliseconds, moment, whole

if TYPE_CHECKING:
    from swarmctl.client import Client

ROUND = 600.0
"""Longest single wait that is asked for, in seconds."""


def filters(ids: Iterable[Reference], queue: Words | None, type: Words | None, group: str | None) -> dict[str, object]:
    """What ``watch`` selects events by."""
    return {"ids": list(ids) or None, "queue": as_words(queue), "type": as_words(type), "group": group}


class Followed:
    """How far a watch has come, and what it asks next; who follows it does the sending, blocking or not.

    Attributes:
        position: of the last event that was given, or up to where there was none.
    """

    def __init__(
        self, wanted: Mapping[str, object], since: int | datetime | None, timeout: Seconds | None, *, once: bool
    ) -> None:
        milliseconds(timeout)
        self._wanted = dict(wanted)
        self._until = None if timeout is None else time.monotonic() + timeout
        self._once = once
        self._over = False
        self._at = moment(since) if isinstance(since, datetime) else None
        self._reached = None if isinstance(since, datetime) else since
        self._begun = self._reached is not None
        self._found: deque[Reply] = deque()
        self.position = self._reached or 0

    def first(self) -> Ask[Reply] | None:
        """What to ask before all: where we are. What happens before the first answer could else be lost with it."""
        return self._page(None, 1 if self._once and self._at else None, 0, self._at) if self._reached is None else None

    def ask(self) -> Ask[Reply] | None:
        """What to ask when there is no event; None when it is over."""
        if self._over:
            return None
        left = ROUND if self._until is None else max(0.0, self._until - time.monotonic())
        return self._page(self._reached, 1 if self._once else None, min(left, ROUND))

    def _page(self, since: int | None, limit: int | None, wait: Seconds, at: int | None = None) -> Ask[Reply]:
        wanted = {**self._wanted, "since": since, "at": at, "limit": limit}
        return Ask("watch", whole, wanted, wait=wait)

    def take(self, reply: Reply) -> None:
        """The answer to either."""
        self._found.extend(reply["events"])
        self._reached = reply["position"]
        late = self._until is not None and time.monotonic() >= self._until
        self._over = (self._once and bool(self._found)) or (late and self._begun and not reply["more"])
        self._begun = True
        if not self._found:
            self.position = reply["position"]
        if "ids" in reply:  # refs are forgotten with their items
            self._wanted["ids"] = reply["ids"]

    def next(self) -> Reply | None:
        """The next event, if one is there."""
        if not self._found:
            return None
        event = self._found.popleft()
        self.position = event["position"]
        return event


class Events(Iterator[Reply]):
    """The events of ``Client.watch``. Ends when its time is over, else never.

    Attributes:
        position: of the last event that was given, or up to where there was none: go on from here with ``since``.
    """

    def __init__(self, client: Client, followed: Followed) -> None:
        self._client = client
        self._followed = followed
        ask = followed.first()
        if ask is not None:
            followed.take(client.ask(ask))

    @property
    def position(self) -> int:
        """See above."""
        return self._followed.position

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Reply:
        while (event := self._followed.next()) is None:
            ask = self._followed.ask()
            if ask is None:
                raise StopIteration
            self._followed.take(self._client.ask(ask))
        return event
