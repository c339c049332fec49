"""``lock``: real COMMANDs, real signals, a real terminal, and a Python block that holds a lock."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from swarmctl import Client, LeaseLost, Refused
from tests.conftest import PATIENCE, ROOT, Daemon, alive, number_in, until

pytestmark = pytest.mark.real

ALONE = """
import fcntl, os, sys
out = open(sys.argv[1] + "/alone", "a")
try:
    fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open(sys.argv[1] + "/two", "a").write(f"{os.getpid()}\\n")
    raise
print(os.getpid(), os.environ["SWARMSH_FENCE"], file=out, flush=True)
"""
"""A COMMAND that the kernel itself lets notice whether there is another one."""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def sleeper(path: Path, *, deaf: bool = False) -> list[str]:
    """A COMMAND that writes its pid and sleeps."""
    trap = "trap '' TERM;" if deaf else ""
    return ["sh", "-c", f"{trap} echo $$ >{path}.new; mv {path}.new {path}; while :; do sleep 0.05; done"]


def held(daemon: Daemon, name: str = "l") -> dict[str, Any] | None:
    found = daemon.call("list", queue=["@lock"], state=["claimed"], type=[name])["items"]
    return found[0] if found else None


def test_command_runs_under_the_lock_as_if_it_had_been_called_without(daemon: Daemon) -> None:
    script = 'read line; echo "$line"; echo err >&2; env | grep ^SWARMSH | sort; exit 7'
    done = daemon.ctl("lock", "l", "--", "sh", "-c", script, input="in\n", AGENT_ID="me")
    assert (done.returncode, done.stderr) == (7, "err\n")
    said, *environ = done.stdout.splitlines()
    assert said == "in"
    seen = dict(line.split("=", 1) for line in environ)
    assert seen.pop("SWARMSH_TOKEN").startswith(f"{seen['SWARMSH_FENCE']}.")
    assert int(seen.pop("SWARMSH_FENCE")) > 0
    assert seen == {"SWARMSH_LOCK": "l", "SWARMSH_AGENT": "me", "SWARMSH_SOCKET": daemon.socket}
    assert held(daemon) is None
    assert daemon.call("show", id=1)["crashes"] == 0


def test_it_hands_on_the_descriptors_of_its_caller(daemon: Daemon, tmp_path: Path) -> None:
    script = f"{sys.executable} -m swarmctl lock l -- sh -c 'echo through >&3; ls -l /proc/self/fd' 3>{tmp_path}/out"
    done = subprocess.run(["sh", "-c", script], env=daemon.environment(), capture_output=True, text=True, check=True)
    assert (tmp_path / "out").read_text() == "through\n"
    assert "socket:" not in done.stdout, "none of swarmctl's own is among them"
    assert "pidfd" not in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["./no-such"], 127, "swarmctl: ./no-such: No such file or directory\n"),
        (["/etc"], 126, "swarmctl: /etc: Permission denied\n"),
    ],
)
def test_its_exit_status_is_commands(daemon: Daemon, words: list[str], status: int, said: str) -> None:
    done = daemon.ctl("lock", "l", "--", *words)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_without_command_or_with_words_too_many_it_is_a_usage_error(daemon: Daemon) -> None:
    for words in (["l"], ["l", "--"], ["l", "true"], ["--", "true"], ["l", "m", "--", "true"], ["bad name", "--", "x"]):
        done = daemon.ctl("lock", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr.count("\n") == 1
    assert daemon.ctl("lock", "l", "--conflict-exit", "256", "--", "true").returncode == 2


def test_another_has_it(daemon: Daemon, tmp_path: Path) -> None:
    first = daemon.spawn("lock", "l", "--agent", "a1", "--", *sleeper(tmp_path / "pid"))
    number_in(tmp_path / "pid")
    refused = daemon.ctl("lock", "l", "--", "touch", str(tmp_path / "ran"))
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith("swarmctl: lock l: held by a1 since ")
    assert refused.stderr.endswith("; --wait D waits\n")
    assert daemon.ctl("lock", "l", "--conflict-exit", "9", "--", "true").returncode == 9
    late = daemon.ctl("lock", "l", "--wait", "0.05", "--", "touch", str(tmp_path / "ran"))
    assert late.returncode == 3
    as_json = json.loads(daemon.ctl("lock", "l", "--json", "--", "true").stdout)
    assert (as_json["ok"], as_json["code"], as_json["holder"]) == (False, "timeout", "a1")
    assert not (tmp_path / "ran").exists()
    ((name, agent, _, _, pid, waiting),) = [line.split("\t") for line in daemon.ctl("locks").stdout.splitlines()]
    assert (name, agent, waiting) == ("l", "a1", "0")
    assert alive(int(pid))
    assert daemon.ctl("locks", "-q").stdout == "l\n"
    assert json.loads(daemon.ctl("locks", "l", "--json").stdout)["agent"] == "a1"
    assert daemon.ctl("locks", "other").stdout == ""
    assert daemon.ctl("lock", "other", "--", "true").returncode == 0
    first.terminate()
    first.communicate()


def test_whoever_waits_gets_it_when_command_is_gone(daemon: Daemon, tmp_path: Path) -> None:
    first = daemon.spawn("lock", "l", "--", *sleeper(tmp_path / "pid"))
    number_in(tmp_path / "pid")
    waiting = []
    for number in range(3):
        waiting.append(daemon.spawn("lock", "l", "--wait", "1m", "--", "sh", "-c", f"echo {number} >>{tmp_path}/order"))
        until(lambda: daemon.call("status")["waiters"] == len(waiting))
    item = held(daemon)
    assert item is not None
    assert item["waiting"] == 3
    first.send_signal(signal.SIGTERM)
    for process in waiting:
        assert process.communicate(timeout=PATIENCE) == ("", "")
        assert process.returncode == 0
    assert (tmp_path / "order").read_text() == "0\n1\n2\n"
    first.communicate()
    assert first.returncode == 143


def test_without_a_daemon_it_is_125(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "swarmctl", "lock", "l", "--timeout", "0.1", "--socket", str(tmp_path / "s")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--", "touch", str(tmp_path / "ran")], env=environ, capture_output=True, check=False
    )
    assert done.returncode == 125
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("deaf", [False, True])
def test_sigterm_ends_commands_group_with_grace(daemon: Daemon, tmp_path: Path, deaf: bool) -> None:
    process = daemon.spawn("lock", "l", "--grace", "0.1", "--", *sleeper(tmp_path / "pid", deaf=deaf))
    pid = number_in(tmp_path / "pid")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == (137 if deaf else 143)
    assert not alive(pid)
    assert held(daemon) is None


def test_the_second_signal_is_the_last(daemon: Daemon, tmp_path: Path) -> None:
    process = daemon.spawn("lock", "l", "--grace", "1h", "--", *sleeper(tmp_path / "pid", deaf=True))
    pid = number_in(tmp_path / "pid")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 137
    assert not alive(pid)


def test_a_signal_while_it_waits_ends_it_and_its_wait(daemon: Daemon, tmp_path: Path) -> None:
    first = daemon.spawn("lock", "l", "--", *sleeper(tmp_path / "pid"))
    number_in(tmp_path / "pid")
    second = daemon.spawn("lock", "l", "--wait", "1h", "--", "touch", str(tmp_path / "ran"))
    until(lambda: daemon.call("status")["waiters"])
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=PATIENCE)
    until(lambda: not daemon.call("status")["waiters"])
    first.terminate()
    first.communicate()
    assert held(daemon) is None
    assert not (tmp_path / "ran").exists()


def test_killed_it_holds_the_lock_until_command_is_gone(daemon: Daemon, tmp_path: Path) -> None:
    """Whoever of them is killed, the program or the process between: never are there two COMMANDs."""
    command = ["--", sys.executable, "-c", ALONE + "import time\ntime.sleep(600)", str(tmp_path)]
    fences = []
    for turn in range(6):
        process = daemon.spawn("lock", "l", "--wait", "1m", *command)
        until(lambda turn=turn: len(lines(tmp_path / "alone")) > turn)  # type: ignore[misc]
        pid, fence = map(int, lines(tmp_path / "alone")[turn].split())
        fences.append(fence)
        item = held(daemon)
        assert item is not None
        assert item["fence"] == fence
        following = daemon.spawn("lock", "l", "--wait", "1m", "--", sys.executable, "-c", ALONE, str(tmp_path / "next"))
        (tmp_path / "next").mkdir(exist_ok=True)
        until(lambda: daemon.call("status")["waiters"])
        if turn % 2:
            process.kill()
        else:
            os.kill(item["watching"], signal.SIGKILL)
        following.communicate(timeout=PATIENCE)
        assert following.returncode == 0
        assert not alive(pid)
        process.communicate()
        assert process.returncode == (-9 if turn % 2 else 125)
        (tmp_path / "next" / "alone").unlink()
    assert fences == sorted(set(fences))
    assert not (tmp_path / "two").exists()


def test_many_at_once_and_some_killed(daemon: Daemon, tmp_path: Path) -> None:
    script = ALONE + "import time\ntime.sleep(0.02)"
    command = ["--", sys.executable, "-c", script, str(tmp_path)]
    processes = [daemon.spawn("lock", "l", "--wait", "2m", *command) for _ in range(12)]
    for number, process in enumerate(processes):
        if number % 3 == 0:
            until(lambda: (tmp_path / "alone").exists() or process.poll() is not None)  # noqa: B023
            process.kill()
    for process in processes:
        process.communicate(timeout=PATIENCE * 2)
    assert {process.returncode for process in processes} <= {0, -9}
    assert not (tmp_path / "two").exists()
    rows = [line.split() for line in (tmp_path / "alone").read_text().splitlines()]
    fences = [int(fence) for _, fence in rows]
    assert fences == sorted(fences)
    assert len(rows) >= 8
    until(lambda: held(daemon) is None)


def test_a_restart_of_the_daemon_is_a_pause(daemon: Daemon, tmp_path: Path) -> None:
    go = f"while ! [ -e {tmp_path}/go ]; do sleep 0.01; done"
    first = daemon.spawn("lock", "l", "--", "sh", "-c", f"echo $$ >{tmp_path}/pid; {go}")
    number_in(tmp_path / "pid")
    second = daemon.spawn("lock", "l", "--wait", "1m", "--", "touch", str(tmp_path / "ran"))
    until(lambda: daemon.call("status")["waiters"])
    before = held(daemon)
    daemon.restart()
    until(lambda: daemon.call("status")["waiters"])
    after = held(daemon)
    assert before is not None
    assert after is not None
    assert after["fence"] == before["fence"]
    daemon.kill()
    (tmp_path / "go").touch()
    until(lambda: not alive(number_in(tmp_path / "pid")))
    daemon.start()
    assert first.communicate(timeout=PATIENCE) == ("", "")
    second.communicate(timeout=PATIENCE)
    assert (first.returncode, second.returncode) == (0, 0)
    assert (tmp_path / "ran").exists()
    until(lambda: held(daemon) is None)


def test_a_lock_that_is_taken_away_ends_command(daemon: Daemon, tmp_path: Path) -> None:
    process = daemon.spawn("lock", "l", "--lease", "0.3", "--", *sleeper(tmp_path / "pid"))
    pid = number_in(tmp_path / "pid")
    assert daemon.ctl("unlock", "l", "--force").stdout == "l\tfree\n"
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said.count("\n")) == (125, 1)
    assert "lock l: the lock was lost" in said
    assert not alive(pid)


def test_command_may_give_it_back_early_and_is_told_what_that_means(daemon: Daemon) -> None:
    script = f"{sys.executable} -m swarmctl unlock l"
    done = daemon.ctl("lock", "l", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (125, "l\tfree\n")
    assert "COMMAND had not ended yet" in done.stderr
    refused = daemon.ctl("unlock", "l")
    assert (refused.returncode, refused.stderr) == (5, "swarmctl: unlock l: lock l is not held by anybody\n")


def test_a_lease_of_the_lock_lasts_as_long_as_command(daemon: Daemon, tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/pid; sleep 1"
    process = daemon.spawn("lock", "l", "--lease", "0.3", "--", "sh", "-c", script)
    number_in(tmp_path / "pid")
    while (item := held(daemon)) is not None:
        assert item["fence"] == 1
        time.sleep(0.02)
    process.communicate()
    assert process.returncode == 0


def test_the_holders_item_can_be_worked_on_inside(daemon: Daemon) -> None:
    """Inside ``work`` the token of the environment is the lock's; the item's agent is proof enough."""
    daemon.call("submit", type="t", description="d", key="k")
    script = f"{sys.executable} -m swarmctl lock l -- {sys.executable} -m swarmctl progress $SWARMSH_ITEM 50 half"
    done = daemon.ctl("work", "--once", "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.call("show", id=1)["status"] == "half"


def test_command_has_the_terminal(daemon: Daemon, tmp_path: Path) -> None:
    """It reads what is typed, gets the keyboard's interrupt, and the terminal comes back after it."""
    script = f'echo $$ >{tmp_path}/pid; read a; echo "got $a"; while :; do sleep 0.01; done'
    inner = f"{sys.executable} -m swarmctl lock l -- sh -c '{script}'; echo status $?; read b; echo \"then $b\""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/sh", ["sh", "-i", "-c", f"set -m; {inner}"], daemon.environment())
    said = b""

    def says(text: bytes) -> None:
        nonlocal said
        end = time.monotonic() + PATIENCE
        while text not in said:
            assert time.monotonic() < end, said
            said += os.read(terminal, 1000)

    number_in(tmp_path / "pid")
    os.write(terminal, b"words\n")
    says(b"got words")
    os.write(terminal, b"\x1a\x03")  # it cannot be stopped, only interrupted
    says(b"status 130")
    os.write(terminal, b"more\n")
    says(b"then more")
    os.waitpid(pid, 0)
    os.close(terminal)


