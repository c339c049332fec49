"""Every system call that changes the disk fails, is interrupted, or is the last one: real faults, by strace(1).

A daemon starts on files that a crash has left, serves, turns, archives and stops, under strace, which lets the n-th
call of one kind go wrong, for every n. Whatever that was, the daemon goes on as if nothing had been, or ends with
status 74 and one clear line; and the next start finds all that was acknowledged. The same for a fold, which may only
fail as a whole.

All imports are done once, by a program that forks a daemon for each run: so strace sees nothing but its work.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from swarmshd import compact, events
from swarmshd.journal import room, writer
from swarmshd.journal.files import listing
from swarmshd.liveness import boot_id
from tests.conftest import PATIENCE, ROOT
from tests.ledger import Known, Ledger
from tests.test_engine import ask, begin, crash
from tests.wire import Refused, Wire

pytestmark = pytest.mark.real

SIZES = {"FIRST_ROOM": 16 << 10, "STEP": 8 << 10, "LOW": 4 << 10}

STAGE = f"""
import json, os, sys
from swarmshd import compact, keeper, main
from swarmshd.engine import recovery
from swarmshd.journal import room, writer
for module in (room, writer):
    vars(module).update({SIZES})
Journal = recovery.Journal
recovery.Journal = lambda directory, rotation_bytes, **more: Journal(directory, 6 << 10, **more)
keeper.LOOK = keeper.FOLD_PATIENCE = keeper.FULL_PATIENCE = keeper.TEND_EVERY = 0.05
keeper.fold_threshold = lambda sizes: 1
async def folded(command, limit, **more):
    found = max(int(path.name[-20:]) for path in keeper.Path(command[4]).glob("snapshot-" + "?" * 20))
    return 0, json.dumps({{"position": found, "written": False, "seconds": 0}}).encode(), b""
keeper.run_beside = folded
for line in sys.stdin:
    order = json.loads(line)
    held, gate = os.pipe()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    pid = os.fork()
    if not pid:
        os.close(gate)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.read(held, 1)
        os.close(held)
        sys.argv = order["words"]
        os._exit({{"swarmshd": main, "swarmshd.compact": compact}}[sys.argv[0]].main())
    os.close(held)
    os.close(log)
    print(pid, flush=True)
    sys.stdin.readline()
    os.close(gate)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Programs are as they are, but that everything is small and often; a fold is run by itself."""

CHANGING = ("openat", "mkdir", "pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink", "utimensat")
TAKING_ROOM = ("mkdir", "pwrite64", "fdatasync", "fsync", "rename")
AGAIN = ("pwrite64", "fdatasync", "fsync", "ftruncate")
"""What Python calls again when it was interrupted."""

READING = ("openat", "read", "newfstatat", "getdents64", "statfs")
"""How a start looks at what there is; the fault is for calls on the journal's files alone."""

FOLDING = ("openat", "read", "pwrite64", "fsync", "ftruncate", "rename")

ENDS = ("swarmshd: the journal could not be written: ", "swarmshd: state directory ")


class Play(NamedTuple):
    """How a run went: exit status, what was said, the calls of each kind that one thread made, at most; was any hit."""

    status: int
    log: str
    calls: Counter[str]
    hit: bool


