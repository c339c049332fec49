"""The verbs that give out tokens: claim, held, and hold, which keeps what was taken.

A claim is not over when the daemon has granted it, but when its line has reached the caller. What cannot be printed is
given back, so that no item is held by nobody who knows.
"""

from __future__ import annotations

from swarmctl import render
from swarmctl.cli import Failure, OutputLost, complain
from swarmctl.parse import Usage, positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

_CREATES_ONLY = ("payload", "group", "ref", "max_runtime", "max_attempts")
_TAKES_ONLY = ("count", "wait", "resume", "id", "type", "team")


def claim(call: Call) -> int:
    """Take items; or create one and hold it."""
    if len(call.words) == 1:
        raise Usage(
            "one word is not enough: --queue Q, --type T or --id ID choose what to take; "
            "TYPE DESCRIPTION creates an item",
            call.spoken,
        )
    if "export" in call.given and call.given.get("count", 1) > 1:
        raise Usage("--export is for one item", call.spoken)
    arguments = _create(call) if call.words else _take(call)
    wait = call.given.get("wait")
    fds: tuple[int, ...] = ()
    if "pid" in call.given:
        fds = (watched(call, call.given["pid"], arguments)[1],)
    from swarmctl.connection import Refused

    try:
        taken = call.ask("claim_new" if call.words else "claim", arguments, wait_ms=wait, fds=fds)["items"]
    except Refused as refused:
        if "export" in call.given and not call.json:  # so that `eval "$(swarmctl claim --export)"` fails too
            call.out.text(f"unset {' '.join(_EXPORTED)}; (exit {refused.exit})\n")
        raise
    try:
        for item in taken:
            _print(call, item)
        call.out.flush()
    except (OutputLost, KeyboardInterrupt):
        _give_back(call, taken)
        raise
    return 0


def _take(call: Call) -> Facts:
    given = call.given
    for field in _CREATES_ONLY:
        if field in given:
            raise Usage(f"--{field.replace('_', '-')} goes with TYPE DESCRIPTION, for a new item", call.spoken)
    arguments: Facts = {"agent": call.agent, "queue": wanted_queues(call), "key": call.key()}
    for field in ("type", "team", "count", "lease", "resume", "id"):
        if field in given:
            arguments[field] = given[field]
    return arguments


def wanted_queues(call: Call) -> list[str] | str:
    """The queues to take from: ``--queue``, else ``SWARMSH_QUEUE``, else the default one; ``*`` for all."""
    queues = call.given.get("queue")
    if queues is None:
        word = call.environ.get("SWARMSH_QUEUE")
        queues = positional("queues", word, "$SWARMSH_QUEUE", call.spoken) if word else ["default"]
    return "*" if "*" in queues else queues


def _create(call: Call) -> Facts:
    given, words = call.given, call.words
    for field in _TAKES_ONLY:
        if field in given:
            raise Usage(f"--{field} does not go with TYPE DESCRIPTION, which creates an item", call.spoken)
    queues = wanted_queues(call)
    if queues == "*" or len(queues) > 1:
        raise Usage("a new item goes into one queue", call.spoken)
    arguments: Facts = {
        "agent": call.agent,
        "type": positional("name", words[0], "TYPE", call.spoken),
        "description": words[1],
        "queue": queues[0],
        "key": call.key(),
    }
    if len(words) > 2:
        arguments["priority"] = positional("priority", words[2], "PRIORITY", call.spoken)
    if len(words) > 3:
        arguments["team"] = positional("name", words[3], "TEAM", call.spoken)
    for field in ("lease", *_CREATES_ONLY[1:]):
        if field in given:
            arguments[field] = given[field]
    payload = call.file("payload")
    if payload is not None:
        arguments["payload"] = payload
    return arguments


def watched(call: Call, spec: str, arguments: Facts) -> tuple[int, int]:
    """The process that ``spec`` means: its pid, and a pidfd to pass along; ``watch`` is added to the arguments."""
    from swarmctl import identity

    try:
        pid = identity.watch_target(spec)
        descriptor = identity.open_pidfd(pid)
    except ValueError as wrong:
        raise Usage(f"--pid: {wrong}", call.spoken) from None
    except OSError as error:
        raise Failure(f"--pid: process {spec} cannot be watched: {error.strerror}") from None
    arguments["watch"] = True
    return pid, descriptor


def _name_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return "?"


def _print(call: Call, item: Facts) -> None:
    if call.json:
        call.emit(item)
    elif "export" in call.given:
        call.out.text(_assignments(item))
    elif call.quiet or call.words:
        call.out.row(item["id"])
    else:
        call.out.row(*(item.get(field) for field in ("id", "token", "type", "priority", "description")))


_EXPORTED = {
    "SWARMSH_ITEM": "id",
    "SWARMSH_TOKEN": "token",
    "SWARMSH_TYPE": "type",
    "SWARMSH_PRIORITY": "priority",
    "SWARMSH_ATTEMPT": "attempt",
    "SWARMSH_DESCRIPTION": "description",
}


def _assignments(item: Facts) -> str:
    """Lines that a POSIX shell reads back exactly; NUL, which no shell can hold, is left out."""
    lines = []
    for name, field in _EXPORTED.items():
        value = str(item.get(field, "")).replace("\0", "").replace("'", "'\\''")
        lines.append(f"export {name}='{value}'\n")
    return "".join(lines)


def _give_back(call: Call, taken: list[Facts]) -> None:
    """Release what could not be handed over."""
    call.out.drop()
    from swarmctl.connection import Refused

    for item in taken:
        try:
            proof = {"id": item["id"], "token": item["token"], "key": call.key(f"undelivered:{item['id']}")}
            call.ask("release", {**proof, "note": "the claim could not be printed", "unbegun": True})
        except Refused as refused:  # its lease will end
            complain(call.spoken, f"could not be given back: {refused}", item["id"])


def held(call: Call) -> int:
    """What this agent holds."""
    taken = call.ask("held", {"agent": call.agent})["items"]
    if call.for_people:
        import time

        from swarmctl.views import tables

        call.lines(tables.held(call.screen, taken, int(time.time() * 1000)), f"{call.agent} holds nothing")
        return 0
    for item in taken:
        _print(call, item)
    return 0


def hold(call: Call) -> int:
    """Have the daemon keep the lease while a process lives."""
    item, token = positional("item_and_token", call.words[0], "ID", call.spoken)
    arguments: Facts = {"id": item, **call.proof(item, token), "key": call.key()}
    pid, descriptor = watched(call, call.given.get("pid", "auto"), arguments)
    result = call.ask("hold", arguments, fds=(descriptor,))
    if call.json:
        call.emit({**result, "watching": pid, "name": _name_of(pid)})
    elif not call.quiet:
        call.out.text(f"watching {pid} ({render.harmless(_name_of(pid))})\n")
    return 0
