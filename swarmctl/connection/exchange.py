"""Requests between being asked and being answered on one connection, and what becomes of them when it is lost.

There is no I/O here: an ``Exchange`` says which bytes leave next and takes those that come, and whoever has the socket
carries them. So the blocking connection and that for trio share every rule of repeating, and of what is said when no
answer comes.
"""

import time

from swarmctl.connection.places import unreachable
from swarmctl.connection.refused import OutcomeUnknown, Refused, refusal
from swarmshd import cbor
from swarmshd.protocol import LENGTH, READ, VERBS, Decoder, FrameTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

    Result = dict[str, Any]

WAITS = {"claim": "wait", "lock": "wait", "wait": "timeout", "watch": "timeout", "snapshot": "wait"}
"""The argument that holds a verb's wait in milliseconds."""

CLAIMS = ("claim", "claim_new", "lock")
"""The verbs whose replies bring items, or a lock."""

REPLY_MAX = 16 << 20
"""Largest reply that is read, in bytes. A daemon may have a larger FRAME_MAX than the default."""

SEND_SIZE = 256 * 1024
"""Bytes of frames that are put together to be sent at once, if no single frame has more."""

NOTHING = memoryview(b"")


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

    @property
    def claims(self) -> "list[str]":
        """The verbs in it whose replies bring items, or a lock."""
        verbs = [line[0] for line in self.arguments["commands"]] if self.verb == "batch" else [self.verb]  # type: ignore[attr-defined]
        return [verb for verb in verbs if verb in CLAIMS]

    @property
    def strays(self) -> bool:
        """Whether there may be a claim of it that the daemon does not take back when nobody reads the reply.

        That is so when an earlier connection carried it, for what is made and claimed in one step, and for what an
        agent held before and claims again.
        """
        return bool(self.claims) and (self.doubt or "claim_new" in self.claims or bool(self.arguments.get("resume")))

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


