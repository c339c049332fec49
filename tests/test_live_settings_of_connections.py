"""Every setting that a running daemon takes really takes effect: those of connections, rights, and the log.

With a real daemon. Requests that shall come at once are sent while it is stopped by a signal.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import PATIENCE, Daemon
from tests.wire import Refused as WireRefused
from tests.wire import Wire, framed

pytestmark = pytest.mark.real

WORK = {"type": "t", "description": "d"}
NOBODY = 54321

EFFECTS: dict[str, Callable[[Daemon], None]] = {}


def effect(of: Callable[[Daemon], None]) -> Callable[[Daemon], None]:
    """What shows that the setting of this name took effect."""
    EFFECTS[of.__name__.upper()] = of
    return of


def put(daemon: Daemon, **values: str) -> None:
    daemon.call("config_set", values=values)


def net(wire: Wire) -> dict[str, Any]:
    found: dict[str, Any] = wire.call("stats", section="net")["sections"]["net"]
    return found


@contextlib.contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """What is sent meanwhile comes at once."""
    os.kill(daemon.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)
    try:
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def at_once(daemon: Daemon, count: int) -> list[Any]:
    """So many connections submit at once; the codes of the replies."""
    wires = [daemon.wire() for _ in range(count)]
    for wire in wires:
        wire.call("hello", version=1)
    with stopped(daemon):
        for wire in wires:
            wire.send("submit", **WORK)
    codes = [wire.receive()[1] for wire in wires]
    for wire in wires:
        wire.close()
    return codes


@effect
def connection_pool_size(daemon: Daemon) -> None:
    assert at_once(daemon, 8) == [0] * 8
    with daemon.wire() as wire:
        assert net(wire)["pool_peak"] > 1
        assert net(wire)["pool_waits"] == 0
        put(daemon, CONNECTION_POOL_SIZE="2")
        assert at_once(daemon, 8) == [0] * 8
        assert net(wire)["pool_waits"] >= 6
        assert net(wire)["pool_waiting"] == 0
    waiting = daemon.wire()
    for _ in range(3):  # who waits for an item, or an event, takes no place
        waiting.send("claim", agent="a", queue="none", wait=60_000)
        waiting.send("watch", timeout=60_000)
    with daemon.wire() as other:
        waiting_too = daemon.wire()
        waiting_too.send("claim", agent="b", queue="none", wait=60_000)
        assert other.call("count")["count"] == 16
        waiting_too.close()
    waiting.close()


@effect
def connection_pool_timeout(daemon: Daemon) -> None:
    put(daemon, CONNECTION_POOL_SIZE="1", BATCH_MODE="no")

    def crowd() -> tuple[Any, Any]:
        """What somebody is told who comes when another keeps the one place for long."""
        with daemon.wire() as long, daemon.wire() as late:
            late.call("count")
            long.call("count")  # the epoll set tells of it first, whether or not it has been asked in between
            with stopped(daemon):
                frames = [framed([number, "submit", WORK]) for number in range(200)]
                long.send_bytes(b"".join(frames))  # each with a sync of its own
                late.send("count")
            told = late.receive()
            assert all(code == 0 for code, _ in long.answers(200).values())
            return told[1], told[2]

    assert crowd()[0] == 0
    put(daemon, CONNECTION_POOL_TIMEOUT="1ms")
    code, facts = crowd()
    assert (code, facts["retryable"]) == ("busy", True)
    assert facts["message"].startswith("all 1 places (CONNECTION_POOL_SIZE) have been busy for 0.001 s")
    assert daemon.call("stats", section="net")["sections"]["net"]["pool_timeouts"] >= 1


@effect
def connection_reuse_enabled(daemon: Daemon) -> None:
    with daemon.wire() as wire:
        for _ in range(3):
            wire.call("count")
    put(daemon, CONNECTION_REUSE_ENABLED="no")
    with daemon.wire() as wire:
        wire.call("hello", version=1)
        wire.send_bytes(framed([8, "count", {}]) + framed([9, "count", {}]))
        assert wire.receive() == [8, 0, {"count": 0}]
        assert wire.closed()
    done = daemon.ctl("submit", "t", "d")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert daemon.call("stats", section="net")["sections"]["net"]["closed_after_reply"] >= 3


@effect
def socket_buffer_size(daemon: Daemon) -> None:
    with daemon.wire() as before:
        default = net(before)["send_buffer"]
        put(daemon, SOCKET_BUFFER_SIZE="16K")
        with daemon.wire() as after:
            assert net(after)["send_buffer"] == 32 << 10 != default
            assert net(after)["receive_buffer"] == 32 << 10
        assert net(before)["send_buffer"] == default


@effect
def in_flight_max(daemon: Daemon) -> None:
    put(daemon, IN_FLIGHT_MAX="3")
    with daemon.wire() as wire:
        for _ in range(3):
            wire.send("claim", agent="a", wait=60_000)
        while daemon.call("status")["waiters"] < 3:
            pass
        number = wire.send("count")
        for _ in range(3):
            daemon.call("status")
        wire.socket.settimeout(0)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        wire.socket.settimeout(PATIENCE)
        put(daemon, IN_FLIGHT_MAX="4")
        assert wire.receive()[:2] == [number, 0]


@effect
def parallel_jobs(daemon: Daemon) -> None:
    lines = "".join('{"type": "t", "description": "d"}\n' for _ in range(6000))

    def frames(peak: int) -> int:
        put(daemon, PARALLEL_JOBS=str(peak))
        done = daemon.ctl("submit", "--from", "-", "-q", input=lines)
        assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 6000)
        return int(daemon.call("stats", section="net")["sections"]["net"]["in_flight_peak"])

    assert frames(1) == 1
    assert 1 < frames(4) <= 4


@effect
def stop_timeout(daemon: Daemon) -> None:
    put(daemon, STOP_TIMEOUT="0")
    daemon.call("submit", **WORK, payload=b"x" * 60_000)
    with daemon.wire() as deaf:  # takes no replies: with more patience the stop would wait for it
        for _ in range(30):
            deaf.send("get", id=1, what="payload")
        daemon.call("status")
        assert daemon.stop() == 0
    daemon.start()


def rights(daemon: Daemon, wire: Wire) -> set[str]:
    return set(wire.call("hello", version=1)["you"]["classes"])


def as_nobody(daemon: Daemon) -> Wire:
    """A connection of a user who is not the daemon's."""
    for path in (daemon.directory.parent, daemon.directory):
        path.chmod(0o755)
    os.chmod(daemon.socket, 0o666)
    os.seteuid(NOBODY)
    try:
        return daemon.wire()
    finally:
        os.seteuid(0)


