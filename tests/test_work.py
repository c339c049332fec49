"""The worker loop: real items, real COMMANDs, real signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE, Daemon, alive, number_in, until

pytestmark = pytest.mark.real

CTL = f"{sys.executable} -m swarmctl"


def submit(daemon: Daemon, number: int = 1, **facts: Any) -> list[int]:
    commands = [["submit", {"type": "t", "description": "d", **facts}] for _ in range(number)]
    return [reply[1]["id"] for reply in daemon.call("batch", commands=commands, key=os.urandom(8).hex())["replies"]]


def show(daemon: Daemon, number: int = 1) -> dict[str, Any]:
    item: dict[str, Any] = daemon.call("show", id=number)
    return item


def test_it_does_everything_and_ends(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon, payload=b"pay\0load", priority="high")
    submit(daemon, 3)
    file = f"{tmp_path}/$SWARMSH_ITEM"
    script = f'cat >{file}; env | grep ^SWARMSH_ | sort >>{file}; echo "at $SWARMSH_ITEM"'
    (tmp_path / "tmp").mkdir()
    temporary = {"TMPDIR": str(tmp_path / "tmp")}
    done = daemon.ctl("work", "-j", "2", "--until-empty", "--", "sh", "-c", script, AGENT_ID="me", **temporary)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == ["1 done", "2 done", "3 done", "4 done"]
    assert sorted(done.stderr.splitlines()) == [f"[{number}] at {number}" for number in range(1, 5)]
    item = show(daemon)
    assert (item["state"], item["exit_status"], item["crashes"], item["output_size"]) == ("done", 0, 0, 5)
    assert daemon.call("get", id=1, what="output")["data"] == b"at 1\n"
    payload, _, environ = (tmp_path / "1").read_bytes().partition(b"load")
    assert payload == b"pay\0"
    seen = dict(line.split("=", 1) for line in environ.decode().splitlines())
    assert seen.pop("SWARMSH_TOKEN").startswith(f"{seen['SWARMSH_FENCE']}.")
    assert seen.pop("SWARMSH_CHECKPOINT_OUT") == seen.pop("SWARMSH_CHECKPOINT") + ".out"
    agent = seen.pop("SWARMSH_AGENT")
    assert agent.startswith("me.")
    assert show(daemon)["agent"] == agent
    assert seen == {
        "SWARMSH_ITEM": "1",
        "SWARMSH_TYPE": "t",
        "SWARMSH_PRIORITY": "high",
        "SWARMSH_QUEUE": "default",
        "SWARMSH_ATTEMPT": "1",
        "SWARMSH_FENCE": seen["SWARMSH_FENCE"],
        "SWARMSH_SOCKET": daemon.socket,
    }
    until(lambda: not list((tmp_path / "tmp").iterdir()))


def test_quiet_and_json(daemon: Daemon) -> None:
    submit(daemon)
    quiet = daemon.ctl("work", "--until-empty", "-q", "--", "echo", "x")
    assert (quiet.stdout, quiet.stderr) == ("1\n", "")
    submit(daemon)
    as_json = daemon.ctl("work", "--until-empty", "--json", "--", "true")
    assert '"id":2,"state":"done"' in as_json.stdout


@pytest.mark.parametrize(
    ("script", "state", "status", "reason"),
    [
        ("exit 3", "scheduled", 3, "exit status 3"),
        ("kill -SEGV $$", "scheduled", 139, "killed by SIGSEGV"),
        ("exit 1", "scheduled", 1, "exit status 1"),
    ],
)
def test_what_counts_as_a_failure(daemon: Daemon, script: str, state: str, status: int, reason: str) -> None:
    submit(daemon)
    done = daemon.ctl("work", "--until-empty", "--", "sh", "-c", f"echo last words; {script}")
    assert done.returncode == 1
    assert done.stdout.startswith("1 scheduled ")
    assert done.stdout.endswith(" attempt 2 of 5\n")
    item = show(daemon)
    assert (item["state"], item["exit_status"], item["reason"], item["failures"]) == (state, status, reason, 1)
    assert daemon.call("get", id=1, what="output")["data"] == b"last words\n"


def test_75_releases_for_longer_each_time(daemon: Daemon) -> None:
    submit(daemon)
    for times in range(3):
        done = daemon.ctl("work", "--once", "--", "sh", "-c", "exit 75")
        assert done.returncode == 75
        item = show(daemon)
        assert (item["state"], item["failures"], item["releases"]) == ("scheduled", 0, times + 1)
        away = item["due_at"] - daemon.call("status")["now"]
        assert 5000 << times >= away > (5000 << times) - 4000
        daemon.call("edit", id=1, delay=0, key=f"k{times}")
        until(lambda: show(daemon)["state"] == "ready")


def test_a_command_that_cannot_run_costs_no_item_anything(daemon: Daemon) -> None:
    submit(daemon, 5)
    done = daemon.ctl("work", "-j", "2", "--", "./no-such-command")
    assert done.returncode == 127
    assert "COMMAND cannot run (status 127)" in done.stderr
    assert daemon.call("count", state=["ready"])["count"] == 5
    items = daemon.call("list")["items"]
    assert {(item["failures"], item["crashes"]) for item in items} == {(0, 0)}


def test_after_a_success_126_is_the_items_own_fault(daemon: Daemon) -> None:
    submit(daemon, 2)
    done = daemon.ctl("work", "--until-empty", "--", "sh", "-c", "[ $SWARMSH_ITEM = 1 ] || exit 126")
    assert done.returncode == 1
    assert show(daemon, 2)["reason"] == "exit status 126"


def test_once(daemon: Daemon) -> None:
    assert daemon.ctl("work", "--once", "--", "true").returncode == 3
    submit(daemon, 3)
    assert daemon.ctl("work", "--once", "--", "true").returncode == 0
    assert daemon.ctl("work", "--once", "--", "false").returncode == 1
    assert daemon.call("count", state=["ready"])["count"] == 1


def test_a_row_of_failures_ends_it(daemon: Daemon) -> None:
    submit(daemon, 6)
    done = daemon.ctl("work", "--max-failures", "3", "--", "false")
    assert done.returncode == 1
    assert "3 items failed in a row" in done.stderr
    assert daemon.call("count", state=["ready"])["count"] == 3


def test_a_command_may_end_its_item_itself(daemon: Daemon) -> None:
    submit(daemon, 3)
    script = {
        1: "complete $SWARMSH_ITEM 'by hand, well' && exit 9",
        2: "fail $SWARMSH_ITEM mine",
        3: "release $SWARMSH_ITEM --delay 1h",
    }
    for number, words in script.items():
        done = daemon.ctl(
            "work", "--once", "--", "sh", "-c", f"unset SWARMSH_AGENT; {CTL} {words}; true", SWARMSH_QUEUE="default"
        )
        assert done.returncode == 0, done.stderr
        assert "lease lost" not in done.stderr
        assert show(daemon, number)["crashes"] == 0
    assert show(daemon, 1)["note"] == "by hand, well"
    assert show(daemon, 2)["reason"] == "mine"
    assert [show(daemon, number)["state"] for number in script] == ["done", "scheduled", "scheduled"]


def test_progress_inside_a_command(daemon: Daemon) -> None:
    submit(daemon)
    done = daemon.ctl("work", "--once", "--", "sh", "-c", f"unset SWARMSH_TOKEN; {CTL} progress $SWARMSH_ITEM 40 half")
    assert done.returncode == 0, done.stderr
    assert show(daemon)["status"] == "half"


def test_checkpoints_go_in_and_out(daemon: Daemon) -> None:
    submit(daemon)
    script = 'cat "$SWARMSH_CHECKPOINT"; printf "after $SWARMSH_ATTEMPT" >"$SWARMSH_CHECKPOINT_OUT"; exit 1'
    assert daemon.ctl("work", "--once", "--", "sh", "-c", script).returncode == 1
    assert daemon.call("get", id=1, what="checkpoint")["data"] == b"after 1"
    daemon.call("edit", id=1, delay=0, key="k")
    until(lambda: show(daemon)["state"] == "ready")
    assert daemon.ctl("work", "--once", "--", "sh", "-c", script).returncode == 1
    assert daemon.call("get", id=1, what="output")["data"] == b"after 1"
    assert daemon.call("get", id=1, what="checkpoint")["data"] == b"after 2"


def test_a_cancelled_item_ends_its_command(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon)
    script = f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 600; done"
    work = daemon.spawn("work", "--once", "--lease", "0.3", "--grace", "0.1", "--", "sh", "-c", script)
    pid = number_in(tmp_path / "pid")
    daemon.call("cancel", id=1, reason="wrong", key="k")
    out, err = work.communicate(timeout=PATIENCE)
    assert (work.returncode, out, err) == (0, "", "")
    assert not alive(pid)
    assert show(daemon)["state"] == "cancelled"


def test_paused_hard_it_stops_and_gives_back(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon)
    script = f"echo $$ >{tmp_path}/pid; exec sleep 600"
    work = daemon.spawn("work", "--lease", "0.3", "--", "sh", "-c", script)
    pid = number_in(tmp_path / "pid")
    daemon.call("pause", all=True, hard=True, key="k")
    until(lambda: show(daemon)["state"] == "ready", "the release")
    assert not alive(pid)
    item = show(daemon)
    assert (item["failures"], item["crashes"], item["releases"]) == (0, 0, 1)
    (tmp_path / "pid").unlink()
    daemon.call("resume", all=True, key="k2")
    pid = number_in(tmp_path / "pid")
    work.kill()
    work.communicate()
    until(lambda: not alive(pid))


def test_sigterm_lets_commands_finish(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon, 2)
    script = f"echo $$ >{tmp_path}/pid; while ! [ -e {tmp_path}/go ]; do sleep 0.01; done"
    work = daemon.spawn("work", "--", "sh", "-c", script)
    number_in(tmp_path / "pid")
    work.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    out, err = work.communicate(timeout=PATIENCE)
    assert (work.returncode, out, err) == (0, "1 done\n", "")
    assert show(daemon, 2)["state"] == "ready"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_after_grace_commands_are_ended_and_items_released(
    daemon: Daemon, tmp_path: Path, number: int, status: int
) -> None:
    submit(daemon, 2)
    script = f"trap '' TERM; echo $$ >{tmp_path}/$SWARMSH_ITEM; while :; do sleep 600; done"
    work = daemon.spawn("work", "-j2", "--grace", "0.05", "--", "sh", "-c", script)
    pids = [number_in(tmp_path / name) for name in "12"]
    work.send_signal(number)
    out, err = work.communicate(timeout=PATIENCE)
    assert (work.returncode, sorted(out.splitlines()), err) == (status, ["1 ready", "2 ready"], "")
    assert not any(map(alive, pids))
    assert {(show(daemon, n)["failures"], show(daemon, n)["crashes"]) for n in (1, 2)} == {(0, 0)}


def test_a_second_signal_ends_it_at_once(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon)
    script = f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 600; done"
    work = daemon.spawn("work", "--grace", "1h", "--", "sh", "-c", script)
    pid = number_in(tmp_path / "pid")
    work.send_signal(signal.SIGTERM)
    work.send_signal(signal.SIGINT)
    out, _ = work.communicate(timeout=PATIENCE)
    assert (work.returncode, out) == (130, "1 ready\n")
    assert not alive(pid)


def test_a_signal_while_it_waits_for_work(daemon: Daemon) -> None:
    work = daemon.spawn("work", "--", "true")
    until(lambda: daemon.call("status")["waiters"])
    work.send_signal(signal.SIGTERM)
    assert work.communicate(timeout=PATIENCE) == ("", "")
    assert work.returncode == 0
    submit(daemon)
    assert daemon.call("claim", agent="other", key="k")["items"][0]["attempt"] == 1


def test_killed_it_frees_its_items_only_when_their_commands_are_gone(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon, 3)
    script = f"echo $$ >{tmp_path}/$SWARMSH_ITEM; exec sleep 600"
    (tmp_path / "tmp").mkdir()
    work = daemon.spawn("work", "-j3", "--", "sh", "-c", script, TMPDIR=str(tmp_path / "tmp"))
    pids = [number_in(tmp_path / name) for name in "123"]
    assert len(list((tmp_path / "tmp").iterdir())) == 3
    work.kill()
    again = daemon.call("claim", agent="other", wait=20_000, key="k")["items"][0]
    assert not alive(pids[again["id"] - 1])
    work.communicate()
    until(lambda: daemon.call("count", state=["ready"])["count"] == 2)
    assert {show(daemon, number)["crashes"] for number in (1, 2, 3)} == {1}
    until(lambda: not list((tmp_path / "tmp").iterdir()))


def test_a_restart_of_the_daemon_is_not_seen(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon, 2)
    script = f"echo run >>{tmp_path}/runs; echo $$ >{tmp_path}/pid; while ! [ -e {tmp_path}/go ]; do sleep 0.01; done"
    work = daemon.spawn("work", "--until-empty", "--", "sh", "-c", script)
    number_in(tmp_path / "pid")
    daemon.kill()
    (tmp_path / "go").touch()
    daemon.start()
    out, _ = work.communicate(timeout=PATIENCE)
    assert (work.returncode, sorted(out.splitlines())) == (0, ["1 done", "2 done"])
    assert (tmp_path / "runs").read_text() == "run\n" * 2


def test_it_waits_for_work_that_comes(daemon: Daemon) -> None:
    work = daemon.spawn("work", "--", "true")
    until(lambda: daemon.call("status")["waiters"])
    for number in (1, 2):
        submit(daemon)
        until(lambda number=number: show(daemon, number)["state"] == "done")  # type: ignore[misc]
    work.terminate()
    work.communicate()


def test_many_at_once_do_nothing_twice(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon, 60)
    workers = [
        daemon.spawn("work", "-j3", "--until-empty", "-q", "--", "sh", "-c", f"echo $SWARMSH_ITEM >>{tmp_path}/log")
        for _ in range(4)
    ]
    printed: list[str] = []
    for worker in workers:
        out, err = worker.communicate(timeout=PATIENCE)
        assert (worker.returncode, err) == (0, "")
        printed += out.split()
    assert sorted(map(int, printed)) == sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(1, 61))


def test_output_is_bounded(daemon: Daemon) -> None:
    submit(daemon)
    done = daemon.ctl(
        "work", "--once", "-q", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end"
    )
    assert done.returncode == 0
    data = daemon.call("get", id=1, what="output")["data"]
    assert len(data) == 65_536
    assert data.endswith(b"x\nend\n")
    submit(daemon)
    assert daemon.ctl("work", "--once", "-q", "--tail", "4", "--", "echo", "12345").returncode == 0
    assert daemon.call("get", id=2, what="output")["data"] == b"345\n"
    submit(daemon)
    assert daemon.ctl("work", "--once", "-q", "--tail", "0", "--", "echo", "12345").returncode == 0
    assert "output_size" not in show(daemon, 3)


def test_jobs_come_from_its_own_environment_only(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon, 4)
    script = f"echo >>{tmp_path}/n; while [ $(wc -l <{tmp_path}/n) -lt 4 ]; do sleep 0.01; done"
    done = daemon.ctl("work", "--until-empty", "--", "sh", "-c", script, PARALLEL_JOBS="4")
    assert done.returncode == 0
    assert daemon.ctl("work", "--until-empty", "--", "true", PARALLEL_JOBS="many").returncode == 0


def test_usage(daemon: Daemon) -> None:
    for words in (("--",), ("--once", "--until-empty", "--", "true"), ("-j", "0", "--", "true"), ("true",)):
        done = daemon.ctl("work", *words)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_a_closed_stderr_does_not_stop_it(daemon: Daemon) -> None:
    submit(daemon, 2)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "swarmctl", "work", "--until-empty", "--", "echo", "x"],
        env=daemon.environment(), stdout=subprocess.PIPE, stderr=writer, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, sorted(done.stdout.split("\n"))) == (0, ["", "1 done", "2 done"])


def test_without_stdout_it_finishes_what_runs_and_ends(daemon: Daemon) -> None:
    submit(daemon, 6)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "swarmctl", "work", "-j2", "--", "sleep", "0.05"],
        env=daemon.environment(), stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
    assert daemon.call("count", by="state", all=True)["by"] == {"done": 2, "ready": 4}


def test_without_a_daemon_it_gives_up_in_time(directory: Path) -> None:
    daemon = Daemon(directory)
    done = daemon.ctl("work", "--timeout", "0.2", "--until-empty", "--", "true")
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1


def test_where_no_file_can_be_made_the_item_goes_back(daemon: Daemon, tmp_path: Path) -> None:
    submit(daemon)
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 0; exec "$0" -m swarmctl work -- true', sys.executable],
        env=daemon.environment(TMPDIR=str(tmp_path)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert show(daemon)["state"] == "ready"
    assert not list(tmp_path.iterdir())
