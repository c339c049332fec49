"""What the files of a journal take, and which of them nobody needs any more."""

from pathlib import Path
from typing import NamedTuple

from swarmshd.journal import archive, files
from swarmshd.journal.disk import Disk
from swarmshd.journal.reserve import NAME as RESERVE
from swarmshd.journal.snapshot import read_snapshot_header

FOLD_BYTES = 64 << 20
"""A fold is due when the sealed segments exceed this and the last snapshot."""


class Sizes(NamedTuple):
    """What the journal takes on the disk, in bytes; `bytes` is what the segments and the snapshot take.

    `archive` is what the archive takes, `sealed` what a fold could take in, `largest` the largest of these segments,
    `used` what the segment in use holds, `reserve` what is kept for a full disk, `held` everything in the directory,
    and `free` what the file system has left for us, of `total`.
    """

    segments: int
    bytes: int
    sealed: int
    largest: int
    used: int
    snapshot: int
    snapshot_position: int
    reserve: int
    archive: int
    held: int
    free: int
    total: int


class Pruned(NamedTuple):
    """What `prune` removed from where recovery looks."""

    segments: int
    snapshots: int
    bytes: int


def sizes(disk: Disk, directory: Path, used: int) -> Sizes:
    """What there is on the disk now, by listing the directory."""
    found = files.listing(directory)
    space = disk.space(directory)
    snapshot = files.size_of(found.snapshots)
    segments = files.size_of(found.segments)
    return Sizes(
        segments=len(found.segments),
        bytes=segments + snapshot,
        sealed=files.size_of(found.segments[:-1]),
        largest=max([files.size_of([each]) for each in found.segments[:-1]], default=0),
        used=used,
        snapshot=snapshot,
        snapshot_position=found.snapshots[-1][0] if found.snapshots else 0,
        reserve=files.size_of([(0, directory / RESERVE)]),
        archive=sum(kept.bytes for kept in archive.segments(directory) + archive.snapshots(directory)),
        held=files.size_beside(directory, directory),
        free=space.free,
        total=space.total,
    )


def fold_threshold(sizes: Sizes) -> int:
    """Bytes of sealed segments above which a fold is due."""
    return max(FOLD_BYTES, sizes.snapshot)


def prune(disk: Disk, directory: Path, snapshot_position: int, *, keep: bool = False) -> Pruned:
    """Remove the older snapshots, and the segments whose every event the snapshot of that position covers.

    The segment in use always stays. With ``keep`` the segments go to the archive, and the snapshot before too.

    Raises:
        ValueError: there is no snapshot of that position. Corrupt: its header is damaged.
        OSError: a file cannot be removed; what is left is removed the next time.
    """
    found = files.listing(directory)
    if snapshot_position not in [position for position, _ in found.snapshots]:
        raise ValueError(f"no snapshot of position {snapshot_position}")
    read_snapshot_header(files.snapshot_path(directory, snapshot_position))
    disk.sync_directory(directory)  # the snapshot's name first, then nothing depends on the rest
    old = [path for position, path in found.snapshots if position < snapshot_position]
    covered = []
    for (_, path), (start, following) in zip(found.segments, found.segments[1:], strict=False):
        if files.read_segment_header(disk, following, start).previous > snapshot_position:
            break
        covered.append(path)
    size = files.size_of([(0, path) for path in old + covered])
    done = Pruned(len(covered), len(old), size)
    if keep and (old or covered):
        archive.put(disk, directory, covered, old.pop() if old else None)
        covered = []
    for path in old + covered:
        disk.unlink(path)
    disk.sync_directory(directory)
    return done
