"""The verb ``export``: everything but leases, as our own lines, or as the files of the old system."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from swarmctl.moving import lines
from swarmctl.moving.files import replacing
from swarmctl.parse import Usage
from swarmctl.progress import Progress
from swarmshd.protocol import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from swarmctl.cli import Call

    Facts = dict[str, Any]

_CHOICE = ("state", "queue", "type", "team", "group")


def export(call: Call) -> int:
    """Write all, or what is chosen, to standard output or a file."""
    chosen = {name: call.given[name] for name in _CHOICE if name in call.given}
    if "legacy" in call.given:
        if "to" in call.given:
            raise Usage("--to goes with our own lines, --legacy writes files into its directory", call.spoken)
        from swarmctl.moving import writing

        return writing.write_files(call, rows(call, chosen))
    if "force" in call.given:
        raise Usage("--force goes with --legacy", call.spoken)
    path = call.given.get("to", "-")
    if path == "-":
        _write(call, chosen, call.out.text)
        return 0
    with replacing(path) as file:
        counts = _write(call, chosen, lambda text: file.write(text.encode()))
    if call.json:
        call.emit({"file": path, **counts})
    elif not call.quiet:
        call.out.row(path, *(counted(number, kind) for kind, number in counts.items()))
    return 0


def _write(call: Call, chosen: Facts, write: Callable[[str], object]) -> dict[str, int]:
    """All lines; how many there are of each kind."""
    counts = dict.fromkeys(lines.KINDS, 0)
    write(lines.head(int(time.time() * 1000), chosen))
    for kind, row in rows(call, chosen):
        counts[kind] += 1
        write(lines.line_of(kind, row))
    write(lines.end({f"{kind}s": number for kind, number in counts.items()}))
    return counts


def rows(call: Call, chosen: Facts) -> Iterator[tuple[str, Facts]]:
    """The rows, page by page, with a bar for those who wait."""
    done = 0
    total = call.ask("count", {**chosen, "all": True})["count"]
    progress = Progress(lambda: done / max(1, total), quiet=call.quiet or call.out.terminal)
    arguments = dict(chosen)
    try:
        while True:
            page = call.ask("export", arguments)
            for kind, row in page["rows"]:
                done += kind == "item"
                yield kind, row
            if "next" not in page:
                return
            arguments["after"] = page["next"]
            progress.show(done)
    finally:
        progress.end()
