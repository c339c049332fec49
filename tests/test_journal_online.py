"""The journal's files while the daemon writes to them: list, check, dump, archive, backup."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from swarmctl import Client
from swarmctl.connection import Refused
from swarmshd.carrier import streams
from tests.conftest import PATIENCE, ROOT, Daemon
from tests.test_cli_journal import facts
from tests.test_watch import submit

pytestmark = pytest.mark.real


@contextmanager
def load(daemon: Daemon) -> Iterator[None]:
    """Somebody works at the queue all the while, in several connections."""
    over = threading.Event()
    failed: list[BaseException] = []

    def work(agent: str) -> None:
        try:
            with Client(socket=daemon.socket, agent=agent) as client:
                while not over.is_set():
                    client.submit("t", "under load", payload=b"x" * 200)
                    client.claim().complete()
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(f"agent{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed, failed


def programs(daemon: Daemon) -> list[int]:
    """The processes that the daemon runs beside itself to look at the journal's files."""
    found = []
    for number in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split():
        try:
            if b"swarmshd.salvage" in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(int(number))
        except FileNotFoundError:
            continue
    return found


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_journal_is_looked_at_while_the_daemon_works(daemon: Daemon) -> None:
    (first, *_) = submit(daemon, 3)
    done = daemon.ctl("journal", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["segment", "reserve"]
    done = daemon.ctl("journal", "dump", "--id", str(first))
    assert [row["event"] for row in rows(done.stdout)] == ["submitted"]
    with load(daemon):
        done = daemon.ctl("journal", "check")
        assert (done.returncode, done.stderr) == (0, "")
        found = facts(done.stdout)
        assert found["sound"] == "yes"
        assert int(found["sync_us"]) > 0
        assert int(found["read_mib_per_second"]) > 0
        dumped = rows(daemon.ctl("journal", "dump").stdout)
    positions = [row["position"] for row in dumped]
    assert positions == list(range(1, len(positions) + 1))


def test_the_state_of_the_daemon_is_what_its_journal_gives(make_daemon: Any) -> None:
    """Compared at one position, while the daemon works, turns to new segments and folds."""
    daemon = make_daemon("JOURNAL_ROTATION_MB=1").start()
    submit(daemon, 200)
    positions = set()
    with load(daemon):
        for _ in range(3):
            done = daemon.ctl("--json", "journal", "check", "--digest", "--no-measure")
            assert (done.returncode, done.stderr) == (0, ""), done.stdout
            (verdict,) = rows(done.stdout)
            assert verdict["sound"]
            assert verdict["daemon_digest"] == verdict["digest"]
            positions.add(verdict["position"])
    assert len(positions) == 3, "each was another state"


def test_the_digest_is_made_without_a_word_on_standard_error(make_daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on a process with threads that forks is warned of it."""
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    daemon = make_daemon().start()
    submit(daemon, 1)
    assert daemon.ctl("snapshot").returncode == 0, "there are threads"
    assert daemon.ctl("journal", "check", "--digest", "--no-measure").returncode == 0
    assert "Warning" not in daemon.log.read_text()


def test_a_backup_of_a_daemon_at_work_is_whole(daemon: Daemon, make_daemon: Any, tmp_path: Path) -> None:
    submit(daemon, 50)
    file = tmp_path / "backup"
    with load(daemon):
        done = daemon.ctl("backup", str(file))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{file}\t{file.stat().st_size}\n"
        acknowledged = daemon.call("count")["count"]
        assert acknowledged >= 50
    assert file.stat().st_mode & 0o777 == 0o600
    found = facts(daemon.ctl("backup", "--verify", str(file)).stdout)
    assert int(found["open"]) >= 50
    other = make_daemon()
    made = subprocess.run(
        [*other.command(), "--restore", str(file)], capture_output=True, text=True, cwd=ROOT, env=other.environment(),
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    other.start()
    assert other.call("count")["count"] >= 50
    assert other.call("count", state=["claimed"]) == {"count": 0}


def test_a_backup_through_a_pipe(daemon: Daemon) -> None:
    submit(daemon, 5)
    command = [sys.executable, "-m", "swarmctl", "backup"]
    with subprocess.Popen([*command, "-"], stdout=subprocess.PIPE, env=daemon.environment()) as writer:
        verified = subprocess.run(
            [*command, "--verify", "-"],
            stdin=writer.stdout, capture_output=True, text=True, env=daemon.environment(), check=False,
        )  # fmt: skip
        assert writer.wait(PATIENCE) == 0
    assert facts(verified.stdout)["items"] == "5"


def fill(daemon: Daemon) -> None:
    """3 MB."""
    for _ in range(4):
        submit(daemon, 15, payload=os.urandom(50_000))


def begin(daemon: Daemon, client: Client) -> int:
    """A backup that is longer than what pipe and part hold, of which the first part was taken."""
    fill(daemon)
    part = client.journal_part("backup")
    assert part["more"]
    assert len(part["data"]) == streams.PART_BYTES
    assert len(programs(daemon)) == 1
    stream: int = part["stream"]
    return stream


def wait_until_none(daemon: Daemon) -> None:
    for _ in range(int(PATIENCE * 100)):
        if not programs(daemon):
            return
        threading.Event().wait(0.01)
    raise AssertionError("the program goes on")


def test_who_goes_away_leaves_nothing_behind(daemon: Daemon) -> None:
    with Client(socket=daemon.socket) as client:
        stream = begin(daemon, client)
        with Client(socket=daemon.socket) as other, pytest.raises(Refused, match="none of this connection's"):
            other.journal_part("backup", stream)
    wait_until_none(daemon)


def test_what_a_fold_removes_meanwhile_is_in_the_backup_all_the_same(make_daemon: Any, tmp_path: Path) -> None:
    daemon = make_daemon("JOURNAL_ROTATION_MB=1", "ARCHIVE_MAX_MB=0").start()
    with Client(socket=daemon.socket) as client:
        stream = begin(daemon, client)
        parts = []
        for path in sorted(daemon.state.glob("segment-*"))[:-1]:
            path.unlink()
        part: dict[str, Any] = {"more": True}
        while part["more"]:
            part = client.journal_part("backup", stream)
            parts.append(part["data"])
        assert (part["status"], part["why"]) == (0, "")
        assert sum(map(len, parts)) > 2_500_000
    wait_until_none(daemon)


def test_what_is_removed_from_the_archive_meanwhile_is_checked_all_the_same(make_daemon: Any) -> None:
    daemon = make_daemon("JOURNAL_ROTATION_MB=1").start()
    for _ in range(10):
        submit(daemon, 500, payload=b"x" * 500)  # told in more than a part and the pipe hold
    assert daemon.ctl("snapshot").returncode == 0
    with Client(socket=daemon.socket) as client:
        part = client.journal_part("dump")
        assert part["more"]
        assert daemon.ctl("config", "set", "JOURNAL_RETENTION_DAYS=0").returncode == 0
        while list((daemon.state / "archive").glob("segment-*")):
            threading.Event().wait(0.01)
        data = part["data"]
        while part["more"]:
            part = client.journal_part("dump", part["stream"])
            data += part["data"]
        assert (part["status"], part["why"]) == (0, "")
    positions = [row["position"] for row in rows(data.decode())]
    assert positions == list(range(1, len(positions) + 1))
    assert len(positions) > 5000
    assert daemon.ctl("journal", "check", "--no-measure").returncode == 0


def test_only_so_many_at_once(daemon: Daemon) -> None:
    fill(daemon)
    with Client(socket=daemon.socket) as client:
        found = [client.journal_part("backup")["stream"] for _ in range(streams.STREAMS_MAX)]
        assert len(set(found)) == streams.STREAMS_MAX
        with Client(socket=daemon.socket, timeout=4) as other, pytest.raises(Refused, match="4 streams are open"):
            other.journal_part("list")
        assert client.journal_part("backup", found[0])["data"], "the others go on"
    wait_until_none(daemon)
    assert daemon.ctl("journal", "list").returncode == 0


def test_a_damaged_segment_is_told_while_the_daemon_works(make_daemon: Any) -> None:
    daemon = make_daemon("JOURNAL_ROTATION_MB=1").start()
    fill(daemon)
    segment = min(daemon.state.glob("segment-*"))
    with segment.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    done = daemon.ctl("journal", "check", "--no-measure")
    assert done.returncode == 78
    assert done.stdout.startswith(f"damaged\t{segment}\t")
    assert "sound\tno" in done.stdout
    assert daemon.ctl("-q", "journal", "check", "--no-measure").stdout == f"{segment}\ndamaged\n"


def test_a_daemon_that_goes_away_is_said(daemon: Daemon) -> None:
    fill(daemon)
    read, write = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "swarmctl", "--timeout", "8", "backup", "-"],
            stdout=write, stderr=subprocess.PIPE, text=True, env=daemon.environment(),
        ) as reader:  # fmt: skip
            os.close(write)
            assert len(os.read(read, 100)) == 100
            daemon.kill()
            while os.read(read, 1 << 16):
                pass
            assert reader.wait(PATIENCE) == 75
            assert reader.stderr is not None
            said = reader.stderr.read().splitlines()
            assert said[-1] == "swarmctl: backup: the daemon went away before it was done; begin again"
    finally:
        os.close(read)
