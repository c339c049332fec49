"""A keeper and its COMMAND: nothing starts before its time, and nothing outlives whom it belongs to."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from swarmctl.command import END, GO, KILL, Command
from tests.conftest import PATIENCE, ROOT, alive, number_in, until

pytestmark = pytest.mark.real


def made(*words: str, payload: bytes = b"", keep: int = 1000, prefix: bytes | None = None) -> Command:
    return Command(words, dict(os.environ), payload, prefix=prefix, keep=keep)


def status_of(command: Command) -> int | None:
    """Wait for its end as the loop of ``work`` does, and clear the keeper away."""
    poller = select.poll()
    poller.register(command.status, select.POLLIN)
    poller.register(command.output, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poller.poll(PATIENCE * 1000)]
        assert ready
        if command.status in ready:
            break
        command.read()
        if command.output < 0:
            poller = select.poll()
            poller.register(command.status, select.POLLIN)
    status = command.ended()
    clear(command)
    return status


def clear(command: Command) -> None:
    command.dismiss()
    assert select.select([command.pidfd], [], [], PATIENCE)[0]
    assert command.gone()


def started(directory: Path, name: str = "pid") -> int:
    """The pid that a COMMAND has written to a file, once it is there."""
    return number_in(directory / name)


def await_end(pid: int) -> None:
    until(lambda: not alive(pid), f"{pid} has ended")


def test_it_gets_its_payload_and_its_output_is_kept() -> None:
    command = made("sh", "-c", "cat; echo error >&2; exit 3", payload=b"pay\0load" * 10_000, keep=100)
    command.tell(GO)
    assert status_of(command) == 3
    assert command.tail.endswith(b"pay\0loaderror\n")
    assert len(command.tail) == 100


def test_it_does_not_start_before_it_is_told(tmp_path: Path) -> None:
    command = made("touch", str(tmp_path / "started"))
    command.dismiss()
    assert select.select([command.status], [], [], PATIENCE)[0]
    assert command.ended() is None
    clear(command)
    assert not (tmp_path / "started").exists()


def test_no_descriptor_is_left_behind() -> None:
    before = os.listdir("/proc/self/fd")
    clear(made("true"))
    finished = made("true")
    finished.tell(GO)
    assert status_of(finished) == 0
    assert os.listdir("/proc/self/fd") == before


def test_statuses_are_those_of_a_shell(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "script").write_text("exit 7\n")
    (tmp_path / "script").chmod(0o755)
    for words, status, said in (
        (("true",), 0, b""),
        (("sh", "-c", "kill -9 $$"), -9, b""),
        (("./no-such-command",), 127, b"swarmctl: ./no-such-command: No such file or directory\n"),
        ((str(tmp_path / "plain"),), 126, b"Permission denied\n"),
        ((str(tmp_path / "script"),), 7, b""),
    ):
        command = made(*words)
        command.tell(GO)
        assert status_of(command) == status, words
        assert command.tail.endswith(said)


def test_its_signals_are_as_they_were() -> None:
    command = made(sys.executable, "-S", "-c", "import _signal as s; print(*[s.getsignal(n) for n in (1, 13, 15)])")
    command.tell(GO)
    assert status_of(command) == 0
    assert command.tail == b"0 1 0\n"  # Python itself ignores SIGPIPE


def test_it_inherits_no_descriptor_of_ours() -> None:
    command = made("sh", "-c", "ls /proc/$$/fd")
    command.tell(GO)
    assert status_of(command) == 0
    assert command.tail.split() == [b"0", b"1", b"2"]


def test_the_keeper_stays_until_it_is_dismissed() -> None:
    command = made("true")
    command.tell(GO)
    assert select.select([command.status], [], [], PATIENCE)[0]
    assert not select.select([command.pidfd], [], [], 0)[0]
    assert command.ended() == 0
    assert not command.gone()
    clear(command)


def test_signals_reach_the_whole_group(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/pid; wait"
    for word, status in ((END, -signal.SIGTERM), (KILL, -signal.SIGKILL)):
        command = made("sh", "-c", script)
        command.tell(GO)
        started(tmp_path)
        child = started(tmp_path, "child")
        command.tell(word)
        assert status_of(command) == status
        await_end(child)
        (tmp_path / "pid").unlink()
        (tmp_path / "child").unlink()


def test_dismissed_early_it_takes_its_command_along(tmp_path: Path) -> None:
    command = made("sh", "-c", f"trap '' TERM; sleep 600 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/pid; wait")
    command.tell(GO)
    pid, child = started(tmp_path), started(tmp_path, "child")
    clear(command)
    assert not alive(pid), "the keeper ended before its COMMAND"
    await_end(child)


SCRIPT = """
import os, sys, time
from swarmctl.command import GO, Command
command = Command(["sh", "-c", sys.argv[1]], dict(os.environ), b"", prefix=None, keep=10)
command.tell(GO)
print(command.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("whom", ["work", "keeper"])
def test_killed_without_warning_it_takes_its_command_along(tmp_path: Path, whom: str) -> None:
    work = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, f"trap '' TERM; echo $$ >{tmp_path}/pid; exec sleep 600"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with work:
        assert work.stdout is not None
        keeper = int(work.stdout.readline())
        pid = started(tmp_path)
        os.kill(work.pid if whom == "work" else keeper, signal.SIGKILL)
        await_end(pid)
        await_end(keeper)
        work.kill()


def test_output_is_echoed_line_by_line(capfd: pytest.CaptureFixture[str]) -> None:
    command = made("printf", "a\\nb\\nc", prefix=b"[7] ")
    command.tell(GO)
    assert status_of(command) == 0
    assert capfd.readouterr() == ("", "[7] a\n[7] b\n[7] c\n")
    assert command.tail == b"a\nb\nc"


def test_a_child_left_behind_does_not_hold_up_the_end(tmp_path: Path) -> None:
    command = made("sh", "-c", f"sleep 600 & echo $! >{tmp_path}/child; echo done")
    command.tell(GO)
    assert status_of(command) == 0
    assert command.tail == b"done\n"
    os.kill(started(tmp_path, "child"), signal.SIGKILL)
