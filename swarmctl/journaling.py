"""The verbs about the journal's files: journal list, check, dump, repair, archive, and backup.

With ``--state-dir`` they work on the files of a daemon that does not run; what reads them is the daemon's own code, in
a process of its own, since this program knows nothing of files. It tells one JSON object a line, printed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from swarmctl.cli import Failure
from swarmctl.parse import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

    from swarmctl.cli import Call

    Row = dict[str, Any]

_STATUS = {5: 5, 75: 75, 78: 78}
"""Exit statuses that mean the same here; any other is a failure of the operation."""

_LIST = "kind file bytes after_position up_to_position epoch".split()
_LOSS = "loss file offset bytes after_position up_to_position why".split()


def list_files(call: Call) -> int:
    """The files, one a line."""
    for row in _rows(call, "list"):
        row.setdefault("after_position", row.get("position"))
        _tell(call, row, _LIST, row["file"])
        if "damaged" in row:
            call.remark(f"{row['file']} is damaged: {row['damaged']}")
    return call.status


def check(call: Call) -> int:
    """What is wrong, then the verdict; and how fast the disk is."""
    options = [f"--{name.replace('_', '-')}" for name in ("deep", "no_measure") if name in call.given]
    for row in _rows(call, "check", *options):
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
    options = ["--since", str(call.given["since"])] if "since" in call.given else []
    options += ["--item", str(call.given["id"])] if "id" in call.given else []
    for row in _rows(call, "dump", *options):
        call.emit(row)
    return call.status


def repair(call: Call) -> int:
    """A sound journal of a damaged one, in another directory; what is lost, and what to do next."""
    if "state_dir" not in call.given or "to" not in call.given:
        raise Usage("it takes --state-dir, the damaged directory, and --to, where the sound one is to be", call.spoken)
    made: Row = {}
    for row in _rows(call, "repair", "--to", call.given["to"]):
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
    options = [f"--{name.replace('_', '-')}" for name in ("all", "dry_run") if name in call.given]
    for row in _rows(call, "archive", *options):
        _tell(call, row, ["what", "file"], row["file"])
    return call.status


def _tell(call: Call, row: Row, columns: list[str], name: object, **more: object) -> None:
    """One row: an object, a name, or a line of fields."""
    if call.json:
        call.emit(row)
    elif call.quiet:
        call.out.row(name)
    else:
        call.out.row(*[{**row, **more}.get(column) for column in columns if column])


def _rows(call: Call, what: str, *options: str) -> Iterator[Row]:
    """What the program tells, as it tells it; at the end the call's status is the program's.

    Raises:
        Failure: it could do nothing.
    """
    with _program(call, what, *options) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip()
    _finish(call, process.returncode, said)


def _program(call: Call, what: str, *options: str, out: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    if "state_dir" not in call.given:
        raise Usage("it takes --state-dir, the directory of a daemon that does not run", call.spoken)
    command = [sys.executable, "-m", "swarmshd.salvage", what, "--state-dir", call.given["state_dir"], *options]
    command += ["--now", str(time.time_ns() // 1_000_000)]
    call.out.flush()
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)


def _finish(call: Call, status: int, said: str) -> None:
    if said:
        text = said.splitlines()[-1].removeprefix("swarmshd.salvage: ")
        raise Failure(text, _STATUS.get(status, 1))
    call.status = max(call.status, _STATUS.get(status, 1) if status else 0)


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)


# -- backup ------------------------------------------------------------------------------------------------


def backup(call: Call) -> int:
    """A backup into a file, or to standard output; or whether one is sound."""
    path: str = call.words[0]
    if "verify" in call.given:
        return _verify(call, path)
    if path == "-":
        with _program(call, "backup", out=_stdout()) as process:
            assert process.stderr is not None
            said = process.stderr.read().decode(errors="replace").strip()
        _finish(call, process.returncode, said)
        return call.status
    return _into(call, path)


def _stdout() -> int:
    if sys.stdout is None or os.isatty(sys.stdout.fileno()):
        raise Failure("a backup is not for a terminal; name a file, or redirect the output", 2)
    return sys.stdout.fileno()


def _into(call: Call, path: str) -> int:
    """Written under another name, synced, and given its own only when it is whole."""
    draft = f"{path}.part"
    try:
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            try:
                with _program(call, "backup", out=file.fileno()) as process:
                    assert process.stderr is not None
                    said = process.stderr.read().decode(errors="replace").strip()
                _finish(call, process.returncode, said)
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
                os.rename(draft, path)
            except BaseException:
                os.unlink(draft)
                raise
    except OSError as error:
        raise Failure(f"cannot write {error.filename or path}: {error.strerror}", 1) from None
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
    _finish(call, done.returncode, done.stderr.decode(errors="replace").strip())
    facts: Row = json.loads(done.stdout)
    if call.json:
        call.emit({"file": path, **facts})
    elif not call.quiet:
        for name, value in facts.items():
            call.out.row(name, value)
    return call.status
