"""Connections in numbers, and peers that do not read: the connection pays for it, nobody else."""

import fcntl
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from swarmshd.server import server as room
from tests.conftest import PATIENCE, ROOT, Daemon, until
from tests.test_wire_fuzz import memory, serves
from tests.wire import Wire, framed

pytestmark = pytest.mark.real


@pytest.fixture
def neighbour(daemon):
    with daemon.wire() as wire:
        yield wire


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def connect():
    """Makes connections to a daemon; they are closed in the end."""
    made: list[Wire] = []

    def connect(daemon: Daemon, count: int) -> list[Wire]:
        found = []
        for _ in range(count):
            found.append(daemon.wire())
            made.append(found[-1])
        return found

    yield connect
    for wire in made:
        wire.close()


def stuffed(wire: Wire, frame: bytes) -> int:
    """Send the frame over and over until the socket takes no more; how many whole frames went."""
    wire.socket.setblocking(False)
    sent = 0
    patience = 0
    while patience < 20:
        try:
            sent += wire.socket.send(frame[sent % len(frame) :])
            patience = 0
        except BlockingIOError:
            patience += 1
            time.sleep(0.02)
    wire.socket.setblocking(True)
    wire.socket.settimeout(PATIENCE)
    return sent // len(frame)


def large_items(wire: Wire, count: int) -> None:
    """Items whose list is long: one page of them has 8 MB."""
    lines = [["submit", {"type": "t", "description": "d" * 8000, "queue": "large"}]] * 100
    for _ in range(count // 100):
        wire.call("batch", commands=lines, atomic=True)


def test_a_client_that_never_reads_costs_little_and_stops_nobody(daemon, neighbour):
    before = memory(daemon.pid)
    with daemon.wire() as wire:
        frames = stuffed(wire, framed([1, "status", {}]))
        assert frames > 300
        serves(neighbour)
        assert memory(daemon.pid) - before < 24 << 20
        for _ in range(frames):  # it starts to read: not one reply is missing
            assert wire.receive()[1] == 0


def test_long_replies_to_a_client_that_never_reads(daemon, neighbour):
    large_items(neighbour, 1000)
    before = memory(daemon.pid)
    with daemon.wire() as wire:
        wire.send_bytes(framed([1, "list", {"limit": 1000, "queue": ["large"]}]) * 1000)
        serves(neighbour)
        assert memory(daemon.pid) - before < 64 << 20
        for _ in range(20):
            wire.receive()
        serves(neighbour)


def test_a_batch_of_long_replies_is_bounded(daemon, neighbour):
    large_items(neighbour, 1000)
    before = memory(daemon.pid)
    replies = neighbour.call("batch", commands=[["list", {"limit": 100, "queue": ["large"]}]] * 1000)["replies"]
    assert replies[0][0] == 0
    assert {code for code, _ in replies} == {0, "too_large"}
    assert memory(daemon.pid) - before < 64 << 20


def test_a_page_that_is_too_long_is_cut_and_says_so(daemon, neighbour):
    large_items(neighbour, 1000)
    seen: list[int] = []
    more, after = True, 0
    while more:
        page = neighbour.call("list", limit=1000, queue=["large"], after_id=after)
        seen += [item["id"] for item in page["items"]]
        more, after = page["more"], page["after_id"]
    assert len(seen) == len(set(seen)) == 1000


def test_a_claim_of_many_large_items_gives_as_many_as_one_reply_holds(daemon, neighbour):
    lines = [["submit", {"type": "t", "description": "d", "payload": b"x" * 60_000}]] * 15
    for _ in range(6):
        neighbour.call("batch", commands=lines, atomic=True)
    taken = 0
    while taken < 90:
        items = neighbour.call("claim", agent="a", count=1000)["items"]
        assert 10 < len(items) <= 20 or taken + len(items) == 90
        taken += len(items)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_requests_in_flight_are_bounded_and_no_reply_is_lost(make_daemon, in_flight):
    daemon = make_daemon(f"IN_FLIGHT_MAX={in_flight}").start()
    frames = [framed([n, "submit", {"type": "t", "description": "d" * 500}]) for n in range(3000)]
    with daemon.wire() as wire:
        writer = threading.Thread(target=wire.socket.sendall, args=[b"".join(frames)])
        writer.start()
        answers = wire.answers(3000)
        writer.join()
    assert sorted(answers) == list(range(3000))


def test_a_slow_reader_gets_everything(daemon, neighbour):
    large_items(neighbour, 200)
    with daemon.wire() as wire:
        wire.send_bytes(framed([7, "list", {"limit": 20, "queue": ["large"]}]) * 40)
        total = 0
        for _ in range(40):
            wire.socket.settimeout(PATIENCE)
            (length,) = struct.unpack(">I", wire._exactly(4))
            for _ in range(10):
                wire._exactly(length // 10)
            wire._exactly(length % 10)
            total += 1
            if total % 10 == 0:
                serves(neighbour)
        assert total == 40


def test_many_unfinished_frames_are_bounded(daemon, neighbour, connect):
    before = memory(daemon.pid)
    for wire in connect(daemon, 100):
        try:
            wire.send_bytes(struct.pack(">I", 1 << 20) + b"x" * ((1 << 20) - 1))
        except OSError:
            pass
    serves(neighbour)
    assert memory(daemon.pid) - before < 160 << 20
    assert daemon.call("status")["connections"] < 70


def test_two_thousand_connections(daemon, many_descriptors, connect):
    wires = connect(daemon, 2000)
    for number, wire in enumerate(wires):
        wire.send("submit", type="t", description=str(number))
    ids = {wire.receive()[2]["id"] for wire in wires}
    assert len(ids) == 2000
    for wire in wires:
        wire.send("claim", agent=f"a{id(wire)}")
    taken = {wire.receive()[2]["items"][0]["id"] for wire in wires}
    assert taken == ids
    assert daemon.call("status")["connections"] == 2001
    for wire in wires:
        wire.close()
    until(lambda: daemon.call("status")["connections"] == 1, "they are gone")


def test_when_all_places_are_taken_the_idlest_goes(make_daemon, connect):
    daemon = make_daemon("MAX_CONNECTIONS=40").start()
    wires = connect(daemon, 40)
    for wire in wires:
        wire.call("count")
    waiting = wires[0].send("claim", agent="a", wait=60_000)  # not idle, though it spoke first
    wires[1].call("count")
    with daemon.wire() as late:
        late.call("count")
        assert wires[2].closed()  # the one of which nothing has been heard for longest
        wires[1].call("count")
        late.call("submit", type="t", description="d")
        assert wires[0].receive()[:2] == [waiting, 0]


def test_when_nobody_is_idle_a_newcomer_is_told_so(make_daemon, connect):
    daemon = make_daemon("MAX_CONNECTIONS=32").start()
    wires = connect(daemon, 32)
    for number, wire in enumerate(wires):
        wire.send("claim", agent=f"a{number}", wait=60_000)
        wire.call("count")  # its claim waits by now
    with daemon.wire() as late:
        number, code, facts = late.receive()
        assert (number, code) == (0, "busy")
        assert facts["retryable"] is True
        assert late.closed()
    wires[3].close()
    until(lambda: daemon.call("status")["connections"] <= 32, "there is a place again")


STRANGER = """
import os, sys, socket
sys.path.insert(0, sys.argv[1])
from tests.wire import Wire
os.setgroups([]); os.setgid(65534); os.setuid(65534)
wires = []
refused = 0
for number in range(int(sys.argv[3])):
    wire = Wire(sys.argv[2])
    try:
        wire.send("claim", agent=f"n{number}", wait=600_000)
        wires.append(wire)
    except OSError:
        refused += 1
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_one_user_cannot_take_all_places(make_daemon, connect):
    daemon = make_daemon("MAX_CONNECTIONS=64", "SOCKET_MODE=0666")
    daemon.directory.parent.chmod(0o755)
    daemon.start()
    stranger = subprocess.Popen(
        [sys.executable, "-c", STRANGER, str(ROOT), daemon.socket, "64"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stranger.stdout is not None
    assert stranger.stdout.readline() == "ready\n"
    status = daemon.call("status")
    assert status["connections"] <= (64 - 16) * 3 // 4 + 1
    wires = connect(daemon, 20)
    for wire in wires:
        wire.call("count")
        wire.close()
    stranger.communicate()


def test_when_descriptors_run_out_the_daemon_goes_on_and_does_not_spin(make_daemon, many_descriptors, connect):
    daemon = make_daemon().start()
    (keeper,) = connect(daemon, 1)
    keeper.send("claim", agent="keeper", queue=["never"], wait=600_000)  # it waits, so nobody takes its place
    keeper.call("count")
    used = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 10, hard))
    wires = connect(daemon, 60)
    until(lambda: "cannot accept" in daemon.log.read_text(), "it ran out")
    before = cpu(daemon.pid)
    time.sleep(1)
    assert cpu(daemon.pid) - before < 0.3  # a loop without end would take all of it
    keeper.call("submit", type="t", description="d")
    for wire in wires[:40]:
        wire.close()
    wires[-1].call("count")  # and lets people in as soon as it can
    assert daemon.log.read_text().count("cannot accept") == 1


def cpu(pid: int) -> float:
    """Seconds of processor time that the process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_flood_does_not_starve_the_neighbour(daemon, neighbour, connect):
    flooders = connect(daemon, 4)
    stop = threading.Event()

    def flood(wire: Wire) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            frames = [framed([number, "submit", {"type": "t", "description": "d", "queue": "flood"}])] * 200
            wire.send_bytes(b"".join(frames))
            wire.answers(0)
            for _ in frames:
                wire.receive()

    threads = [threading.Thread(target=flood, args=[wire]) for wire in flooders]
    for thread in threads:
        thread.start()
    for _ in range(30):
        serves(neighbour)
    stop.set()
    for thread in threads:
        thread.join()


def with_constants(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, constants: str) -> Daemon:
    """A daemon whose server has other constants: nobody wants to wait for the real ones."""
    code = (
        f"import sys; from swarmshd.server import server, stuck; {constants}; "
        "from swarmshd.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = daemon.command()
    monkeypatch.setattr(daemon, "command", lambda *_: [command[0], "-c", code, *command[3:]])
    return daemon.start()


def test_who_takes_none_of_his_replies_for_long_is_closed(make_daemon, monkeypatch):
    daemon = with_constants(make_daemon(), monkeypatch, "stuck.STUCK_AFTER = 300")
    with daemon.wire() as neighbour, daemon.wire() as stuck, daemon.wire() as slow:
        large_items(neighbour, 100)
        stuck.send_bytes(framed([1, "list", {"limit": 100, "queue": ["large"]}]) * 50)
        slow.send_bytes(framed([1, "list", {"limit": 100, "queue": ["large"]}]) * 3)
        for _ in range(3):
            (length,) = struct.unpack(">I", slow._exactly(4))
            for _ in range(20):
                slow._exactly(length // 20)
                time.sleep(0.02)
            slow._exactly(length % 20)
        until(lambda: "were not taken" in daemon.log.read_text(), "it is closed")
        assert stuck.closed()
        slow.call("count")
        serves(neighbour)


def test_when_too_much_is_owed_together_the_most_indebted_go(make_daemon, monkeypatch, connect):
    daemon = with_constants(make_daemon(), monkeypatch, "stuck.OWED_TOGETHER = 4 << 20")
    (neighbour,) = connect(daemon, 1)
    large_items(neighbour, 200)
    for wire in connect(daemon, 12):
        wire.send_bytes(framed([1, "list", {"limit": 200, "queue": ["large"]}]) * 10)
    until(lambda: "memory was needed" in daemon.log.read_text(), "some are closed")
    serves(neighbour)


def test_who_says_nothing_is_closed(make_daemon, monkeypatch):
    """Half a minute in use."""
    daemon = with_constants(make_daemon(), monkeypatch, "server.FIRST_FRAME = 300")
    with daemon.wire() as silent, daemon.wire() as talks, daemon.wire() as half:
        talks.call("count")
        half.send_bytes(b"\0\0")
        assert silent.closed()
        assert half.closed()
        talks.call("count")
    assert room.FIRST_FRAME == 30_000


def test_nothing_of_a_connection_is_left(daemon):
    with daemon.wire() as wire:
        wire.call("count")
        before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    for _ in range(200):
        with daemon.wire() as wire:
            wire.send("claim", agent="a", wait=60_000)
    until(lambda: daemon.call("status")["waiters"] == 0, "nobody waits any more")
    until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before, "their descriptors are closed")
    assert fcntl.fcntl(socket.socket(socket.AF_UNIX).detach(), fcntl.F_GETFD) == fcntl.FD_CLOEXEC
