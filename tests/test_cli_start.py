"""swarmctl as a process: what it loads, its streams, how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT, Daemon

HEAVY = (
    "trio attr attrs cattrs asyncio psutil dataclasses re typing argparse json socket enum collections "
    "subprocess signal ctypes datetime difflib textwrap cbor2 threading tempfile shutil"
).split()


def loaded(daemon: Daemon, *words: str) -> set[str]:
    """The modules that a call has loaded at its end, beyond what a bare interpreter has."""
    code = (
        f"import sys; bare = set(sys.modules); sys.argv = ['swarmctl', *{words!r}]; from swarmctl.cli import main\n"
        "status = main(); sys.stderr.write(' '.join(set(sys.modules) - bare)); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=daemon.environment(AGENT_ID="me"), capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.real
def test_common_verbs_load_nothing_heavy(daemon: Daemon) -> None:
    for words in (
        ("submit", "t", "d", "-p", "high", "--queue", "default"),
        ("claim", "--wait", "1s", "--type", "t"),
        ("progress", "1", "50", "in_progress", "--message", "m"),
        ("heartbeat", "1"),
        ("heartbeat",),
        ("held",),
        ("complete", "1", "success", "5"),
        ("claim", "t", "d", "--json"),
        ("fail", "2", "why"),
        ("list",),
        ("show", "1", "--json"),
    ):
        modules = loaded(daemon, *words)
        assert modules.isdisjoint(HEAVY), f"{words[0]} loads {modules.intersection(HEAVY)}"
        assert len(modules) < 30, sorted(modules)


def test_without_a_daemon_the_status_is_69_and_every_place_is_named(directory: Path) -> None:
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SWARMSH", "XDG_RUNTIME")) and name != "AGENT_ID"
    }
    command = [sys.executable, "-m", "swarmctl", "--timeout", "0.2", "--socket", str(directory / "no" / "s"), "claim"]
    done = subprocess.run(
        command, env={**environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 69
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(directory / "no" / "s") in done.stderr
    done = subprocess.run(
        [*command, "--json"], env={**environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 69
    assert '"exit":69' in done.stdout
    assert done.stderr == ""


@pytest.mark.real
def test_the_script_is_the_program(daemon: Daemon) -> None:
    script = [sys.executable, str(ROOT / "bin" / "swarmctl")]
    done = subprocess.run(
        [*script, "submit", "t", "d"], env=daemon.environment(), capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.real
def test_a_claim_that_cannot_be_printed_is_given_back(daemon: Daemon) -> None:
    daemon.call("submit", type="t", description="d", key="k")
    command = [sys.executable, "-m", "swarmctl", "claim"]

    def ready() -> bool:
        return bool(daemon.call("count", state=["ready"])["count"] == 1)

    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, env=daemon.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "swarmctl: cannot write to stdout: No space left on device\n"
    assert ready()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, env=daemon.environment(), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
    assert ready()
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m swarmctl claim >&-', sys.executable],
        env=daemon.environment(), stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert closed.returncode == 1
    assert ready()
    shown = daemon.call("show", id=1)
    assert (shown["attempt"], shown["releases"]) == (3, 0)


@pytest.mark.real
def test_a_reader_that_leaves_is_no_fault(daemon: Daemon) -> None:
    daemon.call("submit", type="t", description="d", key="k")
    for verb in ("list", "status", "agents", "submit t x"):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "swarmctl", *verb.split()]
        done = subprocess.run(command, env=daemon.environment(), stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert done.stderr == b""


@pytest.mark.real
@pytest.mark.parametrize("words", [("claim", "--wait", "60"), ("wait", "1")])
def test_an_interrupt_is_130_without_a_word(daemon: Daemon, words: tuple[str, ...]) -> None:
    daemon.call("submit", type="t", description="d", queue="other", key="k")
    process = daemon.spawn(*words)
    while daemon.call("status")["waiters"] == 0:
        pass
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 130


@pytest.mark.real
def test_a_restart_of_the_daemon_is_a_pause(daemon: Daemon) -> None:
    waiting = daemon.spawn("claim", "--wait", "60", "-q")
    while daemon.call("status")["waiters"] == 0:
        pass
    daemon.restart()
    daemon.call("submit", type="t", description="d", key="k")
    assert waiting.communicate(timeout=PATIENCE)[0].count("\n") == 1
    assert waiting.returncode == 0


@pytest.mark.real
def test_each_call_in_a_session_of_its_own(daemon: Daemon) -> None:
    def call(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "swarmctl", *words],
            env=daemon.environment(**environ), capture_output=True, text=True, check=False, start_new_session=True,
        )  # fmt: skip

    for environ in (
        {"AGENT_ID": "a"},
        {"SWARMSH_AGENT": "b"},
        {"CLAUDE_CODE_SESSION_ID": "0123456789"},
        {"CODEX_THREAD_ID": "x"},
    ):
        item = call("claim", "t", "d", **environ).stdout.strip()
        assert call("progress", item, "50", **environ).returncode == 0
        assert call("complete", item, **environ).stdout == f"{item} done\n"
    item = call("claim", "t", "d").stdout.strip()
    refused = call("complete", item)
    assert refused.returncode == 5
    assert "(from the terminal session): set AGENT_ID or pass --token" in refused.stderr
    token = call("show", item, "--json").stdout
    assert "token" not in token


def test_closed_streams_are_no_sockets(directory: Path) -> None:
    script = 'exec "$0" -m swarmctl --socket "$1" --timeout 0.1 list <&- >&- 2>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, str(directory / "s")],
        cwd=ROOT,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 69


@pytest.mark.real
def test_auto_is_the_nearest_ancestor_that_is_no_shell(daemon: Daemon) -> None:
    daemon.call("claim_new", agent="me", type="t", description="d", key="k")
    script = f"sh -c '{sys.executable} -m swarmctl hold 1; true'; true"
    done = subprocess.run(
        ["/bin/sh", "-c", script], env=daemon.environment(AGENT_ID="me"), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"watching {os.getpid()} ("), done.stderr
    assert daemon.call("show", id=1)["watching"] == os.getpid()


@pytest.mark.real
def test_when_no_answer_comes_the_line_names_the_key(daemon: Daemon) -> None:
    key = ""
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for words in (("submit", "t", "d"), ("cancel", "1", "2")):
            done = daemon.ctl("--timeout", "0.3", *words)
            assert done.returncode == 75
            key = done.stderr.rstrip("\n").rpartition("--key ")[2]
            assert done.stderr.startswith(f"swarmctl: {words[0]}")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    again = daemon.ctl("cancel", "1", "2", "--key", key)
    assert again.returncode == 4
