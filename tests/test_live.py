"""dashboard and top on a real terminal and off one: what is shown, and that the terminal is given back as it was."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swarmctl.views import terminal
from tests.conftest import PATIENCE, Daemon

pytestmark = pytest.mark.real

QUICK = ("--every", "100ms")


class Watched:
    """A program on a pseudo terminal of its own, and everything that it wrote there."""

    def __init__(
        self, daemon: Daemon, words: list[str], columns: int = 80, lines: int = 24, term: str = "xterm"
    ) -> None:
        self.fd, slave = pty.openpty()
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(slave)

        self.process = subprocess.Popen(
            ["setsid", "--ctty", *words],  # which it becomes: the pid is the same
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=daemon.environment(TERM=term),
        )
        self._slave = slave
        self.written = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def read(self) -> None:
        """Take what has been written, if something is within a while."""
        if select.select([self.fd], [], [], 0.05)[0]:
            self.written += os.read(self.fd, 1 << 16).decode("utf-8", "replace")

    def until(self, seen: Callable[[str], object]) -> str:
        """Read until what was written satisfies; the last frame."""
        end = time.monotonic() + PATIENCE
        while not seen(self.written):
            assert time.monotonic() < end, self.written[-3000:]
            self.read()
        return self.frame

    def until_frame(self, seen: Callable[[str], object]) -> str:
        """Read until a frame satisfies that was drawn from now on."""
        at = len(self.written)
        return self.until(lambda written: seen(_last_whole_frame(written[at:])))

    @property
    def frame(self) -> str:
        return _last_whole_frame(self.written)

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def ended(self) -> int:
        """Its status; everything it wrote has been read, and the terminal's modes are what they were."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None or select.select([self.fd], [], [], 0)[0]:
            assert time.monotonic() < end, self.written[-3000:]
            self.read()
        assert termios.tcgetattr(self._slave) == self.modes
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self._slave)


def _last_whole_frame(written: str) -> str:
    """The text of the last frame that the next has begun after, or that ends with the line about keys."""
    frames = written.split(terminal.HOME)[1:]
    whole = [frame for frame in frames if "quit" in frame or "no answer" in frame]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", whole[-1]) if whole else ""


@pytest.fixture
def watch(daemon: Daemon) -> Iterator[Any]:
    made: list[Watched] = []

    def start(*words: str, **options: Any) -> Watched:
        made.append(Watched(daemon, [sys.executable, "-m", "swarmctl", *words], **options))
        return made[-1]

    yield start
    for each in made:
        each.close()


def given_back(written: str) -> bool:
    """Whether the alternate screen was entered and left, the cursor and the wrapping of lines are there again."""
    return written.count(terminal.ENTER) == 1 and written.endswith(terminal.LEAVE)


# -- on a terminal -------------------------------------------------------------------------------------


def test_it_stays_follows_what_happens_and_q_leaves_the_terminal_as_it_was(watch, daemon):
    daemon.call("submit", type="build", description="the first", key="k")
    top = watch("top", *QUICK)
    frame = top.until(lambda written: "the first" in written)
    assert "1 ready" in frame
    daemon.call("claim", agent="agent-7", key="c")
    frame = top.until_frame(lambda frame: "agent-7" in frame)
    assert "1 claimed" in frame
    top.type("q")
    assert top.ended() == 0
    assert given_back(top.written)


def test_dashboard_live_is_top(watch):
    top = watch("dashboard", "--live")
    top.until(lambda written: "no agents" in written and "q: quit" in written)
    top.type("Q")
    assert top.ended() == 0
    assert given_back(top.written)


def test_the_blank_looks_at_once(watch, daemon):
    top = watch("top", "--every", "1h")
    top.until(lambda written: "q: quit" in written)
    daemon.call("submit", type="build", description="d", queue="new-queue", key="k")
    top.type(" ")
    top.until(lambda written: "new-queue" in written)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_a_signal_leaves_the_terminal_as_it_was(watch, number, status):
    top = watch("top", *QUICK)
    top.until(lambda written: "q: quit" in written)
    if number == signal.SIGINT:
        top.type("\x03")
    else:
        top.process.send_signal(number)
    assert top.ended() == status
    assert given_back(top.written)
    assert "Traceback" not in top.written


def test_another_size_is_drawn_at_once(watch, daemon):
    daemon.call("submit", type="build", description="x" * 300, key="k")
    top = watch("top", "--every", "1h")
    wide = top.until(lambda written: "q: quit" in written)
    assert max(map(len, wide.split("\n"))) <= 80
    top.resize(40, 10)
    narrow = top.until_frame(lambda frame: frame.count("\n") == 9)
    assert max(map(len, narrow.split("\n"))) <= 40
    top.resize(120, 30)
    top.until_frame(lambda frame: frame.count("\n") == 29)
    top.type("q")
    assert top.ended() == 0


