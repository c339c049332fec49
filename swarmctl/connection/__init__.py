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

from swarmctl.connection.exchange import Exchange
from swarmctl.connection.pauses import pauses
from swarmctl.connection.places import find_socket, open_socket, rights
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
from swarmshd.protocol import MINTED_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from swarmctl.connection.exchange import Result

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

PATIENCE = 1.0
"""Seconds without a daemon after which ``Connection.waiting`` is told."""

LONGEST = 86_400.0
"""Seconds for which the kernel is asked to wait at once; its limit is some weeks."""

READ_SIZE = 64 * 1024
"""Bytes that one read takes at most."""


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

    __slots__ = ("_exchange", "_pid", "_socket", "_told", "explicit", "path", "timeout", "waiting")

    def __init__(self, path: "str | None" = None, timeout: float = TIMEOUT) -> None:
        self.explicit = path
        self.path = path or ""
        self.timeout = timeout
        self.waiting: Callable[[str], None] | None = None
        self._socket: socket | None = None
        self._reset()

    def _reset(self) -> None:
        self._exchange = Exchange()
        self._pid = os.getpid()
        self._told = False

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
        exchange = self._exchange
        try:
            while number not in exchange.replies:
                self._advance(number, exchange.pending[number].deadline)
        except BaseException:  # an interrupt: hang up, or the daemon answers into the void, an item in hand
            exchange.drop(number)
            self._lose()
            raise
        reply = exchange.replies.pop(number)
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
            deadline = self._exchange.pending[numbers[0]].deadline
            try:
                self._open()
                self._flush(deadline)
            except TimeoutError:
                pass
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
        exchange = self._exchange
        while not exchange.replies:
            if not exchange.pending:
                raise LookupError("no request is waiting for a reply")
            number = min(exchange.pending, key=lambda number: exchange.pending[number].deadline)
            deadline = exchange.pending[number].deadline
            if until is not None and until < deadline:
                self._advance(None, until)
                if not exchange.replies and time.monotonic() >= until:
                    raise TimeoutError
            else:
                self._advance(number, deadline)
        number = next(iter(exchange.replies))
        return number, exchange.replies.pop(number)

    @property
    def outstanding(self) -> int:
        """Requests sent whose replies ``receive`` has not returned yet."""
        return len(self._exchange.pending) + len(self._exchange.replies)

    @property
    def ready(self) -> int:
        """Replies that ``receive`` returns at once; look here before waiting for ``fileno`` to become readable."""
        return len(self._exchange.replies)

    def fileno(self) -> int:
        """The socket's descriptor; -1 while there is no connection."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Hang up. Requests without a reply are forgotten; the next call opens a new connection."""
        self._hang_up()
        self._reset()

    # -- the way of a request

    def _add(
        self,
        verb: str,
        arguments: "Mapping[str, object]",
        fds: "Sequence[int]",
        timeout: "float | None",
        wait_ms: "int | None",
    ) -> int:
        self._after_fork()
        return self._exchange.add(verb, arguments, fds, self.timeout if timeout is None else timeout, wait_ms)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():  # the stream belongs to the parent; two readers would each get half
            self.close()

    def _advance(self, number: "int | None", deadline: float) -> None:
        """Work towards a reply until one came or ``deadline``; then ``number`` gets its refusal as a reply."""
        exchange = self._exchange
        waits: Iterator[float] | None = None
        begun = time.monotonic()
        cause: Refused | None = None
        seen = len(exchange.replies)
        while len(exchange.replies) == seen:
            try:
                self._open()
                self._flush(deadline)
                self._read(deadline)
                if not exchange.must_pause:
                    continue
                if exchange.draining:
                    self._lose()
            except TimeoutError:
                pass  # nothing broke, time is over
            except (OSError, Refused) as error:
                cause = self._failed(error)
            now = time.monotonic()
            if now < deadline and len(exchange.replies) == seen:
                self._tell(now - begun, cause)
                waits = waits or pauses()
                time.sleep(min(next(waits), deadline - now))
                now = time.monotonic()
            if now >= deadline:
                if number is not None and number in exchange.pending:
                    exchange.expire(number, cause)
                    self._lose()  # its answer would come to nobody
                return

    def _tell(self, since: float, cause: "Refused | None") -> None:
        if self.waiting is not None and cause is not None and since >= PATIENCE and not self._told:
            self._told = True
            self.waiting(f"waiting for the daemon: {cause.message}")

    def _failed(self, error: "OSError | Refused") -> Refused:
        self._hang_up()
        return self._exchange.failed(error)

    def _lose(self) -> None:
        self._hang_up()
        self._exchange.lost()

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- bytes

    def _open(self) -> None:
        """Connect, unless connected; look at whose daemon it is."""
        if self._socket is None:
            self._exchange.path = self.path = find_socket(self.explicit)
            self._socket = open_socket(self.path)
            self._told = False

    def _flush(self, deadline: float) -> None:
        """Send what this connection has not carried yet."""
        assert self._socket is not None
        data, fds = self._exchange.outgoing()
        while data:
            try:
                done = self._socket.sendmsg([data], rights(fds)) if fds else self._socket.send(data)
                self._exchange.went(done)
            except BlockingIOError:
                self._wait_for_room(deadline)
            except (BrokenPipeError, ConnectionResetError):
                self._exchange.take(self._socket.recv(READ_SIZE))  # why it hung up may be waiting to be read
                raise
            data, fds = self._exchange.outgoing()

    def _wait_for_room(self, deadline: float) -> None:
        """Read until there is room to write: a daemon whose replies nobody takes would stop taking requests."""
        import select

        assert self._socket is not None
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | select.POLLOUT)
        while (left := deadline - time.monotonic()) > 0:
            for _, events in poller.poll(min(left, LONGEST) * 1000):
                if events & ~select.POLLOUT:
                    self._exchange.take(self._socket.recv(READ_SIZE))
                if events & select.POLLOUT:
                    return
        if self._exchange.half_out:
            self._lose()  # nothing can follow half a frame
        raise TimeoutError

    def _read(self, deadline: float) -> None:
        """Wait for bytes and take the replies in them."""
        assert self._socket is not None
        left = deadline - time.monotonic()
        if left > 0:
            self._socket.settimeout(min(left, LONGEST))
        try:
            data = self._socket.recv(READ_SIZE)
        except TimeoutError:
            if left > LONGEST:
                return
            raise
        except BlockingIOError:  # time was over before; what is there already would have been taken
            raise TimeoutError from None
        finally:
            self._socket.settimeout(0)
        self._exchange.take(data)
