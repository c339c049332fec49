"""A claim in hand: what the item is, and the ways to end it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from swarmctl.connection import Conflict, LeaseLost, Refused
from swarmshd.protocol import NOTE_MAX

if TYPE_CHECKING:
    from swarmctl.client import Client
    from swarmctl.client.ask import Seconds


class Claimed:
    """An item that this agent holds, under the token of its claim.

    As a context manager it ends with the block: completed, or failed with the last line of the traceback when an
    exception leaves it, or given back on KeyboardInterrupt, SystemExit and their like. If one of its methods has
    ended it before, that stands. If the claim was lost meanwhile, leaving the block raises LeaseLost.

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
        in_loop: whether it came from ``Client.work``; there, its block logs an exception, and the loop goes on.
        left: whether its block has been left.
        watched: whether the daemon watches this process for it; else heartbeats are sent inside the block.
    """

    def __init__(self, client: Client, fields: Mapping[str, Any], *, watched: bool) -> None:
        self._client = client
        self._pid = os.getpid()
        self._ended = False
        self.id: int = fields["id"]
        self.token: str | None = fields.get("token")
        self.fence: int = fields["fence"]
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
        self.expires_at: float = fields["expires_at"] / 1000
        self.lease: float = fields["lease"] / 1000
        self.percent: int | None = fields.get("percent")
        self.last_failure: str | None = fields.get("last_failure")
        self.resumed: bool = fields.get("resumed", False)
        self.in_loop = False
        self.left = False
        self.lost = threading.Event()
        self.stop = threading.Event()
        self.watched = watched

    def __repr__(self) -> str:
        return f"<Claimed {self.id} {self.type} {self.description!r} token {self.fence}>"

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that claimed it, not a copy."""
        return self._pid == os.getpid()

    @property
    def ended(self) -> bool:
        """Whether one of the methods below has ended it."""
        return self._ended

    # -- while working

    def progress(
        self,
        percent: int | None = None,
        status: str | None = None,
        *,
        message: str | None = None,
        checkpoint: bytes | str | None = None,
    ) -> None:
        """Record how far it is, and renew the lease. The next holder receives ``checkpoint``."""
        self._note(self._try("progress", percent=percent, status=status, message=message, checkpoint=checkpoint))

    def heartbeat(self) -> None:
        """Renew the lease.

        Raises:
            LeaseLost: the claim is over.
        """
        reply = self._try("heartbeat")
        if self.id in reply["lost"]:
            self.lost.set()
            code = reply["lost"][self.id]
            raise LeaseLost(code, {"message": f"item {self.id}: the claim is over ({code})", "retryable": False})
        self._note({"expires_at": reply["renewed"][self.id], **reply})

    # -- the end

    def complete(
        self,
        note: str | None = None,
        *,
        points: int | None = None,
        output: bytes | str | None = None,
        result: bytes | str | None = None,
    ) -> None:
        """End it: done."""
        self._end("complete", note=note, points=points, output=output, result=result)

    def fail(
        self,
        reason: str | None = None,
        *,
        retry_after: Seconds | None = None,
        no_retry: bool | None = None,
        output: bytes | str | None = None,
    ) -> None:
        """Count a failure: back to the queue with a backoff, or buried."""
        self._end("fail", reason=reason, retry_after=retry_after, no_retry=no_retry, output=output)

    def release(self, *, delay: Seconds | None = None, note: str | None = None) -> None:
        """Give it back; no attempt is spent."""
        self._end("release", delay=delay, note=note)

    def bury(self, reason: str | None = None) -> None:
        """Set it aside for a person."""
        self._end("bury", reason=reason)

    def _end(self, verb: str, **arguments: Any) -> None:
        self._try(verb, **arguments)
        self._ended = True
        self._client.keeper.drop(self)

    def _try(self, verb: str, **arguments: Any) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = getattr(self._client, verb)(self.id, token=self.token, **arguments)
        except LeaseLost:
            self.lost.set()
            raise
        return reply

    def _note(self, reply: Mapping[str, Any]) -> None:
        self.expires_at = reply["expires_at"] / 1000
        if reply.get("stop"):
            self.stop.set()

    # -- as a context manager

    def __enter__(self) -> Self:
        if not self.watched:
            self._client.keeper.keep(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not self.is_ours:  # a forked child leaves its parent's block: the claim is the parent's
            return False
        self._client.keeper.drop(self)
        self.left = True
        if error is None:
            if not self._ended:
                self.finish()
            return False
        given_up = self._ended or self.lost.is_set() or self._give_up(error)
        if self.in_loop and given_up and isinstance(error, Exception):
            logging.getLogger("swarmctl").error("item %d (%s) failed", self.id, self.type, exc_info=error)
            return True
        return False

    def finish(self) -> None:
        """Complete it at the end of its block, or of its turn in a loop, which a lost claim does not end."""
        try:
            self.complete()
        except LeaseLost as refused:
            if not self.in_loop:
                raise
            # Somebody else has it, and the loop has other work.
            logging.getLogger("swarmctl").warning("item %d was done for nothing: %s", self.id, refused)

    def _give_up(self, error: BaseException) -> bool:
        """Fail it, or give it back, because of ``error``, which no refusal may hide. Whether it is out of our hands."""
        try:
            if isinstance(error, Exception):
                self.fail(last_line(error))
            else:
                self.release(note=type(error).__name__)
        except Refused as refused:
            error.add_note(f"swarmctl: item {self.id} could not be given up: {refused}")
            return isinstance(refused, Conflict)
        return True


def last_line(error: BaseException) -> str:
    """What the last line of the traceback says, in the bounds of a reason."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = f"{name}: {error}" if str(error) else name
    return text.encode("utf-8", "replace")[:NOTE_MAX].decode("utf-8", "ignore")
