"""A bar on a terminal while something long goes on."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REDRAWN = 0.1
"""Seconds between two drawings."""


WIDTH = 30
"""Of the bar, in characters."""


def draw(share: float, note: str = "") -> None:
    """Draw the bar, with so much of it full, and a word about it."""
    os.write(2, f"\r[{'#' * int(share * WIDTH):<{WIDTH}}] {share:4.0%}  {note}".encode())


def clear() -> None:
    """Take the bar away."""
    os.write(2, b"\r\x1b[K")


@contextmanager
def bar(shown: bool) -> Iterator[Callable[[float], None]]:
    """Draws the share that it is called with; nothing unless ``shown``."""
    try:
        yield draw if shown else lambda _: None
    finally:
        if shown:
            clear()


class Progress:
    """How much of it is done, on standard error; nothing where that is no terminal.

    Args:
        share: tells how much is done, from 0 to 1; None where nobody knows, and then there is no bar.
        quiet: draw nothing.
        unit: what is counted.
    """

    def __init__(self, share: Callable[[], float] | None, *, quiet: bool = False, unit: str = "items") -> None:
        self._share = None if quiet or not os.isatty(2) else share
        self._unit = unit
        self._shown_at = 0.0

    @property
    def shown(self) -> bool:
        """Whether there is somebody who sees it."""
        return self._share is not None

    def show(self, done: int) -> None:
        """Draw the bar for so many, now and then."""
        if self._share is None:
            return
        now = time.monotonic()
        if now - self._shown_at < REDRAWN:
            return
        self._shown_at = now
        share = min(1.0, self._share())
        draw(share, f"{done} {self._unit}")

    def end(self) -> None:
        """Clear the bar."""
        if self._shown_at:
            clear()