class Stage:
    """See `STAGE`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._server = subprocess.Popen(
            [sys.executable, "-c", STAGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def _order(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()

    def _said(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())

    def play(
        self,
        words: list[str],
        fault: str = "",
        act: Callable[[int], None] = lambda pid: None,
        ready: Callable[[int], None] | None = None,
        of: Path | None = None,
    ) -> Play:
        """Run a program under a fault, as strace's ``inject`` has it; meanwhile `act`, which is told its pid.

        The calls count from the start on, or from when `ready` has returned; only those on this directory and on what
        is in it now, if one is named.
        """
        log, trace = self._place / "log", self._place / "trace"
        self._order(json.dumps({"words": words, "log": str(log)}))
        pid = self._said()
        command = [
            "strace",
            "-f",
            "-p",
            str(pid),
            "-o",
            str(trace),
            "-e",
            f"trace={','.join({*CHANGING, *FOLDING, *READING})}",
        ]
        command += ["-e", f"inject={fault}"] if fault else []
        for path in [] if of is None else [of, *of.rglob("*")]:
            command += ["-P", str(path)]
        if ready is not None:
            self._order("go")
            ready(pid)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if ready is None:
                self._order("go")
            try:
                if "attached" not in said:
                    pytest.skip(f"cannot trace a process here: {said.strip()}")
                act(pid)
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                self._said()
                raise
            status = self._said()
        text = trace.read_text()
        calls: Counter[str] = Counter()
        for (_, call), count in Counter(re.findall(r"^(\d+) +(\w+)\(", text, re.MULTILINE)).items():
            calls[call] = max(calls[call], count)
        return Play(status, log.read_text(), calls, "(INJECTED)" in text)

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    with closing(Stage(tmp_path_factory.mktemp("stage"))) as made:
        yield made


class Left(NamedTuple):
    """The files that a crash has left, and what had been told until then."""

    state: Path
    items: dict[int, Known]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Two segments that a snapshot covers and nobody has pruned, one more, and one with a torn tail."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (room, writer):
            for name, size in SIZES.items():
                patch.setattr(module, name, size, raising=False)
        place = tmp_path_factory.mktemp("left") / "state"
        engine = begin(place, boot=boot_id()).engine
        items = {}
        for number in range(12):
            made = ask(engine, "submit", type="t", description=f"old {number}", payload=b"p" * 900)
            items[made["id"]] = Known(f"old {number}", "ready")
            if number % 3 == 2:
                engine.journal.turn()
            if number == 7:
                compact.fold(place, engine.journal.durable)
        state = crash(engine, place)
    with listing(state).segments[-1][1].open("r+b") as file:
        file.seek(len(file.read().rstrip(b"\0")) + 7 & ~7)
        file.write(b"SwB\xa7torn")
    return Left(state, items)


class Scene:
    """One run of a program on a copy of what was left; `told` is what had been told, and will be."""

    def __init__(self, stage: Stage, left: Left) -> None:
        self._stage = stage
        self._left = left

    def daemon(self, fault: str = "", limit: int | None = None, *, served: bool = False) -> Play:
        """A daemon and its client, from start to stop; then a start that is held against what was told.

        Args:
            fault: as strace's ``inject`` has it.
            limit: no file may grow beyond the end of what the journal holds, and so many bytes.
            served: the fault counts from when the daemon serves.
        """
        with tempfile.TemporaryDirectory(prefix="swarmsh-") as place:
            scene = DaemonScene(Path(place), self._left, limit)
            played = self._stage.play(scene.words, fault, scene.act, scene.ready if served else None)
            held_against(scene.state, scene.told)
        return played

    def start(self, fault: str) -> Play:
        """The same, where the fault is one of reading: it counts from the start, and hits the journal's files only."""
        with tempfile.TemporaryDirectory(prefix="swarmsh-") as place:
            scene = DaemonScene(Path(place), self._left, None)
            played = self._stage.play(scene.words, fault, scene.act, of=scene.state)
            held_against(scene.state, scene.told)
        return played

    def fold(self, fault: str = "") -> Play:
        """A fold; then another one, and a start that is held against what was told."""
        with tempfile.TemporaryDirectory(prefix="swarmsh-") as place:
            state = Path(place, "state")
            shutil.copytree(self._left.state, state)
            upto = listing(state).segments[-1][0]
            words = ["swarmshd.compact", "--directory", str(state), "--upto", str(upto), "--format", str(events.FORMAT)]
            played = self._stage.play(words, fault)
            done = compact.fold(state, upto)
            assert done["position"] == upto
            told = Ledger()
            told.items = dict(self._left.items)
            held_against(state, told)
            assert not list(state.glob("*.tmp"))
        return played


def held_against(state: Path, told: Ledger) -> None:
    """Start, and raise Lost if not all is there."""
    engine = begin(state, boot=boot_id()).engine
    told.hold_against(engine)
    engine.journal.close()


