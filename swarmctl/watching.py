"""``watch``: events as they happen, one JSON object a line.

The daemon answers with what came after a position, and with the position to go on from; between two answers nothing
is kept for us. So a restart of the daemon is not seen, a slow reader of our output misses nothing, and each line can
be gone on from: ``--since`` takes its ``position``, or a time for the first of them.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

ROUND_MS = 600_000
"""Longest single wait that is asked for, in milliseconds."""

EVENTS = 1000
"""Most events that are asked for at a time."""

TIME_OVER = 3


def watch(call: Call) -> int:
    """Print events. 0 after the first with --until-change, 3 when the time is over, 4 if the position is gone."""
    given = call.given
    timeout = given.pop("timeout", None)  # here it is the watch's own; the connection keeps its usual patience
    until = None if timeout is None else time.monotonic() + timeout / 1000
    wanted: Facts = {name: given[name] for name in ("queue", "type", "group") if name in given}
    if call.words:
        wanted["ids"] = [item for item, _ in call.items()]
    once = "until_change" in given
    begin: Facts = given.get("since", {})
    if not begin:  # first where we are: else what happens before the first answer could be lost with the daemon
        begin = {"since": _ask(call, wanted, {}, 0, 1)["position"]}
    while True:
        left = ROUND_MS if until is None else max(0, round((until - time.monotonic()) * 1000))
        reply = _ask(call, wanted, begin, min(left, ROUND_MS), 1 if once else EVENTS)
        since = reply["position"]
        begin = {"since": since}
        for event in reply["events"]:
            _print(call, event)
        call.out.flush()
        if once and reply["events"]:
            return 0
        if until is not None and time.monotonic() >= until and not reply["more"]:
            return _over(call, since)


def _ask(call: Call, wanted: Facts, begin: Facts, wait_ms: int, limit: int) -> Facts:
    """One request; afterwards ``wanted`` has numbers in the place of refs, which are forgotten with their items."""
    reply = call.ask("watch", {**wanted, **begin, "limit": limit}, wait_ms=wait_ms)
    if "ids" in reply:
        wanted["ids"] = reply["ids"]
    return reply


def _print(call: Call, event: Facts) -> None:
    if not call.quiet:
        call.emit(event)
        return
    for number in [event["id"]] if "id" in event else event.get("ids", ()):
        call.out.row(number)


def _over(call: Call, since: int) -> int:
    """The time is over: say where to go on."""
    if call.json:
        call.emit({"end": True, "position": since})
    elif not call.quiet:
        call.remark(f"time over; --since {since} goes on from here")
    return TIME_OVER
