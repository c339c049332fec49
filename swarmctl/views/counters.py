"""What the daemon counts, and its conditions, for a terminal."""

from __future__ import annotations

from swarmctl.screen import BOLD, DIM, RED, YELLOW, Column
from swarmctl.views.details import speed, value
from swarmctl.views.tables import age

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from swarmctl.screen import Cell, Screen

    Facts = Mapping[str, Any]

GRAVE = {"person": RED, "page": RED, "warning": YELLOW, "info": DIM}


def draw(screen: Screen, sections: Mapping[str, Facts]) -> list[str]:
    """Each section with its counters below its name; what is nothing is dim."""
    lines: list[str] = []
    for section, counters in sections.items():
        plain = {name: fact for name, fact in counters.items() if not isinstance(fact, dict)}
        width = max(len(name) for name in plain)
        lines += [""] if lines else []
        lines.append(screen.paint(section, BOLD))
        for name, fact in plain.items():
            line = f"  {name.ljust(width)}  {_shown(name, fact)}"
            lines.append(line if fact else screen.paint(line, DIM))
        lines += _rates(screen, counters)
    return lines


def _shown(name: str, fact: Any) -> str:
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, float):
        return f"{fact:g}"
    if name.endswith("_us") and fact >= 10_000:
        return f"{fact / 1000:,.0f} ms"
    return value(name, fact, 0) if not isinstance(fact, int) or name.endswith(("bytes", "_ms")) else f"{fact:,}"


def _rates(screen: Screen, counters: Facts) -> list[str]:
    """What happened: how much since the start, and how much a second."""
    windows = {
        name.removeprefix("per_second_"): rates for name, rates in counters.items() if name.startswith("per_second_")
    }
    rows: list[list[Cell]] = [
        [kind, total, *[speed(rates[kind]) for rates in windows.values()]]
        for kind, total in counters.get("since_start", {}).items()
        if total
    ]
    return screen.table(["", "SINCE START", *[f"{name.upper()} /s" for name in windows]], rows, 2)


def conditions(screen: Screen, rows: Iterable[Facts], now: int) -> list[str]:
    """The conditions, each with what to do below it; one line when there is none."""
    table = screen.table(
        ["CONDITION", "SEVERITY", "FOR", Column("FACT")],
        [
            [row["name"], (row["severity"], GRAVE.get(row["severity"])), age(row["since"], now), row["fact"]]
            for row in rows
        ],
    )
    commands = [f"  {row['name']}: {row['next']}" for row in rows]
    return [*table, "", *commands] if table else ["all is well"]
