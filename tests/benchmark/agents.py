"""Many agents that only heartbeat, and the death of a watched process."""

import array
import os
import select
import signal
import socket
import subprocess
import time

from tests.benchmark import load
from tests.benchmark.figure import Figure, Found, at_most, median
from tests.benchmark.ground import Ground, cpu_seconds
from tests.benchmark.load import Client, request, submit
from tests.conftest import Daemon

AGENTS = 1000
LEASE_MS = 300_000
SHORT_LEASE_MS = 45_000
"""A heartbeat that moves a lease by less than a tenth of it writes nothing. With the default lease of 300 s and a
heartbeat every 15 s, that is every other one. So half of the agents get a lease of which a tenth has passed after
``QUIET`` seconds: then every other heartbeat writes from the first on, as it would after a minute."""

QUIET = 5.0


def heartbeats(ground: Ground) -> Found:
    """1,000 connected agents that only heartbeat, each with an item in hand."""
    with ground.daemon() as daemon:
        clients = [Client(daemon.socket) for _ in range(AGENTS)]
        for number, client in enumerate(clients):
            name = f"agent-{number}"
            client.ask(request("submit", **submit(lease=(LEASE_MS, SHORT_LEASE_MS)[number % 2])))
            client.ask(request("register", agent=name, heartbeat=15_000))
            client.ask(request("claim", agent=name))
        idle = _cpu_of(daemon, QUIET)
        batches = daemon.call("status")["journal"]["batches"]
        slow, late, beats = _beat(daemon, clients, 15.0, 6.0)
        batches = daemon.call("status")["journal"]["batches"] - batches
        fast, late_fast, _ = _beat(daemon, clients, 1.0, 4.0)
        for client in clients:
            client.close()
    yield Figure("1,000 agents connected, silent", idle, "%", note="of a core")
    note = f"of a core; {100 * batches / beats:.0f} % were journaled; answered in {late * 1e3:.1f} ms"
    yield Figure("1,000 agents, a heartbeat every 15 s", slow, "%", at_most(5), note)
    note = f"of a core; answered in {late_fast * 1e3:.1f} ms"
    yield Figure("1,000 agents, a heartbeat every second", fast, "%", note=note)


def _cpu_of(daemon: Daemon, seconds: float) -> float:
    before, began = cpu_seconds(daemon.pid), time.perf_counter()
    time.sleep(seconds)
    return 100 * (cpu_seconds(daemon.pid) - before) / (time.perf_counter() - began)


def _beat(daemon: Daemon, clients: list[Client], every: float, seconds: float) -> tuple[float, float, int]:
    """Heartbeats spread evenly: the daemon's load in percent of a core, the median of the answers, their number."""
    frames = [request("heartbeat", agent=f"agent-{number}") for number in range(AGENTS)]
    before, began = cpu_seconds(daemon.pid), time.perf_counter()
    took, number = [], 0
    while (now := time.perf_counter()) < began + seconds:
        due = began + number * every / AGENTS
        if due > now:
            time.sleep(due - now)
        asked = time.perf_counter()
        clients[number % AGENTS].ask(frames[number % AGENTS])
        took.append(time.perf_counter() - asked)
        number += 1
    return 100 * (cpu_seconds(daemon.pid) - before) / (time.perf_counter() - began), median(took), number


DEATHS = 20


def death(ground: Ground) -> Found:
    """From SIGKILL of a watched process until another agent has its item."""
    with ground.daemon() as daemon:
        holder, other = Client(daemon.socket), Client(daemon.socket)
        took = [_one_death(holder, other) for _ in range(DEATHS)]
        holder.close()
        other.close()
    yield Figure("SIGKILL of a watched process to the next claim", median(took) * 1e3, "ms", at_most(100), "median")
    yield Figure(
        "SIGKILL of a watched process to the next claim", max(took) * 1e3, "ms", at_most(100), f"worst of {DEATHS}"
    )


def _one_death(holder: Client, other: Client) -> float:
    """Seconds until an agent that waits is given what the killed process held."""
    item = holder.call("submit", **submit())["id"]
    process = subprocess.Popen(["sleep", "600"])
    try:
        watch = os.pidfd_open(process.pid)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [watch]))]
        holder.socket.sendmsg([request("claim", agent="holder", watch=True)], rights)
        holder.reply()
        os.close(watch)
        other.socket.sendall(request("claim", agent="other", wait=30_000))
        assert not select.select([other.socket], [], [], 0.05)[0], "the item was there for another while it was held"
        began = time.perf_counter()
        process.send_signal(signal.SIGKILL)
        body = other.reply()
        took = time.perf_counter() - began
    finally:
        process.kill()
        process.wait()
    (claimed,) = load.result(body)["items"]
    assert claimed["id"] == item
    other.call("complete", id=item, token=claimed["token"])
    return took
