"""Repair: what is sound of a damaged journal becomes a journal of its own, and it is told exactly what is not in it.

The damaged directory is only read. Of all snapshots that are there, the archived one too, the one is taken from which
least is lost on the way to the end; what comes after a loss is made to fit (`workqueue.lost`). If nothing is lost the
state is the same as before. Else numbers go on far ahead, so that none that was given in the lost part is given twice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swarmshd import events as e
from swarmshd.salvage.founding import check_empty, found, skip_ahead
from swarmshd.salvage.survey import Lost, Snapshot, Survey, chunks
from swarmshd.workqueue import lost
from swarmshd.workqueue.rows import digest_of
from swarmshd.workqueue.tables import Tables


class Hopeless(Exception):
    """There is nothing to make a journal of; the text says why."""


class Base:
    """Where a repair may begin: a snapshot, or the very beginning (None)."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        self.position = 0 if snapshot is None else snapshot.position
        self.lost: list[Lost] = []
        if snapshot is not None and snapshot.why:
            self.lost = [each for each in chunks(snapshot.path) if isinstance(each, Lost)]

    def rows(self) -> Iterator[list[Any]]:
        """The rows that can be read."""
        if self.snapshot is not None:
            for each in chunks(self.snapshot.path):
                if not isinstance(each, Lost):
                    yield from e.decode_rows(each[0])


UNKNOWN = 1_000_000_000
"""What counts for a loss of which nobody knows how large it is."""


def cost(found_lost: list[Lost]) -> int:
    """How much is lost, to compare."""
    return sum(each.events if each.events is not None else UNKNOWN for each in found_lost if each.harms)


def best(survey: Survey) -> tuple[Base, list[Lost]]:
    """The base from which least is lost, and what that is. Raises Hopeless."""
    bases = [Base(each) for each in survey.snapshots if each.header is not None]
    candidates = []
    for base in [*bases, Base(None)]:
        gone = base.lost + [each for each in survey.events(base.position) if isinstance(each, Lost)]
        if not cost(gone):
            return base, gone
        candidates.append((cost(gone), -base.position, base, gone))
    _, _, base, gone = min(candidates, key=lambda each: each[:2])
    return base, gone


def rebuild(survey: Survey, base: Base) -> tuple[lost.Mended, int]:
    """The state that the base and all sound events after it give, and the last epoch."""
    tables = Tables()
    mended = lost.Mended(tables)
    epoch = 0
    if base.snapshot is not None and base.snapshot.header is not None:
        header = base.snapshot.header
        lost.restore(tables, base.rows())
        tables.position, tables.time = header.position, max(tables.time, header.created)
        epoch = header.epoch
    whole = not base.lost
    for each in survey.events(base.position):
        if isinstance(each, Lost):
            whole = whole and not each.harms
        elif whole and each.position >= base.position:
            tables.replay(e.decode_batch(each.body, each.position))
            epoch = each.epoch
        else:
            mended.replay(e.decode_batch(each.body, each.position), after=base.position)
            epoch = each.epoch
    return mended, max(epoch, tables.epoch)


def repair(source: Path, target: Path) -> Iterator[dict[str, Any]]:
    """Make a sound journal in ``target`` of what is left in ``source``; tell what is lost, then what was made.

    Raises:
        Hopeless: nothing is left. NotEmpty: there is something in ``target``. VersionMismatch, ValueError: a later
        program wrote it. OSError: something cannot be read or written.
    """
    check_empty(target)
    survey = Survey(source)
    if survey.empty:
        raise Hopeless(f"there is no journal in {source}")
    base, gone = best(survey)
    yield from (told(each) for each in gone)
    mended, epoch = rebuild(survey, base)
    tables = mended.tables
    if not tables.items and not tables.position:
        raise Hopeless(f"nothing in {source} is sound")
    harmed = any(each.harms for each in gone)
    as_it_was = digest_of(tables).hex()
    if harmed:
        skip_ahead(tables)
    else:
        tables.next_id, tables.next_fence = (
            max(tables.next_id, tables.ids_end),
            max(tables.next_fence, tables.fences_end),
        )
    for number, said in sorted(mended.unknown.items()):
        yield {"item": number, "lost": True, "last": said}
    for number, said in sorted(mended.assumed.items()):
        yield {"item": number, "lost": False, "assumed": said}
    made = found(target, tables, epoch + 1)
    yield {
        "repaired": str(target),
        "base": None if base.snapshot is None else base.snapshot.path.name,
        "position": made.position,
        "epoch": made.epoch,
        "items": made.items,
        "open": len(tables.open),
        "items_lost": len(mended.unknown),
        "events_lost": None if cost(gone) >= UNKNOWN else cost(gone),
        "whole": not harmed,
        "digest": as_it_was,
    }


def told(each: Lost) -> dict[str, Any]:
    """A loss for people and programs."""
    facts = {
        "loss": each.kind,
        "file": str(each.path),
        "offset": each.offset,
        "bytes": each.bytes,
        "after_position": each.start,
        "why": each.why,
    }
    if each.end is not None:
        facts["up_to_position"] = each.end
    return facts
