"""swarmsh-protocol(7) says what the code does: its verbs, arguments and codes, and what a real daemon answers."""

import os
import re
import subprocess
import sys
from typing import Any

import attrs
import cbor2
import pytest

from swarmshd import commands, protocol
from swarmshd.commands import rows, values
from swarmshd.protocol import CODES
from swarmshd.told import EVERYTHING, Place, tell
from tests.conftest import PATIENCE
from tests.pages import ROOT, Section, examples, page, sections
from tests.test_told import SAMPLES
from tests.wire import Refused, Wire, framed

pytestmark = pytest.mark.slow

KINDS: dict[Any, str] = {
    values.Name: "name",
    values.QueueName: "name",
    values.Text: "text",
    values.Note: "note",
    values.Bytes: "bytes",
    values.Assignments: "map",
    values.Milliseconds: "ms",
    values.Instant: "time",
    values.Count: "int",
    values.ItemId: "number",
    values.Position: "number",
    values.Percent: "percent",
    values.Priority: "priority",
    values.Reference: "id",
    bool: "bool",
    str: "word",
    values.Kin: "kin",
    rows.Rows: "list",
    tuple[values.Kin, ...]: "kins",
    tuple[values.Name, ...]: "names",
    tuple[values.Reference, ...]: "ids",
    tuple[str, ...]: "words",
}
KINDS |= {kind | None: word for kind, word in KINDS.items()}
"""What swarmsh-protocol(7) calls the types of arguments."""

OF_BATCH = {"commands": "list , required", "atomic": "bool , default false"}
"""Its class holds the commands that were made of them."""

NOT_SENT = {"outcome_unknown"}
"""Codes that no part of the daemon sends in this release, as swarmsh-protocol(7) says."""

Fields = dict[str, tuple[str, list[str]]]
"""Name of an argument or field -> what stands after the colon, and the lines below."""


def items_of(lines: list[str]) -> Fields:
    """The entries of a section's lists."""
    found: Fields = {}
    for line in lines:
        if line.startswith(".It Fa "):
            name, _, rest = line.removeprefix(".It Fa ").partition(" No : ")
            found[name] = (rest, [])
        elif found:
            found[next(reversed(found))][1].append(line)
    return found


def verb_sections() -> dict[str, Section]:
    chapters = [found for found in sections(page("swarmsh-protocol.7")) if found.chapter.startswith("VERBS")]
    return {found.title: found for found in chapters if found.title}


def parts_of(section: Section) -> tuple[list[str], list[str]]:
    """The lines about arguments, and those about the result."""
    at = next((n for n, line in enumerate(section.lines) if line.startswith("Result")), len(section.lines))
    return section.lines[:at], section.lines[at:]


# -- the protocol --------------------------------------------------------------------------------------


def test_every_verb_is_described_in_its_class():
    found = {verb: section.chapter.rsplit(" ", 1)[1].lower() for verb, section in verb_sections().items()}
    assert found == protocol.VERBS


@pytest.mark.parametrize("verb", protocol.VERBS)
def test_every_argument_is_described(verb):
    documented = {name: rest for name, (rest, _) in items_of(parts_of(verb_sections()[verb])[0]).items()}
    expected = OF_BATCH if verb == "batch" else {f.name: _argument(f) for f in attrs.fields(commands.COMMANDS[verb])}
    assert documented == expected


@pytest.mark.parametrize("kind", rows.IMPORTED)
def test_every_field_of_a_row_is_described(kind):
    documented = {name: rest for name, (rest, _) in OBJECTS[f"{kind.capitalize()} row"].items()}
    assert documented == {f.name: _argument(f) for f in attrs.fields(rows.IMPORTED[kind])}


def _argument(field: Any) -> str:
    default = field.default
    if default is attrs.NOTHING:
        return f"{KINDS[field.type]} , required"
    if default is None or default == ():
        return KINDS[field.type]
    shown = default[0] if isinstance(default, tuple) else default
    if field.type is values.Priority:
        shown = protocol.PRIORITIES[default]
    return f"{KINDS[field.type]} , default {str(shown).lower()}"


