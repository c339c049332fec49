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
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import trio

from swarmshd.commands import Refusal
from swarmshd.engine import OWED_MAX, WARNING, Client, Condition, Engine
from swarmshd.server.accepting import Acceptor
from swarmshd.server.access import Access
from swarmshd.server.alarm import Alarm
from swarmshd.server.clock import Clock
from swarmshd.server.committer import Committer
from swarmshd.server.connection import Closed, Connection
from swarmshd.server.places import KEPT_FOR_ADMINS, Places
from swarmshd.server.pool import Pool
from swarmshd.server.stuck import Stuck
from swarmshd.server.unfinished import Unfinished
from swarmshd.server.watching import WatchProcess, watched
from swarmshd.settings import Settings

log = logging.getLogger("swarmshd.server")

FIRST_FRAME = 30_000
"""Milliseconds that a new connection has for its first frame."""

IDLE_AFTER = 1000
"""Milliseconds without a batch after which the journal states that all is durable; and of a peer that is idle."""

SYNC_PATIENCE = 60_000
"""Milliseconds after which a sync that has not returned is a fault."""

LONG_WAIT = 1000
"""Milliseconds that the first of those who wait for a busy place may wait without anybody being told."""

UNDECIDED_MAX = 64 << 20
"""Bytes of requests that wait to be decided above which nobody is read from."""

BREATHE = 0.01
"""Seconds after which other tasks get their turn even when there is always something to do."""

LINGER = 0.001
"""Seconds that a turn which did something waits in the epoll set itself: a client that asks and asks again is
answered without the way through trio and back, and other tasks wait so much longer at most. Only where the last one
who was waited for came as soon: for others it would be a wake-up more."""

IN, OUT = select.EPOLLIN, select.EPOLLOUT
READING = IN | select.EPOLLRDHUP
GONE = select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP


