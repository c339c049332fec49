"""The verb that empties a queue: it says how many items are meant, asks, and cancels them many at a time.

What was cancelled stays cancelled, so whoever interrupts it is told how far it came, and the same again does the rest.
"""

from __future__ import annotations

import os

from swarmctl.parse import Usage, positional
from swarmshd.protocol import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

UNHELD = ("ready", "scheduled", "blocked", "buried")
"""The states of open items that nobody holds."""


def clear(call: Call) -> int:
    """Cancel the open items of a queue."""
    queue = positional("name", call.words[0], "QUEUE", call.spoken)
    given = call.given
    chosen: Facts = {field: given[field] for field in ("state", "older") if field in given}
    states = _states(call)
    total = sum(found := _meant(call, {**chosen, "queue": [queue], "state": states}))
    if total and "yes" not in given:
        _ask(call, queue, dict(zip(states, found, strict=True)))
    if "held" in given:
        chosen["held"] = True
    if "message" in given:
        chosen["reason"] = given["message"]
    return _clear(call, {"queue": queue, **chosen}, total)


def _states(call: Call) -> list[str]:
    states: list[str] = call.given.get("state") or list(UNHELD)
    ended = [state for state in states if state in ("done", "cancelled")]
    if ended:
        raise Usage(f"--state: what is {ended[0]} has ended already; open items can be cancelled", call.spoken)
    if "claimed" in states and "held" not in call.given:
        raise Usage("--state: claimed items are left to their holders; say --held too", call.spoken)
    if "held" in call.given and "claimed" not in states:
        states = [*states, "claimed"]
    return list(dict.fromkeys(states))


def _meant(call: Call, chosen: Facts) -> list[int]:
    """How many items of each state are meant."""
    call.ask("queues", {"queue": chosen["queue"][0]})  # one that is not there is refused
    by = call.ask("count", {**chosen, "by": "state"})["by"]
    return [by.get(state, 0) for state in chosen["state"]]


def _ask(call: Call, queue: str, found: dict[str, int]) -> None:
    """Have somebody say yes. Raises Usage if nobody does."""
    parts = ", ".join(f"{number} {state}" for state, number in found.items() if number)
    meant = f"{counted(sum(found.values()), 'item')} of {queue} would be cancelled ({parts})"
    if call.json or not (os.isatty(0) and os.isatty(2)):
        raise Usage(f"{meant}; say --yes", call.spoken)
    call.out.flush()
    os.write(2, f"{meant}. Cancel them? [y/N] ".encode())
    if os.read(0, 1024).strip().lower() not in (b"y", b"yes"):
        raise Usage("nothing was cancelled", call.spoken)


def _clear(call: Call, arguments: Facts, total: int) -> int:
    """Ask again and again while there is more."""
    from swarmctl.connection import Refused
    from swarmctl.progress import Progress

    done, part, after, more = 0, 0, 0, True
    bar = Progress(lambda: done / max(total, 1), quiet=call.quiet or call.json)
    try:
        while more:
            reply = call.ask("clear", {**arguments, "after_id": after, "key": call.key(part)})
            done, part, after, more = done + reply["cleared"], part + 1, reply["after_id"], reply["more"]
            bar.show(done)
    except (KeyboardInterrupt, Refused) as ended:
        bar.end()
        if part or isinstance(ended, KeyboardInterrupt):
            call.remark(f"cancelled at least {done} of {counted(total, 'item')}; the same again does the rest")
        raise
    bar.end()
    if call.json:
        call.emit({"queue": arguments["queue"], "cleared": done})
    elif not call.quiet:
        call.out.row(arguments["queue"], done)
    return 0