def test_every_code_is_described():
    rows = re.findall(r"^\.It Sy (\w+) Ta (\d+) Ta (yes|no) Ta (.*)$", page("swarmsh-protocol.7"), re.MULTILINE)
    assert rows == [
        (code, str(status), "yes" if again else "no", what) for code, (status, again, what) in CODES.items()
    ]


def test_the_codes_that_are_not_sent_are_said_not_to_be():
    sources = "".join(path.read_text() for path in (ROOT / "swarmshd").rglob("*.py"))
    assert CODES.keys() - set(re.findall(r'Refusal\(\s*"(\w+)"', sources)) == NOT_SENT
    text = page("swarmsh-protocol.7")
    said = re.search(r"Not sent by the daemon in this release:(.*?)which is a client", text, re.DOTALL)
    assert said is not None
    assert set(re.findall(r"\.Sy (\w+)", said[1])) == NOT_SENT


def test_every_named_code_exists():
    codes = set(re.findall(r"\bSy ([a-z_]+)", page("swarmsh-protocol.7")))
    assert codes == CODES.keys()


def example_bytes(kind: str) -> list[bytes]:
    """The bytes of the examples: each line begins with pairs of hexadecimal digits."""
    found = []
    for example in examples(page("swarmsh-protocol.7"), kind):
        pairs = [re.match(r"(?:[0-9a-f]{2} ?)+", line) for line in example.splitlines()]
        found.append(bytes.fromhex("".join(each[0] for each in pairs if each)))
    return found


def test_the_examples_say_what_their_bytes_are():
    for example in examples(page("swarmsh-protocol.7"), "request") + examples(page("swarmsh-protocol.7"), "reply"):
        for line in example.splitlines():
            data, text = re.fullmatch(r"((?:[0-9a-f]{2} ?)+) +(.*)", line).groups()  # type: ignore[union-attr]
            if '"' in text:
                assert bytes.fromhex(data).endswith(text.strip('"').encode()), line


def test_the_examples_are_frames_as_the_daemon_takes_and_sends_them():
    requests, replies = example_bytes("request"), example_bytes("reply")
    assert len(requests) == len(replies) == 2
    for data in requests:
        number, verb, arguments = commands.decode(protocol.Decoder().feed(data)[0])
        assert commands.structure(verb, arguments, 0).verb == verb
        assert data == framed([number, verb, arguments])
    for data in replies:
        assert data == framed(cbor2.loads(data[4:]))


# -- results, from a real daemon -----------------------------------------------------------------------

WORK = {"type": "t", "description": "d"}
FULL = WORK | {
    "priority": "high",
    "queue": "q",
    "team": "core",
    "payload": b"x",
    "require": ["gpu"],
    "group": "g",
    "ref": "r",
    "unique": "u",
    "max_attempts": 3,
    "lease": 60_000,
    "max_runtime": 90_000,
    "agent": "me",
    "key": "k",
}
SAID = {"percent": 5, "status": "s", "message": "m", "checkpoint": b"c"}
ENDED = {"note": "n", "points": 1, "output": b"o", "result": b"r", "exit_status": 0}
WHOLE = {"team": "core", "capacity": 80, "specialization": "s", "slots": 3, "labels": ["gpu"], "heartbeat": 1000}
LIMITS = {"limit": 9, "max_length": 9, "lease": 1000, "max_attempts": 3, "crash_cap": 2, "stall_after": 9000}

OLD = WORK | {"ref": "old", "state": "claimed", "created_at": 1, "holder": "x", "legacy": "{}"}

