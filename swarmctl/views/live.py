"""The verbs ``dashboard`` and ``top``: a screen printed once, one that stays, or one after another into a log.

A dashboard that stays shows the last answer, and for how long there has been none, while the daemon is away; it goes on
by itself. A log gets a snapshot each time, and a line on stderr for each time that there was none.
"""

from __future__ import annotations

import os
import signal
import time

from swarmctl.connection import Connection, Refused
from swarmctl.parse import Usage
from swarmctl.screen import DIM, RED, Screen, clip, shown
from swarmctl.views import dashboard as drawing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

EVERY = 2000
"""Milliseconds between two looks, unless asked."""

LEAST = 100
"""Milliseconds below which nobody sees more, and the daemon has work."""

LINES = 24
"""Of a screen that is printed once, at the least: what is longer scrolls."""

PATIENCE = 1.0
"""Seconds in which the daemon is to answer a look; a key is heard only after that."""

UNREACHABLE = 69

QUIT, AGAIN = "qQ\x1b\x04", " \r\n"


def dashboard(call: Call) -> int:
    """Once; or with ``--live`` again and again."""
    return top(call) if "live" in call.given else _once(call)


def top(call: Call) -> int:
    """Again and again, until it is told to end."""
    _every(call)  # what is wrong with it is said before anything is shown
    if call.json or not call.out.terminal or call.environ.get("TERM", "dumb") == "dumb":
        return _log(call)
    return _stay(call)


def _rows(call: Call, lines: int | None = None) -> Facts:
    """How many rows of each part to ask for: as many as were wanted, as the screen has lines, or a few."""
    rows = call.given.get("rows", lines)
    if call.given.get("rows", 0) > drawing.MOST:
        raise Usage(f"--rows: at most {drawing.MOST}", call.spoken)
    return dict(drawing.FEW) if rows is None else dict.fromkeys(drawing.FEW, min(rows, drawing.MOST))


def _every(call: Call) -> float:
    every: int = call.given.get("every", EVERY)
    if every < LEAST:
        raise Usage(f"--every: at least {LEAST}ms", call.spoken)
    return every / 1000


def _once(call: Call) -> int:
    height = None
    if call.for_people and "rows" not in call.given:
        height = max(Screen.lines() - 1, LINES)
    _print(call, call.ask("dashboard", _rows(call, height)), height)
    return 0


def _print(call: Call, facts: Facts, height: int | None = None) -> None:
    if call.json:
        call.emit(facts)
    else:
        call.lines(drawing.draw(call.screen, facts, height))


# -- into a log ----------------------------------------------------------------------------------------


def _log(call: Call) -> int:
    """The first answer must come, as for any verb; of later ones that do not come stderr tells."""
    first = True
    while True:
        began = time.monotonic()
        try:
            facts = call.ask("dashboard", _rows(call))
        except Refused as refused:
            if first or not refused.retryable:
                raise
            call.refuse(refused)
            call.status = 0
        else:
            if not first and not call.json:
                call.out.text("\n")
            _print(call, facts)
            first = False
        call.out.flush()
        time.sleep(max(0.0, began + _every(call) - time.monotonic()))


# -- on a terminal -------------------------------------------------------------------------------------


def _stay(call: Call) -> int:
    from swarmctl.views.terminal import Ended, Terminal

    facts = call.ask("dashboard", _rows(call, Screen.lines()))
    try:
        with Terminal() as terminal:
            _Live(call, terminal, facts).run()
    except Ended as ended:
        if ended.number == signal.SIGINT:
            return 130
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
    return 0


class _Live:
    """What is shown, and since when it is no longer so."""

    def __init__(self, call: Call, terminal: Any, facts: Facts) -> None:
        self._call = call
        self._terminal = terminal
        self._connection = Connection(call.given.get("socket"), PATIENCE)
        self._facts = facts
        self._answered = time.monotonic()
        self._trouble = ""

    def run(self) -> None:
        every = _every(self._call)
        due = time.monotonic() + every
        while True:
            self._draw()
            keys = self._terminal.wait(due - time.monotonic())
            if any(key in QUIT for key in keys):
                return
            if time.monotonic() >= due or any(key in AGAIN for key in keys):
                self._ask()
                due = time.monotonic() + every

    def _ask(self) -> None:
        _, lines = self._terminal.size
        try:
            self._facts = self._connection.call("dashboard", _rows(self._call, lines))
        except Refused as refused:
            if not refused.retryable and refused.exit != UNREACHABLE:
                raise
            self._trouble = refused.message
        else:
            self._answered = time.monotonic()
            self._trouble = ""

    def _draw(self) -> None:
        columns, lines = self._terminal.size
        screen = Screen(columns, colour=self._call.screen.colour)
        drawn = drawing.draw(screen, self._facts, lines - 1)
        drawn += [""] * (lines - 1 - len(drawn))
        if self._trouble:
            silent = int(time.monotonic() - self._answered)
            foot = screen.paint(clip(shown(f"no answer for {silent}s: {self._trouble}"), columns), RED)
        else:
            foot = screen.paint(clip(f"every {_every(self._call):g}s; space: now, q: quit", columns), DIM)
        self._terminal.draw([*drawn, foot])
