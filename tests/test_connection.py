"""The client's connections against a real Unix socket whose other end follows a script."""

import array
import contextlib
import functools
import os
import pickle
import pwd
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
import trio

from swarmctl import identity
from swarmctl.aio.connection import Connection as AwaitedConnection
from swarmctl.connection import (
    Busy,
    Conflict,
    Connection,
    Denied,
    Empty,
    LeaseLost,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unreachable,
    find_socket,
    mint_key,
    places,
    refusal,
)
from swarmshd import protocol

pytestmark = pytest.mark.slow


class Peer:
    """The daemon's end of one connection."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.decoder = protocol.Decoder()
        self.bodies: list[bytes] = []
        self.descriptors: list[int] = []

    def read(self) -> tuple[int, str, dict[str, Any]]:
        """The next request; EOFError when the client hung up."""
        while not self.bodies:
            data, ancillary, _, _ = self.socket.recvmsg(1 << 16, socket.CMSG_SPACE(64))
            if not data:
                raise EOFError
            for _, _, rights in ancillary:
                found = array.array("i")
                found.frombytes(rights)
                self.descriptors.extend(found)
            self.bodies += self.decoder.feed(data)
        number, verb, arguments = cbor2.loads(self.bodies.pop(0))
        return number, verb, arguments

    def send(self, *reply: object) -> None:
        self.socket.sendall(protocol.frame(cbor2.dumps(list(reply))))


Script = Callable[[Peer], object]


class Daemon:
    """Accepts one connection after another; each is handled by the next script, then closed."""

    def __init__(self, path: str, *scripts: Script, backlog: int = 16) -> None:
        self.path = path
        self.faults: list[BaseException] = []
        self.peer: Peer | None = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(backlog)
        self.thread = threading.Thread(target=self.run, args=scripts)
        self.thread.start()

    def run(self, *scripts: Script) -> None:
        try:
            for script in scripts:
                with self.listener.accept()[0] as connected:
                    peer = self.peer = Peer(connected)
                    with contextlib.suppress(EOFError):
                        script(peer)
                    for descriptor in peer.descriptors:
                        os.close(descriptor)
        except BaseException as fault:  # noqa: BLE001 - told to the test by `done`
            self.faults.append(fault)
        finally:
            self.listener.close()

    def done(self) -> None:
        self.thread.join(5)
        if self.thread.is_alive():
            self.listener.shutdown(socket.SHUT_RDWR)
            if self.peer is not None:
                with contextlib.suppress(OSError):
                    self.peer.socket.shutdown(socket.SHUT_RDWR)
            self.thread.join()
            pytest.fail("the client did not use every connection that the script has")
        os.unlink(self.path)
        if self.faults:
            raise self.faults[0]


class Awaited:
    """The connection for trio, called like the blocking one: each call is a run of trio of its own."""

    def __init__(self, path: str, timeout: float = 30.0) -> None:
        self.connection = AwaitedConnection(path, timeout)

    def call(self, verb: str, arguments: dict[str, object], **options: Any) -> dict[str, Any]:
        return trio.run(functools.partial(self.connection.call, verb, arguments, **options))

    def fileno(self) -> int:
        line = self.connection._line
        return -1 if line is None else line._socket.fileno()

    def close(self) -> None:
        self.connection.close()


Connect = Callable[..., Connection | Awaited]


@pytest.fixture(params=[Connection, Awaited])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    made: list[Connection | Awaited] = []

    def begin(*arguments: Any, **options: Any) -> Connection | Awaited:
        made.append(request.param(*arguments, **options))
        return made[-1]

    yield begin
    for connection in made:
        connection.close()


Start = Callable[..., Daemon]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "swarmsh.sock")


@pytest.fixture
def start(path: str) -> Iterator[Start]:
    daemons: list[Daemon] = []

    def begin(*scripts: Script) -> Daemon:
        daemons.append(Daemon(path, *scripts))
        return daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.done()


def answer(peer: Peer) -> None:
    """Answer every request with its arguments."""
    while True:
        number, _, arguments = peer.read()
        peer.send(number, 0, arguments)


def hang_up(peer: Peer) -> None:
    """Take a request and go."""
    peer.read()


def say(code: str, **facts: object) -> Script:
    def script(peer: Peer) -> None:
        while True:
            peer.send(peer.read()[0], code, {"message": f"it is {code}", "retryable": True, **facts})

    return script


def say_once(code: str) -> Script:
    return lambda peer: peer.send(peer.read()[0], code, {"message": f"it is {code}", "retryable": True})


# -- one call ------------------------------------------------------------------------------------------


def test_a_call_is_answered(start: Start, connect: Connect, path: str) -> None:
    start(answer)
    connection = connect(path)
    assert connection.fileno() == -1
    for value in (1, "x" * 300_000, b"\0", [1, {"a": None}]):
        assert connection.call("show", {"id": value}) == {"id": value}
    assert connection.fileno() > 0


def test_a_refusal_is_raised_with_its_facts(start: Start, connect: Connect, path: str) -> None:
    start(say("lease_lost", holder="a7", since=7))
    connection = connect(path)
    with pytest.raises(LeaseLost, match="it is lease_lost") as caught:
        connection.call("complete", {"id": 1})
    assert caught.value.facts["holder"] == "a7"
    assert (caught.value.code, caught.value.exit) == ("lease_lost", 5)
    with pytest.raises(Conflict):
        connection.call("complete", {"id": 1})


def test_each_code_has_its_class() -> None:
    by_exit = {4: NotFound, 5: Conflict, 75: Busy, 77: Denied}
    special = {"empty": Empty, "lease_lost": LeaseLost, "cancelled": LeaseLost, "outcome_unknown": OutcomeUnknown}
    for code, (status, retryable, meaning) in protocol.CODES.items():
        made = refusal(code, {})
        assert type(made) is special.get(code, by_exit.get(status, Refused))
        assert (made.code, made.exit, made.retryable, str(made)) == (code, status, retryable, meaning)
        again = pickle.loads(pickle.dumps(made))
        assert type(again) is type(made)
        assert again.facts == made.facts
    stranger = refusal("a_code_of_next_year", {"message": "no", "retryable": True})
    assert (stranger.exit, stranger.retryable, str(stranger)) == (1, True, "no")
    assert refusal("unreachable", {}).exit == 69


def test_keys_are_names_and_marked_as_minted() -> None:
    keys = {mint_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(protocol.is_name(key) and key.startswith(protocol.MINTED_PREFIX) for key in keys)


# -- when the daemon goes away -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [("status", {}), ("show", {"id": 3}), ("heartbeat", {"agent": "a"}), ("submit", {"type": "t", "key": "k"})],
)
def test_what_may_be_repeated_is_repeated_after_the_connection_broke(
    start: Start, connect: Connect, path: str, verb: str, arguments: dict[str, object]
) -> None:
    start(hang_up, lambda peer: peer.socket.close(), say_once("draining"), say_once("busy"), answer)
    connection = connect(path)
    assert connection.call(verb, arguments) == arguments


def test_it_waits_for_a_daemon_that_is_away(start: Start, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarmctl.connection.PATIENCE", 0)
    told: list[str] = []

    def begin(sentence: str) -> None:
        told.append(sentence)
        start(answer)

    connection = Connection(path)
    connection.waiting = begin  # the first attempt has failed by then
    assert connection.call("submit", {"key": "k"}) == {"key": "k"}
    assert len(told) == 1
    assert path in told[0]
    connection.close()


def test_a_dead_socket_is_waited_for(start: Start, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarmctl.connection.PATIENCE", 0)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()  # what a daemon that was killed leaves: connection refused

    def begin(sentence: str) -> None:
        assert "refused" in sentence
        os.unlink(path)
        start(answer)

    connection = Connection(path)
    connection.waiting = begin
    assert connection.call("status", {}) == {}
    connection.close()


def test_a_change_without_a_key_is_never_sent_twice(start: Start, connect: Connect, path: str) -> None:
    start(hang_up, answer)
    connection = connect(path)
    with pytest.raises(OutcomeUnknown, match="may or may not have happened") as caught:
        connection.call("submit", {"type": "t"})
    assert caught.value.exit == 75
    assert "key" not in caught.value.facts
    assert connection.call("status", {}) == {}


@pytest.mark.parametrize("code", ["draining", "busy"])
def test_a_change_without_a_key_that_was_turned_away_is_sent_again(
    start: Start, connect: Connect, path: str, code: str
) -> None:
    start(say_once(code), answer)
    connection = connect(path)
    assert connection.call("submit", {"type": "t"}) == {"type": "t"}


def test_the_same_key_is_sent_again_and_named_when_time_is_over(start: Start, connect: Connect, path: str) -> None:
    seen: list[dict[str, object]] = []

    def silent(peer: Peer) -> None:
        seen.append(peer.read()[2])
        peer.read()

    def taken(peer: Peer) -> None:
        seen.append(peer.read()[2])

    start(taken, silent)
    connection = connect(path, timeout=0.2)
    with pytest.raises(OutcomeUnknown, match="--key k7") as caught:
        connection.call("submit", {"type": "t", "key": "k7"})
    assert caught.value.facts["key"] == "k7"
    assert seen == [{"type": "t", "key": "k7"}] * 2
    assert connection.fileno() == -1  # an answer that comes now is for nobody


def test_a_read_without_an_answer_says_that_it_was_connected(start: Start, connect: Connect, path: str) -> None:
    start(lambda peer: (peer.read(), peer.read()))
    with pytest.raises(Unreachable, match=r"connected, no answer in 0\.1 s") as caught:
        connect(path, timeout=0.1).call("status", {})
    assert caught.value.exit == 69


def test_a_refusal_that_stays_is_what_is_reported(start: Start, connect: Connect, path: str) -> None:
    start(say("busy", next="later"))
    connection = connect(path, timeout=0.1)
    with pytest.raises(Busy, match="it is busy") as caught:
        connection.call("submit", {"key": "k"})
    assert caught.value.facts["next"] == "later"


def test_without_a_daemon_the_deadline_ends_it(connect: Connect, path: str) -> None:
    with pytest.raises(Unreachable, match="no such file") as caught:
        connect(path, timeout=0.05).call("submit", {"key": "k"})
    assert caught.value.facts["tried"] == [[path, "no such file"]]


def test_a_daemon_that_accepts_nobody_is_not_waited_for_beyond_the_deadline(connect: Connect, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(path)
        listener.listen(0)
        other.connect(path)  # the backlog is full now
        with pytest.raises(Unreachable, match="unavailable"):
            connect(path, timeout=0.05).call("status", {})


# -- waiting calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "argument"), [("claim", "wait"), ("wait", "timeout")])
def test_a_waiting_call_resumes_with_what_is_left(
    start: Start, connect: Connect, path: str, verb: str, argument: str
) -> None:
    seen: list[int] = []

    def note(peer: Peer) -> None:
        number, _, arguments = peer.read()
        seen.append(arguments[argument])
        if len(seen) == 3:
            peer.send(number, 0, {})

    start(note, note, note)
    connection = connect(path)
    connection.call(verb, {"key": "k"}, wait_ms=60_000)
    assert seen[0] == 60_000 >= seen[0] > seen[1] > seen[2] > 0


def test_a_call_that_need_not_wait_says_so(start: Start, connect: Connect, path: str) -> None:
    start(answer)
    connection = connect(path)
    assert connection.call("claim", {}, wait_ms=0) == {"wait": 0}


def test_the_wait_comes_on_top_of_the_timeout(start: Start, connect: Connect, path: str) -> None:
    def late(peer: Peer) -> None:
        number, *_ = peer.read()
        assert not select.select([peer.socket], [], [], 0.3)[0]  # longer than the timeout, shorter than the wait
        peer.send(number, 0, {})

    start(late)
    connection = connect(path, timeout=0.1)
    assert connection.call("claim", {}, wait_ms=60_000) == {}


def test_an_interrupted_call_hangs_up(start: Start, path: str) -> None:
    class Stop(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Stop

    def leave(peer: Peer) -> None:
        peer.read()
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(EOFError):
            peer.read()

    start(leave, answer)
    before = signal.signal(signal.SIGUSR1, interrupt)
    connection = Connection(path)
    try:
        with pytest.raises(Stop):
            connection.call("claim", {"key": "k"}, wait_ms=50_000)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert connection.outstanding == 0
    assert connection.call("status", {}) == {}
    connection.close()


# -- descriptors ---------------------------------------------------------------------------------------


def test_descriptors_arrive_with_their_frame_and_again_on_a_retry(start: Start, connect: Connect, path: str) -> None:
    seen: list[int] = []

    def look(peer: Peer) -> int:
        number, *_ = peer.read()
        (descriptor,) = peer.descriptors
        with open(f"/proc/self/fdinfo/{descriptor}") as file:
            seen.extend(int(line.split()[1]) for line in file if line.startswith("Pid:"))
        return number

    start(look, lambda peer: peer.send(look(peer), 0, {}))
    descriptor = identity.open_pidfd(os.getpid())
    connection = connect(path)
    connection.call("claim", {"agent": "a", "watch": True, "key": "k", "pad": "x" * 500_000}, fds=[descriptor])
    assert seen == [os.getpid()] * 2
    os.fstat(descriptor)  # still the caller's
    os.close(descriptor)


def test_descriptors_of_pipelined_requests_keep_their_order(start: Start, path: str) -> None:
    pipes = [os.pipe() for _ in range(3)]

    def look(peer: Peer) -> None:
        numbers = [peer.read()[0] for _ in range(5)]
        for text, descriptor in zip("abc", peer.descriptors, strict=True):
            os.write(descriptor, text.encode())
        for number in numbers:
            peer.send(number, 0, {})

    start(look)
    connection = Connection(path)
    watched = [("hold", {"id": n, "key": f"k{n}"}, [write]) for n, (_, write) in enumerate(pipes)]
    plain: tuple[str, dict[str, object], list[int]] = ("status", {}, [])
    connection.send([plain, watched[0], watched[1], plain, watched[2]])
    for _ in range(5):
        connection.receive()
    assert [os.read(read, 10) for read, _ in pipes] == [b"a", b"b", b"c"]
    for pipe in pipes:
        for descriptor in pipe:
            os.close(descriptor)
    connection.close()


# -- many in flight ------------------------------------------------------------------------------------


def test_replies_come_in_any_order(start: Start, path: str) -> None:
    def backwards(peer: Peer) -> None:
        for number, _, arguments in reversed([peer.read() for _ in range(10)]):
            if arguments["n"] == 4:
                peer.send(number, "not_found", {"message": "no 4", "retryable": False})
            else:
                peer.send(number, 0, arguments)

    start(backwards)
    connection = Connection(path)
    numbers = connection.send([("show", {"n": n}, ()) for n in range(10)])
    assert connection.outstanding == 10
    replies = dict(connection.receive() for _ in range(10))
    assert [n for n in range(10) if replies[numbers[n]] != {"n": n}] == [4]
    assert isinstance(replies[numbers[4]], NotFound)
    assert connection.outstanding == connection.ready == 0
    with pytest.raises(LookupError):
        connection.receive()
    connection.close()


def test_what_was_in_flight_when_the_daemon_died_is_sent_again(start: Start, path: str) -> None:
    seen: list[int] = []

    def half(peer: Peer) -> None:
        for _ in range(4):
            number, _, arguments = peer.read()
            if arguments["n"] in (0, 2):
                peer.send(number, 0, arguments)

    def rest(peer: Peer) -> None:
        while True:
            number, _, arguments = peer.read()
            seen.append(arguments["n"])
            peer.send(number, 0, arguments)

    start(half, rest)
    connection = Connection(path)
    numbers = connection.send([("complete", {"n": n} if n == 3 else {"n": n, "key": f"k{n}"}, ()) for n in range(4)])
    replies = dict(connection.receive() for _ in range(4))
    assert [replies[number] for number in numbers[:3]] == [{"n": n, "key": f"k{n}"} for n in range(3)]
    assert isinstance(replies[numbers[3]], OutcomeUnknown)  # it carried no key
    assert seen == [1]
    connection.close()


def test_a_daemon_that_drains_finishes_what_it_took(start: Start, path: str) -> None:
    def drain(peer: Peer) -> None:
        first, second, third = (peer.read() for _ in range(3))
        peer.send(second[0], "draining", {"message": "stopping", "retryable": True})
        peer.send(first[0], 0, {"from": 1})
        peer.send(third[0], 0, {"from": 1})
        with pytest.raises(EOFError):
            peer.read()

    start(drain, lambda peer: peer.send(peer.read()[0], 0, {"from": 2}))
    connection = Connection(path)
    numbers = connection.send([("complete", {"id": n}, ()) for n in range(3)])  # without keys
    replies = dict(connection.receive() for _ in range(3))
    assert [replies[number] for number in numbers] == [{"from": 1}, {"from": 2}, {"from": 1}]
    connection.close()


def test_a_call_between_keeps_the_others_replies(start: Start, path: str) -> None:
    start(answer)
    connection = Connection(path)
    numbers = connection.send([("show", {"n": n}, ()) for n in range(3)])
    assert connection.call("status", {"x": 1}) == {"x": 1}
    assert dict(connection.receive() for _ in range(3)) == {number: {"n": n} for n, number in enumerate(numbers)}
    connection.close()


def test_receive_may_be_given_up_and_taken_up_again(start: Start, path: str) -> None:
    go = threading.Event()

    def later(peer: Peer) -> None:
        number, *_ = peer.read()
        assert go.wait(10)
        peer.send(number, 0, {})

    start(later)
    connection = Connection(path)
    (number,) = connection.send([("status", {}, ())])
    for timeout in (0, 0.02):
        with pytest.raises(TimeoutError):
            connection.receive(timeout=timeout)
    go.set()
    assert connection.receive(timeout=10) == (number, {})
    connection.close()


def test_replies_are_taken_while_a_long_request_leaves(start: Start, path: str) -> None:
    """Both sides with full buffers would wait for each other for ever."""
    big = "x" * 900_000

    def greedy(peer: Peer) -> None:
        for _ in range(8):  # reads the next only after its reply was taken
            number, _, arguments = peer.read()
            peer.send(number, 0, arguments)

    start(greedy)
    connection = Connection(path)
    connection.send([("show", {"text": big}, ()) for _ in range(8)])
    for _ in range(8):
        assert connection.receive()[1] == {"text": big}
    connection.close()


# -- who answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\x05hello",
        b"\0\0\0\x01\x80",
        b"\0\0\0\x03\x82\x01\x00",
        b"\0\0\0\x04\x83\x01\x00\x01",
        b"\0\0\0\x04\x83\x80\x00\xa0",
        b"\0\0\0\x05\x83\x61a\x00\xa0",
        b"\0\0\0\x02\xa0\x00",
        b"\xff\xff\xff\xff",
    ],
)
def test_another_programs_socket_is_told_apart(start: Start, connect: Connect, path: str, garbage: bytes) -> None:
    def babble(peer: Peer) -> None:
        peer.read()
        peer.socket.sendall(garbage)

    start(babble)
    with pytest.raises(Unreachable, match="does not speak our protocol") as caught:
        connect(path).call("status", {})
    assert not caught.value.retryable


def test_a_daemon_without_a_place_is_tried_again(start: Start, connect: Connect, path: str) -> None:
    def full(peer: Peer) -> None:
        peer.send(0, "busy", {"message": "4096 connections", "retryable": True})

    start(full, full, answer)
    connection = connect(path)
    assert connection.call("submit", {"type": "t"}) == {"type": "t"}  # without a key: nothing had happened


def test_a_frame_that_is_too_large_ends_only_itself(start: Start, path: str) -> None:
    def strict(peer: Peer) -> None:
        peer.decoder = protocol.Decoder(1000)
        try:
            answer(peer)
        except protocol.FrameTooLarge as error:
            peer.send(0, "too_large", {"message": str(error), "retryable": False, "limit": 1000, "name": "frame"})

    start(strict, strict)
    connection = Connection(path)
    numbers = connection.send([("submit", {"key": "k", "t": "x" * n}, ()) for n in (10, 5000, 20)])
    replies = dict(connection.receive() for _ in range(3))
    assert [getattr(replies[number], "code", 0) for number in numbers] == [0, "too_large", 0]
    connection.close()


def test_the_daemon_of_another_user_is_not_believed(
    start: Start, connect: Connect, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(lambda peer: peer.socket.recv(1))
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr("swarmctl.connection.places.os.access", lambda *_, **__: True)
    if os.getuid() == 0:  # root's daemon is believed by everybody: let it be nobody's
        monkeypatch.setattr("swarmctl.connection.places._CREDENTIALS", _Uid(65534))
    with pytest.raises(Unreachable, match="a socket that is not ours") as caught:
        connect(path).call("status", {})
    assert caught.value.exit == 69


class _Uid:
    """Reads as credentials of this uid, whatever the kernel says: tests cannot change the user they run as."""

    size = 12

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def unpack(self, data: bytes) -> tuple[int, int, int]:
        assert len(data) == self.size
        return 1, self.uid, 1


# -- processes -----------------------------------------------------------------------------------------


def test_a_forked_child_does_not_read_its_parents_replies(start: Start, path: str) -> None:
    start(answer, answer)
    connection = Connection(path)
    connection.call("show", {"who": "parent"})
    (number,) = connection.send([("show", {"who": "parent again"}, ())])
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if connection.call("show", {"who": "child"}) == {"who": "child"} and not connection.ready else 1)
        finally:
            os._exit(2)
    assert connection.receive() == (number, {"who": "parent again"})
    connection.close()  # the script is one connection after another
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_starts_fast() -> None:
    show = (
        "import sys; before = set(sys.modules); import swarmctl, swarmctl.connection, swarmctl.identity; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    brought = {name.partition(".")[0] for name in done.stdout.split()}
    assert brought <= {"swarmctl", "swarmshd", "_socket", "_struct", "time"}


# -- where the socket is -------------------------------------------------------------------------------


def bound(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return str(path)


def test_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWARMSH_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    there = bound(tmp_path / "swarmsh" / "swarmsh.sock")
    assert find_socket() == there
    named = bound(tmp_path / "named.sock")
    monkeypatch.setenv("SWARMSH_SOCKET", named)
    assert find_socket() == named
    explicit = bound(tmp_path / "explicit.sock")
    assert find_socket(explicit) == explicit


def test_every_place_is_named_when_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWARMSH_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(Unreachable) as caught:
        find_socket()
    assert [path for path, _ in caught.value.facts["tried"]] == [
        f"{tmp_path}/swarmsh/swarmsh.sock",
        "/run/user/4242/swarmsh/swarmsh.sock",
        "/run/swarmsh/swarmsh.sock",
        "/tmp/swarmsh-4242/swarmsh.sock",
    ]
    for path, why in caught.value.facts["tried"]:
        assert f"{path}: {why}" in str(caught.value)


def test_what_mends_it_is_a_service_only_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMSH_SOCKET", str(tmp_path / "none"))
    monkeypatch.setattr(places, "UNITS", ("/nonexistent", str(tmp_path)))
    for unit, mends in (("other.service", "swarmshd &"), ("swarmshd.service", "systemctl start swarmshd")):
        (tmp_path / unit).touch()
        with pytest.raises(Unreachable) as caught:
            find_socket()
        assert caught.value.facts["next"] == mends


def test_a_place_in_tmp_must_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = 1_900_000_000 + os.getpid()
    directory = Path(f"/tmp/swarmsh-{uid}")
    monkeypatch.delenv("SWARMSH_SOCKET", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    there = bound(directory / "swarmsh.sock")
    try:
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        for owner, mode in ((uid, 0o755), (uid, 0o1700), (os.getuid(), 0o700)):
            if os.getuid() == 0:
                os.chown(directory, owner, -1)
            directory.chmod(mode)
            with pytest.raises(Unreachable, match="not a directory of yours with mode 0700"):
                find_socket()
        if os.getuid() == 0:
            os.chown(directory, uid, -1)
            directory.chmod(0o700)
            assert find_socket() == there
    finally:
        os.unlink(there)
        directory.rmdir()


def test_what_cannot_be_a_socket(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(Unreachable, match="not a socket"):
        find_socket(str(plain))
    with pytest.raises(Unreachable, match="null byte"):
        find_socket("a\0b")
    with pytest.raises(Refused, match="at most 107") as caught:
        find_socket("/" + "ä" * 60)
    assert (caught.value.code, caught.value.exit) == ("bad_request", 2)
    with pytest.raises(Unreachable) as gone:  # not even its directory: nobody is about to come back
        Connection("/nonexistent/swarmsh.sock", timeout=1000).call("status", {})
    assert not gone.value.retryable


NOBODY = 65534


def as_nobody(code: str) -> str:
    """What this code prints, run by a user without rights."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            scope: dict[str, Any] = {"Connection": Connection, "Refused": Refused, "find_socket": find_socket}
            exec(code, scope)
            os.write(write, scope["said"].encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_no_permission_names_the_group_and_the_way() -> None:
    import grp
    import tempfile

    group = next(entry for entry in grp.getgrall() if entry.gr_gid not in (0, NOBODY) and not entry.gr_mem)
    user = pwd.getpwuid(NOBODY).pw_name
    ask = "try: find_socket({!r})\nexcept Refused as e: said = f'{{e.code}} {{e.exit}} {{e}}'"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        inner = directory / "inner"
        path = bound(inner / "deep" / "swarmsh.sock")
        os.chown(path, 0, group.gr_gid)
        os.chmod(path, 0o660)
        said = as_nobody(ask.format(path))
        assert said.startswith(f"denied 77 {path}: permission denied; {user} is not in group {group.gr_name}: ")
        assert f"sudo usermod -aG {group.gr_name} {user}" in said
        assert f"sg {group.gr_name} -c" in said
        os.chown(inner, 0, group.gr_gid)
        inner.chmod(0o750)
        assert f"is not in group {group.gr_name}" in as_nobody(ask.format(path))
        inner.chmod(0o700)
        assert "only its owner may use it" in as_nobody(ask.format(path))


# -- identity ------------------------------------------------------------------------------------------


def test_the_agents_id_and_its_source() -> None:
    everything = {
        "SWARMSH_AGENT": "s",
        "AGENT_ID": "a",
        "CLAUDE_CODE_SESSION_ID": "1a2b3c4d-5e6f",
        "CODEX_THREAD_ID": "99 8877665544",
    }
    assert identity.agent_id("option", everything) == ("option", "--agent")
    for gone, expected in [
        ("", ("s", "$SWARMSH_AGENT")),
        ("SWARMSH_AGENT", ("a", "$AGENT_ID")),
        ("AGENT_ID", ("claude-1a2b3c4d", "$CLAUDE_CODE_SESSION_ID")),
        ("CLAUDE_CODE_SESSION_ID", ("codex-99_88776", "$CODEX_THREAD_ID")),
    ]:
        if gone:
            everything[gone] = ""
        assert identity.agent_id(None, everything) == expected
    name, source = identity.agent_id(None, {})
    assert protocol.is_name(name)
    assert name.endswith(f".{os.getsid(0)}")
    assert source == "the terminal session"


@pytest.mark.parametrize(("option", "environ"), [("", {}), ("a b", {}), ("-x", {}), (None, {"AGENT_ID": "ü"})])
def test_what_is_no_name_is_refused_by_its_source(option: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"(--agent|\$AGENT_ID): .* is not a name"):
        identity.agent_id(option, environ)


def test_targets_of_a_watch() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert identity.watch_target(str(child.pid)) == child.pid
        os.close(identity.open_pidfd(child.pid))
    finally:
        child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ValueError, match="has ended"):
        identity.watch_target(str(child.pid))
    child.wait()
    for spec, why in [
        (str(child.pid), "no process"),
        (str(os.getpid()), "swarmctl itself"),
        ("1", "does not end before"),
        ("0", "does not end before"),
        ("-5", "neither"),
        ("x", "neither"),
        ("", "neither"),
        ("5" * 30, "neither"),
    ]:
        with pytest.raises(ValueError, match=why):
            identity.watch_target(spec)


def test_a_thread_is_no_target() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        with pytest.raises(ValueError, match=r"is a thread|no process"):
            identity.watch_target(str(thread.native_id))
    finally:
        go.set()
        thread.join()


def test_auto_is_the_nearest_ancestor_that_is_no_shell() -> None:
    find = "from swarmctl import identity; print(identity.watch_target('auto'))"
    for shell in ("", "sh -c '{}; true'", "bash -c 'sh -c \"{}; true\"; true'"):
        command = f'{sys.executable} -c "$FIND"'
        line = (
            shell.format('$PY -c \\"\\$FIND\\"' if '"' in shell else '$PY -c "$FIND"') if shell else command
        ) + "; true"
        environ = {**os.environ, "FIND": find, "PY": sys.executable, "PYTHONPATH": str(Path(__file__).parent.parent)}
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, env=environ)
        assert int(done.stdout) == os.getpid()


def test_auto_does_not_take_the_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(ValueError, match="only shells"):
        identity.watch_target("auto")
