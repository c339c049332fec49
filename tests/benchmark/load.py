"""Clients that cost little beside the daemon: one process, one epoll set, frames that were encoded before.

Every client has one request under way and sends the next when the reply is there, so the rate is what so many
independent clients would get. A refusal ends the measurement: it would be cheaper than what is measured.
"""

import itertools
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cbor2

GRANTED = b"\x83\x01\x00"
"""How the body of a reply that grants begins: the request's number is always 1."""

Following = Callable[[int, bytes], bytes]
"""The next frame of a client, by its index, after that reply (empty at first)."""

DESCRIPTION = "compile the module and run its tests"


def request(verb: str, **arguments: Any) -> bytes:
    """The frame of a request with the number 1."""
    body = cbor2.dumps([1, verb, arguments])
    return struct.pack(">I", len(body)) + body


def submit(**more: Any) -> dict[str, Any]:
    """The arguments of an ordinary submit."""
    return {"type": "build", "description": DESCRIPTION, **more}


def result(body: bytes) -> Any:
    """What the body of a reply holds."""
    return cbor2.loads(body)[2]


_KEY = "auto:" + 32 * "0"
_KEYS = itertools.count(int(time.time()) << 40)


def with_fresh_keys(verb: str, **arguments: Any) -> Iterator[bytes]:
    """Frames of one request, each with an idempotency key of its own, in the form in which the client mints them."""
    frame = request(verb, **arguments, key=_KEY)
    before, found, after = frame.partition(_KEY.encode())
    assert found
    while True:
        yield b"%sauto:%032x%s" % (before, next(_KEYS), after)


def ahead(frames: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The first ``count`` of them, made now rather than while the clock runs."""
    return iter(list(itertools.islice(frames, count)))


class Client:
    """One blocking connection with one request under way."""

    __slots__ = ("socket",)

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(path)

    def ask(self, frame: bytes) -> bytes:
        """Send a frame; the body of its reply, which must grant."""
        self.socket.sendall(frame)
        return self.reply()

    def reply(self) -> bytes:
        """The body of the next reply."""
        data = self.socket.recv(1 << 18)
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            more = self.socket.recv(1 << 18)
            if not more:
                raise RuntimeError("the daemon closed the connection")
            data += more
        if not data.startswith(GRANTED, 4):
            raise RuntimeError(f"refused: {cbor2.loads(data[4:])}")
        return data[4:]

    def call(self, verb: str, **arguments: Any) -> Any:
        """The result of a request."""
        return result(self.ask(request(verb, **arguments)))

    def close(self) -> None:
        self.socket.close()


def one_by_one(client: Client, frames: Iterable[bytes]) -> list[float]:
    """Ask for each frame when the one before was answered; seconds of each."""
    took = []
    clock, ask = time.perf_counter, client.ask
    for frame in frames:
        began = clock()
        ask(frame)
        took.append(clock() - began)
    return took


def crowd(clients: Sequence[Client], following: Following, seconds: float) -> tuple[int, float]:
    """Have every client ask without a pause for so long.

    Returns:
        how many replies came, and the seconds that they took.
    """
    epoll = select.epoll()
    by_fd: dict[int, tuple[int, Client]] = {}
    for index, client in enumerate(clients):
        by_fd[client.socket.fileno()] = (index, client)
        epoll.register(client.socket.fileno(), select.EPOLLIN)
    began = time.perf_counter()
    end = began + seconds
    for index, client in enumerate(clients):
        client.socket.send(following(index, b""))
    replies, under_way = 0, len(clients)
    while under_way:
        going_on = time.perf_counter() < end
        for fd, _ in epoll.poll(10):
            index, client = by_fd[fd]
            body = client.reply()
            replies += 1
            if going_on:
                client.socket.send(following(index, body))
            else:
                under_way -= 1
    took = time.perf_counter() - began
    epoll.close()
    return replies, took