class Exchange:
    """All requests of one connection.

    Attributes:
        pending: those without a reply, by number.
        replies: results and refusals that nobody has taken yet, by number.
        path: the socket, for what is said.
        draining: the daemon has said that it stops: nothing more is sent on this connection.
    """

    __slots__ = ("_carried", "_decoder", "_fds", "_last", "_out", "_unsent", "draining", "path", "pending", "replies")

    def __init__(self) -> None:
        self.path = ""
        self.pending: dict[int, Pending] = {}
        self.replies: dict[int, Result | Refused] = {}
        self._unsent: dict[int, Pending] = {}
        self._last = 0
        self._anew()

    def _anew(self) -> None:
        """What belongs to one connection begins again."""
        self.draining = False
        self._decoder = Decoder(REPLY_MAX)
        self._out = NOTHING
        self._fds: Sequence[int] = ()
        self._carried: list[int] = []  # requests in `_out`, of which nothing has left yet

    # -- asking

    def add(
        self,
        verb: str,
        arguments: "Mapping[str, object]",
        fds: "Sequence[int]",
        timeout: float,
        wait_ms: "int | None",
    ) -> int:
        """Take a request in; its number."""
        pending = Pending(verb, arguments, fds, timeout + (wait_ms or 0) / 1000)
        if wait_ms is not None:
            pending.arguments = {**arguments, WAITS[verb]: wait_ms}
            if wait_ms:
                pending.wait_until = time.monotonic() + wait_ms / 1000
        self._last += 1
        self.pending[self._last] = self._unsent[self._last] = pending
        return self._last

    def drop(self, number: int) -> None:
        """Nobody waits for this one any more. If nothing of it has left, nothing of it will."""
        self.pending.pop(number, None)
        self.replies.pop(number, None)
        if self._unsent.pop(number, None) is not None and number in self._carried:
            self._out, self._fds, self._carried = NOTHING, (), []

    def expire(self, number: int, cause: "Refused | None") -> None:
        """Its deadline has passed: the reply is a refusal that says so."""
        pending = self.pending.get(number)
        if pending is not None:
            self.drop(number)
            self.replies[number] = pending.unanswered(cause, self.path)

    # -- what leaves

    def outgoing(self) -> "tuple[memoryview, Sequence[int]]":
        """The bytes to send next, and the descriptors that leave with the first of them; no bytes: nothing to send.

        Descriptors belong to one frame, so it leaves alone.
        """
        if not self._out and self._unsent and not self.draining:
            frames = bytearray()
            for number, pending in self._unsent.items():
                if frames and (pending.fds or len(frames) > SEND_SIZE):
                    break
                body = pending.body(number)
                frames += LENGTH.pack(len(body))
                frames += body
                self._carried.append(number)
                if pending.fds:
                    self._fds = pending.fds
                    break
            self._out = memoryview(frames)
        return self._out, self._fds

    def went(self, count: int) -> None:
        """So many of these bytes have left."""
        if count and self._carried:
            for number in self._carried:
                self._unsent.pop(number).sent = True
            self._carried, self._fds = [], ()
        self._out = self._out[count:]

    @property
    def half_out(self) -> bool:
        """Whether a frame has left in part: nothing else may follow it."""
        return bool(self._out) and not self._carried

    # -- what comes

    def take(self, data: bytes) -> None:
        """Take bytes that came.

        Raises:
            ConnectionResetError: it is their end, or the daemon is about to hang up.
            Refused: the daemon does not take us now, or it is no daemon.
        """
        if not data:
            raise ConnectionResetError("the daemon closed the connection")
        try:
            for body in self._decoder.feed(data):
                self._reply(cbor.loads(body))
        except (FrameTooLarge, cbor.DecodeError) as error:
            self._foreign(str(error))

    def _reply(self, message: "Any") -> None:
        if type(message) is not list or len(message) != 3 or type(message[2]) is not dict:
            self._foreign("no reply of our protocol")
        number, code, body = message
        if type(number) is not int:
            self._foreign("a reply to no request")
        pending = self.pending.get(number)
        if code == 0:
            if pending is not None:
                del self.pending[number]
                self.replies[number] = body
            return
        refused = refusal(str(code), body)
        if number == 0:
            self._refused(refused)
        if code == "draining":
            self.draining = True
        if pending is None:
            return
        if code in ("draining", "busy"):
            self._turned_away(number, refused)
        else:
            del self.pending[number]
            self.replies[number] = refused

    def _turned_away(self, number: int, refused: Refused) -> None:
        """Not now: it did not happen, and may be sent again."""
        pending = self._unsent[number] = self.pending[number]
        pending.sent, pending.refused = False, refused

    def _refused(self, refused: Refused) -> "NoReturn":
        """The daemon refuses the connection, or a frame that it could not read; it hangs up after that."""
        carried = {number: pending for number, pending in self.pending.items() if pending.sent}
        if refused.code in ("busy", "draining"):  # there was no place for us: nothing was read
            for number in carried:
                self._turned_away(number, refused)
            raise refused
        limit = refused.facts.get("limit", 0)
        for number, pending in carried.items():
            if len(carried) == 1 or (refused.code == "too_large" and pending.size > limit):
                del self.pending[number]
                self.replies[number] = refused
                raise ConnectionResetError(refused.message)
        raise refused

    def _foreign(self, why: str) -> "NoReturn":
        raise unreachable([[self.path, f"it does not speak our protocol: {why}"]], retryable=False)

    # -- when it does not go on

    @property
    def must_pause(self) -> bool:
        """Whether the last replies were of the kind "not now", so that asking again at once is no use."""
        if self.draining:
            return len(self._unsent) == len(self.pending)  # else the daemon still finishes what it has taken
        return any(pending.refused is not None for pending in self._unsent.values())

    def lost(self) -> None:
        """The connection is gone. What may be sent again waits for the next; the others have no known outcome."""
        self._anew()
        for number, pending in list(self.pending.items()):
            if pending.sent:
                pending.sent, pending.doubt = False, True
                if not pending.repeatable:
                    del self.pending[number]
                    self.replies[number] = pending.unanswered(None, self.path)
        self._unsent = dict(self.pending)

    def failed(self, error: "OSError | Refused") -> Refused:
        """The connection broke, or could not be made: why. Where no retry can help, all requests end with it."""
        self.lost()
        if isinstance(error, Refused):
            if not error.retryable:
                for number, pending in self.pending.items():
                    alone = type(error)(error.code, error.facts)  # each is raised somewhere else
                    self.replies[number] = pending.unanswered(error, self.path) if pending.doubt else alone
                self.pending.clear()
                self._unsent.clear()
            return error
        why = (error.strerror or str(error) or type(error).__name__).lower()
        return unreachable([[self.path, why]], retryable=True)
