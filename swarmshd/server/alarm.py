"""Rings when something is due, for a task that waits for a descriptor only.

A cancel scope for every wait would be most of what a wait costs. So there is one task that sleeps until the alarm is
due. An alarm is brought forward at once and put off lazily: it may ring early, when what it was set for has moved on
since, and whoever hears it looks what is due and sets it anew.
"""

from collections.abc import Callable

import trio


class Alarm:
    """Calls ``ring`` when the instant has come that it was set to."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._scope = trio.CancelScope()

    def within(self, seconds: float) -> None:
        """Ring at the latest after so many seconds."""
        at = trio.current_time() + seconds
        if at < self._scope.deadline:  # noqa: PLR1730 - setting it costs more than looking, and mostly it stands
            self._scope.deadline = at

    async def run(self) -> None:
        """The task; it ends by being cancelled."""
        while True:
            with self._scope:
                await trio.sleep_forever()
            self._scope = trio.CancelScope()
            self._ring()
