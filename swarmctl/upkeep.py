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


def reindex(call: Call) -> int:
    """Have the indexes gone through, and say what differed."""
    timeout = None if "timeout" in call.given else LONGEST
    found = call.connection.call("reindex", {"key": call.key()}, timeout=timeout)
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
