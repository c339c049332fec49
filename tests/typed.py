"""Pages that show what is typed and what comes of it, typed again: by a real shell on a terminal, with a real daemon.

In a block fenced as ``console`` a line that begins with ``$ `` is typed, one that begins with ``> `` goes on with it,
and all others are what comes out, on either stream; ``…`` alone on a line stands for any lines. A block whose fence
names a file (``python agent.py``) is written to that file. All blocks of a page are of one session, in an empty
directory that is its home.

What is different each time is compared by its form alone: ``FORMS`` has the patterns, all of them. A command that fails
without the page saying so ends the session.

``python -m tests.typed PAGE`` prints the page as it would be true now.
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
COLUMNS, LINES = 80, 40

_BLOCK = re.compile(r"^```(\w+)(?: ([\w./-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

FORMS = [
    (r"[ \t]+", " "),
    (r"\b\d+\.[0-9a-f]{16}\b", "TOKEN"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d{4})?", "TIME"),
    (r"\b\d{4}-\d\d-\d\d\b", "DATE"),
    (r"\b\d\d:\d\d:\d\d\b", "CLOCK"),
    (r"\b(\d+(\.\d+)?(ms|us|µs|s|m|h|d))+\b", "SPAN"),
    (r"\b\d+(\.\d+)? ?(B|KiB|MiB|GiB|TiB)\b", "SIZE"),
    (r"\b1\d{12}\b", "MILLISECONDS"),
    (r"(_per_second|_us) [\d,]+", "MEASURED"),
    (r"\b(segment-\d{20}|\w+\.backup)( \d+)+", "FILE"),
    (r"\bat offset \d+", "OFFSET"),
    (r"\b(pid|process)[ =]\d+", "PID"),
    (r"\b(watching|uid|fence)[ =]\d+", "NUMBER"),
    (r"\b[a-z]\w*\.([\w-]+\.)?\d+\b", "AGENT"),
    (r"/\S*/(?=swarmsh\b|state\b)", "PLACE/"),
    (r"\b[0-9a-f]{16,64}\b", "DIGEST"),
    (r"\(\d+%\)", "(PERCENT)"),
    (r"\bloop\d+\b", "LOOP"),
    (r"\S*…", "…"),
]
"""What is different each time, and what stands for it when page and session are compared."""


NOTICE = re.compile(r"\S+: line \d+: +\d+ (Killed|Terminated) ")
"""What the shell says of a program that it started and that was killed; when it does so is its own business."""


REFUSALS = ("swarmctl: ", "swarmshd: ", "swarmsh-tune: ", "coordination_helper.sh: ", "status ")
"""How the line begins that says why a command failed, or that it did."""


PROGRAMS = {"swarmctl": "swarmctl", "swarmshd": "swarmshd.main", "swarmsh-tune": "swarmshd.tuning"}
"""What is installed, and the module that it is."""


class Block(NamedTuple):
    """A fenced block: its kind, the file that it is, its text, and where the text stands in the page."""

    kind: str
    file: str
    text: str
    start: int
    end: int


class Command(NamedTuple):
    """What is typed, and the lines that come out."""

    text: str
    expected: list[str]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page that are typed or written."""
    return [Block(each[1], each[2] or "", each[3], *each.span(3)) for each in _BLOCK.finditer(page)]


def commands(text: str) -> Iterator[Command]:
    """The commands of a ``console`` block."""
    found: Command | None = None
    for line in text.splitlines():
        if line.startswith("$ "):
            if found is not None:
                yield found
            found = Command(line[2:], [])
        elif found is None:
            raise ValueError(f"a console block begins with {line!r}, not with a command")
        elif line.startswith("> ") and not found.expected:
            found = Command(f"{found.text}\n{line[2:]}", [])
        else:
            found.expected.append(line)
    if found is not None:
        yield found


def formed(line: str) -> str:
    """A line with what is different each time replaced."""
    for pattern, stands in FORMS:
        line = re.sub(pattern, stands, line)
    return line.strip()


def alike(expected: list[str], actual: list[str]) -> bool:
    """Whether the page says what came out."""
    if not expected:
        return not actual
    first, rest = expected[0], expected[1:]
    if first.strip() == "…":
        return any(alike(rest, actual[skipped:]) for skipped in range(len(actual) + 1))
    return bool(actual) and formed(first) == formed(actual[0]) and alike(rest, actual[1:])


