"""The verb ``import``: which files there are, in which order they are read, and what is done with each object.

Queues and agents come first, so that items find them. Of the old system's files the completions are read before
everything else, because they tell which claims are done; then arrays of claims, then the files with one claim a line,
which know less; then the completions that nobody claims. The first that is said of an item counts, what else is said of
it is doubled.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from swarmctl.cli import Failure
from swarmctl.moving import legacy, lines
from swarmctl.moving.files import opened
from swarmctl.moving.reading import Damage, Found, objects
from swarmctl.moving.report import Place, Report
from swarmctl.moving.sending import Sender, Sent
from swarmctl.parse import show
from swarmctl.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from swarmctl.cli import Call
    from swarmctl.moving.legacy import Completion
    from swarmctl.moving.report import Source

    Facts = dict[str, Any]

NAMES_MAX = 2_000_000
"""Different items that one import tells apart; as many as a daemon holds."""

LINE_MAX = 4096
"""Bytes of the longest line of a velocity log."""

OURS = "export"
"""The kind of a file that export wrote."""

STDIN = "standard input"

_ORDER = (OURS, legacy.COMPLETION, legacy.AGENT, legacy.CLAIM, legacy.VELOCITY, legacy.TELEMETRY)


def import_files(call: Call) -> int:
    """Bring in all that the paths hold; 1 if something of it could not be."""
    report = Report(call)
    dry_run = "dry_run" in call.given
    sources = sorted(_sources(call, report), key=_rank)
    sender = Sender(call, report, claimed=call.given.get("claimed", "hold"), dry_run=dry_run)
    coming = _Coming(report, sender, sum(source.size for source in sources))
    try:
        for source in sources:
            coming.take(source)
        coming.stubs()
        sender.finish()
    finally:
        coming.progress.end()
    report.show(dry_run=dry_run)
    return int(report.failed)


def _sources(call: Call, report: Report) -> list[Source]:
    """The files that the paths are or hold, each with the kind of what is in it."""
    found = []
    for word in call.words:
        if word == "-":
            found.append(report.source(STDIN, OURS))
        elif os.path.isdir(word):
            found += [_looked_at(report, path) for path in sorted(_within(word))]
        else:
            found.append(_looked_at(report, word))
            found[-1].named = True
    if call.words.count("-") > 1:
        raise Failure("standard input can be read once", 2, "bad_request")
    return found


def _within(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_file() and entry.name[0] != "."]
    except OSError as error:
        raise Failure(f"cannot read {show(directory)}: {error.strerror}") from None


def _looked_at(report: Report, path: str) -> Source:
    with opened(path) as file:
        source = report.source(path, _kind_of(file))
        source.size = os.fstat(file.fileno()).st_size
    return source


def _kind_of(file: BinaryIO) -> str:
    """The kind of the first thing in the file that is of a kind; empty if nothing is."""
    if legacy.velocity(file.readline(LINE_MAX)) is not None:
        return legacy.VELOCITY
    file.seek(0)
    for each in objects(file):
        if isinstance(each, Found):
            kind = OURS if lines.is_ours(each.value) else legacy.kind_of(each.value)
            if kind is not None:
                return kind
    return ""


def _rank(source: Source) -> tuple[int, bool]:
    return (_ORDER.index(source.kind) if source.kind in _ORDER else len(_ORDER)), source.path.endswith(".jsonl")


def _hash(row: Facts) -> int:
    try:
        return hash(frozenset(row.items()))
    except TypeError:  # it holds lists
        return hash(repr(sorted(row.items())))


def _texts(value: object) -> list[str]:
    """What of a list are texts: whether it is one, and of what, is for the daemon to say."""
    return [each for each in value if type(each) is str] if type(value) is list else []


class _Coming:
    """What has been seen of all files so far."""

    def __init__(self, report: Report, sender: Sender, size: int) -> None:
        self.report = report
        self.sender = sender
        self.completions: dict[str, tuple[Completion, Place]] = {}
        """Of items that no claim was seen of yet."""
        self.seen: dict[int, int] = {}
        """The names of all that was sent, and what was said of each, as hashes."""
        self.points = self.points_doubled = 0
        self.whole: Facts | None = None
        """Of our own lines since the first one: how many there are of each kind; None before it and after the last."""
        self.passed = 0
        self.file: BinaryIO | None = None
        self.progress = Progress(self._share(size) if size else None, quiet=report.call.quiet)

    def _share(self, size: int) -> Callable[[], float]:
        return lambda: (self.passed + (self.file.tell() if self.file else 0)) / size

    def take(self, source: Source) -> None:
        """Every object of one file."""
        if source.path == STDIN:
            self._objects(source, sys.stdin.buffer)
            return
        with opened(source.path) as self.file:
            if source.kind == "":
                self._nothing(source, self.file)
            elif source.kind == legacy.VELOCITY:
                self._velocity(source, self.file)
            else:
                self._objects(source, self.file)
        self.file = None
        self.passed += source.size

    def _nothing(self, source: Source, file: BinaryIO) -> None:
        """A file that the old system did not write; or that it emptied or cut, which it did when two wrote at once."""
        begins = file.read(64).lstrip()[:1]
        file.seek(0)
        damages = [each for each in objects(file) if isinstance(each, Damage)] if begins in (b"[", b"{") else []
        if source.size == 0 and source.path.endswith(".json"):
            self.report.say("damaged", Place(source, 1, 0), "the file is empty: what it held is lost")
        elif damages:
            for each in damages:
                self._damaged(each, source)
        elif source.named:
            self.report.say("refused", Place(source, 1, 0), "nothing in it is of the old system, or was exported")
        else:
            self.report.say("left_out", Place(source, 1, 0), "nothing in it is of the old system")

    def _damaged(self, damage: Damage, source: Source) -> None:
        place = Place(source, damage.line, damage.offset)
        self.report.say("damaged", place, f"{damage.why}; {damage.size} bytes are passed over")

    def _objects(self, source: Source, file: BinaryIO) -> None:
        passed_over = 0
        self.whole = None
        place = Place(source, 1, 0)
        for each in objects(file):
            place = Place(source, each.line, each.offset)
            if isinstance(each, Found):
                source.counts["found"] += 1
                if source.counts["found"] % 256 == 0:
                    self.progress.show(source.counts["found"])
                try:
                    self._object(each.value, place)
                except legacy.Unusable as unusable:
                    self.report.say("refused", place, str(unusable))
            elif source.kind == legacy.TELEMETRY:
                passed_over += each.size
            else:
                self._damaged(each, source)
        if source.kind == legacy.TELEMETRY:
            self.report.notes.append(
                f"{source.path}: {source.counts['left_out']} spans and events are left out, with {passed_over} damaged "
                "bytes among them: telemetry is not imported"
            )
        self._whole(place)

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
        if lines.is_ours(value):
            self._ours(value, place)
            return
        if place.source.path == STDIN:
            raise legacy.Unusable("standard input takes what `swarmctl export` writes, and nothing else")
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

    def _whole(self, place: Place) -> None:
        """Here an export has ended, if one had begun."""
        if self.whole is not None:
            self.report.say("damaged", place, "the last line of the export is missing: it was cut")
            self.whole = None

    def _ours(self, value: Facts, place: Place) -> None:
        """One of our own lines."""
        counts = place.source.counts
        if "swarmsh" in value:
            counts["left_out"] += 1
            if value["swarmsh"] != lines.HEAD or value.get("schema") != lines.SCHEMA:
                what = f"{str(value['swarmsh'])[:40]!r} of schema {str(value.get('schema'))[:40]!r}"
                raise Failure(f"{place.source.path}:{place.line}: {what}; this program reads {lines.SCHEMA}")
            self._whole(place)
            self.whole = dict.fromkeys(lines.KINDS, 0)
        elif value["kind"] == lines.END:
            counts["left_out"] += 1
            said = {kind: value.get(f"{kind}s") for kind in lines.KINDS}
            if self.whole is None:
                self.report.say("damaged", place, "a last line without a first one: the beginning is missing")
            elif said != self.whole:
                self.report.say("damaged", place, f"{said} were written, {self.whole} are here")
            self.whole = None
        else:
            if self.whole is None and place.line == 1:
                self.report.say("damaged", place, "the first line of the export is missing")
            if self.whole is not None:
                self.whole[value["kind"]] += 1
            kind, row = lines.row_of(value)
            name = row.get("ref") or row.get("origin") or f"#{row.get('id')}@{row.get('created_at')}"
            self._send(kind, str(name if kind == "item" else row.get(kind)), row, [], place)

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
        said = _hash(row)
        before = self.seen.get(key)
        if before == said:
            place.source.counts["doubled"] += 1
            return
        if before is not None:
            self.report.say("doubled", place, f"{name} came before, with other content; what was said first counts")
            return
        self._room(place)
        waits = frozenset(each for each in _texts(row.get("waits")) if hash(("item", each)) not in self.seen)
        self.seen[key] = said
        for repair in repairs:
            self.report.say("repaired", place, f"{name}: {repair}")
        self.sender.add(Sent((place, *more), name, waits), kind, row)

    def _room(self, place: Place) -> None:
        if len(self.seen) + len(self.completions) >= NAMES_MAX:
            raise Failure(f"more than {NAMES_MAX} different names by {place.source.path}:{place.line}; import in parts")
