"""One process that the daemon runs beside itself and reads from: its pipe, what it complains of, and its end.

It writes into a pipe that is full until somebody reads on, so whoever asks sets its pace. What it has to complain of
goes into a file without a name, where a chatty one fills up nothing that somebody must empty.
"""

import fcntl
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import trio

PIPE_BYTES = 1 << 18
"""What a pipe holds, where the system lets us have as much."""

SAID_MAX = 4096


class Program:
    """A process that has been started.

    Args:
        command: what to run.
        wish: what it gets on standard input.
        fds: descriptors that it gets beside the standard ones, under the same numbers.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, command: Sequence[str], wish: bytes = b"", fds: Sequence[int] = ()) -> None:
        self._stderr = os.memfd_create("stderr")
        stdin = os.memfd_create("wish")
        try:
            with open(stdin, "wb", closefd=False) as file:
                file.write(wish)
            os.lseek(stdin, 0, os.SEEK_SET)
            self._process = subprocess.Popen(  # by this thread, the one that lives as long as the daemon
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=self._stderr, pass_fds=fds
            )
        except BaseException:
            os.close(self._stderr)
            raise
        finally:
            os.close(stdin)
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        with suppress(OSError):  # what a user's pipes may hold together is bounded
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    async def read(self, most: int) -> bytes:
        """The next bytes that it writes; none when it has nothing more to write."""
        await trio.lowlevel.wait_readable(self._output)
        return os.read(self._output, most)

    async def status(self) -> int:
        """Its exit status, when it has ended."""
        descriptor = os.pidfd_open(self._process.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        return self._process.wait()

    @property
    def said(self) -> str:
        """The last line of what it complained of; empty if that is nothing."""
        text = os.pread(self._stderr, SAID_MAX, 0).decode(errors="replace").strip()
        return text.splitlines()[-1].partition(": ")[2] if text else ""

    def close(self) -> None:
        """End it, if it has not ended."""
        with self._process:  # which closes its pipe, and waits for it
            self._process.kill()
        os.close(self._stderr)
