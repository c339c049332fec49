"""The verbs about the daemon's settings: config show, get, set, unset and reload.

The daemon says what is in force and takes changes; what a start shall find stands in its file. It never opens a path
that a client names, so with ``--persist`` it is this program that writes the file which the daemon says it reads. The
daemon checks first; a file that it then does not take is put back as it was.
"""

from __future__ import annotations

from swarmctl.operating import warn
from swarmctl.parse import Usage
from swarmctl.parse import show as quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Row = dict[str, Any]

_COLUMNS = "name value unit source when default allowed meaning".split()


def show(call: Call) -> int:
    """One setting a line, everything about it; on a terminal those that are named have a page each."""
    rows = _asked(call)
    warn(call)
    if call.json or call.quiet:
        return _plain(call, rows)
    rows = [row | {"when": _when(row)} for row in rows]
    if not call.out.terminal:
        for row in rows:
            call.out.row(*[row[column] for column in _COLUMNS])
        return 0
    from swarmctl.views import settings

    if not call.words:
        call.lines(settings.table(call.screen, rows))
    for number, row in enumerate(rows if call.words else ()):
        call.lines(([""] if number else []) + settings.page(call.screen, row))
    return 0


def _asked(call: Call) -> list[Row]:
    found: list[Row] = call.ask("config", {"names": call.words} if call.words else {})["settings"]
    return found


def _plain(call: Call, rows: list[Row]) -> int:
    for row in rows:
        if call.json:
            call.emit(row)
        else:
            call.out.row(row["name"])
    return 0


def _when(row: Row) -> str:
    """When a new value is taken, and the one that waits for that."""
    waits = f" ({row['after_restart']} waits)" if "after_restart" in row else ""
    return ("live" if row["live"] else "restart") + waits


def get(call: Call) -> int:
    """The values of settings."""
    for row in _asked(call):
        if call.json:
            call.emit({"name": row["name"], "value": row["value"]})
        else:
            call.out.text(f"{row['value']}\n")
    return 0


def set_values(call: Call) -> int:
    """Change settings of the running daemon, or with ``--persist`` its file."""
    values: dict[str, str] = {}
    for word in call.words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Usage(f"{quoted(word)} is not NAME=VALUE", call.spoken)
        values[name] = value
    arguments = {"values": values, "key": call.key()}
    if "persist" in call.given:
        return _persist(call, call.ask("config_set", {**arguments, "persist": True}))
    return _changed(call, call.ask("config_set", arguments)["settings"])


def _persist(call: Call, checked: Row) -> int:
    """Write what the daemon has checked into the file that it reads, and have it read that."""
    from swarmctl.connection import Refused
    from swarmctl.settings_file import SettingsFile

    rows = checked["settings"]
    file = SettingsFile(checked["file"])
    file.change({row["key"]: row["line"] for row in rows})
    try:
        reply = call.ask("reload", {"unset": [row["name"] for row in rows], "key": call.key("reload")})
    except Refused as refused:
        if refused.code == "config":
            file.put_back()
        raise
    names = [row["name"] for row in rows]
    _changed(call, call.ask("config", {"names": names})["settings"])
    for row in reply["changed"]:
        if row["name"] not in names:
            call.remark(f"the file was changed before: {row['name']} is {row['value']} now, not {row['was']}")
    return 0


def unset(call: Call) -> int:
    """Take back what ``config set`` changed."""
    return _changed(call, call.ask("config_unset", {"names": call.words, "key": call.key()})["settings"])


def reload(call: Call) -> int:
    """Have the daemon read its file again."""
    reply = call.ask("reload", {"key": call.key()})
    _changed(call, reply["changed"] + [row for row in reply["waiting"] if row not in reply["changed"]])
    if not reply["changed"] and not reply["waiting"] and not call.json:
        call.remark(f"nothing changed in {reply['file']}")
    return 0


def _changed(call: Call, rows: list[Row]) -> int:
    """Name, value and source of what changed; what waits for a restart is said to."""
    for row in rows:
        if call.json:
            call.emit(row)
            continue
        if not call.quiet:
            call.out.row(row["name"], row["value"], row["source"])
        if "after_restart" in row:
            call.remark(f"{row['name']} is {row['after_restart']} from the next start on: restart the daemon")
    return 0
