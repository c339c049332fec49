"""The one task that owns the listening socket and all connections.

There is no task, nursery, cancel scope or timer for a connection or a command: cost is per wake-up, and a
wake-up takes what all connections have brought. All descriptors lie in one epoll set, whose own descriptor
trio waits on. A turn reads, hands everything to the engine, has it decide, write and (here or in the
committer's thread) sync, and sends what may leave.

Contract with the engine: everything between two awaits of this task is atomic to other tasks. ``died`` and
``wake`` may be called by them; they only leave a note and make the epoll set readable.
"""

import logging
import os
import resource
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from swarmshd.commands import Refusal, Request
from swarmshd.engine import Engine
from swarmshd.server.access import Access
from swarmshd.server.clock import Clock
from swarmshd.server.committer import Committer
from swarmshd.server.connection import Closed, Connection
from swarmshd.settings import Settings

log = logging.getLogger("swarmshd.server")

ACCEPTS = 64
"""Connections taken in one turn."""

FIRST_FRAME = 30_000
"""Milliseconds that a new connection has for its first frame."""

IDLE_AFTER = 1000
"""Milliseconds without a batch after which the journal states that all is durable."""

SYNC_PATIENCE = 60_000
"""Milliseconds after which a sync that has not returned is a fault."""

KEPT_FOR_ADMINS = 16
BREATHE = 64
"""Turns after which other tasks get their turn even when there is always something to do."""

IN, OUT = select.EPOLLIN, select.EPOLLOUT
GONE = select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP

WatchProcess = Callable[[int], tuple[int, int]]
"""Takes a pidfd; gives the identity that its process is watched under. Raises ValueError with the reason."""


def listen(path: str, mode: int, backlog: int = 1024) -> socket.socket:
    """A listening Unix socket at ``path``; a socket that nobody listens on is replaced.

    Raises:
        OSError: somebody listens there (EADDRINUSE), it is no socket, or the directory does not allow it.
    """
    with suppress(FileNotFoundError, ConnectionRefusedError):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
        raise OSError(98, "somebody listens there already", path)
    with suppress(FileNotFoundError):
        if not os.path.exists(path) or _is_socket(path):
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_socket(path: str) -> bool:
    return (os.stat(path).st_mode & 0o170000) == 0o140000


