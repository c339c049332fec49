"""The example agents, each with a real daemon."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swarmctl import Client
from tests.conftest import PATIENCE, ROOT, Daemon

pytestmark = pytest.mark.real

WORKERS = ROOT / "contrib" / "workers"


def run(daemon: Daemon, *command: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=daemon.environment(**environ)
    )


def finished(process: "subprocess.Popen[str]", status: int = 0) -> str:
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (status, "")
    return output


def become_claimed(queue: Client, number: int) -> None:
    while queue.show(number)["state"] != "claimed":
        pass


def test_the_agent_in_python_goes_on_from_a_checkpoint(daemon: Daemon) -> None:
    payload = os.urandom(60_000)
    with Client("tester", daemon.socket) as queue:
        queue.submit("hash", payload=payload)
        with queue.claim("hash") as claimed:
            claimed.progress(99, checkpoint="digest-of-another-holder")
            claimed.release()
        finished(run(daemon, sys.executable, str(WORKERS / "agent.py"), "--until-empty"))
        assert queue.get(1, "result").decode() == hashlib.sha256(b"digest-of-another-holder").hexdigest()


def test_the_agent_for_trio_runs_several_and_tells_good_from_bad(daemon: Daemon) -> None:
    with Client("tester", daemon.socket) as queue:
        for text in ("echo one", "echo two >&2; exit 3", "echo three"):
            queue.submit("shell", payload=text, max_attempts=1)
        finished(run(daemon, sys.executable, str(WORKERS / "agent_trio.py"), "--until-empty"))
        assert [queue.show(number)["state"] for number in (1, 2, 3)] == ["done", "buried", "done"]
        assert [queue.get(number, "output") for number in (1, 2, 3)] == [b"one\n", b"two\n", b"three\n"]


def test_the_agent_for_trio_gives_back_when_it_is_told_to_stop(daemon: Daemon) -> None:
    with Client("tester", daemon.socket) as queue:
        number = queue.submit("shell", payload="exec sleep 600")
        process = run(daemon, sys.executable, str(WORKERS / "agent_trio.py"))
        become_claimed(queue, number)
        process.send_signal(signal.SIGTERM)
        finished(process, 130)
        shown = queue.show(number)
        assert (shown["state"], shown["crashes"], shown["failures"]) == ("ready", 0, 0)


def bin_of(tmp_path: Path) -> str:
    """A PATH in which swarmctl is ours."""
    script = tmp_path / "swarmctl"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m swarmctl "$@"\n')
    script.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


def test_the_agent_in_shell(daemon: Daemon, tmp_path: Path) -> None:
    with Client("tester", daemon.socket) as queue:
        queue.submit("count", payload="one two three")
        queue.submit("count", max_attempts=1)
        process = run(daemon, "sh", str(WORKERS / "agent.sh"), "1s", PATH=bin_of(tmp_path))
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        shown: dict[str, Any] = queue.show(1)
        assert (shown["state"], shown["note"]) == ("done", "3 words")
        assert queue.show(2)["reason"] == "it has no payload"
        process = run(daemon, "sh", str(WORKERS / "agent.sh"), "1s", PATH=bin_of(tmp_path), SWARMSH_AGENT="c")
        while daemon.call("status")["waiters"] == 0:
            pass
        process.send_signal(signal.SIGTERM)
        queue.submit("count", payload="one")
        process.communicate(timeout=PATIENCE)
        assert (process.returncode, queue.show(3)["state"]) == (130, "ready")


def test_a_client_in_another_language(daemon: Daemon) -> None:
    perl = shutil.which("perl")
    if perl is None or subprocess.run([perl, "-MCBOR::XS", "-e", "1"], capture_output=True, check=False).returncode:
        pytest.skip("perl with CBOR::XS is not installed (apt-get install libcbor-xs-perl)")
    program = WORKERS / "client.pl"
    assert len(program.read_text().splitlines()) < 100
    assert finished(run(daemon, perl, str(program))).splitlines() == [
        "submitted 1",
        "claimed 1: say hello",
        "completed: done",
        "refused: lease_lost: item 1: lease lost (the item is done); claim it again",
    ]
    shown = daemon.call("show", id=1)
    assert (shown["state"], shown["percent"], shown["note"]) == ("done", 50, "hello")
