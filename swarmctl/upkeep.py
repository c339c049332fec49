"""What a person has the daemon do to itself and waits for: a snapshot, the indexes gone through."""

from __future__ import annotations

import os

from swarmshd.protocol import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

LONGEST = 3600.0
"""Seconds that the indexes may take, unless --timeout says otherwise: they are gone through beside all other work."""

LOOK, PATIENCE = 250, 30_000
"""Milliseconds after which it is asked how far it is, where somebody looks, and elsewhere."""


def snapshot(call: Call) -> int:
    """Have a snapshot made, and say which."""
    from swarmctl.progress import bar

    seen = os.isatty(2) and not call.quiet and not call.json
    facts: Facts = {"done": False, "share": 0.0}
    asked: Facts = {}
    with bar(seen) as show:
        while not facts["done"]:
            show(facts["share"])
            facts = call.ask("snapshot", {**asked, "key": call.key()}, wait_ms=LOOK if seen else PATIENCE)
            asked = {"upto": facts["upto"]}
    del facts["done"], facts["upto"]
    if call.json:
        call.emit(facts)
    elif call.quiet:
        call.out.row(facts["position"])
    elif call.out.terminal:
        from swarmctl.render import amount

        made = f"in {facts['seconds']:.1f} s" if facts["written"] else "there already, and nothing happened since"
        call.out.text(f"snapshot of position {facts['position']}: {amount(facts['bytes'])}, {made}\n")
    else:
        call.out.row(facts["position"], facts["bytes"], facts["seconds"])
    return 0


def _gone_through(call: Call) -> Facts:
    """What was found. Where somebody looks, the daemon is asked meanwhile how far it is."""
    from swarmctl.connection import Refused
    from swarmctl.progress import bar

    timeout = None if "timeout" in call.given else LONGEST
    seen = os.isatty(2) and not call.quiet and not call.json
    (number,) = call.connection.send([("reindex", {"key": call.key()}, ())], timeout)
    with bar(seen) as show:
        show(0.0)
        while True:
            try:
                answered, reply = call.connection.receive(LOOK / 1000 if seen else None)
            except TimeoutError:
                call.connection.send([("stats", {"section": "queue"}, ())])
                continue
            if answered != number:
                percent = None if isinstance(reply, Refused) else reply["sections"]["queue"].get("reindexed_percent")
                show((percent or 0) / 100)
            elif isinstance(reply, Refused):
                raise reply
            else:
                return reply


def reindex(call: Call) -> int:
    """Have the indexes gone through, and say what differed."""
    found = _gone_through(call)
    if call.json:
        call.emit(found)
        return 0
    if call.out.terminal and not call.quiet:
        differed = (
            f"{counted(found['differed'], 'entry', 'entries')} differed, put right now"
            if found["differed"]
            else "nothing differed"
        )
        call.out.text(f"{counted(found['items'], 'item')} in {found['seconds']:.1f} s: {differed}\n")
    else:
        call.out.row(*([found["differed"]] if call.quiet else [found["items"], found["differed"], found["seconds"]]))
    for each in found["differences"]:
        call.remark(f"{each['index']}: {each.get('id', each.get('name'))}: {each['what']}")
    untold = found["differed"] - len(found["differences"])
    if untold:
        call.remark(f"and {untold} more")
    return 0
