"""``wait``: block until items have ended.

The daemon answers when all (or one) have ended, or after the time that it was given. Without ``--timeout`` the client
asks again and again, an hour at a time; on a terminal a second at a time, to draw how far it is. A restart of the
daemon in between is not seen: the connection asks the next one with what is left of the wait.
"""

from __future__ import annotations

import os
import time

from swarmctl.parse import Usage
from swarmctl.progress import clear, draw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

ROUND_MS = 3_600_000
"""Longest single wait that is asked for, in milliseconds."""

IDS_MAX = 10_000
"""Most ids in one frame."""


def wait(call: Call) -> int:
    """Wait; print what did not succeed. 0 all done, 1 one cancelled or buried, 3 time over, 4 unknown."""
    group = call.given.get("group")
    if (group is None) == (not call.words):
        raise Usage("it takes ids, or --group", call.spoken)
    timeout = call.given.get("timeout")
    until = None if timeout is None else time.monotonic() + timeout / 1000
    call.given.pop("timeout", None)  # here it is the wait's own; the connection keeps its usual patience
    some = bool(call.given.get("any"))
    if group is not None:
        reply = _until_ended(call, {"group": group, "any": some}, until)
        return _report(call, reply)
    ids = [item for item, _ in call.items()]
    if some and len(ids) > IDS_MAX:
        raise Usage(f"--any takes at most {IDS_MAX} ids", call.spoken)
    for start in range(0, len(ids), IDS_MAX):
        reply = _until_ended(call, {"ids": ids[start : start + IDS_MAX], "any": some}, until)
        call.status = max(call.status, _report(call, reply))
    return call.status


def _until_ended(call: Call, arguments: Facts, until: float | None) -> Facts:
    """Ask until the daemon says that it is over, or ``until`` has passed (then the refusal goes up)."""
    from swarmctl.connection import Refused

    bar = Bar(call)
    try:
        while True:
            left = ROUND_MS if until is None else max(0, round((until - time.monotonic()) * 1000))
            asked = min(left, bar.round_ms)
            try:
                return call.ask("wait", arguments, wait_ms=asked)
            except Refused as refused:
                if refused.code != "timeout" or (until is not None and asked == left):
                    _lost(call, [] if call.json else refused.facts.get("ended", []))
                    raise
                bar.show(refused.facts)
    finally:
        bar.end()


def _report(call: Call, reply: Facts) -> int:
    """Print each item that did not succeed; 1 if there was one."""
    lost = _lost(call, reply["ended"])
    if call.json:
        call.emit({"end": True, "total": reply["total"], "pending": reply["pending"], "failed": lost})
    return 1 if lost else 0


def _lost(call: Call, ended: list[Facts]) -> int:
    """Print those of ``ended`` that are not done, and return how many they are."""
    lost = [item for item in ended if item["state"] != "done"]
    for item in lost:
        call.tell(item, item["id"], (item.get(name) for name in ("id", "state", "exit_status", "reason")))
    return len(lost)


class Bar:
    """How many have ended, drawn on a terminal each second; elsewhere nothing, and long rounds."""

    def __init__(self, call: Call) -> None:
        self._drawn = False
        self._drawing = os.isatty(2) and not call.quiet and not call.json
        self.round_ms = 1000 if self._drawing else ROUND_MS

    def show(self, facts: Facts) -> None:
        """Draw it from the facts of a ``timeout``."""
        total, pending = facts.get("total"), facts.get("pending")
        if self._drawing and isinstance(total, int) and isinstance(pending, int):
            done = total - pending
            draw(done / max(total, 1), f"{done} of {total}")
            self._drawn = True

    def end(self) -> None:
        """Clear it."""
        if self._drawn:
            clear()
