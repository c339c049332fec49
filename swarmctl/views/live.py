"""A dashboard once, or one that stays until it is told to go."""

from __future__ import annotations

from swarmctl.views import dashboard as drawing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from swarmctl.cli import Call


def dashboard(call: Call) -> int:
    """Print it once."""
    facts = call.ask("dashboard", dict(drawing.FEW))
    if call.json:
        call.emit(facts)
    else:
        call.lines(drawing.draw(call.screen, facts))
    return 0
