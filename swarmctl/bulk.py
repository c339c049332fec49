"""Bulk submit: a file of JSON objects, one a line, becomes items; one line comes out for each that goes in.

The keys of an object are the options of ``submit``. ``after`` takes ids, refs, and ``@REF`` for the line of this file
that has ``"ref": "REF"``. Lines travel in frames of many; each carries an idempotency key of its own, so a repeated
frame changes nothing, and with ``--key K`` line n has the key ``K:n`` and the whole file can be run again.

With ``--all-or-nothing`` the file is one command, which the daemon decides as a whole; it must fit one frame.
"""

from __future__ import annotations

import json
import os
import sys

from swarmctl import cli, values, verbs
from swarmctl.parse import Usage, show
from swarmctl.progress import Progress
from swarmshd.protocol import FRAME_MAX, SUBMITS_MAX, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from swarmctl.cli import Call
    from swarmctl.connection import Refused

    Facts = dict[str, Any]

LINE_MAX = FRAME_MAX
"""Bytes of the longest line that is read."""

_SUBMIT = verbs.find("submit")
assert _SUBMIT is not None
_OF_THE_FILE = ("from", "all_or_nothing", "payload")
_TAKEN = {option.field: option.kind for option in _SUBMIT.options if option.field not in _OF_THE_FILE}
KEYS = ("type", "description", "payload", "payload_file", "key", *_TAKEN)
"""Keys that a line may have."""

_NUMBERS = frozenset(("count", "number"))
_TEXTS = frozenset(("name", "priority", "on_failure"))
_LISTS = frozenset(("names", "items"))


class BadLine(ValueError):
    """What is wrong with one line."""


def submit(call: Call) -> int:
    """Submit every line of the file; the status is 1 if one was refused."""
    if call.words:
        raise Usage("--from takes the place of TYPE and DESCRIPTION", call.spoken)
    path: str = call.given["from"]
    if path == "-" and call.given.get("payload") == "-":
        raise Usage("--from and --payload cannot both read stdin", call.spoken)
    if path == "-" and sys.stdin is None:
        raise cli.Failure("cannot read stdin: it is closed")
    defaults = _defaults(call)
    try:
        source = open(0 if path == "-" else path, "rb", closefd=path != "-")  # noqa: SIM115 - closed below
    except OSError as error:
        raise cli.Failure(f"cannot read {show(path)}: {error.strerror}") from None
    with source:
        lines = _lines(source, defaults)
        if "all_or_nothing" in call.given:
            return _whole(call, lines)
        return _each(call, lines, _bar(source, path, quiet=call.quiet))


def _defaults(call: Call) -> Facts:
    """What options say for every line that does not say otherwise."""
    from swarmctl.doing import moment, queue_of

    given = call.given
    made: Facts = {field: given[field] for field in _TAKEN if field in given and field not in ("at", "unique_strict")}
    made.update(moment(call))
    if "unique" in given or "unique_strict" in given or "ref" in given:
        raise Usage("--ref, --unique and --unique-strict belong into the lines of the file", call.spoken)
    payload = call.file("payload")
    if payload is not None:
        made["payload"] = payload
    queue = given.get("queue") or queue_of(call)
    if queue:
        made["queue"] = queue
    made["agent"] = call.agent
    return made


# -- lines ---------------------------------------------------------------------------------------------


def _lines(source: BinaryIO, defaults: Facts) -> Iterator[Facts | BadLine]:
    """The arguments of each line's submit, or what is wrong with it."""
    while line := source.readline(LINE_MAX + 1):
        if len(line) > LINE_MAX:
            while line and not line.endswith(b"\n"):
                line = source.readline(LINE_MAX)
            yield BadLine(f"longer than {LINE_MAX} bytes")
            continue
        try:
            yield {**defaults, **arguments(line)}
        except BadLine as wrong:
            yield wrong


def arguments(line: bytes) -> Facts:
    """The wire's arguments that one line's object makes.

    Raises:
        BadLine: it is no JSON object, or a key or value of it is not understood.
    """
    try:
        facts = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BadLine("not UTF-8 text") from None
    except RecursionError:
        raise BadLine("nested too deep") from None
    except ValueError as error:
        if isinstance(error, BadLine):
            raise
        raise BadLine("empty" if not line.strip() else f"not JSON: {error}") from None
    if type(facts) is not dict:
        raise BadLine("not a JSON object")
    return _arguments(facts)


def _once(pairs: list[tuple[str, Any]]) -> Facts:
    facts = dict(pairs)
    if len(facts) != len(pairs):
        raise BadLine("a key stands twice")
    return facts


def _no_constant(name: str) -> Any:
    raise BadLine(f"{name} is not JSON")


