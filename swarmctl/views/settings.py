"""The daemon's settings for a terminal: what is no default stands out."""

from __future__ import annotations

from swarmctl.screen import DIM, YELLOW, Column
from swarmctl.views.details import grouped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from swarmctl.screen import Screen

    Facts = Mapping[str, Any]

_PAGE = (("name", "value", "source", "when"), ("meaning", "default", "allowed", "unit", "key"))


def table(screen: Screen, rows: Iterable[Facts]) -> list[str]:
    """A row for each setting."""
    header = (
        "NAME", Column("VALUE", least=8), Column("UNIT", spare=2), Column("SOURCE", least=8),
        Column("WHEN", spare=1), Column("MEANING", spare=3),
    )  # fmt: skip
    return screen.table(header, [_row(row) for row in rows])


def _row(row: Facts) -> list[Any]:
    ours = row["value"] != row["default"]
    waits = "after_restart" in row
    return [
        row["name"],
        (row["value"] or "nobody", YELLOW if ours else None),
        (row["unit"], DIM),
        (row["source"], DIM if row["source"] == "default" else None),
        (row["when"], YELLOW if waits else DIM),
        row["meaning"],
    ]


def page(screen: Screen, row: Facts) -> list[str]:
    """Everything about one setting."""
    return grouped(screen, {name: row[name] for group in _PAGE for name in group}, _PAGE, 0)
