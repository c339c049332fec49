"""How long a client waits between two tries to reach the daemon, as the tuning guide's settings of locks say.

They are read from the client's environment, and only when there is something to wait for. What cannot be read counts
as not there: a call must not fail because of it.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST = 0.5
"""Seconds of the longest wait, so that a daemon that is back is soon noticed; see ADAPTIVE_LOCKING."""


def pauses(environ: "Mapping[str, str]" = os.environ) -> "Iterator[float]":
    """Seconds to wait before each further try, without end."""
    pause = _number(environ, "FLOCK_BACKOFF_MS", 50, 1, 60_000) / 1000
    factor = _number(environ, "LOCK_RETRY_MULTIPLIER", 2, 1, 100)
    adaptive = _number(environ, "ADAPTIVE_LOCKING", 1, 0, 1)
    longest = LONGEST if adaptive else float(_number(environ, "FLOCK_TIMEOUT", 30, 0, 3600))
    while True:
        yield min(pause, longest)
        pause = min(pause * factor, longest)


def _number(environ: "Mapping[str, str]", name: str, default: int, low: int, high: int) -> int:
    for variable in (f"SWARMSH_{name}", name):
        word = environ.get(variable, "")
        if word.isascii() and word.isdigit() and len(word) < 8 and low <= int(word) <= high:
            return int(word)
    return default