def _arguments(facts: Facts) -> Facts:
    unknown = [key for key in facts if key not in KEYS]
    if unknown:
        from swarmctl.help import nearest

        raise BadLine(f"unknown key {show(unknown[0])}{nearest(unknown[0], KEYS)}")
    for key in ("type", "description"):
        if key not in facts:
            raise BadLine(f"{key} is missing")
    if type(facts["description"]) is not str:
        raise BadLine("description: not a text")
    made: Facts = {"description": _sound(facts["description"], "description")}
    for key, value in facts.items():
        if key in _READERS:
            made.update(_READERS[key](value))
        elif key in _TAKEN:
            made[key] = _read(key, _TAKEN[key], value)
    made["type"] = _read("type", "name", facts["type"])
    if "delay" in facts and "at" in facts:
        raise BadLine("delay and at exclude each other")
    return made


def _sound(text: str, key: str) -> str:
    """``text``, unless JSON's escapes made half a character of it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadLine(f"{key}: holds half of a surrogate pair") from None
    return text


def _read(key: str, kind: str, value: Any) -> Any:
    """One value as its option reads it: durations as text or seconds, numbers as numbers, lists as arrays or text."""
    if kind in _LISTS and type(value) is list:
        return [_reference(one) if kind == "items" else _word(key, "name", one) for one in value]
    if kind == "items" and type(value) is int:
        return [_word(key, "item", str(value))]
    if kind == "items" and type(value) is str:
        return [_reference(one) for one in value.split(",")]
    if kind == "duration" and type(value) in (int, float):
        return _word(key, kind, repr(value))
    if kind in _NUMBERS and type(value) is int:
        return _word(key, kind, str(value))
    if kind in _NUMBERS:
        raise BadLine(f"{key}: not a number")
    return _word(key, kind, value)


def _reference(value: Any) -> int | str:
    """One element of ``after``: an id, a ref, or ``@REF`` of a line of this file."""
    if type(value) is str and value.startswith("@"):
        found: str = _word("after", "name", value[1:])
        return found
    item: int | str = _word("after", "item", str(value) if type(value) is int else value)
    return item


def _word(key: str, kind: str, value: Any) -> Any:
    if type(value) is not str:
        raise BadLine(f"{key}: {show(json.dumps(value))} is not a text")
    try:
        return values.READERS[kind](_sound(value, key))
    except BadLine:
        raise
    except ValueError as wrong:
        raise BadLine(f"{key}: {show(value)} {wrong}") from None


def _payload(value: Any) -> Facts:
    if type(value) is str:
        return {"payload": _sound(value, "payload").encode()}
    if type(value) is dict and list(value) == ["base64"] and type(value["base64"]) is str:
        from binascii import Error, a2b_base64

        try:
            return {"payload": a2b_base64(value["base64"], strict_mode=True)}
        except (Error, ValueError):
            raise BadLine("payload: not base64") from None
    raise BadLine('payload: neither a text nor {"base64": …}')


def _payload_file(value: Any) -> Facts:
    if type(value) is not str:
        raise BadLine("payload_file: not a path")
    try:
        return {"payload": cli.read_file(value)} if value != "-" else {}
    except (cli.Failure, ValueError) as failure:
        raise BadLine(f"payload_file: {failure}") from None


def _key(value: Any) -> Facts:
    return {"key": _word("key", "name", value)}


def _at(value: Any) -> Facts:
    return dict(_word("at", "at", value))


def _unique_strict(value: Any) -> Facts:
    return {"unique": _word("unique_strict", "name", value), "unique_strict": True}


_READERS: dict[str, Callable[[Any], Facts]] = {
    "payload": _payload,
    "payload_file": _payload_file,
    "key": _key,
    "at": _at,
    "unique_strict": _unique_strict,
}


# -- sending -------------------------------------------------------------------------------------------


def _bar(source: BinaryIO, path: str, *, quiet: bool) -> Progress:
    """A bar whose share is that of the bytes, where the file has a size."""
    total = 0 if path == "-" else os.fstat(source.fileno()).st_size
    return Progress((lambda: source.tell() / total) if total else None, quiet=quiet)


def _each(call: Call, lines: Iterator[Facts | BadLine], progress: Progress) -> int:
    """Submit line by line, in frames of many; print an id or ``-`` for each, in order."""
    frames = Frames(call)
    waiting: list[tuple[int, Facts | BadLine]] = []
    size = 0
    try:
        for number, line in enumerate(lines, 1):
            if not isinstance(line, BadLine):
                line.setdefault("key", call.key(number))
            bulk = _size(line)
            if waiting and (len(waiting) >= cli.BATCH_COMMANDS or size + bulk > cli.BATCH_BYTES):
                frames.send(waiting)
                waiting, size = [], 0
                progress.show(frames.done)
            waiting.append((number, line))
            size += bulk
        frames.send(waiting)
        frames.finish()
    except _refused() as refused:
        call.out.flush()
        hint = "" if "key" in call.given else " (with --key K the file could be run again without doubling any)"
        refused.message = f"{refused.message}; in for certain: {counted(frames.done, 'line')}{hint}"
        refused.facts["message"] = refused.message
        raise
    finally:
        progress.end()
    return frames.status


class Frames:
    """Frames of submits on their way: several at a time, reported in the order in which they were sent."""

    def __init__(self, call: Call) -> None:
        from swarmctl.jobs import frames_under_way

        self._call = call
        self._most = frames_under_way(call)
        self._waiting: dict[int, list[tuple[int, Facts | BadLine]]] = {}
        self._replies: dict[int, Any] = {}
        self._last = 0
        self.done = self.status = 0

    def send(self, lines: list[tuple[int, Facts | BadLine]]) -> None:
        """One frame more; where none of its lines is sound, nothing is sent."""
        commands = [["submit", line] for _, line in lines if not isinstance(line, BadLine)]
        if commands:
            arguments = {"commands": commands, "key": self._call.key()}
            (number,) = self._call.connection.send([("batch", arguments, ())])
        else:
            self._last -= 1
            number = self._last  # no number of a request
            self._replies[number] = {"replies": []}
        self._waiting[number] = lines
        while len(self._waiting) >= self._most:
            self._receive()

    def finish(self) -> None:
        """Wait for all replies."""
        while self._waiting:
            self._receive()

    def _receive(self) -> None:
        """Wait for the reply to the first of the frames, and report its lines."""
        number = next(iter(self._waiting))
        while number not in self._replies:
            got, reply = self._call.connection.receive()
            self._replies[got] = reply
        reply = self._replies.pop(number)
        lines = self._waiting.pop(number)
        if isinstance(reply, _refused()):
            raise reply
        self.status = max(self.status, _report(self._call, lines, reply["replies"]))
        self.done += len(lines)


def _refused() -> type[Refused]:
    from swarmctl.connection import Refused

    return Refused


def _size(line: Facts | BadLine) -> int:
    """About how many bytes ``line`` takes in a frame, rather too many."""
    return 64 + sum(
        len(value) if type(value) is bytes else len(value) * 4 if type(value) is str else 16 * len(str(value))
        for value in (() if isinstance(line, BadLine) else line.values())
    )


def _report(call: Call, waiting: list[tuple[int, Facts | BadLine]], replies: list[Any]) -> int:
    """Print what became of the lines of a frame; 1 if one of them was refused."""
    status = 0
    answers = iter(replies)
    for number, line in waiting:
        if isinstance(line, BadLine):
            status = _wrong(call, number, str(line))
            continue
        code, facts = next(answers)
        if code == 0:
            _created(call, number, facts)
        else:
            status = _wrong(call, number, str(facts.get("message", code)), code, facts)
    call.out.flush()
    return status


def _created(call: Call, number: int, facts: Facts) -> None:
    if call.json:
        call.emit({"line": number, **facts})
        return
    call.out.row(facts["id"])
    if not facts.get("created", True) and not call.quiet:
        call.out.flush()
        cli.complain("", f"line {number}: already open as {facts['id']}")


def _wrong(call: Call, number: int, message: str, code: str = "bad_request", facts: Facts | None = None) -> int:
    """Report a refused line: ``-`` on stdout, the reason on stderr."""
    if call.json:
        from swarmctl import render

        refused = cli.refused_as(code, facts or {})
        shown = {"line": number, "code": code, "exit": refused.exit, "retryable": refused.retryable, "message": message}
        call.out.text(render.json_line(shown, ok=False))
    else:
        call.out.row(None)
        call.out.flush()
        cli.complain("", f"line {number}: {message}" if code == "bad_request" else f"line {number}: {code}: {message}")
    return 1


def _whole(call: Call, lines: Iterator[Facts | BadLine]) -> int:
    """Submit all lines as one command, or nothing."""
    commands: list[list[Any]] = []
    size = 0
    for number, line in enumerate(lines, 1):
        if isinstance(line, BadLine):
            raise cli.Failure(f"line {number}: {line}; nothing was submitted")
        if "key" in line:
            raise cli.Failure(f"line {number}: key: the file as a whole has one, --key; nothing was submitted")
        commands.append(["submit", line])
        size += _size(line)
        if number > SUBMITS_MAX:
            raise cli.Failure(f"more than {SUBMITS_MAX} lines; nothing was submitted", 2, "too_large")
    if not commands:
        return 0
    try:
        replies = call.ask("batch", {"commands": commands, "atomic": True, "key": call.key()})["replies"]
    except _refused() as refused:
        at = refused.facts.get("line")
        if isinstance(at, int):
            refused.message = f"line {at + 1}: {refused.message}; nothing was submitted"
            refused.facts["message"] = refused.message
            refused.facts["line"] = at + 1
        raise
    for number, (_, facts) in enumerate(replies, 1):
        _created(call, number, facts)
    return 0
