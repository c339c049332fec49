"""What was changed, so that it can be undone; and the lock that lets one change at a time.

The values of sysfs end with the host's run, so the record lies in /run. Each value is kept under the device's name and
disk sequence, with what was there before and what the kernel stored after; what is about to be written is recorded
first, so that a change in the middle of which the program dies can be undone too. A record of another boot counts for
nothing. One that cannot be read is not guessed at.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from swarmshd.tuning.attributes import TUNABLE
from swarmshd.tuning.devices import Node
from swarmshd.tuning.host import EX_DENIED, EX_PERSON, EX_TRY_AGAIN, Refused

VERSION = 1
ENTRIES_MAX = 10_000
DIRECTORY = "/run/swarmsh-tune"


class Entry(NamedTuple):
    """One value that was changed. Without ``after`` it was about to be written when the program ended.

    ``wanted`` is empty where nobody asked for it: a change of the scheduler brought it along.
    """

    device: str
    sequence: str
    attribute: str
    before: str
    after: str | None
    wanted: str


def directory() -> str:
    """Where record and lock are: what systemd made for the unit, else the same place."""
    return os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or DIRECTORY


class Record:
    """The entries, and the file that they are in."""

    def __init__(self, path: str, boot_id: str) -> None:
        self.path = path
        self.boot_id = boot_id
        self.entries: dict[tuple[str, str], Entry] = {}

    @classmethod
    def load(cls, boot_id: str) -> "Record":
        """The record of this boot.

        Raises:
            Refused: there is a file, and it cannot be read or understood.
        """
        record = cls(f"{directory()}/state.json", boot_id)
        try:
            with open(record.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return record
        except OSError as error:
            raise Refused(f"{record.path}: {error.strerror}", EX_DENIED, "denied") from None
        try:
            record._fill(json.loads(data))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            why = str(error).splitlines()[0]
            raise Refused(
                f"{record.path} is damaged ({why}): what was changed cannot be told from it; remove it, and what is "
                "there now counts as what was there first, or start the host anew for the kernel's own values",
                EX_PERSON,
                "damaged",
            ) from None
        return record

    def _fill(self, facts: Any) -> None:
        if not isinstance(facts, dict) or facts.get("version") != VERSION:
            raise ValueError("no record of this program's version")
        if facts["boot_id"] != self.boot_id:
            return
        for fields in facts["entries"][:ENTRIES_MAX]:
            entry = Entry(**fields)
            texts = [entry.device, entry.sequence, entry.attribute, entry.before, entry.wanted]
            if not all(isinstance(text, str) for text in texts) or entry.attribute not in TUNABLE:
                raise ValueError("an entry that this program did not write")
            if entry.after is not None and not isinstance(entry.after, str):
                raise ValueError("an entry that this program did not write")
            self.entries[entry.device, entry.attribute] = entry

    def save(self) -> None:
        """Replace the file.

        Raises:
            Refused: it cannot be written.
        """
        facts = {
            "version": VERSION,
            "boot_id": self.boot_id,
            "entries": [entry._asdict() for entry in self.entries.values()],
        }
        fresh = f"{self.path}.new"
        try:
            with open(fresh, "w", encoding="utf-8") as file:
                json.dump(facts, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}; swarmsh-tune verify says what is in effect") from None

    # -- what is in it ---------------------------------------------------------------------------------

    def of(self, node: Node) -> dict[str, Entry]:
        """The entries about this very device, by attribute; those about another of its name are dropped."""
        found = {}
        for key, entry in list(self.entries.items()):
            if entry.device == node.name and entry.sequence == node.sequence:
                found[entry.attribute] = entry
            elif entry.device == node.name:
                del self.entries[key]
        return found

    def first(self, node: Node, attribute: str, current: str) -> str:
        """What was there before our first change; what is there now, if somebody else has changed it since."""
        entry = self.of(node).get(attribute)
        return entry.before if entry is not None and current in {entry.after, entry.wanted} else current

    def begin(self, node: Node, attribute: str, before: str, wanted: str) -> None:
        """Record that a value is about to be written."""
        entry = Entry(node.name, node.sequence, attribute, before, None, wanted)
        self.entries[node.name, attribute] = entry

    def settle(self, node: Node, attribute: str, before: str, after: str, wanted: str) -> None:
        """Record what the kernel has stored; nothing is kept where all is as it was."""
        if before == after:
            self.entries.pop((node.name, attribute), None)
        else:
            self.entries[node.name, attribute] = Entry(node.name, node.sequence, attribute, before, after, wanted)

    def forget(self, entry: Entry) -> None:
        """What was undone is recorded no more."""
        self.entries.pop((entry.device, entry.attribute), None)


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock.

    Raises:
        Refused: somebody else holds it, or it cannot be made.
    """
    place = directory()
    try:
        os.makedirs(place, 0o755, exist_ok=True)
        fd = os.open(f"{place}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Refused(f"{place}: {error.strerror}; it takes root", EX_DENIED, "denied") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            raise Refused(
                f"another swarmsh-tune (process {who or 'unknown'}) is at work; try again when it has ended",
                EX_TRY_AGAIN,
                "busy",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
