"""What came of an import: numbers by file, and a line for whatever was not taken as it stood.

Lines of one kind and file are shown up to ``LINES_MAX``; the others are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from swarmctl.cli import complain
from swarmctl.screen import Column

if TYPE_CHECKING:
    from swarmctl.cli import Call
    from swarmctl.screen import Screen

    Facts = dict[str, Any]

LINES_MAX = 20

PATH_SHOWN = 36
"""Characters of a path in the table."""

COUNTS = ("found", "taken", "unchanged", "repaired", "doubled", "left_out", "refused", "damaged", "held_back")
"""What is counted of each file. What was found is taken, unchanged, doubled, left out or refused.

What is held back was taken, and waits for an item that had not come in before it.
"""


class Place(NamedTuple):
    """Where something stands."""

    source: Source
    line: int
    offset: int


class Source:
    """One file, what is in it, and what came of that. ``named``: it was named itself, not its directory."""

    def __init__(self, path: str, kind: str = "") -> None:
        self.path = path
        self.kind = kind
        self.size = 0
        self.named = False
        self.counts = dict.fromkeys(COUNTS, 0)
        self.shown: dict[str, int] = {}


class Report:
    """The files that were read, and the lines about them. ``call`` says how they are shown."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.sources: list[Source] = []
        self.lines: list[Facts] = []
        self.notes: list[str] = []

    def source(self, path: str, kind: str) -> Source:
        """One more file."""
        made = Source(path, kind)
        self.sources.append(made)
        return made

    def say(self, what: str, place: Place, why: str, *, count: int = 1) -> None:
        """Count something that was not taken as it stood, and say where and why."""
        source = place.source
        source.counts[what] += count
        shown = source.shown[what] = source.shown.get(what, 0) + 1
        if shown > LINES_MAX:
            return
        if self.call.json:
            self.lines.append(
                {"what": what, "file": source.path, "line": place.line, "offset": place.offset, "why": why}
            )
        elif not self.call.quiet:
            at = f"{source.path}:{place.line}" if place.line else source.path
            self.call.out.flush()
            complain("", f"{at} (byte {place.offset}): {what.replace('_', ' ')}: {why}")

    @property
    def failed(self) -> bool:
        """Whether something was refused or damaged."""
        return any(source.counts["refused"] or source.counts["damaged"] for source in self.sources)

    def total(self, what: str) -> int:
        """The sum over all files."""
        return sum(source.counts[what] for source in self.sources)

    def show(self, **facts: object) -> None:
        """The numbers: a line a file, and their sum."""
        call = self.call
        totals = {what: self.total(what) for what in COUNTS}
        if call.json:
            files = [{"file": source.path, "kind": source.kind, **source.counts} for source in self.sources]
            call.emit({**facts, **totals, "files": files, "lines": self.lines, "notes": self.notes})
            return
        for source in self.sources:
            for what, shown in source.shown.items():
                if shown > LINES_MAX and not call.quiet:
                    complain("", f"{source.path}: {shown - LINES_MAX} more: {what.replace('_', ' ')}")
        rows = [] if call.quiet else [(source.path, source.kind, source.counts) for source in self.sources]
        rows.append(("total", "dry run" if facts.get("dry_run") else "", totals))
        if call.for_people:
            call.lines(table(call.screen, rows))
        else:
            if not call.quiet:
                call.out.row("file", "kind", *COUNTS)
            for path, kind, counts in rows:
                call.out.row(path, kind, *counts.values())
        call.out.flush()
        for note in self.notes:
            complain("", note)


def table(screen: Screen, rows: list[tuple[str, str, dict[str, int]]]) -> list[str]:
    """The numbers for a terminal; what is nothing everywhere takes no column, and of a long path the end is shown."""
    shown = [name for name in COUNTS if any(counts[name] for _, _, counts in rows)]
    header: list[Column | str] = ["FILE", "KIND", *(name.replace("_", " ").upper() for name in shown)]
    return screen.table(
        header,
        [
            [path if len(path) <= PATH_SHOWN else f"…{path[1 - PATH_SHOWN :]}", kind, *(counts[name] for name in shown)]
            for path, kind, counts in rows
        ],
    )
