"""The daemon on one screen: whether it is well, what it has, what is safe, and how fast it goes.

At most 24 lines of 80 columns; every number that the daemon says is in ``status --json`` and in ``stats``.
"""

from __future__ import annotations

from swarmctl.render import amount, clock, span
from swarmctl.views.dashboard import rates
from swarmctl.views.details import grouped, groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from swarmctl.screen import Screen

    Facts = Mapping[str, Any]

_GROUPS = groups(
    "state paused conditions",
    "items queues agents",
    "durability position journal disk",
    "socket state_dir programs",
)


def draw(screen: Screen, facts: Facts) -> list[str]:
    """The screen's lines."""
    now = facts["now"]
    said = {
        "state": f"{facts['state']} for {span(now - facts['started_at'])}, since {clock(facts['started_at'], now)}",
        "items": _items(facts),
        "queues": f"{facts['queues']:,}",
        "agents": f"{facts['agents']:,} known, {facts['connections']:,} connected, {facts['waiters']:,} wait for work",
        "durability": facts["durability"],
        "position": _position(facts),
        "journal": _journal(facts["journal"]),
        "disk": _disk(facts["disk"]),
        "socket": facts["socket"],
        "state_dir": facts["state_dir"],
        "programs": f"{facts['program']} (pid {facts['pid']}, uid {facts['uid']}), {facts['client']}",
    }
    if "paused" in facts:
        said["paused"] = facts["paused"] or "everything"
        if "paused_until" in facts:
            said["paused"] += f", for another {span(max(0, facts['paused_until'] - now))}"
    if facts["conditions"]:
        said["conditions"] = facts["conditions"]
    lines = grouped(screen, said, _GROUPS, now)
    table = rates(screen, facts, brief=True)
    return [*lines, "", *table] if table else lines


def _items(facts: Facts) -> str:
    states = [f"{number:,} {state}" for state, number in facts["states"].items() if number]
    return f"{', '.join(states) or 'none'}; {amount(facts['items_bytes'])}"


def _position(facts: Facts) -> str:
    behind = facts["position"] - facts["durable_position"]
    return (
        f"{facts['position']:,}, epoch {facts['epoch']:,}, {f'{behind:,} not written yet' if behind else 'all written'}"
    )


def _journal(journal: Facts) -> str:
    segments = f"{journal['segments']:,} segment{'s' if journal['segments'] != 1 else ''}"
    return f"{segments}, {amount(journal['bytes'])}, last sync {journal['last_sync_us'] / 1000:.1f}ms"


def _disk(disk: Facts) -> str:
    most = f" of at most {amount(disk['most_bytes'])}" if disk.get("most_bytes") else ""
    free = f"{amount(disk['free_bytes'])} free of {amount(disk['total_bytes'])}"
    return f"{amount(disk['held_bytes'])} held{most}; {free}; reserve {disk['reserve_percent']}%"
