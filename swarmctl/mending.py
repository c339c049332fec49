"""The verbs that put things right or change how things go: kick, cancel, edit, pause, resume, queues, agents.

Many ids, queues or agents may stand on one line; each is its own change with its own answer.
"""

from __future__ import annotations

from swarmctl import values
from swarmctl.parse import Usage, positional, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]


def _state(result: Facts) -> str:
    return f"{result['id']} {result['state']}"


def kick(call: Call) -> int:
    """Put items back: those named, or those of a queue or group."""
    chosen: Facts = {field: call.given[field] for field in ("queue", "group") if field in call.given}
    if len(chosen) + bool(call.words) != 1:
        raise Usage("it takes ids, or --queue, or --group", call.spoken)
    if not call.words:
        arguments = {**chosen, "key": call.key()}
        if "count" in call.given:
            arguments["count"] = call.given["count"]
        return _number(call, call.ask("kick", arguments)["kicked"], "kicked")
    if "count" in call.given:
        raise Usage("--count goes with --queue or --group", call.spoken)
    items = call.items()
    return call.each("kick", items, lambda item, _: {"id": item, "key": _key(call, item, items)}, _state)


def cancel(call: Call) -> int:
    """End open items: those named, or those of a group."""
    reason: Facts = {"reason": call.given["message"]} if "message" in call.given else {}
    group = call.given.get("group")
    if (group is None) == (not call.words):
        raise Usage("it takes ids, or --group; a reason goes in --message", call.spoken)
    if group is None:
        items = call.items()
        return call.each(
            "cancel", items, lambda item, _: {"id": item, **reason, "key": _key(call, item, items)}, _state
        )
    total, part, more = 0, 0, True
    while more:  # the daemon ends a bounded number a call
        reply = call.ask("cancel", {"group": group, **reason, "key": call.key(part)})
        total, part, more = total + reply["cancelled"], part + 1, reply.get("more", False)
    return _number(call, total, "cancelled")


def _key(call: Call, item: object, items: list[Any]) -> str:
    return call.key(item if len(items) > 1 else None)


def _number(call: Call, number: int, name: str) -> int:
    if call.json:
        call.emit({name: number})
    else:
        call.out.row(number)
    return 0


def edit(call: Call) -> int:
    """Change items that nobody holds."""
    change: Facts = {field: call.given[field] for field in ("priority", "queue", "delay") if field in call.given}
    if not change:
        raise Usage("nothing to change: --priority, --queue or --delay", call.spoken)
    items = call.items()
    return call.each("edit", items, lambda item, _: {"id": item, **change, "key": _key(call, item, items)}, _state)


# -- queues --------------------------------------------------------------------------------------------


def _over(
    call: Call, verb: str, field: str, arguments: Callable[[str], Facts], line: Callable[[Facts], tuple[object, ...]]
) -> int:
    """Ask ``verb`` for each positional, which is a name; a refusal of one does not end the others."""
    from swarmctl.connection import Refused, mint_key

    names = [positional("name", word, field.upper(), call.spoken) for word in call.words]
    for name in names:
        part = name if len(names) > 1 else None
        try:
            result = call.ask(verb, {field: name, **arguments(name), "key": call.key(part)})
            while result.get("more"):  # an agent that holds very much is evicted piece by piece
                rest = call.ask(verb, {field: name, **arguments(name), "key": mint_key()})
                result = rest | {"returned": result["returned"] + rest["returned"]}
        except Refused as refused:
            call.refuse(refused, name)
            continue
        call.tell(result, name, line(result))
    return call.status


def _pausing(call: Call, verb: str, arguments: Facts) -> int:
    if ("all" in call.given) == bool(call.words):
        raise Usage("it takes queues, or --all", call.spoken)
    if "all" not in call.given:
        return _over(call, verb, "queue", lambda _: arguments, lambda reply: (reply["queue"], *_paused(reply)))
    reply = call.ask(verb, {"all": True, **arguments, "key": call.key()})
    if call.json:
        call.emit(reply)
    elif not call.quiet:
        call.out.row("all", *_paused(reply))
    return 0


def _paused(reply: Facts) -> tuple[object, ...]:
    """Why it is paused, and until when, if that is known."""
    from swarmctl.render import rfc3339

    until = reply.get("paused_until")
    return (reply.get("paused") or "running", *(() if until is None else (rfc3339(until),)))