class Server:
    """Serves one listening socket with one engine until :meth:`drain` has been called and all is answered."""

    def __init__(
        self,
        engine: Engine,
        listener: socket.socket,
        clock: Clock,
        access: Access,
        settings: Settings,
        watch: WatchProcess,
        journal_low: Callable[[], None],
        about: dict[str, Any],
    ) -> None:
        self._engine = engine
        self._listener = listener
        self._clock = clock
        self._access = access
        self._settings = settings
        self._watch = watch
        self._journal_low = journal_low
        self._about = about
        self._connections: dict[int, Connection] = {}
        self._per_uid: dict[int, int] = {}
        self._newcomers: deque[tuple[int, Connection]] = deque()
        self._outgoing: set[Connection] = set()
        self._committer = Committer(engine.sync)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        for fd in (listener.fileno(), self._committer.fd, self._wake):
            self._epoll.register(fd, IN)
        self._accepting = True
        self._last_batch = 0
        self._stated = True
        self._stop_at: int | None = None
        self._limit = _descriptor_limit(settings.max_connections)
        engine.tell = self.tell

    # -- for other tasks ---------------------------------------------------------------------------------

    def died(self, identity: tuple[int, int]) -> None:
        """A watched process is gone."""
        self._engine.died(identity)
        self.wake()

    def wake(self) -> None:
        """Have the server's task take a turn."""
        os.eventfd_write(self._wake, 1)

    def drain(self) -> None:
        """Answer what has come, take nothing new, and end."""
        if self._stop_at is None:
            self._stop_at = self._clock.now() + self._settings.stop_timeout
            self._engine.drain()
            self.wake()

    def tell(self) -> dict[str, Any]:
        """The server's part of ``status``."""
        return {"connections": len(self._connections), **self._about}

    def healthy(self) -> bool:
        """Whether the last sync that was begun has ended in good time; for the service manager's watchdog."""
        return not self._committer.busy or self._clock.now() - self._last_batch < SYNC_PATIENCE

    # -- the task ----------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The task. Raises JournalFailed when the journal can take nothing more."""
        task_status.started()
        turns = 0
        try:
            while True:
                found = self._epoll.poll(0)
                if not found:
                    turns = 0
                    with trio.move_on_after(self._seconds_to_wait()):
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                    found = self._epoll.poll(0)
                elif (turns := turns + 1) >= BREATHE:
                    turns = 0
                    await trio.lowlevel.checkpoint()
                self._turn(found)
                if self._stop_at is not None and self._done():
                    return
        finally:
            self._close()

    def _seconds_to_wait(self) -> float:
        engine = self._engine
        now = self._clock.now()
        instants = [now + 60_000]
        due = engine.next_deadline()
        if due is not None and not (self._committer.busy and engine.has_round):
            instants.append(due)
        if self._newcomers:
            instants.append(self._newcomers[0][0])
        if not self._stated:
            instants.append(self._last_batch + IDLE_AFTER)
        if self._stop_at is not None:
            instants.append(self._stop_at)
        return max(0.0, (min(instants) - now) / 1000)

    def _turn(self, found: list[tuple[int, int]]) -> None:
        """Everything between two waits."""
        now = self._clock.now()
        gap = self._clock.leap(now)
        if gap:
            now += gap
            log.warning("the clock leapt ahead by %d ms; every lease moves with it", gap)
            self._engine.shift_clock(now, gap)
        for fd, what in found:
            connection = self._connections.get(fd)
            if connection is not None:
                self._serve(connection, what, now)
            elif fd == self._committer.fd:
                self._committer.finish()
                self._engine.durable()
            elif fd == self._wake:
                os.eventfd_read(self._wake)
            elif self._accepting:
                self._accept(now)
        self._advance(now, len(found))
        while self._outgoing:
            self._flush(self._outgoing.pop())
        self._close_silent(now)

    def _advance(self, now: int, readable: int) -> None:
        engine, committer = self._engine, self._committer
        while True:
            engine.advance(now)
            if committer.busy or not self._write():
                break
            self._last_batch = now
            self._stated = False
            if readable <= 1 and committer.may_inline() and not engine.waiting_to_decide:
                committer.inline()
                engine.durable()
            else:
                committer.begin()
        if not self._stated and not committer.busy and now - self._last_batch >= IDLE_AFTER and engine.idle:
            engine.journal.idle()
            self._stated = True

    def _write(self) -> bool:
        written = self._engine.write()
        if written and self._engine.journal.needs_room:
            self._journal_low()
        return written

    # -- connections -------------------------------------------------------------------------------------

    def _accept(self, now: int) -> None:
        for _ in range(ACCEPTS):
            try:
                connected, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("cannot accept a connection: %s", error.strerror)
                return
            connected.setblocking(False)
            size = self._settings.socket_buffer_size
            if size:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            self._welcome(connected, now)

    def _welcome(self, connected: socket.socket, now: int) -> None:
        try:
            actor, classes = self._access.peer(connected)
        except OSError:
            connected.close()
            return
        connection = Connection(connected, actor, classes, self._settings.frame_max)
        refusal = self._no_place(connection)
        if refusal is not None:
            connection.refuse(0, refusal)
            with suppress(Closed):
                connection.flush()
            connection.close()
            return
        connection.on_output = self._outgoing
        connection.seen = now
        self._connections[connection.fd] = connection
        self._per_uid[actor.uid] = self._per_uid.get(actor.uid, 0) + 1
        self._newcomers.append((now + FIRST_FRAME, connection))
        connection.interest = IN | select.EPOLLRDHUP
        self._epoll.register(connection.fd, connection.interest)

    def _no_place(self, connection: Connection) -> Refusal | None:
        """Make a place by closing whoever has been idle longest; some are kept for admins, a quarter for other uids."""
        uid = connection.actor.uid
        limit = self._limit if connection.actor.admin else self._limit - KEPT_FOR_ADMINS
        own = self._per_uid.get(uid, 0)
        if not connection.actor.admin and own >= limit * 3 // 4:
            candidates = [c for c in self._connections.values() if c.idle and c.actor.uid == uid]
        elif len(self._connections) >= limit:
            candidates = [c for c in self._connections.values() if c.idle]
        else:
            return None
        if not candidates:
            return Refusal("busy", f"{len(self._connections)} connections (MAX_CONNECTIONS), and none is idle")
        self._drop(min(candidates, key=_last_seen), "it was idle longest and a place was needed")
        return None

    def _serve(self, connection: Connection, what: int, now: int) -> None:
        try:
            if what & (IN | GONE):
                bodies = connection.receive()
                if bodies:
                    connection.seen = now
                elif what & GONE and not what & IN:
                    raise Closed
                for body in bodies:
                    self._request(connection, body, now)
            if what & OUT:
                connection.flush()
                self._set_interest(connection)
        except Closed as why:
            self._flush_last(connection)
            self._drop(connection, str(why))

    def _request(self, connection: Connection, body: bytes, now: int) -> None:
        found = connection.request(body)
        if found is None:
            return
        number, request = found
        try:
            watches = tuple(self._watches(connection, request))
        except Refusal as refusal:
            connection.in_flight -= 1
            connection.refuse(number, refusal)
            return
        self._engine.take(connection, number, request, watches, len(body), now)
        if connection.in_flight >= self._settings.in_flight_max:
            self._set_interest(connection)

    def _watches(self, connection: Connection, request: Request) -> list[tuple[int, int]]:
        """The processes whose descriptors came for this request's commands, in order."""
        inner = getattr(request.command, "requests", (request,))
        found = []
        for each in inner:
            if isinstance(each, Request) and getattr(each.command, "watch", False):
                if not connection.descriptors:
                    raise Refusal("bad_request", f"{each.verb}: watch is set, but no process descriptor came along")
                try:
                    found.append(self._watch(connection.descriptors.popleft()))
                except ValueError as error:
                    raise Refusal("bad_request", f"{each.verb}: {error}") from None
        return found

    def _flush(self, connection: Connection) -> None:
        if connection.closing:
            return
        try:
            connection.flush()
        except Closed as why:
            self._drop(connection, str(why))
            return
        self._set_interest(connection)

    def _set_interest(self, connection: Connection) -> None:
        """Read from it only while it takes its replies and has not too many requests open."""
        interest: int = select.EPOLLRDHUP
        if not connection.congested and connection.in_flight < self._settings.in_flight_max:
            interest |= IN
        if connection.unsent:
            interest |= OUT
        if interest != connection.interest:
            connection.interest = interest
            self._epoll.modify(connection.fd, interest)

    def _flush_last(self, connection: Connection) -> None:
        """Let the peer see why, if it looks."""
        with suppress(Closed):
            connection.flush()

    def _drop(self, connection: Connection, why: str) -> None:
        if connection.closing:
            return
        connection.closing = True
        if why:
            log.info("closing the connection of pid %d, uid %d: %s", connection.actor.pid, connection.actor.uid, why)
        self._engine.gone(connection)
        del self._connections[connection.fd]
        self._epoll.unregister(connection.fd)
        self._outgoing.discard(connection)
        uid = connection.actor.uid
        self._per_uid[uid] -= 1
        if not self._per_uid[uid]:
            del self._per_uid[uid]
        connection.close()

    def _close_silent(self, now: int) -> None:
        """Close those that connected long ago and never said anything."""
        newcomers = self._newcomers
        while newcomers and (newcomers[0][0] <= now or newcomers[0][1].met or newcomers[0][1].closing):
            _, connection = newcomers.popleft()
            if not connection.met and not connection.closing:
                self._drop(connection, f"no frame in {FIRST_FRAME // 1000} s")

    # -- the end -----------------------------------------------------------------------------------------

    def _done(self) -> bool:
        """Whether the drain is over: everything is answered and taken, or its time is up."""
        if self._accepting:
            self._accepting = False
            self._epoll.unregister(self._listener.fileno())
        assert self._stop_at is not None
        if self._clock.now() >= self._stop_at:
            return not self._committer.busy
        return self._engine.idle and not any(c.unsent for c in self._connections.values())

    def _close(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection, "")
        if not self._committer.busy:
            self._committer.close()
        self._epoll.close()
        os.close(self._wake)


def _last_seen(connection: Connection) -> int:
    return connection.seen


def _descriptor_limit(wanted: int) -> int:
    """How many connections the process's descriptors allow, after asking for as many as may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    room = (soft - 64) // 2 if soft < 2 * wanted + 64 else wanted
    return max(KEPT_FOR_ADMINS * 2, min(wanted, room))
