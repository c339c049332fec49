"""What a program tells that does not fit one reply: a stream, of which each request takes the next part.

A program (``python -m swarmshd.salvage``) writes into a pipe, and waits while nobody asks for more of it. So a stream
costs a process that waits, and the files that it has open: those that the daemon has removed meanwhile keep their
room on the disk until it ends. It ends with its connection, when the next part is not asked for in time, and after
some hours in any case.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import trio

from swarmshd.beside import Gauge
from swarmshd.carrier.program import Program
from swarmshd.commands import Refusal

log = logging.getLogger("swarmshd.carrier")

PART_BYTES = 1 << 18
"""Bytes of a part, at most."""

PART_SECONDS = 2.0
"""Seconds after which a part ends, whatever it holds: its reader learns how far it is, and asks again."""

STREAMS_MAX = 4
"""Streams at once."""

IDLE_SECONDS = 60.0
"""Within so many seconds the next part must be asked for."""

WHOLE_SECONDS = 4 * 3600.0
"""Seconds after which a stream ends, whoever reads it."""

LOOK_SECONDS = 1.0


class Owner(Protocol):
    """Whose a stream is; nobody else gets a part of it."""

    closing: bool


class Stream:
    """One program, and how far its reader has come."""

    def __init__(self, number: int, owner: Owner, command: Sequence[str], *, frees: bool) -> None:
        self.number = number
        self.owner = owner
        self.frees = frees
        """Whether its end may free room on the disk."""
        self.busy = True
        self.began = self.asked = trio.current_time()
        self._marks = os.memfd_create("progress")
        try:
            self._program = Program([*command, "--progress", str(self._marks)], fds=[self._marks])
        except BaseException:
            os.close(self._marks)
            raise

    async def part(self) -> dict[str, Any]:
        """What comes next, and how it ended if that was all."""
        data: list[bytes] = []
        size = 0
        more = True
        with trio.move_on_after(PART_SECONDS):
            while more and size < PART_BYTES:
                some = await self._program.read(PART_BYTES - size)
                data.append(some)
                size += len(some)
                more = bool(some)
        done, whole = Gauge.read(self._marks)
        facts: dict[str, Any] = {"stream": self.number, "data": b"".join(data), "more": more}
        facts |= {"done": done, "of": whole}
        if not more:
            facts |= {"status": await self._program.status(), "why": self._program.said}
        return facts

    def close(self) -> None:
        """End it."""
        self._program.close()
        os.close(self._marks)


class Streams:
    """All streams of what lies in ``directory``; ``disk_full`` tells whether its disk is."""

    def __init__(self, directory: Path, disk_full: Callable[[], bool] = bool) -> None:
        self._directory = directory
        self._disk_full = disk_full
        self._open: dict[int, Stream] = {}
        self._last = 0

    def begin(self, owner: Owner, want: str, options: Sequence[str], *, frees: bool = False) -> Stream:
        """A new stream: what the program tells that is asked to do ``want``.

        Raises:
            Refusal: there are too many. OSError: the program could not be started.
        """
        if len(self._open) >= STREAMS_MAX:
            raise Refusal("busy", f"journal: {STREAMS_MAX} streams are open already; try again later")
        command = [sys.executable, "-m", "swarmshd.salvage", want, "--state-dir", str(self._directory), *options]
        self._last += 1
        stream = self._open[self._last] = Stream(self._last, owner, command, frees=frees)
        return stream

    def resume(self, owner: Owner, number: int) -> Stream:
        """The stream that the same reader has begun. Raises Refusal."""
        stream = self._open.get(number)
        if stream is None or stream.owner is not owner or stream.busy:
            text = f"stream {number} is none of this connection's, or has ended because it was too slow; begin again"
            raise Refusal("not_found", f"journal: {text}")
        stream.busy = True
        return stream

    async def part(self, stream: Stream) -> dict[str, Any]:
        """The next part of a stream that was just begun or resumed; after the last one it is gone."""
        try:
            facts = await stream.part()
        except BaseException:
            self._end(stream)
            raise
        stream.busy = False
        stream.asked = trio.current_time()
        if not facts["more"]:
            self._end(stream)
        return facts

    def _end(self, stream: Stream) -> None:
        if self._open.pop(stream.number, None) is not None:
            stream.close()

    async def forget(self) -> None:
        """End, again and again, those that nobody reads any more, or too slowly; all at the end."""
        try:
            while True:
                await trio.sleep(LOOK_SECONDS)
                for stream in list(self._open.values()):
                    why = self._over(stream)
                    if why:
                        log.warning("a stream of the journal's files is ended: %s", why)
                        self._end(stream)
        finally:
            for stream in list(self._open.values()):
                self._end(stream)

    def _over(self, stream: Stream) -> str:
        """Why the stream is to end, if it is."""
        now = trio.current_time()
        if stream.busy:
            return ""
        if stream.owner.closing:
            return "its reader has gone"
        if stream.asked < now - IDLE_SECONDS:
            return f"its reader has not asked for more in {IDLE_SECONDS:.0f} s"
        if stream.began < now - WHOLE_SECONDS:
            return f"it has taken longer than {WHOLE_SECONDS / 3600:.0f} h"
        if stream.frees and self._disk_full():
            return "the disk is full, and it may hold files that were removed"
        return ""