STEPS: list[tuple[str, dict[str, Any], str]] = [
    ("hello", {"version": 1, "program": "test"}, ""),
    ("hello", {"version": 9}, "version"),
    ("submit", FULL, ""),
    ("submit", WORK | {"key": "k"}, "conflict"),
    ("submit", WORK | {"unique": "u"}, ""),
    ("submit", WORK | {"unique": "u", "unique_strict": True}, "duplicate"),
    ("submit", WORK | {"description": "d" * 9000}, "too_large"),
    ("submit", WORK | {"after": ["r"], "ref": "late", "on_failure": "cancel"}, ""),
    ("batch", {"commands": [["submit", WORK], ["show", {"id": 99}]]}, ""),
    ("batch", {"atomic": True, "commands": [["submit", WORK | {"after": [99]}]]}, "not_found"),
    ("batch", {"atomic": True, "commands": [["submit", WORK | {"after": ["x"], "ref": "x"}]]}, "cycle"),
    ("register", {"agent": "a", "watch": True} | WHOLE, ""),
    ("claim", {"agent": "b", "queue": "q"}, "empty"),
    ("claim", {"agent": "b", "queue": "q", "wait": 1}, "empty"),
    ("claim", {"agent": "a", "queue": "*"}, ""),
    ("progress", {"id": "r", "agent": "a"} | SAID, ""),
    ("hold", {"id": "r", "agent": "a", "watch": True}, ""),
    ("show", {"id": "r"}, ""),
    ("held", {"agent": "a"}, ""),
    ("claim", {"agent": "a", "resume": True}, ""),
    ("progress", {"id": "r", "agent": "b"}, "not_holder"),
    ("progress", {"id": "r", "token": "1.0011223344556677"}, "lease_lost"),
    ("heartbeat", {"agent": "a", "ids": ["r", 99]}, ""),
    ("complete", {"id": "r", "agent": "a"} | ENDED, ""),
    ("get", {"id": "r", "what": "result"}, ""),
    ("get", {"id": 2, "what": "output"}, "not_found"),
    ("claim", {"agent": "b", "id": "late"}, ""),
    ("fail", {"id": "late", "agent": "b", "reason": "why", "exit_status": 1}, ""),
    ("edit", {"id": "late", "delay": 90_000, "priority": "low"}, ""),
    ("edit", {"id": "late", "delay": 0}, ""),
    ("claim", {"agent": "b", "id": "late"}, ""),
    ("release", {"id": "late", "agent": "b", "delay": 90_000}, ""),
    ("claim", {"agent": "b", "id": "late"}, "conflict"),
    ("cancel", {"id": "late", "reason": "why"}, ""),
    ("cancel", {"id": "late"}, "bad_state"),
    ("cancel", {"group": "g"}, ""),
    ("clear", {"queue": "q", "older": 90_000, "held": True, "reason": "why"}, ""),
    ("clear", {"queue": "q", "state": ["done"]}, "bad_request"),
    ("clear", {"queue": "nosuch"}, "not_found"),
    ("claim_new", {"agent": "b", "group": "h"} | WORK, ""),
    ("submit", WORK | {"after": [6], "group": "h"}, ""),
    ("bury", {"id": 6, "agent": "b", "reason": "why"}, ""),
    ("show", {"id": 7}, ""),
    ("wait", {"group": "h", "timeout": 1}, "timeout"),
    ("wait", {"ids": [6], "timeout": 1}, ""),
    ("kick", {"id": 6}, ""),
    ("kick", {"queue": "q"}, ""),
    ("kick", {"id": 6}, "bad_state"),
    ("list", {"all": True}, ""),
    ("list", {"state": ["ready"], "limit": 1}, ""),
    ("count", {}, ""),
    ("count", {"by": "agent"}, ""),
    ("agents", {}, ""),
    ("quiet", {"agent": "a"}, ""),
    ("claim", {"agent": "a"}, "capacity"),
    ("wake", {"agent": "a"}, ""),
    ("evict", {"agent": "a"}, ""),
    ("queue_set", {"queue": "q", "closed": True} | LIMITS, ""),
    ("submit", WORK | {"queue": "q"}, "queue_closed"),
    ("pause", {"queue": "q", "reason": "why", "lasts": 900_000}, ""),
    ("pause", {"queue": "q", "lasts": 0}, "bad_request"),
    ("claim", {"agent": "b", "queue": "q"}, "empty"),
    ("queues", {}, ""),
    ("queues", {"stats": True}, ""),
    ("explain", {"queue": "q"}, ""),
    ("explain", {"id": 2, "agent": "b"}, ""),
    ("explain", {"agent": "b"}, ""),
    ("explain", {"agent": "nobody"}, "not_found"),
    ("pause", {"all": True, "hard": True}, ""),
    ("heartbeat", {"agent": "b"}, ""),
    ("status", {}, ""),
    ("dashboard", {}, ""),
    ("dashboard", {"queues": 0, "agents": 1001}, "bad_request"),
    ("heartbeat", {"agent": "b", "relaxed": True}, ""),
    ("stats", {}, ""),
    ("stats", {"section": "wal"}, ""),
    ("stats", {"section": "nosuch"}, "not_found"),
    ("health", {}, ""),
    ("config", {}, ""),
    ("config", {"names": ["lease"]}, ""),
    ("config", {"names": ["leese"]}, "not_found"),
    ("config_set", {"values": {"LEASE": "10m"}}, ""),
    ("config_set", {"values": {"LEASE": "10m"}, "persist": True}, ""),
    ("config_set", {"values": {"LEASE": "soon"}}, "bad_request"),
    ("config_set", {"values": {"LEASE": "25h"}}, "conflict"),
    ("config_set", {"values": {"FRAME_MAX": "2M"}}, "conflict"),
    ("config_set", {"values": {}}, "bad_request"),
    ("config_unset", {"names": ["LEASE"]}, ""),
    ("config_unset", {"names": ["LEASE"]}, "not_found"),
    ("reload", {}, ""),
    ("reload", {"unset": ["LEASE"]}, ""),
    ("resume", {"all": True}, ""),
    ("resume", {"queue": "q"}, ""),
    ("watch", {"since": 0}, ""),
    ("watch", {"since": 2, "ids": ["r", 2], "limit": 3}, ""),
    ("watch", {"queue": ["q"], "timeout": 1}, ""),
    ("watch", {"since": 1 << 40}, "position_gone"),
    ("lock", {"agent": "a", "name": "l", "watch": True}, ""),
    ("lock", {"agent": "b", "name": "l"}, "timeout"),
    ("list", {"queue": ["@lock"]}, ""),
    ("agents", {"agent": "a"}, ""),
    ("unlock", {"name": "l", "agent": "b"}, "not_holder"),
    ("unlock", {"name": "l", "agent": "a"}, ""),
    ("unlock", {"name": "l", "agent": "a"}, "lease_lost"),
    ("submit", WORK | {"queue": "@lock"}, "bad_request"),
    ("history", {"ids": ["r", 2]}, ""),
    ("history", {"ids": [2], "since": 9, "limit": 1}, ""),
    ("history", {"ids": [99]}, "not_found"),
    ("status", {"key": "k"}, "bad_request"),
    ("import", {"run": "r1", "rows": [["item", OLD], ["agent", {"agent": "old"}], ["queue", {"queue": "z"}]]}, ""),
    ("import", {"run": "r2", "claimed": "ready", "rows": [["item", OLD | {"note": "n"}], ["item", {}]]}, ""),
    ("import", {"run": "r3", "rows": 5}, "bad_request"),
    ("show", {"id": "old"}, ""),
    ("export", {}, ""),
    ("export", {"state": ["done"], "after": "item:5"}, ""),
    ("export", {"after": "item:x"}, "bad_request"),
    ("journal", {"want": "list"}, ""),
    ("journal", {"want": "check", "digest": True, "measure": False}, ""),
    ("journal", {"want": "archive", "dry_run": True}, ""),
    ("journal", {"want": "upgrade"}, ""),
    ("journal", {"want": "backup", "stream": 99}, "not_found"),
    ("journal", {"want": "secrets"}, "bad_request"),
    ("snapshot", {"wait": 60_000}, ""),
    ("snapshot", {"upto": 1 << 40}, "position_gone"),
    ("batch", {"commands": [["snapshot", {}]]}, ""),
    ("reindex", {}, ""),
    ("nothing", {}, "unknown_verb"),
]

