"""One request on its way from Python's values to the wire, and the values that need a translation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from swarmctl.client.asker import Asker

T = TypeVar("T")
Reference = int | str
Words = str | Iterable[str]
Seconds = int | float
Reply = dict[str, Any]


class Ask(Generic[T]):
    """A request that is not sent yet, and how to read its reply."""

    __slots__ = ("acts", "arguments", "read", "verb", "wait", "watches")

    def __init__(
        self,
        verb: str,
        read: Callable[[Asker, Reply], T],
        arguments: Mapping[str, object],
        *,
        acts: bool = False,
        watches: bool = False,
        wait: Seconds | None = None,
    ) -> None:
        self.verb = verb
        self.read = read
        self.arguments = {name: value for name, value in arguments.items() if value is not None}
        self.acts = acts
        """Whether the agent is to be named."""
        self.watches = watches
        """Whether the daemon shall watch this process for it."""
        self.wait = wait
        """Seconds that the daemon may take to answer."""


def whole(_: Asker, reply: Reply) -> Reply:
    """The reply as it stands."""
    return reply


def member(name: str) -> Callable[[Asker, Reply], Any]:
    """One field of the reply."""
    return lambda _, reply: reply[name]


def milliseconds(seconds: Seconds | None) -> int | None:
    """The wire's duration.

    Raises:
        ValueError: it is negative, or no finite number.
    """
    if seconds is None:
        return None
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a duration is a number of seconds from 0, not {seconds!r}")
    return round(seconds * 1000)


def moment(at: Seconds | datetime | None) -> int | None:
    """The wire's instant."""
    if isinstance(at, datetime):
        return round(at.timestamp() * 1000)
    return None if at is None else round(at * 1000)


def as_bytes(data: bytes | str | None) -> bytes | None:
    """Bytes; text becomes UTF-8."""
    return data.encode() if isinstance(data, str) else data


def as_words(words: Words | None) -> list[str] | None:
    """One word or several, as a list."""
    return None if words is None else [words] if isinstance(words, str) else list(words)


def as_queues(queue: Words | None) -> list[str] | str | None:
    """Queues; ``"*"`` stays what it is."""
    return "*" if queue == "*" else as_words(queue)
