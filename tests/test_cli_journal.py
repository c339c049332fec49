"""swarmctl journal and backup for a directory, and swarmshd --restore, as people type them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarmshd.journal.files import listing
from tests.conftest import PATIENCE, ROOT, Daemon, until

pytestmark = pytest.mark.real


@pytest.fixture
def stopped(daemon: Daemon) -> Daemon:
    """A daemon that has worked a bit and was stopped."""
    for number in range(4):
        daemon.call("submit", type="t", description=f"item {number}")
    daemon.call("claim", agent="a", count=2)
    assert daemon.stop() == 0
    return daemon


def facts(out: str) -> dict[str, str]:
    return dict(line.split("\t")[:2] for line in out.splitlines())


def state_dir(daemon: Daemon) -> tuple[str, str]:
    return "--state-dir", str(daemon.state)


def test_list_check_and_dump(stopped: Daemon) -> None:
    done = stopped.ctl("journal", "list", *state_dir(stopped))
    assert done.stderr == ""
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [["segment", "segment-00000000000000000000"], ["reserve", "reserve"]]
    done = stopped.ctl("journal", "check", *state_dir(stopped))
    assert (done.returncode, done.stderr) == (0, "")
    found = facts(done.stdout)
    assert (found["sound"], found["items"]) == ("yes", "4")
    assert int(found["sync_us"]) > 0
    done = stopped.ctl("journal", "dump", "--id", "2", *state_dir(stopped))
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["submitted", "claimed"]
    assert stopped.ctl("-q", "journal", "check", "--no-measure", *state_dir(stopped)).stdout == "sound\n"
    done = stopped.ctl("journal", "archive", "--dry-run", *state_dir(stopped))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_there_is_nothing_to_upgrade(daemon: Daemon) -> None:
    """Beside a daemon and without one: the format that is there is the newest that is written."""
    daemon.call("submit", type="t", description="d")
    assert daemon.ctl("journal", "snapshot").returncode == 0
    said = daemon.ctl("journal", "upgrade")
    assert (said.returncode, said.stderr) == (0, "")
    found = facts(said.stdout)
    assert (found["format"], found["rows"], found["to_do"]) == ("1", "1", "nothing")
    assert (found["format"], found["rows"]) == (found["writes_format"], found["writes_rows"])
    assert found["files"] == "3", "the segment in use, the archived one, the snapshot"
    assert daemon.ctl("journal", "upgrade", *state_dir(daemon)).returncode == 75, "a daemon is at work there"
    assert daemon.stop() == 0
    assert daemon.ctl("journal", "upgrade", *state_dir(daemon)).stdout == said.stdout
    assert daemon.ctl("-q", "journal", "upgrade", *state_dir(daemon)).stdout == "nothing\n"
    assert json.loads(daemon.ctl("--json", "journal", "upgrade", *state_dir(daemon)).stdout)["files"] == 3


@pytest.mark.parametrize("role", ["segment", "snapshot"])
def test_a_later_format_is_neither_upgraded_nor_touched(daemon: Daemon, role: str) -> None:
    daemon.call("submit", type="t", description="d")
    assert daemon.ctl("journal", "snapshot").returncode == 0
    assert daemon.stop() == 0
    found = listing(daemon.state)
    path = (found.segments if role == "segment" else found.snapshots)[-1][1]
    data = path.read_bytes()
    later = data[:8] + b"\0\0\0\2" + data[12:20] + b"later" + data[25:]
    path.write_bytes(later)
    done = daemon.ctl("journal", "upgrade", *state_dir(daemon))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.endswith(
        "journal format 2, and this program reads format 1; start the newer program that wrote it\n"
    )
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == later


@pytest.mark.parametrize("online", [True, False], ids=["daemon", "files"])
def test_the_archive_is_pruned(make_daemon: Any, online: bool) -> None:
    daemon: Daemon = make_daemon("JOURNAL_COMPRESSION_AGE_DAYS=7").start()
    for _ in range(2):
        daemon.call("submit", type="t", description="d")
        assert daemon.ctl("journal", "snapshot").returncode == 0
    until(lambda: len(list((daemon.state / "archive").glob("segment-*"))) == 2, "both are archived")
    where: tuple[str, ...] = ()
    if not online:
        assert daemon.stop() == 0
        where = state_dir(daemon)
    assert daemon.ctl("journal", "archive", "--prune", "1h", *where).stdout == ""
    dry = daemon.ctl("journal", "archive", "--prune", "0", "--dry-run", *where)
    assert dry.stdout.count("removed\tarchive/segment-") == 2
    assert len(list((daemon.state / "archive").glob("segment-*"))) == 2
    assert daemon.ctl("journal", "archive", "--prune", "0", *where).stdout == dry.stdout
    assert not list((daemon.state / "archive").glob("segment-*"))


def test_damage_is_told_repaired_and_the_daemon_goes_on(stopped: Daemon, make_daemon: Any) -> None:
    path = listing(stopped.state).segments[0][1]
    path.write_bytes(path.read_bytes().replace(b"item 2", b"ITEM 2"))
    started = subprocess.run(
        stopped.command(), capture_output=True, text=True, cwd=ROOT, env=stopped.environment(), check=False
    )
    assert started.returncode == 78
    command = started.stderr.partition("run `swarmctl ")[2].partition("`")[0].split()
    done = stopped.ctl("journal", "check", "--no-measure", *state_dir(stopped))
    assert done.returncode == 78
    assert done.stdout.startswith(f"damaged\t{path}\t")
    done = stopped.ctl(*command)
    assert done.returncode == 0
    assert facts(done.stdout.partition("\n")[2])["whole"] == "no"
    assert "mv " in done.stderr
    again = make_daemon()
    again.state = Path(command[command.index("--to") + 1])
    again.start()
    assert [item["id"] for item in again.call("list")["items"]] == [1, 2, 4]
    assert again.call("show", id=1)["state"] == "claimed"


def test_a_backup_is_restored_elsewhere(stopped: Daemon, make_daemon: Any, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    done = stopped.ctl("backup", str(file), *state_dir(stopped))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file}\t{file.stat().st_size}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    found = facts(stopped.ctl("backup", "--verify", str(file)).stdout)
    assert (found["items"], found["open"]) == ("4", "4")
    assert stopped.ctl("backup", str(file), *state_dir(stopped)).returncode == 0, "another takes its place"
    other = make_daemon()
    for status, says in ((0, "restored 4 items, 4 of them open, 2 given back"), (5, "is not empty")):
        command = [*other.command(), "--restore", str(file)]
        made = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=other.environment(), timeout=PATIENCE, check=False
        )
        assert made.returncode == status
        assert says in made.stdout + made.stderr
        assert (made.stdout + made.stderr).count("\n") == 1
    other.start()
    assert other.call("count", state=["ready"]) == {"count": 4}
    assert other.call("agents")["agents"] == [], "those of before are nobody here"
    assert other.call("submit", type="t", description="new")["id"] > 1 << 32


def test_what_cannot_be_done_is_one_line(stopped: Daemon, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("no backup")
    for arguments, status, says in (
        (["--timeout", "0.1", "journal", "check"], 69, stopped.socket),
        (["journal", "check", "--digest", *state_dir(stopped)], 2, "--state-dir"),
        (["journal", "repair", *state_dir(stopped)], 2, "--to"),
        (["journal", "list", "--state-dir", "/nowhere"], 1, "/nowhere: No such file or directory"),
        (["journal", "repair", *state_dir(stopped), "--to", str(tmp_path)], 5, "not empty"),
        (["backup", "--verify", str(tmp_path / "note")], 78, "no backup"),
        (["backup", "--verify", str(tmp_path / "none")], 1, "cannot read"),
        (["backup", str(tmp_path / "no" / "where"), *state_dir(stopped)], 1, "cannot write"),
    ):
        done = stopped.ctl(*arguments)
        assert (done.returncode, done.stdout) == (status, ""), arguments
        assert done.stderr.count("\n") == 1
        assert says in done.stderr
    stopped.start()
    done = stopped.ctl("journal", "check", *state_dir(stopped))
    assert done.returncode == 75
    assert f"process {stopped.pid}" in done.stderr
