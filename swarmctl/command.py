"""One COMMAND of ``work`` or ``lock``, and the keeper that stands between the two.

``work`` forks a keeper; the keeper, when told to, forks COMMAND. It is the keeper that the daemon watches. It lives
from before COMMAND starts until after COMMAND is gone and its end has been reported, so the item is free exactly when
it may be: not in the moment between COMMAND's exit and the report of it, and not before COMMAND is dead.

A COMMAND of ``work`` reads a payload and its output is kept. One of ``lock`` has the standard streams, the other
descriptors and the terminal of whoever called: it is as if it had been called without.

The keeper listens on a pipe of which only ``work`` has the other end. A byte lets COMMAND start, once the daemon has
acknowledged the watch; other bytes have it signalled. The end of the pipe means that ``work`` is done with the item,
or dead: then COMMAND, if it runs, is killed with its process group and waited for before the keeper ends. Should the
keeper itself be killed, ``PR_SET_PDEATHSIG`` has the kernel kill COMMAND; it speaks of the thread that forked, and a
keeper has one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

PR_SET_PDEATHSIG = 1
GO, END, KILL = b"g", b"t", b"k"
"""What ``work`` says to a keeper: start COMMAND; SIGTERM to its group; SIGKILL to its group."""

DESCRIPTORS = 1 << 16
"""Past the highest descriptor that ``work`` may have."""

INHERITED = 1 << 10
"""Past the highest descriptor that a caller hands on to COMMAND; shells use single digits."""

PIECE = 1 << 16
LINE_MAX = 4096
"""Bytes of a line after which it is echoed although its end has not come."""

_libc = ctypes.CDLL(None, use_errno=True)


class Command:
    """A keeper, COMMAND once it was let go, and what COMMAND has written.

    Args:
        words: COMMAND and its arguments.
        environ: its environment.
        payload: what it finds on standard input; None leaves it all that this process has.
        prefix: what stands before each line of its output on our standard error; None echoes nothing.
        keep: how many bytes of the end of its output are kept.
        directory: what the keeper removes when it ends, whoever else has died by then.
        terminal: a descriptor of the terminal that it gets for itself, or -1.

    Attributes:
        pid: the keeper's.
        pidfd: the keeper's, which the daemon watches.
        status: readable when COMMAND is gone, or the keeper; -1 once that was taken note of.
        output: readable when COMMAND has written; -1 once it is closed.
    """

    __slots__ = ("_control", "_keep", "_line", "_prefix", "_tail", "output", "pid", "pidfd", "status")

    def __init__(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        payload: bytes | None,
        *,
        prefix: bytes | None = None,
        keep: int = 0,
        directory: str | None = None,
        terminal: int = -1,
    ) -> None:
        self._prefix = prefix
        self._keep = keep
        self._tail = bytearray()
        self._line = bytearray()
        control, self._control = os.pipe()
        self.status, status = os.pipe()
        self.output = -1
        streams: tuple[int, ...] = ()
        if payload is not None:
            self.output, output = os.pipe()
            streams = (_filled(payload), output, output)
        self.pid = os.fork()
        if self.pid == 0:
            _keeper(words, environ, control, status, streams, directory, terminal)
        for descriptor in {control, status, *streams}:
            os.close(descriptor)
        if self.output >= 0:
            os.set_blocking(self.output, False)
        self.pidfd = os.pidfd_open(self.pid)  # it is ours to reap, so the number is still its own

    @property
    def tail(self) -> bytes:
        """The end of its output."""
        return bytes(self._tail[-self._keep :]) if self._keep else b""

    def tell(self, word: bytes) -> None:
        """Tell the keeper GO, END or KILL."""
        try:
            os.write(self._control, word)
        except OSError:  # the keeper was killed, or dismissed
            pass

    def dismiss(self) -> None:
        """Have the keeper end, and COMMAND before it, if it still runs."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1

    def read(self) -> None:
        """Take what COMMAND has written."""
        while self.output >= 0:
            try:
                data = os.read(self.output, PIECE)
            except BlockingIOError:
                return
            if not data:
                os.close(self.output)
                self.output = -1
                return
            self._tail += data
            if len(self._tail) > 2 * self._keep + PIECE:
                del self._tail[: -self._keep]
            self._echo(data)

    def ended(self) -> int | None:
        """COMMAND's exit status, negative for a signal; None if its keeper is gone. For when ``status`` is readable."""
        told = os.read(self.status, 4)
        self.read()
        self._close()  # a process that COMMAND left behind may have its output open for ever
        if self._line:
            self._echo(b"\n")
        return os.waitstatus_to_exitcode(int.from_bytes(told, "big")) if len(told) == 4 else None

    def gone(self) -> bool:
        """Whether the keeper has ended after it was dismissed; if so it is cleared away."""
        if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            return False
        os.close(self.pidfd)
        self._close()
        return True

    def _close(self) -> None:
        for descriptor in (self.status, self.output):
            if descriptor >= 0:
                os.close(descriptor)
        self.status = self.output = -1

    def _echo(self, data: bytes) -> None:
        """Write whole lines to standard error, each with the prefix."""
        if self._prefix is None:
            return
        self._line += data
        *lines, rest = self._line.split(b"\n")
        if len(rest) > LINE_MAX:
            lines, rest = [*lines, rest], bytearray()
        self._line = rest
        text = b"".join([b"%s%s\n" % (self._prefix, line) for line in lines])
        try:
            while text:
                text = text[os.write(2, text) :]
        except OSError:  # nobody listens; the work goes on
            self._prefix = None


