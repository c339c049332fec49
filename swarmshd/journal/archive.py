"""The archive: sealed segments that a snapshot covers, kept for those who ask what has been, and for repair.

A segment that is needed no more for recovery goes into the directory ``archive`` as it is. When it is old enough it is
compressed (by gzip, so that any tool reads it), and when it is too old, or the archive too large, the oldest goes. The
snapshot before the newest is kept as well: with it and the archived segments a damaged snapshot is made anew.

A crash leaves a segment in one place or the other, and a compressed one beside its original at worst.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swarmshd import records
from swarmshd.journal import files
from swarmshd.journal.disk import Disk
from swarmshd.journal.errors import ARCHIVE, Corrupt, VersionMismatch

COMPRESSED = ".gz"
LEVEL = 6


class Kept(NamedTuple):
    """A file of the archive: the position in its name, its path and size, and when it was last written to, in ms."""

    start: int
    path: Path
    bytes: int
    written: int

    @property
    def compressed(self) -> bool:
        """Whether it is."""
        return self.path.name.endswith(COMPRESSED)


class Terms(NamedTuple):
    """How long what is kept: milliseconds until a segment is compressed, and removed; most bytes of all together."""

    compress_after: int
    remove_after: int
    most: int


class Tended(NamedTuple):
    """What `tend` did, or would do: the names of files."""

    compressed: list[str]
    removed: list[str]


def segments(directory: Path) -> list[Kept]:
    """The archived segments of the journal in ``directory``, by position."""
    return _kept(directory, "segment")


def snapshots(directory: Path) -> list[Kept]:
    """The archived snapshots, by position; there is one at most but for a crash."""
    return _kept(directory, "snapshot")


def _kept(directory: Path, role: str) -> list[Kept]:
    found: dict[int, Kept] = {}
    with suppress(FileNotFoundError):
        for path in sorted((directory / ARCHIVE).iterdir()):
            match = files.NAME.fullmatch(path.name.removesuffix(COMPRESSED))
            if match and match[1] == role:
                with suppress(FileNotFoundError):
                    facts = path.stat()
                    start = int(match[2])  # a compressed one comes after its original, and is whole
                    found[start] = Kept(start, path, facts.st_size, facts.st_mtime_ns // 1_000_000)
    return [found[start] for start in sorted(found)]


def unpack(path: Path, data: bytes) -> bytes:
    """What these bytes of the compressed file at ``path`` were. Raises Corrupt."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise Corrupt(path, 0, f"it cannot be decompressed: {error}") from None


def header(disk: Disk, kept: Kept) -> records.SegmentHeader:
    """The header of an archived segment. Raises Corrupt, VersionMismatch, OSError."""
    if not kept.compressed:
        return files.read_segment_header(disk, kept.path, kept.start)
    try:
        with gzip.open(kept.path) as file:
            return records.unpack_segment_header(file.read(records.SECTOR))
    except (records.Unsound, EOFError, gzip.BadGzipFile, zlib.error) as unsound:
        raise Corrupt(kept.path, 0, str(unsound)) from None
    except records.UnknownFormat as unknown:
        raise VersionMismatch(kept.path, unknown.found) from None


def put(disk: Disk, directory: Path, covered: list[Path], former: Path | None) -> None:
    """Take these segments in, and the snapshot that was the newest before, instead of the one that is kept so far."""
    place = directory / ARCHIVE
    files.make_directory(disk, place)
    for path in covered:
        disk.rename(path, place / path.name)
    if former is not None:
        before = snapshots(directory)
        disk.rename(former, place / former.name)
        for kept in before:
            disk.unlink(kept.path)
    disk.sync_directory(place)
    disk.sync_directory(directory)


def tend(disk: Disk, directory: Path, terms: Terms, now: int, *, dry: bool = False) -> Tended:
    """Compress what is old enough, remove what is too old, and the oldest while all take too much.

    Args:
        disk: where it is done.
        directory: that of the journal.
        terms: what is to be kept.
        now: milliseconds since 1970 by the clock that files are dated with.
        dry: do nothing, only say what would be done.

    Raises:
        OSError: a file cannot be read or written; what was begun is not there.
    """
    if not dry:
        _clear(disk, directory / ARCHIVE)
    kept = segments(directory)
    done = Tended([], [])
    total = sum(each.bytes for each in kept + snapshots(directory))
    for each in list(kept):
        if now - each.written >= terms.remove_after or total > terms.most:
            if not dry:
                remove(disk, each)
            kept.remove(each)
            total -= each.bytes
            done.removed.append(each.path.name)
    for each in kept:
        if not each.compressed and now - each.written >= terms.compress_after:
            if not dry:
                compress(disk, each)
            done.compressed.append(each.path.name)
    return done


def _clear(disk: Disk, place: Path) -> None:
    """Remove what was left half done: drafts, and what lies there compressed and as it was."""
    for unfinished in place.glob(f"*{files.TEMPORARY}"):
        disk.unlink(unfinished)
    for compressed in place.glob(f"*{COMPRESSED}"):
        with suppress(FileNotFoundError):
            disk.unlink(compressed.with_name(compressed.name.removesuffix(COMPRESSED)))


def remove(disk: Disk, kept: Kept) -> None:
    """Remove a file of the archive, and what a crash may have left beside it."""
    disk.unlink(kept.path)
    with suppress(FileNotFoundError):
        disk.unlink(kept.path.with_name(kept.path.name.removesuffix(COMPRESSED)))


def compress(disk: Disk, kept: Kept) -> None:
    """Put a compressed file in the place of one that is not; it keeps its date."""
    path = kept.path.with_name(kept.path.name + COMPRESSED)

    def fill(fd: int) -> None:
        at = 0
        for part in _compressed(kept.path, disk.buffer):
            disk.write(fd, part, at)
            at += len(part)
        os.utime(fd, ns=(kept.written * 1_000_000, kept.written * 1_000_000))  # before the sync, which keeps it

    disk.close(files.draft(disk, path, fill))
    files.adopt(disk, path)
    disk.unlink(kept.path)


def _compressed(path: Path, step: int) -> Iterator[bytes]:
    """A gzip member of a file, in parts of a bounded size."""
    with path.open("rb") as source:
        sink = _Parts()
        with gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=sink, mtime=0) as member:
            while chunk := source.read(step):
                member.write(chunk)
                yield from sink.take()
        yield from sink.take()


class _Parts:
    """What is written to it, to be taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> list[bytes]:
        parts, self._parts = self._parts, []
        return parts
