"""The one place where the journal touches the operating system.

Everything that changes the disk goes through a `Disk`, so that a test can stand in its place, stop at any
operation, or lose what was not synced. Calls raise `OSError` with the file's name in it.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple, cast

MODE_FILE = 0o600
MODE_DIRECTORY = 0o700

BUFFER = 1 << 17
"""Bytes of one read, and of one write of zeroes, unless somebody says otherwise."""

BLOCK = 4096
"""What is written past the page cache begins and ends at multiples of this, in memory and on the disk."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put ``path`` into an `OSError` of a call that knows only a descriptor."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


class Space(NamedTuple):
    """Bytes of a file system, and what of them we may still take."""

    total: int
    free: int


class Disk:
    """The real disk. What an append needs are the bare system calls, without a Python frame of ours.

    Args:
        buffer: bytes of one read, and of one write of zeroes.
        mapped: read sealed segments by mapping them into memory.
        direct: write frames past the page cache.
    """

    buffer, mapped, direct = BUFFER, False, False
    reads = maps = zero_writes = 0
    """How often a piece of a file was read, a file mapped, and zeroes written."""

    def __init__(self, buffer: int = BUFFER, *, mapped: bool = False, direct: bool = False) -> None:
        self.buffer, self.mapped, self.direct = buffer, mapped, direct

    pwrite = staticmethod(os.pwrite)
    fdatasync = staticmethod(os.fdatasync)
    fsync = staticmethod(os.fsync)
    fstat = staticmethod(os.fstat)

    def tell(self) -> dict[str, int]:
        """Its part of ``stats``."""
        counts = {"io_reads": self.reads, "io_maps": self.maps, "io_zero_writes": self.zero_writes}
        return {"io_buffer": self.buffer, **counts}

    def ftruncate(self, fd: int, size: int) -> None:
        """Cut or extend a file."""
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, instead of what had that name."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        os.unlink(path)

    def create(self, path: Path) -> int:
        """A new empty file, readable by its owner alone; one that is left under that name is emptied."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, MODE_FILE)

    def open(self, path: Path) -> int:
        """An existing file, to be written; with an open file description of its own."""
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    def mkdir(self, path: Path) -> None:
        """A new directory that only its owner may enter."""
        os.mkdir(path, MODE_DIRECTORY)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with named(path):
                self.fsync(fd)
        finally:
            os.close(fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data``; for everything but frames."""
        view = memoryview(data)
        while view:
            written = self.pwrite(fd, view, offset)
            if written <= 0:
                raise OSError(errno.EIO, "nothing was written")
            view = view[written:]
            offset += written

    def zero(self, fd: int, start: int, stop: int) -> None:
        """Write zeroes from ``start`` up to ``stop``. Not a hole, and not merely allocated: written blocks."""
        while start < stop:
            step = min(stop - start, self.buffer)
            self.write(fd, bytes(step), start)
            self.zero_writes += 1
            start += step

    def space(self, directory: Path) -> Space:
        """How large the file system of a directory is, and how much of it is free."""
        found = os.statvfs(directory)
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def read(self, path: Path, limit: int = -1) -> bytes:
        """The bytes of a file, at most ``limit`` of them.

        A file of which less can be read than it has is not a shorter one: that would be taken for a torn tail.
        """
        with named(path), open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            parts = []
            while limit and (part := file.read(self.buffer if limit < 0 else min(limit, self.buffer))):
                parts.append(part)
                limit -= len(part) if limit > 0 else 0
            self.reads += len(parts)
            found = parts[0] if len(parts) == 1 else b"".join(parts)
            if limit and len(found) < min(size, os.fstat(file.fileno()).st_size):  # it may be cut meanwhile
                raise OSError(errno.EIO, f"only {len(found)} of its {size} bytes could be read")
            return found

    def read_sealed(self, path: Path) -> bytes:
        """The bytes of a segment that never changes; mapped into memory, if that is wished.

        All of it is read once before: a page of a map that cannot be read ends the program by a signal, where a read
        says which file it is.
        """
        if not self.mapped:
            return self.read(path)
        piece = bytearray(self.buffer)
        with named(path), open(path, "rb", buffering=0) as file:
            while file.readinto(piece):
                self.reads += 1
            if not file.tell():
                return b""
            found = mmap(file.fileno(), 0, access=ACCESS_READ)
        self.maps += 1
        return cast("bytes", found)  # it can all that is asked of it here

    def open_direct(self, path: Path) -> int:
        """An existing file, to be written past the page cache. Raises OSError where the file system cannot do that."""
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_NOFOLLOW | os.O_CLOEXEC)

    def forget(self, fd: int) -> None:
        """Have what is synced of a file read from the disk, not from memory, when it is read next."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


DISK = Disk()
