"""What has gone through the queues since the daemon started, who waits there, and the index that claims go by."""

from __future__ import annotations

from swarmctl.looking import asked, moment, now_ms
from swarmshd.protocol import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call
    from swarmctl.screen import Cell

    Facts = dict[str, Any]

PASSED = ("claimed", "done", "buried")
"""States whose entries are shown."""


def queue_stats(call: Call) -> int:
    """A line for each queue; then the index."""
    answers = asked(call, "queues", "queue", stats=True)
    found = [queue for answer in answers for queue in answer["queues"]]
    index: Facts | None = answers[-1]["index"] if answers else None
    if call.for_people:
        _draw(call, found, index)
        return call.status
    for queue in found:
        now = [queue[name] for name in ("queue", "ready", "claimed", "buried")]
        past = [queue["since_start"][state] for state in PASSED]
        oldest, last = (moment(queue.get(name)) for name in ("oldest_ready_at", "last_claim_at"))
        call.tell(queue, queue["queue"], (*now, oldest, queue["waiting"], *past, last, queue["kinds"]))
    if call.json and index is not None:
        call.emit({"index": index})
    return call.status


def _draw(call: Call, found: list[Facts], index: Facts | None) -> None:
    from swarmctl.screen import RED, Column
    from swarmctl.views.tables import age

    now = now_ms()
    header = (
        Column("QUEUE", least=12), "READY", "CLAIMED", "BURIED", "OLDEST", Column("WAITING", spare=1), "CLAIMS",
        "DONE", Column("BURIALS", spare=3), Column("LAST CLAIM", spare=2), Column("KINDS", spare=4),
    )  # fmt: skip
    rows: list[list[Cell]] = []
    for queue in found:
        oldest, last = (age(queue.get(name), now) for name in ("oldest_ready_at", "last_claim_at"))
        buried: Cell = (str(queue["buried"]), RED) if queue["buried"] else None
        counts: list[Cell] = [queue["ready"] or None, queue["claimed"] or None, buried]
        passed: list[Cell] = [queue["since_start"][state] or None for state in PASSED]
        rows.append([queue["queue"], *counts, oldest, queue["waiting"] or None, *passed, last, queue["kinds"] or None])
    call.lines(call.screen.table(header, rows))
    if index is not None:
        kept = "in order" if index["ordered"] else "not kept (WORK_QUEUE_INDEX_ENABLED)"
        scanned = f"{counted(index['scanned'], 'item')} scanned" if index["scanned"] else "nothing scanned"
        kinds, filters = (counted(index[f"{name}s"], name) for name in ("kind", "filter"))
        call.out.text(f"\nindex {kept}: {kinds}, {filters}, {scanned}; 1 shard\n")
