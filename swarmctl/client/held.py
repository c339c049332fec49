"""An item in hand, whichever way its requests travel: what it is, what its holder may do, and what that changes."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from swarmctl.client.ask import Reply
from swarmctl.client.leased import Leased
from swarmctl.connection import Conflict, LeaseLost, Refused
from swarmshd.protocol import NOTE_MAX

if TYPE_CHECKING:
    from swarmctl.client.ask import Seconds

BEGUN = 1.0
"""Seconds after which a block that is interrupted has begun its work, also if it has said nothing."""

R = TypeVar("R")
"""What a method gives: None once it is done, or what is to be awaited until it is."""


class Held(Leased, ABC, Generic[R]):
    """An item that this agent holds, under the token of its claim.

    Attributes:
        id, type, priority, description, queue, team, group, ref: as submitted.
        payload, checkpoint: bytes, None if there are none; ``checkpoint`` is what the last holder left.
        token, fence: the proof of the claim, and its number, which only grows.
        attempt, attempts_max: how often it has been claimed, and how many failures it may have.
        expires_at: when the lease ends, in seconds since the epoch.
        lease: its length in seconds.
        percent, last_failure: what earlier attempts left.
        resumed: whether the agent held it before.
        lost: set when the daemon has said that the claim is over.
        stop: set when the operators ask everybody to stop and give back.
        in_loop: whether it came from ``work``; there, its block logs an exception, and the loop goes on.
        left: whether its block has been left.
        watched: whether the daemon watches this process for it; else heartbeats are sent inside the block.
    """

    def __init__(self, fields: Mapping[str, Any], *, watched: bool) -> None:
        super().__init__(fields)
        self._ended = False
        self.type: str = fields["type"]
        self.priority: str = fields["priority"]
        self.description: str = fields["description"]
        self.queue: str = fields["queue"]
        self.team: str | None = fields.get("team")
        self.group: str | None = fields.get("group")
        self.ref: str | None = fields.get("ref")
        self.payload: bytes | None = fields.get("payload")
        self.checkpoint: bytes | None = fields.get("checkpoint")
        self.attempt: int = fields["attempt"]
        self.attempts_max: int = fields["attempts_max"]
        self.percent: int | None = fields.get("percent")
        self.last_failure: str | None = fields.get("last_failure")
        self.resumed: bool = fields.get("resumed", False)
        self.in_loop = False
        self.left = False
        self.watched = watched
        self._said = False
        self._entered: float | None = None

    def __repr__(self) -> str:
        return f"<Claimed {self.id} {self.type} {self.description!r} token {self.fence}>"

    @property
    def ended(self) -> bool:
        """Whether one of the methods below has ended it."""
        return self._ended

    @property
    def unbegun(self) -> bool | None:
        """True while nothing can have been done on it: its block is not a second old, and has said nothing of it."""
        young = self._entered is None or time.monotonic() - self._entered < BEGUN
        return (young and not self._said) or None

    @property
    def in_hand(self) -> bool:
        """Whether it is still this process's to end."""
        return self.is_ours and not (self._ended or self.left or self.lost.is_set())

    # -- while working

    def progress(
        self,
        percent: int | None = None,
        status: str | None = None,
        *,
        message: str | None = None,
        checkpoint: bytes | str | None = None,
    ) -> R:
        """Record how far it is, and renew the lease. The next holder receives ``checkpoint``."""
        self._said = True
        return self._act(
            "progress", self._renewed, percent=percent, status=status, message=message, checkpoint=checkpoint
        )

    def heartbeat(self) -> R:
        """Renew the lease.

        Raises:
            LeaseLost: the claim is over.
        """
        return self._act("heartbeat", self._beaten)

    # -- the end

    def complete(
        self,
        note: str | None = None,
        *,
        points: int | None = None,
        output: bytes | str | None = None,
        result: bytes | str | None = None,
    ) -> R:
        """End it: done."""
        return self._act("complete", self._over, note=note, points=points, output=output, result=result)

    def fail(
        self,
        reason: str | None = None,
        *,
        retry_after: Seconds | None = None,
        no_retry: bool | None = None,
        output: bytes | str | None = None,
    ) -> R:
        """Count a failure: back to the queue with a backoff, or buried."""
        return self._act("fail", self._over, reason=reason, retry_after=retry_after, no_retry=no_retry, output=output)

    def release(self, *, delay: Seconds | None = None, note: str | None = None, unbegun: bool | None = None) -> R:
        """Give it back; no attempt is spent. With ``unbegun``, as nothing was done on it, it is not counted either."""
        return self._act("release", self._over, delay=delay, note=note, unbegun=unbegun)

    def bury(self, reason: str | None = None) -> R:
        """Set it aside for a person."""
        return self._act("bury", self._over, reason=reason)

    @abstractmethod
    def _act(self, verb: str, then: Callable[[Reply], None], **arguments: Any) -> R:
        """Ask for it under the token, and take note of the reply; LeaseLost sets ``lost``."""

    # -- what replies change

    def _renewed(self, reply: Reply) -> None:
        self.expires_at = reply["expires_at"] / 1000
        if reply.get("stop"):
            self.stop.set()

    def _beaten(self, reply: Reply) -> None:
        if self.id in reply["lost"]:
            self.lost.set()
            code = reply["lost"][self.id]
            raise LeaseLost(code, {"message": f"item {self.id}: the claim is over ({code})", "retryable": False})
        self._renewed({"expires_at": reply["renewed"][self.id], **reply})

    def _over(self, _: Reply) -> None:
        self._ended = True

    # -- giving up

    def _stuck(self, error: BaseException, refused: Refused) -> bool:
        """It could not be given up because of ``error``, which no refusal may hide. Whether it is out of our hands."""
        error.add_note(f"swarmctl: item {self.id} could not be given up: {refused}")
        return isinstance(refused, Conflict)


def last_line(error: BaseException) -> str:
    """What the last line of the traceback says, in the bounds of a reason; of a group, that of the first in it."""
    inner = list(_inside(error))
    more = f" (and {len(inner) - 1} other{'s' * (len(inner) > 2)})" if len(inner) > 1 else ""
    error = inner[0]
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = f"{name}: {error}" if str(error) else name
    return text.encode("utf-8", "replace")[: NOTE_MAX - len(more)].decode("utf-8", "ignore") + more


def _inside(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group that are no groups; an exception itself, if it is none."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _inside(each)
    else:
        yield error
