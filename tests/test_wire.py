"""The wire, spoken to a real daemon: any split of any frames, pipelining, the end of a stream, descriptors."""

import os
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import daemons, until
from tests.wire import Refused, framed

pytestmark = pytest.mark.real

REQUESTS = [
    ("status", {}),
    ("show", {"id": 987654321}),
    ("nonsense", {}),
    ("submit", {"type": "t", "description": "d" * 300, "queue": "splits"}),
    ("submit", {"type": "t", "description": 5}),
    ("count", {"queue": ["nowhere"]}),
    ("batch", {"commands": [["count", {}], ["show", {"id": "x y"}]]}),
]
CODES = [0, "not_found", "unknown_verb", 0, "bad_request", 0, 0]


@pytest.fixture(scope="module", name="daemon")
def one_daemon_for_all():
    with tempfile.TemporaryDirectory(prefix="swarmsh-") as name, daemons(Path(name)) as make:
        yield make().start()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.sampled_from(range(len(REQUESTS))), min_size=1, max_size=12), data=st.data())
def test_any_split_of_any_frames(daemon, order, data):
    stream = b"".join(framed([number, *REQUESTS[which]]) for number, which in enumerate(order, 1))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=20)))
    with daemon.wire() as wire:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            wire.send_bytes(stream[start:end])
        answers = wire.answers(len(order))
    assert {n: code for n, (code, _) in answers.items()} == {n: CODES[which] for n, which in enumerate(order, 1)}


def test_one_byte_at_a_time(daemon):
    stream = b"".join(framed([number, *request]) for number, request in enumerate(REQUESTS))
    with daemon.wire() as wire:
        for at in range(len(stream)):
            wire.send_bytes(stream[at : at + 1])
        assert [code for _, (code, _) in sorted(wire.answers(len(REQUESTS)).items())] == CODES


def test_thousands_of_frames_in_one_write_are_each_answered_once(daemon):
    stream = b"".join(framed([n, "submit", {"type": "t", "description": "d"}]) for n in range(5000))
    with daemon.wire() as wire:
        wire.socket.setblocking(True)
        writer = os.fork()
        if not writer:
            wire.socket.sendall(stream)
            os._exit(0)
        answers = wire.answers(5000)
        os.waitpid(writer, 0)
    assert sorted(answers) == list(range(5000))
    assert len({result["id"] for _, result in answers.values()}) == 5000


def test_a_waiting_claim_does_not_hold_up_what_comes_after_it(daemon):
    with daemon.wire() as wire:
        waits = wire.send("claim", agent="a", queue=["later"], wait=20_000)
        looks = wire.send("count")
        assert wire.receive()[0] == looks
        puts = wire.send("submit", type="t", description="d", queue="later")
        answers = wire.answers(2)
        assert answers[puts][0] == answers[waits][0] == 0


def test_who_shuts_his_side_still_gets_what_he_asked_for(daemon):
    with daemon.wire() as wire:
        wire.send("submit", type="t", description="d")
        wire.send("claim", agent="a", queue=["elsewhere"], wait=300)
        wire.send_bytes(framed([9, "status", {}])[:-3])  # and half a frame that nobody will finish
        wire.socket.shutdown(socket.SHUT_WR)
        answers = wire.answers(2)
        assert [answers[1][0], answers[2][0]] == [0, "empty"]
        with pytest.raises(EOFError):
            wire.receive()


def test_what_came_before_a_giant_frame_is_answered(daemon):
    with daemon.wire() as wire:
        wire.send_bytes(
            framed([1, "submit", {"type": "t", "description": "d", "queue": "giant"}])
            + struct.pack(">I", 1 << 31)
            + b"x" * 99
        )
        answers = wire.answers(2)
        assert answers[1][0] == 0
        code, facts = answers[0]
        assert code == "too_large"
        assert facts["limit"] == 1 << 20
        assert wire.closed()
    assert daemon.call("count", queue=["giant"])["count"] == 1


def test_the_largest_frame_passes_and_one_byte_more_does_not(daemon):
    empty = len(cbor2.dumps([1, "submit", {"type": "t", "description": "", "payload": b""}]))
    for size in (1 << 20, (1 << 20) + 1):
        with daemon.wire() as wire:
            body = cbor2.dumps([1, "submit", {"type": "t", "description": "", "payload": b"x" * (size - empty - 4)}])
            assert len(body) == size
            wire.send_bytes(struct.pack(">I", len(body)))
            if size > 1 << 20:
                assert wire.receive()[1] == "too_large"
                continue
            wire.send_bytes(body)
            _, code, facts = wire.receive()
            assert (code, facts["name"]) == ("too_large", "payload")  # the rules' limit, not the wire's


