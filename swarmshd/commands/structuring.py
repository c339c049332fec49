"""From a message's verb and arguments to a request: the key is taken out, and a batch into its commands."""

from collections.abc import Mapping
from hashlib import blake2b

import cbor2

from swarmshd import protocol
from swarmshd.commands.checking import check
from swarmshd.commands.converting import convert, why
from swarmshd.commands.refusal import Refusal, bad, shown
from swarmshd.commands.table import COMMANDS, NOT_IN_BATCH, READS, WATCHING, Batch, Request
from swarmshd.commands.work import SubmitAll


def structure(verb: object, arguments: object, uid: int) -> Request:
    """The request that ``[_, verb, arguments]`` makes, from a peer of this uid; takes the key out of the arguments.

    Raises:
        Refusal: ``unknown_verb``, ``bad_request`` or ``too_large``.
    """
    if type(verb) is not str or verb not in COMMANDS:
        raise Refusal("unknown_verb", f"there is no verb {shown(verb)}")
    if type(arguments) is not dict:
        bad(verb, f"arguments: expected a map, not {shown(arguments)}")
    key = None
    minted = False
    if "key" in arguments and verb not in READS:
        key_text = arguments.pop("key")
        if type(key_text) is not str or not protocol.is_name(key_text):
            bad(verb, f"key: expected a name, not {shown(key_text)}")
        if verb == "batch":
            return _batch(arguments, uid, key_text)
        # A claim that is sent again waits for what is left of its time: that is no other content.
        content = {k: v for k, v in arguments.items() if k != "wait"} if "wait" in arguments else arguments
        key = digest(uid, verb, key_text, content)
        minted = key_text.startswith(protocol.MINTED_PREFIX)
    if verb == "batch":
        return _batch(arguments, uid, None)
    kind = COMMANDS[verb]
    try:
        command = convert(kind, arguments)
    except Exception:  # noqa: BLE001 - the fast way says nothing useful: let the exact one say what is wrong
        bad(verb, why(kind, arguments))
    check(verb, command)
    return Request(verb, command, key, minted)


def digest(uid: int, verb: str, key: str, content: object) -> bytes:
    """What is kept of an idempotency key; see :class:`Request`."""
    name = blake2b(f"{uid} {verb} {key}".encode(), digest_size=10).digest()
    if type(content) is dict:  # the order of the arguments is no content
        try:
            content = dict(sorted(content.items()))
        except TypeError:
            bad(verb, "arguments: expected text for the name of each")
    return name + blake2b(cbor2.dumps(content), digest_size=6).digest()


def _batch(arguments: Mapping[str, object], uid: int, key: str | None) -> Request:
    unknown = set(arguments) - {"commands", "atomic"}
    if unknown:
        bad("batch", f"unknown argument {', '.join(shown(name) for name in sorted(unknown, key=str))}")
    lines = arguments.get("commands")
    if type(lines) is not list:
        bad("batch", f"commands: expected an array of [verb, arguments], not {shown(lines)}")
    if len(lines) > protocol.SUBMITS_MAX:
        raise Refusal(
            "too_large",
            f"batch: {len(lines)} commands; the limit is {protocol.SUBMITS_MAX}",
            limit=protocol.SUBMITS_MAX,
        )
    atomic = arguments.get("atomic", False)
    if type(atomic) is not bool:
        bad("batch", f"atomic: expected true or false, not {shown(atomic)}")
    if atomic:
        return _atomic(lines, uid, key)
    requests: list[Request | Refusal] = []
    for number, line in enumerate(lines):
        try:
            requests.append(_line(line, uid, f"{key}:{number}" if key else None))
        except Refusal as refusal:
            requests.append(refusal)
    return Request("batch", Batch(tuple(requests)))


def _line(line: object, uid: int, key: str | None) -> Request:
    if type(line) is not list or len(line) != 2:
        bad("batch", f"expected [verb, arguments], not {shown(line)}")
    verb, arguments = line
    if verb in NOT_IN_BATCH:
        bad("batch", f"{verb} cannot stand in a batch")
    if key is not None and verb not in READS and type(arguments) is dict and "key" not in arguments:
        arguments = {**arguments, "key": key}
    request = structure(verb, arguments, uid)
    if request.verb in ("claim", "lock") and request.command.wait:
        bad("batch", f"a {request.verb} that waits cannot stand in a batch")
    return request


def _atomic(lines: list[object], uid: int, key: str | None) -> Request:
    submits = []
    for number, line in enumerate(lines):
        try:
            request = _line(line, uid, None)
            if request.verb != "submit" or request.key is not None:
                bad("batch", "an atomic batch holds submits without keys of their own only")
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.message, **{**refusal.facts, "line": number}) from None
        submits.append(request.command)
    if not submits:
        bad("batch", "an atomic batch holds at least one submit")
    kept = None if key is None else digest(uid, "batch", key, lines)
    minted = key is not None and key.startswith(protocol.MINTED_PREFIX)
    return Request("batch", SubmitAll(tuple(submits)), kept, minted)


def asks_for_watch(verb: object, arguments: object) -> list[bool]:
    """For each command of a message, sound or not, whether a process's descriptor was to come along with it.

    A command that is refused takes its descriptor with it: the next one must not get it.
    """
    if verb == "batch":
        lines = arguments.get("commands") if type(arguments) is dict else None
        if type(lines) is not list:
            return []
        return [type(line) is list and len(line) == 2 and _asks(line[0], line[1]) for line in lines]
    return [_asks(verb, arguments)]


def _asks(verb: object, arguments: object) -> bool:
    return type(verb) is str and verb in WATCHING and type(arguments) is dict and arguments.get("watch") is True
