"""The verb ``import``: which files there are, in which order they are read, and what is done with each object.

Queues and agents come first, so that items find them. Of the old system's files the completions are read before
everything else, because they tell which claims are done; then arrays of claims, then the files with one claim a line,
which know less; then the completions that nobody claims. The first that is said of an item counts, what else is said of
it is doubled.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from swarmctl.cli import Failure
from swarmctl.moving import legacy
from swarmctl.moving.reading import Found, objects
from swarmctl.moving.report import Place, Report
from swarmctl.moving.sending import Sender
from swarmctl.parse import show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from swarmctl.cli import Call
    from swarmctl.moving.legacy import Completion
    from swarmctl.moving.report import Source

    Facts = dict[str, Any]

NAMES_MAX = 2_000_000
"""Different items that one import tells apart; as many as a daemon holds."""

LINE_MAX = 4096
"""Bytes of the longest line of a velocity log."""

_ORDER = (legacy.COMPLETION, legacy.AGENT, legacy.CLAIM, legacy.VELOCITY, legacy.TELEMETRY)


def import_files(call: Call) -> int:
    """Bring in all that the paths hold; 1 if something of it could not be."""
    report = Report(call)
    dry_run = "dry_run" in call.given
    sender = Sender(call, report, claimed=call.given.get("claimed", "hold"), dry_run=dry_run)
    coming = _Coming(report, sender)
    for source in sorted(_sources(call, report), key=_rank):
        coming.take(source)
    coming.stubs()
    sender.finish()
    report.show(dry_run=dry_run)
    return int(report.failed)


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A regular file, for reading only.

    Raises:
        Failure: there is none, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Failure(f"{show(path)} is neither a file nor a directory")
            yield file
    except OSError as error:
        raise Failure(f"cannot read {show(path)}: {error.strerror}") from None


def _sources(call: Call, report: Report) -> list[Source]:
    """The files that the paths are or hold, each with the kind of what is in it."""
    return [
        report.source(path, _kind_of(path))
        for word in call.words
        for path in (sorted(_within(word)) if os.path.isdir(word) else [word])
    ]


def _within(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_file()]
    except OSError as error:
        raise Failure(f"cannot read {show(directory)}: {error.strerror}") from None


def _kind_of(path: str) -> str:
    """The kind of the first thing in the file that is of a kind; empty if nothing is."""
    with opened(path) as file:
        if legacy.velocity(file.readline(LINE_MAX)) is not None:
            return legacy.VELOCITY
        file.seek(0)
        for each in objects(file):
            kind = legacy.kind_of(each.value) if isinstance(each, Found) else None
            if kind is not None:
                return kind
    return ""


def _rank(source: Source) -> tuple[int, bool]:
    return (_ORDER.index(source.kind) if source.kind in _ORDER else len(_ORDER)), source.path.endswith(".jsonl")


class _Coming:
    """What has been seen of all files so far."""

    def __init__(self, report: Report, sender: Sender) -> None:
        self.report = report
        self.sender = sender
        self.completions: dict[str, tuple[Completion, Place]] = {}
        """Of items that no claim was seen of yet."""
        self.seen: set[int] = set()
        """Hashes of the names of all that was sent."""
        self.points = self.points_doubled = 0

    def take(self, source: Source) -> None:
        """Every object of one file."""
        with opened(source.path) as file:
            if source.kind == "":
                self._nothing(source, os.fstat(file.fileno()).st_size)
            elif source.kind == legacy.VELOCITY:
                self._velocity(source, file)
            else:
                self._objects(source, file)

    def _nothing(self, source: Source, size: int) -> None:
        """A file that the old system did not write; or that it emptied, which it did when two wrote at once."""
        if size == 0 and source.path.endswith(".json"):
            self.report.say("damaged", Place(source, 1, 0), "the file is empty: what it held is lost")
        else:
            self.report.say("left_out", Place(source, 1, 0), "nothing in it is of the old system")

    def _objects(self, source: Source, file: BinaryIO) -> None:
        passed_over = 0
        for each in objects(file):
            place = Place(source, each.line, each.offset)
            if isinstance(each, Found):
                source.counts["found"] += 1
                try:
                    self._object(each.value, place)
                except legacy.Unusable as unusable:
                    self.report.say("refused", place, str(unusable))
            elif source.kind == legacy.TELEMETRY:
                passed_over += each.size
            else:
                self.report.say("damaged", place, f"{each.why}; {each.size} bytes are passed over")
        if source.kind == legacy.TELEMETRY:
            self.report.notes.append(
                f"{source.path}: {source.counts['left_out']} spans and events are left out, with {passed_over} damaged "
                "bytes among them: telemetry is not imported"
            )

    def _velocity(self, source: Source, file: BinaryIO) -> None:
        """Nothing comes in: the completions have the points; whether they have all of them is told."""
        total = number = offset = 0
        while line := file.readline(LINE_MAX):
            number += 1
            found = legacy.velocity(line)
            source.counts["found"] += 1
            if found is not None:
                source.counts["left_out"] += 1
                total += found[1]
            else:
                self.report.say("left_out", Place(source, number, offset), "no line of a velocity log")
            offset += len(line)
        self.report.notes.append(
            f"{source.path}: {total} points; the completions have {self.points}, and {self.points_doubled} in records "
            "that are doubled. Points come in with the completions"
        )

    def _object(self, value: Facts, place: Place) -> None:
        kind = legacy.kind_of(value)
        if kind == legacy.CLAIM:
            self._claim(value, place)
        elif kind == legacy.COMPLETION:
            self._completion(value, place)
        elif kind == legacy.AGENT:
            row, repairs = legacy.agent_row(value)
            self._send("agent", row["agent"], row, repairs, place)
        elif kind == legacy.TELEMETRY:
            place.source.counts["left_out"] += 1
        else:
            self.report.say("refused", place, "neither a claim nor a completion nor an agent")

    def _claim(self, value: Facts, place: Place) -> None:
        ref = value.get("work_item_id") or value.get("work_id")
        name = None if ref is None else legacy.identity(ref)
        completion = self.completions.pop(name, None) if name is not None else None
        row, repairs = legacy.claim_row(value, None if completion is None else completion[0])
        self._send("item", row["ref"], row, repairs, place, *([] if completion is None else [completion[1]]))

    def _completion(self, value: Facts, place: Place) -> None:
        name, completion, repairs = legacy.completion_of(value)
        for repair in repairs:
            self.report.say("repaired", place, repair)
        if name in self.completions or hash(("item", name)) in self.seen:
            self.report.say("doubled", place, f"{name} was completed before; the first record counts")
            self.points_doubled += completion.points or 0
            return
        self._room(place)
        self.points += completion.points or 0
        self.completions[name] = completion, place

    def stubs(self) -> None:
        """The completions of items that no claim is of."""
        for name, (completion, place) in self.completions.items():
            row, repairs = legacy.stub_row(name, completion)
            self._send("item", name, row, repairs, place)

    def _send(self, kind: str, name: str, row: Facts, repairs: list[str], place: Place, *more: Place) -> None:
        key = hash((kind, name))
        if key in self.seen:
            self.report.say("doubled", place, f"{name} came before; what was said first counts")
            return
        self._room(place)
        self.seen.add(key)
        for repair in repairs:
            self.report.say("repaired", place, f"{name}: {repair}")
        self.sender.add(kind, row, place, *more)

    def _room(self, place: Place) -> None:
        if len(self.seen) + len(self.completions) >= NAMES_MAX:
            raise Failure(f"more than {NAMES_MAX} different names by {place.source.path}:{place.line}; import in parts")
