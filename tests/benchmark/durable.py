"""Durable commands: one client with one at a time, many such clients, and one client with many in a frame."""

import time
from collections.abc import Callable, Iterator

from tests.benchmark import load
from tests.benchmark.bytes import frame_bytes
from tests.benchmark.figure import Figure, Found, at_least, at_most, median
from tests.benchmark.ground import Ground
from tests.benchmark.load import Client

ROUNDS = 8
CLIENTS = 64


def lone(ground: Ground) -> Found:
    """One client, one durable command at a time."""
    with ground.daemon() as daemon:
        client = Client(daemon.socket)
        load.one_by_one(client, [load.request("submit", **load.submit())] * 200)
        size = frame_bytes(daemon, lambda: client.call("submit", **load.submit(key="one")))
        pages: list[float] = []
        same: list[float] = []
        took: list[float] = []
        claims: list[float] = []
        for _ in range(ROUNDS):
            pages += ground.loop.run(150)
            took += load.one_by_one(client, load.ahead(load.with_fresh_keys("submit", **load.submit()), 150))
            same += ground.loop.run(150, size)
            claims += load.one_by_one(client, load.ahead(load.with_fresh_keys("claim", agent="a"), 150))
        client.close()
    loop = median(pages)
    yield Figure("write+fdatasync of 4 KiB", loop * 1e6, "µs", note="median; over zeroes, same file system")
    yield Figure(
        f"write+fdatasync of {size} bytes", median(same) * 1e6, "µs", note="as our journal writes for a submit"
    )
    yield Figure("one client, submit", median(took) * 1e6, "µs", note="median; durable, with a key")
    yield Figure("one client, claim", median(claims) * 1e6, "µs", note="median; durable, with a key")
    yield Figure("one client, submit / loop of 4 KiB", median(took) / loop, "x", at_most(3))
    yield Figure(f"one client, submit / loop of {size} bytes", median(took) / median(same), "x", at_most(3))
    yield Figure("one client, claim / loop of 4 KiB", median(claims) / loop, "x", at_most(3))


def crowd(ground: Ground) -> Found:
    """64 clients, each with one durable command at a time."""
    with ground.daemon() as daemon:
        clients = [Client(daemon.socket) for _ in range(CLIENTS)]
        loops: list[float] = []
        found: dict[str, list[float]] = {name: [] for name in KINDS}
        for _ in range(ROUNDS // 2):
            for name, kind in KINDS.items():
                loops.append(1 / median(ground.loop.run(300)))
                found[name].append(_rate(clients, kind()))
        for client in clients:
            client.close()
    loop = median(loops)
    yield Figure("write+fdatasync of 4 KiB", loop, "/s", note="medians: a stalled disk would flatter the ratio")
    for name, rates in found.items():
        note = f"of {', '.join(f'{rate:,.0f}' for rate in rates)}"
        yield Figure(f"{CLIENTS} clients, {name}", median(rates), "/s", note=note)
        yield Figure(f"{CLIENTS} clients, {name} / loop", median(rates) / loop, "x", at_least(2.5))


PLAIN = load.request("submit", **load.submit())


class Submits:
    """Submits with fresh keys, made before the clock runs."""

    def __init__(self) -> None:
        self._frames = load.ahead(load.with_fresh_keys("submit", **load.submit()), 60_000)

    def __call__(self, index: int, reply: bytes) -> bytes:
        """The next frame of a client."""
        return next(self._frames)


def _rate(clients: list[Client], following: load.Following) -> float:
    replies, took = load.crowd(clients, following, 0.8)
    return replies / took


class Life:
    """Claims an item and completes it, with fresh keys."""

    def __init__(self) -> None:
        self._claims = [load.with_fresh_keys("claim", agent=f"agent-{index}") for index in range(CLIENTS)]
        self._holds = [False] * CLIENTS

    def __call__(self, index: int, reply: bytes) -> bytes:
        """The next frame of a client."""
        self._holds[index] = not self._holds[index]
        if self._holds[index]:
            return next(self._claims[index])
        item = load.result(reply)["items"][0]
        key = f"auto:{item['id']:032x}"
        return load.request("complete", id=item["id"], token=item["token"], exit_status=0, key=key)


KINDS: dict[str, Callable[[], load.Following]] = {
    "submit": Submits,
    "submit without a key": lambda: lambda index, reply: PLAIN,
    "claim and complete": Life,
}


def bulk(ground: Ground) -> Found:
    """One client, 100 submits a frame."""
    with ground.daemon() as daemon:
        client = Client(daemon.socket)
        rates = [_bulk_rate(client, key=key) for key in (False, True)]
        client.close()
    yield Figure("one client, 100 submits a frame", rates[0], "/s", at_least(20_000), "durable submits; no keys")
    yield Figure(
        "one client, 100 submits a frame, a key a frame", rates[1], "/s", at_least(20_000), "as the client sends it"
    )


def _bulk_rate(client: Client, *, key: bool) -> float:
    frames: Iterator[bytes]
    commands = [["submit", load.submit()]] * 100
    if key:
        frames = load.ahead(load.with_fresh_keys("batch", commands=commands), 1500)
    else:
        frames = iter([load.request("batch", commands=commands)] * 1500)
    done = 0
    began = time.perf_counter()
    for frame in frames:
        client.ask(frame)
        done += 100
        if time.perf_counter() - began > 2:
            break
    return done / (time.perf_counter() - began)
