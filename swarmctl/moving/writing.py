"""``export --legacy``: the old system's files, as that system would read them, and as valid JSON.

``work_claims.json`` has every item, ``work_claims_fast.jsonl`` once more those that somebody holds, one a line;
``coordination_log.json`` and ``velocity_log.txt`` what was completed; ``agent_status.json``, and under its other name
``agents.json``, the agents. What `import` kept besides is put back where it stood, so that the files, imported again,
say the same.

A file that is there is replaced only if it is still what an export wrote: a file of its own in the directory has the
digest of each. Each file is whole or not there.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from swarmctl.cli import Failure
from swarmctl.moving.files import opened, replacing
from swarmctl.moving.legacy import ALIKE, METRICS, STUB, UNKNOWN, identity, word
from swarmctl.parse import show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from swarmctl.cli import Call

    Facts = dict[str, Any]

CLAIMS, FAST, LOG, VELOCITY = "work_claims.json", "work_claims_fast.jsonl", "coordination_log.json", "velocity_log.txt"
AGENTS = ("agent_status.json", "agents.json")
FILES = (CLAIMS, FAST, LOG, VELOCITY, *AGENTS)

RECORD = ".swarmctl-export.json"
"""What was written: the digest of each file."""

TEAM = "autonomous_team"
"""The team of points that no team has earned; the old system's default."""

_STATUS = {"ready": "pending", "scheduled": "pending", "blocked": "blocked", "cancelled": "cancelled"}


def write_files(call: Call, rows: Iterator[tuple[str, Facts]]) -> int:
    """Write all files into the directory that ``--legacy`` names."""
    directory: str = call.given["legacy"]
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make {show(directory)}: {error.strerror}") from None
    if "force" not in call.given:
        _refuse_to_replace(directory)
    with ExitStack() as stack:
        out = {name: _Out(stack.enter_context(replacing(os.path.join(directory, name)))) for name in FILES}
        counts = _write(out, rows)
    with replacing(os.path.join(directory, RECORD)) as file:
        file.write(json.dumps({name: each.digest.hexdigest() for name, each in out.items()}).encode() + b"\n")
    if call.json:
        call.emit({"directory": directory, "files": counts})
    elif not call.quiet:
        for name, count in counts.items():
            call.out.row(os.path.join(directory, name), count)
    return 0


def _refuse_to_replace(directory: str) -> None:
    """Refuse if a file is there that is not what an export wrote.

    Raises:
        Failure: and names it.
    """
    record = os.path.join(directory, RECORD)
    written: Facts = {}
    if os.path.exists(record):
        with opened(record) as file:
            try:
                written = dict(json.loads(file.read(1 << 16)))
            except ValueError:
                pass
    for name in FILES:
        path = os.path.join(directory, name)
        if not os.path.lexists(path):
            continue
        with opened(path) as file:
            digest = blake2b(digest_size=16)
            while data := file.read(1 << 18):
                digest.update(data)
        if digest.hexdigest() != written.get(name):
            raise Failure(f"{show(path)} is not what export wrote; --force replaces it", 5, "conflict")


