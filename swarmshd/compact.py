"""The fold: the last snapshot and the sealed segments after it become the next snapshot, in a process of its own.

    python -m swarmshd.compact --directory DIR --upto POSITION --format N

It loads the snapshot and applies the events of the segments with the same code as the daemon, so every fold
rehearses a recovery; then it writes the state to a temporary name, reads it back, and renames it. The daemon goes
on meanwhile, as it never touches a sealed segment, and removes what the new snapshot covers when the fold is done.
Nothing is removed here.

It tells how far it is in the file that ``--progress`` names by its descriptor. It declines to read or write another
format than the daemon's (``--format``), so an update of the files under a running daemon cannot leave a snapshot that
this daemon could not read. It runs at low priority and ends with its parent.

On success it prints one JSON line: ``position`` (of the snapshot), ``written`` (false: there was nothing to fold),
``segments``, ``batches``, ``items``, ``bytes``, ``seconds``. Exit status: 0 done; 74 the disk
failed or is full; 75 another fold is running; 76 a difference of formats; 78 damage. Every failure is one line.
"""

import argparse
import gc
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter

from swarmshd import beside, events, journal
from swarmshd.workqueue.rows import DIGEST, Digest
from swarmshd.workqueue.tables import Tables

ROWS = 256
"""Rows in a chunk: few enough that the largest rows stay far below the bound of a chunk."""


PARTS, READ, WRITTEN = 1000, 0.6, 0.9
"""What it counts itself as, and how much of that is done when all was read, and when all was written; measured."""


class Declined(Exception):
    """The fold cannot be done by this program; the text says why."""


UNHEARD = beside.Gauge()


def load(recovery: journal.Recovery, gauge: beside.Gauge = UNHEARD) -> tuple[Tables, int]:
    """The state that the snapshot and the segments hold, and the number of batches applied.

    Raises:
        Declined: the snapshot, a row or an event is of a later format.
        journal.JournalError, OSError: as `journal.recover`.
    """
    snapshot = recovery.snapshot
    if snapshot is not None and snapshot.program_format > events.FORMAT:
        raise Declined(f"the snapshot is of format {snapshot.program_format}, this program writes {events.FORMAT}")
    tables = Tables()
    batches = done = 0
    whole = max(recovery.size, 1)
    try:
        for chunk in recovery.chunks():
            tables.restore(events.decode_rows(chunk))
            done += len(chunk)
            gauge.at(int(PARTS * READ * done / whole))
        for batch in recovery.batches():
            tables.replay(events.decode_batch(batch.body, batch.position))
            batches += 1
            done += len(batch.body)
            gauge.at(int(PARTS * READ * done / whole))
    except ValueError as unknown:  # the CRCs are right, so another program wrote it
        raise Declined(f"the journal holds what this program does not know: {unknown}") from None
    return tables, batches


def encoded(tables: Tables) -> Iterator[bytes]:
    """The rows of the state, encoded, and the row of their digest."""
    digest = Digest()
    for row in tables.rows():
        encoded_row = events.encode_row(row)
        digest.add(row, encoded_row)
        yield encoded_row
    yield events.encode_row([DIGEST, digest.value])


def write(
    directory: Path,
    tables: Tables,
    position: int,
    epoch: int,
    gauge: beside.Gauge = UNHEARD,
    disk: journal.Disk = journal.DISK,
) -> journal.SnapshotFacts:
    """Write the snapshot of ``tables``. Whatever goes wrong, nothing of it stays."""
    salt = int.from_bytes(os.urandom(4), "big")
    writer = journal.SnapshotWriter(
        directory, position, epoch, program_format=events.FORMAT, salt=salt, created=tables.time, disk=disk
    )
    try:
        rows = encoded(tables)
        written = 0
        while chunk := list(islice(rows, ROWS)):
            writer.add(events.join_rows(chunk), len(chunk))
            written += len(chunk)
            gauge.at(int(PARTS * (READ + (WRITTEN - READ) * min(1, written / max(len(tables.items), 1)))))
        gauge.at(int(PARTS * WRITTEN))
        return writer.finish()
    except BaseException:
        writer.abort()
        raise


def fold(
    directory: Path, upto: int, gauge: beside.Gauge = UNHEARD, disk: journal.Disk = journal.DISK
) -> dict[str, object]:
    """Make the next snapshot from all sealed segments that end at or before position ``upto``; return what was done."""
    began = perf_counter()
    gauge.begin(PARTS)
    recovery = journal.recover(directory, mend=False, upto=upto, disk=disk)
    done: dict[str, object] = {"position": recovery.snapshot_position, "written": False, "segments": 0}
    if recovery.segments:
        tables, batches = load(recovery, gauge)
        facts = write(directory, tables, recovery.position, recovery.epoch, gauge, disk)
        done = {"position": facts.position, "written": True, "segments": recovery.segments, "batches": batches}
        done |= {"items": len(tables.items), "bytes": facts.bytes}
    done["seconds"] = round(perf_counter() - began, 3)
    return done


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="swarmshd.compact", description="Fold sealed segments into a snapshot.")
    parser.add_argument("--directory", type=Path, required=True, help="the directory of the journal")
    parser.add_argument("--upto", type=int, required=True, help="leave segments alone that end after this position")
    parser.add_argument("--format", type=int, required=True, help="the format that the daemon reads")
    parser.add_argument("--progress", type=int, help="the descriptor of the file that tells how far it is")
    parser.add_argument("--buffer", type=int, default=journal.DISK.buffer, help="bytes of one read")
    parser.add_argument("--mapped", action="store_true", help="map sealed segments into memory")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    return parser.parse_args()


def main() -> int:
    """Run the fold that the command line asks for; return the exit status."""
    options = arguments()
    beside.settle(options.parent)
    gc.disable()  # nothing here is dropped before the end
    lock = journal.StateLock(options.directory, "fold.lock")
    try:
        if options.format != events.FORMAT:
            raise Declined(f"the daemon reads format {options.format}, this program writes {events.FORMAT}: restart it")
        options.directory.stat()  # there is nothing to make here
        lock.acquire(retries=0)
        with lock:
            disk = journal.Disk(options.buffer, mapped=options.mapped)
            done = fold(options.directory, options.upto, beside.Gauge(options.progress), disk)
            print(json.dumps(done), flush=True)  # noqa: T201 - its one result
    except journal.Locked as locked:
        return beside.fail("compact", locked, 75)
    except Declined as error:
        return beside.fail("compact", error, 76)
    except journal.JournalError as error:
        return beside.fail("compact", error, 78)
    except OSError as error:
        return beside.fail("compact", error, 74)
    return 0


if __name__ == "__main__":
    sys.exit(main())
