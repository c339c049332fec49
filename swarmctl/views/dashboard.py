"""The whole on one screen: what the daemon says of itself, queues, agents and failures.

``draw`` makes lines of one reply to ``dashboard``, as wide as the screen and, if told, no more than so many. What does
not fit is told by a number; the daemon has put first what somebody would look at first. Pure: the same facts
give the same lines.
"""

from __future__ import annotations

from swarmctl.render import amount, clock, span
from swarmctl.screen import BOLD, DIM, GREEN, RED, STATES, YELLOW, Column, clip, shown, width, wrap
from swarmctl.views.details import speed
from swarmctl.views.tables import age, queue_note, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from swarmctl.screen import Cell, Screen

    Facts = Mapping[str, Any]

FEW = {"queues": 20, "agents": 20, "failures": 10}
"""Rows of each where nothing limits the height."""

LOW_DISK = 10
"""Percent of the file system under which what is free stands out."""

_LABEL = 9


def draw(screen: Screen, facts: Facts, height: int | None = None) -> list[str]:
    """The screen's lines, at most ``height`` of them."""
    status = facts["status"]
    now = status["now"]
    lines = _head(screen, facts)
    sections = [
        (_many(facts["queues_total"], "queue"), facts["queues_total"], _queues(screen, facts["queues"], now)),
        (_agents_title(facts), facts["agents_total"], _agents(screen, facts["agents"], now)),
        (
            "latest failures" if facts["failures"] else "no failures",
            len(facts["failures"]),
            _failures(screen, facts["failures"], now),
        ),
    ]
    wanted = [max(len(table) - 1, 0) + (len(table) <= total) for _, total, table in sections]
    overhead = sum(3 if table else 2 for _, _, table in sections)  # a blank line, the title, the columns' header
    rooms = wanted if height is None else shares(height - len(lines) - overhead, wanted)
    for (title, total, table), room in zip(sections, rooms, strict=True):
        lines += ["", screen.paint(clip(title, screen.width), BOLD), *_cut(screen, table, total, room)]
    return lines[:height]


def _cut(screen: Screen, table: list[str], total: int, room: int) -> list[str]:
    """The header and ``room`` lines below it; if rows are missing, the last line says how many."""
    if len(table) - 1 <= room and len(table) > total:
        return table
    rows = table[:room] if room else []
    left = total - max(len(rows) - 1, 0)
    return [*rows, screen.paint(f"and {left:,} more", DIM)] if left else rows


def shares(room: int, wanted: Sequence[int]) -> list[int]:
    """``room`` rows for those who want so many: who wants little gets it, the others share what is left."""
    given = [0] * len(wanted)
    left = max(room, 0)
    while left > 0:
        hungry = [at for at, want in enumerate(wanted) if given[at] < want]
        if not hungry:
            break
        for at in hungry:
            if left > 0:
                given[at] += 1
                left -= 1
    return given


# -- the daemon ----------------------------------------------------------------------------------------


def _head(screen: Screen, facts: Facts) -> list[str]:
    status = facts["status"]
    now = status["now"]
    running = status["state"] == "running"
    title = [
        screen.paint(status["program"], BOLD),
        screen.paint(status["state"], GREEN if running else YELLOW),
        f"for {span(now - status['started_at'])}",
        f"at {clock(now, now)}",
    ]
    lines = [" ".join(title)]
    for label, said, colour in _alarms(status):
        lines += _labelled(screen, label, [said], colour)
    states = [f"{name} {number:,}" for name, number in status["states"].items() if number]
    lines += _labelled(screen, "items", states or ["none"])
    lines += _labelled(screen, "clients", _clients(status))
    lines += _labelled(screen, "journal", _journal(status))
    lines += _disk(screen, status)
    return [*lines, *_rates(screen, status)]


def _alarms(status: Facts) -> list[tuple[str, str, str]]:
    found = []
    if "paused" in status:
        found.append(("paused", status["paused"] or "everything", YELLOW))
    return [*found, *(("trouble", str(condition), RED) for condition in status.get("conditions") or ())]


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number > 1 else ''}" if number else f"no {what}s"


def _clients(status: Facts) -> list[str]:
    return [
        _many(status["connections"], "connection"),
        f"{status['waiters']:,} waiting",
        f"{status['held']:,} items held",
    ]


def _journal(status: Facts) -> list[str]:
    journal = status["journal"]
    return [
        _many(journal["segments"], "segment"),
        amount(journal["bytes"]),
        f"position {status['durable_position']:,}",
        f"last sync {journal['last_sync_us'] / 1000:.1f}ms",
    ]


