"""``explain``: why nobody has an item, why an agent gets nothing, why a queue stands still.

On a pipe each reason is a line: the item, agent or queue, the reason's code, the command that does something about it,
and the sentence. On a terminal the sentences stand below a heading, and what to do below each.
"""

from __future__ import annotations

from swarmctl import render
from swarmctl.parse import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]


def explain(call: Call) -> int:
    """The reasons, for each item that is named, or for the agent or the queue."""
    chosen: Facts = {name: call.given[name] for name in ("agent", "queue") if name in call.given}
    if not call.words and not chosen:
        raise Usage("it takes ids, --agent or --queue", call.spoken)
    if call.words and "queue" in chosen:
        raise Usage("--queue does not go with ids", call.spoken)
    if call.words:
        return call.each(
            "explain", call.items(), lambda item, _: {"id": item, **chosen}, lambda told: _lines(call, told)
        )
    told = call.ask("explain", chosen)
    if call.json:
        call.emit(told)
    else:
        call.out.text((_codes(told) if call.quiet else _lines(call, told)) + "\n")
    return 0


def _codes(told: Facts) -> str:
    return "\n".join(reason["code"] for reason in told["reasons"])


def _lines(call: Call, told: Facts) -> str:
    name = told.get("id") or told.get("agent") or told.get("queue")
    if not call.out.terminal:
        rows = [(name, each["code"], each.get("next"), each["message"]) for each in told["reasons"]]
        return "".join([render.row(row) for row in rows])[:-1]
    lines = [f"{name}: {told['state']}" if "state" in told else str(name)]
    for each in told["reasons"]:
        lines.append(f"  {each['code']}: {render.harmless(each['message'])}")
        if "next" in each:
            lines.append(f"      {each['next']}")
    return "\n".join(lines)
