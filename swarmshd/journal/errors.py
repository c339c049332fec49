"""What can be wrong with a journal, as exceptions. The text of each is one line for a person."""

import os
from errno import EBADMSG, EDQUOT, EIO, ENODATA, ENOSPC, EUCLEAN, errorcode
from pathlib import Path

from swarmshd import records

ARCHIVE = "archive"
"""The directory in that of the journal that has what recovery does not need."""

NO_ROOM = (ENOSPC, EDQUOT)
"""What the system says when the disk, or what a user may take of it, is full."""

UNREADABLE = (EIO, ENODATA, EUCLEAN, EBADMSG)
"""What it says when the disk does not give what is there, or the file system finds itself damaged."""


def said(error: OSError) -> str:
    """What the system says of a call that failed, in words and by its short name."""
    return f"{error.strerror} ({errorcode.get(error.errno or 0, error.errno)})"


def mend(directory: Path) -> str:
    """The command that makes a sound journal of a damaged one in ``directory``."""
    return f"swarmctl journal repair --state-dir {directory} --to {directory}.sound"


class JournalError(Exception):
    """The base of every error that the journal raises beside `OSError`."""


class Corrupt(JournalError):
    """Bytes that were durable are damaged or missing. Nothing was changed; a person must decide."""

    def __init__(self, path: Path, offset: int, why: str) -> None:
        place = path.parent.parent if path.parent.name == ARCHIVE else path.parent
        self.mend = mend(place)
        super().__init__(f"journal damaged: {path} at offset {offset}: {why}; run `{self.mend}`")
        self.path = path
        self.offset = offset
        self.why = why


class VersionMismatch(JournalError):
    """A file of the journal was written by a newer program. Nothing was changed."""

    def __init__(self, path: Path, found: int) -> None:
        super().__init__(
            f"{path} is of journal format {found}, and this program reads format {records.FORMAT}; "
            "start the newer program that wrote it"
        )
        self.path = path
        self.found = found


class Gone(JournalError):
    """A file of the past was removed while it was to be read. Whoever looks again sees what is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was removed meanwhile; ask again")
        self.path = path


class Locked(JournalError):
    """Another process holds the lock. `pid` is what the holder wrote there, 0 if nothing is readable."""

    def __init__(self, pid: int, path: Path) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{path} is held by {holder}; stop that one first, or use another directory")
        self.pid = pid
        self.path = path


class Full(JournalError):
    """The disk has no room for what is to be written. Nothing was changed, and it may be tried again.

    `what` says what it is for, if not for more of the journal; `most` is the setting that allows no more.
    """

    def __init__(self, path: Path, wanted: int, *, what: str = "", most: int = 0) -> None:
        need = f"{what}, {wanted} bytes" if what else f"{wanted} more bytes"
        if most:
            text = (
                f"the files in {path.parent} may take {most} bytes (MAX_DISK_MB), and there is no room left for {need}"
            )
            super().__init__(f"{text}; raise it, or let ended items be forgotten")
        else:
            super().__init__(f"no room on the disk of {path} for {need}; free some space there")
        self.path = path
        self.wanted = wanted


class JournalFailed(JournalError):
    """A write or a sync failed. What is on the disk is unknown until recovery, so the journal takes nothing more.

    A failed sync must not be tried again: the kernel may have dropped the pages and would then report success.
    """

    def __init__(self, path: Path, operation: str, errno: int) -> None:
        super().__init__(
            f"the journal could not be written: {operation} of {path}: {os.strerror(errno)} "
            f"({errorcode.get(errno, errno)}); mend the disk, then start again"
        )
        self.path = path
        self.operation = operation
        self.errno = errno
