"""A terminal that is borrowed for a while, and given back as it was: on a key, an error, a signal, a stop.

``Terminal`` is a context. Inside it the alternate screen is shown, without cursor and without echo, and a frame is
drawn over the one before, so that nothing flickers. Whatever ends it, the lines, the cursor and the modes are there
again: SIGINT, SIGTERM and SIGHUP give the terminal back wherever they arrive, and come out as ``Ended``; SIGTSTP gives
it back for the time of the stop.
"""

from __future__ import annotations

import os
import select
import signal
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # alternate screen, no cursor, lines are cut instead of wrapped
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, EMPTIED, PLAIN = "\x1b[H", "\x1b[2K", "\x1b[0m"

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(Exception):
    """A signal asks the program to end. ``number`` is which."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Terminal:
    """Standard output, and the keys of standard input where that is a terminal too."""

    def __init__(self) -> None:
        self._keys = 0 if os.isatty(0) else -1
        self._modes: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._inside = False
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        for number in ENDING:
            self._handlers[number] = signal.signal(number, self._end)
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, _noted)
        self._former = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        signal.set_wakeup_fd(self._former)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake)
        os.close(self._woken)

    # -- taking and giving back ------------------------------------------------------------------------

    def _take(self) -> None:
        if self._keys >= 0:
            self._modes = termios.tcgetattr(self._keys)
        self._inside = True
        if self._keys >= 0:
            quiet = termios.tcgetattr(self._keys)
            quiet[3] &= ~(termios.ICANON | termios.ECHO)
            quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._keys, termios.TCSANOW, quiet)
        _write(ENTER)

    def _give_back(self) -> None:
        """The signals that end it wait meanwhile: half of it would be worse than none."""
        if not self._inside:
            return
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [*ENDING, signal.SIGTSTP])
        try:
            self._inside = False
            try:
                _write(PLAIN + LEAVE)
                if self._modes is not None:
                    termios.tcsetattr(self._keys, termios.TCSANOW, self._modes)
            except (OSError, termios.error):
                pass  # the terminal has gone: nobody sees it any more
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _end(self, number: int, _frame: object) -> None:
        self._give_back()
        raise Ended(number)

    def _stop(self, number: int, _frame: object) -> None:
        """Ctrl-Z: the shell gets its screen, and we get ours again when we go on."""
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(number, self._stop)
        self._take()

    # -- using it --------------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            return 80, 24
        return columns or 80, lines or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines instead of those before; there are as many of them as the screen has."""
        _write(HOME + "\r\n".join([EMPTIED + line for line in lines]))

    def wait(self, seconds: float) -> str:
        """The keys that come within that time; empty when it passes, or when the screen has another size."""
        readers = [self._wake] if self._keys < 0 else [self._wake, self._keys]
        ready, _, _ = select.select(readers, [], [], max(0.0, seconds))
        if self._wake in ready:
            os.read(self._wake, 512)
        if self._keys not in ready:
            return ""
        keys = os.read(self._keys, 512)
        if not keys:
            self._keys, self._modes = -1, None  # hung up: there will be no keys
        return keys.decode("utf-8", "replace")


def _noted(_number: int, _frame: object) -> None:
    """The wake-up descriptor says that something happened; what, is seen by looking."""


def _write(text: str) -> None:
    view = memoryview(text.encode("utf-8", "backslashreplace"))
    while view:
        try:
            view = view[os.write(1, view) :]
        except BlockingIOError:
            select.select([], [1], [])
