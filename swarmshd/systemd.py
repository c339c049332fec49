"""What a service and its manager tell each other: the notify protocol, socket activation, the log's levels.

All of it is optional: without a manager the notifier says nothing, no socket is handed over, and lines of the log
carry a date instead of a level. The variables that announce these things are taken out of the environment when
they are read, so that no child believes that they are meant for it.

The protocols are those of sd_notify(3), sd_listen_fds(3) and sd-daemon(3).
"""

import logging
import os
import socket
import stat
import time
from collections.abc import Callable

import sdnotify
import trio

FIRST_DESCRIPTOR = 3
"""Number of the first descriptor that a manager hands over."""

SOCKET_NAME = "ctl"
"""``FileDescriptorName=`` of our socket, which picks it if there are several."""

SEND_TIMEOUT = 1.0
"""Seconds that a notification may block when the manager does not read; it is dropped then."""


class ActivationError(Exception):
    """What the manager handed over is not what we can serve on. Its text says what, and what to do."""


class Notifier:
    """Tells the service manager how we are; says nothing where there is none."""

    def __init__(self) -> None:
        self._notifier: sdnotify.SystemdNotifier | None = None
        self.fault = ""
        """Why the manager cannot be told anything, though it wants to be; a sentence for the log."""
        if address := os.environ.get("NOTIFY_SOCKET"):
            try:
                self._notifier = sdnotify.SystemdNotifier(debug=True)  # else it hides every error
            except OSError as error:
                self.fault = f"the service manager cannot be reached at NOTIFY_SOCKET={address!r}: {error}, ignoring"
            else:
                self._notifier.socket.settimeout(SEND_TIMEOUT)
        self.watchdog_period = _watchdog_period()
        """Seconds in which the manager wants a sign of life; None if it does not."""
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)

    def ready(self, status: str) -> None:
        """We serve, for the first time or again after ``reloading``; ``status`` is shown by ``systemctl status``."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """What we are doing, for ``systemctl status``."""
        self._send(_status(status))

    def reloading(self) -> None:
        """The configuration is being read again; ``ready`` ends it."""
        # In one datagram: the manager takes the time only together with the announcement.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """We stop; nothing but ``status`` may follow."""
        self._send("STOPPING=1", _status(status))

    async def run_watchdog(
        self, healthy: Callable[[], bool], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Give the manager its signs of life while ``healthy()``, until cancelled; return at once if it wants none.

        It runs in the loop that serves, so that a loop that hangs gives none either; ``healthy`` is for what the
        loop cannot feel, such as a sync that does not return.
        """
        task_status.started()
        if self.watchdog_period is None:
            return
        while True:
            if healthy():
                self._send("WATCHDOG=1")
            await trio.sleep(self.watchdog_period / 2)

    def close(self) -> None:
        """Say nothing any more."""
        if self._notifier is not None:
            self._notifier.socket.close()
        self._notifier = None

    def _send(self, *assignments: str) -> None:
        if self._notifier is None:
            return
        # sdnotify encodes as Latin-1, the manager reads UTF-8
        text = "\n".join(assignments).encode(errors="replace").decode("latin-1")
        try:
            self._notifier.notify(text)
        except OSError:
            pass  # the manager does not read, or is gone: work goes on, and it has its own means against silence


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())  # a line break would begin another assignment


def _watchdog_period() -> float | None:
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6


def listening_socket() -> socket.socket | None:
    """The Unix stream socket that the manager listens on for us; None if it handed over nothing.

    It is not ours to bind, unlink or shut down: it outlives this process, with the clients that wait in it.

    Raises:
        ActivationError: it handed over something else. The descriptors have been closed.
    """
    pid, count, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()):
        return None
    if not count.isdecimal():
        raise ActivationError(f"LISTEN_FDS is {count!r}, not a number; start swarmshd without it, or by its unit")
    descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))
    named = dict(zip(descriptors, names.split(":"), strict=False))
    chosen = [fd for fd in descriptors if named.get(fd) == SOCKET_NAME] or list(descriptors)
    for fd in descriptors:
        if len(chosen) > 1 or fd not in chosen:
            _close(fd)
    if len(chosen) > 1:
        raise ActivationError(
            f"{len(chosen)} sockets were handed over; leave one, or name ours FileDescriptorName={SOCKET_NAME}"
        )
    return _checked(chosen[0]) if chosen else None


def _checked(descriptor: int) -> socket.socket:
    """The socket of ``descriptor``. Raises ActivationError if it cannot be served on, and closes it."""
    advice = "the unit needs ListenStream=PATH and Accept=no"
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            _close(descriptor)
            raise ActivationError(f"descriptor {descriptor} is not a socket; {advice}")
    except OSError as error:
        raise ActivationError(f"descriptor {descriptor} is not there: {error.strerror}; {advice}") from error
    handed = socket.socket(fileno=descriptor)
    is_stream = handed.family == socket.AF_UNIX and handed.type == socket.SOCK_STREAM
    if not is_stream or not handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        handed.close()
        what = "does not listen" if is_stream else "is not a Unix stream socket"
        raise ActivationError(f"descriptor {descriptor} {what}; {advice}")
    handed.set_inheritable(False)
    return handed


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass  # it was announced but not there


class LogFormatter(logging.Formatter):
    """One line a message, whatever text of clients is in it, marked as its reader wants it.

    Args:
        for_journal: put the level before every line as ``<N>``, as journald reads it; else date and level's name.
    """

    def __init__(self, *, for_journal: bool) -> None:
        plain = "%(asctime)s %(levelname)s %(message)s"
        super().__init__("%(message)s" if for_journal else plain, "%Y-%m-%dT%H:%M:%S%z")
        self._for_journal = for_journal

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The message without its traceback; control characters are written out."""
        return super().formatMessage(record).translate(WRITTEN_OUT)

    def format(self, record: logging.LogRecord) -> str:
        """The message, and the traceback if there is one, each of whose lines gets the level too."""
        text = super().format(record)
        if not self._for_journal:
            return text
        level = next(number for least, number in JOURNAL_LEVELS if record.levelno >= least)
        return "\n".join(f"<{level}>{line}" for line in text.split("\n"))


JOURNAL_LEVELS = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))

WRITTEN_OUT = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {0x0A: "\\n", 0x09: "\\t"}


def log_formatter(descriptor: int) -> LogFormatter:
    """The formatter for a log that is written to ``descriptor``, which may be connected to the journal."""
    return LogFormatter(for_journal=is_journal(descriptor))


def is_journal(descriptor: int) -> bool:
    """Whether what is written to ``descriptor`` goes to journald, as ``JOURNAL_STREAM`` says."""
    found = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
