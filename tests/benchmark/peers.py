"""Other durable queues, set to sync before they answer, if they are installed: the same clients, the same disk.

They do less for a submit: no attempts, no dependencies, no fencing, no idempotency keys. So they are no target; they
show what the machine gives to programs in C.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmark import load
from tests.benchmark.durable import CLIENTS
from tests.benchmark.figure import Figure, Found, Skipped, median
from tests.benchmark.ground import Ground
from tests.benchmark.load import DESCRIPTION, Client
from tests.conftest import PATIENCE

BODY = f"build {DESCRIPTION}".encode()
PUT = b"put 1024 0 300 %d\r\n%s\r\n" % (len(BODY), BODY)
PUSH = b"*3\r\n$5\r\nRPUSH\r\n$5\r\nqueue\r\n$%d\r\n%s\r\n" % (len(BODY), BODY)
GRANTED = (b"INSERTED ", b":")
SECONDS = 1.0


class LineClient(Client):
    """A client of a protocol whose replies are one line."""

    __slots__ = ()

    def reply(self) -> bytes:
        """The next line."""
        data = b""
        while not data.endswith(b"\r\n"):
            more = self.socket.recv(1 << 16)
            if not more:
                raise RuntimeError("the peer closed the connection")
            data += more
        if not data.startswith(GRANTED):
            raise RuntimeError(f"refused: {data!r}")
        return data


def peers(ground: Ground) -> Found:
    """Other queues that sync before they answer, where they are installed."""
    beanstalkd = ["beanstalkd", "-l", "unix:SOCKET", "-b", "DIRECTORY", "-f0"]
    yield from _measure(ground, "beanstalkd -b -f0", beanstalkd, PUT)
    redis = "redis-server --port 0 --unixsocket SOCKET --dir DIRECTORY --appendonly yes --appendfsync always --save ''"
    redis_words = [word.strip("'") for word in redis.split()]
    yield from _measure(ground, "redis appendfsync always", redis_words, PUSH)


def _measure(ground: Ground, name: str, words: list[str], request: bytes) -> Found:
    if shutil.which(words[0]) is None:
        yield Skipped(name, f"{words[0]} is not installed")
        return
    with _running(ground, words) as path:
        clients = [LineClient(path) for _ in range(CLIENTS)]
        alone = median(load.one_by_one(clients[0], [request] * 500))
        replies, took = load.crowd(clients, lambda index, reply: request, SECONDS)
        for client in clients:
            client.close()
    yield Figure(f"{name}, one client", alone * 1e6, "µs", note="median")
    yield Figure(f"{name}, {CLIENTS} clients", replies / took, "/s")


@contextmanager
def _running(ground: Ground, words: Sequence[str]) -> Iterator[str]:
    """The program, on the file system that is measured; gives the path of its socket."""
    path, directory = ground.place(words[0])
    filled = [word.replace("SOCKET", path).replace("DIRECTORY", str(directory)) for word in words]
    process = subprocess.Popen(filled, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(path, process)
        yield path
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


def _await(path: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE
    while not Path(path).exists():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"pid {process.pid} does not listen on {os.path.basename(path)}")
        time.sleep(0.01)
