"""The notify protocol, socket activation and the log's levels, over real sockets."""

import fcntl
import io
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from swarmshd import systemd
from swarmshd.systemd import MESSAGE_IDS, JournalHandler, LogFormatter, Notifier, listening_socket

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """The socket that a service manager reads."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@swarmsh-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield manager


@pytest.fixture
def notifier(manager):
    notifier = Notifier()
    yield notifier
    notifier.close()


def said(manager) -> list[bytes]:
    datagrams = []
    while True:
        try:
            datagrams.append(manager.recv(4096))
        except BlockingIOError:
            return datagrams


def test_the_life_of_a_service(manager, notifier):
    notifier.status("replaying the journal")
    notifier.ready("serving on /run/swarmsh/swarmsh.sock")
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    notifier.ready("serving")
    notifier.stopping("draining")
    status, ready, reloading, again, stopping = said(manager)
    assert status == b"STATUS=replaying the journal"
    assert ready == b"READY=1\nSTATUS=serving on /run/swarmsh/swarmsh.sock"
    announced, _, monotonic = reloading.partition(b"\nMONOTONIC_USEC=")
    assert announced == b"RELOADING=1"
    assert before <= int(monotonic) <= time.monotonic_ns() // 1000
    assert again == b"READY=1\nSTATUS=serving"
    assert stopping == b"STOPPING=1\nSTATUS=draining"


def test_a_status_is_one_line_of_utf_8(manager, notifier):
    notifier.status("needs a person: größe → 語\nREADY=1\udc80")
    assert said(manager) == ["STATUS=needs a person: größe → 語 READY=1?".encode()]


def test_the_variables_are_not_for_children(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    Notifier().close()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()


def test_without_a_manager_nothing_is_said(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("serving")
    notifier.close()
    notifier.stopping("after the end")
    assert notifier.fault == ""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sdnotify leaves its socket open
@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1234", "@", "/" + "long" * 100])
def test_a_manager_that_cannot_be_reached_is_told_to_the_log(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = Notifier()
    notifier.ready("serving")
    notifier.close()
    assert notifier.fault.startswith(f"the service manager cannot be reached at NOTIFY_SOCKET={address!r}: ")


def test_a_manager_that_is_gone_stops_nothing(manager, notifier):
    manager.close()
    notifier.ready("serving")


def test_a_manager_that_does_not_read_holds_nobody_up(manager, notifier):
    notifier._notifier.socket.settimeout(0)
    for _ in range(10_000):
        notifier.status("x" * 100)
    assert set(said(manager)) == {b"STATUS=" + b"x" * 100}


async def test_signs_of_life_at_half_the_period(manager, monkeypatch, autojump_clock, nursery):
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    healthy = True
    await nursery.start(notifier.run_watchdog, lambda: healthy)
    await trio.sleep(1)
    assert said(manager) == [b"WATCHDOG=1"]
    await trio.sleep(60)
    assert said(manager) == [b"WATCHDOG=1"] * 2
    healthy = False
    await trio.sleep(600)
    assert said(manager) == []
    healthy = True
    await trio.sleep(30)
    assert said(manager) == [b"WATCHDOG=1"]
    nursery.cancel_scope.cancel()
    notifier.close()


@pytest.mark.parametrize(
    ("microseconds", "pid"), [("", ""), ("0", ""), ("soon", ""), ("-5", ""), ("1000000", "1"), ("1000000", "x")]
)
async def test_no_signs_of_life_where_none_are_wanted(manager, monkeypatch, microseconds, pid):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    notifier = Notifier()
    await notifier.run_watchdog(lambda: True)
    assert notifier.watchdog_period is None
    assert said(manager) == []
    notifier.close()


PROGRAM = """
import os, sys
from swarmshd.systemd import ActivationError, listening_socket
pid, *handed = sys.argv[1:]
for place, fd in enumerate(handed, 3):
    os.dup2(int(fd), place)
    os.close(int(fd))
os.environ["LISTEN_PID"] = pid or str(os.getpid())
try:
    listening = listening_socket()
    print(listening and (listening.getsockname(), listening.get_inheritable()))
except ActivationError as error:
    print(error)
