"""What may still be decided when the journal's disk is full.

Room is looked for before a round is decided, since afterwards it is too late to refuse. While the disk is full new
work is refused; claims and whatever finishes work go on, from what was zeroed ahead and from the reserve. When
three quarters of the reserve are used up only finishing goes on, and at the very end only looking. What the daemon does
by itself, the end of leases above all, waits as claims do.
"""

from collections.abc import Callable

from swarmshd.commands import READS, Refusal
from swarmshd.engine.rounds import Round
from swarmshd.journal import Full, Journal

ROOM_MIN = 256 << 10
"""Bytes that one command may take in the journal, at most; so much is free before it is decided."""

PER_ITEM = 160
"""Bytes that the end of a lease takes in the journal, at most."""

FINISHING = frozenset(("heartbeat", "progress", "complete", "fail", "release", "bury", "cancel", "clear"))
"""What goes on to the end."""

CLAIMING = FINISHING | {"claim", "hold"}
"""What goes on while a quarter of the reserve is left. The commands of a batch are asked about one by one."""

PATIENCE = 1000
"""Milliseconds until the daemon looks again whether it may do something by itself."""


class Space:
    """See the module's text. ``full`` is why the disk counts as full, or None."""

    __slots__ = ("_journal", "_snapshot_size", "full", "waiting")

    def __init__(self, journal: Journal, snapshot_size: Callable[[], int]) -> None:
        self._journal = journal
        self._snapshot_size = snapshot_size
        self.full: Full | None = None
        self.waiting = False
        """Whether more may be due than there is room for."""

    def look(self) -> None:
        """Tell the journal what the next snapshot will need."""
        self._journal.room.next_snapshot = self._snapshot_size()

    def find(self, first: int) -> None:
        """Make sure of room for the first request of the next round, of so many bytes.

        The others find the room that was made ahead, by a thread; a round is closed where that ends.
        """
        journal = self._journal
        wanted = ROOM_MIN + 2 * first
        if journal.free < wanted:
            self.look()
            try:
                journal.make_room(wanted, somehow=self.full is not None)
            except Full as full:
                self.full = self.full or full

    def for_requests(self) -> int:
        """Bytes of requests for which a round that begins now has room while the disk is not full."""
        return max(0, self._journal.free - ROOM_MIN // 2) // 2 + 1

    def for_round(self, round_: Round) -> bool:
        """Whether the round may take one more command although the disk is full, which has each of them weighed."""
        return not round_.entries or self._journal.free >= ROOM_MIN + round_.weight

    def for_itself(self, items: int) -> int:
        """How many items the daemon may touch by itself, of so many at most; for where that is none see `may_tidy`."""
        self.waiting = False
        if self.full is not None:
            may = min(items, max(0, self._journal.last_free - self._quarter) // PER_ITEM)
            self.waiting = may < items
            return may
        return items

    def may_tidy(self) -> bool:
        """Whether the daemon may still forget, which takes little and frees much; the last room is for a stop."""
        return self.full is None or self._journal.last_free >= ROOM_MIN // 2

    def may_claim(self, round_: Round) -> bool:
        """Whether those who wait for an item may have one."""
        return self.full is None or self._journal.last_free - round_.weight >= self._quarter

    def admit(self, verb: str, round_: Round) -> None:
        """Raise Refusal if the disk is full and has no room for this."""
        if self.full is None or verb in READS:
            return
        if verb not in CLAIMING:
            raise Refusal("disk_full", f"{self.full}: new work is refused until there is room")
        left = self._journal.last_free - round_.weight
        if verb not in FINISHING and left < self._quarter:
            used = "three quarters of the reserve (JOURNAL_RESERVE_MB) are used up, so only finishing goes on"
            raise Refusal("disk_full", f"{self.full}: {used} until there is room")
        if left < ROOM_MIN:
            raise Refusal("disk_full", f"{self.full}: not even finishing work finds room; free some")

    @property
    def _quarter(self) -> int:
        return max(self._journal.room.reserve.had // 4, 2 * ROOM_MIN)
