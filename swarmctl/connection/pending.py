"""A request between being asked and being answered, and what may be done with it when the connection is lost."""

import time

from swarmctl.connection.places import unreachable
from swarmctl.connection.refused import OutcomeUnknown, Refused
from swarmshd import cbor
from swarmshd.protocol import READ, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

WAITS = {"claim": "wait", "wait": "timeout"}
"""The argument that holds a verb's wait in milliseconds."""


class Pending:
    """A request without a reply. ``sent``: this connection carried it. ``doubt``: an earlier one did, and was lost."""

    __slots__ = ("arguments", "deadline", "doubt", "fds", "refused", "sent", "size", "span", "verb", "wait_until")

    def __init__(self, verb: str, arguments: "Mapping[str, object]", fds: "Sequence[int]", span: float) -> None:
        self.verb = verb
        self.arguments = arguments
        self.fds = fds
        self.span = span
        self.deadline = time.monotonic() + span
        self.wait_until = 0.0
        self.size = 0
        self.sent = self.doubt = False
        self.refused: Refused | None = None

    @property
    def repeatable(self) -> bool:
        return VERBS.get(self.verb) == READ or self.verb == "heartbeat" or "key" in self.arguments

    def body(self, number: int) -> bytes:
        arguments = self.arguments
        if self.wait_until and self.size:  # it was sent before
            left = max(0, round((self.wait_until - time.monotonic()) * 1000))
            arguments = {**arguments, WAITS[self.verb]: left}
        frame = cbor.dumps([number, self.verb, arguments])
        self.size = len(frame)
        return frame

    def unanswered(self, cause: "Refused | None", path: str) -> Refused:
        """The refusal to report when the deadline has passed, or there is no way to the daemon."""
        in_doubt = self.sent or self.doubt
        silence = f"connected, no answer in {self.span:g} s" if self.sent else "the connection was lost"
        if in_doubt and VERBS.get(self.verb) != READ:
            key = self.arguments.get("key")
            again = f"; repeat with --key {key}" if key else ""
            facts: dict[str, Any] = {
                "message": f"it may or may not have happened ({path}: {silence}){again}",
                "retryable": True,
            }
            if key:
                facts.update(key=key, next=f"the same command with --key {key}")
            return OutcomeUnknown("outcome_unknown", facts)
        if self.refused is not None and not in_doubt:
            return self.refused
        return cause or unreachable(
            [[path, silence if in_doubt else f"no connection in {self.span:g} s"]], retryable=True
        )