def access(daemon: Daemon, setting: str, granted: set[str], left: set[str]) -> None:
    """What a peer may do that is connected already, when it is named, and when nobody is."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else for a moment")
    put(daemon, ACCESS_READ=str(NOBODY), ACCESS_WORK="0", ACCESS_ADMIN="0")
    with as_nobody(daemon) as wire:
        assert rights(daemon, wire) == {"read"}
        put(daemon, **{setting: str(NOBODY)})
        assert rights(daemon, wire) == granted
        put(daemon, **{setting: "0"})
        if left:
            assert rights(daemon, wire) == left
        else:
            with pytest.raises(WireRefused, match="denied"):
                wire.call("count")


@effect
def access_read(daemon: Daemon) -> None:
    access(daemon, "ACCESS_READ", {"read"}, set())


@effect
def access_work(daemon: Daemon) -> None:
    access(daemon, "ACCESS_WORK", {"read", "work"}, {"read"})
    with as_nobody(daemon) as wire:  # a claim that waits is refused when its right goes
        put(daemon, ACCESS_WORK=str(NOBODY))
        wire.send("claim", agent="a", wait=60_000)
        while not daemon.call("status")["waiters"]:
            pass
        put(daemon, ACCESS_WORK="0")
        assert wire.receive()[1] == "denied"


@effect
def access_admin(daemon: Daemon) -> None:
    access(daemon, "ACCESS_ADMIN", {"read", "work", "admin"}, {"read"})


@effect
def log_level(daemon: Daemon) -> None:
    def closed() -> int:
        with daemon.wire() as wire:
            wire.send_bytes(b"\xff\xff\xff\xff")
            assert wire.closed()
        return daemon.log.read_text().count("closing the connection of pid")

    logged = closed()
    put(daemon, LOG_LEVEL="warning")
    assert closed() == logged
    put(daemon, LOG_LEVEL="info")
    assert closed() > logged


@pytest.mark.real
@pytest.mark.parametrize("name", EFFECTS)
def test_it_takes_effect_at_once(name: str, daemon: Daemon) -> None:
    EFFECTS[name](daemon)


@pytest.mark.real
def test_a_request_for_which_there_is_no_place_is_not_forgotten_when_the_daemon_stops(daemon: Daemon) -> None:
    put(daemon, CONNECTION_POOL_SIZE="1")
    wires = [daemon.wire() for _ in range(5)]
    for wire in wires:
        wire.call("hello", version=1)
    with stopped(daemon):
        for wire in wires:
            wire.send("count")
        os.kill(daemon.pid, signal.SIGTERM)
    assert [wire.receive()[1] for wire in wires] == [0] * 5
    assert daemon.wait() == 0
    daemon.start()
    for wire in wires:
        wire.close()
