"""What is printed: tables (columns for people, tabs for programs), JSON, lines on stderr."""

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from swarmshd.tuning.attributes import TUNABLE
from swarmshd.tuning.devices import KINDS
from swarmshd.tuning.host import Host, Refused, shown
from swarmshd.tuning.planning import Plan
from swarmshd.tuning.stack import Stack, carried

SCHEMA = 1
COLUMNS = 80
CARRIED_SHOWN = 6
"""Mount points in a line; the others are counted."""

_COLUMNS = {
    # what is told of a device, and its title on a terminal, where there is little room
    "device": "device",
    "class": "class",
    "size": "size",
    "scheduler": "scheduler",
    "nr_requests": "requests",
    "read_ahead_kb": "ahead",
    "rq_affinity": "aff",
    "nomerges": "nom",
    "wbt_lat_usec": "wbt",
    "carries": "carries",
    "detail": "detail",
}
_UNITS = ("B", "K", "M", "G", "T", "P")


def prepare() -> None:
    """Have streams that take whatever a path or a disk's model may hold, also where the caller has closed them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we live
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Teller:
    """Says things, as text or as JSON."""

    def __init__(self, program: str, *, as_json: bool) -> None:
        self.program = program
        self.json = as_json

    def say(self, text: str) -> None:
        """One line on stderr, that is no part of the answer."""
        print(f"{self.program}: {shown(text)}", file=sys.stderr)  # noqa: T201 - a program for people

    def refuse(self, refused: Refused) -> int:
        """Say why it cannot be done; the status."""
        if self.json:
            facts = {"ok": False, "code": refused.code, "exit": refused.status, "message": str(refused)}
            self.facts(facts)
        else:
            self.say(str(refused))
        return refused.status

    def facts(self, facts: dict[str, Any]) -> None:
        """One JSON object."""
        self._out(json.dumps({"schema": SCHEMA, **facts}, ensure_ascii=False) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table: aligned and with a head on a terminal, else fields between tabs."""
        if not rows:
            return
        texts = [[shown(str(cell)) or "-" for cell in row] for row in rows]
        if not sys.stdout.isatty():
            self._out("".join("\t".join(row) + "\n" for row in texts))
            return
        lines = [[column.upper() for column in columns], *texts]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        room = os.get_terminal_size(sys.stdout.fileno()).columns or COLUMNS
        for line in lines:
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            text = "  ".join(cells).rstrip()
            self._out((text if len(text) <= room else text[: room - 1] + "…") + "\n")

    def progress(self, rounds: int) -> Callable[[int], None]:
        """What draws a bar on a terminal when it is told how many of ``rounds`` are done."""
        if self.json or not sys.stderr.isatty():
            return lambda _: None

        def draw(done: int) -> None:
            bar = "#" * (done * 30 // rounds)
            end = "\r\x1b[K" if done == rounds else ""
            print(f"\r[{bar:<30}] {done} of {rounds} rounds{end}", end="", file=sys.stderr, flush=True)  # noqa: T201

        return draw

    def _out(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter would try again at its end
            if not isinstance(error, BrokenPipeError):
                raise Refused(f"cannot write to stdout: {error.strerror}") from None


def stack_facts(host: Host, stack: Stack) -> dict[str, Any]:
    """A stack for ``--json``."""
    mount = stack.mount
    devices = [
        {
            "device": place.node.name,
            "class": place.node.kind,
            "level": place.level,
            "queue": place.queue,
            "top": place.top,
            "number": place.node.number,
            "sequence": place.node.sequence,
            "bytes": place.node.bytes,
            "detail": place.node.detail,
            "queues": place.node.queues,
            "depth": place.node.depth,
            "schedulers": place.node.schedulers if place.node.scheduled else [],
            "values": place.node.values(),
            "carries": carried(host, place.node) if place.queue else [],
        }
        for place in stack.places
    ]
    mounted = None if mount is None else {"point": mount.point, "type": mount.kind, "source": mount.source}
    return {"path": stack.name, "mount": mounted, "devices": devices, "notes": stack.notes}


def show_stack(teller: Teller, host: Host, stack: Stack) -> None:
    """A stack as a table; what has the queue is marked by a star."""
    rows = []
    for place in stack.places:
        node = place.node
        values = node.values()
        indent = "  " * place.level if sys.stdout.isatty() else ""
        rows.append(
            [
                indent + node.name + ("*" if place.queue else ""),
                node.kind,
                _size(node.bytes),
                *[values.get(attribute, "-") for attribute in TUNABLE],
                _list(carried(host, node)) if place.queue else "-",
                node.detail or KINDS[node.kind],
            ]
        )
    if stack.mount is not None:
        teller.say(f"{stack.name} is on {stack.mount.point} ({stack.mount.kind}, {stack.mount.source})")
    teller.table(list(_COLUMNS.values()), rows)
    for note in stack.notes:
        teller.say(note)


def plan_facts(made: Plan) -> dict[str, Any]:
    """A plan for ``--json``."""
    changes = [
        {"device": c.node.name, "attribute": c.attribute, "current": c.current, "wanted": c.wanted, "why": c.why}
        for c in made.changes
    ]
    return {"changes": changes, "refused": made.refused, "remarks": made.remarks}


def show_plan(teller: Teller, host: Host, stack: Stack, made: Plan) -> None:
    """A plan as a table, and what there is to say about it."""
    rows = [[c.node.name, c.attribute, c.current, c.wanted, c.why] for c in made.changes]
    if rows:
        teller.table(("device", "attribute", "current", "wanted", "why"), rows)
    for device in stack.queues:
        lives = carried(host, device)
        if lives and any(change.node == device for change in made.changes):
            teller.say(f"{device.name} carries {_list(lives)}: what is changed there holds for all of it")
    for line in [*stack.notes, *made.remarks]:
        teller.say(line)


def _list(names: Sequence[str]) -> str:
    more = len(names) - CARRIED_SHOWN
    text = ", ".join(names[:CARRIED_SHOWN]) or "-"
    return f"{text} and {more} more" if more > 0 else text


def _size(number: int) -> str:
    unit = 0
    while number >= 10 * 1024 and unit < len(_UNITS) - 1:
        number //= 1024
        unit += 1
    return f"{number}{_UNITS[unit]}" if number else "-"