class DaemonScene:
    """What happens in the time of one daemon."""

    def __init__(self, place: Path, left: Left, limit: int | None) -> None:
        self._socket = str(place / "s")
        self.state = place / "state"
        self.told = Ledger()
        self.told.items = dict(left.items)
        self._limit = limit
        self._covered = [path.name for _, path in listing(left.state).segments[:2]]
        shutil.copytree(left.state, self.state)

    @property
    def words(self) -> list[str]:
        """The command line."""
        words = ["swarmshd", "--state-dir", str(self.state), "--socket", self._socket]
        for setting in ("PARALLEL_WORKERS=1", "JOURNAL_RESERVE_MB=1", "JOURNAL_COMPRESSION_AGE_DAYS=0"):
            words += ["--set", setting]
        return words

    def act(self, pid: int) -> None:
        """Be the client of the daemon, as long as it lives; at last, stop it."""
        deadline = time.monotonic() + PATIENCE
        try:
            with self._connected(pid) as wire:
                self._work(wire)
                if self._limit is not None:
                    self._cross_the_limit(wire, pid)
                while alive(pid) and any(path.name in self._covered for path in self.state.rglob("segment-*")):
                    assert time.monotonic() < deadline, "what is covered was neither compressed nor removed"
                    time.sleep(0.005)
                os.kill(pid, signal.SIGTERM)
        except (EOFError, OSError):  # it ends, and says why
            while alive(pid):
                assert time.monotonic() < deadline, "it serves nobody, and does not end"
                time.sleep(0.002)

    def ready(self, pid: int) -> None:
        """Return when it serves."""
        self._connected(pid).close()

    def _connected(self, pid: int) -> Wire:
        while True:
            try:
                return Wire(self._socket)
            except OSError:
                if not alive(pid):
                    raise
                time.sleep(0.002)

    def _work(self, wire: Wire) -> None:
        for number in range(3):
            with suppress(Refused):  # the disk is full: nothing has happened
                self._submit(wire, [f"new {number}", f"second {number}"])
            with suppress(Refused):
                self._claim(wire)
            if number:
                self._complete(wire)  # this is never refused

    def _claim(self, wire: Wire) -> None:
        told = self.told
        item = told.of("ready")[0]
        claimed = told.items[item]._replace(state="claimed", token=None)
        told.under_way = {item: claimed}
        token = wire.call("claim", id=item, agent="a")["items"][0]["token"]
        told.items[item] = claimed._replace(token=token)
        told.settle()

    def _complete(self, wire: Wire) -> None:
        told = self.told
        told.settle()
        for item in told.of("claimed"):
            told.under_way = {item: told.items[item]._replace(state="done", token="")}
            wire.call("complete", id=item, token=told.items[item].token)
            told.items |= told.under_way
            told.settle()

    def _submit(self, wire: Wire, names: list[str]) -> None:
        told = self.told
        told.awaited = names
        lines = [["submit", {"type": "t", "description": name, "payload": b"p" * 1500}] for name in names]
        for name, (_, made) in zip(names, wire.call("batch", commands=lines, atomic=True)["replies"], strict=True):
            told.items[made["id"]] = Known(name, "ready")
        told.settle()

    def _cross_the_limit(self, wire: Wire, pid: int) -> None:
        assert self._limit is not None
        end = len(listing(self.state).segments[-1][1].read_bytes().rstrip(b"\0")) + self._limit
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (end, end))
        while True:
            self._submit(wire, [f"more {self.told.changes}"])


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def scene(stage: Stage, left: Left) -> Scene:
    return Scene(stage, left)


@pytest.fixture(scope="module")
def calls(scene: Scene) -> Counter[str]:
    """How many calls of each kind a thread of the daemon makes where nothing fails."""
    played = scene.daemon()
    assert (played.status, "Traceback" in played.log) == (0, False), played.log
    assert all(played.calls[call] for call in CHANGING), "each is made"
    return played.calls


@pytest.fixture(scope="module")
def fold_calls(scene: Scene) -> Counter[str]:
    """The same of a fold."""
    played = scene.fold()
    assert played.status == 0, played.log
    assert all(played.calls[call] for call in FOLDING), "each is made"
    return played.calls


def judge(played: Play) -> None:
    """It went on as if nothing had been, or ended with 74 and one clear line."""
    assert "Traceback" not in played.log, played.log
    if played.status:
        line = played.log.splitlines()[-1]
        of_the_socket = (played.status, line.startswith("swarmshd: socket ")) == (78, True)
        assert of_the_socket or (played.status, line.startswith(ENDS)) == (74, True), played.log


