"""Rows -> frames of ``import`` -> what became of each row.

Several frames are under way at once, so that the daemon decides while the next rows are read; never more than
PARALLEL_JOBS, so that memory stays bounded. Each frame has an idempotency key and all have the name of the run: what a
lost reply had told is told again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from swarmctl.connection import Refused
from swarmctl.jobs import frames_under_way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swarmctl.cli import Call
    from swarmctl.moving.report import Place, Report

    Facts = dict[str, Any]

ROWS, BYTES = 250, 1 << 18
"""Bounds of one frame: small enough that others who ask the daemon are not kept waiting."""


class Sent(NamedTuple):
    """What is known here of a row: all that it was made of, its name, and what it waits for and did not come before."""

    places: tuple[Place, ...]
    name: str
    unseen: frozenset[str]


class Sender:
    """Sends rows, and tells the report what became of them.

    The daemon decides a dry run row by row, as if none before it had come in; what would have is known here, so its
    frames go one by one.
    """

    def __init__(self, call: Call, report: Report, *, claimed: str, dry_run: bool) -> None:
        self.call = call
        self.report = report
        self.common: Facts = {"run": call.key(), "claimed": claimed}
        if dry_run:
            self.common["dry_run"] = True
        self.dry_run = dry_run
        self.most = 1 if dry_run else frames_under_way(call)
        self.rows: list[list[Any]] = []
        self.sent: list[Sent] = []
        self.refused: set[str] = set()
        self.size = 0
        self.frames = 0
        self.under_way: dict[int, list[Sent]] = {}

    def add(self, sent: Sent, kind: str, row: Facts) -> None:
        """One row more."""
        size = 128 + sum(
            len(value) * (1 if type(value) is bytes or value.isascii() else 4)
            for value in row.values()
            if isinstance(value, (str, bytes))
        )
        if self.rows and (len(self.rows) == ROWS or self.size + size > BYTES):
            self._send()
        self.rows.append([kind, row])
        self.sent.append(sent)
        self.size += size

    def finish(self) -> None:
        """Send what is left, and wait for all replies."""
        if self.rows:
            self._send()
        while self.under_way:
            self._receive()

    def _send(self) -> None:
        arguments = {**self.common, "rows": self.rows, "key": self.call.key(self.frames)}
        (number,) = self.call.connection.send([("import", arguments, ())])
        self.under_way[number] = self.sent
        self.frames += 1
        self.rows, self.sent, self.size = [], [], 0
        while len(self.under_way) >= self.most:
            self._receive()

    def _receive(self) -> None:
        number, reply = self.call.connection.receive()
        rows = self.under_way.pop(number)
        if isinstance(reply, Refused):
            taken = self.report.total("taken")
            reply.message = f"{reply.message}; {taken} were taken before (the same import goes on from there)"
            reply.facts["message"] = reply.message
            raise reply
        refused = {each["row"]: each for each in reply["refused"]}
        held: dict[int, list[Facts]] = {}
        for each in reply.get("held", ()):  # a daemon of before does not tell it
            held.setdefault(each["row"], []).append(each)
        unchanged = frozenset(reply["unchanged"])
        for row, sent in enumerate(rows):
            if row in refused:
                self._refused(sent, refused[row])
                continue
            for place in sent.places:
                place.source.counts["unchanged" if row in unchanged else "taken"] += 1
            self._held_back(sent, held.get(row, ()))

    def _refused(self, sent: Sent, why: Facts) -> None:
        if self.dry_run:
            self.refused.add(sent.name)
        for place in sent.places:
            self.report.say("refused", place, f"{why['code']}: {why['message']}")

    def _held_back(self, sent: Sent, reasons: Sequence[Facts]) -> None:
        """Say why the row is held back, if it is; of a dry run, what comes in before it is not missing."""
        if self.dry_run:
            reasons = [each for each in reasons if each["waits"] in sent.unseen or each["waits"] in self.refused]
        for each in reasons[:1]:
            self.report.say("held_back", sent.places[0], f"{sent.name.partition('@')[0]} {each['message']}")