class Server:
    """Serves one listening socket with one engine until :meth:`drain` has been called and all is answered."""

    def __init__(
        self,
        engine: Engine,
        listener: socket.socket,
        clock: Clock,
        access: Access,
        settings: Settings,
        connections: int,
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
        self._connections = Places(connections)
        self._newcomers: dict[Connection, int] = {}  # until when each must have said something
        self._outgoing: set[Connection] = set()
        self._unread: set[Connection] = set()
        self._stuck = Stuck()
        self._unfinished = Unfinished()
        self._pool = Pool()
        self._frames = self._most_in_flight = self._made_room = self._not_reused = 0
        self._committer = Committer(engine.sync)
        self._alarm = Alarm(self.wake)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        for fd in (self._committer.fd, self._wake):
            self._epoll.register(fd, IN)
        self._acceptor = Acceptor(listener, self._epoll, self._make_place)
        self._last_batch = 0
        self._stated = True
        self._stop_at: int | None = None
        engine.tell = self.tell
        engine.wake = self.wake
        engine.sections["net"] = self._net
        engine.health.checks.append(self._check)

    # -- for other tasks ---------------------------------------------------------------------------------

    def died(self, identity: tuple[int, int]) -> None:
        """A watched process is gone."""
        self._engine.died(identity)
        self.wake()

    def wake(self) -> None:
        """Have the server's task take a turn."""
        os.eventfd_write(self._wake, 1)

    def configure(self, settings: Settings, access: Access) -> None:
        """Go by other settings from now on, for those who are connected as well."""
        self._settings = settings
        self._access = access
        for connection in self._connections:
            if connection.judge(access):
                self._engine.reconsider(connection)
        self.wake()

    def drain(self) -> None:
        """Answer what has come, take nothing new, and end."""
        if self._stop_at is None:
            self._stop_at = self._clock.now() + self._settings.stop_timeout
            self._engine.drain()
            self.wake()

    def tell(self) -> dict[str, Any]:
        """The server's part of ``status``."""
        return {"connections": len(self._connections), **self._about}

    def _net(self, client: Client) -> dict[str, Any]:
        """The server's part of ``stats``; the buffers are those of whoever asks."""
        sizes = client.buffers() if isinstance(client, Connection) else {}
        return {
            "connections": len(self._connections),
            "limit": self._connections.limit,
            "opened": self._acceptor.accepted,
            "closed_for_place": self._made_room,
            "closed_after_reply": self._not_reused,
            "frames": self._frames,
            "in_flight_peak": self._most_in_flight,
            **self._pool.tell(self._settings.connection_pool_size),
            **sizes,
        }

    def _check(self, now: int) -> Iterator[Condition]:
        count, limit = len(self._connections), self._connections.limit
        if count >= limit - KEPT_FOR_ADMINS:
            fact = f"{count} of {limit} connections (MAX_CONNECTIONS) are open: idle ones are closed for new ones"
            yield Condition("connections_full", WARNING, fact, "swarmctl stats net")
        elif self._pool.waiting and now - self._pool.since() >= LONG_WAIT:
            fact = f"{len(self._pool.waiting)} connections wait for a busy place (CONNECTION_POOL_SIZE)"
            yield Condition("connections_full", WARNING, fact, "swarmctl stats net")

    def healthy(self) -> bool:
        """Whether the last sync that was begun has ended in good time; for the service manager's watchdog."""
        return not self._committer.busy or self._clock.now() - self._last_batch < SYNC_PATIENCE

    # -- the task ----------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The task. Raises JournalFailed when the journal can take nothing more."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._alarm.run)
                task_status.started()
                await self._run()
                nursery.cancel_scope.cancel()
        finally:
            self._close()

    async def _run(self) -> None:
        found: list[tuple[int, int]] = []
        lingers = True
        breathed = trio.current_time()
        while True:
            found = self._epoll.poll(LINGER if found and (lingers or self._committer.busy) else 0)
            if not found:
                self._alarm.within(self._seconds_to_wait())
                since = trio.current_time()
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                breathed = trio.current_time()
                lingers = breathed - since < LINGER  # who asked so soon may well do so again
                found = self._epoll.poll(0)
            elif trio.current_time() - breathed >= BREATHE:
                await trio.lowlevel.checkpoint()
                breathed = trio.current_time()
            self._turn(found)
            if self._stop_at is not None and self._done():
                return

    def _seconds_to_wait(self) -> float:
        engine = self._engine
        now = self._clock.now()
        instants = [now + 60_000]
        due = engine.next_deadline()
        if due is not None and not (self._committer.busy and engine.has_round):
            instants.append(due)
        if self._newcomers:
            instants.append(next(iter(self._newcomers.values())))
        if self._stuck:
            instants.append(self._stuck.deadline)
        if self._pool.waiting:
            instants.append(self._pool.since() + self._settings.connection_pool_timeout)
        if self._acceptor.again is not None:
            instants.append(self._acceptor.again)
        if not self._stated and not self._committer.busy:
            instants.append(self._last_batch + IDLE_AFTER)
        if self._stop_at is not None:
            instants.append(self._stop_at)
        return max(0.0, (min(instants) - now) / 1000)

    def _turn(self, found: list[tuple[int, int]]) -> None:
        """Everything between two waits."""
        now = self._clock.now()
        if not self._engine.has_round and (gap := self._clock.leap(now)):  # a round has one moment
            now += gap
            log.warning("the clock leapt ahead by %d ms; every lease moves with it", gap, extra={"kind": "leapt"})
            self._engine.shift_clock(now, gap)
        for fd, what in found:
            connection = self._connections.get(fd)
            if connection is not None:
                self._serve(connection, what, now)
            elif fd == self._committer.fd:
                self._committer.finish()
                self._engine.syncing = False
                self._engine.durable()
            elif fd == self._wake:
                os.eventfd_read(self._wake)
            else:
                self._accept(now)
        self._advance(now)
        self._send(now)
        self._engine.follow(now)  # beside the sync that may be under way
        self._send(now)
        self._pool.leave()
        if self._pool.waiting:
            self._give_places(now)
        if self._unread:
            unread, self._unread = self._unread, set()
            for connection in unread:
                self._set_interest(connection)
        self._close_silent(now)
        if self._stuck:
            for connection, why in self._stuck.to_close(now):
                self._drop(connection, why)
        self._acceptor.resume(now)
        if self._engine.waiting_to_decide and not self._committer.busy:
            self.wake()

    def _send(self, now: int) -> None:
        while self._outgoing:
            self._flush(self._outgoing.pop(), now)

    def _advance(self, now: int) -> None:
        engine, committer = self._engine, self._committer
        while True:
            engine.advance(now)
            if committer.busy:
                break
            written = self._write()
            if written:
                self._last_batch = now
                self._stated = False
            if not engine.sync_due(now) and not (self._stop_at is not None and engine.unsynced):
                if not written:
                    break
            elif committer.quick and engine.may_sync_inline:
                committer.inline()
                engine.durable()
                if not engine.waiting_to_decide:
                    break
            else:
                engine.syncing = True
                committer.begin()
        if not self._stated and not committer.busy and now - self._last_batch >= IDLE_AFTER and engine.idle:
            engine.journal.idle()
            self._stated = True

    def _write(self) -> bool:
        written = self._engine.write()
        if self._engine.space.full is not None or (written and self._engine.journal.needs_room):
            self._journal_low()
        return written

    # -- connections -------------------------------------------------------------------------------------

    def _accept(self, now: int) -> None:
        for connected in self._acceptor.accept(now):
            size = self._settings.socket_buffer_size
            if size:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            self._welcome(connected, now)

    def _make_place(self, now: int) -> None:
        idlest = self._connections.idlest()
        if idlest is not None and idlest.seen + IDLE_AFTER < now:
            self._drop_for_place(idlest)

    def _drop_for_place(self, connection: Connection) -> None:
        self._made_room += 1
        self._drop(connection, "it was idle longest and a place was needed")

    def _welcome(self, connected: socket.socket, now: int) -> None:
        try:
            actor, classes = self._access.peer(connected)
        except OSError:
            connected.close()
            return
        connection = Connection(connected, actor, classes, self._settings.frame_max)
        try:
            goes = self._connections.who_must_go(actor)
        except Refusal as refusal:
            connection.refuse(0, refusal)
            self._flush_last(connection)
            connection.close()
            return
        if goes is not None:
            self._drop_for_place(goes)
        connection.on_output = self._outgoing
        connection.seen = now
        self._connections.add(connection)
        self._newcomers[connection] = now + FIRST_FRAME
        connection.interest = READING
        self._epoll.register(connection.fd, connection.interest)

    def _serve(self, connection: Connection, what: int, now: int) -> None:
        try:
            if what & (IN | GONE) and not connection.ended:
                self._receive(connection, now)
            if what & OUT:
                self._flush(connection, now)
            if what & (select.EPOLLHUP | select.EPOLLERR) and connection.ended:
                raise Closed
        except Closed as why:
            self._flush_last(connection)
            self._drop(connection, str(why))

    def _receive(self, connection: Connection, now: int) -> None:
        bodies = connection.receive()
        if bodies:
            connection.seen = now
            if self._newcomers:
                self._newcomers.pop(connection, None)
            self._connections.heard(connection)
            self._frames += len(bodies)
            if not self._settings.connection_reuse_enabled:
                self._not_reused += connection.end_with_first(bodies)
            for body in bodies:
                self._request(connection, body, now)
            self._most_in_flight = max(self._most_in_flight, connection.in_flight)
        if connection.unfinished or connection.strays or self._unfinished:
            for first in self._unfinished.count(connection):
                self._drop(first, "too much is held of unfinished frames")
        if connection.ended or connection.in_flight >= self._settings.in_flight_max:
            self._set_interest(connection)
            if connection.finished:
                raise Closed(connection.fault)

    def _request(self, connection: Connection, body: bytes, now: int) -> None:
        found = connection.request(body)
        if found is None:
            return
        number, request, passed = found
        try:
            request, watches = watched(request, passed, self._watch)
        except Refusal as refusal:
            connection.in_flight -= 1
            connection.refuse(number, refusal)
            return
        if self._pool.take(connection, self._settings.connection_pool_size, len(body), now):
            self._engine.inbox.take(connection, number, request, watches, len(body), now)
        else:
            self._engine.inbox.hold_back((connection, number, request, watches, len(body), now))
            self._unread.add(connection)

    def _give_places(self, now: int) -> None:
        """Let in who waited for a place, and turn away who waited for too long."""
        settings = self._settings
        for connection in self._pool.admit(settings.connection_pool_size, now):
            self._engine.inbox.resume(connection, now)
        patience = settings.connection_pool_timeout
        for connection in self._pool.overdue(now - patience, now):
            size = settings.connection_pool_size
            text = f"all {size} places (CONNECTION_POOL_SIZE) have been busy for {patience / 1000:g} s; try again"
            self._engine.turn_away(connection, Refusal("busy", text))

    def _flush(self, connection: Connection, now: int) -> None:
        if connection.closing:
            return
        try:
            moved = connection.flush()
            if connection.ended and connection.finished:
                raise Closed(connection.fault)
        except Closed as why:
            self._drop(connection, str(why))
            return
        if connection.owed > OWED_MAX:
            self._stuck.note(connection, now, moved=moved)
        else:
            self._stuck.forget(connection)
            if self._engine.inbox.held_back and connection not in self._pool.waiting:
                self._engine.inbox.resume(connection, now)
        if connection.interest != READING or connection.unsent or not self._may_read(connection):
            self._set_interest(connection)

    def _may_read(self, connection: Connection) -> bool:
        return (
            connection.owed <= OWED_MAX
            and connection.in_flight < self._settings.in_flight_max
            and self._engine.inbox.bytes + self._pool.bytes < UNDECIDED_MAX
            and not (self._pool.waiting and connection in self._pool.waiting)
        )

    def _set_interest(self, connection: Connection) -> None:
        """Read from it only while it takes its replies and has not too many requests open."""
        if connection.closing:
            return
        interest: int = 0
        if not connection.ended:
            interest = select.EPOLLRDHUP
            if self._may_read(connection):
                interest |= IN
            else:
                self._unread.add(connection)
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
            peer = connection.actor
            about = {"kind": "closed", "fields": {"peer_pid": peer.pid, "peer_uid": peer.uid}}
            log.info("closing the connection of pid %d, uid %d: %s", peer.pid, peer.uid, why, extra=about)
        self._engine.gone(connection)
        self._engine.undelivered(connection.undelivered())
        self._newcomers.pop(connection, None)
        self._unread.discard(connection)
        self._unfinished.forget(connection)
        self._pool.forget(connection)
        self._stuck.forget(connection)
        self._connections.remove(connection)
        self._epoll.unregister(connection.fd)
        self._outgoing.discard(connection)
        connection.close()

    def _close_silent(self, now: int) -> None:
        """Close those that connected long ago and never said anything."""
        newcomers = self._newcomers
        while newcomers and (first := next(iter(newcomers.items())))[1] <= now:
            self._drop(first[0], f"no frame in {FIRST_FRAME // 1000} s")

    # -- the end -----------------------------------------------------------------------------------------

    def _done(self) -> bool:
        """Whether the drain is over: everything is answered and taken, or its time is up."""
        self._acceptor.stop()
        assert self._stop_at is not None
        if self._clock.now() >= self._stop_at:
            return not self._committer.busy
        return self._engine.idle and not self._pool.waiting and not any(c.unsent for c in self._connections)

    def _close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection, "")
        if not self._committer.busy:
            self._committer.close()
        self._epoll.close()
        os.close(self._wake)
