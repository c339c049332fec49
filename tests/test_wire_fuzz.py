"""The wire under a fuzzer: whatever comes, the daemon lives, logs no traceback, and serves the neighbour.

The bytes are drawn from a seeded generator, so that a failure can be seen again.
"""

import math
import random
import socket
import struct
import types
import typing
from contextlib import suppress

import attrs
import cbor2
import pytest

from swarmshd import commands
from swarmshd.commands import COMMANDS, Refusal
from tests.wire import Wire, framed, lawful

pytestmark = pytest.mark.slow

WELL = [
    [1, "status", {}],
    [2, "submit", {"type": "t", "description": "d", "payload": b"p" * 50, "after": [1, "r"], "require": ["l"]}],
    [3, "claim", {"agent": "a", "queue": ["default", "q"], "count": 3}],
    [4, "batch", {"commands": [["submit", {"type": "t", "description": "d"}], ["count", {"by": "state"}]]}],
    [5, "batch", {"commands": [["submit", {"type": "t", "description": "d"}]], "atomic": True}],
    [6, "wait", {"ids": [1, 2], "timeout": 1}],
    [7, "watch", {"since": 1, "ids": [1], "queue": ["q"], "type": ["t"], "group": "g", "timeout": 1, "limit": 9}],
]

BOMBS = {
    "tag": b"\xc0\x60",
    "bignum": bytes.fromhex("8301c249010000000000000000a0"),
    "tagged arguments": b"\x83\x01\x66status\xd9\x01\x02\xa0",
    "shared reference": b"\x83\x01\x66status\xd8\x1c\xa1\x61a\xd8\x1d\x00",
    "string reference": b"\xd9\x01\x00\x83\x01\x66status\xa0",
    "array of 2**32": b"\x9a\xff\xff\xff\xff",
    "array of 2**62": b"\x9b\x40\x00\x00\x00\x00\x00\x00\x00",
    "map of 2**32": b"\xba\xff\xff\xff\xff",
    "bytes of 2**40": b"\x5b\x00\x00\x01\x00\x00\x00\x00\x00" + b"x" * 10,
    "text of 2**62": b"\x7b\x40\x00\x00\x00\x00\x00\x00\x00",
    "indefinite array": b"\x9f\x01\xff",
    "indefinite text": b"\x83\x01\x7f\x63sta\x63tus\xff\xa0",
    "indefinite map": b"\x83\x01\x66status\xbf\xff",
    "deep arrays": b"\x81" * 500_000 + b"\x01",
    "deep maps": b"\xa1\x61a" * 200_000 + b"\x01",
    "deep arguments": cbor2.dumps([1, "status"])[: -0 or None] + b"\x81" * 100,
    "break": b"\x83\x01\xff\xa0",
    "undefined": b"\x83\x01\x66status\xf7",
    "simple value": b"\x83\x01\x66status\xf8\x63",
    "duplicate keys": b"\x83\x01\x66status\xa2\x61a\x01\x61a\x02",
    "array as key": b"\x83\x01\x66status\xa1\x81\x01\x01",
    "map as key": b"\x83\x01\x66status\xa1\xa1\x01\x01\x01",
    "NaN as key": b"\x83\x01\x66status\xa1\xf9\x7e\x00\x01",
    "NaN": b"\x83\x01\x66status\xf9\x7e\x00",
    "text that is not UTF-8": b"\x83\x01\x66status\xa1\x62\xff\xfe\x01",
    "half of a surrogate pair": b"\x83\x01\x66status\xa1\x63\xed\xa0\x80\x01",
    "trailing byte": cbor2.dumps([1, "status", {}]) + b"\0",
    "two messages": cbor2.dumps([1, "status", {}]) * 2,
    "nothing": b"",
    "a number": b"\x01",
    "four of three": cbor2.dumps([1, "status", {}, None]),
    "many small arrays": b"\x99\xff\xff" + b"\x80" * 65535,
}


@pytest.fixture
def neighbour(daemon):
    with daemon.wire() as wire:
        yield wire


def serves(neighbour: Wire) -> None:
    """The neighbour is served as if nothing had happened."""
    number = neighbour.call("submit", type="neighbour", description="d", queue="neighbour")["id"]
    (item,) = neighbour.call("claim", agent="neighbour", queue=["neighbour"])["items"]
    assert item["id"] == number
    neighbour.call("complete", id=number, token=item["token"])


