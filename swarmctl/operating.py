"""The verbs of whoever runs the daemon: stats and health; and the warning that an exported setting reaches nobody.

An ``export`` in a shell cannot reach a daemon that runs already. So when the environment of ``status``, ``stats`` or
``config`` has a setting of the daemon that differs from the one in force, one line says so, and which command would do
it. The other verbs say nothing: agents call them all day, and would pay for it.
"""

from __future__ import annotations

import time

from swarmctl.parse import Usage
from swarmctl.parse import show as quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

SECTIONS = {"journal": "wal", "lock": "locks", "connections": "net", "pool": "net", "thread": "threads"}
"""Other names of sections."""

EVERY = 1.0
"""Seconds between two looks with ``--watch``."""

READ_BY_CLIENTS = frozenset(("PARALLEL_JOBS",))
"""Settings for which the environment of ``swarmctl`` itself counts."""


def stats(call: Call) -> int:
    """What the daemon counts, once or again and again."""
    section = SECTIONS.get(call.words[0], call.words[0]) if call.words else None
    warn(call)
    while True:
        facts: dict[str, Facts] = call.ask("stats", {"section": section} if section else {})["sections"]
        _print(call, facts)
        if "watch" not in call.given:
            return 0
        call.out.flush()
        time.sleep(EVERY)


def _print(call: Call, sections: dict[str, Facts]) -> None:
    if call.json:
        call.emit({"sections": sections})
    elif call.out.terminal:
        from swarmctl.views import counters

        if "watch" in call.given:
            call.out.text("\x1b[H\x1b[2J")
        call.lines(counters.draw(call.screen, sections))
    else:
        for section, counters_ in sections.items():
            for name, value in _flat(counters_):
                call.out.row(section, name, value)


def _flat(counters: Facts, head: str = "") -> Iterable[tuple[str, object]]:
    """The counters with their values; those of a map within have its name before theirs."""
    for name, value in counters.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{head}{name}.")
        else:
            yield f"{head}{name}", ("yes" if value else "no") if isinstance(value, bool) else value


def health(call: Call) -> int:
    """The conditions that hold, one a line; the status says how grave they are."""
    if call.words:
        raise Usage(f"{quoted(call.words[0])} is not understood", call.spoken)
    rows: list[Facts] = call.ask("health", {})["conditions"]
    for row in rows:
        if call.json:
            call.emit(row)
        elif call.quiet:
            call.out.row(row["name"])
        elif not call.out.terminal:
            from swarmctl.render import rfc3339

            call.out.row(row["name"], row["severity"], rfc3339(row["since"]), row["fact"], row["next"])
    if call.out.terminal and not call.json and not call.quiet:
        from swarmctl.views import counters

        call.lines(counters.conditions(call.screen, rows, int(time.time() * 1000)))
    severities = {row["severity"] for row in rows}
    return 78 if "person" in severities else 1 if severities & {"page", "warning"} else 0


# -- what was exported ---------------------------------------------------------------------------------


def warn(call: Call) -> None:
    """Say on stderr which settings of the daemon this environment has otherwise than they are in force."""
    if call.json or call.quiet:
        return
    exported = _exported(call)
    if not exported:
        return
    from swarmctl.connection import Refused

    try:
        rows = call.ask("config", {"names": sorted(exported)})["settings"]
    except Refused:  # whatever the call itself wants it will be told of the same
        return
    for row in rows:
        variable, text = exported[row["name"]]
        if _differs(row, text):
            call.remark(
                f"{variable}={text} of this shell does not reach the daemon, where it is {row['value'] or 'empty'}: "
                + _advice(row, text)
            )


def _exported(call: Call) -> dict[str, tuple[str, str]]:
    """Of each setting that the environment has: the variable and its value."""
    from swarmshd.settings import TABLE

    found: dict[str, tuple[str, str]] = {}
    for name, row in TABLE.items():
        if name not in READ_BY_CLIENTS:
            for variable in (f"SWARMSH_{name}", *((name,) if row.guide else ())):
                if variable in call.environ and name not in found:
                    found[name] = (variable, call.environ[variable])
    return found


def _differs(row: Facts, text: str) -> bool:
    from swarmshd.settings import TABLE

    setting = TABLE[row["name"]]
    try:
        return setting.parse(text) != setting.parse(row["value"])
    except ValueError:
        return True


def _advice(row: Facts, text: str) -> str:
    from swarmshd.settings import TABLE

    try:
        TABLE[row["name"]].parse(text)
    except ValueError as wrong:
        return str(wrong)
    if row["live"]:
        return f"swarmctl config set {row['name']}={text}"
    return f"swarmctl config set --persist {row['name']}={text}, and restart it"
