"""Names and places of the files of a journal, and making a directory and a file durable.

    segment-POSITION                what happened after that position, in frames; the newest is written to
    snapshot-POSITION               the state at that position
    segment-POSITION.torn-OFFSET    evidence: what was cut from that segment at that offset
    NAME.tmp                        unfinished; means nothing and is removed
    lock, fold.lock                 held by the daemon and by a fold

POSITION has 20 digits, so that names sort as their numbers do.
"""

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swarmshd import records
from swarmshd.journal.disk import Disk, named
from swarmshd.journal.errors import Corrupt, VersionMismatch

TEMPORARY = ".tmp"

NAME = re.compile(r"(segment|snapshot)-([0-9]{20})")

SEAL_SIZE = records.frame_size(0)


class Listing(NamedTuple):
    """The files of a journal, each list in the order of positions."""

    segments: list[tuple[int, Path]]
    snapshots: list[tuple[int, Path]]
    evidence: list[Path]
    temporaries: list[Path]


def segment_path(directory: Path, start: int) -> Path:
    """Where the segment lies that starts at position ``start``."""
    return directory / f"segment-{start:020}"


def snapshot_path(directory: Path, position: int) -> Path:
    """Where the snapshot of ``position`` lies."""
    return directory / f"snapshot-{position:020}"


def listing(directory: Path) -> Listing:
    """What is in a journal's directory; nothing, if there is no directory."""
    found = Listing([], [], [], [])
    with suppress(FileNotFoundError):
        for path in sorted(directory.iterdir()):
            match = NAME.fullmatch(path.name)
            if match:
                (found.segments if match[1] == "segment" else found.snapshots).append((int(match[2]), path))
            elif NAME.match(path.name):
                (found.temporaries if path.name.endswith(TEMPORARY) else found.evidence).append(path)
    return found


def size_of(found: list[tuple[int, Path]]) -> int:
    """Bytes of these files; one that was pruned meanwhile counts as nothing."""
    size = 0
    for _, path in found:
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def size_beside(directory: Path, path: Path) -> int:
    """Bytes of all that lies in the directory and its directories, but for the file at ``path``."""
    size = 0
    for place, _, names in os.walk(directory):
        for name in names:
            file = os.path.join(place, name)
            if file != str(path):
                with suppress(FileNotFoundError):
                    size += os.lstat(file).st_size
    return size


def make_directory(disk: Disk, directory: Path) -> None:
    """Make the journal's directory and its missing parents, durably, for their owner alone."""
    if directory.is_dir():
        return
    make_directory(disk, directory.parent)
    with suppress(FileExistsError):
        disk.mkdir(directory)
    disk.sync_directory(directory.parent)


def draft(disk: Disk, path: Path, fill: Callable[[int], None]) -> int:
    """Make a durable file under the temporary name of ``path``; ``fill`` writes it. A failure leaves nothing.

    Returns:
        its open descriptor.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    fd = disk.create(temporary)
    try:
        with named(temporary):
            fill(fd)
            disk.fsync(fd)
    except BaseException:
        disk.close(fd)
        discard(disk, path)
        raise
    return fd


def adopt(disk: Disk, path: Path) -> None:
    """Give a draft its name, durably. So a file under its final name is always whole."""
    disk.rename(path.with_name(path.name + TEMPORARY), path)
    disk.sync_directory(path.parent)


def discard(disk: Disk, path: Path) -> None:
    """Remove the draft of ``path``, if that is possible; recovery removes what stays."""
    with suppress(OSError):
        disk.unlink(path.with_name(path.name + TEMPORARY))


def read_segment_header(disk: Disk, path: Path, start: int) -> records.SegmentHeader:
    """The header of the segment at ``path``, whose name says that it starts at ``start``.

    Raises:
        Corrupt: it is damaged. A segment gets its name only when its header is durable.
        VersionMismatch: it is of a newer format.
    """
    try:
        header = records.unpack_segment_header(disk.read(path, records.SECTOR))
    except records.Unsound as unsound:
        raise Corrupt(path, 0, str(unsound)) from None
    except records.UnknownFormat as unknown:
        raise VersionMismatch(path, unknown.found) from None
    if header.start != start:
        raise Corrupt(path, 0, f"its name says that it starts at position {start}, its header says {header.start}")
    return header


def sealed_end(path: Path, salt: int) -> int | None:
    """Where a segment ends, if its last bytes are its seal; None if they are not, as in the one that is written to."""
    with named(path), path.open("rb") as file:
        size = file.seek(0, 2)
        if size < records.SECTOR + SEAL_SIZE or size % records.ALIGNMENT:
            return None
        file.seek(size - SEAL_SIZE)
        data = file.read(SEAL_SIZE)
        if len(data) < SEAL_SIZE <= file.seek(0, 2) - size + SEAL_SIZE:  # it was not cut meanwhile
            raise OSError(errno.EIO, f"only {size - SEAL_SIZE + len(data)} of its {size} bytes could be read")
    try:
        header = records.unpack_frame_header(data, 0, salt)
    except (records.Unsound, records.UnknownFormat):
        return None
    sound = header.kind == records.SEAL and records.body_is_sound(memoryview(data), 0, header)
    return header.end if sound else None
