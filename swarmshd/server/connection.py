"""One peer: the bytes it sent, the descriptors it passed, and the replies it has not taken yet.

A connection is a plain object that the server's one task calls; it never waits. Garbage, half frames, floods
and a peer that does not read are paid for by the connection alone: it is answered once and closed, or not
read from until it takes its replies.
"""

import array
import os
import socket
from collections import deque
from collections.abc import Sequence

from swarmshd import commands
from swarmshd.commands import Actor, Refusal, Request
from swarmshd.engine import Client, Delivery
from swarmshd.protocol import Decoder, FrameTooLarge
from swarmshd.server.access import Access

READ_SIZE = 256 * 1024
DESCRIPTORS_MAX = 16
"""Descriptors that a peer may have passed ahead of the frame that needs them."""

_CLOEXEC, _CTRUNC = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CTRUNC)
"""As plain numbers: the arithmetic of enum.IntFlag takes longer than the rest of a read's bookkeeping."""

_VIEW = memoryview(bytearray(READ_SIZE))
_INTO = [_VIEW]
"""Where every read goes first: one task reads, and a buffer for each read costs more than the read itself."""

_ANCILLARY = socket.CMSG_SPACE(DESCRIPTORS_MAX * array.array("i").itemsize)


class Closed(Exception):
    """The connection is over; the text says why, and is empty where the peer just went."""


