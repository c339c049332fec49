"""The journal on disk: what was appended and synced is there after any crash, or the start stops and says why.

A journal is a directory of files (`files`): segments of frames, the newest of which is written to, a snapshot,
and a lock. What the bytes mean is in `records` and in swarmsh-journal(5); bodies and chunks are opaque here.
A journal is either read or written to, in this order::

    lock = StateLock(directory)
    lock.acquire()
    recovery = recover(directory)
    for chunk in recovery.chunks(): ...     # the newest snapshot
    for batch in recovery.batches(): ...    # what came after it; the last step mends a torn tail
    journal = Journal(directory, rotation_bytes)
    journal.begin(recovery.position, recovery.epoch)     # or a later position in a higher epoch
    end = journal.append(body, count)       # one write
    journal.sync()                          # one fdatasync, in this or another thread
    journal.mark_durable()                  # now journal.durable == end
    journal.prepare()                       # in another thread when journal.needs_room
    journal.idle()                          # when nothing came for a while
    journal.close()

Everything here blocks; nothing logs: facts are returned or raised (`errors`), and the caller tells them.

The parts: `disk` (system calls), `errors`, `files` (names), `lock`, `scan` (one segment, torn or corrupt),
`recovery`, `snapshot`, `room` and `reserve` (what can still be written), `writer`, `direct` (past the page cache),
`holdings` (what lies there), `archive`, `reading` (what is left of the past).
"""

from swarmshd.journal.archive import Tended, Terms
from swarmshd.journal.disk import DISK, Disk
from swarmshd.journal.errors import Corrupt, Full, Gone, JournalError, JournalFailed, Locked, VersionMismatch
from swarmshd.journal.holdings import Pruned, Sizes, fold_threshold
from swarmshd.journal.lock import StateLock
from swarmshd.journal.reading import Past
from swarmshd.journal.recovery import Batch, Recovery, Torn, recover
from swarmshd.journal.snapshot import SnapshotFacts, SnapshotWriter, read_snapshot, read_snapshot_header
from swarmshd.journal.writer import Journal

__all__ = [
    "DISK",
    "Batch",
    "Corrupt",
    "Disk",
    "Full",
    "Gone",
    "Journal",
    "JournalError",
    "JournalFailed",
    "Locked",
    "Past",
    "Pruned",
    "Recovery",
    "Sizes",
    "SnapshotFacts",
    "SnapshotWriter",
    "StateLock",
    "Tended",
    "Terms",
    "Torn",
    "VersionMismatch",
    "fold_threshold",
    "read_snapshot",
    "read_snapshot_header",
    "recover",
]