OBJECTS = {found.title: items_of(found.lines) for found in sections(page("swarmsh-protocol.7")) if found.title}

INT, TEXT = (lambda v: type(v) is int), (lambda v: type(v) is str)
CHECKS = {
    **dict.fromkeys(("int", "ms", "time", "percent"), INT),
    **dict.fromkeys(("text", "name", "word"), TEXT),
    "priority": protocol.PRIORITIES.__contains__,
    "number": lambda v: type(v) in (int, float),
    "bool": lambda v: type(v) is bool,
    "bytes": lambda v: type(v) is bytes,
    "map": lambda v: type(v) is dict,
    "list": lambda v: type(v) is list,
    "ids": lambda v: type(v) is list and all(map(INT, v)),
    **dict.fromkeys(("names", "words"), lambda v: type(v) is list and all(map(TEXT, v))),
}


def check_fields(what: str, found: dict[str, Any], described: Fields) -> None:
    """Everything that is there is described, and everything described without a condition is there."""
    assert found.keys() <= described.keys(), what
    for name, (rest, below) in described.items():
        kind, comma, _ = rest.partition(" , ")
        assert name in found or comma, f"{what}: {name}"
        if name in found:
            assert CHECKS[kind](found[name]), f"{what}: {name}: {found[name]!r} is not of kind {kind}"
        within = re.search(r"^Each an?$\n^\.Sx (.*?)(?: [.,;])?$", "\n".join(below), re.MULTILINE)
        for element in found.get(name, ()) if within else ():
            assert within
            check_fields(f"{what}: {name}", element, OBJECTS[within[1]])


