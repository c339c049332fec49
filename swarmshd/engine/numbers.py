"""Numbers that are never handed out twice, and chance.

Ids and fences are handed out only below ends that the journal already holds durably, a block at a time. After
a crash nobody can know how far into the block the lost part of the journal had come, so counting goes on at
the block's end: numbers are skipped, never repeated. After a clean stop nothing is skipped.
"""

import os
import random

from swarmshd.events import BlocksReserved
from swarmshd.protocol import SUBMITS_MAX
from swarmshd.workqueue.tables import Tables

BLOCK = 65_536
AHEAD = 2 * BLOCK
"""A new reservation is written when less than this is left."""
assert AHEAD > SUBMITS_MAX, "else a command could wait for ever for numbers that are never reserved"


class Numbers:
    """What the rules draw from; see :class:`swarmshd.workqueue.mint.Mint`."""

    def __init__(self) -> None:
        self._next_id = self._next_fence = 1
        self._ids_end = self._fences_end = self._positions_end = 1
        self._far_id = 0
        self._chance = random.Random()  # noqa: S311 - spreads retries; secrets come from the kernel

    def resume(self, tables: Tables, *, clean: bool) -> None:
        """Go on after what the journal holds."""
        self._next_id = tables.next_id if clean else max(tables.next_id, tables.ids_end)
        self._next_fence = tables.next_fence if clean else max(tables.next_fence, tables.fences_end)

    def id(self) -> int:
        number = self._next_id
        assert number < self._ids_end
        self._next_id = number + 1
        return number

    def keep(self, number: int) -> bool:
        if not self._next_id <= number < self._ids_end:
            return False
        self._next_id = number + 1
        return True

    def fence(self) -> int:
        number = self._next_fence
        assert number < self._fences_end
        self._next_fence = number + 1
        return number

    @staticmethod
    def secret() -> bytes:
        return os.urandom(8)

    def chance(self) -> float:
        return self._chance.random()

    def covers(self, needed: int, position: int, far_id: int = 0) -> bool:
        """Whether a command that takes at most ``needed`` numbers may be decided at that position.

        One that brings ids from elsewhere, up to ``far_id``, needs a reservation that goes so far. One that may take
        more than is ever reserved begins when all of that is there: see :meth:`scarce_for`.
        """
        self._far_id = max(self._far_id, far_id)
        needed = min(needed, AHEAD)
        return (
            far_id < self._ids_end
            and self._next_id + needed <= self._ids_end
            and self._next_fence + needed <= self._fences_end
            and position + needed <= self._positions_end
        )

    @staticmethod
    def scarce_for(needed: int) -> bool:
        """Whether a batch that takes at most so many may run out of them before its end."""
        return needed > AHEAD

    def reservation(self, position: int, tables: Tables) -> BlocksReserved | None:
        """The next blocks, when the ones that are written down run low; it counts only once it is durable."""
        next_id = max(self._next_id, self._far_id)
        if (
            next_id + AHEAD <= tables.ids_end
            and self._next_fence + AHEAD <= tables.fences_end
            and position + AHEAD <= tables.positions_end
        ):
            return None
        nexts = (next_id, self._next_fence, position)
        return BlocksReserved(*((number // BLOCK + 4) * BLOCK for number in nexts))

    def first_reservation(self, position: int) -> BlocksReserved:
        """The blocks that an epoch begins with."""
        return BlocksReserved(
            *((number // BLOCK + 4) * BLOCK for number in (self._next_id, self._next_fence, position))
        )

    def granted(self, reserved: BlocksReserved) -> None:
        """The reservation is durable."""
        self._ids_end, self._fences_end, self._positions_end = reserved
