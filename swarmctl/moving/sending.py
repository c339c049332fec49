"""Rows -> frames of ``import`` -> what became of each row.

Several frames are under way at once, so that the daemon decides while the next rows are read; never more than
PARALLEL_JOBS, so that memory stays bounded. Each frame has an idempotency key and all have the name of the run: what a
lost reply had told is told again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swarmctl.connection import Refused
from swarmctl.jobs import frames_under_way

if TYPE_CHECKING:
    from swarmctl.cli import Call
    from swarmctl.moving.report import Place, Report

    Facts = dict[str, Any]

ROWS, BYTES = 250, 1 << 18
"""Bounds of one frame: small enough that others who ask the daemon are not kept waiting."""


class Sender:
    """Sends rows, and tells the report what became of them."""

    def __init__(self, call: Call, report: Report, *, claimed: str, dry_run: bool) -> None:
        self.call = call
        self.report = report
        self.common: Facts = {"run": call.key(), "claimed": claimed}
        if dry_run:
            self.common["dry_run"] = True
        self.most = frames_under_way(call)
        self.rows: list[list[Any]] = []
        self.places: list[tuple[Place, ...]] = []
        self.size = 0
        self.frames = 0
        self.under_way: dict[int, list[tuple[Place, ...]]] = {}

    def add(self, kind: str, row: Facts, *places: Place) -> None:
        """One row more, and the places of all that it was made of."""
        size = 128 + sum(
            len(value) * (1 if type(value) is bytes or value.isascii() else 4)
            for value in row.values()
            if isinstance(value, (str, bytes))
        )
        if self.rows and (len(self.rows) == ROWS or self.size + size > BYTES):
            self._send()
        self.rows.append([kind, row])
        self.places.append(places)
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
        self.under_way[number] = self.places
        self.frames += 1
        self.rows, self.places, self.size = [], [], 0
        while len(self.under_way) >= self.most:
            self._receive()

    def _receive(self) -> None:
        number, reply = self.call.connection.receive()
        places = self.under_way.pop(number)
        if isinstance(reply, Refused):
            taken = self.report.total("taken")
            reply.message = f"{reply.message}; {taken} were taken before (the same import goes on from there)"
            reply.facts["message"] = reply.message
            raise reply
        refused = {each["row"]: each for each in reply["refused"]}
        unchanged = frozenset(reply["unchanged"])
        for row, made_of in enumerate(places):
            if row in refused:
                why = refused[row]
                for place in made_of:
                    self.report.say("refused", place, f"{why['code']}: {why['message']}")
            else:
                for place in made_of:
                    place.source.counts["unchanged" if row in unchanged else "taken"] += 1
