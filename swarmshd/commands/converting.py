"""From what a peer wrote to what is meant: each kind of value has one function that takes it or says what it expected.

What comes off the wire is never trusted and never coerced: ``"5"`` is not 5, ``True`` is not 1, an unknown argument is
refused by name.

There are two ways. :func:`convert` knows only success, and looks at nothing but what was said: most commands and rows
say little of what they could. When it fails, :func:`why` has cattrs convert the same arguments again, in detail, to say
which of them is wrong.
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn, cast

import attrs
from cattrs import Converter, transform_error
from cattrs.preconf.cbor2 import make_converter

from swarmshd import protocol
from swarmshd.commands.refusal import Refusal, shown
from swarmshd.commands.rows import IMPORTED, Row, Rows, content
from swarmshd.commands.table import COMMANDS, Batch
from swarmshd.commands.values import (
    DURATION_MAX,
    FILTER_MAX,
    ID_MAX,
    INSTANT_MAX,
    Assignments,
    Bytes,
    Count,
    Instant,
    ItemId,
    Kin,
    Milliseconds,
    Name,
    Note,
    Percent,
    Position,
    Priority,
    QueueName,
    Reference,
    Text,
)

Hook = Callable[[object, object], Any]
"""From a value, and the type that is wanted, to what is meant; raises ValueError."""


def _wrong(expected: str, value: object) -> NoReturn:
    raise ValueError(f"expected {expected}, not {shown(value)}")


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


def _tuple_of(one: Hook) -> Callable[[object, object], tuple[Any, ...]]:
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


def _optional(one: Hook) -> Hook:
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


# -- whole commands and rows ---------------------------------------------------------------------------


def _rows(value: object, _: object) -> Rows:
    if type(value) is not list:
        _wrong("an array of [kind, {...}]", value)
    if len(value) > protocol.IMPORTS_MAX:
        _wrong(f"an array of at most {protocol.IMPORTS_MAX}", f"{len(value)} elements")
    return tuple([_row(row) for row in value])


def _row(row: object) -> Row | Refusal:
    """One row; or, as one that is wrong does not keep out the others, why it is none."""
    if type(row) is not list or len(row) != 2 or type(row[0]) is not str or row[0] not in IMPORTED:
        return Refusal("bad_request", f"expected [kind, {{...}}] with a kind of {', '.join(IMPORTED)}: {shown(row)}")
    kind, fields = row
    try:
        return Row(convert(IMPORTED[kind], fields), content(kind, fields))
    except Exception:  # noqa: BLE001 - whatever a hook made of it: let the exact way say what is wrong
        if type(fields) is not dict:
            return Refusal("bad_request", f"{kind}: expected a map, not {shown(fields)}")
        return Refusal("bad_request", f"{kind}: {why(IMPORTED[kind], fields)}")


def _converter() -> Converter:
    converter = make_converter(detailed_validation=True, forbid_extra_keys=True)
    hooks: list[tuple[Any, Hook]] = [
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
    many: list[tuple[Any, Hook]] = [
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


_CONVERTER = _converter()


_HOOKS: dict[type, dict[object, tuple[Hook, Any]]] = {
    kind: {f.name: (cast("Hook", _CONVERTER.get_structure_hook(f.type)), f.type) for f in attrs.fields(kind)}
    for kind in (*COMMANDS.values(), *IMPORTED.values())
    if kind is not Batch
}
"""For each field of a kind, by name: who converts it, and to what."""


def convert(kind: type, said: Mapping[Any, object]) -> Any:
    """The command or row of that kind which says this. What it raises, of any class, says nothing: :func:`why` does."""
    hooks = _HOOKS[kind]
    fields = {}
    for name, value in said.items():
        hook, target = hooks[name]
        fields[name] = hook(value, target)
    return kind(**fields)


def why(kind: type, said: object) -> str:
    """Why there is no command or row of that kind which says this."""
    try:
        _CONVERTER.structure(said, kind)
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of whatever the hooks raised
        reasons = transform_error(error, format_exception=_reason, path="")
        return "; ".join(
            reason.replace(" @ .", ": ", 1) if " @ " in reason else reason for reason in map(_turn, reasons)
        )
    raise AssertionError("the exact way took what the fast one refused")


def _turn(reason: str) -> str:
    """``what @ .argument`` -> ``argument: what``."""
    what, at, where = reason.rpartition(" @ ")
    return f"{where.lstrip('.')}: {what}" if at and where.strip(".") else (what or reason).removesuffix(" @ ")


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    extra = getattr(error, "extra_fields", None)
    if extra:
        return f"unknown argument {', '.join(shown(name) for name in sorted(extra, key=str))}"
    return str(error)
