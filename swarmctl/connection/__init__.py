"""One connection to the daemon: finding its socket, asking, and asking again when that is safe.

A request stays with the connection until it has a reply. When the daemon goes away in between (a restart, a
reset, ``draining``), reads and changes that carry an idempotency key are sent again to the next daemon, until the
request's deadline; a change without a key is not, once it may have arrived: its outcome is unknown, and the reply says
so. A call that waits is sent again with what is left of its wait. So a restart of the daemon is a pause.

Nothing here is thread-safe; ``swarmctl.client`` has the pool. Only modules that a bare interpreter has loaded, or
that cost next to nothing, are imported: every call of ``swarmctl`` pays for them. For the same reason annotations
that need an import are quoted.
"""

import os
import time
from _socket import AF_UNIX, SCM_RIGHTS, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct

from swarmctl.connection.pending import WAITS, Pending
from swarmctl.connection.places import OWNER, denied, find_socket, is_ours, unreachable
from swarmctl.connection.refused import (
    Busy,
    Conflict,
    Denied,
    Empty,
    LeaseLost,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unreachable,
    refusal,
)
from swarmshd import cbor
from swarmshd.protocol import LENGTH, MINTED_PREFIX, Decoder, FrameTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, NoReturn

    Result = dict[str, Any]
    Request = tuple[str, Mapping[str, object], Sequence[int]]

__all__ = [
    "TIMEOUT",
    "Busy",
    "Conflict",
    "Connection",
    "Denied",
    "Empty",
    "LeaseLost",
    "NotFound",
    "OutcomeUnknown",
    "Refused",
    "Unreachable",
    "find_socket",
    "mint_key",
    "refusal",
]

TIMEOUT = 30.0
"""Default deadline of a call in seconds: connect, reconnect and reply together."""

REPLY_MAX = 16 << 20
"""Largest reply that is read, in bytes. A daemon may have a larger FRAME_MAX than the default."""

PAUSE_MIN, PAUSE_MAX = 0.02, 0.5
"""Seconds between two attempts: the first pause, doubled up to the last."""

PATIENCE = 1.0
"""Seconds without a daemon after which ``Connection.waiting`` is told."""

LONGEST = 86_400.0
"""Seconds for which the kernel is asked to wait at once; its limit is some weeks."""

_CREDENTIALS = Struct("3i")


def mint_key() -> str:
    """A fresh idempotency key for one change."""
    return MINTED_PREFIX + os.urandom(16).hex()


