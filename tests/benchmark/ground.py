"""The machine that is measured, the two yardsticks, and daemons to measure."""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, Daemon

ZEROED = 8 << 20
"""Bytes of the file that the loop overwrites, from one end to the other and again."""

PAGE = 4096
TICKS = os.sysconf("SC_CLK_TCK")


class Loop:
    """Write and fdatasync over zeroes, as plain as can be: what a durable change costs at the least."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "loop"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.pwrite(self._fd, bytes(ZEROED), 0)
        os.fsync(self._fd)
        self._at = 0

    def run(self, count: int, size: int = PAGE) -> list[float]:
        """Overwrite ``size`` bytes, ``count`` times one after another; seconds of each."""
        data = os.urandom(size)
        took = []
        fd, write, sync, clock = self._fd, os.pwrite, os.fdatasync, time.perf_counter
        for _ in range(count):
            if self._at + size > ZEROED:
                self._at = 0
            began = clock()
            write(fd, data, self._at)
            sync(fd)
            took.append(clock() - began)
            self._at += size
        return took

    def close(self) -> None:
        os.close(self._fd)
        self._path.unlink()


class Ground:
    """A directory on the file system to be measured. The sockets lie elsewhere: their paths must be short."""

    def __init__(self, directory: Path, sockets: Path) -> None:
        self.directory = directory
        self.loop = Loop(directory)
        self._sockets = sockets
        self._made = 0

    @contextmanager
    def daemon(self, *settings: str) -> Iterator[Daemon]:
        """A running daemon on an empty state directory, which is removed with it."""
        made = self.make(*settings)
        try:
            yield made.start()
        finally:
            self.remove(made)

    def place(self, name: str) -> tuple[str, Path]:
        """A path for a socket, and a new directory on the file system that is measured."""
        self._made += 1
        directory = self.directory / f"{name}-{self._made}"
        directory.mkdir()
        return str(self._sockets / str(self._made)), directory

    def make(self, *settings: str) -> Daemon:
        """A daemon that is not started."""
        path, directory = self.place("daemon")
        made = Daemon(directory, "LOG_LEVEL=warning", *settings)
        made.socket = path
        return made

    def remove(self, daemon: Daemon) -> None:
        """End the daemon, if it runs, and remove its files."""
        if daemon.process is not None:
            daemon.kill()
        shutil.rmtree(daemon.directory)


@contextmanager
def ground(parent: Path) -> Iterator[Ground]:
    """A ground below ``parent``, cleared away at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-", dir=parent) as directory,
        tempfile.TemporaryDirectory(prefix="swarmsh-") as sockets,
    ):
        made = Ground(Path(directory), Path(sockets))
        try:
            yield made
        finally:
            made.loop.close()


# -- processes -----------------------------------------------------------------------------------------


def run(words: list[str], environ: dict[str, str], output: int) -> float:
    """Run a program to its end with its output to a descriptor; seconds from before its start until it is reaped.

    Raises:
        RuntimeError: its exit status was not 0.
    """
    actions: Any = [(os.POSIX_SPAWN_DUP2, output, 1)]
    began = time.perf_counter()
    pid = os.posix_spawn(words[0], words, environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{' '.join(words)}: exit status {os.waitstatus_to_exitcode(status)}")
    return took


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor, in user and system mode, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# -- the machine ---------------------------------------------------------------------------------------


def machine(directory: Path) -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cpu": f"{_cpu()}, {len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        "file system": _file_system(directory),
    }


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    """Type, device and options of what the directory lies on."""
    device = os.stat(directory).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    found = "unknown"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            _, _, mounted, _, point, *_ = before.split()
            if mounted == number or (found == "unknown" and point == "/"):
                kind, source, options = after.split()[:3]
                found = f"{kind} on {source} ({options}), mounted at {point}"
    return found


DEFAULT_PLACE = ROOT / ".demo"
"""Beside the sources: on a disk, where the temporary directory of many machines is memory."""
