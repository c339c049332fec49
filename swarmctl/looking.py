"""The verbs that only look: list, show, count, get, queues, agents, status, whoami.

On a pipe each prints tab-separated fields without a header; ``show`` and ``status`` print one field a line. On a
terminal ``swarmctl.views`` makes of the same facts what a person likes to read.
"""

from __future__ import annotations

import time

from swarmctl import render
from swarmctl.cli import Failure
from swarmctl.parse import Usage, positional
from swarmctl.parse import show as quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

ROWS = 50
"""Rows of a list, unless asked."""

PAGE = 1000
"""Rows asked for at a time."""

PARTS = ("payload", "checkpoint", "output", "result")


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def moment(ms: int | None) -> str | None:
    """A moment as scripts read it; None stays None."""
    return None if ms is None else render.rfc3339(ms)


# -- items ---------------------------------------------------------------------------------------------


def selection(call: Call) -> Facts:
    """The filters of ``list`` and ``count`` as the wire has them."""
    given = call.given
    chosen: Facts = {
        field: given[field]
        for field in ("state", "queue", "type", "team", "agent", "group", "older", "since")
        if field in given
    }
    if "mine" in given:
        chosen["agent"] = call.agent
    if "all" in given:
        chosen["all"] = True
    return chosen


def list_items(call: Call) -> int:
    """Open items, or those that are asked for; 50 rows unless asked."""
    given = call.given
    most = 0 if "all" in given and "limit" not in given else given.get("limit", ROWS)
    chosen = selection(call)
    after, shown, more = given.get("after_id", 0), 0, True
    rows: list[Facts] = []
    while more and (not most or shown < most):
        page = call.ask("list", {**chosen, "limit": min(most - shown, PAGE) if most else PAGE, "after_id": after})
        more, after = page["more"], page["after_id"]
        shown += len(page["items"])
        if call.json:
            for item in page["items"]:
                call.emit(item)
        elif call.quiet:
            call.out.text("".join([f"{item['id']}\n" for item in page["items"]]))
        else:
            rows += page["items"]
            if not call.out.terminal or len(rows) >= PAGE:
                _items(call, rows)
                rows = []
    if rows:
        _items(call, rows)
    if not shown and call.for_people:
        chose = set(chosen) - {"all"} or "after_id" in given
        call.lines((), "no such items" if chose else "no items" if "all" in chosen else "no open items")
    return _end(call, chosen, shown, after, more=more)


def _end(call: Call, chosen: Facts, shown: int, after: int, *, more: bool) -> int:
    """Say where the list stopped, and what of it was not shown."""
    if not call.json and not more:
        return 0
    part = more or "after_id" in call.given
    total = call.ask("count", chosen)["count"] if part else shown
    if call.json:
        call.emit({"end": True, "shown": shown, "total": total, "after_id": after})
    elif total > shown:
        call.remark(f"{shown} of {total}; --limit 0 for all, --after-id {after} for the next")
    return 0


_COLUMNS = ("id", "state", "type", "priority", "queue", "team", "agent", "percent", "created_at", "description")


def _items(call: Call, items: Iterable[Facts]) -> None:
    if call.out.terminal:
        from swarmctl.views import tables

        told = [name for name in ("type", "queue", "team") if len(call.given.get(name, ())) == 1]
        if "agent" in call.given or "mine" in call.given:
            told.append("agent")
        call.lines(tables.items(call.screen, items, now_ms(), told))
        return
    for item in items:
        row = [item.get(column) for column in _COLUMNS]
        row[8] = render.rfc3339(item["created_at"])
        call.out.row(*row)


_ITEM_FIELDS = (
    "id state type priority description queue team group ref agent fence attempt failures attempts_max crashes "
    "releases percent status message after blocked_by blocked_reason needed_by require unique on_failure note points "
    "exit_status reason created_at ready_at due_at claimed_at lease_until ended_at lease max_runtime watching "
    "payload_size checkpoint_size output_size submitted_by changed_by"
).split()


