"""Messages become commands here, and results become replies.

A command is a wish, frozen and typed: what a peer asked for, checked as far as that is possible without
knowing the state. What comes off the wire is never trusted and never coerced: ``"5"`` is not 5, ``True`` is
not 1, an unknown argument is refused by name. Bounds that are settings (payload size, description length)
are not known here; the rules check them.

Structuring takes two ways. The first knows only success, and is fast. When it fails, a second converter,
with detailed validation, takes the same arguments again to say which argument is wrong and why.

Attributes keep the wire's names and units: milliseconds, and an item named by its number or its ``ref``.
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple, NewType, NoReturn, cast

import attrs
import cbor2
from attrs import frozen
from cattrs import Converter, transform_error
from cattrs.preconf.cbor2 import make_converter

from swarmshd import protocol

Name = NewType("Name", str)
"""A name as :func:`swarmshd.protocol.is_name` allows it."""
QueueName = NewType("QueueName", str)
"""The name of a queue of users; those that begin with @ are the daemon's own, and can only be looked at."""
Text = NewType("Text", str)
"""Text of any length; the rules know how long it may be."""
Note = NewType("Note", str)
"""Text of at most NOTE_MAX bytes."""
Milliseconds = NewType("Milliseconds", int)
"""A duration, from 0 to a hundred years."""
Instant = NewType("Instant", int)
"""Milliseconds since the epoch, to the year 9999."""
Count = NewType("Count", int)
"""A number from 0 to 2**31 - 1."""
ItemId = NewType("ItemId", int)
"""The id of an item, or 0 for before the first."""
Position = NewType("Position", int)
"""A position of the journal."""
Percent = NewType("Percent", int)
"""From 0 to 100."""
Priority = NewType("Priority", int)
"""Index into PRIORITIES; on the wire its name."""
Reference = int | str
"""How a peer names an item: its id (int) or its external ref (str)."""
Kin = NewType("Kin", str)
"""Another item, as whoever exported it knew it: its ref, ``#ID@CREATED``, or ``#ID`` when it was forgotten there."""
Bytes = NewType("Bytes", bytes)
"""A byte string. Text is not bytes."""
Assignments = NewType("Assignments", dict[str, str])
"""From names to texts."""

DURATION_MAX = 100 * 366 * 86_400_000
INSTANT_MAX = 253_402_300_799_999
ID_MAX = (1 << 63) - 1
CLAIM_MAX = 1000
FILTER_MAX = 256
"""Most queues, types or teams that one claim names; filters are kept."""

LIST_MAX = 1000
DASHBOARD_MAX = 1000
EVENTS_MAX = 10_000
"""Most events in one reply."""

WATCHED_MAX = 1000
"""Most items that one request names whose events it wants."""

MEDIUM = protocol.PRIORITIES.index("medium")


def one_line(text: str) -> str:
    """A sentence, whatever texts of users it quotes."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


class Refusal(Exception):
    """A lawful no: a code of ``protocol.CODES``, one sentence, and facts for programs."""

    def __init__(self, code: str, message: str, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts = facts

    def wire(self) -> dict[str, object]:
        """The map that stands third in the reply. Its message is one line, whatever texts of users it quotes."""
        facts: dict[str, object] = {"message": one_line(self.message), "retryable": protocol.CODES[self.code][1]}
        facts.update(self.facts)
        return facts


@frozen
class Actor:
    """Who asks: the peer's credentials as the kernel told them. An admin may touch what is not its own."""

    uid: int
    pid: int
    admin: bool = False


@frozen
class Hello:
    version: Count
    program: Note | None = None


@frozen
class Submit:
    type: Name
    description: Text
    priority: Priority | None = None
    queue: QueueName = QueueName(protocol.DEFAULT_QUEUE)
    team: Name | None = None
    payload: Bytes | None = None
    delay: Milliseconds | None = None
    at: Instant | None = None
    after: tuple[Reference, ...] = ()
    on_failure: str = "hold"
    require: tuple[Name, ...] = ()
    group: Name | None = None
    ref: Name | None = None
    unique: Name | None = None
    unique_strict: bool = False
    max_attempts: Count | None = None
    lease: Milliseconds | None = None
    max_runtime: Milliseconds | None = None
    agent: Name | None = None


@frozen
class SubmitAll:
    """An atomic batch: all of these or none."""

    submits: tuple[Submit, ...]


@frozen
class Batch:
    """Commands that are decided one after another, each with its own reply, or with its refusal."""

    requests: "tuple[Request | Refusal, ...]"


@frozen
class Claim:
    agent: Name
    queue: tuple[Name, ...] | None = (Name(protocol.DEFAULT_QUEUE),)
    """None is every queue; on the wire ``"*"``."""
    type: tuple[Name, ...] = ()
    team: tuple[Name, ...] = ()
    count: Count = Count(1)
    wait: Milliseconds = Milliseconds(0)
    lease: Milliseconds | None = None
    resume: bool = False
    id: Reference | None = None
    watch: bool = False


