"""The verbs of who does the work: submit, heartbeat, progress, complete, fail, release, bury.

Each makes the wire's arguments from what was typed, asks, and prints the one line that says what became of the item.
"""

from __future__ import annotations

import time

from swarmctl import render
from swarmctl.cli import refused_as
from swarmctl.parse import Usage, positional
from swarmshd.protocol import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]
    Item = tuple[int | str, str | None]

"""Bytes of output that are kept of an item: the last ones."""

RESULTS = ("success", "failed", "blocked")

_SUBMIT_FIELDS = "priority team delay after on_failure require group ref unique max_attempts lease max_runtime".split()


def submit(call: Call) -> int:
    """Put one item in, or with ``--from`` many."""
    given = call.given
    if "from" in given:
        from swarmctl import bulk

        return bulk.submit(call)
    if len(call.words) != 2:
        raise Usage("it takes TYPE and DESCRIPTION (quote a description with blanks), or --from FILE", call.spoken)
    if "all_or_nothing" in given:
        raise Usage("--all-or-nothing goes with --from", call.spoken)
    arguments: Facts = {
        "type": positional("name", call.words[0], "TYPE", call.spoken),
        "description": call.words[1],
        "queue": given.get("queue") or queue_of(call) or "default",
        "agent": call.agent,
        "key": call.key(),
        **{field: given[field] for field in _SUBMIT_FIELDS if field in given},
        **moment(call),
    }
    if "unique_strict" in given:
        arguments.update(unique=given["unique_strict"], unique_strict=True)
    payload = call.file("payload")
    if payload is not None:
        arguments["payload"] = payload
    result = call.ask("submit", arguments)
    if call.json:
        call.emit(result)
        return 0
    call.out.row(result["id"])
    if not result.get("created", True) and not call.quiet:
        call.remark(f"already open as {result['id']}")
    return 0


def moment(call: Call) -> Facts:
    """``--at`` as the wire's ``at`` or ``delay``."""
    at = call.given.get("at")
    if at is None:
        return {}
    if "delay" in call.given:
        raise Usage("--delay and --at exclude each other", call.spoken)
    return dict(at)


def queue_of(call: Call) -> str | None:
    """The queue that ``SWARMSH_QUEUE`` names for a submit, if it names one."""
    queue = call.environ.get("SWARMSH_QUEUE")
    return positional("name", queue, "$SWARMSH_QUEUE", call.spoken) if queue else None


def heartbeat(call: Call) -> int:
    """Renew leases. Without ids it prints what it renewed."""
    items = call.items()
    relaxed: Facts = {"relaxed": True} if "async" in call.given else {}
    if len(items) <= 1:
        arguments: Facts = {"ids": [items[0][0]], **call.proof(*items[0])} if items else {"agent": call.agent}
        arguments |= relaxed
        replies = [call.ask("heartbeat", arguments)]
    else:
        replies = []
        commands = [
            ("heartbeat", {"ids": [item], **call.proof(item, token, many=True), **relaxed}) for item, token in items
        ]
        for (item, _), (result, refused) in zip(items, call.ask_all(commands), strict=True):
            if refused is not None:
                call.refuse(refused, item)
            elif result is not None:
                replies.append(result)
    for reply in replies:
        _renewed(call, reply, named=bool(items))
    return call.status


def _renewed(call: Call, reply: Facts, *, named: bool) -> None:
    for item, expires_at in reply.get("renewed", {}).items():
        if call.json:
            stop = {"stop": True} if reply.get("stop") else {}
            call.emit({"id": item, "expires_at": expires_at, **stop})
        elif call.quiet or not named:
            call.out.row(item, *(() if call.quiet else (render.rfc3339(expires_at),)))
    for item, code in reply.get("lost", {}).items():
        call.refuse(refused_as(code, {}), item)
    _stop(call, reply)


def _stop(call: Call, reply: Facts) -> None:
    if reply.get("stop") and not call.json:
        call.remark("everything is paused hard: stop this work and release it")


def progress(call: Call) -> int:
    """Record how far an item is."""
    given, words = call.given, call.words
    item, token = positional("item_and_token", words[0], "ID", call.spoken)
    arguments: Facts = {"id": item, **call.proof(item, token), "key": call.key()}
    if len(words) > 1:
        arguments["percent"] = positional("percent", words[1], "PERCENT", call.spoken)
    elif "message" not in given and "checkpoint" not in given:
        raise Usage("it takes ID and PERCENT: swarmctl progress ID PERCENT [STATUS]", call.spoken)
    if len(words) > 2:
        arguments["status"] = words[2]
    if "message" in given:
        arguments["message"] = given["message"]
    checkpoint = call.file("checkpoint")
    if checkpoint is not None:
        arguments["checkpoint"] = checkpoint
    if "async" in given:
        arguments["relaxed"] = True
    result = call.ask("progress", arguments)
    if call.json:
        call.emit(result)
    _stop(call, result)
    return 0


