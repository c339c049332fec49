"""What can stand in a place now. The daemon has half a second to say so; what goes wrong is not worth a word here."""

from __future__ import annotations

from swarmctl.connection import Connection, Refused
from swarmctl.screen import clip, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

PATIENCE = 0.5
"""Seconds after which whoever pressed the key wants to go on typing."""

ITEMS = 200
"""Items that are offered; whoever has more types an id."""

ABOUT = 60
"""Cells of what is said about a candidate."""

_ITEMS: dict[str, Facts] = {
    "items": {},
    "claimed": {"state": ["claimed"]},
    "buried": {"state": ["buried", "blocked"]},
}


def candidates(call: Call, what: str) -> Iterator[str]:
    """One line each: the word, and a tab and something about it where there is something to say."""
    connection = Connection(call.given.get("socket"), PATIENCE)
    try:
        for word, about in _found(connection, what):
            said = clip(shown(about), ABOUT)
            yield f"{word}\t{said}" if said else str(word)
    except Refused:
        return
    finally:
        connection.close()


def _found(connection: Connection, what: str) -> Iterator[tuple[object, str]]:
    if what in _ITEMS:
        reply = connection.call("list", {**_ITEMS[what], "limit": ITEMS})
        for item in reply["items"]:
            yield item["id"], f"{item['state']} {item['type']}: {item['description']}"
    elif what == "locks":
        reply = connection.call("list", {"queue": ["@lock"], "state": ["claimed"], "limit": ITEMS})
        for lock in reply["items"]:
            yield lock["type"], f"held by {lock['agent']}"
    elif what == "queues":
        for queue in connection.call("queues", {})["queues"]:
            yield queue["queue"], f"{queue['ready']} ready, {queue['claimed']} claimed"
    elif what == "agents":
        for agent in connection.call("agents", {})["agents"]:
            yield agent["agent"], agent["state"]
    else:
        by = connection.call("count", {"by": what.removesuffix("s")})["by"]
        for name, number in by.items():
            if name != "-":
                yield name, f"{number} open"
