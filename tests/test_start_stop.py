"""Start and stop of the program: one line for each thing that is amiss, with its status, and nothing left behind."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from swarmshd.main import main
from tests.conftest import PATIENCE, ROOT, Daemon
from tests.test_wire_fuzz import serves
from tests.wire import framed

pytestmark = pytest.mark.real
ROOTLY = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
NOBODY = 65534


def as_user(uid: int, command: list[str]) -> list[str]:
    """The daemon's command line, for a process that becomes another user once the interpreter stands."""
    assert command[1:3] == ["-m", "swarmshd.main"]
    code = (
        "import os, sys, tomllib; from swarmshd import main; "
        f"os.setgroups([]); os.setgid({uid}); os.setuid({uid}); sys.exit(main.main(sys.argv[1:]))"
    )
    return [command[0], "-c", code, *command[3:]]


def failing(daemon: Daemon, *options: str, uid: int | None = None, **environ: str) -> tuple[int, str]:
    """Status and the one line of a start that is refused."""
    done = subprocess.run(
        daemon.command(*options) if uid is None else as_user(uid, daemon.command(*options)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=daemon.environment(**environ),
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == ""
    line = done.stderr
    assert line.startswith("swarmshd: "), line
    assert line.count("\n") == 1, line
    return done.returncode, line


# -- configuration -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lease = '5m'\nleese = 5\n", "2"),
        ("lease = '5m'\n\nlease_max = -5\n", "3"),
        ("in_flight_max = 'many'\n", "1"),
        ("in_flight_max = 1\nin_flight_max = 2\n", ""),
        ("[section]\nlease = 5\n", ""),
        ("lease = \n", "1"),
        ("\x00\xff", ""),
        ("frame_max = 99999999999999999999\n", "1"),
    ],
)
def test_a_bad_configuration_file(make_daemon, text, expected):
    daemon = make_daemon()
    file = daemon.directory / "swarmshd.toml"
    file.write_bytes(text.encode("latin-1"))
    status, line = failing(daemon, "--config", str(file))
    assert status == 78
    assert f"{file}:{expected}" in line if expected else str(file) in line
    assert not daemon.state.exists()


def test_a_configuration_file_that_is_not_there(make_daemon):
    status, line = failing(make_daemon(), "--config", "/nowhere/x.toml")
    assert (status, "/nowhere/x.toml" in line) == (78, True)


@pytest.mark.parametrize("option", ["NOPE=1", "LEASE=never", "LEASE", "FRAME_MAX=1", "=5", "MAX_CONNECTIONS=-1"])
def test_a_bad_option(make_daemon, option):
    status, line = failing(make_daemon(), "--set", option)
    assert status == 78
    assert "--set" in line
    assert option.partition("=")[0] in line


def test_a_bad_environment(make_daemon):
    status, line = failing(make_daemon(), SWARMSH_LEASE="never")
    assert (status, "SWARMSH_LEASE" in line) == (78, True)


def test_a_bare_name_of_the_guide_that_is_bad_is_warned_of_and_skipped(make_daemon, monkeypatch):
    monkeypatch.setenv("PROCESS_MEMORY_LIMIT_MB", "lots")
    daemon = make_daemon().start()
    assert "PROCESS_MEMORY_LIMIT_MB" in daemon.log.read_text()


# -- the state directory -------------------------------------------------------------------------------


def test_the_second_daemon_names_the_first(daemon):
    began = time.monotonic()
    second = Daemon(daemon.directory, "FLOCK_TIMEOUT=2", "FLOCK_RETRIES=2", "FLOCK_BACKOFF_MS=100")
    second.socket += "2"
    status, line = failing(second)
    assert status == 75
    assert f"process {daemon.pid}" in line
    assert time.monotonic() - began >= 0.3  # 100 ms and 200 ms
    daemon.call("status")
    assert not os.path.exists(second.socket)


