"""Reading a file of which the disk does not give everything: what can be had, and where the holes are.

A read of a bad place fails as a whole, so it is asked for again in smaller pieces. What stays unreadable is filled
with ones, of which no sound frame, header or chunk is made: it is damage to whoever looks at the bytes, and never the
zeroes that end a segment.
"""

import os
from typing import BinaryIO, NamedTuple

from swarmshd.journal.errors import UNREADABLE

COARSE, FINE = 1 << 20, 4096
"""Bytes of one read; and of one where the larger one failed, as much as the kernel reads at once."""

FILLING = b"\xff"


class Hole(NamedTuple):
    """A part of a file that cannot be read."""

    start: int
    stop: int
    why: str


def read(file: BinaryIO, size: int | None = None) -> tuple[bytes, list[Hole]]:
    """The bytes of a file from its beginning, ``size`` of them if that is said, and what of them is only filling.

    Raises:
        OSError: it cannot be read for a reason that is not the disk's.
    """
    whole = os.fstat(file.fileno()).st_size if size is None else size
    parts: list[bytes] = []
    holes: list[Hole] = []
    at, step = 0, COARSE
    while at < whole:
        wanted = min(step, whole - at)
        try:
            part = os.pread(file.fileno(), wanted, at)
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            if wanted > FINE:
                step = FINE
                continue
            part = FILLING * wanted
            if holes and holes[-1].stop == at:
                holes[-1] = holes[-1]._replace(stop=at + wanted)
            else:
                holes.append(Hole(at, at + wanted, f"it cannot be read: {error.strerror}"))
        if not part:
            break
        parts.append(part)
        at += len(part)
        if at % COARSE == 0:
            step = COARSE
    return b"".join(parts), holes


def within(holes: list[Hole], start: int, stop: int) -> Hole | None:
    """The first hole that touches the bytes from ``start`` up to ``stop``."""
    return next((hole for hole in holes if hole.start < stop and hole.stop > start), None)