class Connection:
    """A connection to the daemon that opens itself, and again when it was lost.

    Args:
        path: the socket; found by ``find_socket`` if None, anew at each reconnect.
        timeout: seconds for a call, unless the call says otherwise.

    Attributes:
        waiting: called once in an outage, with one sentence, when a call has been without a daemon for a second.
    """

    __slots__ = (
        "_decoder", "_draining", "_last", "_pending", "_pid", "_replies", "_socket",
        "_told", "explicit", "path", "timeout", "waiting",
    )  # fmt: skip

    def __init__(self, path: "str | None" = None, timeout: float = TIMEOUT) -> None:
        self.explicit = path
        self.path = path or ""
        self.timeout = timeout
        self.waiting: Callable[[str], None] | None = None
        self._socket: socket | None = None
        self._reset()

    def _reset(self) -> None:
        self._decoder = Decoder(REPLY_MAX)
        self._pid = os.getpid()
        self._pending: dict[int, Pending] = {}
        self._replies: dict[int, Result | Refused] = {}
        self._last = 0
        self._draining = self._told = False

    # -- calls

    def call(
        self,
        verb: str,
        arguments: "Mapping[str, object]",
        *,
        timeout: "float | None" = None,
        wait_ms: "int | None" = None,
        fds: "Sequence[int]" = (),
    ) -> "Result":
        """Ask, and return the result.

        Args:
            verb: of ``protocol.VERBS``.
            arguments: as the protocol has them; with a ``key`` a change is repeated safely.
            timeout: seconds for connect, reconnect and reply, on top of ``wait_ms``; default the connection's.
            wait_ms: how long the daemon may wait before it answers; put into the arguments here.
            fds: descriptors (pidfds) to pass along; they stay the caller's to close.

        Raises:
            Refused: the daemon's refusal, or Unreachable, Denied, OutcomeUnknown on the way to it.
        """
        number = self._add(verb, arguments, fds, timeout, wait_ms)
        try:
            while number not in self._replies:
                self._advance(number, self._pending[number].deadline)
        except BaseException:  # an interrupt: hang up, or the daemon answers into the void, an item in hand
            self._pending.pop(number, None)
            self._lose()
            raise
        reply = self._replies.pop(number)
        if isinstance(reply, Refused):
            raise reply
        return reply

    def send(self, requests: "Iterable[Request]", timeout: "float | None" = None) -> "list[int]":
        """Send requests ``(verb, arguments, fds)`` without waiting; return their ids for ``receive``.

        It does not raise when the daemon is away: ``receive`` sends again, or reports it. Descriptors must stay
        open until the reply.
        """
        numbers = [self._add(verb, arguments, fds, timeout, None) for verb, arguments, fds in requests]
        if numbers:
            deadline = self._pending[numbers[0]].deadline
            try:
                self._open()
                self._flush(deadline)
            except (OSError, Refused) as error:
                self._failed(error)
        return numbers

    def receive(self, timeout: "float | None" = None) -> "tuple[int, Result | Refused]":
        """The next reply to ``send``: its id, and the result or the refusal (which is returned, not raised).

        Raises:
            TimeoutError: ``timeout`` (seconds) was given and passed; everything stays as it is.
            LookupError: nothing is being waited for.
        """
        until = None if timeout is None else time.monotonic() + timeout
        self._after_fork()
        while not self._replies:
            if not self._pending:
                raise LookupError("no request is waiting for a reply")
            number = min(self._pending, key=lambda number: self._pending[number].deadline)
            deadline = self._pending[number].deadline
            if until is not None and until < deadline:
                self._advance(None, until)
                if not self._replies and time.monotonic() >= until:
                    raise TimeoutError
            else:
                self._advance(number, deadline)
        number = next(iter(self._replies))
        return number, self._replies.pop(number)

    @property
    def outstanding(self) -> int:
        """Requests sent whose replies ``receive`` has not returned yet."""
        return len(self._pending) + len(self._replies)

    @property
    def ready(self) -> int:
        """Replies that ``receive`` returns at once; look here before waiting for ``fileno`` to become readable."""
        return len(self._replies)

    def fileno(self) -> int:
        """The socket's descriptor; -1 while there is no connection."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Hang up. Requests without a reply are forgotten; the next call opens a new connection."""
        self._hang_up()
        self._reset()

    # -- the ways of a request

    def _add(
        self,
        verb: str,
        arguments: "Mapping[str, object]",
        fds: "Sequence[int]",
        timeout: "float | None",
        wait_ms: "int | None",
    ) -> int:
        self._after_fork()
        pending = Pending(verb, arguments, fds, (self.timeout if timeout is None else timeout) + (wait_ms or 0) / 1000)
        if wait_ms is not None:
            pending.arguments = {**arguments, WAITS[verb]: wait_ms}
            if wait_ms:
                pending.wait_until = time.monotonic() + wait_ms / 1000
        self._last += 1
        self._pending[self._last] = pending
        return self._last

    def _after_fork(self) -> None:
        if self._pid != os.getpid():  # the stream belongs to the parent; two readers would each get half
            self.close()

    def _advance(self, number: "int | None", deadline: float) -> None:
        """Work towards a reply until one came or ``deadline``; then ``number`` gets its refusal as a reply."""
        pause = PAUSE_MIN
        begun = time.monotonic()
        cause: Refused | None = None
        seen = len(self._replies)
        while len(self._replies) == seen:
            try:
                self._open()
                self._flush(deadline)
                self._read(deadline)
                if not self._must_pause():
                    continue
            except (OSError, Refused) as error:
                cause = self._failed(error) or cause
            now = time.monotonic()
            if now < deadline and len(self._replies) == seen:
                self._tell(now - begun, cause)
                time.sleep(min(pause, deadline - now))
                pause = min(pause * 2, PAUSE_MAX)
                now = time.monotonic()
            if now >= deadline:
                if number is not None and number in self._pending:
                    self._replies[number] = self._pending.pop(number).unanswered(cause, self.path)
                    self._lose()  # its answer would come to nobody
                return

    def _tell(self, since: float, cause: "Refused | None") -> None:
        if self.waiting is not None and cause is not None and since >= PATIENCE and not self._told:
            self._told = True
            self.waiting(f"waiting for the daemon: {cause.message}")

    def _must_pause(self) -> bool:
        """Whether the last replies were of the kind "not now", so that asking again at once is no use."""
        if self._draining:
            if any(pending.sent for pending in self._pending.values()):
                return False  # the daemon still finishes what it has taken
            self._lose()
            return True
        return any(pending.refused is not None and not pending.sent for pending in self._pending.values())

    def _failed(self, error: "OSError | Refused") -> "Refused | None":
        """Take note that the connection broke; where no retry can help, the pending requests end with it."""
        if isinstance(error, TimeoutError):
            return None  # nothing broke, time is over
        self._lose()
        if isinstance(error, Refused):
            if not error.retryable:
                for number, pending in self._pending.items():
                    self._replies[number] = pending.unanswered(error, self.path) if pending.doubt else error
                self._pending.clear()
            return error
        why = (error.strerror or str(error) or type(error).__name__).lower()
        return unreachable([[self.path, why]], retryable=True)

    def _lose(self) -> None:
        """Hang up; requests that may be sent again wait for the next connection, the others have no known outcome."""
        self._hang_up()
        for number, pending in list(self._pending.items()):
            if pending.sent:
                pending.sent, pending.doubt = False, True
                if not pending.repeatable:
                    del self._pending[number]
                    self._replies[number] = pending.unanswered(None, self.path)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._decoder = Decoder(REPLY_MAX)
        self._draining = False

    # -- bytes

    def _open(self) -> None:
        """Connect, unless connected; look at whose daemon it is."""
        if self._socket is not None:
            return
        self.path = find_socket(self.explicit)
        link = socket(AF_UNIX, SOCK_STREAM)
        try:
            link.settimeout(0)  # a Unix socket connects at once, or says EAGAIN when the daemon's backlog is full
            link.connect(self.path)
            _, uid, _ = _CREDENTIALS.unpack(link.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
            if not is_ours(uid):
                why = f"a socket that is not ours: its owner is uid {uid}, not root, {OWNER} or you"
                raise unreachable([[self.path, why]], retryable=False)
        except PermissionError:
            link.close()
            raise denied(self.path) from None
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, InterruptedError):
            link.close()
            raise
        except OSError as error:
            link.close()
            raise unreachable([[self.path, (error.strerror or str(error)).lower()]], retryable=False) from None
        except BaseException:
            link.close()
            raise
        self._socket = link
        self._told = False

    def _flush(self, deadline: float) -> None:
        """Send what this connection has not carried yet. Descriptors leave with the first byte of their own frame."""
        if self._draining:
            return
        frames = bytearray()
        carried: list[Pending] = []
        try:
            for number, pending in list(self._pending.items()):
                if pending.sent or number not in self._pending:
                    continue
                if pending.fds and frames:
                    self._write(frames, carried, deadline)
                    frames, carried = bytearray(), []
                body = pending.body(number)
                frames += LENGTH.pack(len(body))
                frames += body
                carried.append(pending)
                if pending.fds:
                    self._write(frames, carried, deadline)
                    frames, carried = bytearray(), []
            if frames:
                self._write(frames, carried, deadline)
        except (BrokenPipeError, ConnectionResetError):
            if self._socket is not None:
                self._take(self._socket.recv(1 << 16))  # why it hung up may be waiting to be read
            raise

    def _write(self, frames: bytearray, carried: "list[Pending]", deadline: float) -> None:
        """Send these frames. If there are descriptors, they belong to the first frame, and it is the only one."""
        assert self._socket is not None
        fds = carried[0].fds
        try:
            done = self._socket.sendmsg([frames], _rights(fds)) if fds else self._socket.send(frames)
        except BlockingIOError:
            done = 0
        for pending in carried:  # not before: when the first send fails, nothing of them has left
            pending.sent = True
        if done < len(frames):
            self._write_rest(memoryview(frames)[done:], () if done else fds, deadline)

    def _write_rest(self, data: memoryview, fds: "Sequence[int]", deadline: float) -> None:
        """Write while reading: a daemon whose replies nobody takes would stop taking requests."""
        import select

        assert self._socket is not None
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | select.POLLOUT)
        while data:
            left = deadline - time.monotonic()
            if left <= 0:
                self._lose()  # half a frame is out; nothing can follow it
                raise TimeoutError
            for _, events in poller.poll(min(left, LONGEST) * 1000):
                if events & ~select.POLLOUT:
                    self._take(self._socket.recv(1 << 16))
                if events & select.POLLOUT:
                    try:
                        data = data[self._socket.sendmsg([data], _rights(fds)) :]
                    except BlockingIOError:
                        continue
                    fds = ()

    def _read(self, deadline: float) -> None:
        """Wait for bytes and take the replies in them."""
        assert self._socket is not None
        left = deadline - time.monotonic()
        if left > 0:
            self._socket.settimeout(min(left, LONGEST))
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            if left > LONGEST:
                return
            raise
        except BlockingIOError:  # time was over before; what is there already would have been taken
            raise TimeoutError from None
        finally:
            self._socket.settimeout(0)
        self._take(data)

    def _take(self, data: bytes) -> None:
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
        pending = self._pending.get(number)
        if code == 0:
            if pending is not None:
                del self._pending[number]
                self._replies[number] = body
            return
        refused = refusal(str(code), body)
        if number == 0:
            self._refused(refused)
        elif pending is None:
            return
        elif code in ("draining", "busy"):
            pending.sent, pending.refused = False, refused
            self._draining = self._draining or code == "draining"
        else:
            del self._pending[number]
            self._replies[number] = refused

    def _refused(self, refused: Refused) -> "NoReturn":
        """The daemon refuses the connection, or a frame that it could not read; it hangs up after that."""
        carried = {number: pending for number, pending in self._pending.items() if pending.sent}
        if refused.code in ("busy", "draining"):  # there was no place for us: nothing was read
            for pending in carried.values():
                pending.sent, pending.refused = False, refused
            raise refused
        limit = refused.facts.get("limit", 0)
        for number, pending in carried.items():
            if len(carried) == 1 or (refused.code == "too_large" and pending.size > limit):
                del self._pending[number]
                self._replies[number] = refused
                raise ConnectionResetError(refused.message)
        raise refused

    def _foreign(self, why: str) -> "NoReturn":
        raise unreachable([[self.path, f"it does not speak our protocol: {why}"]], retryable=False)


def _rights(fds: "Sequence[int]") -> "list[tuple[int, int, bytes]]":
    """The ancillary data that passes these descriptors."""
    return [(SOL_SOCKET, SCM_RIGHTS, Struct(f"{len(fds)}i").pack(*fds))] if fds else []
