"""The verbs about the journal's files: journal list, check, dump, repair, archive, upgrade, and backup.

What is told of them, and by whom, is in `inspecting`; here it is printed, or written into the file of a backup.
"""

from __future__ import annotations

import json
import subprocess
import sys

from swarmctl.cli import Failure
from swarmctl.inspecting import Inspection
from swarmctl.moving.files import replacing
from swarmctl.parse import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from swarmctl.cli import Call

    Row = dict[str, Any]

_LIST = "kind file bytes after_position up_to_position epoch".split()
_LOSS = "loss file offset bytes after_position up_to_position why".split()


def list_files(call: Call) -> int:
    """The files, one a line."""
    for row in Inspection(call, "list", {}, bar=False).rows():
        row.setdefault("after_position", row.get("position"))
        _tell(call, row, _LIST, row["file"])
        if "damaged" in row:
            call.remark(f"{row['file']} is damaged: {row['damaged']}")
    return call.status


def check(call: Call) -> int:
    """What is wrong, then the verdict; and how fast the disk is."""
    wanted: Row = {name: True for name in ("deep", "digest") if name in call.given}
    if "digest" in wanted and "state_dir" in call.given:
        raise Usage("--digest compares with a daemon that runs; leave --state-dir away", call.spoken)
    if "no_measure" in call.given:
        wanted["measure"] = False
    for row in Inspection(call, "check", wanted, bar=True).rows():
        if "loss" in row:
            _tell(call, row, _LOSS, row["file"])
        elif call.json:
            call.emit(row)
        elif "sound" in row and call.quiet:
            call.out.row("sound" if row["sound"] else "damaged")
        elif not call.quiet:
            for name, value in row.items():
                call.out.row(name, {True: "yes", False: "no"}.get(value, value) if type(value) is bool else value)
    return call.status


def dump(call: Call) -> int:
    """The events, one JSON object a line."""
    wanted: Row = {name: call.given[name] for name in ("since", "id") if name in call.given}
    for row in Inspection(call, "dump", wanted, bar=not call.out.terminal).rows():
        call.emit(row)
    return call.status


def repair(call: Call) -> int:
    """A sound journal of a damaged one, in another directory; what is lost, and what to do next."""
    if "state_dir" not in call.given or "to" not in call.given:
        raise Usage("it takes --state-dir, the damaged directory, and --to, where the sound one is to be", call.spoken)
    made: Row = {}
    for row in Inspection(call, "repair", {"to": call.given["to"]}, bar=True).rows():
        if "loss" in row:
            _tell(call, row, _LOSS, row["file"])
        elif "item" in row:
            said = row.get("assumed") or row.get("last")
            _tell(
                call,
                row,
                ["", "item", "what", "said"],
                row["item"],
                what="lost" if row["lost"] else "assumed",
                said=said,
            )
        else:
            made = row
    if not made:
        return call.status
    if call.json:
        call.emit(made)
    elif not call.quiet:
        for name, value in made.items():
            call.out.row(name, {True: "yes", False: "no"}.get(value, value) if type(value) is bool else value)
    if not call.json:
        old, new = _quoted(call.given["state_dir"]), _quoted(call.given["to"])
        call.remark(f"look at it; then: mv {old} {old}.damaged && mv {new} {old}, and start the daemon")
    return call.status


def archive(call: Call) -> int:
    """Compress what is old enough, remove what is too old or too much."""
    wanted: Row = {name: call.given[name] for name in ("all", "dry_run", "prune") if name in call.given}
    for row in Inspection(call, "archive", wanted, bar=False).rows():
        _tell(call, row, ["what", "file"], row["file"])
    return call.status


def upgrade(call: Call) -> int:
    """In which format the journal is, and what is to be done about it."""
    for row in Inspection(call, "upgrade", {}, bar=False).rows():
        if call.json:
            call.emit(row)
        elif call.quiet:
            call.out.row(row["to_do"])
        else:
            for name, value in row.items():
                call.out.row(name, value)
    return call.status


def _tell(call: Call, row: Row, columns: list[str], name: object, **more: object) -> None:
    """One row: an object, a name, or a line of fields."""
    call.tell(row, name, [{**row, **more}.get(column) for column in columns if column])


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)


# -- backup ------------------------------------------------------------------------------------------------


def backup(call: Call) -> int:
    """A backup into a file, or to standard output; or whether one is sound."""
    path: str = call.words[0]
    if "verify" in call.given:
        return _verify(call, path)
    if path != "-":
        return _into(call, path)
    if call.out.terminal:
        raise Failure("a backup is not for a terminal; name a file, or redirect the output", 2)
    for part in Inspection(call, "backup", {}, bar=True).parts():
        call.out.data(part)
    return call.status


def _into(call: Call, path: str) -> int:
    size = 0
    with replacing(path, 0o600) as file:
        for part in Inspection(call, "backup", {}, bar=True).parts():
            size += file.write(part)
    if call.json:
        call.emit({"file": path, "bytes": size})
    elif not call.quiet:
        call.out.row(path, size)
    return call.status


def _verify(call: Call, path: str) -> int:
    source: IO[bytes]
    try:
        source = sys.stdin.buffer if path == "-" and sys.stdin is not None else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", 1) from None
    command = [sys.executable, "-m", "swarmshd.salvage", "verify"]
    done = subprocess.run(command, stdin=source, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failure(said[-1].removeprefix("swarmshd.salvage: "), 78 if done.returncode == 78 else 1)
    facts: Row = json.loads(done.stdout)
    if call.json:
        call.emit({"file": path, **facts})
    elif not call.quiet:
        for name, value in facts.items():
            call.out.row(name, value)
    return call.status