class Connection(Client):
    """See the module's text."""

    __slots__ = (
        "_decoder",
        "_descriptors",
        "_out",
        "_queued",
        "_reset",
        "_sent",
        "_socket",
        "_under_way",
        "ended",
        "fault",
        "fd",
        "in_flight",
        "interest",
        "on_output",
        "seen",
        "unfinished",
    )

    def __init__(self, connected: socket.socket, actor: Actor, classes: frozenset[str], frame_max: int) -> None:
        super().__init__(actor, classes)
        self._socket = connected
        self._decoder = Decoder(frame_max)
        self._descriptors: deque[int] = deque()
        self._out: list[bytes] = []
        self._queued = self._sent = 0
        self._under_way: list[Delivery] = []
        """What may not have reached the peer, in the order of the stream."""
        self._reset = False
        self.fd = connected.fileno()
        self.in_flight = 0
        """Requests that were taken and not answered."""
        self.ended = False
        """Nothing more is read: the peer has shut its side, or broke the protocol. What has come is answered."""
        self.fault = ""
        """How it broke the protocol."""
        self.unfinished = 0
        """Bytes held of a frame that is not whole yet."""
        self.seen = 0
        """When something was last read, in milliseconds."""
        self.interest = 0
        """What the epoll set waits for; the server's."""
        self.on_output: set[Connection] | None = None
        """Connections with replies to send; the server's, shared."""

    def judge(self, access: Access) -> bool:
        """Take the rights that the peer has by ``access``; whether they are other ones."""
        before = (self.actor, self.classes)
        self.actor, self.classes = access.peer(self._socket)
        return before != (self.actor, self.classes)

    # -- what comes --------------------------------------------------------------------------------------

    def receive(self) -> list[bytes]:
        """The bodies of the frames that what is readable completes.

        Raises:
            Closed: the peer went, or passed too many descriptors.
        """
        try:
            size, ancillary, flags, _ = self._socket.recvmsg_into(_INTO, _ANCILLARY, _CLOEXEC)
        except BlockingIOError:
            return []
        except OSError as error:
            self._reset = isinstance(error, ConnectionResetError)
            raise Closed from None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
                self._descriptors.extend(found)
        if flags & _CTRUNC or len(self._descriptors) > DESCRIPTORS_MAX:
            raise Closed(f"more than {DESCRIPTORS_MAX} descriptors that no command asks for")
        if not size:
            self.ended = True
            return []
        try:
            bodies = self._decoder.feed(bytes(_VIEW[:size]))
        except FrameTooLarge as error:
            self.ended = True
            self.fault = str(error)
            self.refuse(0, Refusal("too_large", f"{error}; the connection is closed", limit=error.limit, name="frame"))
            bodies = error.bodies
        self.unfinished = self._decoder.pending
        return bodies

    def request(self, body: bytes) -> tuple[int, Request, Sequence[int]] | None:
        """The number and request that a frame holds, and for each of its commands the descriptor that came for it.

        A descriptor is -1 where none is asked for or none came; there are none at all if no descriptor came lately.
        None if the frame was refused at once, which has been answered.
        """
        number = 0
        passed: Sequence[int] = ()
        try:
            number, verb, arguments = commands.decode(body)
            if self._descriptors:
                passed = [self._next_descriptor(asks) for asks in commands.asks_for_watch(verb, arguments)]
            request = commands.structure(verb, arguments, self.actor.uid)
        except Refusal as refusal:
            for descriptor in passed:
                if descriptor >= 0:
                    os.close(descriptor)
            self.refuse(number, refusal)
            return None
        self.in_flight += 1
        return number, request, passed

    def end_with_first(self, bodies: list[bytes]) -> bool:
        """Keep of the frames only the first that is no greeting, and read no more after it; whether there was one."""
        for at, body in enumerate(bodies):
            try:
                greeting = commands.decode(body)[1] == "hello"
            except Refusal:
                greeting = False
            if not greeting:
                del bodies[at + 1 :]
                self.ended = True
                return True
        return False

    def buffers(self) -> dict[str, int]:
        """The sizes of its socket's buffers, as the kernel has them."""
        return {
            "send_buffer": self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            "receive_buffer": self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        }

    def _next_descriptor(self, asks: bool) -> int:
        return self._descriptors.popleft() if asks and self._descriptors else -1

    @property
    def strays(self) -> int:
        """Descriptors that came and that no command has asked for yet."""
        return len(self._descriptors)

    def drop_strays(self) -> None:
        """All frames that came have been looked at: what is left belongs to one still to come, or to none."""
        if not self.unfinished:
            self._close_descriptors()

    # -- what goes ---------------------------------------------------------------------------------------

    def refuse(self, number: int, refusal: Refusal) -> None:
        """Answer a frame that never became a command; nothing needs to be durable for that."""
        frame = commands.encode_refusal(number, refusal)
        self.owed += len(frame)
        self._queue(frame)

    def send(self, frame: bytes, deliveries: Sequence[Delivery] = ()) -> None:
        """A reply to a request that was taken."""
        self.in_flight -= 1
        self._queue(frame)
        for delivery in deliveries:
            delivery.end = self._queued
            self._under_way.append(delivery)

    def _queue(self, frame: bytes) -> None:
        self._out.append(frame)
        self._queued += len(frame)
        if self.on_output is not None:
            self.on_output.add(self)

    def flush(self) -> bool:
        """Send as much as the socket takes; whether it took anything.

        Raises:
            Closed: the peer went.
        """
        out = self._out
        if not out:
            return True
        data = out[0] if len(out) == 1 else b"".join(out)
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise Closed from None
        self.owed -= sent
        self._sent += sent
        if self._under_way:
            self._under_way = [d for d in self._under_way if d.end >= self._sent]
        if sent == len(data):
            out.clear()
        else:
            self._out = [data[sent:]]
        return sent > 0

    def undelivered(self) -> list[Delivery]:
        """The claims of which it is certain that the peer did not learn of them; asked for when it is over.

        Whatever was not sent did not arrive. A peer that closed before it had read everything resets the
        connection: then the last reply was not read to its end either.
        """
        if not self._under_way:
            return []
        reset = self._reset or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        return [d for d in self._under_way if d.end > self._sent or (reset and d.end == self._queued)]

    @property
    def unsent(self) -> bool:
        return bool(self._out)

    @property
    def idle(self) -> bool:
        """Whether closing it now would take nothing from anybody."""
        return not (self.in_flight or self._out or self.unfinished)

    @property
    def finished(self) -> bool:
        """Whether nothing more will come or go."""
        return self.ended and not self.in_flight and not self._out

    def close(self) -> None:
        self._close_descriptors()
        self._socket.close()

    def _close_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popleft())