def _disk(screen: Screen, status: Facts) -> list[str]:
    free, total = status["disk"]["free_bytes"], status["disk"]["total_bytes"]
    percent = free * 100 // total if total else 0
    said = f"{amount(free)} free of {amount(total)} ({percent}%)"
    return _labelled(screen, "disk", [said, status["state_dir"]], RED if percent < LOW_DISK else None)


def _labelled(screen: Screen, label: str, parts: Sequence[str], colour: str | None = None) -> list[str]:
    """``label  part, part``, going on below where the line ends."""
    room = screen.width - _LABEL
    lines = [""]
    for part in map(shown, parts):
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        if width(joined) <= room:
            lines[-1] = joined
        else:
            lines += wrap(part, room)
    texts = [line for line in lines if line]
    heads = [screen.paint(label.ljust(_LABEL), DIM), *[" " * _LABEL] * (len(texts) - 1)]
    return [head + screen.paint(text, colour) for head, text in zip(heads, texts, strict=True)]


def _rates(screen: Screen, status: Facts) -> list[str]:
    """What happened a second, a row for each window; what never happened has no column."""
    counts = {kind: number for kind, number in status["counts"].items() if number}
    if not counts:
        return []
    alarming = {"failed": RED, "crashed": RED, "buried": RED}
    rows: list[list[Cell]] = []
    for window, rates in status["rates"].items():
        row: list[Cell] = [window]
        for kind in counts:
            rate = rates.get(kind, 0)
            row.append((speed(rate), alarming.get(kind) if rate else None))
        rows.append(row)
    rows.append(["in all", *[f"{number:,}" for number in counts.values()]])
    order = ("submitted", "claimed", "completed", "failed", "crashed", "buried")
    header = [
        Column(kind, spare=0 if kind in order[:3] else 9 - order.index(kind) if kind in order else 10)
        for kind in counts
    ]
    return ["", *screen.table([Column("per second"), *header], rows)]


# -- the parts -----------------------------------------------------------------------------------------


def _queues(screen: Screen, queues: Sequence[Facts], now: int) -> list[str]:
    header = (
        Column("QUEUE", least=12), "READY", "CLAIMED", Column("SCHEDULED", spare=3), Column("BLOCKED", spare=4),
        "BURIED", "OLDEST", "NOTE",
    )  # fmt: skip
    rows = []
    for queue in queues:
        buried: Cell = (str(queue["buried"]), RED) if queue["buried"] else None
        counts = [queue[name] or None for name in ("ready", "claimed", "scheduled", "blocked")]
        oldest = age(queue.get("oldest_ready_at"), now)
        rows.append([queue["queue"], *counts, buried, oldest, queue_note(queue) or _what(queue.get("oldest"))])
    return screen.table(header, rows)


def _what(item: Facts | None) -> str | None:
    """An item in a few words."""
    return None if item is None else f"{item['id']} {item['type']}: {item['description']}"


def _agents_title(facts: Facts) -> str:
    states = ", ".join(f"{number:,} {name}" for name, number in facts["agent_states"].items())
    return _many(facts["agents_total"], "agent") + (f": {states}" if states else "")


def _agents(screen: Screen, agents: Sequence[Facts], now: int) -> list[str]:
    header = (
        Column("AGENT", least=12), "STATE", Column("TEAM", least=6, spare=2), "HOLDS", "FOR", Column("SEEN", spare=1),
        "DONE", "ITEM",
    )  # fmt: skip
    rows = []
    for agent in agents:
        oldest = agent.get("oldest", {})
        stalled = oldest.get("stalled")
        seen = age(agent["seen_at"], now)
        rows.append(
            [
                agent["agent"],
                ("stalled", RED) if stalled else state(agent["state"]),
                agent.get("team"),
                agent["held"] or None,
                age(oldest.get("claimed_at"), now),
                seen,
                f"{oldest['percent']}%" if "percent" in oldest else None,
                f"{oldest['id']} {oldest['message']}" if "message" in oldest else _what(oldest or None),
            ]
        )
    return screen.table(header, rows)


def _failures(screen: Screen, failures: Sequence[Facts], now: int) -> list[str]:
    header = (
        "AGO", "ITEM", Column("TYPE", least=8, spare=2), "CAUSE", Column("NOW", spare=1),
        Column("QUEUE", least=8, spare=3), Column("AGENT", least=10, spare=4), "REASON",
    )  # fmt: skip
    rows = []
    for failure in failures:
        is_now = failure.get("state", "forgotten")
        rows.append(
            [
                age(failure["at"], now),
                failure["id"],
                failure["type"],
                failure["cause"],
                (is_now, STATES.get(is_now)),
                failure["queue"],
                failure.get("agent"),
                failure.get("reason"),
            ]
        )
    return screen.table(header, rows)
