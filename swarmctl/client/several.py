"""What takes several requests: which is the next, and what has come of all.

A plan is a generator that yields one request after another and is sent the reply to each; who follows it does the
sending, blocking or not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from swarmctl.client import asking
from swarmctl.client.ask import Ask, Reference, Reply
from swarmctl.client.asker import Asker
from swarmctl.connection import Refused, refusal
from swarmshd.protocol import SUBMITS_MAX

T = TypeVar("T")
Plan = Generator[Ask[Any], Any, T]
Ids = list[int]
IdsOrRefusals = list[int | Refused]

PAGE = 200
"""Items that one request of ``list`` asks for."""

WORK_WAIT = 60.0
"""Seconds that one claim of ``work`` waits, before it asks again."""

LEFT_DELAY = 15.0
"""Seconds until an item is ready again whose loop was left: if its work broke the loop, others come first."""

FRAME_FILL = 512 * 1024
"""Bytes, roughly, that ``submit_many`` puts into one frame; half of what a frame may have."""


def submit_many(
    asker: Asker, items: Iterable[Mapping[str, Any]], *, atomic: bool, key: str | None
) -> Plan[IdsOrRefusals]:
    """See ``Client.submit_many``."""
    commands = [["submit", asker.arguments(asking.submit(**item))[0]] for item in items]
    if atomic:
        reply = yield asking.batch(commands, atomic=True, key=key)
        return [body["id"] for _, body in reply["replies"]]
    found: IdsOrRefusals = []
    for number, frame in enumerate(_frames(commands)):
        reply = yield asking.batch(frame, key=None if key is None else f"{key}:{number}")
        found += [body["id"] if code == 0 else refusal(code, body) for code, body in reply["replies"]]
    return found


def _frames(commands: list[list[Any]]) -> Iterator[list[list[Any]]]:
    """Cut a long list of submits into what one frame carries."""
    frame: list[list[Any]] = []
    size = 0
    for command in commands:
        arguments = command[1]
        length = 300 + 4 * len(arguments["description"]) + len(arguments.get("payload", b""))
        length += 200 * len(arguments.get("after", ())) + 200 * len(arguments.get("require", ()))
        if frame and (size + length > FRAME_FILL or len(frame) == SUBMITS_MAX):
            yield frame
            frame, size = [], 0
        frame.append(command)
        size += length
    if frame:
        yield frame


def cancel_group(group: str, reason: str | None) -> Plan[int]:
    """See ``Client.cancel_group``."""
    cancelled = 0
    more = True
    while more:
        reply = yield asking.cancel_some(group, reason)
        cancelled += reply["cancelled"]
        more = reply["more"]
    return cancelled


class Pages:
    """A list that is read page by page."""

    def __init__(self, filters: Mapping[str, object], after_id: int | None) -> None:
        self._filters = filters
        self._after_id = after_id
        self.more = True

    def ask(self) -> Ask[Reply]:
        """The request for the next page."""
        return asking.page(self._filters, PAGE, self._after_id)

    def take(self, reply: Reply) -> list[Reply]:
        """The items of that page."""
        self.more, self._after_id = reply["more"], reply["after_id"]
        items: list[Reply] = reply["items"]
        return items


class Past(Pages):
    """The events of some items, read page by page."""

    def __init__(self, ids: Iterable[Reference]) -> None:
        super().__init__({}, None)
        self._ids = list(ids)
        self._since: int | None = None

    def ask(self) -> Ask[Reply]:
        return Ask("history", lambda _, reply: reply, {"ids": self._ids, "since": self._since})

    def take(self, reply: Reply) -> list[Reply]:
        self.more, self._since = reply["more"], reply["position"]
        self._ids = reply["ids"]  # refs are forgotten with their items
        events: list[Reply] = reply["events"]
        return events
