"""Everything about one item, queue or agent for a terminal: in groups, what matters first.

The names are those of the JSON fields, so that what is seen can be asked for. Fields that say nothing (no failures yet,
no payload) are left out; fields that a newer daemon has and this page does not know stand at the end.
"""

from __future__ import annotations

from swarmctl import render
from swarmctl.screen import BOLD, DIM, RED, STATES, YELLOW, shown, width, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from swarmctl.screen import Screen

    Facts = Mapping[str, Any]


def groups(*names: str) -> tuple[list[str], ...]:
    """Names of fields, in the groups in which they are shown."""
    return tuple(group.split() for group in names)


_ITEM = groups(
    "agent watching percent status message claimed_at lease_until stalled",
    "reason exit_status blocked_by blocked_reason due_at ready_at ended_at note points",
    "attempt attempts_max failures crashes releases",
    "queue team group ref unique require after needed_by on_failure lease max_runtime",
    "payload_size checkpoint_size output_size result_size",
    "created_at submitted_by changed_by fence",
)
_TOLD = frozenset(("id", "state", "type", "priority", "description"))
_ZERO = frozenset("failures crashes releases payload_size checkpoint_size output_size result_size".split())
_ALARMING = {"reason": RED, "blocked_reason": YELLOW, "stalled": RED, "paused": YELLOW, "conditions": RED}

_QUEUE = groups(
    "queue paused paused_until closed oldest_ready_at",
    "ready claimed scheduled blocked buried done cancelled",
    "limit max_length lease max_attempts crash_cap stall_after",
)
_AGENT = groups(
    "agent state team specialization labels",
    "holds slots capacity",
    "seen_at watching heartbeat registered uid",
)


def item(screen: Screen, facts: Facts, now: int) -> list[str]:
    """An item: a line to know it by, what is to do, then the rest."""
    name = facts["state"]
    head = [
        screen.paint(str(facts["id"]), BOLD),
        screen.paint(name, STATES.get(name)),
        shown(facts["type"]),
        facts["priority"],
    ]
    lines = ["  ".join(head)]
    for line in facts["description"].splitlines():
        lines += wrap(shown(line), screen.width)
    kept = {field: value for field, value in facts.items() if field not in _TOLD and not (field in _ZERO and not value)}
    return [*lines, "", *grouped(screen, kept, _ITEM, now)]


def queue(screen: Screen, facts: Facts, now: int) -> list[str]:
    """A queue and its settings."""
    return grouped(screen, facts, _QUEUE, now)


def agent(screen: Screen, facts: Facts, now: int) -> list[str]:
    """An agent and what it holds."""
    return grouped(screen, facts, _AGENT, now)


def speed(rate: float) -> str:
    """So many a second, with the digits that mean something; nothing is nothing."""
    if not rate:
        return "-"
    if rate < 0.005:
        return "<0.01"
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2f}"


def grouped(screen: Screen, facts: Facts, groups: Sequence[Sequence[str]], now: int) -> list[str]:
    """``name  value`` lines, a blank line between two groups; long values go on below themselves."""
    known = {name for group in groups for name in group}
    rest = sorted(name for name in facts if name not in known)
    found = [[name for name in group if name in facts] for group in (*groups, rest)]
    column = max((len(name) for group in found for name in group), default=0)
    room = max(screen.width - column - 2, 20)
    lines: list[str] = []
    for group in found:
        if group and lines:
            lines.append("")
        for name in group:
            said = value(name, facts[name], now)
            colour = STATES.get(said) if name == "state" else _ALARMING.get(name)
            first, *more = wrap(said, room) if width(said) > room else [said]
            lines.append(f"{screen.paint(name.ljust(column), DIM)}  {screen.paint(first, colour)}".rstrip())
            lines += [" " * (column + 2) + screen.paint(line, colour) for line in more]
    return lines


def value(name: str, fact: Any, now: int) -> str:
    """A field as a person reads it: times by the clock and from now, sizes and durations with their units."""
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, int):
        if name in render.TIMES:
            away = render.span(abs(now - fact))
            return f"{render.clock(fact, now)} ({f'{away} ago' if fact <= now else f'in {away}'})"
        if name in render.DURATIONS or name.endswith("_ms"):
            return render.span(fact)
        if name.endswith(("_size", "bytes")):
            return render.amount(fact)
        return str(fact)
    if isinstance(fact, dict):
        return ", ".join(f"{key} {value(str(key), one, now)}" for key, one in fact.items()) or "-"
    if isinstance(fact, list):
        return ", ".join(value("", one, now) for one in fact) or "-"
    return shown(str(fact)) if fact not in (None, "") else "-"
