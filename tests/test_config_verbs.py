"""config show, get, set, unset and reload: swarmctl, a real daemon, its file and its signals."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from swarmshd.settings import TABLE
from tests.conftest import Daemon
from tests.test_cli_verbs import Ctl, Said, runner

pytestmark = pytest.mark.real


@pytest.fixture
def daemon(make_daemon: Any) -> Daemon:
    """A running daemon with a file of its own."""
    made: Daemon = make_daemon("MAX_ATTEMPTS=4")
    (made.directory / "c.toml").write_text('lease = "2m"  # short\n')
    return made.start("--config", str(made.directory / "c.toml"))


@pytest.fixture
def ctl(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> Ctl:
    return runner(daemon, capfd)


def lease(daemon: Daemon) -> int:
    """How long a claim lasts that is made now, in milliseconds."""
    item = daemon.call("claim_new", agent="a", type="t", description="d", key=os.urandom(4).hex())["items"][0]
    found = daemon.call("show", id=item["id"])
    return int(found["lease_until"]) - int(found["claimed_at"])


def write(daemon: Daemon, text: str) -> str:
    (daemon.directory / "c.toml").write_text(text)
    return f"{daemon.directory}/c.toml"


def test_every_setting_has_its_line(daemon: Daemon, ctl: Ctl) -> None:
    found = ctl("config", "show")
    assert (found.status, found.err) == (0, "")
    assert [row[0] for row in found.rows] == list(TABLE)
    assert {len(row) for row in found.rows} == {8}
    rows = {row[0]: row for row in found.rows}
    file = f"{daemon.directory}/c.toml"
    assert rows["LEASE"][1:7] == ["2m", "s", f"{file}:1", "live", "5m", "1s to 30d"]
    assert rows["MAX_ATTEMPTS"][1:5] == ["4", "failures", "--set", "live"]
    assert rows["FRAME_MAX"][1:5] == ["1M", "bytes", "default", "restart"]
    assert "\nBATCH_SIZE\t2000\tcommands\tdefault\tlive\t" in f"\n{found.out}"
    assert ctl("config").out == ctl("config", "ls").out == found.out
    assert ctl("config", "show", "lease", "FRAME_MAX").rows == [rows["LEASE"], rows["FRAME_MAX"]]
    (one,) = ctl("config", "show", "LEASE", "--json").json
    assert one | {"meaning": ""} == {
        "schema": 1, "ok": True, "name": "LEASE", "key": "lease", "value": "2m", "default": "5m", "unit": "s",
        "allowed": "1s to 30d", "meaning": "", "source": f"{file}:1", "live": True,
    }  # fmt: skip
    assert ctl("config", "get", "LEASE", "frame-max").out == "2m\n1M\n"
    assert ctl("config", "get", "LEESE") == (
        4, "", "swarmctl: config get: no setting is called 'LEESE'; did you mean LEASE?\n",
    )  # fmt: skip


def test_what_is_set_counts_at_once_until_it_is_taken_back_or_the_daemon_ends(daemon: Daemon, ctl: Ctl) -> None:
    assert lease(daemon) == 120_000
    assert ctl("config", "set", "lease=10m", "MAX_ATTEMPTS=9") == (0, "LEASE\t10m\tset\nMAX_ATTEMPTS\t9\tset\n", "")
    assert lease(daemon) == 600_000
    assert ctl("config", "unset", "LEASE") == (0, f"LEASE\t2m\t{daemon.directory}/c.toml:1\n", "")
    assert lease(daemon) == 120_000
    assert ctl("config", "unset", "LEASE").status == 4
    assert "config set by pid" in daemon.log.read_text()
    daemon.stop()
    daemon.start("--config", str(daemon.directory / "c.toml"))
    assert ctl("config", "get", "MAX_ATTEMPTS").out == "4\n"


def test_all_are_set_or_none(ctl: Ctl) -> None:
    for words, status, says in (
        (["LEASE=3m", "LEESE=1"], 2, "no setting is called 'LEESE'; did you mean LEASE?"),
        (["LEASE=3m", "AGENTS=many"], 2, "AGENTS: 'many' is not a whole number"),
        (["LEASE=3m", "AGENTS=0"], 2, "AGENTS: 0 is out of range; write 1 to 1000000"),
        (["LEASE=3m", "FRAME_MAX=2M"], 5, "FRAME_MAX is read at a start only: add --persist, and restart the daemon"),
        (["LEASE=2d"], 5, "LEASE (2d) is more than LEASE_MAX (1d); change one of them"),
        (["LEASE"], 2, "'LEASE' is not NAME=VALUE"),
        (["ACCESS_WORK=nobody-of-this-name"], 2, "ACCESS_WORK: there is no user nobody-of-this-name; name another"),
    ):
        assert ctl("config", "set", *words) == (status, "", f"swarmctl: config set: {says}\n")
    assert ctl("config", "get", "LEASE").out == "2m\n"


def test_persist_writes_the_file_that_the_daemon_reads(daemon: Daemon, ctl: Ctl) -> None:
    file = f"{daemon.directory}/c.toml"
    ctl("config", "set", "LEASE=9m")
    done = ctl("config", "set", "--persist", "LEASE=10m", "FRAME_MAX=2M")
    assert done.status == 0
    assert done.rows == [["LEASE", "10m", f"{file}:1"], ["FRAME_MAX", "1M", "default"]]
    assert done.err == "swarmctl: config set: FRAME_MAX is 2M from the next start on: restart the daemon\n"
    assert (daemon.directory / "c.toml").read_text() == 'lease = "10m"  # short\nframe_max = "2M"\n'
    assert lease(daemon) == 600_000
    assert ctl("config", "show", "FRAME_MAX").rows[0][4] == "restart (2M waits)"
    assert ctl("reload", "--json").json[0]["after_restart"] == "2M"
    refused = ctl("config", "set", "--persist", "MAX_ATTEMPTS=3")
    assert refused == (
        5, "", "swarmctl: config set: MAX_ATTEMPTS comes from --set, which goes before the file: change it there\n",
    )  # fmt: skip
    daemon.stop()
    daemon.start("--config", file)
    assert ctl("config", "show", "FRAME_MAX").rows[0][1:5] == ["2M", "bytes", f"{file}:2", "restart"]


def test_persist_into_a_file_with_a_fault_changes_neither(daemon: Daemon, ctl: Ctl) -> None:
    file = write(daemon, "lease = 60\nleese = 1\n")
    refused = ctl("config", "set", "--persist", "AGENTS=3")
    assert refused.status == 78
    assert refused.err.startswith(f"swarmctl: config set: {file}:2: no setting is called 'leese'")
    assert (daemon.directory / "c.toml").read_text() == "lease = 60\nleese = 1\n"
    assert ctl("config", "get", "AGENTS", "LEASE").out == "10000\n2m\n"


def test_a_file_that_is_not_taken_is_put_back(daemon: Daemon, ctl: Ctl) -> None:
    """Whether a user exists is found when it is looked up, after the file was written."""
    before = (daemon.directory / "c.toml").read_text()
    refused = ctl("config", "set", "--persist", "ACCESS_WORK=nobody-of-this-name")
    assert refused.status == 78
    assert f"{daemon.directory}/c.toml:2: ACCESS_WORK: there is no user nobody-of-this-name" in refused.err
    assert (daemon.directory / "c.toml").read_text() == before
    assert ctl("reload").status == 0


def test_a_reload_takes_all_or_nothing_and_says_so(daemon: Daemon, ctl: Ctl) -> None:
    assert ctl("reload") == (0, "", f"swarmctl: reload: nothing changed in {daemon.directory}/c.toml\n")
    file = write(daemon, "agents = 3\nlease = 60\nframe_max = '2M'\n")
    done = ctl("config", "reload")
    assert done.rows == [["LEASE", "1m", f"{file}:2"], ["AGENTS", "3", f"{file}:1"], ["FRAME_MAX", "1M", "default"]]
    assert "FRAME_MAX is 2M from the next start on" in done.err
    assert lease(daemon) == 60_000
    write(daemon, "agents = 4\nlease = 'soon'\n")
    refused = ctl("reload")
    assert (refused.status, refused.out) == (78, "")
    assert refused.err.startswith(f"swarmctl: reload: {file}:2: lease: 'soon' is not a duration")
    assert refused.err.endswith("; the settings stay as they were\n")
    assert ctl("reload", "--json").json[0]["code"] == "config"
    assert ctl("config", "get", "AGENTS", "LEASE").out == "3\n1m\n"
    assert f"{file}:2: lease: 'soon' is not a duration" in daemon.log.read_text()


def test_who_is_no_admin_may_look_and_not_change(daemon: Daemon, ctl: Ctl) -> None:
    with daemon.wire() as before:  # root's, who may always
        ctl("config", "set", "ACCESS_READ=12345", "ACCESS_WORK=12345")
        before.call("config")
    if os.geteuid() == 0:
        assert said(daemon, ctl).status == 77


def said(daemon: Daemon, ctl: Ctl) -> Said:
    """What somebody gets who may use the socket and has no rights."""
    for path in (daemon.directory.parent, daemon.directory):
        path.chmod(0o755)
    os.chmod(daemon.socket, 0o666)
    os.seteuid(54321)
    try:
        return ctl("config", "set", "LEASE=5m")
    finally:
        os.seteuid(0)


@pytest.fixture
def manager(tmp_path: Any) -> Iterator[socket.socket]:
    """The socket that a service manager reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        yield manager


def test_a_hang_up_is_a_reload_as_the_service_manager_wants_it(
    make_daemon: Any, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    daemon: Daemon = make_daemon()
    file = write(daemon, "lease = 60\n")
    daemon.start("--config", file)
    ready = f"READY=1\nSTATUS=ready on {daemon.socket}"
    assert manager.recv(4096).decode() == ready
    for text, status in (("lease = 90\n", ready), ("lease = x\n", f"{ready}; not read again: {file}:1: not TOML")):
        write(daemon, text)
        os.kill(daemon.pid, signal.SIGHUP)
        announced, _, monotonic = manager.recv(4096).decode().partition("\nMONOTONIC_USEC=")
        assert announced == "RELOADING=1"
        assert monotonic.isdigit()
        assert manager.recv(4096).decode().startswith(status)
        assert lease(daemon) == 90_000
    assert json.loads(json.dumps(daemon.call("config", names=["LEASE"])))["settings"][0]["source"] == f"{file}:1"
    log = daemon.log.read_text()
    assert "SIGHUP: LEASE 1m -> 90s" in log
    assert "the settings stay as they were" in log
