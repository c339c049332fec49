"""The old system's objects -> rows of the wire.

An old claim is an item that its agent holds; the old system knew no queue of work that nobody holds. What fits our
fields goes there, what is no name is made one, and everything else is kept as it was, as JSON, under ``legacy``: the
fields that we have no word for under their own names, what had to be changed under ``was_NAME``. What the old system
wrote into every object alike is left out. So nothing is lost, and ``writing`` can put all of it back.

Each function gives the row and the repairs that were needed, in words.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from swarmshd.protocol import NAME_CHARACTERS, NAME_MAX, NOTE_MAX, PRIORITIES, is_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    Facts = dict[str, Any]
    Row = tuple[Facts, list[str]]

DESCRIPTION_MAX = 8192
"""Bytes of a description; a longer one is kept whole as the payload."""

CLAIM, COMPLETION, AGENT, VELOCITY, TELEMETRY = "claims", "completions", "agents", "velocity", "telemetry"
"""The kinds of what stands in files."""

STUB = "completion"
"""The type of an item of which only the completion was recorded."""

UNKNOWN = "unknown"
"""Who holds what nobody says who holds."""

ALIKE: Facts = {"reactor_id": "shell_agent", "estimated_duration": "30m"}
"""What every claim says."""

METRICS = {"tasks_completed": 0, "average_completion_time": "0m", "success_rate": 100}
"""What every agent says of itself."""

_STATES = {
    "active": "claimed",
    "in_progress": "claimed",
    "pending": "ready",
    "available": "ready",
    "completed": "done",
    "failed": "buried",
    "cancelled": "cancelled",
}
_OUTCOMES = {"success": "done", "failed": "buried", "blocked": "buried"}
_OF_CLAIMS = frozenset(
    (
        *("work_item_id", "work_id", "agent_id", "claimed_by", "claimed_at", "created_at", "work_type", "priority"),
        *("description", "status", "team", "progress", "completed_at", "result"),
    )
)
_OF_AGENTS = frozenset(("agent_id", "team", "capacity", "specialization", "last_heartbeat", "current_workload"))


class Completion(NamedTuple):
    """The first record of an item's completion."""

    at: int | None
    agent: str | None
    result: str
    points: int | None


class Unusable(Exception):
    """The object cannot be taken; the text says why."""


def kind_of(value: Mapping[str, Any]) -> str | None:
    """What the object is; None if the old system wrote no such thing."""
    if "trace_id" in value or "span_id" in value or "event_type" in value or "operation_name" in value:
        return TELEMETRY
    if "work_item_id" in value:
        return COMPLETION if "velocity_points" in value and "work_type" not in value else CLAIM
    if "work_id" in value:
        return CLAIM
    return AGENT if "agent_id" in value else None


_VELOCITY = re.compile(rb"\S+: Team (.+) \+(\d{1,9}) velocity points\s*")


def velocity(line: bytes) -> tuple[str, int] | None:
    """The team and the points of a line of the velocity log; None if it is none."""
    match = _VELOCITY.fullmatch(line)
    return None if match is None else (match[1].decode("utf-8", "replace"), int(match[2]))


# -- words and times -------------------------------------------------------------------------------------


_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def text_of(value: object) -> str:
    """Text without half characters; anything that is no text as its JSON."""
    text = value if type(value) is str else _as_json(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in text)
    return text


def word(value: object) -> str:
    """Text made a name: what no name has in it becomes an underscore."""
    text = text_of(value)
    if is_name(text):
        return text
    made = "".join(each if each in NAME_CHARACTERS else "_" for each in text.strip())[:NAME_MAX]
    return f"_{made[1:]}" if made[:1] in ("", "-") else made


def identity(value: object) -> str:
    """Text made a name that no other text is made, and that nobody takes for one of our numbers."""
    text = text_of(value)
    if is_name(text) and not text.isdigit():
        return text
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{word(text)[: NAME_MAX - 9]}.{digest}"


def instant(value: object) -> int | None:
    """Milliseconds since the epoch of the times that the old system wrote."""
    if type(value) is not str:
        return None
    try:
        moment = datetime.fromisoformat(value)
        made = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return made if made >= 0 else None


