"""One connection for any number of tasks, without a task of its own.

Who waits for a reply and finds nobody at the socket reads, for all; who finds somebody there sleeps until its reply has
come, or until it is its turn to read. So nothing runs in the background, nothing must be closed with a nursery, and a
lone caller is never woken by another.

A caller that is cancelled takes its own request along and nothing else: bytes are read and written between two
checkpoints, never across one. If nothing of its request had left, nothing of it leaves; if half of it had, and nobody
else is there to send the rest, the connection is closed. What the daemon answers to it later is passed over.

A reply that must not be passed over, because it brings an item, belongs on a connection that one caller has for itself
(``alone``): that hangs up when it is cancelled, and the daemon takes back what nobody learned of.
"""

from __future__ import annotations

import math
import select
import time
from _socket import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from swarmctl.connection import READ_SIZE, TIMEOUT
from swarmctl.connection.exchange import Exchange, Pending
from swarmctl.connection.pauses import pauses
from swarmctl.connection.places import find_socket, open_socket, rights
from swarmctl.connection.refused import Refused

if TYPE_CHECKING:
    from swarmctl.connection.exchange import Result


class Line:
    """A connected socket, and an epoll set around it, for one task to wait until there is something to read or room."""

    def __init__(self, path: str) -> None:
        self._socket: socket = open_socket(path)
        try:
            self._epoll = select.epoll()
        except OSError:
            self._socket.close()
            raise
        self._epoll.register(self._socket, select.EPOLLIN)
        self._for_room = False

    def wait_for_room(self, wanted: bool) -> None:
        """Whether there being room to write ends the wait, also one that has begun."""
        if wanted != self._for_room:
            self._for_room = wanted
            self._epoll.modify(self._socket, select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN)

    async def wait(self, seconds: float) -> None:
        """Return when there is something to read or, if wanted, room to write; or after some time."""
        with trio.move_on_after(seconds):
            await trio.lowlevel.wait_readable(self._epoll.fileno())

    def read(self) -> bytes | None:
        """What has come; nothing if it has ended, None if nothing has come."""
        try:
            return self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return None

    def write(self, data: memoryview, fds: Sequence[int]) -> int:
        """Send as much as there is room for."""
        try:
            return self._socket.sendmsg([data], rights(fds)) if fds else self._socket.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Hang up. Nobody may be waiting."""
        self._epoll.close()
        self._socket.close()


class Connection:
    """A connection to the daemon that opens itself, and again when it was lost.

    Args:
        path: the socket; found by ``find_socket`` if None, anew at each reconnect.
        timeout: seconds for a call, unless the call says otherwise.
        alone: one caller at a time has it, and a call that ends without its reply hangs up.
    """

    def __init__(self, path: str | None = None, timeout: float = TIMEOUT, *, alone: bool = False) -> None:
        self._explicit = path
        self._timeout = timeout
        self._alone = alone
        self._exchange = Exchange()
        self._line: Line | None = None
        self._run: trio.lowlevel.TrioToken | None = None
        self._callers = 0
        self._led = False
        """Whether somebody is at the socket."""
        self._asleep: dict[int, trio.Event] = {}
        self._cause: Refused | None = None
        self._closed = False
        self.interrupted: Pending | None = None
        """The request whose caller went without its reply, of a connection that is ``alone``."""

    def close(self) -> None:
        """Hang up; if there are callers, when the last has its reply. A later call opens a connection for itself."""
        self._closed = True
        if not self._callers:
            self._hang_up()

    def abandon(self) -> None:
        """Close the descriptors: they are copies of a parent's."""
        self._hang_up()

    def line(self) -> Line | None:
        """The line to the daemon, opened now if there is none; None if that cannot be."""
        try:
            return self._open()
        except (OSError, Refused):
            return None

    @trio.lowlevel.enable_ki_protection
    async def call(
        self,
        verb: str,
        arguments: Mapping[str, object],
        *,
        timeout: float | None = None,
        wait_ms: int | None = None,
        fds: Sequence[int] = (),
    ) -> Result:
        """Ask, and return the result; as ``swarmctl.connection.Connection.call`` does.

        Raises:
            Refused: the daemon's refusal, or Unreachable, Denied, OutcomeUnknown on the way to it.
            RuntimeError: another run of trio is using it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._meet()
        exchange = self._exchange
        number = exchange.add(verb, arguments, fds, self._timeout if timeout is None else timeout, wait_ms)
        self._callers += 1
        try:
            while number not in exchange.replies:
                if self._led:
                    await self._sleep(number)
                else:
                    await self._lead(number)
            reply = exchange.replies.pop(number)
        except BaseException:
            self.interrupted = exchange.pending.get(number)
            exchange.drop(number)
            if self._alone:
                self._hang_up()
            raise
        finally:
            self._leave(number)
        if isinstance(reply, Refused):
            raise reply
        return reply

    def _meet(self) -> None:
        """Look whether this is the run of trio that the connection belongs to."""
        run = trio.lowlevel.current_trio_token()
        if self._run is not run:
            if self._callers:
                raise RuntimeError("another run of trio is using this client; let each have one of its own")
            self._run = run

    def _leave(self, number: int) -> None:
        """A caller goes: somebody else must read now, or nobody is there to send what it left half sent."""
        self._callers -= 1
        self._asleep.pop(number, None)
        if self._led:
            return
        if self._asleep:
            next(iter(self._asleep.values())).set()
        elif not self._callers and (self._closed or self._exchange.half_out):
            self._hang_up()

    # -- waiting

    async def _sleep(self, number: int) -> None:
        """Wait until the reply has come, or until it is this caller's turn to read."""
        if self._line is not None:
            self._line.wait_for_room(True)  # who is at the socket shall send this one as well
        event = self._asleep[number] = trio.Event()
        with trio.move_on_after(max(self._left(number), 0)) as scope:
            await event.wait()
        self._asleep.pop(number, None)
        if scope.cancelled_caught:
            self._exchange.expire(number, self._cause)

    async def _lead(self, number: int) -> None:
        """Read and write for all, until the reply to this one has come."""
        exchange = self._exchange
        waits = pauses()
        self._led = True
        try:
            while number in exchange.pending:
                left = self._left(number)
                if left <= 0:
                    exchange.expire(number, self._cause)
                    if self._callers == 1:
                        self._hang_up()  # its answer would come to nobody
                elif await self._turn(left):
                    waits = pauses()
                else:
                    await trio.sleep(min(next(waits), left))
        finally:
            self._led = False

    async def _turn(self, left: float) -> bool:
        """Send, wait, and take what comes, once; whether to go on at once."""
        try:
            line = self._open()
            self._flush(line)
            await line.wait(left)
            self._receive(line)
            go_on = not self._exchange.must_pause
            if not go_on and self._exchange.draining:
                self._hang_up()
        except (OSError, Refused) as error:
            self._close()
            self._cause = self._exchange.failed(error)
            go_on = False
        self._wake()
        return go_on

    def _wake(self) -> None:
        """Those whose replies have come may go."""
        for number in self._exchange.replies:
            event = self._asleep.pop(number, None)
            if event is not None:
                event.set()

    def _left(self, number: int) -> float:
        """Seconds until this request's deadline."""
        pending = self._exchange.pending.get(number)
        return math.inf if pending is None else pending.deadline - time.monotonic()

    # -- bytes

    def _open(self) -> Line:
        if self._line is None:
            path = self._exchange.path = find_socket(self._explicit)
            self._line = Line(path)
            self._cause = None
        return self._line

    def _flush(self, line: Line) -> None:
        data, fds = self._exchange.outgoing()
        while data:
            try:
                done = line.write(data, fds)
            except (BrokenPipeError, ConnectionResetError):
                self._receive(line)  # why it hung up may be waiting to be read
                raise
            if not done:
                break
            self._exchange.went(done)
            data, fds = self._exchange.outgoing()
        line.wait_for_room(bool(data))

    def _receive(self, line: Line) -> None:
        data = line.read()
        if data is not None:
            self._exchange.take(data)

    def _hang_up(self) -> None:
        self._close()
        self._exchange.lost()

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
