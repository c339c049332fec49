"""Law 2 on a real disk: the power fails at any moment, and whatever was acknowledged is there afterwards.

A file system of our own (`filesystem`) is shut down under load, mounted again, and recovered from, hundreds of times.
Most rounds have the engine in this process, with folds, turns, the archive and room ahead in threads beside it; some
have whole daemons and clients. The same rounds without syncs lose what was acknowledged: the test can see it.
"""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmshd import compact
from swarmshd.engine import Engine
from swarmshd.journal import JournalError, Terms, recover, room, writer
from swarmshd.journal.disk import Disk
from swarmshd.workqueue.rows import digest_of
from tests.busy import BusyDaemon
from tests.conftest import PATIENCE, Daemon
from tests.filesystem import Ext4, ext4
from tests.ledger import Known, Ledger, Lost
from tests.test_engine import ask, begin
from tests.test_law_acknowledged_is_durable import check, everything, load, sayings

pytestmark = pytest.mark.real

ROUNDS = 52
CONTROLS = 8
DAEMON_ROUNDS = 24
CHANGES = 24
"""Before the power fails, at most; and then it waits a little, to fail in the middle of something."""

TERMS = Terms(0, 3_600_000, 300_000)
"""Of the archive: everything is compressed at once, and there is not much of it."""


@pytest.fixture
def disk(directory: Path) -> Iterator[Ext4]:
    with ext4(directory, 32) as made:
        yield made


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (writer, room):
        for name, size in (("FIRST_ROOM", 32 << 10), ("STEP", 16 << 10), ("LOW", 8 << 10)):
            monkeypatch.setattr(module, name, size, raising=False)