def test_while_the_daemon_is_away_it_says_so_and_goes_on_when_it_is_back(watch, daemon):
    top = watch("top", *QUICK)
    top.until(lambda written: "q: quit" in written)
    daemon.stop()
    top.until_frame(lambda frame: "no answer for" in frame)
    daemon.start()
    daemon.call("submit", type="build", description="d", queue="after", key="k")
    top.until_frame(lambda frame: "after" in frame and "q: quit" in frame)
    top.type("q")
    assert top.ended() == 0


def test_a_daemon_that_says_nothing_is_away_too(watch, daemon):
    top = watch("top", *QUICK)
    top.until(lambda written: "q: quit" in written)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        top.until_frame(lambda frame: "no answer for" in frame)
        top.type("q")
        assert top.ended() == 0
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert given_back(top.written)


def test_a_stop_gives_the_terminal_to_the_shell_and_takes_it_again(daemon):
    script = f"{sys.executable} -m swarmctl top --every 100ms; echo stopped $?; fg; echo ended $?"
    shell = Watched(daemon, ["bash", "--norc", "-mc", script])
    try:
        shell.until(lambda written: "q: quit" in written)
        shell.type("\x1a")
        shell.until(lambda written: "stopped 148" in written)
        assert shell.written.index("stopped 148") > shell.written.rindex(terminal.LEAVE)
        shell.until(lambda written: "q: quit" in written.rpartition("stopped 148")[2])
        shell.type("q")
        shell.until(lambda written: "ended 0" in written)
        assert shell.written.count(terminal.ENTER) == shell.written.count(terminal.LEAVE) == 2
        assert shell.ended() == 0
    finally:
        shell.close()


def test_without_a_daemon_it_says_so_as_every_verb_does(watch, daemon):
    daemon.stop()
    top = watch("top", "--timeout", "0.2")
    assert top.ended() == 69
    assert terminal.ENTER not in top.written
    assert "not reachable" in top.written


def test_a_terminal_that_can_do_nothing_gets_one_screen_after_another(watch):
    top = watch("top", *QUICK, term="dumb")
    top.until(lambda written: written.count("no agents") == 3)
    top.type("\x03")
    assert top.ended() == 130
    assert "\x1b" not in top.written


def test_a_screen_that_is_printed_once_fits(watch, daemon):
    for number in range(40):
        daemon.call("submit", type="t", description="d", queue=f"q{number}", key=f"k{number}")
    once = watch("dashboard", columns=60, lines=30)
    assert once.ended() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", once.written).split("\r\n")
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 60
    assert any(re.fullmatch(r"and \d+ more", line) for line in lines)
    rows = watch("dashboard", "--rows", "40", lines=30)
    assert rows.ended() == 0
    assert rows.written.count("q39") == 1


# -- off a terminal ------------------------------------------------------------------------------------


def test_off_a_terminal_once_is_one_snapshot_without_colour(daemon):
    done = daemon.ctl("dashboard", COLUMNS="50")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 50
    assert "no queues\n" in done.stdout


def test_a_log_gets_one_snapshot_after_another_and_hears_of_those_that_did_not_come(daemon):
    log = subprocess.Popen(
        [sys.executable, "-m", "swarmctl", "--timeout", "0.5", "top", *QUICK],
        env=daemon.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert log.stdout is not None
    assert log.stderr is not None
    seen = 0
    while seen < 3:
        seen += log.stdout.readline().startswith("swarmshd ")
    daemon.stop()
    while "not reachable" not in (line := log.stderr.readline()):
        assert line
    daemon.start()
    while not log.stdout.readline().startswith("swarmshd "):
        assert log.poll() is None
    log.send_signal(signal.SIGINT)
    assert log.wait(PATIENCE) == 130
    log.stdout.close()
    log.stderr.close()


def test_json_is_an_object_with_times_and_durations_as_everywhere(daemon):
    daemon.call("register", agent="a", heartbeat=1500, key="r")
    daemon.call("claim_new", agent="a", type="t", description="\x1b[2J", key="k")
    done = daemon.ctl("dashboard", "--json", "--rows", "5")
    (found,) = map(json.loads, done.stdout.splitlines())
    assert (found["schema"], found["ok"]) == (1, True)
    assert found["status"]["now"].endswith("Z")
    (agent,) = found["agents"]
    assert agent["heartbeat"] == 1.5
    assert agent["oldest"]["claimed_at"].endswith("Z")
    assert agent["oldest"]["description"] == "\x1b[2J"
    assert "\x1b" not in done.stdout


def test_a_stream_of_json_ends_when_its_reader_does(daemon):
    command = f"{sys.executable} -m swarmctl top --json --every 100ms | head -2"
    done = subprocess.run(
        ["bash", "-c", command + '; echo "${PIPESTATUS[0]}"'],
        env=daemon.environment(), capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    *objects, status = done.stdout.splitlines()
    assert len([json.loads(line) for line in objects]) == 2
    assert status in {"0", "1"}
    assert done.stderr == ""