def test_the_second_daemon_goes_on_when_the_first_ends(daemon, make_daemon):
    number = daemon.call("submit", type="t", description="d")["id"]
    process = subprocess.Popen(
        [
            *daemon.command("--set", "FLOCK_BACKOFF_MS=20000", "--set", "FLOCK_TIMEOUT=25"),
            "--socket",
            daemon.socket + "2",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=daemon.environment(),
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    daemon.stop()
    assert process.stdout is not None
    assert process.stdout.readline() == f"swarmshd: ready on {daemon.socket}2\n"
    process.stdout.close()
    daemon.socket += "2"
    assert daemon.call("show", id=number)["state"] == "ready"
    process.terminate()
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("case", ["a file", "a file above it", "a loop"])
def test_a_state_directory_that_cannot_be_one(make_daemon, case):
    daemon = make_daemon()
    if case == "a file":
        daemon.state.write_text("x")
    elif case == "a file above it":
        daemon.state.write_text("x")
        daemon.state /= "deeper"
    else:
        daemon.state.symlink_to(daemon.state)
    status, line = failing(daemon)
    assert status == 78
    assert f"state directory {daemon.state}" in line
    assert "--state-dir" in line
    assert not os.path.exists(daemon.socket)


def test_a_user_without_a_home_is_told_so(monkeypatch, capfd):
    """As in a container that is run under a number."""

    def nobody(uid):
        raise KeyError(uid)

    for name in ("HOME", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert main(["--restore", "-"]) == 78
    assert capfd.readouterr().err == "swarmshd: uid 54321 has no home; set HOME, or give --state-dir\n"


def test_a_manager_that_cannot_be_reached_is_told_in_the_log(make_daemon, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    daemon = make_daemon().start()
    assert daemon.log.read_text().count("the service manager cannot be reached") == 1


def test_a_missing_parent_is_made_or_named(make_daemon):
    daemon = make_daemon()
    daemon.state = daemon.directory / "a" / "b" / "c"
    try:
        daemon.start()
    except AssertionError:
        status, line = failing(daemon)
        assert (status, str(daemon.directory / "a") in line) == (78, True)
    else:
        assert daemon.state.stat().st_mode & 0o077 == 0


@ROOTLY
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_state_directory_that_cannot_be_written(make_daemon, mode):
    daemon = make_daemon()
    daemon.directory.parent.chmod(0o755)
    daemon.directory.chmod(0o755)
    daemon.state.mkdir()
    os.chown(daemon.state, NOBODY, NOBODY)
    daemon.state.chmod(mode)
    status, line = failing(daemon, "--socket", "/tmp/swarmshd-nobody", uid=NOBODY)
    assert status == 78
    assert str(daemon.state) in line
    assert "Permission denied" in line


@ROOTLY
def test_root_leaves_another_s_state_alone(make_daemon):
    daemon = make_daemon()
    daemon.state.mkdir()
    os.chown(daemon.state, NOBODY, NOBODY)
    status, line = failing(daemon)
    assert status == 78
    assert "nobody" in line
    assert not list(daemon.state.iterdir())


@ROOTLY
def test_a_user_of_his_own(make_daemon):
    """No root anywhere: the daemon of a plain user, and root as a client that may do everything."""
    daemon = make_daemon()
    for place in (daemon.directory.parent, daemon.directory):
        place.chmod(0o755)
    os.chown(daemon.directory, NOBODY, NOBODY)
    process = subprocess.Popen(
        as_user(NOBODY, daemon.command()),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=daemon.environment(),
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"swarmshd: ready on {daemon.socket}\n"
    process.stdout.close()
    with daemon.wire() as wire:
        assert wire.call("status")["uid"] == NOBODY
        assert wire.call("hello", version=1)["you"]["classes"] == ["admin", "read", "work"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in daemon.state.rglob("*"))
    process.terminate()
    assert process.wait(PATIENCE) == 0


# -- the socket ----------------------------------------------------------------------------------------


def test_the_socket_of_a_living_daemon_is_left_alone(daemon, make_daemon):
    other = make_daemon()
    other.socket = daemon.socket
    status, line = failing(other)
    assert status == 78
    assert daemon.socket in line
    assert "listens there already" in line
    daemon.call("status")


def test_a_stale_socket_is_replaced(daemon):
    daemon.kill()
    assert os.path.exists(daemon.socket)
    daemon.start()
    daemon.call("status")


@pytest.mark.parametrize("case", ["file", "directory", "fifo", "link to nowhere"])
def test_what_is_no_socket_is_left_alone(make_daemon, case):
    daemon = make_daemon()
    place = Path(daemon.socket)
    if case == "file":
        place.write_text("precious")
    elif case == "directory":
        place.mkdir()
    elif case == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to("/nowhere/at/all")
    status, line = failing(daemon)
    assert status == 78
    assert "no socket" in line
    assert os.path.lexists(place)
    if case == "file":
        assert place.read_text() == "precious"


def test_a_taken_socket_costs_no_epoch(daemon, make_daemon):
    other = make_daemon().start()
    epoch = other.call("status")["epoch"]
    other.stop()
    own, other.socket = other.socket, daemon.socket
    failing(other)
    other.socket = own
    other.start()
    assert other.call("status")["epoch"] == epoch + 1


def test_somebody_who_listens_and_does_not_accept_is_left_alone(make_daemon):
    daemon = make_daemon()
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(daemon.socket)
        hung.listen(0)
        fillers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            try:
                filler.connect(daemon.socket)
            except BlockingIOError:
                pass
        assert failing(daemon)[0] == 78
        for filler in fillers:
            filler.close()


def test_a_path_that_is_too_long(make_daemon):
    daemon = make_daemon()
    daemon.socket = str(daemon.directory / ("x" * 120))
    status, line = failing(daemon)
    assert status == 78
    assert "107" in line
    assert not daemon.state.exists() or not list(daemon.state.glob("segment*"))


def test_a_directory_for_the_socket_that_cannot_be_made(make_daemon):
    daemon = make_daemon()
    (daemon.directory / "file").write_text("x")
    daemon.socket = str(daemon.directory / "file" / "s")
    status, line = failing(daemon)
    assert (status, "--socket" in line) == (78, True)


def test_only_its_own_socket_is_removed(daemon, make_daemon):
    os.unlink(daemon.socket)
    other = make_daemon()
    other.socket = daemon.socket
    other.start()
    daemon.stop()
    other.call("status")
    other.stop()
    assert not os.path.exists(other.socket)


# -- ready and stop ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(daemon, number):
    item = daemon.call("submit", type="t", description="d")["id"]
    process = daemon.process
    os.kill(daemon.pid, number)
    assert process.wait(PATIENCE) == 0
    assert process.stdout.read() == ""  # the ready line came once
    process.stdout.close()
    daemon.process = None
    assert not os.path.exists(daemon.socket)
    daemon.start()
    assert "unclean" not in daemon.log.read_text()
    assert daemon.call("submit", type="t", description="d")["id"] == item + 1  # nothing is skipped


def test_many_signals_are_as_good_as_one(daemon):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = daemon.process
        while process.poll() is None:
            os.kill(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.001)  # without a pause signals nest in the interpreter, faster than any handler returns
        assert daemon.wait() == 0
        daemon.start()
        assert "unclean" not in daemon.log.read_text()


def test_what_has_come_is_answered_before_the_end(daemon):
    """Frames that were written before the signal are answered: granted, or refused as draining; never lost."""
    with daemon.wire() as wire:
        wire.call("status")
        frames = [framed([n, "submit", {"type": "t", "description": "d"}]) for n in range(500)]
        wire.send_bytes(b"".join(frames))
        os.kill(daemon.pid, signal.SIGTERM)
        granted = 0
        for _ in range(500):
            _, code, result = wire.receive()
            assert code in (0, "draining")
            granted += code == 0
            assert result
        assert daemon.wait() == 0
    daemon.start()
    assert daemon.call("count")["count"] == granted


def test_a_reader_that_hangs_does_not_hold_up_the_stop(make_daemon):
    daemon = make_daemon("STOP_TIMEOUT=300ms").start()
    with daemon.wire() as wire:
        wire.call("submit", type="t", description="d" * 8000)
        wire.send_bytes(framed([1, "list", {}]) * 500)
        daemon.call("status")
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.wait() == 0


def test_nobody_needs_to_read_the_ready_line(make_daemon):
    daemon = make_daemon()
    read, write = os.pipe()
    os.close(read)
    with daemon.log.open("w") as log:
        daemon.process = subprocess.Popen(
            daemon.command(), stdout=write, stderr=log, text=True, cwd=ROOT, env=daemon.environment()
        )
    os.close(write)
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(daemon.socket) and time.monotonic() < deadline:
        time.sleep(0.01)
    daemon.call("status")
    assert daemon.stop() == 0


def test_a_journal_that_cannot_be_written_ends_it_with_74(make_daemon):
    """No file can be written any more past its offset 0: not even where room was made."""
    daemon = make_daemon()
    process = subprocess.Popen(
        daemon.command(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=daemon.environment(),
    )
    assert process.stdout is not None
    process.stdout.readline()
    number = daemon.call("submit", type="t", description="d")["id"]
    with daemon.wire() as wire:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
        with pytest.raises((EOFError, ConnectionResetError, BrokenPipeError)):
            wire.call("submit", type="t", description="lost")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 74, said
    assert "Traceback" not in said
    assert re.search(r"^swarmshd: the journal could not be written: .*start again$", said, re.MULTILINE), said
    daemon.start()
    assert number in [item["id"] for item in daemon.call("list")["items"]]


def test_sighup_does_no_harm(daemon):
    os.kill(daemon.pid, signal.SIGHUP)
    with daemon.wire() as wire:
        serves(wire)
