"""A refusal of the daemon -> the one line that says what happened and what to do next.

The daemon says what is so. What it cannot know is added here: who this caller is and why, local time, and which
options would have helped. Imported only when something was refused.
"""

from __future__ import annotations

import time

from swarmctl import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call
    from swarmctl.connection import Refused

    Facts = dict[str, Any]


def sentence(call: Call, refused: Refused) -> str:
    """The line, without program, verb and item."""
    code, facts = refused.code, refused.facts
    wire = call.line.verb.wire if call.line.verb else ""
    if wire == "lock" and code == "timeout":
        return _locked(facts)
    if code == "lease_lost" and wire != "unlock":
        return f"lease lost{_holder(facts)}; claim it again"
    if code == "not_holder":
        agent, why = call.who()
        held = _holder(facts).replace(" (now ", "").rstrip(")") or "another agent holds it"
        return f"{held}, you are {agent} (from {why}): set AGENT_ID or pass --token"
    if code == "empty":
        return _nothing(call, facts)
    text = _without_verb(refused.message, call)
    follow = facts.get("next")
    return f"{text}; next: {follow}" if follow and str(follow) not in text else text


def facts(call: Call, refused: Refused, about: object) -> Facts:
    """The fields of a refusal's JSON object: ``code``, ``exit``, ``retryable``, ``message``, ``next`` and its facts."""
    shown: Facts = {} if about is None else {"id": about}
    shown.update(code=refused.code, exit=refused.exit, retryable=refused.retryable, message=sentence(call, refused))
    follow = refused.facts.get("next") or _NEXT.get(refused.code)
    if follow:
        shown["next"] = follow
    said = ("message", "retryable", "next", "code", "exit")
    shown.update(render.for_json({name: value for name, value in refused.facts.items() if name not in said}))
    return shown


_NEXT = {
    "lease_lost": "swarmctl claim --resume",
    "not_holder": "swarmctl whoami",
    "not_found": "swarmctl list --all",
    "position_gone": "swarmctl watch",
    "empty": "swarmctl claim --wait 5m",
    "denied": "swarmctl whoami",
    "version": "swarmctl --version",
}


def _holder(facts: Facts) -> str:
    holder, since = facts.get("holder"), facts.get("since")
    if not holder:
        return ""
    when = f" since {render.clock(since, int(time.time() * 1000))}" if isinstance(since, int) else ""
    return f" (now held by {holder}{when})"


def _locked(facts: Facts) -> str:
    holder = _holder(facts).removeprefix(" (now ").removesuffix(")") or "others are before you"
    waiting = facts.get("waiting")
    return f"{holder}{f'; {waiting} wait for it' if waiting else ''}; --wait D waits"


def _nothing(call: Call, facts: Facts) -> str:
    queues = call.given.get("queue") or [call.environ.get("SWARMSH_QUEUE") or "default"]
    where = "any queue" if queues == ["*"] else ", ".join(queues)
    why = []
    if facts.get("paused"):
        why.append(f"paused: {facts['paused']}")
    elsewhere = facts.get("elsewhere") or {}
    why += [f"{ready} ready in {queue}" for queue, ready in sorted(elsewhere.items(), key=lambda one: -one[1])[:3]]
    return f"nothing to claim in {where}" + (f" ({'; '.join(why)})" if why else "")


def _without_verb(text: str, call: Call) -> str:
    """The daemon begins some sentences with its verb, and the item; both stand on the line already."""
    wire = call.line.verb.wire if call.line.verb else ""
    head, colon, rest = text.partition(": ")
    return rest if colon and wire and head.partition(" ")[0] in (wire, call.spoken) else text