def complete(call: Call) -> int:
    """End items: as done, or by the way of ``fail`` or ``bury`` when RESULT says so."""
    words, result, points = _complete_words(call.words, call.spoken)
    call.words = words
    given = call.given
    items = call.items()
    output = tail(call, call.file("output"))
    data = call.file("result")
    note = given.get("note")
    if result not in (None, *RESULTS):  # any other word, or a sentence
        note = result if note is None else f"{result}: {note}"
    verb = {"failed": "fail", "blocked": "bury"}.get(result or "", "complete")

    def arguments(item: int | str, token: str | None) -> Facts:
        many = len(items) > 1
        made: Facts = {"id": item, **call.proof(item, token, many=many), "key": call.key(item if many else None)}
        if output is not None:
            made["output"] = output
        if verb != "complete":
            made["reason"] = note or result
            return made
        if note is not None:
            made["note"] = note
        if points is not None:
            made["points"] = points
        if data is not None:
            made["result"] = data
        return made

    if verb != "complete" and data is not None:
        raise Usage(f"--result goes with success, not with {result}", call.spoken)
    return call.each(verb, items, arguments, became)


def _complete_words(words: list[str], spoken: str) -> tuple[list[str], str | None, int | None]:
    """Ids, RESULT and POINTS. A word after the first is an id if it looks like one, else the RESULT."""
    ids = 1
    while ids < len(words) and _looks_like_id(words[ids]):
        ids += 1
    rest = words[ids:]
    if not rest:
        return words, None, None
    result = rest[0]
    if result not in RESULTS and len(result.split()) < 2:
        from swarmctl.help import nearest

        meant = nearest(result, RESULTS[1:])
        if meant:  # else a failure with a slip of the finger would be recorded as a success
            raise Usage(f"RESULT is success, failed or blocked, a note goes in --note; not {result!r}{meant}", spoken)
    if len(rest) > 2:
        raise Usage(f"too many words, from {rest[2]!r} on: swarmctl complete ID… [RESULT] [POINTS]", spoken)
    return words[:ids], result, positional("number", rest[1], "POINTS", spoken) if len(rest) > 1 else None


def _looks_like_id(word: str) -> bool:
    from swarmctl.values import is_token

    return word == "-" or word.isdigit() or word.startswith("work_") or is_token(word.rpartition(":")[2])


def became(result: Facts) -> str:
    """``42 done``; ``42 scheduled 12:05:10 attempt 2 of 5``; ``42 buried``."""
    text = f"{result['id']} {result['state']}"
    if "due_at" in result:
        text += f" {render.clock(result['due_at'], int(time.time() * 1000))}"
    if result["state"] == "scheduled" and "failures" in result:
        text += f" attempt {result['failures'] + 1} of {result['attempts_max']}"
    return text


def tail(call: Call, output: bytes | None) -> bytes | None:
    """The end of ``output``, as much as the daemon keeps (OUTPUT_TAIL); says so when that is not all."""
    if not output:
        return output
    most: int = call.ask("hello", {"version": VERSION})["limits"]["output_tail"]
    if len(output) > most and not call.quiet and not call.json:
        call.remark(f"of {len(output)} bytes of output the last {most} are kept (OUTPUT_TAIL)")
    return output[-most:] if most else b""


def _one(call: Call) -> tuple[int | str, str | None, str | None]:
    """The item, its token, and the text that follows it or stands in ``-m``."""
    given = call.given.get("message")
    if len(call.words) > 1 and given is not None:
        raise Usage("the REASON stands twice, as a word and in --message", call.spoken)
    items = call.items() if call.words[0] == "-" else [positional("item_and_token", call.words[0], "ID", call.spoken)]
    if len(items) != 1:
        raise Usage("it takes one item", call.spoken)
    item, token = items[0]
    return item, token, call.words[1] if len(call.words) > 1 else given


def fail(call: Call) -> int:
    """Count a failure."""
    item, token, reason = _one(call)
    arguments: Facts = {"id": item, **call.proof(item, token), "key": call.key()}
    if reason is not None:
        arguments["reason"] = reason
    if "retry_after" in call.given:
        if "no_retry" in call.given:
            raise Usage("--retry-after and --no-retry exclude each other", call.spoken)
        arguments["retry_after"] = call.given["retry_after"]
    if "no_retry" in call.given:
        arguments["no_retry"] = True
    output = tail(call, call.file("output"))
    if output is not None:
        arguments["output"] = output
    return call.each("fail", [(item, token)], lambda *_: arguments, became)


def bury(call: Call) -> int:
    """Set an item aside."""
    item, token, reason = _one(call)
    arguments: Facts = {"id": item, **call.proof(item, token), "key": call.key()}
    if reason is not None:
        arguments["reason"] = reason
    output = tail(call, call.file("output"))
    if output is not None:
        arguments["output"] = output
    return call.each("bury", [(item, token)], lambda *_: arguments, became)


def release(call: Call) -> int:
    """Give items back: those named, or with ``--mine`` all that the agent holds."""
    mine = "mine" in call.given
    if mine == bool(call.words):
        raise Usage("it takes ids, or --mine", call.spoken)
    if mine:
        items: list[Item] = [(one["id"], one.get("token")) for one in call.ask("held", {"agent": call.agent})["items"]]
    else:
        items = call.items()
    many = len(items) > 1

    def arguments(item: int | str, token: str | None) -> Facts:
        made: Facts = {"id": item, **call.proof(item, token, many=many), "key": call.key(item if many else None)}
        if "delay" in call.given:
            made["delay"] = call.given["delay"]
        if "note" in call.given:
            made["note"] = call.given["note"]
        if "unbegun" in call.given:
            made["unbegun"] = True
        return made

    return call.each("release", items, arguments, became)
