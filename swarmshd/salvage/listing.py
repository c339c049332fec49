"""The files of a journal, one row each, and the events in them, one row each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swarmshd import events as e
from swarmshd.journal import Batch, Corrupt, archive
from swarmshd.journal.disk import DISK
from swarmshd.journal.files import listing, read_segment_header, sealed_end
from swarmshd.journal.reserve import NAME as RESERVE
from swarmshd.salvage.repairing import told
from swarmshd.salvage.survey import Lost, Survey
from swarmshd.told import EVERYTHING, Gazetteer, tell


def list_files(directory: Path) -> Iterator[dict[str, Any]]:
    """Every file of the journal: what it is, its size, and the positions that it holds.

    Raises:
        VersionMismatch: it is of a later program. OSError: it cannot be read.
    """
    found = listing(directory)
    for kept in archive.snapshots(directory):
        yield {"kind": "snapshot", "file": f"archive/{kept.path.name}", "bytes": kept.bytes, "position": kept.start}
    for kept in archive.segments(directory):
        row = {
            "kind": "archived",
            "file": f"archive/{kept.path.name}",
            "bytes": kept.bytes,
            "after_position": kept.start,
        }
        try:
            header = archive.header(DISK, kept)
            yield row | {"epoch": header.epoch, "compressed": kept.compressed, "written": kept.written}
        except Corrupt as corrupt:
            yield row | {"damaged": corrupt.why}
    for position, path in found.snapshots:
        yield {"kind": "snapshot", "file": path.name, "bytes": path.stat().st_size, "position": position}
    for start, path in found.segments:
        row = {"kind": "segment", "file": path.name, "bytes": path.stat().st_size, "after_position": start}
        try:
            header = read_segment_header(DISK, path, start)
            end = sealed_end(path, header.salt)
            row |= {"epoch": header.epoch, "sealed": end is not None}
            yield row | ({} if end is None else {"up_to_position": end})
        except Corrupt as corrupt:
            yield row | {"damaged": corrupt.why}
    for path in found.evidence:
        yield {"kind": "evidence", "file": path.name, "bytes": path.stat().st_size}
    for path in found.temporaries:
        yield {"kind": "unfinished", "file": path.name, "bytes": path.stat().st_size}
    reserve = directory / RESERVE
    if reserve.exists():
        yield {"kind": "reserve", "file": RESERVE, "bytes": reserve.stat().st_size}


def dump(
    directory: Path, upto: int | None = None, *, since: int = 0, item: int | None = None
) -> Iterator[dict[str, Any]]:
    """Every event that is left, as it is told, and those that only keep the books; never the secret of a token.

    Raises:
        VersionMismatch, ValueError: it is of a later program. OSError: it cannot be read.
    """
    known = Gazetteer()
    survey = Survey(directory, upto)
    for found in survey.events(survey.oldest):
        if isinstance(found, Lost):
            yield told(found)
        else:
            for row in _events(found, known):
                if row["position"] > since and (item is None or row.get("id") == item or item in row.get("ids", ())):
                    yield row


def _events(batch: Batch, known: Gazetteer) -> Iterator[dict[str, Any]]:
    decoded = e.decode_batch(batch.body, batch.position)
    position = batch.position
    for entry in decoded.entries:
        for event in entry.events:
            position += 1
            known.learn(event)
            row = tell(position, decoded.time, (entry.uid, entry.pid, event), known.get, EVERYTHING)
            if row is None:
                row = {"position": position, "time": decoded.time, "event": type(event).__name__, **_plain(event)}
            known.unlearn(event)
            yield row if entry.key is None else row | {"key": entry.key.hex()}


def _plain(event: e.Event) -> dict[str, Any]:
    """The fields of an event that only keeps the books."""
    fields = {name: value for name, value in event._asdict().items() if value is not None}
    return {name: f"{len(value)} bytes" if isinstance(value, bytes) else value for name, value in fields.items()}