# -- from Python -----------------------------------------------------------------------------------------


def test_a_block_holds_it(daemon: Daemon) -> None:
    with Client("a", daemon.socket) as one, Client("b", daemon.socket) as two:
        with one.lock("l") as lock:
            assert str(lock.token).startswith(f"{lock.fence}.")
            item = held(daemon)
            assert item is not None
            assert (item["agent"], item["watching"]) == ("a", os.getpid())
            with pytest.raises(Refused) as refused:
                two.lock("l", wait=0.01)
            assert (refused.value.code, refused.value.facts["holder"]) == ("timeout", "a")
        assert held(daemon) is None
        with two.lock("l", wait=5) as again:
            assert again.fence > lock.fence
            again.unlock()
            assert held(daemon) is None
        with pytest.raises(ZeroDivisionError), one.lock("l"):
            raise ZeroDivisionError
        assert held(daemon) is None
        with pytest.raises(LeaseLost), one.lock("l") as lost:
            one.unlock("l", force=True)
        assert lost.lost.is_set()


def test_a_block_of_any_length_keeps_it_by_heartbeats(daemon: Daemon) -> None:
    with Client("a", daemon.socket, watch=False) as queue, queue.lock("l", lease=0.3) as lock:
        before = lock.expires_at
        until(lambda: lock.expires_at > before + 0.4)
        item = held(daemon)
        assert item is not None
        assert item["fence"] == lock.fence
        queue.unlock("l", force=True)
        until(lock.lost.is_set)
        lock.lost.clear()
        with pytest.raises(LeaseLost):
            lock.unlock()
        lock._given_back = True


def test_when_its_process_dies_it_is_free(daemon: Daemon) -> None:
    program = (
        "import sys\nfrom swarmctl import Client\nlock = Client('a', sys.argv[1]).lock('l')\n"
        "print(lock.fence, flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", program, daemon.socket]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=daemon.environment()
    )
    assert process.stdout is not None
    fence = int(process.stdout.readline())
    process.kill()
    with Client("b", daemon.socket) as queue, queue.lock("l", wait=PATIENCE) as lock:
        assert lock.fence > fence
    process.communicate()