def _filled(payload: bytes) -> int:
    """A descriptor, open for reading, of a nameless file that holds ``payload``."""
    descriptor = os.memfd_create("payload")
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# -- in the keeper -------------------------------------------------------------------------------------


def _keeper(
    words: Sequence[str],
    environ: Mapping[str, str],
    control: int,
    status: int,
    streams: Sequence[int],
    directory: str | None,
    terminal: int,
) -> NoReturn:
    """The life of a keeper. ``streams`` are the standard ones of COMMAND; with none it has those of this process."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)  # only ``work`` tells it what to do
        os.setpgid(0, 0)
        for target, source in enumerate(streams):
            os.dup2(source, target)
        # Among what is closed are the ends of our own pipes, and of those of other keepers.
        _close_all_but(0, 1, 2, control, status, *(() if streams else _inherited()))
        if os.read(control, 1) == GO:
            pid = _start(words, environ, terminal)
            for descriptor in (0, 1, 2):
                os.close(descriptor)
            ended = _attend(pid, control)
            os.write(status, ended.to_bytes(4, "big"))
            while os.read(control, 64):  # until the report was acknowledged
                pass
    except BrokenPipeError:
        pass  # ``work`` died while COMMAND did
    except Exception:  # noqa: BLE001 - a fork must not return; a fault is shown with COMMAND's output
        sys.excepthook(*sys.exc_info())
    finally:
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    low = 0
    for descriptor in sorted(kept):
        if low < descriptor:  # an empty range from 0 is taken for all that there are
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, DESCRIPTORS)


def _inherited() -> list[int]:
    """The descriptors that our caller meant COMMAND to have; those that we made ourselves end with an exec."""
    found = []
    for descriptor in range(3, INHERITED):
        try:
            if os.get_inheritable(descriptor):
                found.append(descriptor)
        except OSError:  # there is none
            pass
    return found


def _attend(pid: int, control: int) -> int:
    """Pass signals on to COMMAND's group until COMMAND is gone; its wait status."""
    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(control, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poller.poll()]
        if pidfd in ready:
            return os.waitpid(pid, 0)[1]
        told = os.read(control, 64)
        if told == b"":
            poller.unregister(control)
        _signal(pid, signal.SIGKILL if told == b"" or KILL in told else signal.SIGTERM)


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # gone already, or another user's by now
        pass


def _start(words: Sequence[str], environ: Mapping[str, str], terminal: int) -> int:
    """Fork COMMAND; its pid."""
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(words, environ, keeper, terminal)
    try:
        os.setpgid(pid, pid)  # COMMAND does it too; whoever is first
    except (ProcessLookupError, PermissionError):
        pass
    return pid


def _become(words: Sequence[str], environ: Mapping[str, str], keeper: int, terminal: int) -> NoReturn:
    """Become COMMAND; where that fails, exit with the status that env(1) has for it."""
    status = 126
    try:
        os.setpgid(0, 0)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == keeper:  # if it died before prctl, no signal will come for that
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            if terminal >= 0:
                take_terminal(terminal)
                signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # stopped, it would hold what it holds for ever
            _execute(words, environ)
    except FileNotFoundError as error:
        status = 127
        _cannot(words[0], error)
    except (OSError, ValueError) as error:
        _cannot(words[0], error)
    finally:
        os._exit(status)


def _execute(words: Sequence[str], environ: Mapping[str, str]) -> None:
    try:
        os.execvpe(words[0], list(words), environ)  # noqa: S606 - to run what the user names is its purpose
    except OSError as error:
        if error.errno != errno.ENOEXEC or "/" not in words[0]:
            raise
        # a script without #!: as a shell would run it
        os.execve("/bin/sh", ["sh", *words], environ)  # noqa: S606


def _cannot(name: str, error: Exception) -> None:
    why = getattr(error, "strerror", None) or str(error)
    os.write(2, f"swarmctl: {name}: {why}\n".encode("utf-8", "surrogateescape"))


# -- the terminal --------------------------------------------------------------------------------------


def terminal_of_ours() -> int:
    """The standard stream that is the terminal which this process has in the foreground; -1 if none is."""
    for descriptor in (0, 1, 2):
        try:
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                return descriptor
        except OSError:  # closed, or no terminal, or not the one that controls us
            pass
    return -1


def take_terminal(descriptor: int) -> None:
    """Put the group of this process into the foreground, though it is in the background now."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        os.tcsetpgrp(descriptor, os.getpgrp())
    except OSError:  # it has gone
        pass
    finally:
        signal.signal(signal.SIGTTOU, before)