def _lines(data: bytes) -> list[str]:
    """What stands on the terminal, without the shell's own notices."""
    text = re.sub(r"[^\n]*\r(?!\n)|\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
    return [line.rstrip() for line in text.splitlines() if not NOTICE.match(line)]


def _whole_lines(data: bytes) -> list[str]:
    return _lines(data[: data.rfind(b"\n") + 1])


class Session:
    """A shell on a terminal, in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.master, slave = pty.openpty()
        settings = termios.tcgetattr(slave)
        settings[1] &= ~termios.OPOST  # lines end as they were written
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        termios.tcsetwinsize(slave, (LINES, COLUMNS))
        self.shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=slave,
            stderr=slave,
            cwd=home,
            env=self._environment(),
            process_group=0,
        )
        os.close(slave)
        self.pending = b""

    def _environment(self) -> dict[str, str]:
        tools = self.home / ".tools"
        tools.mkdir()
        for name, module in PROGRAMS.items():
            (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
            (tools / name).chmod(0o755)
        for name in ("python", "python3"):
            (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
            (tools / name).chmod(0o755)
        shutil.copy(ROOT / "contrib/legacy/coordination_helper.sh", tools)
        run = self.home / "run"
        (run / "swarmsh").mkdir(mode=0o700, parents=True)
        return {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "RUNTIME_DIRECTORY": str(run / "swarmsh-tune"),
            "STATE_DIRECTORY": str(self.home / "state" / "swarmsh"),  # root's would be the host's
            "SWARMSH_SOCKET": str(run / "swarmsh" / "swarmsh.sock"),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "TERM": "xterm",
        }

    def write(self, block: Block) -> None:
        """Make the file that a block is."""
        path = self.home / block.file
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)

    def type(self, command: Command) -> tuple[list[str], int]:
        """Type a command; the lines that came out, and its exit status. A program that stays says its lines first."""
        (script := self.home / ".typed").write_text(command.text + "\n")
        assert self.shell.stdin is not None
        self.shell.stdin.write(b". ./.typed </dev/null; printf '=#%d#=\\n' $?\n")
        self.shell.stdin.flush()
        end = re.compile(rb"=#(\d+)#=\n")
        found = self._read_until(lambda: end.search(self.pending))
        before, after = self.pending[: found.start()], self.pending[found.end() :]
        self.pending = after
        if command.text.endswith("&"):
            self._read_until(lambda: len(_whole_lines(before + self.pending)) >= len(command.expected))
            before, self.pending = before + self.pending, b""
        script.unlink()
        return _lines(before), int(found[1])

    def _read_until(self, seen: Callable[[], Any]) -> Any:
        """Read what is written until it satisfies; what ``seen`` found."""
        end = time.monotonic() + PATIENCE
        while (found := seen()) in (None, False):
            assert time.monotonic() < end, f"nothing more came than {self.pending.decode()!r}"
            if select.select([self.master], [], [], 0.05)[0]:
                self.pending += os.read(self.master, 1 << 16)
        return found

    def close(self) -> None:
        """End it and all that it started."""
        os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.communicate(timeout=PATIENCE)
        os.close(self.master)


@contextmanager
def session() -> Iterator[Session]:
    """A session in a directory that goes with it."""
    with tempfile.TemporaryDirectory(prefix="typed-") as home:
        opened = Session(Path(home))
        try:
            yield opened
        finally:
            opened.close()


def differences(page: str) -> Iterator[str]:
    """Type a page; what came out otherwise than it says."""
    with session() as opened:
        for block in blocks(page):
            if block.file:
                opened.write(block)
            elif block.kind == "console":
                for command in commands(block.text):
                    actual, status = opened.type(command)
                    if not alike(command.expected, actual):
                        expected = "\n".join(command.expected)
                        shown = "\n".join(actual)
                        yield f"$ {command.text}\nthe page:\n{expected}\nhere:\n{shown}\n"
                    if status and not any(line.startswith(REFUSALS) for line in command.expected):
                        yield f"$ {command.text}\nit ended with {status}, and the page does not show why"


def as_true(page: str) -> str:
    """The page, with what comes out now where it differs in more than form."""
    made, at = [], 0
    with session() as opened:
        for block in blocks(page):
            if block.file:
                opened.write(block)
            elif block.kind == "console":
                made += [page[at : block.start], *_typed(opened, block)]
                at = block.end
    return "".join([*made, page[at:]])


def _typed(opened: Session, block: Block) -> Iterator[str]:
    for command in commands(block.text):
        actual, _ = opened.type(command)
        lines = command.expected if alike(command.expected, actual) else actual
        typed = command.text.replace("\n", "\n> ")
        yield "\n".join([f"$ {typed}", *lines]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_true(Path(sys.argv[1]).read_text()))