class _Out:
    """A file that is being written, and the digest of what was; an array, if ``add`` is used."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = blake2b(digest_size=16)
        self.count = 0

    def write(self, text: str) -> None:
        data = text.encode()
        self.digest.update(data)
        self.file.write(data)

    def add(self, value: Facts) -> None:
        """The next element of an array."""
        shown = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        self.write(f"{',' if self.count else '['}\n  {shown}")
        self.count += 1

    def line(self, text: str) -> None:
        self.write(text + "\n")
        self.count += 1

    def close_array(self) -> None:
        self.write("\n]\n" if self.count else "[]\n")


def _write(out: dict[str, _Out], rows: Iterator[tuple[str, Facts]]) -> dict[str, int]:
    agents: list[Facts] = []  # there are few of them, and what they hold comes after them
    holds: dict[str, int] = {}
    for kind, row in rows:
        if kind == "agent":
            agents.append(row)
        elif kind == "item":
            _write_item(out, row)
            if row["state"] == "claimed":
                holds[row["holder"]] = holds.get(row["holder"], 0) + 1
    for row in agents:
        for name in AGENTS:
            out[name].add(_agent(row, holds.get(row["agent"], 0)))
    for name in (CLAIMS, LOG, *AGENTS):
        out[name].close_array()
    return {name: each.count for name, each in out.items()}


def _write_item(out: dict[str, _Out], row: Facts) -> None:
    kept = _kept(row)
    completed = row["state"] == "done" or (row["state"] == "buried" and "ended_at" in row)
    if not (completed and row["type"] == STUB and "agent" not in row):
        claim = _claim(row, kept, completed=completed)
        out[CLAIMS].add(claim)
        if _is_held(row):
            out[FAST].line(json.dumps(claim, ensure_ascii=False, separators=(",", ":")))
    if completed:
        ended = _iso(row["ended_at"])
        out[LOG].add(
            {
                "work_item_id": _ref(row, kept),
                "completed_at": ended,
                "agent_id": row.get("ended_by", ""),
                "result": _result(row),
                "velocity_points": row.get("points"),
            }
        )
        if row.get("points"):
            out[VELOCITY].line(f"{ended}: Team {row.get('team', TEAM)} +{row['points']} velocity points")


def _kept(row: Facts) -> Facts:
    try:
        kept = json.loads(row.get("legacy", "{}"))
    except ValueError:
        return {}
    return kept if type(kept) is dict else {}


def _iso(ms: int) -> str:
    """The time as the old system wrote it; with milliseconds only where there are some."""
    moment = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{ms % 1000:03d}Z" if ms % 1000 else f"{moment}Z"


def _was(kept: Facts, field: str, value: Any) -> Any:
    """What ``import`` had to change: as it was, if it is still what was made of it."""
    was = kept.pop(f"was_{field}", None)
    made = None if was is None else identity(was) if field in ("ref", "agent") else word(was)
    return was if was is not None and (made == value or field in ("priority", "progress", "capacity")) else value


def _ref(row: Facts, kept: Facts) -> Any:
    return _was(dict(kept), "ref", row.get("ref") or f"work_{row['id']}")


def _is_held(row: Facts) -> bool:
    return row["state"] in ("claimed", "blocked") and "holder" in row


def _claimer(row: Facts) -> str:
    """Who holds it, else who put it in; where no other is known, both were one in the old system."""
    holder: str = row.get("holder", UNKNOWN)
    return holder if holder != UNKNOWN else str(row.get("agent", ""))


def _status(row: Facts, *, completed: bool) -> str:
    if completed:
        return "completed"
    if _is_held(row):
        return str(row.get("status") or "active")
    if row["state"] == "buried":
        return "failed"
    return _STATUS[row["state"]]


def _result(row: Facts) -> str:
    """How it was completed, in the words in which it was said."""
    if row["state"] == "buried":
        return str(row.get("reason", "failed"))
    note: str = row.get("note", "success")
    whole: bytes = row.get("result", b"")
    return whole.decode("utf-8", "replace") if len(whole) > len(note) and whole.startswith(note.encode()) else note


def _claim(row: Facts, kept: Facts, *, completed: bool) -> Facts:
    """The claim that the item was, or would be."""
    kept = dict(kept)
    made: Facts = {
        "work_item_id": _was(kept, "ref", row.get("ref") or f"work_{row['id']}"),
        "agent_id": _was(kept, "agent", _claimer(row)),
        "reactor_id": kept.pop("reactor_id", ALIKE["reactor_id"]),
        "claimed_at": _iso(row["created_at"]),
        "estimated_duration": kept.pop("estimated_duration", ALIKE["estimated_duration"]),
        "work_type": _was(kept, "type", row["type"]),
        "priority": _was(kept, "priority", row.get("priority", "medium")),
        "description": row["description"],
        "status": _status(row, completed=completed),
        "team": _was(kept, "team", row.get("team", "")),
    }
    if kept.pop("was_description", None) is not None and "payload" in row:
        made["description"] = row["payload"].decode("utf-8", "replace")
    if "claimed_at" in kept:
        made["created_at"] = made["claimed_at"]
    progress = _was(kept, "progress", row.get("percent"))
    if progress is not None:
        made["progress"] = progress
    if completed:
        made |= {"completed_at": _iso(row["ended_at"]), "result": _result(row)}
    return made | kept


def _agent(row: Facts, holds: int) -> Facts:
    kept = _kept(row)
    made: Facts = {
        "agent_id": _was(kept, "agent", row["agent"]),
        "team": _was(kept, "team", row.get("team", "")),
        "status": kept.pop("status", "active"),
        "capacity": _was(kept, "capacity", row.get("capacity")),
        "current_workload": holds,
        "specialization": row.get("specialization", ""),
        "last_heartbeat": _iso(row["seen_at"]),
        "performance_metrics": kept.pop("performance_metrics", METRICS),
    }
    return {name: value for name, value in (made | kept).items() if value is not None}
