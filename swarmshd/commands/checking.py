"""Checks of a command that need more than one of its arguments, or a choice among words."""

from collections.abc import Callable, Collection
from typing import Any

from swarmshd import protocol
from swarmshd.commands.governing import Pause, Register
from swarmshd.commands.looks import CountItems, Dashboard, Explain, Get, JournalFiles, List
from swarmshd.commands.refusal import Refusal, bad, shown
from swarmshd.commands.rows import Import
from swarmshd.commands.values import CLAIM_MAX, DASHBOARD_MAX, EVENTS_MAX, FILTER_MAX, LIST_MAX, WATCHED_MAX
from swarmshd.commands.work import Claim, Hold, Submit


def check(verb: str, command: Any) -> None:
    """Refuse a command that can never be granted, whatever the state."""
    of_verb = _CHECKS.get(verb)
    if of_verb is not None:
        of_verb(verb, command)


def _submit(verb: str, command: Submit) -> None:
    if command.on_failure != "hold":
        _one_of("on_failure", command.on_failure, protocol.ON_FAILURE)
    if command.delay is not None and command.at is not None:
        bad(verb, "delay and at exclude each other")
    if len(command.after) > protocol.AFTER_MAX:
        raise Refusal("too_large", f"submit: {len(command.after)} dependencies; the limit is {protocol.AFTER_MAX}")
    if len(command.require) > protocol.LABELS_MAX:
        raise Refusal("too_large", f"submit: {len(command.require)} labels; the limit is {protocol.LABELS_MAX}")
    _numbers(verb, command)


def _numbers(verb: str, command: Any) -> None:
    """A lease of no time at all would end before it began, and so on."""
    for name in ("lease", "max_runtime", "max_attempts"):
        if getattr(command, name, None) == 0:
            bad(verb, f"{name}: must not be 0; leave it out for the default")


def _claim(verb: str, command: Claim) -> None:
    _filter(verb, command)
    if not 1 <= command.count <= CLAIM_MAX:
        bad(verb, f"count: expected a number (1 to {CLAIM_MAX}), not {command.count}")
    _numbers(verb, command)


def _hold(verb: str, command: Hold) -> None:
    if not command.watch:
        bad(verb, "watch: must be true, with the descriptor of the process")


def _filter(verb: str, command: Any) -> None:
    """Each item, or event, is held against all names of a filter, and filters are kept."""
    for field, most in (("ids", WATCHED_MAX), ("queue", FILTER_MAX), ("type", FILTER_MAX), ("team", FILTER_MAX)):
        names = getattr(command, field, None) or ()
        if type(names) is tuple and len(names) > most:
            raise Refusal("too_large", f"{verb}: {len(names)} names in a filter; the limit is {most}", limit=most)


def _states(verb: str, command: Any) -> None:
    _filter(verb, command)
    if len(command.state) > len(protocol.STATES):
        bad(verb, f"state: there are {len(protocol.STATES)}, not {len(command.state)}")
    for state in command.state:
        if state not in protocol.STATES:
            bad(verb, f"state: expected one of {', '.join(protocol.STATES)}, not {shown(state)}")


def _list(verb: str, command: List) -> None:
    _states(verb, command)
    if not 1 <= command.limit <= LIST_MAX:
        bad(verb, f"limit: expected a number (1 to {LIST_MAX}), not {command.limit}")


def _count(verb: str, command: CountItems) -> None:
    _states(verb, command)
    if command.by is not None:
        _one_of("by", command.by, ("state", "queue", "type", "team", "agent", "group"))


def _get(_: str, command: Get) -> None:
    _one_of("what", command.what, ("payload", "checkpoint", "output", "result"))


def _events(verb: str, command: Any) -> None:
    if verb == "history" and not command.ids:
        bad(verb, "ids: expected at least one item")
    if not 1 <= command.limit <= EVENTS_MAX:
        bad(verb, f"limit: expected a number (1 to {EVENTS_MAX}), not {command.limit}")
    _filter(verb, command)


def _explain(verb: str, command: Explain) -> None:
    if command.id is None and command.agent is None and command.queue is None:
        bad(verb, "expected id, agent or queue")
    if command.id is not None and command.queue is not None:
        bad(verb, "id and queue exclude each other")


def _dashboard(verb: str, command: Dashboard) -> None:
    if max(command.queues, command.agents, command.failures) > DASHBOARD_MAX:
        bad(verb, f"at most {DASHBOARD_MAX} rows of a kind")


def _journal(_: str, command: JournalFiles) -> None:
    _one_of("want", command.want, protocol.JOURNAL_WANTS)


def _register(_: str, command: Register) -> None:
    if len(command.labels) > protocol.LABELS_MAX:
        raise Refusal("too_large", f"register: {len(command.labels)} labels; the limit is {protocol.LABELS_MAX}")


def _import(_: str, command: Import) -> None:
    _one_of("claimed", command.claimed, protocol.CLAIMED_BECOMES)


def _pause(verb: str, command: Pause) -> None:
    _target(verb, command)
    if command.lasts == 0:
        bad(verb, "lasts: must not be 0; leave it out for a pause without an end")


def _target(verb: str, command: Any) -> None:
    """These verbs take one kind of target, never two and never none."""
    names = {"cancel": "id group", "kick": "id queue group", "wait": "ids group"}.get(verb, "queue all").split()
    given = [name for name in names if getattr(command, name) not in (None, (), False)]
    if len(given) != 1:
        bad(verb, f"expected one of {', '.join(names)}, not {' and '.join(given) or 'none'}")


def _one_of(argument: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise Refusal("bad_request", f"{argument}: expected one of {', '.join(choices)}, not {shown(value)}")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "submit": _submit,
    "claim": _claim,
    "claim_new": _numbers,
    "lock": _numbers,
    "hold": _hold,
    "list": _list,
    "count": _count,
    "export": _states,
    "clear": _states,
    "get": _get,
    "watch": _events,
    "history": _events,
    "explain": _explain,
    "dashboard": _dashboard,
    "journal": _journal,
    "register": _register,
    "import": _import,
    "pause": _pause,
    "resume": _target,
    "cancel": _target,
    "kick": _target,
    "wait": _target,
}