def whole(value: object, most: int) -> int | None:
    """A number from 0 to ``most``, or None."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= most else None


def _made_at(value: Mapping[str, Any], ref: str) -> int | None:
    """When the item came to be: as it says, or by the nanoseconds that its name was made of."""
    for name in ("created_at", "claimed_at", "last_update", "completed_at"):
        at = instant(value.get(name))
        if at is not None:
            return at
    digits = ref.rpartition("_")[2]
    return int(digits) // 1_000_000 if digits.isdigit() and len(digits) == 19 else None


# -- claims ----------------------------------------------------------------------------------------------


class _Claim:
    """A claim on its way to a row: the row, what is kept besides, and the repairs."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = value
        self.row: Facts = {}
        self.kept: Facts = {name: each for name, each in value.items() if name not in _OF_CLAIMS}
        for name, usual in ALIKE.items():
            if self.kept.get(name) == usual:
                del self.kept[name]
        self.repairs: list[str] = []

    def repair(self, name: str, was: object, what: str) -> None:
        self.kept[f"was_{name}"] = was
        self.repairs.append(what)

    def name(self, field: str, *names: str) -> str | None:
        """The name under the first of the fields that has a value."""
        found = None
        for name in names:
            found = self.value.get(name)
            if found is not None and found != "":
                break
        else:
            return None
        made = identity(found) if field in ("ref", "agent") else word(found)
        if made != found:
            self.repair(field, found, f"{field} {text_of(found)!r} is no name, it is {made} now")
        return made


def claim_row(value: Mapping[str, Any], completion: Completion | None) -> Row:
    """The item that a claim was, completed if there is a record of that.

    Raises:
        Unusable: it has no id.
    """
    claim = _Claim(value)
    row = claim.row
    ref = claim.name("ref", "work_item_id", "work_id")
    if ref is None:
        raise Unusable("a claim without work_item_id")
    row["ref"] = ref
    at = _made_at(value, ref)
    if at is None:
        at = 0
        claim.repairs.append("no time that can be read; it is as old as can be")
    row["created_at"] = at
    if "created_at" in value and "claimed_at" in value:
        claim.kept["claimed_at"] = value["claimed_at"]
    kind = claim.name("type", "work_type")
    if kind is None:
        claim.repairs.append("no work_type; it is unknown now")
    row["type"] = kind or UNKNOWN
    team = claim.name("team", "team")
    if team is not None:
        row["team"] = team
    _describe(claim)
    priority = value.get("priority", "medium")
    row["priority"] = priority if priority in PRIORITIES else "medium"
    if priority not in PRIORITIES:
        claim.repair("priority", priority, f"priority {text_of(priority)!r} is medium now")
    agent = claim.name("agent", "agent_id", "claimed_by")
    if agent is not None:
        row["agent"] = agent
    _become(claim, agent, completion)
    _progress(claim)
    return _finished(claim.row, claim.kept, claim.repairs)


def _describe(claim: _Claim) -> None:
    description = text_of(claim.value.get("description", ""))
    if description != claim.value.get("description", ""):
        claim.repairs.append("a description that is not UTF-8 text")
    if len(description) * 4 > DESCRIPTION_MAX and len(data := description.encode()) > DESCRIPTION_MAX:
        claim.row["payload"] = data
        description = data[:DESCRIPTION_MAX].decode("utf-8", "ignore")
        claim.repair("description", "payload", f"a description of {len(data)} bytes is cut; all of it is the payload")
    claim.row["description"] = description


def _become(claim: _Claim, agent: str | None, completion: Completion | None) -> None:
    """State, and what became of it."""
    value, row = claim.value, claim.row
    status = value.get("status", "active")
    state = _STATES.get(status, "claimed") if type(status) is str else "claimed"
    if completion is not None and state != "done":
        claim.repairs.append(f"{text_of(status)} in the claims, completed in the log: it is done")
        state = "done"
    if state == "claimed":
        row["holder"] = UNKNOWN if agent is None else agent
        row["claims"] = 1
        if status != "active":
            row["status"] = _note(text_of(status))
            if status != "in_progress":
                claim.repairs.append(f"status {text_of(status)!r}: it counts as claimed")
    row["state"] = state
    if state == "done":
        own = Completion(instant(value.get("completed_at")), agent, text_of(value.get("result", "success")), None)
        _complete(row, own if completion is None else completion)
        row.setdefault("ended_at", row["created_at"])
        row["claims"] = 1
        return
    claim.kept |= {name: value[name] for name in ("completed_at", "result") if name in value}
    if state == "buried":
        row["reason"] = _note(text_of(status))
        row["claims"] = 1