@pytest.mark.parametrize(
    ("call", "error"), [*((call, "EIO") for call in CHANGING), *((call, "ENOSPC") for call in TAKING_ROOM)]
)
def test_any_call_of_a_daemon_may_fail(scene: Scene, calls: Counter[str], call: str, error: str) -> None:
    for number in range(1, calls[call] + 1):
        judge(scene.daemon(f"{call}:error={error}:when={number}"))


@pytest.mark.parametrize(
    ("call", "fault"), [*((call, "error=EIO") for call in READING), ("read", "retval=0"), ("read", "error=EINTR")]
)
def test_a_journal_that_cannot_be_read(scene: Scene, call: str, fault: str) -> None:
    """Whatever fails at a start, or ends too early: nothing is taken for a torn tail, and what to do is said."""
    number, hit, ended = 0, True, 0
    while hit:
        number += 1
        played = scene.start(f"{call}:{fault}:when={number}")
        hit = played.hit
        if played.status:
            ended += 1
            line = played.log.splitlines()[-1]
            assert played.status in (74, 78), line
            assert line.startswith((*ENDS, "swarmshd: journal damaged: /")), played.log
            assert ("(EIO)" in line) == (played.status == 74), line
            assert re.search("; mend the disk|; or run `|; run `swarmctl journal repair |; make it writable", line), (
                line
            )
        assert "Traceback" not in played.log
    assert number > 2, "some were hit"
    assert ended or fault == "error=EINTR", "some ended the start"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (call, error)
        for calls, error in ((CHANGING, "EIO"), (TAKING_ROOM, "ENOSPC"))
        for call in calls
        if call != "mkdir"
    ],
)
def test_any_call_of_a_daemon_that_serves_may_fail(scene: Scene, call: str, error: str) -> None:
    """Above, a thread's first calls are not reached: those of the main thread, at the start, have ended the daemon."""
    number, hit = 0, True
    while hit:
        number += 1
        played = scene.daemon(f"{call}:error={error}:when={number}", served=True)
        judge(played)
        hit = played.hit


@pytest.mark.parametrize("call", AGAIN)
def test_a_call_that_is_interrupted_is_made_again(scene: Scene, call: str) -> None:
    """Every other one is, and nobody may notice."""
    for first in (1, 2):
        assert scene.daemon(f"{call}:error=EINTR:when={first}+2").status == 0


@pytest.mark.parametrize("call", [call for call in CHANGING if call != "openat"])
def test_law_acknowledged_is_durable_killed_before_any_call(scene: Scene, calls: Counter[str], call: str) -> None:
    """Between two calls that change the disk, all moments are alike."""
    for number in range(1, calls[call] + 1):
        played = scene.daemon(f"{call}:signal=KILL:when={number}")
        assert played.status in (-signal.SIGKILL, 0), "a later life of a thread may make fewer calls"
        assert "Traceback" not in played.log


def test_a_write_that_is_cut_short_ends_the_daemon(scene: Scene) -> None:
    """At any byte, nearly: the limit of a file's size lies inside the frame."""
    for limit in range(1, 1600, 123):
        played = scene.daemon(limit=limit)
        judge(played)
        assert played.status == 74
        assert "write of" in played.log


@pytest.mark.parametrize("call", FOLDING)
def test_any_call_of_a_fold_may_fail(scene: Scene, fold_calls: Counter[str], call: str) -> None:
    """It says so, and the next one works."""
    for number in range(1 + (call == "read"), fold_calls[call] + 1):  # the first one reads that it may begin
        for error in ("EIO", "ENOSPC"):
            played = scene.fold(f"{call}:error={error}:when={number}")
            assert (played.status, played.log.startswith("swarmshd.compact: ")) in ((0, False), (74, True)), played.log
            assert played.log.count("\n") == 1, played.log


@pytest.mark.parametrize("call", [call for call in FOLDING if call not in ("openat", "read")])
def test_a_fold_may_be_killed_before_any_call(scene: Scene, fold_calls: Counter[str], call: str) -> None:
    for number in range(1, fold_calls[call] + 1):
        assert scene.fold(f"{call}:signal=KILL:when={number}").status == -signal.SIGKILL