def show(call: Call) -> int:
    """Everything about items, one field a line."""
    items = call.items()
    if len(items) == 1 and call.json:
        item = call.ask("show", {"id": items[0][0]})
        for what in ("payload", "checkpoint"):
            if item.get(f"{what}_size"):
                item[what] = call.ask("get", {"id": item["id"], "what": what})["data"]
        call.emit(item)
        return 0
    first = True

    def lines(item: Facts) -> str:
        nonlocal first
        gap, first = ("" if first else "\n"), False
        if call.out.terminal:
            from swarmctl.views import details

            return gap + "\n".join(details.item(call.screen, item, now_ms()))
        return gap + fields(item, _ITEM_FIELDS)

    return call.each("show", items, lambda item, _: {"id": item}, lines)


def fields(facts: Facts, order: Sequence[str]) -> str:
    """``name<TAB>value`` lines; what ``order`` does not name comes last."""
    names = [name for name in order if name in facts] + sorted(name for name in facts if name not in order)
    return "\n".join(f"{name}\t{_value(name, facts[name])}" for name in names)


def _value(name: str, value: Any) -> str:
    """A field's value as ``fields`` has it."""
    if type(value) is int and name in render.TIMES:
        return render.rfc3339(value)
    if type(value) is int and name in render.DURATIONS:
        return render.span(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(str(one) for one in value) or "-"
    if isinstance(value, dict):
        return " ".join(f"{key}={_value(str(key), one)}" for key, one in value.items()) or "-"
    return render.field(value)


def count(call: Call) -> int:
    """How many items there are."""
    arguments = selection(call)
    by = call.given.get("by")
    if by is not None:
        arguments["by"] = by
    result = call.ask("count", arguments)
    if call.json:
        call.emit(result)
    elif by is None:
        call.out.row(result["count"])
    elif call.for_people:
        from swarmctl.views import tables

        call.lines(tables.counts(call.screen, by, result["by"]))
    else:
        for value, number in sorted(result["by"].items(), key=lambda one: (-one[1], one[0])):
            call.out.row(value, number)
    return 0


def get(call: Call) -> int:
    """The raw bytes of a part of an item."""
    item = positional("item", call.words[0], "ID", call.spoken)
    what = call.words[1]
    if what not in PARTS:
        from swarmctl.help import nearest

        raise Usage(f"WHAT is one of {', '.join(PARTS)}, not {quoted(what)}{nearest(what, PARTS)}", call.spoken)
    data: bytes = call.ask("get", {"id": item, "what": what})["data"]
    path = call.given.get("to")
    if path is not None and path != "-":
        _write(path, data)
        if call.json:
            call.emit({"id": item, "what": what, "size": len(data)})
    elif call.json:
        call.emit({"id": item, "what": what, "data": data})
    else:
        call.out.data(data)
    return 0


def _write(path: str, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise Failure(f"cannot write {quoted(path)}: {error.strerror}") from None


# -- parts ---------------------------------------------------------------------------------------------

_QUEUE_COUNTS = "ready scheduled blocked claimed buried done cancelled".split()
_QUEUE_FIELDS = [
    "queue",
    *_QUEUE_COUNTS,
    *"oldest_ready_at paused paused_until closed limit max_length lease max_attempts crash_cap stall_after".split(),
]


def asked(call: Call, verb: str, field: str, **more: object) -> list[Facts]:
    """The answer about all queues or agents, or one for each that is named; a name that is unknown is reported."""
    from swarmctl.connection import Refused

    if not call.words:
        return [call.ask(verb, more)]
    answers = []
    for word in call.words:
        name = positional("name", word, field.upper(), call.spoken)
        try:
            answers.append(call.ask(verb, {field: name, **more}))
        except Refused as refused:
            call.refuse(refused, name)
    return answers


def _found(call: Call, field: str) -> list[Facts]:
    """All queues or agents, or those that are named."""
    return [one for answer in asked(call, f"{field}s", field) for one in answer[f"{field}s"]]


def queues(call: Call) -> int:
    """The queues; each with its settings when it is named."""
    if "stats" in call.given:
        from swarmctl import queue_stats

        return queue_stats.queue_stats(call)
    found = _found(call, "queue")
    if call.json or call.quiet:
        return _plain(call, found, "queue")
    if call.out.terminal:
        return _views(call, found, "queue")
    if call.words:
        return _details(call, found, _QUEUE_FIELDS)
    for queue in found:
        call.out.row(
            queue["queue"],
            *[queue[name] for name in _QUEUE_COUNTS],
            moment(queue.get("oldest_ready_at")),
            queue.get("limit"),
            "closed" if queue.get("closed") else None,
            queue.get("paused"),
        )
    return call.status


def agents(call: Call) -> int:
    """The agents; each with all its fields when it is named."""
    found = _found(call, "agent")
    if call.json or call.quiet:
        return _plain(call, found, "agent")
    if call.out.terminal:
        return _views(call, found, "agent")
    if call.words:
        order = "agent state team uid holds slots capacity labels watching heartbeat seen_at registered specialization"
        return _details(call, found, order.split())
    for agent in found:
        call.out.row(
            agent["agent"],
            agent["state"],
            agent.get("team"),
            len(agent["holds"]),
            agent.get("slots"),
            f"{agent['capacity']}%" if "capacity" in agent else None,
            agent.get("watching"),
            moment(agent["seen_at"]),
            ",".join(agent.get("labels") or ()),
            agent.get("specialization"),
        )
    return call.status


def _views(call: Call, found: list[Facts], what: str) -> int:
    """Queues or agents for people: a table of all, or each that was named with all its fields."""
    from swarmctl.views import details, tables

    now = now_ms()
    if not call.words:
        table = (tables.queues if what == "queue" else tables.agents)(call.screen, found, now)
        call.lines(table, f"no {what} is known yet")
        return call.status
    page = details.queue if what == "queue" else details.agent
    for number, one in enumerate(found):
        call.lines(([""] if number else []) + page(call.screen, one, now))
    return call.status


def _plain(call: Call, found: list[Facts], name: str) -> int:
    for one in found:
        if call.json:
            call.emit(one)
        else:
            call.out.row(one[name])
    return call.status


def _details(call: Call, found: list[Facts], order: Sequence[str]) -> int:
    call.out.text("\n\n".join(fields(one, order) for one in found) + ("\n" if found else ""))
    return call.status


# -- the daemon ----------------------------------------------------------------------------------------

_STATUS_FIELDS = (
    "program client state protocol pid uid socket state_dir durability started_at now epoch position durable_position "
    "paused paused_until conditions states queues agents connections waiters held items_bytes journal disk fold keys "
    "counts rates"
).split()


def status(call: Call) -> int:
    """The daemon, its queue and its journal."""
    from swarmctl.operating import warn
    from swarmshd import __version__

    warn(call)
    facts = {**call.ask("status", {}), "client": f"swarmctl {__version__}"}
    if "why" in facts:
        call.status = 78  # it needs a person, and does nothing until then
    if call.json:
        call.emit(facts)
    elif call.quiet:
        call.out.row(facts["state"])
    elif "why" in facts:
        call.lines(
            f"{name}\t{facts[name]}" for name in ("program", "state", "why", "next", "pid", "state_dir", "socket")
        )
    elif call.out.terminal:
        from swarmctl.views import status as view

        call.lines(view.draw(call.screen, facts))
    else:
        windows = facts.get("rates", {}).values()  # each kind with its rate in every window: 10s, 1m, 10m
        facts["rates"] = {kind: [rates[kind] for rates in windows] for kind in next(iter(windows), ())}
        call.out.text(fields(facts, _STATUS_FIELDS) + "\n")
    return call.status


def whoami(call: Call) -> int:
    """The agent that the caller is, and why; asks nobody."""
    agent, why = call.who()
    call.tell({"agent": agent, "from": why}, agent, (agent, why))
    return 0
