"""A bar on a terminal while something long goes on."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

REDRAWN = 0.1
"""Seconds between two drawings."""


class Progress:
    """How much of it is done, on standard error; nothing where that is no terminal.

    Args:
        share: tells how much is done, from 0 to 1; None where nobody knows, and then there is no bar.
        quiet: draw nothing.
    """

    def __init__(self, share: Callable[[], float] | None, *, quiet: bool = False) -> None:
        self._share = None if quiet or not os.isatty(2) else share
        self._shown_at = 0.0

    def show(self, done: int) -> None:
        """Draw the bar for ``done`` items, now and then."""
        if self._share is None:
            return
        now = time.monotonic()
        if now - self._shown_at < REDRAWN:
            return
        self._shown_at = now
        share = min(1.0, self._share())
        os.write(2, f"\r[{'#' * round(share * 30):<30}] {share:4.0%}  {done} items".encode())

    def end(self) -> None:
        """Clear the bar."""
        if self._shown_at:
            os.write(2, b"\r\x1b[K")