print({"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ))
print([fd for fd in range(3, 10) if os.path.exists(f"/proc/self/fd/{fd}")])
"""


def activated(*handed: int, names: str = "", count: str = "", pid: str = "") -> tuple[str, str]:
    """What a process says that is started with these descriptors from 3 on, and which of them it keeps."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in handed]  # as one of them may be 3 here
    environ = {**os.environ, "LISTEN_FDS": count or str(len(handed)), "LISTEN_FDNAMES": names}
    command = [sys.executable, "-c", PROGRAM, pid, *map(str, high)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, pass_fds=high, check=True)
    for fd in high:
        os.close(fd)
    said, variables, kept = run.stdout.splitlines()
    assert variables == "set()"
    return said, kept


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "swarmsh.sock"))
        listening.listen()
        yield listening


def test_the_socket_that_was_handed_over(listening):
    assert activated(listening.fileno()) == (f"({listening.getsockname()!r}, False)", "[3]")


def test_the_socket_of_our_name_is_taken_among_several(listening):
    with socket.socket(socket.AF_UNIX) as other:
        handed = activated(other.fileno(), listening.fileno(), names="other:ctl")
    assert handed == (f"({listening.getsockname()!r}, False)", "[4]")


@pytest.mark.parametrize(("count", "pid"), [("0", ""), ("1", "1"), ("", "x")])
def test_nothing_was_handed_over(count, pid):
    assert activated(count=count, pid=pid) == ("None", "[]")


def test_what_cannot_be_served_on_is_refused(listening):
    advice = "; the unit needs ListenStream=PATH and Accept=no"
    with (
        socket.socket(socket.AF_UNIX) as silent,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        socket.create_server(("127.0.0.1", 0)) as inet,
        open("/dev/null") as null,
    ):
        assert activated(silent.fileno()) == (f"descriptor 3 does not listen{advice}", "[]")
        assert activated(datagrams.fileno()) == (f"descriptor 3 is not a Unix stream socket{advice}", "[]")
        assert activated(inet.fileno()) == (f"descriptor 3 is not a Unix stream socket{advice}", "[]")
        assert activated(null.fileno()) == (f"descriptor 3 is not a socket{advice}", "[]")
        said, kept = activated(listening.fileno(), silent.fileno(), names="a:b")
        assert said.startswith("2 sockets were handed over; leave one, or name ours FileDescriptorName=ctl")
        assert kept == "[]"
    assert activated(count="1") == (f"descriptor 3 is not there: Bad file descriptor{advice}", "[]")
    assert activated(count="many")[0].startswith("LISTEN_FDS is 'many', not a number")


def test_without_activation_there_is_no_socket(monkeypatch):
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    assert listening_socket() is None


@pytest.mark.real
def test_under_the_real_systemd_socket_activate(tmp_path):
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        pytest.skip("systemd-socket-activate is not installed")
    path = str(tmp_path / "real.sock")
    program = (
        "from swarmshd.systemd import listening_socket\n"
        "peer, _ = listening_socket().accept()\n"
        "peer.sendall(b'served')\n"
    )
    command = [tool, f"--listen={path}", "--fdname=ctl", f"--setenv=PYTHONPATH={ROOT}", sys.executable, "-c", program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as manager:
        assert manager.stderr is not None
        assert "Listening on" in manager.stderr.readline()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            assert client.recv(100) == b"served"
        assert manager.wait() == 0, manager.stderr.read()


def record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("swarmshd", level, __file__, 1, text, None, None)


def test_levels_for_the_journal():
    formatter = LogFormatter(for_journal=True)
    levels = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG, 5)
    assert [formatter.format(record(level, "x")) for level in levels] == [
        "<2>x",
        "<3>x",
        "<4>x",
        "<6>x",
        "<7>x",
        "<7>x",
    ]


def test_dates_for_people():
    text = LogFormatter(for_journal=False).format(record(logging.WARNING, "the disk is slow"))
    date, level, message = text.split(" ", 2)
    assert time.strptime(date, "%Y-%m-%dT%H:%M:%S%z")
    assert (level, message) == ("WARNING", "the disk is slow")


@pytest.mark.parametrize("for_journal", [False, True])
def test_text_of_clients_cannot_forge_lines(for_journal):
    text = LogFormatter(for_journal=for_journal).format(record(logging.INFO, "agent a\n<0>b\x1b[2J\x9b\t"))
    assert text.endswith("agent a\\n<0>b\\x1b[2J\\x9b\\t")
    assert text.isprintable()


