"""A backup: the newest snapshot and the segments after it up to a durable position, in one stream with CRCs.

It is made of files beside a daemon that goes on: they are opened all at once, sealed ones never change, and the one in
use is read up to the position, before which nothing changes. A restore makes the journal of another daemon of it, on
this host or another: in an epoch far ahead, with numbers far ahead, and nothing claimed any more.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from swarmshd import compact, records
from swarmshd import events as e
from swarmshd.beside import Gauge
from swarmshd.journal import Corrupt, VersionMismatch, recover
from swarmshd.journal.disk import DISK, MODE_DIRECTORY
from swarmshd.journal.files import NAME, listing, read_segment_header
from swarmshd.salvage.founding import AHEAD, check_empty, found, skip_ahead
from swarmshd.salvage.survey import TRIES, end_of
from swarmshd.workqueue.applying import EFFECTS
from swarmshd.workqueue.rows import digest_of
from swarmshd.workqueue.tables import Tables

PART = 1 << 20
"""Bytes of a file in one chunk, at most."""

NAME_MAX = 64

INCOMING = "incoming"
RESTORED = "restored from a backup"

Sink = Callable[[bytes], object]


class _Part(NamedTuple):
    """A file that is open, and how much of it belongs to the backup."""

    name: str
    fd: int
    size: int


def write(
    directory: Path, upto: int, sink: Sink, *, salt: int, created: int, gauge: Gauge | None = None
) -> dict[str, Any]:
    """Write the backup of the journal in ``directory`` to ``sink``, up to a position that is durable.

    Raises:
        Corrupt, VersionMismatch: a header is damaged, or of a later format. OSError: a file cannot be read.
    """
    fds: list[int] = []
    try:
        parts, upto, epoch = _open_all(directory, upto, fds)
        gauge = gauge or Gauge()
        gauge.begin(sum(part.size for part in parts))
        head = records.pack_backup_header(records.BackupHeader(salt, upto, epoch, created))
        sink(head)
        running: int = records.WORD.unpack_from(head, records.BACKUP_HEADER.size)[0]
        chunks = total = 0
        for part in parts:
            for body in _bodies(part):
                chunk, running = records.pack_chunk_header(chunks, body, len(part.name), running)
                sink(chunk)
                sink(body)
                chunks += 1
                total += len(chunk) + len(body)
                gauge.at(total)
        sink(records.pack_end(chunks, len(parts), running))
    finally:
        for fd in fds:
            os.close(fd)
    return {"position": upto, "epoch": epoch, "files": len(parts), "bytes": len(head) + total + records.END_SIZE}


def end(directory: Path) -> int:
    """The position up to which a backup of a journal can go on which no daemon works.

    Raises:
        Corrupt, VersionMismatch: it is damaged, or of a later format. OSError: it cannot be read.
    """
    recovery = recover(directory, mend=False)
    for _batch in recovery.batches():
        pass
    return recovery.position


def _bodies(part: _Part) -> Iterator[bytes]:
    at = 0
    while at < part.size or not at:
        data = os.pread(part.fd, min(PART, part.size - at), at)
        if not data and at < part.size:
            raise OSError(0, "it is shorter than it was", part.name)
        yield part.name.encode() + data
        at += len(data) or 1


def _open_all(directory: Path, upto: int, fds: list[int]) -> tuple[list[_Part], int, int]:
    """Open what belongs to the backup, in the order in which it is read; the position it goes up to, and its epoch.

    That is further than ``upto`` where a snapshot has come in between that covers more, which is durable as well.
    """
    for tries in range(TRIES):
        try:
            return _open_once(directory, upto, fds)
        except FileNotFoundError:
            if tries == TRIES - 1:
                raise
            while fds:
                os.close(fds.pop())
    raise AssertionError


def _open_once(directory: Path, upto: int, fds: list[int]) -> tuple[list[_Part], int, int]:
    found_files = listing(directory)
    parts: list[_Part] = []
    covered = epoch = 0
    for position, path in found_files.snapshots[-1:]:
        covered = position
        upto = max(upto, covered)
        fd = _open(path, fds)
        parts.append(_Part(path.name, fd, os.fstat(fd).st_size))
    segments = []
    for start, path in found_files.segments:
        fd = _open(path, fds)
        segments.append((path, fd, read_segment_header(DISK, path, start)))
    for number, (path, fd, header) in enumerate(segments):
        last = number + 1 == len(segments) or segments[number + 1][2].start > upto
        if not last and segments[number + 1][2].previous <= covered:
            continue
        size = end_of(path, fd, header, upto) if last else os.fstat(fd).st_size
        parts.append(_Part(path.name, fd, size))
        epoch = header.epoch
        if last:
            break
    return parts, upto, epoch


def _open(path: Path, fds: list[int]) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    fds.append(fd)
    return fd


# -- reading it --------------------------------------------------------------------------------------------


class Unusable(Exception):
    """The file is no sound backup; the text says why."""


def unpack(source: BinaryIO, directory: Path) -> records.BackupHeader:
    """Write the files that a backup holds into ``directory``, which is there and empty.

    Raises:
        Unusable: it is damaged, cut, no backup, or of a later program. OSError: it cannot be read or written.
    """
    try:
        header, running = records.unpack_backup_header(_exactly(source, records.BACKUP_HEADER_SIZE))
        names: list[str] = []
        number = 0
        while not (head := _exactly(source, records.CHUNK_HEADER_SIZE)).startswith(records.END_MAGIC):
            length, named = records.unpack_chunk_header(head, number)
            body = _exactly(source, length)
            running = records.check_chunk(head, body, running)
            name = body[:named].decode("ascii")
            if named > NAME_MAX or not NAME.fullmatch(name):
                raise records.Unsound(f"it holds a file of the name {name[:NAME_MAX]!r}")
            with (directory / name).open("ab" if name in names[-1:] else "xb") as file:
                file.write(body[named:])
            names += [name] if name not in names[-1:] else []
            number += 1
        records.check_end(head + source.read(1), number, len(names), running)
    except (records.Unsound, UnicodeDecodeError, FileExistsError) as unsound:
        raise Unusable(f"the backup is damaged or cut short: {unsound}") from None
    except records.UnknownFormat as unknown:
        raise Unusable(f"the backup is of {unknown}") from None
    return header


def _exactly(source: BinaryIO, size: int) -> bytes:
    parts = []
    while size > 0 and (data := source.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def load(source: BinaryIO, place: Path) -> tuple[Tables, records.BackupHeader, int]:
    """The state that a backup holds, its header, and the last epoch; ``place`` is empty, and for a while is not.

    Raises:
        Unusable, OSError: as `unpack`.
    """
    header = unpack(source, place)
    try:
        recovery = recover(place, mend=False)
        tables, _ = compact.load(recovery)
    except (Corrupt, VersionMismatch, compact.Declined) as error:
        raise Unusable(f"the backup holds a damaged journal: {error}") from None
    if recovery.position != header.position:
        raise Unusable(f"the backup ends at position {recovery.position} and says {header.position}")
    return tables, header, recovery.epoch


def verify(source: BinaryIO, place: Path) -> dict[str, Any]:
    """Whether a backup can be restored, and what it holds. Raises Unusable, OSError."""
    tables, header, epoch = load(source, place)
    return {
        "position": header.position,
        "epoch": epoch,
        "created": header.created,
        "items": len(tables.items),
        "open": len(tables.open),
        "digest": digest_of(tables).hex(),
    }


def restore(source: BinaryIO, directory: Path) -> dict[str, Any]:
    """Make the journal of a new daemon in ``directory``, which is empty, of a backup. A failure leaves it empty.

    Raises:
        NotEmpty: there is something in it. Unusable: the backup is. OSError: something cannot be read or written.
    """
    check_empty(directory)
    directory.mkdir(MODE_DIRECTORY, parents=True, exist_ok=True)
    incoming = directory / INCOMING
    incoming.mkdir(MODE_DIRECTORY)
    try:
        tables, header, epoch = load(source, incoming)
        returned = let_go(tables)
        skip_ahead(tables)
        made = found(directory, tables, epoch + AHEAD)
    except BaseException:
        for _, path in listing(directory).segments + listing(directory).snapshots:
            path.unlink()
        raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return {
        "restored": str(directory),
        "position": made.position,
        "epoch": made.epoch,
        "of_position": header.position,
        "items": made.items,
        "open": len(tables.open),
        "returned": returned,
    }


def let_go(tables: Tables) -> int:
    """Nobody holds anything any more, and no agent is known: they were another host's; how many items were held."""
    tables.uid = tables.pid = None
    held = [item.id for item in tables.open.values() if item.claim is not None]
    for number in held:
        EFFECTS[e.ItemReturned](tables, e.ItemReturned(number, e.OUTAGE, None, RESTORED))
    EFFECTS[e.AgentsForgotten](tables, e.AgentsForgotten(list(tables.agents)))
    return len(held)
