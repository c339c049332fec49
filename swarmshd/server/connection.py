"""One peer: the bytes it sent, the descriptors it passed, and the replies it has not taken yet.

A connection is a plain object that the server's one task calls; it never waits. Garbage, half frames, floods
and a peer that does not read are paid for by the connection alone: it is answered once and closed, or not
read from until it takes its replies.
"""

import array
import os
import socket
from collections import deque

from swarmshd import commands
from swarmshd.commands import Actor, Refusal, Request
from swarmshd.engine import Waiter
from swarmshd.protocol import Decoder, FrameTooLarge

READ_SIZE = 256 * 1024
DESCRIPTORS_MAX = 16
"""Descriptors that a peer may have passed and not yet named in a command."""

OUT_PAUSE = 256 * 1024
"""Bytes of replies not taken above which no further request is read."""

OUT_MAX = 4 << 20
"""Bytes of replies not taken above which the connection is closed."""

_VIEW = memoryview(bytearray(READ_SIZE))
_INTO = [_VIEW]
"""Where every read goes first: one task reads, and a buffer for each read costs more than the read itself."""

_ANCILLARY = socket.CMSG_SPACE(DESCRIPTORS_MAX * array.array("i").itemsize)


class Closed(Exception):
    """The connection is over; the text says why, and is empty where the peer just went."""


class Connection:
    """See the module's text. ``actor``, ``classes`` and ``waiting`` are what the engine needs to know."""

    __slots__ = (
        "_buffered",
        "_decoder",
        "_out",
        "_socket",
        "actor",
        "classes",
        "closing",
        "descriptors",
        "fd",
        "in_flight",
        "interest",
        "met",
        "on_output",
        "seen",
        "waiting",
    )

    def __init__(self, connected: socket.socket, actor: Actor, classes: frozenset[str], frame_max: int) -> None:
        self._socket = connected
        self._decoder = Decoder(frame_max)
        self._out: list[bytes] = []
        self._buffered = 0
        self.fd = connected.fileno()
        self.actor = actor
        self.classes = classes
        self.waiting: dict[int, Waiter] = {}
        self.descriptors: deque[int] = deque()
        self.in_flight = 0
        """Requests that were taken and not answered."""
        self.met = False
        """Whether a whole frame has come."""
        self.seen = 0
        """When something was last read, in milliseconds."""
        self.interest = 0
        """What the epoll set waits for; the server's."""
        self.closing = False
        self.on_output: set[Connection] | None = None
        """Connections with replies to send; the server's, shared."""

    def receive(self) -> list[bytes]:
        """The bodies of the frames that what is readable completes.

        Raises:
            Closed: the peer went, or broke the protocol.
        """
        try:
            size, ancillary, flags, _ = self._socket.recvmsg_into(_INTO, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return []
        except OSError:
            raise Closed from None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
                self.descriptors.extend(found)
        if flags & socket.MSG_CTRUNC or len(self.descriptors) > DESCRIPTORS_MAX:
            raise Closed(f"more than {DESCRIPTORS_MAX} descriptors that no command asks for")
        if not size:
            raise Closed
        try:
            bodies = self._decoder.feed(bytes(_VIEW[:size]))
        except FrameTooLarge as error:
            self.refuse(0, Refusal("too_large", f"{error}; the connection is closed", limit=error.limit, name="frame"))
            raise Closed(str(error)) from None
        if bodies:
            self.met = True
        return bodies

    def request(self, body: bytes) -> tuple[int, Request] | None:
        """The request that a frame holds; None if it was refused at once, which has been answered."""
        number = 0
        try:
            number, verb, arguments = commands.decode(body)
            request = commands.structure(verb, arguments, self.actor.uid)
        except Refusal as refusal:
            self.refuse(number, refusal)
            return None
        self.in_flight += 1
        return number, request

    def refuse(self, number: int, refusal: Refusal) -> None:
        """Answer a frame that never became a command; nothing needs to be durable for that."""
        self._queue(commands.encode_refusal(number, refusal))

    def send(self, frame: bytes) -> None:
        """A reply to a request that was taken."""
        self.in_flight -= 1
        self._queue(frame)

    def _queue(self, frame: bytes) -> None:
        self._out.append(frame)
        self._buffered += len(frame)
        if self.on_output is not None:
            self.on_output.add(self)

    def flush(self) -> None:
        """Send as much as the socket takes.

        Raises:
            Closed: the peer went, or does not take what it asked for.
        """
        out = self._out
        if not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise Closed from None
        if sent == len(data):
            out.clear()
            self._buffered = 0
            return
        self._out = [data[sent:]]
        self._buffered = len(data) - sent
        if self._buffered > OUT_MAX:
            raise Closed(f"{self._buffered} bytes of replies were not taken")

    @property
    def unsent(self) -> bool:
        return bool(self._out)

    @property
    def congested(self) -> bool:
        """Whether it is to take its replies before more is read from it."""
        return self._buffered > OUT_PAUSE

    @property
    def idle(self) -> bool:
        """Whether closing it now would take nothing from anybody."""
        return not (self.in_flight or self._out or self._decoder.pending)

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()
        self._socket.close()