@frozen
class ClaimNew:
    """The guide's ``claim TYPE DESCRIPTION``: an item that its submitter holds from the start."""

    agent: Name
    type: Name
    description: Text
    priority: Priority | None = None
    team: Name | None = None
    queue: QueueName = QueueName(protocol.DEFAULT_QUEUE)
    payload: Bytes | None = None
    group: Name | None = None
    ref: Name | None = None
    lease: Milliseconds | None = None
    max_runtime: Milliseconds | None = None
    max_attempts: Count | None = None
    watch: bool = False


@frozen
class Heartbeat:
    agent: Name | None = None
    ids: tuple[Reference, ...] | None = None
    token: Note | None = None
    relaxed: bool = False


@frozen
class Progress:
    id: Reference
    percent: Percent | None = None
    status: Note | None = None
    message: Note | None = None
    checkpoint: Bytes | None = None
    relaxed: bool = False
    token: Note | None = None
    agent: Name | None = None


@frozen
class Complete:
    id: Reference
    note: Note | None = None
    points: Count | None = None
    output: Bytes | None = None
    result: Bytes | None = None
    exit_status: Count | None = None
    token: Note | None = None
    agent: Name | None = None


@frozen
class Fail:
    id: Reference
    reason: Note | None = None
    retry_after: Milliseconds | None = None
    no_retry: bool = False
    output: Bytes | None = None
    exit_status: Count | None = None
    token: Note | None = None
    agent: Name | None = None


@frozen
class Release:
    id: Reference
    delay: Milliseconds | None = None
    note: Note | None = None
    token: Note | None = None
    agent: Name | None = None


@frozen
class Bury:
    id: Reference
    reason: Note | None = None
    output: Bytes | None = None
    exit_status: Count | None = None
    token: Note | None = None
    agent: Name | None = None


@frozen
class Hold:
    id: Reference
    watch: bool
    token: Note | None = None
    agent: Name | None = None


@frozen
class Lock:
    agent: Name
    name: Name
    wait: Milliseconds = Milliseconds(0)
    lease: Milliseconds | None = None
    watch: bool = False


@frozen
class Unlock:
    name: Name
    token: Note | None = None
    agent: Name | None = None
    force: bool = False


@frozen
class Kick:
    id: Reference | None = None
    queue: QueueName | None = None
    group: Name | None = None
    count: Count = Count(1000)


@frozen
class Cancel:
    id: Reference | None = None
    group: Name | None = None
    reason: Note | None = None


@frozen
class Clear:
    """``older`` is since an item was made; ``held`` means claimed items too."""

    queue: QueueName
    state: tuple[str, ...] = ()
    older: Milliseconds | None = None
    held: bool = False
    reason: Note | None = None
    after_id: ItemId = ItemId(0)


@frozen
class Edit:
    id: Reference
    priority: Priority | None = None
    queue: QueueName | None = None
    delay: Milliseconds | None = None


@frozen
class Show:
    id: Reference


