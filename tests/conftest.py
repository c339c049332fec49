"""What tests share: a real daemon in a directory of its own, and a short way to talk to it.

A daemon is a process of the interpreter that runs the tests, with its state and its socket in a temporary
directory. It is stopped, or killed, by its own pid. Nothing is faked.
"""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from swarmctl.connection import Connection
from tests.wire import Wire

HERE = Path(__file__).parent
ROOT = HERE.parent

UNTIMED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
"""How fast the machine is, is no finding."""
settings.register_profile("work", **UNTIMED)
settings.register_profile("gate", derandomize=True, phases=(Phase.explicit, Phase.generate), **UNTIMED)
"""CI looks at the same cases each time; whoever works on the code looks at new ones.

CI does not look for a smaller case that fails too: that may take longer than a test has.
"""
settings.register_profile("check", derandomize=True, max_examples=20, **UNTIMED)
"""`make check` looks at a few, the same each time: it asks for this by name."""
settings.load_profile("gate" if "CI" in os.environ else "work")

QUICK = "not real and not slow"
"""What `make check` asks for."""
ALL_LONG = re.compile(r"^pytestmark = .*\bpytest\.mark\.(real|slow)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make check` does not even read a module that has nothing for it: that would take it several seconds."""
    if config.option.markexpr != QUICK or collection_path.suffix != ".py":
        return None
    return ALL_LONG.search(collection_path.read_text()) is not None or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each worker begins to read the modules at another one, and later finds those that the others have read.

    From the same place on, all of them would rewrite the assertions of the same module at the same time.
    """
    config = session.config
    workers = getattr(config, "workerinput", None)
    if workers is None or config.args_source != config.ArgsSource.TESTPATHS:
        return
    paths = [path for path in sorted(HERE.rglob("test_*.py")) if not pytest_ignore_collect(path, config)]
    first = len(paths) * int(workers["workerid"].removeprefix("gw")) // workers["workercount"]
    for path in paths[first:] + paths[:first]:
        with suppress(Exception, pytest.skip.Exception):  # whoever collects it tells
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever starts a daemon is `real`; `make check`, which is for every commit, leaves it to `make test`.

    The slow ones begin, so that none of them runs alone at the end.
    """
    for item in items:
        if {"daemon", "make_daemon"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("real")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


PATIENCE = 100.0
"""Seconds after which something that should have happened long ago is taken not to happen."""


def until(true: Callable[[], object], what: str = "it") -> None:
    """Wait until it is so; ``what`` is what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs, or may again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def number_in(path: Path) -> int:
    """The number that a program writes to a file, once it is there."""
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"a number in {path}")
    return int(path.read_text())


class Daemon:
    """One state directory and the daemon that serves it; start, stop and kill it as often as you like."""

    def __init__(self, directory: Path, *settings: str) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.socket = str(directory / "s")
        self.settings = settings
        self.log = directory / "log"
        self.patience = PATIENCE
        self.process: subprocess.Popen[str] | None = None

    def command(self, *options: str) -> list[str]:
        """The command line that starts it."""
        base = [sys.executable, "-m", "swarmshd.main", "--state-dir", str(self.state), "--socket", self.socket]
        for setting in self.settings:
            base += ["--set", setting]
        return base + list(options)

    def pidfds(self) -> int:
        """How many descriptors of processes it has; what else it has open comes and goes."""
        links = []
        for number in os.listdir(f"/proc/{self.pid}/fd"):
            with suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{self.pid}/fd/{number}"))
        return sum("pidfd" in link for link in links)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment in which its clients find it, without whatever the tests themselves were started with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SWARMSH", "AGENT_"))}
        path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
        return {**kept, "PYTHONPATH": path, "SWARMSH_SOCKET": self.socket, **more}

    def start(self, *options: str) -> "Daemon":
        """Start it and return when it is ready."""
        log = self.log.open("a")
        self.process = subprocess.Popen(
            self.command(*options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=self.environment(),
        )
        log.close()
        assert self.process.stdout is not None
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(self.process.stdout, select.POLLIN)
        line = self.process.stdout.readline() if poll.poll(self.patience * 1000) else ""
        assert line == f"swarmshd: ready on {self.socket}\n", f"it said {line!r}; its log: {self.log.read_text()}"
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process is not None
        status = self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return status

    def stop(self) -> int:
        """End it by SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it by SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def restart(self) -> "Daemon":
        """Kill it and start it again."""
        self.kill()
        return self.start()

    def wire(self) -> Wire:
        """A raw connection."""
        return Wire(self.socket)

    def call(self, verb: str, **arguments: Any) -> Any:
        """One request over a connection of its own; raises the client's Refused."""
        connection = Connection(self.socket)
        try:
            return connection.call(verb, arguments)
        finally:
            connection.close()

    def ctl(
        self, *arguments: str, input: str | bytes | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run swarmctl against it."""
        return subprocess.run(
            [sys.executable, "-m", "swarmctl", *arguments],
            input=input if isinstance(input, str) or input is None else input.decode("utf-8", "surrogateescape"),
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=PATIENCE,
            check=False,
            env=self.environment(**environ),
        )

    def spawn(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        """Start swarmctl against it and go on."""
        return subprocess.Popen(
            [sys.executable, "-m", "swarmctl", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**environ),
        )


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short-named temporary directory: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="swarmsh-") as name:
        yield Path(name)


@contextmanager
def daemons(directory: Path) -> Iterator[Any]:
    """Makes daemons (not started) with settings ``NAME=VALUE``; they are killed at the end.

    Whatever a test does to a daemon, it neither ends by itself nor logs a traceback.
    """
    made: list[Daemon] = []

    def make(*settings: str) -> Daemon:
        place = directory / str(len(made))
        place.mkdir()
        made.append(Daemon(place, *settings))
        return made[-1]

    yield make
    for daemon in made:
        ended = None if daemon.process is None else daemon.process.poll()
        if ended is not None:
            daemon.wait()
        elif daemon.process is not None:
            daemon.kill()
        log = daemon.log.read_text() if daemon.log.exists() else ""
        assert ended is None, f"it ended by itself with {ended}; its log: {log}"
        assert "Traceback" not in log, log


@pytest.fixture
def make_daemon(directory: Path) -> Iterator[Any]:
    """Makes the daemons of one test; see :func:`daemons`."""
    with daemons(directory) as make:
        yield make


@pytest.fixture
def daemon(make_daemon: Any) -> Daemon:
    """A running daemon."""
    started: Daemon = make_daemon().start()
    return started
