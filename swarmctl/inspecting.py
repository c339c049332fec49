"""What is told of a journal's files: by the daemon that writes to them or, with ``--state-dir``, without one.

In both cases it is the daemon's own code that reads the files, in a process of its own; this program knows nothing of
them. The daemon hands on what its process tells part by part, as it is asked for.
"""

from __future__ import annotations

import json
import os
import time

from swarmctl.cli import Failure
from swarmctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from swarmctl.cli import Call

    Row = dict[str, Any]

_STATUS = {5: 5, 75: 75, 78: 78}
"""Exit statuses that mean the same here; any other is a failure of the operation."""

_OPTIONS = {"id": "item", "dry_run": "dry-run"}
"""Arguments that the program calls otherwise."""

PIECE = 1 << 18
REDRAWN_MS = 100


class Inspection:
    """One look at a journal's files. Its parts have to be taken to the end; then the call has its status.

    Args:
        call: who looks.
        want: what for, as the verb ``journal`` has it; with ``--state-dir`` also ``repair``.
        arguments: of that verb.
        bar: whether to show how far it has come, where somebody sees that.
    """

    def __init__(self, call: Call, want: str, arguments: Row, *, bar: bool) -> None:
        self._call = call
        self._want = want
        self._arguments = arguments
        self._done = self._of = 0
        self._bar = Progress(self._share, quiet=call.quiet or not bar, unit="MiB")

    def _share(self) -> float:
        return self._done / self._of if self._of else 0.0

    def rows(self) -> Iterator[Row]:
        """What it tells, object by object."""
        rest = b""
        for part in self.parts():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                self._bar.end()  # what is printed may go to the same terminal
                yield json.loads(line)

    def parts(self) -> Iterator[bytes]:
        """What it tells, as bytes.

        Raises:
            Failure: it could do nothing, or not go on.
        """
        parts = self._own() if "state_dir" in self._call.given else self._asked()
        try:
            for part in parts:
                if part:
                    yield part
                self._bar.show(self._done >> 20)
        finally:
            self._bar.end()

    def _finish(self, status: int, said: str) -> None:
        if said:
            raise Failure(said, _STATUS.get(status, 1))
        self._call.status = max(self._call.status, _STATUS.get(status, 1) if status else 0)

    def _asked(self) -> Iterator[bytes]:
        from swarmctl.connection import OutcomeUnknown, Refused

        arguments = {"want": self._want, **self._arguments}
        part: Row = {"more": True}
        try:
            while part["more"]:
                part = self._call.ask("journal", arguments)
                self._done, self._of = part["done"], part["of"]
                yield part["data"]
                arguments = {"want": self._want, "stream": part.get("stream")}
        except Refused as refused:
            if "stream" in arguments and refused.code == "not_found":
                raise Failure(f"{refused.message.removeprefix('journal: ')}", 75) from None
            if "stream" in arguments and (refused.exit == 69 or isinstance(refused, OutcomeUnknown)):
                raise Failure("the daemon went away before it was done; begin again", 75) from None
            raise
        self._finish(part["status"], part["why"])

    def _own(self) -> Iterator[bytes]:
        import select
        import subprocess
        import sys

        marks = os.memfd_create("progress")
        command = [sys.executable, "-m", "swarmshd.salvage", self._want, "--state-dir", self._call.given["state_dir"]]
        command += ["--now", str(time.time_ns() // 1_000_000), "--progress", str(marks)]
        for name, value in self._arguments.items():
            option = f"--{_OPTIONS.get(name, name)}"
            command += [option] if value is True else ["--no-measure"] if value is False else [option, str(value)]
        self._call.out.flush()
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[marks]
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            output = process.stdout.fileno()
            poll = select.poll()
            poll.register(output, select.POLLIN)
            data = b""
            while True:
                if poll.poll(REDRAWN_MS if self._bar.shown else None):
                    data = os.read(output, PIECE)
                    if not data:
                        break
                marked = os.pread(marks, 16, 0).ljust(16, b"\0")
                self._done, self._of = int.from_bytes(marked[:8], "big"), int.from_bytes(marked[8:], "big")
                yield data
                data = b""
            said = process.stderr.read().decode(errors="replace").strip()
        os.close(marks)
        self._finish(process.returncode, said.splitlines()[-1].removeprefix("swarmshd.salvage: ") if said else "")