def _complete(row: Facts, completion: Completion) -> None:
    """It was completed so."""
    if completion.at is not None:
        row["ended_at"] = completion.at
    if completion.agent is not None:
        row["ended_by"] = completion.agent
    if completion.points is not None:
        row["points"] = completion.points
    result = completion.result
    row["state"] = _OUTCOMES.get(result, "done")
    if row["state"] == "buried":
        row["reason"] = result
    elif result != "success":
        row["note"] = _note(result)
        if row["note"] != result:
            row["result"] = result.encode()


def _note(text: str) -> str:
    """As much of ``text`` as a note may hold."""
    return text if len(text) * 4 <= NOTE_MAX else text.encode()[:NOTE_MAX].decode("utf-8", "ignore")


def _progress(claim: _Claim) -> None:
    progress = claim.value.get("progress")
    if progress is None:
        return
    percent = whole(progress, 100)
    if percent is None:
        claim.repair("progress", progress, f"progress {text_of(progress)!r} is no percentage")
    else:
        claim.row["percent"] = percent


def _finished(row: Facts, kept: Facts, repairs: list[str]) -> Row:
    if kept:
        row["legacy"] = text_of(_as_json(kept))
    return row, repairs


# -- completions -----------------------------------------------------------------------------------------


def completion_of(value: Mapping[str, Any]) -> tuple[str, Completion, list[str]]:
    """Whose completion it is, the completion, and what had to be repaired.

    Raises:
        Unusable: it has no id.
    """
    found = value.get("work_item_id")
    if found in (None, ""):
        raise Unusable("a completion without work_item_id")
    repairs = []
    points = value.get("velocity_points")
    number = whole(points, (1 << 31) - 1)
    if points is not None and number is None:
        repairs.append(f"velocity_points {text_of(points)!r} is no number")
    agent = value.get("agent_id")
    result = text_of(value.get("result", "success"))
    made = Completion(instant(value.get("completed_at")), identity(agent) if agent else None, result, number)
    return identity(found), made, repairs


def stub_row(ref: str, completion: Completion) -> Row:
    """The item of which only the completion was recorded."""
    row: Facts = {"ref": ref, "type": STUB, "description": "only its completion was recorded", "claims": 1}
    at = completion.at
    repairs = []
    if at is None:
        at = _made_at({}, ref) or 0
        repairs.append("a completion without a time that can be read")
    row["created_at"] = at
    _complete(row, completion)
    row.setdefault("ended_at", at)
    return row, repairs


# -- agents ----------------------------------------------------------------------------------------------


def agent_row(value: Mapping[str, Any]) -> Row:
    """The agent that a line of the registry was.

    Raises:
        Unusable: it has no id.
    """
    found = value.get("agent_id")
    if found in (None, ""):
        raise Unusable("an agent without agent_id")
    repairs = []
    row: Facts = {"agent": identity(found)}
    kept = {name: each for name, each in value.items() if name not in _OF_AGENTS}
    if row["agent"] != found:
        kept["was_agent"] = found
        repairs.append(f"agent {text_of(found)!r} is no name, it is {row['agent']} now")
    team = value.get("team")
    if team not in (None, ""):
        row["team"] = word(team)
        if row["team"] != team:
            kept["was_team"] = team
            repairs.append(f"team {text_of(team)!r} is no name, it is {row['team']} now")
    capacity = value.get("capacity")
    if capacity is not None:
        row["capacity"] = whole(capacity, (1 << 31) - 1)
        if row["capacity"] is None:
            kept["was_capacity"] = capacity
            repairs.append(f"capacity {text_of(capacity)!r} is no number")
    specialization = value.get("specialization")
    if specialization not in (None, ""):
        row["specialization"] = _note(text_of(specialization))
    seen = instant(value.get("last_heartbeat"))
    if seen is not None:
        row["seen_at"] = seen
    if kept.get("status") == "active":
        del kept["status"]
    _measure(kept)
    return _finished({name: each for name, each in row.items() if each is not None}, kept, repairs)


def _measure(kept: Facts) -> None:
    """Metrics, with their rate as a percentage; none if they are what every agent begins with."""
    metrics = kept.get("performance_metrics")
    if type(metrics) is not dict:
        return
    rate = metrics.get("success_rate")
    if isinstance(rate, (int, float)) and 0 < rate <= 1:
        metrics = metrics | {"success_rate": rate * 100}
    kept["performance_metrics"] = metrics
    if metrics == METRICS:
        del kept["performance_metrics"]
