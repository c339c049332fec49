"""Snapshots on disk: written under a temporary name, read back, and only then given their name."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

from swarmshd import records
from swarmshd.journal.disk import DISK, Disk, named
from swarmshd.journal.errors import Corrupt, VersionMismatch
from swarmshd.journal.files import TEMPORARY, adopt, make_directory, snapshot_path

SYNC_EVERY = 256 << 10
"""Bytes after which what was written goes to the disk: all at once, it would stand in the way of the daemon's syncs."""

REST_MAX = 0.1
"""Seconds at most for which the disk is left to the daemon after that; as long as it took, else."""


class SnapshotFacts(NamedTuple):
    """What a finished snapshot is: where, of which position, its chunks, rows and bytes."""

    path: Path
    position: int
    chunks: int
    rows: int
    bytes: int


class SnapshotWriter:
    """Writes the snapshot of one position: `add` chunks, then `finish`; or `abort`, which leaves nothing.

    Args:
        position: the snapshot holds the state after every event up to it.
        epoch: the epoch of the last of these events.
        program_format: the number of the rows' own format.
        salt: random; with `created`, milliseconds of the clock, it tells this snapshot from any other.

    Raises:
        OSError: from every method; the snapshot is then to be aborted.
    """

    def __init__(
        self,
        directory: Path,
        position: int,
        epoch: int,
        *,
        program_format: int = 1,
        salt: int = 0,
        created: int = 0,
        disk: Disk = DISK,
    ) -> None:
        make_directory(disk, directory)
        self.position = position
        self._disk = disk
        self._path = snapshot_path(directory, position)
        self._temporary = self._path.with_name(self._path.name + TEMPORARY)
        self._fd = disk.create(self._temporary)
        self._chunks = self._rows = self._size = self._synced = 0
        head = records.pack_snapshot_header(records.SnapshotHeader(program_format, salt, position, epoch, created))
        self._running: int = records.WORD.unpack_from(head, len(head) - records.WORD.size)[0]
        try:
            self._write(head)
        except BaseException:
            self.abort()
            raise

    def _write(self, data: bytes) -> None:
        with named(self._temporary):
            self._disk.write(self._fd, data, self._size)
            self._size += len(data)
            if self._size - self._synced >= SYNC_EVERY:
                began = perf_counter()
                self._disk.fdatasync(self._fd)
                self._synced = self._size
                sleep(min(perf_counter() - began, REST_MAX))

    def add(self, chunk: bytes, rows: int) -> None:
        """Append a chunk that holds ``rows`` rows."""
        head, self._running = records.pack_chunk_header(self._chunks, chunk, rows, self._running)
        self._write(head)
        self._write(chunk)
        self._chunks += 1
        self._rows += rows

    def finish(self) -> SnapshotFacts:
        """Close it, make it durable, read it back, and give it its name.

        Raises:
            Corrupt: what was read back is not what was written; the snapshot did not get its name.
        """
        self._write(records.pack_end(self._chunks, self._rows, self._running))
        with named(self._temporary):
            self._disk.fsync(self._fd)
            self._disk.forget(self._fd)  # or what is read back would be what was written, whatever the disk has
        self._disk.close(self._fd)
        self._fd = -1
        for _chunk in read_snapshot(self._temporary):
            pass
        adopt(self._disk, self._path)
        return SnapshotFacts(self._path, self.position, self._chunks, self._rows, self._size)

    def abort(self) -> None:
        """Remove what was written."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
        with suppress(OSError):
            self._disk.unlink(self._temporary)


def read_snapshot_header(path: Path) -> records.SnapshotHeader:
    """What the snapshot at ``path`` says of itself.

    Raises:
        Corrupt: its header is damaged.
        VersionMismatch: it is of a newer format.
    """
    with named(path), path.open("rb") as file:
        return _header(path, file.read(records.SNAPSHOT_HEADER_SIZE))[0]


def _header(path: Path, data: bytes) -> tuple[records.SnapshotHeader, int]:
    try:
        header, running = records.unpack_snapshot_header(data)
    except records.Unsound as unsound:
        raise Corrupt(path, 0, str(unsound)) from None
    except records.UnknownFormat as unknown:
        raise VersionMismatch(path, unknown.found) from None
    name = path.name.removesuffix(TEMPORARY)
    if snapshot_path(path.parent, header.position).name != name:
        raise Corrupt(path, 0, f"it is the snapshot of position {header.position} under another name")
    return header, running


def read_snapshot(path: Path) -> Iterator[bytes]:
    """The chunks of a snapshot in order; each is checked before it is given, the whole when the last one was.

    Raises:
        Corrupt: it is damaged or cut.
        VersionMismatch: it is of a newer format.
        OSError: it cannot be read.
    """
    with named(path), path.open("rb") as file:
        _, running = _header(path, file.read(records.SNAPSHOT_HEADER_SIZE))
        offset, number, total = records.SNAPSHOT_HEADER_SIZE, 0, 0
        try:
            while not (head := file.read(records.CHUNK_HEADER_SIZE)).startswith(records.END_MAGIC):
                length, rows = records.unpack_chunk_header(head, number)
                body = file.read(length)
                running = records.check_chunk(head, body, running)
                offset += len(head) + length
                number += 1
                total += rows
                yield body
            records.check_end(head + file.read(), number, total, running)
        except records.Unsound as unsound:
            raise Corrupt(path, offset, str(unsound)) from None
