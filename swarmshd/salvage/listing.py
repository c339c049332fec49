"""The files of a journal, one row each, and the events in them, one row each."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarmshd import events as e
from swarmshd.beside import Gauge
from swarmshd.journal import Batch, Corrupt, archive
from swarmshd.journal.disk import DISK
from swarmshd.journal.errors import UNREADABLE
from swarmshd.journal.files import NAME, TEMPORARY, listing, read_segment_header, sealed_end
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
        except FileNotFoundError:  # compressed or removed since
            continue
        except OSError as error:
            yield row | {"damaged": _unread(error)}
    for path in [path for _, path in found.snapshots + found.segments] + found.evidence + found.temporaries:
        with suppress(FileNotFoundError):  # a daemon has removed it since, or moved it
            yield _about(path)
    reserve = directory / RESERVE
    if reserve.exists():
        yield {"kind": "reserve", "file": RESERVE, "bytes": reserve.stat().st_size}


def _about(path: Path) -> dict[str, Any]:
    """The row of a file that is not in the archive."""
    row: dict[str, Any] = {"kind": "evidence", "file": path.name, "bytes": path.stat().st_size}
    found = NAME.fullmatch(path.name)
    if found is None:
        return row | {"kind": "unfinished"} if path.name.endswith(TEMPORARY) else row
    kind, position = found[1], int(found[2])
    if kind == "snapshot":
        return row | {"kind": kind, "position": position}
    row |= {"kind": kind, "after_position": position}
    try:
        header = read_segment_header(DISK, path, position)
        end = sealed_end(path, header.salt)
    except Corrupt as corrupt:
        return row | {"damaged": corrupt.why}
    except OSError as error:
        return row | {"damaged": _unread(error)}
    row |= {"epoch": header.epoch, "sealed": end is not None}
    return row if end is None else row | {"up_to_position": end}


def _unread(error: OSError) -> str:
    """Why a file is told as damaged that cannot be read, if it is the disk's fault."""
    if error.errno not in UNREADABLE:
        raise error
    return f"it cannot be read: {error.strerror}"


def dump(
    directory: Path,
    upto: int | None = None,
    *,
    since: int = 0,
    item: int | None = None,
    gauge: Gauge | None = None,
) -> Iterator[dict[str, Any]]:
    """Every event that is left, as it is told, and those that only keep the books; never the secret of a token.

    Raises:
        VersionMismatch, ValueError: it is of a later program. OSError: it cannot be read.
    """
    known = Gazetteer()
    with Survey(directory, upto, gauge) as survey:
        for found in survey.events(survey.oldest):
            if isinstance(found, Lost):
                yield told(found)
                continue
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
