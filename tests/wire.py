"""The wire as a stranger would speak it: cbor2 and a socket, and nothing of ours but the table of codes."""

import array
import socket
import struct
from collections.abc import Sequence
from typing import Any, Self

import cbor2

from swarmshd.protocol import CODES


class Wire:
    """A blocking connection that sends whatever it is told to."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.connect(path)  # with a timeout it would not wait for a place in the daemon's backlog
        except OSError:
            self.socket.close()
            raise
        self.socket.settimeout(100)
        self._buffer = b""
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send_bytes(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send bytes as they are, with descriptors."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = self.socket.sendmsg([data], ancillary)
        if sent < len(data):  # sending nothing would fail, too, once the daemon has closed
            self.socket.sendall(data[sent:])

    def send(self, verb: Any, descriptors: Sequence[int] = (), /, **arguments: Any) -> int:
        """Send a request; returns its number."""
        self._number += 1
        self.send_bytes(framed([self._number, verb, arguments]), descriptors)
        return self._number

    def receive(self) -> list[Any]:
        """The next reply, ``[number, 0 or code, result or facts]``. EOFError if the daemon closed."""
        (length,) = struct.unpack(">I", self._exactly(4))
        reply: list[Any] = cbor2.loads(self._exactly(length))
        return reply

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def call(self, verb: Any, descriptors: Sequence[int] = (), /, **arguments: Any) -> Any:
        """Send a request and return its result; ``Refused`` if it is refused."""
        number = self.send(verb, descriptors, **arguments)
        got, code, result = self.receive()
        assert got == number
        lawful(code, result)
        if code != 0:
            raise Refused(code, result)
        return result

    def answers(self, count: int) -> dict[int, tuple[Any, Any]]:
        """The next ``count`` replies, by number: ``(0 or code, result or facts)``; each is a lawful one."""
        found: dict[int, tuple[Any, Any]] = {}
        for _ in range(count):
            number, code, result = self.receive()
            assert number not in found or number == 0
            found[number] = (code, result)
            lawful(code, result)
        return found

    def closed(self) -> bool:
        """Whether the daemon closes the connection; whatever it says before is read and forgotten."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True


def lawful(code: Any, result: Any) -> None:
    """Assert that this is a grant, or a refusal as the protocol has it."""
    if code == 0:
        return
    assert code in CODES
    assert result["retryable"] is CODES[code][1]
    message = result["message"]
    assert message
    assert message.isprintable()
    assert not message.startswith("swarm")


class Refused(Exception):
    """The daemon said no."""

    def __init__(self, code: str, facts: dict[str, Any]) -> None:
        super().__init__(f"{code}: {facts['message']}")
        self.code = code
        self.facts = facts


def framed(message: Any) -> bytes:
    """The frame of a message."""
    body = cbor2.dumps(message)
    return struct.pack(">I", len(body)) + body
