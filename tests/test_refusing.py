"""What needs a person, where a service manager holds the socket: the daemon stays and says so to everybody."""

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from swarmctl import Client
from swarmctl.connection import Refused
from swarmshd.journal.files import listing
from tests.conftest import PATIENCE, ROOT, Daemon

pytestmark = pytest.mark.real

START = 'fd=$1; shift; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&$fd'


class Manager:
    """Holds the daemon's socket, and starts it for the first client, again if it has ended, as systemd does."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(daemon.socket)
        self.listener.listen(64)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(f"{daemon.directory}/notify")
        self.notified.settimeout(PATIENCE)
        self.starts = 0

    def start(self, *options: str) -> None:
        number = str(self.listener.fileno())
        self.starts += 1
        log = self.daemon.log.open("a")
        self.daemon.process = subprocess.Popen(
            ["/bin/bash", "-c", START, "sh", number, *self.daemon.command(*options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=self.daemon.environment(NOTIFY_SOCKET=f"{self.daemon.directory}/notify"),
            pass_fds=[self.listener.fileno()],
        )
        log.close()

    def told(self) -> str:
        """What the daemon has told next of itself."""
        return self.notified.recv(65536).decode()

    def tend(self, clients: "list[subprocess.Popen[str]]") -> None:
        """Start it whenever somebody waits and nobody serves, until the clients have ended."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        while any(client.poll() is None for client in clients):
            ended = self.daemon.process is None or self.daemon.process.poll() is not None
            if poll.poll(10) and ended:
                self.start()


@contextmanager
def manager(daemon: Daemon) -> Iterator[Manager]:
    made = Manager(daemon)
    yield made
    made.listener.close()
    made.notified.close()


@pytest.fixture
def damaged(daemon: Daemon) -> Daemon:
    """A daemon that was stopped and whose journal was damaged then."""
    for number in range(4):
        daemon.call("submit", type="t", description=f"item {number}")
    assert daemon.stop() == 0
    path = listing(daemon.state).segments[0][1]
    path.write_bytes(path.read_bytes().replace(b"item 2", b"ITEM 2"))
    return daemon


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "lock"}


def test_in_the_foreground_it_ends_at_once(damaged: Daemon) -> None:
    done = subprocess.run(
        damaged.command(), capture_output=True, text=True, cwd=ROOT, env=damaged.environment(), timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert done.stderr.startswith("swarmshd: journal damaged: ")
    assert done.stderr.count("\n") == 1


def test_twenty_clients_are_told_by_one_start(damaged: Daemon) -> None:
    before = content(damaged.state)
    with manager(damaged) as systemd:
        clients = [damaged.spawn("submit", "t", f"from {number}") for number in range(20)]
        systemd.tend(clients)
        said = []
        for client in clients:
            _, stderr = client.communicate(timeout=PATIENCE)
            assert client.returncode == 78, stderr
            said.append(stderr)
        assert systemd.starts == 1
        assert len(set(said)) == 1
        assert said[0].count("\n") == 1
        assert f"run `swarmctl journal repair --state-dir {damaged.state} --to {damaged.state}.sound`" in said[0]
        told = systemd.told()
        assert told.startswith("READY=1\nSTATUS=needs a person: journal damaged: ")
        assert damaged.stop() == 0
    assert content(damaged.state) == before, "nothing was touched"


def test_it_tells_what_it_is_and_looks_at_the_journal(damaged: Daemon) -> None:
    with manager(damaged) as systemd:
        systemd.start()
        done = damaged.ctl("--json", "status")
        assert done.returncode == 78
        status = json.loads(done.stdout)
        repair = f"swarmctl journal repair --state-dir {damaged.state} --to {damaged.state}.sound"
        assert (status["state"], status["next"]) == ("needs a person", repair)
        assert "journal damaged" in status["why"]
        done = damaged.ctl("status")
        assert (done.returncode, done.stderr) == (78, "")
        assert f"next\t{repair}\n" in done.stdout
        done = damaged.ctl("health")
        assert (done.returncode, done.stdout.split("\t")[0]) == (78, "needs_person")
        assert damaged.ctl("config", "get", "LEASE").stdout == "5m\n"
        assert damaged.ctl("config", "get", "LEESE").returncode == 4
        done = damaged.ctl("journal", "list")
        assert (done.returncode, done.stdout.split("\t")[0]) == (0, "segment")
        done = damaged.ctl("journal", "check", "--no-measure")
        assert (done.returncode, done.stdout.split("\t")[0]) == (78, "damaged")
        for words in (["journal", "dump"], ["backup", "-"], ["claim"], ["list"], ["config", "set", "LEASE=1m"]):
            done = damaged.ctl(*words)
            assert (done.returncode, done.stdout) == (78, ""), words
        with Client(socket=damaged.socket) as client, pytest.raises(Refused) as refused:
            client.submit("t")
        assert (refused.value.code, refused.value.facts["next"]) == ("journal_corrupt", repair)
        assert not refused.value.retryable
        with damaged.wire() as wire:
            assert wire.call("hello", version=1)["program"].startswith("swarmshd ")
        assert damaged.stop() == 0


def test_repaired_beside_it_and_started_again_it_serves(damaged: Daemon) -> None:
    with manager(damaged) as systemd:
        systemd.start()
        assert damaged.ctl("health").returncode == 78
        sound = f"{damaged.state}.sound"
        assert damaged.ctl("journal", "repair", "--state-dir", str(damaged.state), "--to", sound).returncode == 0
        damaged.state.rename(f"{damaged.state}.damaged")
        Path(sound).rename(damaged.state)
        assert damaged.stop() == 0
        systemd.start()
        assert damaged.call("count") == {"count": 3}
        assert damaged.stop() == 0


@pytest.mark.parametrize(
    ("option", "says"), [("NOSUCH=1", "NOSUCH"), ("ACCESS_READ=nobody-of-that-name", "there is no user")]
)
def test_a_configuration_that_cannot_be_used(make_daemon: Any, option: str, says: str) -> None:
    daemon = make_daemon(option)
    with manager(daemon) as systemd:
        systemd.start()
        done = daemon.ctl("submit", "t", "x")
        assert done.returncode == 78
        assert says in done.stderr
        done = daemon.ctl("--json", "config", "show")
        assert (done.returncode, json.loads(done.stdout)["code"]) == (78, "config")
        assert daemon.stop() == 0


def test_garbage_and_silence_cost_only_their_connection(damaged: Daemon) -> None:
    with manager(damaged) as systemd:
        systemd.start()
        assert damaged.ctl("health").returncode == 78
        peers = [socket.socket(socket.AF_UNIX) for _ in range(300)]
        for number, peer in enumerate(peers):
            peer.connect(damaged.socket)
            with_garbage = number % 3 == 0
            if with_garbage:
                peer.sendall(b"\xff" * 100)
        for peer in peers:
            peer.close()
        assert damaged.ctl("health").returncode == 78
        os.kill(damaged.pid, signal.SIGHUP)
        assert damaged.ctl("health").returncode == 78
        assert damaged.stop() == 0
