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

MOST = 1000
"""Rows of each that the daemon gives."""

LOW_DISK = 10
"""Percent of the file system under which what is free stands out."""

ROOMY = 34
"""Lines from which on there are blank ones between the parts, and all rates."""

_LABEL = 9


def draw(screen: Screen, facts: Facts, height: int | None = None) -> list[str]:
    """The screen's lines, at most ``height`` of them."""
    now = facts["status"]["now"]
    room = ROOMY if height is None else height
    lines = [*_head(screen, facts), *rates(screen, facts["status"], brief=room < ROOMY)]
    sections = [
        ("no queues", facts["queues_total"], _queues(screen, facts, now)),
        ("no agents", facts["agents_total"], _agents(screen, facts, now)),
        ("no failures", facts["failures_total"], _failures(screen, facts, now)),
    ]
    gap = [""] if room >= ROOMY else []
    wanted = [max(len(table) - 1, 0) + (len(table) <= total) for _, total, table in sections]
    overhead = sum(1 + len(gap) for _ in sections)
    rooms = wanted if height is None else shares(height - len(lines) - overhead, wanted)
    for (nothing, total, table), rows in zip(sections, rooms, strict=True):
        lines += [*gap, *(_cut(screen, table, total, rows) if table else [screen.paint(nothing, DIM)])]
    return lines[:height]


def _cut(screen: Screen, table: list[str], total: int, room: int) -> list[str]:
    """The header and ``room`` lines below it; if rows are missing, the last line says how many."""
    if len(table) - 1 <= room and len(table) > total:
        return table
    rows = table[: max(room, 1)]
    left = total - len(rows) + 1
    return [*rows, screen.paint(f"and {left:,} more", DIM)] if room else rows


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
    lines = [_title(screen, status)]
    if "paused" in status:
        lines += _labelled(screen, "paused", [(status["paused"] or "everything", YELLOW)])
    for condition in status.get("conditions") or ():
        lines += _labelled(screen, "trouble", [(str(condition), RED)])
    lines += _labelled(screen, "items", _by_state(status["states"], ("buried",)) or ["none"])
    waiting = [f"{status['waiters']:,} waiting", _many(status["connections"], "connection")]
    lines += _labelled(screen, "agents", [*_by_state(facts["agent_states"], ("suspect", "gone")), *waiting])
    lines += _labelled(screen, "journal", _journal(status))
    return lines + _labelled(screen, "disk", _disk(status))


def _title(screen: Screen, status: Facts) -> str:
    """As many words of the first line as find room."""
    now = status["now"]
    words = [
        (status["program"], BOLD),
        (status["state"], GREEN if status["state"] == "running" else YELLOW),
        (f"for {span(now - status['started_at'])}", None),
        (f"at {clock(now, now)}", None),
    ]
    while len(words) > 1 and sum(len(word) + 1 for word, _ in words) - 1 > screen.width:
        words.pop()
    return " ".join([screen.paint(clip(word, screen.width), colour) for word, colour in words])


def _by_state(states: Mapping[str, int], alarming: Sequence[str]) -> list[Cell]:
    return [
        (f"{number:,} {name}", STATES.get(name) if name in alarming else None)
        for name, number in states.items()
        if number
    ]


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number > 1 else ''}" if number else f"no {what}s"


def _journal(status: Facts) -> list[Cell]:
    journal = status["journal"]
    return [
        _many(journal["segments"], "segment"),
        amount(journal["bytes"]),
        f"position {status['durable_position']:,}",
        f"last sync {journal['last_sync_us'] / 1000:.1f}ms",
    ]


def _disk(status: Facts) -> list[Cell]:
    free, total = status["disk"]["free_bytes"], status["disk"]["total_bytes"]
    percent = free * 100 // total if total else 0
    said = f"{amount(free)} free of {amount(total)} ({percent}%)"
    return [(said, RED if percent < LOW_DISK else None), status["state_dir"]]


def _labelled(screen: Screen, label: str, parts: Sequence[Cell]) -> list[str]:
    """``label  part, part``, going on below where the line ends."""
    room = screen.width - _LABEL
    lines: list[list[str]] = [[]]
    taken = 0
    for part in parts:
        text, colour = part if isinstance(part, tuple) else (part, None)
        for piece in wrap(shown(str(text)), room):
            if lines[-1] and taken + 2 + width(piece) > room:
                lines.append([])
                taken = 0
            taken += width(piece) + (2 if lines[-1] else 0)
            lines[-1].append(screen.paint(piece, colour))
    heads = [screen.paint(label.ljust(_LABEL), DIM), *[" " * _LABEL] * (len(lines) - 1)]
    return [head + ", ".join(line) for head, line in zip(heads, lines, strict=True)]


def rates(screen: Screen, status: Facts, *, brief: bool) -> list[str]:
    """What happened a second, a row for each window; what never happened has no column."""
    windows = list(status["rates"].items())[: 2 if brief else None]
    counts = {kind: number for kind, number in status["counts"].items() if number}
    if not counts or (brief and not any(rate.get(kind) for _, rate in windows for kind in counts)):
        return []
    alarming = {"failed": RED, "crashed": RED, "buried": RED}
    rows: list[list[Cell]] = []
    for window, rate_of in windows:
        row: list[Cell] = [f"over {window}"]
        for kind in counts:
            rate = rate_of.get(kind, 0)
            row.append((speed(rate), alarming.get(kind) if rate else None))
        rows.append(row)
    if not brief:
        rows.append(["in all", *[f"{number:,}" for number in counts.values()]])
    order = ("submitted", "claimed", "completed", "failed", "crashed", "buried")
    header = [
        Column(kind, spare=0 if kind in order[:3] else 9 - order.index(kind) if kind in order else 10)
        for kind in counts
    ]
    return [*([] if brief else [""]), *screen.table([Column("per second"), *header], rows)]


# -- the parts -----------------------------------------------------------------------------------------


def _queues(screen: Screen, facts: Facts, now: int) -> list[str]:
    title = _many(facts["queues_total"], "queue").upper()
    header = (
        Column(title, least=12), "READY", "CLAIMED", Column("SCHEDULED", spare=3), Column("BLOCKED", spare=4),
        "BURIED", "OLDEST", "NOTE",
    )  # fmt: skip
    rows = []
    for queue in facts["queues"]:
        buried: Cell = (str(queue["buried"]), RED) if queue["buried"] else None
        counts = [queue[name] or None for name in ("ready", "claimed", "scheduled", "blocked")]
        oldest = age(queue.get("oldest_ready_at"), now)
        rows.append([queue["queue"], *counts, buried, oldest, queue_note(queue, now) or _what(queue.get("oldest"))])
    return screen.table(header, rows)


def _what(item: Facts | None) -> str | None:
    """An item in a few words."""
    return None if item is None else f"{item['id']} {item['type']}: {item['description']}"


def _agents(screen: Screen, facts: Facts, now: int) -> list[str]:
    title = _many(facts["agents_total"], "agent").upper()
    header = (
        Column(title, least=12), "STATE", Column("TEAM", least=6, spare=2), "HOLDS", "FOR", Column("SEEN", spare=1),
        "DONE", "ITEM",
    )  # fmt: skip
    rows = []
    for agent in facts["agents"]:
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


def _failures(screen: Screen, facts: Facts, now: int) -> list[str]:
    header = (
        "FAILED", "ITEM", Column("TYPE", least=8, spare=2), "CAUSE", Column("NOW", spare=1),
        Column("QUEUE", least=8, spare=3), Column("AGENT", least=10, spare=4), "REASON",
    )  # fmt: skip
    rows = []
    for failure in facts["failures"]:
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