def test_every_line_of_a_traceback_has_its_level():
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        failed = record(logging.ERROR, "a broken promise")
        failed.exc_info = sys.exc_info()
    lines = LogFormatter(for_journal=True).format(failed).split("\n")
    assert lines[0] == "<3>a broken promise"
    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines)


def test_whether_the_log_goes_to_the_journal(monkeypatch, tmp_path):
    with open(tmp_path / "log", "w") as file:
        found = os.fstat(file.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert not systemd.is_journal(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert systemd.is_journal(file.fileno())
        assert systemd.LogFormatter(for_journal=True).format(record(logging.INFO, "x")) == "<6>x"
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not systemd.is_journal(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", "nonsense")
        assert not systemd.is_journal(file.fileno())


# -- messages with fields -------------------------------------------------------------------------------


@pytest.fixture
def journald(tmp_path):
    """A socket that takes messages as journald does, and what it is found at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(str(tmp_path / "journal"))
        taking.setblocking(False)
        yield taking, str(tmp_path / "journal")


def fields(datagram: bytes) -> dict[str, str]:
    """Of the native protocol: name, line break, eight bytes of length, value, line break."""
    found = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        length = int.from_bytes(rest[:8], "little")
        found[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        datagram = rest[9 + length :]
    return found


def logged(handler: logging.Handler, level: int, text: str, *values: object, **extra: object) -> None:
    logger = logging.Logger("swarmshd.test")  # noqa: LOG001 - one that nobody else has
    logger.addHandler(handler)
    logger.log(level, text, *values, extra=extra)


def test_a_message_goes_with_its_fields(journald):
    taking, path = journald
    handler = JournalHandler(io.StringIO(), path)
    logged(handler, logging.WARNING, "folded %d\nitems", 5, kind="folded", fields={"position": 77})
    found = fields(taking.recv(1 << 16))
    assert found["MESSAGE"] == "folded 5\\nitems"
    assert (found["PRIORITY"], found["SYSLOG_IDENTIFIER"]) == ("4", "swarmshd")
    assert found["MESSAGE_ID"] == MESSAGE_IDS["folded"]
    assert found["SWARMSH_POSITION"] == "77"
    assert found["CODE_FILE"].endswith("test_systemd.py")
    handler.close()


def test_a_journal_that_does_not_read_loses_messages_and_holds_nothing_up(journald):
    """They are counted, and the next one that gets through says how many."""
    taking, path = journald
    handler = JournalHandler(io.StringIO(), path)
    for _ in range(5000):
        logged(handler, logging.INFO, "x" * 1000)
    taken = 0
    with suppress(BlockingIOError):
        while taking.recv(1 << 16):
            taken += 1
    assert 0 < taken < 5000
    logged(handler, logging.INFO, "again")
    assert fields(taking.recv(1 << 16))["SWARMSH_DROPPED"] == str(5000 - taken)
    logged(handler, logging.INFO, "and again")
    assert "SWARMSH_DROPPED" not in fields(taking.recv(1 << 16))
    handler.close()


def test_while_journald_is_away_there_are_lines(tmp_path):
    lines = io.StringIO()
    handler = JournalHandler(lines, str(tmp_path / "nobody"))
    logged(handler, logging.ERROR, "x")
    assert lines.getvalue() == "<3>x\n"
    handler.close()


def test_a_message_that_is_too_long_is_cut(journald):
    taking, path = journald
    handler = JournalHandler(io.StringIO(), path)
    logged(handler, logging.INFO, "x" * (1 << 20))
    assert set(fields(taking.recv(1 << 20))["MESSAGE"]) == {"x"}
    handler.close()


def test_message_ids_are_told_apart_and_documented():
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    page = (ROOT / "man/swarmshd.8").read_text()
    assert [kind for kind, number in MESSAGE_IDS.items() if number not in page] == []


def test_every_kind_of_message_has_an_id():
    """Who logs gives the kind as text."""
    text = "".join([path.read_text() for path in (ROOT / "swarmshd").rglob("*.py")])
    assert set(re.findall(r'(?:extra=|about = )\{"kind": "(\w+)"', text)) == set(MESSAGE_IDS)
