"""How we are, told to the service manager."""

import faulthandler
import os
import time
from collections.abc import Callable

import sdnotify
import trio

SEND_TIMEOUT = 1.0
"""Seconds that a notification may block when the manager does not read; it is dropped then."""


PATIENT = 0.9
"""The part of the manager's patience after which it is told what goes on."""


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

    def busy(self, status: str, seconds: float = 60) -> None:
        """A start or a stop goes on, for so long at most: the manager waits that long from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6) + 60_000_000}", _status(status))

    def stopping(self, status: str) -> None:
        """We stop; nothing but ``status`` may follow."""
        self._send("STOPPING=1", _status(status))

    async def run_watchdog(
        self, healthy: Callable[[], bool], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Give the manager its signs of life while ``healthy()``, until cancelled; return at once if it wants none.

        It runs in the loop that serves, so that a loop that hangs gives none either; ``healthy`` is for what the
        loop cannot feel, such as a sync that does not return.

        Shortly before the manager would miss one, a thread of the interpreter writes down where all threads are: the
        signal that the manager sends then does so as well, but not while our main thread waits for a disk.
        """
        task_status.started()
        if self.watchdog_period is None:
            return
        try:
            while True:
                if healthy():
                    self._send("WATCHDOG=1")
                    faulthandler.dump_traceback_later(self.watchdog_period * PATIENT)
                await trio.sleep(self.watchdog_period / 2)
        finally:
            faulthandler.cancel_dump_traceback_later()

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