@frozen
class Filter:
    """What ``list`` and ``count`` select; an empty tuple selects everything."""

    state: tuple[str, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    team: tuple[Name, ...] = ()
    agent: Name | None = None
    group: Name | None = None
    older: Milliseconds | None = None
    all: bool = False


@frozen
class List(Filter):
    limit: Count = Count(50)
    after_id: ItemId = ItemId(0)


@frozen
class CountItems(Filter):
    by: str | None = None


@frozen
class Export:
    state: tuple[str, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    team: tuple[Name, ...] = ()
    group: Name | None = None
    after: Note | None = None


@frozen
class Get:
    id: Reference
    what: str


@frozen
class Held:
    agent: Name


@frozen
class Wait:
    timeout: Milliseconds
    ids: tuple[Reference, ...] = ()
    group: Name | None = None
    any: bool = False


@frozen
class Watch:
    since: Position | None = None
    """None is now."""
    ids: tuple[Reference, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    group: Name | None = None
    timeout: Milliseconds = Milliseconds(0)
    limit: Count = Count(1000)


@frozen
class History:
    ids: tuple[Reference, ...]
    since: Position = Position(0)
    limit: Count = Count(1000)


@frozen
class Agents:
    agent: Name | None = None


@frozen
class Queues:
    queue: Name | None = None
    stats: bool = False


@frozen
class Explain:
    id: Reference | None = None
    agent: Name | None = None
    queue: Name | None = None


@frozen
class Status:
    pass


@frozen
class Dashboard:
    """How many rows of each kind are wanted."""

    queues: Count = Count(20)
    agents: Count = Count(20)
    failures: Count = Count(10)


@frozen
class Stats:
    section: Name | None = None


@frozen
class Health:
    pass


@frozen
class Config:
    names: tuple[Name, ...] = ()


@frozen
class JournalFiles:
    """A stream of what the journal's files hold, or the next part of the one that has begun as ``stream``."""

    want: str
    stream: Count | None = None
    deep: bool = False
    measure: bool = True
    digest: bool = False
    since: Position = Position(0)
    id: ItemId | None = None
    all: bool = False
    dry_run: bool = False


@frozen
class ConfigSet:
    values: Assignments
    persist: bool = False
    """Only say what is to be written into the file."""


@frozen
class ConfigUnset:
    names: tuple[Name, ...]


@frozen
class Reload:
    unset: tuple[Name, ...] = ()


@frozen
class Register:
    agent: Name
    team: Name | None = None
    capacity: Count | None = None
    specialization: Note | None = None
    slots: Count | None = None
    labels: tuple[Name, ...] = ()
    heartbeat: Milliseconds | None = None
    watch: bool = False
    takeover: bool = False


@frozen
class QueueSet:
    queue: QueueName
    closed: bool | None = None
    limit: Count | None = None
    max_length: Count | None = None
    lease: Milliseconds | None = None
    max_attempts: Count | None = None
    crash_cap: Count | None = None
    stall_after: Milliseconds | None = None


@frozen
class Pause:
    queue: QueueName | None = None
    all: bool = False
    reason: Note = Note("paused")
    hard: bool = False
    lasts: Milliseconds | None = None
    """After which it ends by itself."""


@frozen
class Resume:
    queue: QueueName | None = None
    all: bool = False


@frozen
class Quiet:
    agent: Name


@frozen
class Wake:
    agent: Name


@frozen
class Evict:
    agent: Name


@frozen(slots=False)
class ImportedItem:
    """An item from elsewhere, with its past. ``created_at`` and ``id``, or else ``ref``, tell which one it is."""

    type: Name
    description: Text
    state: str
    created_at: Instant
    id: ItemId | None = None
    origin: Kin | None = None
    ref: Name | None = None
    queue: Name = Name(protocol.DEFAULT_QUEUE)
    priority: Priority = Priority(MEDIUM)
    team: Name | None = None
    payload: Bytes | None = None
    require: tuple[Name, ...] = ()
    group: Name | None = None
    unique: Name | None = None
    due_at: Instant | None = None
    ended_at: Instant | None = None
    after: tuple[Kin, ...] = ()
    waits: tuple[Kin, ...] = ()
    on_failure: str | None = None
    max_attempts: Count | None = None
    lease: Milliseconds | None = None
    max_runtime: Milliseconds | None = None
    agent: Name | None = None
    uid: Count | None = None
    holder: Name | None = None
    claims: Count = Count(0)
    failures: Count = Count(0)
    crashes: Count = Count(0)
    releases: Count = Count(0)
    percent: Percent | None = None
    status: Note | None = None
    message: Note | None = None
    checkpoint: Bytes | None = None
    blocked: Note | None = None
    reason: Note | None = None
    note: Note | None = None
    points: Count | None = None
    exit_status: Count | None = None
    result: Bytes | None = None
    output: Bytes | None = None
    ended_by: Name | None = None
    legacy: Text | None = None


@frozen(slots=False)
class ImportedAgent:
    """An agent from elsewhere."""

    agent: Name
    uid: Count | None = None
    team: Name | None = None
    capacity: Count | None = None
    specialization: Note | None = None
    slots: Count | None = None
    labels: tuple[Name, ...] = ()
    heartbeat: Milliseconds | None = None
    quiet: bool = False
    registered: bool = True
    seen_at: Instant | None = None
    legacy: Text | None = None


@frozen(slots=False)
class ImportedQueue:
    """The settings of a queue from elsewhere."""

    queue: Name
    paused: Note | None = None
    paused_until: Instant | None = None
    closed: bool = False
    limit: Count | None = None
    max_length: Count | None = None
    lease: Milliseconds | None = None
    max_attempts: Count | None = None
    crash_cap: Count | None = None
    stall_after: Milliseconds | None = None


@frozen
class Snapshot:
    """``upto`` goes on with an earlier request: the position that the reply to it gave."""

    upto: Position | None = None
    wait: Milliseconds = Milliseconds(0)


@frozen
class Reindex:
    pass


IMPORTED: dict[str, type] = {"item": ImportedItem, "agent": ImportedAgent, "queue": ImportedQueue}
"""The kinds of rows of an ``import``, and of what ``export`` gives."""


class Row(NamedTuple):
    """A row of an ``import``, and eight bytes that tell what it says from anything else (see :func:`content`)."""

    said: ImportedItem | ImportedAgent | ImportedQueue
    content: bytes


Rows = tuple[Row | Refusal, ...]


@frozen
class Import:
    run: Name
    rows: Rows = ()
    claimed: str = "hold"
    dry_run: bool = False


COMMANDS: dict[str, type] = {
    "hello": Hello,
    "show": Show,
    "list": List,
    "count": CountItems,
    "get": Get,
    "held": Held,
    "wait": Wait,
    "watch": Watch,
    "history": History,
    "agents": Agents,
    "queues": Queues,
    "export": Export,
    "explain": Explain,
    "status": Status,
    "dashboard": Dashboard,
    "config": Config,
    "stats": Stats,
    "health": Health,
    "submit": Submit,
    "batch": Batch,
    "claim": Claim,
    "claim_new": ClaimNew,
    "heartbeat": Heartbeat,
    "progress": Progress,
    "complete": Complete,
    "fail": Fail,
    "release": Release,
    "bury": Bury,
    "kick": Kick,
    "cancel": Cancel,
    "clear": Clear,
    "edit": Edit,
    "register": Register,
    "hold": Hold,
    "lock": Lock,
    "unlock": Unlock,
    "queue_set": QueueSet,
    "pause": Pause,
    "resume": Resume,
    "quiet": Quiet,
    "wake": Wake,
    "evict": Evict,
    "import": Import,
    "config_set": ConfigSet,
    "config_unset": ConfigUnset,
    "reload": Reload,
    "journal": JournalFiles,
    "snapshot": Snapshot,
    "reindex": Reindex,
}
"""Every verb of the wire and the class of its command."""

READS = frozenset(verb for verb, access in protocol.VERBS.items() if access == protocol.READ)
"""Verbs that change nothing; they take no idempotency key."""

NOT_IN_BATCH = frozenset(
    ("hello", "batch", "wait", "watch", "history", "import", "journal", "snapshot", "reindex"),
)
"""Verbs that stand alone in their frame."""

WATCHING = frozenset(("claim", "claim_new", "register", "hold", "lock"))
"""Verbs that may have a process watched, whose descriptor comes along."""


@frozen
class Request:
    """One command with the verb it came under and the digest of its idempotency key, if it had one.

    The digest is 16 bytes: ten of (uid, verb, key), which are the key, and six of the content, which tell a
    repetition from another command under the same key. ``minted`` says that the client made the key up for
    this one change; such keys are forgotten sooner than those that a user chose.
    """

    verb: str
    command: Any
    key: bytes | None = None
    minted: bool = False


# -- structuring ---------------------------------------------------------------------------------------


def _wrong(expected: str, value: object) -> NoReturn:
    raise ValueError(f"expected {expected}, not {_shown(value)}")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _integer(low: int, high: int, what: str) -> Callable[[object, object], int]:
    def structure(value: object, _: object) -> int:
        if type(value) is not int or not low <= value <= high:
            _wrong(f"{what} ({low} to {high})", value)
        return value

    return structure


def _boolean(value: object, _: object) -> bool:
    if type(value) is not bool:
        _wrong("true or false", value)
    return value


def _name(value: object, _: object) -> str:
    if type(value) is not str or not protocol.is_name(value):
        _wrong(f"a name (1 to {protocol.NAME_MAX} of A-Z a-z 0-9 . _ : / @ + -, not starting with -)", value)
    return value


def _queue(value: object, _: object) -> str:
    name = _name(value, None)
    if name[0] == "@":
        _wrong("a queue that does not begin with @ (those are the daemon's own)", value)
    return name


def _text(value: object, _: object) -> str:
    if type(value) is not str:
        _wrong("text", value)
    return value


def _note(value: object, _: object) -> str:
    if type(value) is not str:
        _wrong("text", value)
    if len(value) > protocol.NOTE_MAX or len(value.encode()) > protocol.NOTE_MAX:
        _wrong(f"text of at most {protocol.NOTE_MAX} bytes", value)
    return value


def _bytes(value: object, _: object) -> bytes:
    if type(value) is not bytes:
        _wrong("a byte string", value)
    return value


def _assignments(value: object, _: object) -> dict[str, str]:
    if type(value) is not dict or not value or len(value) > FILTER_MAX:
        _wrong(f"a map of 1 to {FILTER_MAX} texts", value)
    return {_name(name, None): _note(text, None) for name, text in value.items()}


def _priority(value: object, _: object) -> int:
    if type(value) is not str or value not in protocol.PRIORITIES:
        _wrong("one of " + ", ".join(protocol.PRIORITIES), value)
    return protocol.PRIORITIES.index(value)


def _reference(value: object, _: object) -> Reference:
    if type(value) is int and 0 < value <= ID_MAX:
        return value
    if type(value) is str and protocol.is_name(value):
        return value
    _wrong("an item's id or ref", value)


def _tuple_of(one: Callable[[object, object], Any]) -> Callable[[object, object], tuple[Any, ...]]:
    def structure(value: object, _: object) -> tuple[Any, ...]:
        if type(value) is not list:
            _wrong("an array", value)
        if len(value) > protocol.SUBMITS_MAX:
            _wrong(f"an array of at most {protocol.SUBMITS_MAX}", f"{len(value)} elements")
        return tuple([one(element, None) for element in value])

    return structure


def _kin(value: object, _: object) -> str:
    if type(value) is str:
        if value[:1] != "#":
            if protocol.is_name(value):
                return value
        elif len(value) < 60 and all(part.isascii() and part.isdigit() for part in value[1:].split("@", 1)):
            return value
    _wrong("an item's ref, or #ID@CREATED", value)


def _rows(value: object, _: object) -> Rows:
    if type(value) is not list:
        _wrong("an array of [kind, {...}]", value)
    if len(value) > protocol.IMPORTS_MAX:
        _wrong(f"an array of at most {protocol.IMPORTS_MAX}", f"{len(value)} elements")
    return tuple([_row(row) for row in value])


def _row(row: object) -> Row | Refusal:
    """One row; or, as one that is wrong does not keep out the others, why it is none."""
    if type(row) is not list or len(row) != 2 or type(row[0]) is not str or row[0] not in IMPORTED:
        return Refusal("bad_request", f"expected [kind, {{...}}] with a kind of {', '.join(IMPORTED)}: {_shown(row)}")
    kind, fields = row
    try:
        return Row(_structure_row(kind, fields), content(kind, fields))
    except Exception:  # noqa: BLE001 - as in structure()
        if type(fields) is not dict:
            return Refusal("bad_request", f"{kind}: expected a map, not {_shown(fields)}")
        return Refusal("bad_request", f"{kind}: {_why(IMPORTED[kind], fields)}")


_UNSAID: dict[str, dict[str, object]] = {
    kind: {
        field.name: protocol.PRIORITIES[MEDIUM] if field.name == "priority" else field.default
        for field in attrs.fields(made)
        if field.default is not attrs.NOTHING
    }
    for kind, made in IMPORTED.items()
}
_NOT_CONTENT = {"item": ("id", "origin"), "agent": ("uid", "seen_at"), "queue": ()}
"""Names, and what changes by itself."""


def said(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row without those that say no more than if they were left out."""
    unsaid = _UNSAID[kind]
    return {name: value for name, value in fields.items() if value != unsaid.get(name)}


def content(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Eight bytes that tell what a row says from anything else that it might say; but for its name."""
    unsaid, left_out = _UNSAID[kind], _NOT_CONTENT[kind]
    known = {
        name: value for name in sorted(fields) if (value := fields[name]) != unsaid.get(name) and name not in left_out
    }
    return blake2b(cbor2.dumps(known), digest_size=8).digest()


def _optional(one: Callable[[object, object], Any]) -> Callable[[object, object], Any]:
    def structure(value: object, target: object) -> Any:
        return None if value is None else one(value, target)

    return structure


def _queues(value: object, _: object) -> tuple[str, ...] | None:
    if value == "*":
        return None
    if type(value) is str:
        return (_queue(value, None),)
    names = _tuple_of(_queue)(value, None)
    return names or _wrong("at least one queue", value)


def _strict(converter: Converter) -> Converter:
    hooks: list[tuple[Any, Callable[[object, object], Any]]] = [
        (bool, _boolean),
        (str, _text),
        (Name, _name),
        (QueueName, _queue),
        (Text, _text),
        (Note, _note),
        (Bytes, _bytes),
        (Kin, _kin),
        (Assignments, _assignments),
        (Priority, _priority),
        (Milliseconds, _integer(0, DURATION_MAX, "a duration in milliseconds")),
        (Instant, _integer(0, INSTANT_MAX, "a time in milliseconds since the epoch")),
        (Count, _integer(0, (1 << 31) - 1, "a number")),
        (ItemId, _integer(0, ID_MAX, "an item's id")),
        (Position, _integer(0, ID_MAX, "a position")),
        (Percent, _integer(0, 100, "a percentage")),
    ]
    for target, hook in hooks:
        converter.register_structure_hook(target, hook)
        converter.register_structure_hook(target | None, _optional(hook))
    many: list[tuple[Any, Callable[[object, object], Any]]] = [
        (tuple[Name, ...], _tuple_of(_name)),
        (tuple[str, ...], _tuple_of(_text)),
        (tuple[Kin, ...], _tuple_of(_kin)),
        (Rows, _rows),
        (Reference, _reference),
        (Reference | None, _optional(_reference)),
        (tuple[Reference, ...], _tuple_of(_reference)),
        (tuple[Reference, ...] | None, _optional(_tuple_of(_reference))),
        (tuple[Name, ...] | None, _queues),
    ]
    for target, hook in many:
        converter.register_structure_hook_func(partial(operator.eq, target), hook)
    return converter


_FAST = _strict(make_converter(detailed_validation=False, forbid_extra_keys=True))
_EXACT = _strict(make_converter(detailed_validation=True, forbid_extra_keys=True))
_STRUCTURE: dict[str, Callable[[object, Any], Any]] = {
    verb: cast("Callable[[object, Any], Any]", _FAST.get_structure_hook(kind))
    for verb, kind in COMMANDS.items()
    if kind is not Batch
}
_HOOKS_OF_ROW: dict[str, dict[str, tuple[Callable[[object, Any], Any], Any]]] = {
    word: {
        field.name: (cast("Callable[[object, Any], Any]", _FAST.get_structure_hook(field.type)), field.type)
        for field in attrs.fields(kind)
    }
    for word, kind in IMPORTED.items()
}
_NEEDED_IN_ROW = {
    word: frozenset(field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING)
    for word, kind in IMPORTED.items()
}
for _kind in IMPORTED.values():  # what a row does not say is found in its class
    for _field in attrs.fields(_kind):
        if _field.default is not attrs.NOTHING:
            setattr(_kind, _field.name, _field.default)


def _structure_row(kind: str, fields: Mapping[str, object]) -> Any:
    """The row, of which only what it says is looked at: a third of what cattrs takes for fifty fields, mostly unsaid.

    What it raises says nothing useful: the exact way does.
    """
    hooks = _HOOKS_OF_ROW[kind]
    if not _NEEDED_IN_ROW[kind] <= fields.keys():
        raise ValueError(kind)
    row: Any = object.__new__(IMPORTED[kind])
    known = row.__dict__
    for name, value in fields.items():
        hook, target = hooks[name]
        known[name] = hook(value, target)
    return row


_CHOICES = {
    "on_failure": protocol.ON_FAILURE,
    "what": ("payload", "checkpoint", "output", "result"),
    "by": ("state", "queue", "type", "team", "agent", "group"),
    "claimed": protocol.CLAIMED_BECOMES,
    "want": protocol.JOURNAL_WANTS,
}


def _choose(verb: str, command: Any) -> None:
    """Checks that need more than one argument, or a choice among words."""
    if verb == "submit":
        _check_submit(command)
    elif verb == "get":
        _one_of("what", command.what)
    elif verb in ("list", "count", "export", "clear"):
        for state in command.state:
            if state not in protocol.STATES:
                _bad(verb, f"state: expected one of {', '.join(protocol.STATES)}, not {_shown(state)}")
        if verb == "list" and not 1 <= command.limit <= LIST_MAX:
            _bad(verb, f"limit: expected a number (1 to {LIST_MAX}), not {command.limit}")
        if verb == "count" and command.by is not None:
            _one_of("by", command.by)
    elif verb == "claim":
        names = max(len(command.queue or ()), len(command.type), len(command.team))
        if names > FILTER_MAX:
            raise Refusal("too_large", f"claim: {names} names in a filter; the limit is {FILTER_MAX}", limit=FILTER_MAX)
        if not 1 <= command.count <= CLAIM_MAX:
            _bad(verb, f"count: expected a number (1 to {CLAIM_MAX}), not {command.count}")
        _check_durations(verb, command)
    elif verb in ("claim_new", "lock"):
        _check_durations(verb, command)
    elif verb in ("watch", "history"):
        _check_events(verb, command)
    elif verb in ("cancel", "kick", "wait", "pause", "resume"):
        _check_target(verb, command)
        if verb == "pause" and command.lasts == 0:
            _bad(verb, "lasts: must not be 0; leave it out for a pause without an end")
    elif verb == "explain":
        if command.id is None and command.agent is None and command.queue is None:
            _bad(verb, "expected id, agent or queue")
        if command.id is not None and command.queue is not None:
            _bad(verb, "id and queue exclude each other")
    elif verb == "register" and len(command.labels) > protocol.LABELS_MAX:
        raise Refusal("too_large", f"register: {len(command.labels)} labels; the limit is {protocol.LABELS_MAX}")
    elif verb == "dashboard" and max(command.queues, command.agents, command.failures) > DASHBOARD_MAX:
        _bad(verb, f"at most {DASHBOARD_MAX} rows of a kind")
    elif verb == "import":
        _one_of("claimed", command.claimed)
    elif verb == "journal":
        _one_of("want", command.want)
    elif verb == "hold" and not command.watch:
        _bad(verb, "watch: must be true, with the descriptor of the process")


def _check_events(verb: str, command: Any) -> None:
    if verb == "history" and not command.ids:
        _bad(verb, "ids: expected at least one item")
    if not 1 <= command.limit <= EVENTS_MAX:
        _bad(verb, f"limit: expected a number (1 to {EVENTS_MAX}), not {command.limit}")
    for name, most in (("ids", WATCHED_MAX), ("queue", FILTER_MAX), ("type", FILTER_MAX)):
        names = getattr(command, name, ())
        if len(names) > most:
            raise Refusal("too_large", f"{verb}: {len(names)} names in a filter; the limit is {most}", limit=most)


def _check_submit(command: Submit) -> None:
    if command.on_failure != "hold":
        _one_of("on_failure", command.on_failure)
    if command.delay is not None and command.at is not None:
        _bad("submit", "delay and at exclude each other")
    if len(command.after) > protocol.AFTER_MAX:
        raise Refusal("too_large", f"submit: {len(command.after)} dependencies; the limit is {protocol.AFTER_MAX}")
    if len(command.require) > protocol.LABELS_MAX:
        raise Refusal("too_large", f"submit: {len(command.require)} labels; the limit is {protocol.LABELS_MAX}")
    _check_durations("submit", command)


def _check_durations(verb: str, command: Any) -> None:
    """A lease of no time at all would end before it began, and so on."""
    for name in ("lease", "max_runtime", "max_attempts"):
        if getattr(command, name, None) == 0:
            _bad(verb, f"{name}: must not be 0; leave it out for the default")


def _check_target(verb: str, command: Any) -> None:
    """These verbs take one kind of target, never two and never none."""
    names = {"cancel": "id group", "kick": "id queue group", "wait": "ids group"}.get(verb, "queue all").split()
    given = [name for name in names if getattr(command, name) not in (None, (), False)]
    if len(given) != 1:
        _bad(verb, f"expected one of {', '.join(names)}, not {' and '.join(given) or 'none'}")


def _one_of(argument: str, value: str) -> None:
    if value not in _CHOICES[argument]:
        raise Refusal(
            "bad_request", f"{argument}: expected one of {', '.join(_CHOICES[argument])}, not {_shown(value)}"
        )


def _bad(verb: str, why: str) -> NoReturn:
    raise Refusal("bad_request", f"{verb}: {why}")


def structure(verb: object, arguments: object, uid: int) -> Request:
    """The request that ``[_, verb, arguments]`` makes, from a peer of this uid; takes the key out of the arguments.

    Raises:
        Refusal: ``unknown_verb``, ``bad_request`` or ``too_large``.
    """
    if type(verb) is not str or verb not in COMMANDS:
        raise Refusal("unknown_verb", f"there is no verb {_shown(verb)}")
    if type(arguments) is not dict:
        _bad(verb, f"arguments: expected a map, not {_shown(arguments)}")
    key = None
    minted = False
    if "key" in arguments and verb not in READS:
        key_text = arguments.pop("key")
        if type(key_text) is not str or not protocol.is_name(key_text):
            _bad(verb, f"key: expected a name, not {_shown(key_text)}")
        if verb == "batch":
            return _batch(arguments, uid, key_text)
        # A claim that is sent again waits for what is left of its time: that is no other content.
        content = {k: v for k, v in arguments.items() if k != "wait"} if "wait" in arguments else arguments
        key = digest(uid, verb, key_text, content)
        minted = key_text.startswith(protocol.MINTED_PREFIX)
    if verb == "batch":
        return _batch(arguments, uid, None)
    try:
        command = _STRUCTURE[verb](arguments, COMMANDS[verb])
    except Refusal:
        raise
    except Exception:  # noqa: BLE001 - the fast way says nothing useful: let the exact one say what is wrong
        _bad(verb, _why(COMMANDS[verb], arguments))
    _choose(verb, command)
    return Request(verb, command, key, minted)


def digest(uid: int, verb: str, key: str, content: object) -> bytes:
    """What is kept of an idempotency key; see :class:`Request`."""
    name = blake2b(f"{uid} {verb} {key}".encode(), digest_size=10).digest()
    if type(content) is dict:  # the order of the arguments is no content
        try:
            content = {argument: content[argument] for argument in sorted(content)}
        except TypeError:
            _bad(verb, "arguments: expected text for the name of each")
    return name + blake2b(cbor2.dumps(content), digest_size=6).digest()


def _why(kind: type, arguments: object) -> str:
    try:
        _EXACT.structure(arguments, kind)
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of whatever the hooks raised
        reasons = transform_error(error, format_exception=_reason, path="")
        return "; ".join(
            reason.replace(" @ .", ": ", 1) if " @ " in reason else reason for reason in map(_turn, reasons)
        )
    raise AssertionError("the exact converter took what the fast one refused")


def _turn(reason: str) -> str:
    """``what @ .argument`` -> ``argument: what``."""
    what, at, where = reason.rpartition(" @ ")
    return f"{where.lstrip('.')}: {what}" if at and where.strip(".") else (what or reason).removesuffix(" @ ")


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    extra = getattr(error, "extra_fields", None)
    if extra:
        return f"unknown argument {', '.join(_shown(name) for name in sorted(extra, key=str))}"
    return str(error)


def _batch(arguments: Mapping[str, object], uid: int, key: str | None) -> Request:
    unknown = set(arguments) - {"commands", "atomic"}
    if unknown:
        _bad("batch", f"unknown argument {', '.join(_shown(name) for name in sorted(unknown, key=str))}")
    lines = arguments.get("commands")
    if type(lines) is not list:
        _bad("batch", f"commands: expected an array of [verb, arguments], not {_shown(lines)}")
    if len(lines) > protocol.SUBMITS_MAX:
        raise Refusal(
            "too_large",
            f"batch: {len(lines)} commands; the limit is {protocol.SUBMITS_MAX}",
            limit=protocol.SUBMITS_MAX,
        )
    atomic = arguments.get("atomic", False)
    if type(atomic) is not bool:
        _bad("batch", f"atomic: expected true or false, not {_shown(atomic)}")
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
        _bad("batch", f"expected [verb, arguments], not {_shown(line)}")
    verb, arguments = line
    if verb in NOT_IN_BATCH:
        _bad("batch", f"{verb} cannot stand in a batch")
    if key is not None and verb not in READS and type(arguments) is dict and "key" not in arguments:
        arguments = {**arguments, "key": key}
    request = structure(verb, arguments, uid)
    if request.verb in ("claim", "lock") and request.command.wait:
        _bad("batch", f"a {request.verb} that waits cannot stand in a batch")
    return request


def _atomic(lines: list[object], uid: int, key: str | None) -> Request:
    submits = []
    for number, line in enumerate(lines):
        try:
            request = _line(line, uid, None)
            if request.verb != "submit" or request.key is not None:
                _bad("batch", "an atomic batch holds submits without keys of their own only")
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.message, **{**refusal.facts, "line": number}) from None
        submits.append(request.command)
    if not submits:
        _bad("batch", "an atomic batch holds at least one submit")
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


# -- frames --------------------------------------------------------------------------------------------


class _NoTags(dict[int, object]):
    """A tag runs code of the decoder's choosing on input of the peer's choosing: all are refused."""

    def __contains__(self, tag: object) -> bool:
        return True

    def __getitem__(self, tag: int) -> NoReturn:
        raise ValueError(f"tag {tag} is not part of the protocol")

    def get(self, tag: object, default: object = None) -> NoReturn:
        raise ValueError(f"tag {tag} is not part of the protocol")


_NO_TAGS = _NoTags()
_DEPTH_MAX = 8


def decode(body: bytes) -> tuple[int, object, object]:
    """The id, verb and arguments of a frame's body.

    Raises:
        Refusal: ``bad_request``; fact ``id`` is the request's id where it could be read, else 0.
    """
    source = BytesIO(body)
    try:
        message = cbor2.CBORDecoder(
            source,
            semantic_decoders=cast("Any", _NO_TAGS),
            allow_indefinite=False,
            allow_duplicate_keys=False,
            max_depth=_DEPTH_MAX,
        ).decode()
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise Refusal(
            "bad_request", f"the frame is not CBOR as the protocol has it: {_first_line(error)}", id=0
        ) from None
    if source.tell() != len(body):
        raise Refusal("bad_request", f"{len(body) - source.tell()} bytes follow the message in its frame", id=0)
    if type(message) is not list or len(message) != 3:
        raise Refusal("bad_request", f"expected [id, verb, arguments], not {_shown(message)}", id=0)
    number, verb, arguments = message
    if type(number) is not int or not 0 <= number <= ID_MAX:
        raise Refusal("bad_request", f"the request's id: expected a number from 0, not {_shown(number)}", id=0)
    return number, verb, arguments


def _first_line(error: BaseException) -> str:
    text = str(error.__cause__ or error) or type(error).__name__
    return text.splitlines()[0][:200]


def encode_body_with(result: dict[str, object], name: str, count: int, rows: bytes) -> bytes:
    """The bytes of a result with one more field: an array of so many rows that are encoded already."""
    parts = [_head(_MAP, len(result) + 1)]
    parts += [cbor2.dumps(part) for field in result.items() for part in field]
    return b"".join([*parts, cbor2.dumps(name), _head(_ARRAY, count), rows])


_ARRAY, _MAP = 0x80, 0xA0


def _head(kind: int, count: int) -> bytes:
    """How an array or map of so many begins: as the number itself does, but for the kind in the first byte."""
    number = cbor2.dumps(count)
    return bytes((number[0] | kind,)) + number[1:]


_ARRAY_OF_3, _ZERO = b"\x83", b"\x00"


def encode_result(number: int, result: object) -> bytes:
    """The frame of a reply that grants."""
    return encode_granted(number, encode_body(result))


def encode_body(result: object) -> bytes:
    """The bytes of a result, for several replies."""
    return cbor2.dumps(result)


def encode_granted(number: int, body: bytes) -> bytes:
    """The frame of a reply that grants, around a result that is encoded already."""
    head = _ARRAY_OF_3 + (bytes((number,)) if number < 24 else cbor2.dumps(number)) + _ZERO  # half the time of a list
    return protocol.LENGTH.pack(len(head) + len(body)) + head + body


def encode_refusal(number: int, refusal: Refusal) -> bytes:
    """The frame of a reply that refuses."""
    return protocol.frame(cbor2.dumps([number, refusal.code, refusal.wire()]))