def test_every_field_of_every_event_is_described():
    told = [tell(1, 2, (1000, 7, event), {1: Place("q", "t", "g")}.get, EVERYTHING) for event in SAMPLES]
    known: set[str] = set()
    for fields in told:
        assert fields is not None
        check_fields(fields["event"], fields, OBJECTS["Event"])
        known |= fields.keys()
    assert known == OBJECTS["Event"].keys()
    words = re.findall(
        r"\b[a-z_]+", "\n".join(line[4:] for line in OBJECTS["Event"]["event"][1] if line.startswith(".Li "))
    )
    assert set(words) == {fields["event"] for fields in told if fields is not None}


def check_result(verb: str, found: dict[str, Any]) -> None:
    lines = parts_of(verb_sections()[verb])[1]
    whole = re.match(r"^Result: an?\n\.Sx (\w+)", "\n".join(lines))
    check_fields(verb, found, OBJECTS[whole[1]] if whole else items_of(lines))


def take_step(wire: Wire, verb: str, arguments: dict[str, Any], code: str) -> None:
    descriptors = [os.pidfd_open(os.getpid())] if arguments.get("watch") else []
    try:
        result = wire.call(verb, descriptors, **arguments)
    except Refused as refused:
        assert refused.code == code, f"{verb} {arguments}: {refused}"
        assert refused.facts["retryable"] == CODES[code][1]
        known = set(re.findall(r"\bFa (\w+)", page("swarmsh-protocol.7")))
        assert refused.facts.keys() <= known
    else:
        assert not code, f"{verb} {arguments}: {result}"
        check_result(verb, result)
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.real
def test_a_real_daemon_takes_the_examples_and_answers_every_verb_as_described(daemon):
    with daemon.wire() as wire:
        for request, reply in zip(example_bytes("request"), example_bytes("reply"), strict=True):
            wire.send_bytes(request)
            assert framed(wire.receive()) == reply
        (program,) = examples(page("swarmsh-protocol.7"), "program")
        command = [sys.executable, "-c", program, daemon.socket]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        assert ran.stdout == "Make it\n"
        for verb, arguments, code in STEPS:
            take_step(wire, verb, arguments, code)
    assert {verb for verb, _, code in STEPS if not code} == protocol.VERBS.keys()