def test_hello_states_what_both_sides_are(daemon):
    with daemon.wire() as wire:
        said = wire.call("hello", version=1, program="test")
        assert said["protocol"] == 1
        assert said["program"].startswith("swarmshd ")
        assert said["you"] == {"uid": os.getuid(), "pid": os.getpid(), "classes": ["admin", "read", "work"]}
        assert said["limits"]["frame_max"] == 1 << 20
        assert said["epoch"] >= 1
        with pytest.raises(Refused, match="protocol 2") as refused:
            wire.call("hello", version=2)
        assert refused.value.code == "version"
        wire.call("status")  # and it goes on


# -- descriptors ---------------------------------------------------------------------------------------


def sleeper():
    process = subprocess.Popen(["sleep", "600"])
    return process, os.pidfd_open(process.pid)


@pytest.fixture
def two_processes():
    found = [sleeper(), sleeper()]
    yield found
    for process, descriptor in found:
        process.kill()
        process.wait()
        os.close(descriptor)


@pytest.mark.parametrize(
    "bad",
    [
        {"agent": "a", "watch": True, "nonsense": 1},
        {"agent": "a", "watch": True, "count": "5"},
        {"agent": 5, "watch": True},
    ],
)
def test_a_refused_command_takes_its_descriptor_with_it(daemon, two_processes, bad):
    (_, first), (second_process, second) = two_processes
    with daemon.wire() as wire:
        wire.send_bytes(framed([1, "claim", bad]), [first])
        assert wire.receive()[1] == "bad_request"
        wire.call("submit", type="t", description="d", queue="watched")
        (item,) = wire.call("claim", [second], agent="a", queue=["watched"], watch=True)["items"]
        assert wire.call("show", id=item["id"])["watching"] == second_process.pid


def test_in_a_batch_each_line_gets_its_own_descriptor(daemon, two_processes):
    (one_process, one), (two_process, two) = two_processes
    with open(os.devnull) as null, daemon.wire() as wire:
        commands = [
            ["register", {"agent": "one", "watch": True}],
            ["register", {"agent": "bad", "watch": True, "slots": "x"}],
            ["register", {"agent": "null", "watch": True}],
            ["register", {"agent": "two", "watch": True}],
            ["register", {"agent": "none", "watch": True}],
            ["register", {"agent": "plain"}],
        ]
        replies = wire.call("batch", [one, two, null.fileno(), two], commands=commands)["replies"]
        assert [code for code, _ in replies] == [0, "bad_request", "bad_request", 0, "bad_request", 0]
        watching = {agent["agent"]: agent.get("watching") for agent in wire.call("agents")["agents"]}
        assert watching.items() >= {"one": one_process.pid, "two": two_process.pid, "plain": None}.items()
        assert not watching.keys() & {"bad", "null", "none"}


def test_a_descriptor_that_no_command_asks_for_is_not_kept_for_the_next(daemon, two_processes):
    (_, stray), _ = two_processes
    with daemon.wire() as wire:
        wire.call("count", [stray])
        with pytest.raises(Refused, match="no process descriptor came"):
            wire.call("register", agent="a", watch=True)
        before = daemon.pidfds()
        for _ in range(50):
            wire.call("count", [stray])
        assert daemon.pidfds() == before


def test_what_is_no_process_is_refused(daemon):
    pipe = os.pipe()
    with daemon.wire() as wire:
        for descriptor in (pipe[0], pipe[1], wire.socket.fileno()):
            with pytest.raises(Refused, match="not a pidfd"):
                wire.call("register", [descriptor], agent="a", watch=True)
    for descriptor in pipe:
        os.close(descriptor)


def test_the_pidfd_of_a_dead_process_is_refused(daemon):
    for waited_for in (False, True):
        process, descriptor = sleeper()
        process.kill()
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | (0 if waited_for else os.WNOWAIT))
        with daemon.wire() as wire, pytest.raises(Refused, match="exited already"):
            wire.call("register", [descriptor], agent="a", watch=True)
        process.wait()
        os.close(descriptor)


def test_too_many_stray_descriptors_close_the_connection(daemon, two_processes):
    (_, descriptor), _ = two_processes
    before = daemon.pidfds()
    for sends in ([[descriptor] * 17], [[descriptor] * 10, [descriptor] * 10]):
        with daemon.wire() as wire:
            for descriptors in sends:
                wire.send_bytes(b"\0", descriptors)  # an unfinished frame, so that they may still be needed
            assert wire.closed()
    until(lambda: daemon.pidfds() <= before, "they are closed")