class Load:
    """Clients of one engine, one change at a time, until the disk fails; and beside it what the keeper does."""

    def __init__(self, engine: Engine, directory: Path, told: Ledger, seed: int) -> None:
        self._engine = engine
        self._directory = directory
        self._told = told
        self._seed = seed
        self._chance = random.Random(seed)
        self._cut = False
        self._beside = threading.Thread()
        self._unexpected: list[Exception] = []
        self._main = threading.Thread(target=self._guarded, args=[self._run])
        self._main.start()

    def wait(self, changes: int) -> None:
        """Until so many more changes were acknowledged."""
        changes += self._told.changes
        while self._told.changes < changes and self._main.is_alive():
            time.sleep(0.0005)

    def end(self, disk: Ext4) -> None:
        """The power fails; return when nobody works any more."""
        self._cut = True
        disk.cut()
        self._main.join()
        if self._beside.ident is not None:
            self._beside.join()
        if self._unexpected:
            raise self._unexpected[0]

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except (JournalError, OSError) as failed:
            if not self._cut:
                self._unexpected.append(failed)

    def _run(self) -> None:
        serial = 0
        try:
            while True:
                serial += 1
                if serial % 16 == 7 and not self._beside.is_alive():
                    self._engine.journal.turn()
                    self._begin_beside(self._fold)
                elif self._engine.journal.needs_room and not self._beside.is_alive():
                    self._begin_beside(self._engine.journal.prepare)
                elif serial % 16 == 3:
                    self._engine.journal.idle()
                self._change(f"{self._seed}.{serial}")
        finally:
            if self._beside.ident is not None:
                self._beside.join()
            self._engine.journal.close()

    def _begin_beside(self, work: Any) -> None:
        self._beside = threading.Thread(target=self._guarded, args=[work])
        self._beside.start()

    def _fold(self) -> None:
        journal = self._engine.journal
        done = compact.fold(self._directory, journal.durable)
        if done["position"]:
            journal.prune(int(str(done["position"])), keep=True)
            journal.tend_archive(TERMS, time.time_ns() // 1_000_000)

    def _change(self, name: str) -> None:
        told = self._told
        held, free = told.of("claimed"), told.of("ready")
        draw = self._chance.random()
        if draw < 0.4 or not (held or free):
            self._submit([f"{name}.{n}" for n in range(self._chance.randint(1, 4))])
        elif free and (draw < 0.7 or not held):
            self._claim(self._chance.choice(free))
        else:
            self._end(self._chance.choice(held))
        told.settle()

    def _submit(self, names: list[str]) -> None:
        self._told.awaited = names
        lines = [["submit", {"type": "t", "description": each, "payload": b"x" * 300}] for each in names]
        replies = ask(self._engine, "batch", commands=lines, atomic=True)["replies"]
        for each, (_, result) in zip(names, replies, strict=True):
            self._told.items[result["id"]] = Known(each, "ready")

    def _claim(self, number: int) -> None:
        claimed = self._told.items[number]._replace(state="claimed", token=None)
        self._told.under_way = {number: claimed}
        (item,) = ask(self._engine, "claim", id=number, agent="a")["items"]
        self._told.items[number] = claimed._replace(token=item["token"])

    def _end(self, number: int) -> None:
        verb, state = self._chance.choice([("complete", "done"), ("release", "ready"), ("bury", "buried")])
        before = self._told.items[number]
        after = self._told.under_way[number] = before._replace(state=state, token="")
        assert ask(self._engine, verb, id=number, token=before.token)["state"] == state
        self._told.items[number] = after


def rounds(disk: Ext4, count: int, seed: int) -> Ledger:
    """So many power cuts; raises Lost."""
    chance = random.Random(seed)
    told = Ledger()
    directory = disk.place / "state"
    started = begin(directory)
    for number in range(count):
        load = Load(started.engine, directory, told, seed * 1000 + number)
        load.wait(chance.randrange(CHANGES))
        time.sleep(chance.random() * chance.choice([0.0002, 0.004]))
        load.end(disk)
        disk.restore()
        started = begin(directory)
        told.hold_against(started.engine)
        if number % 8 == 0:
            replayed, _ = compact.load(recover(directory, mend=False))
            assert digest_of(replayed) == digest_of(started.engine.queue.tables)
    started.engine.journal.close()
    return told


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_law_acknowledged_is_durable_when_the_power_fails(disk: Ext4, seed: int) -> None:
    told = rounds(disk, ROUNDS, seed)
    assert told.changes > ROUNDS
    state = disk.place / "state"
    assert [*state.glob("snapshot-*"), *state.glob("archive/segment-*.gz")], "all of it was at work"


def test_without_syncs_the_same_power_cuts_lose_what_was_acknowledged(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: were this to pass, the test above would show nothing."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(Disk, name, staticmethod(lambda fd: None))
    lost = 0
    for seed in range(CONTROLS):
        place = directory / str(seed)
        place.mkdir()
        with ext4(place, 8) as disk:
            try:
                rounds(disk, 3, seed)
            except (Lost, JournalError):
                lost += 1
    assert lost > CONTROLS // 2


@pytest.fixture
def daemon(disk: Ext4, directory: Path) -> Iterator[Daemon]:
    """A daemon with its state on a disk that can lose its power."""
    made = BusyDaemon(directory, "JOURNAL_COMPRESSION_AGE_DAYS=0", "JOURNAL_RESERVE_MB=1", "ARCHIVE_MAX_MB=1")
    made.state = disk.place / "state"
    yield made.start()
    if made.process is not None:
        made.kill()


@pytest.fixture
def loaders(daemon: Daemon) -> Iterator[None]:
    """Clients at work, who write down what they are told; see the tests of SIGKILL."""
    running = [load(daemon, daemon.directory, number) for number in range(2)]
    yield
    for loader in running:
        loader.kill()
        loader.wait()


def test_law_acknowledged_is_durable_for_the_clients_of_a_daemon(daemon: Daemon, disk: Ext4, loaders: None) -> None:
    chance = random.Random(1)
    place = daemon.directory
    told: list[Any] = []
    for number in range(DAEMON_ROUNDS):
        folds = daemon.log.read_text().count(" folded up to ")
        deadline = time.monotonic() + PATIENCE
        while len(sayings(place)) < len(told) + 8 or (
            number % 6 == 5 and daemon.log.read_text().count(" folded up to ") == folds
        ):
            assert time.monotonic() < deadline, "nobody is served, or nothing folded"
            time.sleep(0.002)
        time.sleep(chance.random() * chance.choice([0.002, 0.2]))
        disk.cut()
        status = daemon.wait()
        told = sayings(place)
        log = daemon.log.read_text().splitlines()
        assert (status, log[-1].partition(" be ")[0]) == (74, "swarmshd: the journal could not"), log[-5:]
        assert not [line for line in log if line.startswith("Traceback")]
        disk.restore()
        daemon.start()
        check(told, everything(daemon))
    assert "archive: compressed" in daemon.log.read_text(), "all of it was at work"
