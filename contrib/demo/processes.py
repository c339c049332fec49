"""The processes of the demo: the daemon, and agents that are `swarmctl work`.

Each has a process group of its own, so that Ctrl-C reaches the demo alone and that ends them in order; and each is told
by the kernel when the demo dies, so that none stays behind even if it is killed.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 20.0
"""Seconds after which something that should have happened long ago is taken not to happen."""

GRACE = 3
"""Seconds that a running step has when its agent is told to end."""

PATH_MAX = 100
"""Bytes of a socket's path that are safe."""

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failed(Exception):
    """The demo cannot go on; the text is the one line that says why."""


def program(name: str) -> list[str]:
    """How swarmctl or swarmshd is called: as installed beside this interpreter, else from the sources."""
    installed = Path(sys.executable).parent / name
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-m", {"swarmctl": "swarmctl", "swarmshd": "swarmshd.main"}[name]]


def environment(socket: str) -> dict[str, str]:
    """The environment of all of them: nothing of another swarm gets in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SWARMSH", "AGENT_"))}
    if not (Path(sys.executable).parent / "swarmctl").exists():
        kept["PYTHONPATH"] = str(ROOT)
    return {**kept, "SWARMSH_SOCKET": socket}


def end_with_us() -> None:
    """In a new process: have the kernel kill it when the demo is killed.

    SIGTERM would not do: the daemon would obey at once, and the agents would wait for it to come back.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def spawn(words: list[str], environ: dict[str, str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start a process; its standard output comes to us, its standard error goes to the log."""
    return subprocess.Popen(
        words,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        process_group=0,
        preexec_fn=end_with_us,  # noqa: PLW1509 - the demo has one thread
    )


class Daemon:
    """The daemon, with its state and its socket in the demo's directory."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.log = directory / "log" / "swarmshd"
        self._short = ""
        self.socket = str(directory / "socket")
        if len(os.fsencode(self.socket)) > PATH_MAX:
            self._short = tempfile.mkdtemp(prefix="swarmsh-demo-")
            self.socket = f"{self._short}/socket"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_at = 0

    def start(self) -> str:
        """Start it and wait for its ready line, which is returned."""
        self._log_at = self.log.stat().st_size if self.log.exists() else 0
        words = [*program("swarmshd"), "--state-dir", str(self.state), "--socket", self.socket]
        with self.log.open("ab") as log:
            self._process = spawn(words, environment(self.socket), log)
        output = self._process.stdout
        assert output is not None
        readable, _, _ = select.select([output], [], [], PATIENCE)
        line = output.readline().decode(errors="replace").strip() if readable else ""
        if line != f"swarmshd: ready on {self.socket}":
            raise Failed(f"swarmshd did not start: {line or self.last_words()}")
        return f"pid {self._process.pid}, ready on {self.socket}"

    def last_words(self) -> str:
        """The last line of its log, for a message."""
        return (self.said() or [f"it said nothing; see {self.log}"])[-1]

    def said(self) -> list[str]:
        """What it has logged since its start, without dates."""
        with self.log.open("rb") as file:
            file.seek(self._log_at)
            lines = file.read().decode(errors="replace").splitlines()
        return [line.partition(" ")[2] if line[:4].isdigit() else line for line in lines]

    def kill(self) -> int:
        """SIGKILL; returns the pid."""
        assert self._process is not None
        self._process.kill()
        self._reap(PATIENCE)
        return self._process.pid

    def stop(self) -> str:
        """SIGTERM; says how it went."""
        assert self._process is not None
        self._process.terminate()
        status = self._reap(PATIENCE)
        if status:
            raise Failed(f"swarmshd: exit status {status}: {self.last_words()}")
        return "stopped by SIGTERM, exit status 0"

    def _reap(self, seconds: float) -> int:
        assert self._process is not None
        status = self._process.wait(seconds)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def close(self) -> None:
        """End it if it runs, and clear away its socket."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._reap(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
        Path(self.socket).unlink(missing_ok=True)
        if self._short:
            os.rmdir(self._short)


class Agent:
    """One `swarmctl work`."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log = directory / "log" / name
        self.killed = False
        self.ended = False
        """Its output has ended."""
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def start(self, environ: dict[str, str], command: list[str]) -> None:
        """Have it work until it is told to end; it reports each item as a line of JSON."""
        words = [
            *program("swarmctl"),
            "--json",
            "-q",
            "--agent",
            self.name,
            "work",
            "--grace",
            f"{GRACE}s",
            "--",
            *command,
        ]
        with self.log.open("ab") as log:
            self._process = spawn(words, environ, log)
        os.set_blocking(self.output.fileno(), False)

    @property
    def output(self) -> IO[bytes]:
        """Where its lines come from."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def read(self) -> list[dict[str, Any]]:
        """The lines that have come."""
        try:
            while data := os.read(self.output.fileno(), 1 << 16):
                self._rest += data
            self.ended = True
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest.split(b"\n")
        found = [json.loads(line) for line in lines]
        return [line for line in found if "id" in line and "state" in line]

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self.killed = True
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """SIGTERM, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def close(self, seconds: float) -> None:
        """See to it that it is gone, within so long."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self.output.close()

    def last_words(self) -> str:
        """The last line of its log, for a message."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it said nothing; {self.log}"
