"""Those who watch: what ten of them cost the throughput, as ``python -m tests.benchmark.following SOCKET COUNT``.

The followers are one process with a connection each. Like the other load it reads what it needs and no more: the
position to ask from. So the figure is what the daemon pays, and not what programs do with the events on the same
processors.
"""

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import cbor2

from tests.benchmark import load
from tests.benchmark.figure import Figure, Found, at_most, median
from tests.benchmark.ground import Ground, cpu_seconds
from tests.benchmark.load import Client
from tests.conftest import Daemon

FOLLOWERS = 10
ROUNDS = 32
SECONDS = 0.5
LIMIT = 1000

POSITION = b"hposition"


def following(ground: Ground) -> Found:
    """Ten who watch everything, while one client sends 100 submits a frame."""
    alone: list[float] = []
    watched: list[float] = []
    cpu: dict[bool, list[float]] = {False: [], True: []}
    told: list[float] = []
    frame = load.request("batch", commands=[["submit", load.submit()]] * 100)
    with ground.daemon() as daemon, followers(daemon, FOLLOWERS) as crowd:
        client = Client(daemon.socket)
        _rate(daemon, client, frame)
        for _ in range(ROUNDS):
            rate, used = _rate(daemon, client, frame)
            alone.append(rate)
            cpu[False].append(used)
            _say(crowd, "follow")
            rate, used = _rate(daemon, client, frame)
            watched.append(rate)
            cpu[True].append(used)
            told.append(min(map(int, _say(crowd, "rest").split())) / (rate * SECONDS))
        client.close()
    note = f"medians of {ROUNDS} alternating rounds; {median(cpu[False]):.1f} µs of the daemon's each"
    yield Figure("100 submits a frame, nobody watches", median(alone), "/s", note=note)
    note = f"{median(cpu[True]):.1f} µs each; the slowest was told of {100 * median(told):.0f} %"
    yield Figure(f"100 submits a frame, {FOLLOWERS} watch all", median(watched), "/s", note=note)
    cost = median([100 * (1 - after / before) for before, after in zip(alone, watched, strict=True)])
    yield Figure(f"what {FOLLOWERS} followers cost", cost, "%", at_most(15), "of the throughput; median of the rounds")


def _rate(daemon: Daemon, client: Client, frame: bytes) -> tuple[float, float]:
    """Submits a second, and the daemon's microseconds of processor for each."""
    used = cpu_seconds(daemon.pid)
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        client.ask(frame)
        done += 100
    return done / took, (cpu_seconds(daemon.pid) - used) / done * 1e6


@contextmanager
def followers(daemon: Daemon, count: int) -> "Iterator[subprocess.Popen[str]]":
    """A process of so many who watch when they are told to."""
    words = [sys.executable, "-m", "tests.benchmark.following", daemon.socket, str(count)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=daemon.environment()
    ) as process:
        yield process
        process.kill()


def _say(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    return process.stdout.readline()


class Follower(Client):
    """A client that asks for what is new, again and again."""

    __slots__ = ("begun", "since")

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.begun = self.since = _position(self.ask(load.request("watch")))
        self.follow()

    def follow(self) -> None:
        """Ask for what comes next."""
        self.socket.sendall(load.request("watch", since=self.since, limit=LIMIT, timeout=60_000))

    def take(self) -> None:
        """Take an answer, and go on."""
        self.since = _position(self.reply())
        self.follow()


def _position(body: bytes) -> int:
    at = body.index(POSITION) + len(POSITION)
    position: int = cbor2.CBORDecoder(BytesIO(body[at : at + 9])).decode()
    return position


def main() -> None:
    """``follow`` and ``rest`` in turn, as standard input says; print how many events each was told of."""
    path, count = sys.argv[1], int(sys.argv[2])
    epoll = select.epoll()
    epoll.register(sys.stdin.fileno(), select.EPOLLIN)
    everybody: dict[int, Follower] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd != sys.stdin.fileno():
                everybody[fd].take()
            elif sys.stdin.readline() == "follow\n":
                everybody = {each.socket.fileno(): each for each in [Follower(path) for _ in range(count)]}
                for fd in everybody:
                    epoll.register(fd, select.EPOLLIN)
                print(flush=True)
            else:
                print(*[each.since - each.begun for each in everybody.values()], flush=True)
                for each in everybody.values():
                    each.close()
                everybody = {}
                break


if __name__ == "__main__":
    main()
