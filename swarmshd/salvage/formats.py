"""In which format a journal is, and what an upgrade would have to do.

A program reads every format up to its own, and goes on writing the one that a journal has: so the release before it
can still read what it leaves behind, until somebody says ``journal upgrade``. As long as there is one format only,
that is found out and said, and nothing is to be done.
"""

import gzip
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarmshd import events, records
from swarmshd.journal import VersionMismatch, archive, read_snapshot_header
from swarmshd.journal.disk import DISK
from swarmshd.journal.files import listing, read_segment_header


def upgrade(directory: Path) -> Iterator[dict[str, Any]]:
    """One row: the oldest format of the files and of the rows in snapshots, the ones that this program writes.

    Raises:
        VersionMismatch: a file is of a later program. Corrupt: a header is damaged. OSError: it cannot be read.
    """
    layouts: list[int] = []
    rows: list[int] = []
    found = listing(directory)
    kept = archive.snapshots(directory)
    for start, path in found.segments:
        with suppress(FileNotFoundError):  # a daemon has moved it since; it is looked at there
            read_segment_header(DISK, path, start)
            layouts.append(records.format_of(DISK.read(path, records.SECTOR)))
    for each in archive.segments(directory):
        with suppress(FileNotFoundError):
            archive.header(DISK, each)
            layouts.append(_archived(each))
    for path in [path for _, path in found.snapshots] + [each.path for each in kept]:
        with suppress(FileNotFoundError):
            header = read_snapshot_header(path)
            if header.program_format > events.FORMAT:
                raise VersionMismatch(path, header.program_format)
            layouts.append(records.format_of(DISK.read(path, records.SNAPSHOT_HEADER_SIZE)))
            rows.append(header.program_format)
    yield {
        "format": min(layouts, default=records.FORMAT),
        "rows": min(rows, default=events.FORMAT),
        "writes_format": records.FORMAT,
        "writes_rows": events.FORMAT,
        "files": len(layouts),
        "to_do": "nothing",
    }


def _archived(kept: archive.Kept) -> int:
    if not kept.compressed:
        return records.format_of(DISK.read(kept.path, records.SECTOR))
    with gzip.open(kept.path) as file:
        return records.format_of(file.read(records.SECTOR))
