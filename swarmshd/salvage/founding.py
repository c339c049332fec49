"""A journal of its own for a state: a snapshot, and a segment after it. Repair and restore end here.

It is written into an empty directory and read back, so that what is said to be there is there.
"""

from pathlib import Path
from typing import NamedTuple

from swarmshd import compact
from swarmshd.journal import Journal, recover
from swarmshd.workqueue.rows import digest_of
from swarmshd.workqueue.tables import Tables

AHEAD = 1 << 32
"""How much further numbers go on where nobody knows which were given out: more than a queue gives in its life."""


class NotEmpty(Exception):
    """There is something in the directory already."""


class Founded(NamedTuple):
    """The journal that was made."""

    directory: Path
    position: int
    epoch: int
    items: int
    digest: str


def skip_ahead(tables: Tables) -> None:
    """No number is given twice: not one that was given in what is lost, or after the backup was made."""
    tables.next_id = max(tables.next_id, tables.ids_end) + AHEAD
    tables.next_fence = max(tables.next_fence, tables.fences_end) + AHEAD
    tables.position = max(tables.position, tables.positions_end) + AHEAD
    tables.ids_end, tables.fences_end, tables.positions_end = tables.next_id, tables.next_fence, tables.position


def check_empty(directory: Path) -> None:
    """Raise NotEmpty if something is there, but for the lock that we may hold."""
    if directory.exists() and any(path.name != "lock" for path in directory.iterdir()):
        raise NotEmpty(f"{directory} is not empty; name one that is, or that is not there yet")


def found(directory: Path, tables: Tables, epoch: int) -> Founded:
    """Write the state into a directory without a journal, so that a daemon can start there, and read it back.

    Raises:
        OSError: it cannot be written.
    """
    written = digest_of(tables).hex()
    compact.write(directory, tables, tables.position, epoch)
    journal = Journal(directory)
    journal.begin(tables.position, epoch)
    journal.close()
    again, _ = compact.load(recover(directory, mend=False))
    if digest_of(again).hex() != written:
        raise RuntimeError(f"what was written to {directory} reads otherwise")
    return Founded(directory, tables.position, epoch, len(tables.items), written)
