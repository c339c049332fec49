"""What people look at, asked through the Python Client: with 200,000 items it must be about as quick as with 200."""

import time
from collections.abc import Callable

from swarmctl import Client
from tests.benchmark.figure import Figure, Found, at_most, median
from tests.benchmark.ground import Ground
from tests.benchmark.load import Client as Loader
from tests.benchmark.load import request, submit
from tests.conftest import Daemon

FEW, MANY = 200, 200_000
QUEUES, AGENTS = 20, 40
FRAME = 1000
TIMES = 300

BOUND = 1.5

LOOKS: dict[str, Callable[[Client, int], object]] = {
    # each gets the client, and the id of an item in the middle of those that are open
    "list --limit 50": lambda queue, _: queue.call("list", {"limit": 50}),
    "list --limit 50 --after-id": lambda queue, middle: queue.call("list", {"limit": 50, "after_id": middle}),
    "list --limit 50 --all": lambda queue, _: queue.call("list", {"limit": 50, "all": True}),
    "show": lambda queue, middle: queue.show(middle),
    "dashboard": lambda queue, _: queue.dashboard(),
}


def looks(ground: Ground) -> Found:
    """list --limit 50, show and dashboard on 200,000 items, against 200: two in five done, one in ten held."""
    with ground.daemon() as small, ground.daemon() as large:
        _fill(small, FEW)
        _fill(large, MANY)
        with (
            Client("few", small.socket, watch=False) as few_items,
            Client("many", large.socket, watch=False) as all_items,
        ):
            few, many = _measure({FEW: few_items, MANY: all_items})
    for name, took in many.items():
        note = f"{took * 1e6:.0f} us on {MANY:,}, {few[name] * 1e6:.0f} us on {FEW}"
        yield Figure(f"{name}, {MANY:,} items to {FEW}", took / few[name], "x", at_most(BOUND), note)


def _measure(queues: dict[int, Client]) -> list[dict[str, float]]:
    """Seconds of each look, the median of many; all in turns, so that a busy moment hits all alike."""
    took: list[dict[str, list[float]]] = [{name: [] for name in LOOKS} for _ in queues]
    for _ in range(TIMES):
        for name, look in LOOKS.items():
            for times, (items, queue) in zip(took, queues.items(), strict=True):
                began = time.perf_counter()
                look(queue, items * 7 // 10)
                times[name].append(time.perf_counter() - began)
    return [{name: median(each) for name, each in times.items()} for times in took]


def _fill(daemon: Daemon, items: int) -> None:
    """Two in five are done, one in ten is held, the others are ready; the same queues and agents for few and many."""
    loader = Loader(daemon.socket)
    frame = min(FRAME, items // 10)
    for start in range(0, items, frame):
        commands = [
            ["submit", submit(queue=f"q{number % QUEUES}", description=f"compile module {number} and run its tests")]
            for number in range(start, start + frame)
        ]
        loader.ask(request("batch", commands=commands))
    for number in range(items * 4 // 10 // frame):
        claimed = loader.call("claim", agent=f"a{number % AGENTS}", queue="*", count=frame)["items"]
        commands = [["complete", {"id": item["id"], "token": item["token"]}] for item in claimed]
        loader.ask(request("batch", commands=commands))
    for number in range(AGENTS):
        loader.call("claim", agent=f"a{number}", queue="*", count=items // 10 // AGENTS or 1)
    loader.close()
