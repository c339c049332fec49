"""The wire as a stranger would speak it: cbor2 and a socket, nothing of ours."""

import array
import socket
import struct
from collections.abc import Sequence
from typing import Any

import cbor2


class Wire:
    """A blocking connection that sends whatever it is told to."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self._buffer = b""
        self._number = 0

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send_bytes(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send bytes as they are, with descriptors."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = self.socket.sendmsg([data], ancillary)
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
        if code != 0:
            raise Refused(code, result)
        return result


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