def pause(call: Call) -> int:
    """No claims from queues, or from any."""
    arguments: Facts = {"reason": call.given["message"]} if "message" in call.given else {}
    if "hard" in call.given:
        if "all" not in call.given:
            raise Usage("--hard goes with --all", call.spoken)
        arguments["hard"] = True
    if "for" in call.given:
        if not call.given["for"]:
            raise Usage("--for: a pause of no time; leave it out for one without an end", call.spoken)
        arguments["lasts"] = call.given["for"]
    return _pausing(call, "pause", arguments)


def resume(call: Call) -> int:
    """End a pause."""
    return _pausing(call, "resume", {})


QUEUE_SETTINGS = {
    # as typed: (the wire's name, how its value is read)
    "limit": "number",
    "max-length": "number",
    "lease": "duration",
    "max-attempts": "number",
    "crash-cap": "number",
    "stall-after": "duration",
    "closed": "yes or no",
}


def queue_set(call: Call) -> int:
    """Change a queue's settings."""
    arguments: Facts = {}
    for word in call.words[1:]:
        name, equals, value = word.partition("=")
        kind = QUEUE_SETTINGS.get(name)
        if kind is None:
            from swarmctl.help import nearest

            names = ", ".join(QUEUE_SETTINGS)
            raise Usage(
                f"{show(word)} is not NAME=VALUE with one of {names}{nearest(name, QUEUE_SETTINGS)}", call.spoken
            )
        if not equals:
            raise Usage(f"{show(word)} wants a value: {name}=…", call.spoken)
        arguments[name.replace("-", "_")] = (
            _flag(value, call.spoken) if name == "closed" else positional(kind, value, name, call.spoken)
        )
    call.words = call.words[:1]
    return _over(call, "queue_set", "queue", lambda _: arguments, _settings)


def _flag(word: str, spoken: str) -> bool:
    try:
        return values.flag(word)
    except ValueError as wrong:
        raise Usage(f"closed: {show(word)} {wrong}", spoken) from None


def _settings(queue: Facts) -> tuple[object, ...]:
    """A queue's name and the settings that it has of its own, as ``queue set`` takes them."""
    from swarmctl.render import span

    shown = []
    for name, kind in QUEUE_SETTINGS.items():
        value = queue.get(name.replace("-", "_"))
        if value not in (None, False):
            shown.append(f"{name}={span(value) if kind == 'duration' else 'yes' if value is True else value}")
    return (queue["queue"], *(shown or ("-",)))


def drain(call: Call) -> int:
    """Close queues: no new items, claims go on."""
    return _over(call, "queue_set", "queue", lambda _: {"closed": True}, lambda reply: (reply["queue"], "closed"))


def limit(call: Call) -> int:
    """Bound how many items of a queue are held at a time."""
    most = positional("number", call.words[1], "N", call.spoken)
    call.words = call.words[:1]
    return _over(call, "queue_set", "queue", lambda _: {"limit": most}, _settings)


# -- agents --------------------------------------------------------------------------------------------


def register(call: Call) -> int:
    """Say who an agent is."""
    words, given = call.words, call.given
    if words and "agent" in given and words[0] != given["agent"]:
        raise Usage(f"two agents are named, {words[0]} and --agent {given['agent']}", call.spoken)
    arguments: Facts = {
        "agent": positional("name", words[0], "AGENT", call.spoken) if words else call.agent,
        "key": call.key(),
    }
    if len(words) > 1:
        arguments["team"] = positional("name", words[1], "TEAM", call.spoken)
    if len(words) > 2:
        arguments["capacity"] = positional("percent", words[2], "CAPACITY", call.spoken)
    if len(words) > 3:
        arguments["specialization"] = words[3]
    for field, name in (("slots", "slots"), ("label", "labels"), ("heartbeat", "heartbeat"), ("takeover", "takeover")):
        if field in given:
            arguments[name] = given[field]
    fds: tuple[int, ...] = ()
    if "pid" in given:
        from swarmctl.taking import watched

        fds = (watched(call, given["pid"], arguments)[1],)
    result = call.ask("register", arguments, fds=fds)
    if call.json:
        call.emit(result)
    else:
        call.out.row(arguments["agent"])
    return 0


def quiet(call: Call) -> int:
    """Give agents no new items."""
    return _over(call, "quiet", "agent", lambda _: {}, lambda agent: (agent["agent"], agent["state"]))


def wake(call: Call) -> int:
    """End quiet."""
    return _over(call, "wake", "agent", lambda _: {}, lambda agent: (agent["agent"], agent["state"]))


def evict(call: Call) -> int:
    """Take back what agents hold and forget them."""
    return _over(call, "evict", "agent", lambda _: {}, lambda reply: (reply["agent"], reply["returned"]))