def memory(pid: int) -> int:
    """Resident bytes of the process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_and_the_connection_goes_on(name):
    with pytest.raises(Refusal) as refused:
        commands.structure(*commands.decode(BOMBS[name])[1:], 0)
    lawful(refused.value.code, refused.value.wire())


def test_bombs_through_the_socket(daemon, neighbour):
    before = memory(daemon.pid)
    with daemon.wire() as wire:
        for name, body in BOMBS.items():
            wire.send_bytes(struct.pack(">I", len(body)) + body)
            _, code, facts = wire.receive()
            assert code == "bad_request", name
            lawful(code, facts)
        serves(wire)
    serves(neighbour)
    assert memory(daemon.pid) - before < 32 << 20


def mutated(chance: random.Random) -> bytes:
    """A frame whose body is not what it was, with its length right, or wrong."""
    body = bytearray(cbor2.dumps(chance.choice(WELL)))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(body))
        change = chance.randrange(4)
        if change == 0:
            body[at] = chance.randrange(256)
        elif change == 1:
            del body[at : at + chance.randrange(1, 9)]
        elif change == 2:
            body[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            body[at:at] = chance.choice(list(BOMBS.values()))[:200]
        body = body or bytearray(b"\0")
    length = (
        len(body) if chance.random() < 0.9 else chance.choice([0, 1, len(body) - 1, len(body) + 1, 1 << 20, 1 << 31])
    )
    return struct.pack(">I", length) + bytes(body)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_and_mutated_frames(daemon, neighbour, seed):
    chance = random.Random(seed)
    before = memory(daemon.pid)
    for _ in range(120):
        with daemon.wire() as wire:
            wire.socket.settimeout(0.05 if chance.random() < 0.1 else 2)
            with suppress(OSError, EOFError):
                for _ in range(chance.randrange(1, 30)):
                    data = chance.randbytes(chance.randrange(1, 200)) if chance.random() < 0.1 else mutated(chance)
                    wire.send_bytes(data)
                wire.socket.shutdown(socket.SHUT_WR)
                while True:
                    number, code, result = wire.receive()
                    assert type(number) is int
                    lawful(code, result)
        if chance.random() < 0.1:
            serves(neighbour)
    serves(neighbour)
    assert memory(daemon.pid) - before < 64 << 20


WRONG = [
    None,
    True,
    0,
    -1,
    5,
    1 << 63,
    -(1 << 64),
    (1 << 64) - 1,
    1.5,
    math.nan,
    math.inf,
    "",
    "5",
    "-x",
    "a b",
    "quote'\"`$(x)",
    "line\nbreak\r\0nul\x1b[31m",
    "\u2028\u202e\x85",
    "x" * 201,
    "é" * 150,
    "x" * 9000,
    "*",
    b"",
    b"5",
    [],
    [1],
    ["a"],
    [None],
    [["a"]],
    [True, 1.5, "x y", b"z", {}],
    ["a"] * 20_000,
    {},
    {"a": 1},
    {1: {2: 3}},
]


def fields(verb: str) -> list[str]:
    """The arguments of a verb."""
    if verb == "batch":
        return ["commands", "atomic", "key"]
    return [field.name for field in attrs.fields(COMMANDS[verb])] + ["key", "unknown", ""]


def sound(verb: str) -> dict[str, object]:
    """Arguments with which the verb is well formed."""
    made: dict[str, object] = {}
    if verb == "batch":
        return {"commands": []}
    for field in attrs.fields(COMMANDS[verb]):
        if field.default is not attrs.NOTHING:
            continue
        made[field.name] = {"id": 1, "version": 1, "timeout": 0, "watch": True, "what": "payload", "want": "list"}.get(
            field.name, "name"
        )
    targets: dict[str, dict[str, object]] = {
        "wait": {"ids": [1]},
        "history": {"ids": [1]},
        "kick": {"id": 1},
        "explain": {"id": 1},
        "cancel": {"id": 1},
        "pause": {"queue": "q"},
        "resume": {"queue": "q"},
        "config_set": {"values": {"LEASE": "5m"}},
        "config_unset": {"names": ["LEASE"]},
    }
    return made | targets.get(verb, {})


@pytest.mark.parametrize("verb", COMMANDS)
def test_wrong_types_for_every_argument_of_every_verb(verb):
    """Nothing but a command of the right types, or a refusal, comes out of it."""
    for name in fields(verb):
        for value in WRONG:
            arguments = sound(verb) | {name: value}
            try:
                request = commands.structure(verb, cbor2.loads(cbor2.dumps(arguments)), 0)
            except Refusal as refusal:
                assert refusal.code in ("bad_request", "too_large"), (name, value)
                lawful(refusal.code, refusal.wire())
                assert len(str(refusal.wire()["message"])) < 1000
                continue
            assert verb == "batch" or name == "key" or right(request.command, name), (name, value)
    for name in sound(verb):
        missing = {key: value for key, value in sound(verb).items() if key != name}
        with pytest.raises(Refusal) as refused:
            commands.structure(verb, missing, 0)
        assert refused.value.code == "bad_request"


def right(command: object, name: str) -> bool:
    """Whether the attribute has a type that its annotation allows; no number came from text, none from a boolean."""
    wanted = typing.get_type_hints(type(command))[name]
    return fits(getattr(command, name), wanted)


def fits(value: object, wanted: typing.Any) -> bool:
    """Whether the value is of the annotated type, NewTypes and unions taken apart."""
    while hasattr(wanted, "__supertype__"):
        wanted = wanted.__supertype__
    if isinstance(wanted, types.UnionType) or typing.get_origin(wanted) is typing.Union:
        return any(fits(value, each) for each in typing.get_args(wanted))
    if typing.get_origin(wanted) is tuple:
        return type(value) is tuple and all(fits(each, typing.get_args(wanted)[0]) for each in value)
    return type(value) is (type(None) if wanted is None else wanted)


@pytest.mark.slow
def test_wrong_types_through_the_socket(daemon, neighbour):
    """The rules get whatever the types allow; nothing of it ends the daemon."""
    number = 0
    with daemon.wire() as wire:
        for verb in COMMANDS:
            if verb == "wait":
                continue
            frames = []
            for name in fields(verb):
                for value in WRONG:
                    number += 1
                    frames.append(framed([number, verb, sound(verb) | {name: value}]))
            for start in range(0, len(frames), 50):
                wire.send_bytes(b"".join(frames[start : start + 50]))
                wire.answers(len(frames[start : start + 50]))
        for bad_number in (None, -1, 1 << 63, "1", True, 1.0):
            wire.send_bytes(framed([bad_number, "status", {}]))
            assert wire.receive()[1] == "bad_request"
        bad_verbs: list[object] = [None, 5, b"status", [], {}, "", "STATUS", "status\n", "x" * 100_000]
        for bad_verb in bad_verbs:
            wire.send_bytes(framed([1, bad_verb, {}]))
            number, code, facts = wire.receive()
            assert (number, code) == (1, "unknown_verb")
            lawful(code, facts)
    daemon.call("resume", all=True)
    daemon.call("resume", queue="q")
    serves(neighbour)


def test_half_frames_then_close(daemon, neighbour):
    whole = framed([1, "submit", {"type": "t", "description": "d", "queue": "half"}])
    for cut in range(1, len(whole)):
        with daemon.wire() as wire:
            wire.send_bytes(whole[:cut])
    serves(neighbour)
    assert daemon.call("count", queue=["half"]) == {"count": 0}
    assert daemon.call("status")["connections"] <= 3


def test_texts_of_users_stay_as_they_are_and_messages_stay_one_line(daemon):
    nasty = "quote' \" `$(x)` line\nbreak\ttab \0 nul \x1b[31m é \U0001f41d \u2028"
    with daemon.wire() as wire:
        number = wire.call("submit", type="t", description=nasty, payload=bytes(range(256)))["id"]
        assert wire.call("show", id=number)["description"] == nasty
        wire.call("cancel", id=number, reason=nasty)
        assert wire.call("show", id=number)["reason"] == nasty
        wire.send("release", id=number, agent="a")
        _, code, facts = wire.receive()
        assert code == "cancelled"
        lawful(code, facts)
        wire.call("pause", queue="default", reason=nasty)
        wire.send("claim", agent="a")
        _, code, facts = wire.receive()
        assert code == "empty"
        lawful(code, facts)
        assert facts["paused"] == nasty
    daemon.restart()
    assert daemon.call("show", id=number)["description"] == nasty
    assert daemon.call("get", id=number, what="payload")["data"] == bytes(range(256))
