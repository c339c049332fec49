"""Writing frames past the page cache (O_DIRECT), which takes only whole blocks, from memory that begins at a page.

The block in which a frame begins is written again with what it held before, and the one in which it ends is filled
with zeroes, which are there already. So the bytes of the file are the same either way; what is durable is written
again as it is, which a disk does not tear that writes sectors as a whole. Where the file system refuses, frames go
through the page cache as usual, and it is told why.
"""

import errno
from mmap import mmap
from pathlib import Path
from typing import Any

from swarmshd.journal.disk import BLOCK, Disk


class Direct:
    """The way to one segment. ``refused`` is why there is none."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._memory = mmap(-1, 64 * BLOCK)
        self._base = 0
        """The offset of the block that the memory begins with."""
        self._fd = self._usual = -1
        self.padding = self.written = 0
        self.refused = ""
        self.turn(path)

    @classmethod
    def of(cls, disk: Disk, path: Path, before: "Direct | None") -> "Direct":
        """The way to a segment that holds only its header; its counters go on from those of the one before."""
        if before is None:
            return cls(disk, path)
        before.close()
        before.turn(path)
        return before

    def turn(self, path: Path) -> None:
        """Go on with another segment. Raises OSError: it cannot be read."""
        self._base = 0
        self._memory[:BLOCK] = self._disk.read(path, BLOCK).ljust(BLOCK, b"\0")
        self._usual = self._disk.open(path)
        try:
            self._fd = self._disk.open_direct(path)
            self.refused = ""
        except OSError as error:
            self._refuse(error)

    def _refuse(self, error: OSError) -> None:
        if self._fd >= 0:
            self._disk.close(self._fd)
        self._fd = -1
        self.refused = error.strerror or str(error)

    def write(self, frame: bytes, at: int) -> int:
        """Write a frame at an offset behind the one before; how many of its bytes were written. Raises OSError."""
        if self._fd < 0:
            return self._disk.pwrite(self._usual, frame, at)
        base = at - at % BLOCK
        memory = self._memory
        if base != self._base:  # it begins in a block that holds nothing yet, or in the last one of the frame before
            end = base - self._base
            kept = memory[end : end + BLOCK] if end < len(memory) else b""
            memory[:BLOCK] = kept.ljust(BLOCK, b"\0")
            self._base = base
        start = at - base
        stop = start + len(frame)
        size = -(-stop // BLOCK) * BLOCK
        if size > len(memory):
            larger = mmap(-1, size)
            larger[:BLOCK] = memory[:BLOCK]
            memory.close()
            self._memory = memory = larger
        memory[start:stop] = frame
        memory[stop:size] = bytes(size - stop)
        try:
            with memoryview(memory) as view, view[:size] as piece:
                written = self._disk.pwrite(self._fd, piece, base)
        except OSError as error:
            if error.errno != errno.EINVAL or self.written:
                raise
            self._refuse(error)  # some open such a file, and do not write it
            return self._disk.pwrite(self._usual, frame, at)
        self.padding += size - len(frame)
        self.written += size
        return len(frame) if written == size else max(0, min(written - start, len(frame) - 1))

    def tell(self) -> dict[str, Any]:
        """Its part of ``stats``."""
        facts = {"direct_io": self._fd >= 0, "direct_bytes": self.written, "direct_padding_bytes": self.padding}
        return facts | ({"direct_io_refused": self.refused} if self.refused else {})

    @staticmethod
    def nothing() -> dict[str, Any]:
        """The same where frames go through the page cache."""
        return {"direct_io": False, "direct_bytes": 0, "direct_padding_bytes": 0}

    def close(self) -> None:
        """Close what is open."""
        for fd in (self._fd, self._usual):
            if fd >= 0:
                self._disk.close(fd)
        self._fd = self._usual = -1
