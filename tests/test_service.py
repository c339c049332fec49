"""The units under a real systemd: installed, started, connected to, restarted, killed, hung, reloaded, removed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmshd.systemd import MESSAGE_IDS
from tests.conftest import PATIENCE, ROOT, until
from tests.machine import PLACE, Machine, why_not

pytestmark = pytest.mark.slow

UNITS = ROOT / "systemd"
STATE = "/var/lib/swarmsh"
SERVICE, SOCKET = "swarmshd.service", "swarmshd.socket"

needs_systemd = pytest.mark.skipif(not Path("/usr/bin/systemd-analyze").exists(), reason="systemd is not installed")
on_a_machine = [pytest.mark.real, pytest.mark.xdist_group("machine")]  # it is made once


# -- the files ------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The directory of the units as ``install-units`` writes them, for programs that are there."""
    command = [sys.executable, str(ROOT / "bin/swarmctl"), "install-units"]
    programs = os.path.dirname(sys.executable)
    subprocess.run([*command, "--root", str(tmp_path), "--bin-dir", programs], check=True, capture_output=True)
    return tmp_path / "etc/systemd/system"


@needs_systemd
@pytest.mark.real
def test_systemd_finds_nothing_to_say_of_the_units(installed):
    units = [str(installed / name) for name in (SERVICE, SOCKET)]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)  # noqa: PLW1510
    ours = [line for line in done.stderr.splitlines() if "swarmsh" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
@pytest.mark.real
def test_the_exposure_of_the_service_is_at_most_one_half(installed):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=5", str(installed / SERVICE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def units_of(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``install-units``."""
    command = [sys.executable, str(ROOT / "bin/swarmctl"), "install-units", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_a_package_gets_its_files_where_packages_have_them(tmp_path):
    done = units_of(tmp_path, "--root", str(tmp_path), "--bin-dir", "/usr/bin")
    assert done.returncode == 0, done.stderr
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found >= {
        "usr/lib/systemd/system/swarmshd.service",
        "usr/lib/systemd/system/swarmshd.socket",
        "usr/lib/sysusers.d/swarmsh.conf",
        "usr/lib/tmpfiles.d/swarmsh.conf",
    }
    assert {f"{tmp_path}/{name}" for name in found} == set(done.stdout.splitlines())
    assert "ExecStart=/usr/bin/swarmshd\n" in (tmp_path / "usr/lib/systemd/system/swarmshd.service").read_text()


def test_the_programs_of_the_environment_are_put_in(installed):
    text = (installed / SERVICE).read_text()
    assert f"ExecStart={os.path.dirname(sys.executable)}/swarmshd\n" in text
    assert "/usr/bin" not in text


def test_what_somebody_changed_is_neither_overwritten_nor_removed(tmp_path):
    options = ("--root", str(tmp_path), "--bin-dir", "/usr/bin")
    units_of(tmp_path, *options)
    service = tmp_path / "usr/lib/systemd/system" / SERVICE
    socket = service.with_name(SOCKET)
    service.write_text(service.read_text().replace("RestartSec=500ms", "RestartSec=5s"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = units_of(tmp_path, *options)
    assert (done.returncode, done.stdout) == (5, "")
    assert f"{service} was changed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = units_of(tmp_path, *options, "--uninstall")
    assert done.returncode == 1
    assert service.exists()
    assert not socket.exists()


def test_a_file_of_an_earlier_version_is_replaced(tmp_path):
    options = ("--root", str(tmp_path), "--bin-dir")
    units_of(tmp_path, *options, "/opt/a/bin")
    assert units_of(tmp_path, *options, "/opt/b/bin").returncode == 0
    text = (tmp_path / "etc/systemd/system" / SERVICE).read_text()
    assert "ExecStart=/opt/b/bin/swarmshd\n" in text


def test_uninstalling_leaves_nothing(tmp_path):
    options = ("--root", str(tmp_path), "--bin-dir", "/usr/bin")
    units_of(tmp_path, *options)
    assert units_of(tmp_path, *options, "--uninstall").returncode == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_user_gets_a_service_of_his_own(tmp_path):
    done = units_of(tmp_path, "--root", str(tmp_path), "--user", XDG_CONFIG_HOME="/home/a/.config")
    assert done.returncode == 0, done.stderr
    assert {Path(line).name for line in done.stdout.splitlines()} == {SERVICE, SOCKET}
    text = (tmp_path / "home/a/.config/systemd/user" / SERVICE).read_text()
    assert "User=" not in text
    assert "WantedBy=default.target" in text


def test_print_writes_nothing(tmp_path):
    done = units_of(tmp_path, "--root", str(tmp_path), "--print", "--bin-dir", "/usr/bin")
    assert "[Service]\n" in done.stdout
    assert not list(tmp_path.iterdir())


# -- the service ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Machine]:
    """A machine on which the service was installed and started as an operator would."""
    if why := why_not():
        pytest.skip(why)
    place = tmp_path_factory.mktemp("machine")
    made = Machine(place / "root", f"swarmsh-{os.getpid()}")
    made.make()
    try:
        made.boot()
        made.run("swarmctl", "install-units", "--now")
        yield made
    finally:
        made.stop()


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The machine, with the service as it was after installing it."""
    yield machine
    for dropin in (machine.root / "etc/systemd/system").glob("swarmshd.service.d/99-*.conf"):
        dropin.unlink()
    (machine.root / "etc/swarmsh/swarmshd.toml").unlink(missing_ok=True)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "restart", SERVICE)


def dropin(machine: Machine, text: str) -> None:
    """Have the service run with this as well."""
    place = machine.root / "etc/systemd/system/swarmshd.service.d"
    place.mkdir(exist_ok=True)
    (place / "99-test.conf").write_text(text)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)


def main_pid(machine: Machine) -> int:
    """The daemon's pid, in the machine."""
    return int(machine.show(SERVICE, "MainPID"))


class TestService:
    """Under a real systemd."""

    pytestmark = on_a_machine

    def test_it_runs_says_so_and_is_found(self, machine):
        assert machine.show(SERVICE, "ActiveState") == "active"
        assert machine.show(SERVICE, "StatusText") == "ready on /run/swarmsh/swarmsh.sock"
        assert machine.show(SERVICE, "User") == "swarmsh"
        status = json.loads(machine.run("swarmctl", "--json", "status").stdout)
        assert (status["state_dir"], status["pid"]) == ("/var/lib/swarmsh", main_pid(machine))
        mode = (machine.root / "var/lib/swarmsh").stat().st_mode
        assert mode & 0o777 == 0o700

    def test_messages_are_found_by_their_fields(self, machine):
        found = machine.run("journalctl", "-o", "json", f"MESSAGE_ID={MESSAGE_IDS['created']}").stdout.splitlines()
        message = json.loads(found[0])
        assert message["MESSAGE"] == "new queue created in /var/lib/swarmsh"
        assert (message["PRIORITY"], message["_SYSTEMD_UNIT"]) == ("6", SERVICE)
        assert message["SWARMSH_LOGGER"] == "swarmshd"

    def test_a_second_installation_changes_nothing(self, machine):
        before = main_pid(machine)
        machine.run("swarmctl", "install-units", "--now")
        assert main_pid(machine) == before

    def test_the_group_may_work_and_others_may_not_come_in(self, machine):
        made = machine.run("swarmctl", "submit", "t", "of alice", user="alice", groups="swarmsh").stdout.strip()
        row = json.loads(machine.run("swarmctl", "--json", "show", made).stdout)
        assert row["submitted_by"]["uid"] == 1234, "who connects is seen through the sandbox"
        refused = machine.run("swarmctl", "submit", "t", "of bob", user="bob", check=False)
        assert (refused.returncode, refused.stdout) == (77, "")
        assert "usermod -aG swarmsh bob" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1

    def test_admin_verbs_are_for_the_admins(self, machine):
        denied = machine.run("swarmctl", "pause", "q", user="alice", groups="swarmsh", check=False)
        assert denied.returncode == 77
        machine.run("swarmctl", "pause", "q", user="bob", groups="swarmsh,swarmsh-admin")
        machine.run("swarmctl", "resume", "q")

    def test_the_sandbox_holds(self, machine):
        """What the daemon sees of the host, through its own namespaces."""
        pid = main_pid(machine)
        inside = ("nsenter", "-t", str(pid), "-m", "--")
        assert machine.run(*inside, "touch", "/etc/x", check=False).returncode
        assert machine.run(*inside, "ls", "/home/..", check=False).returncode == 0
        status = machine.run("cat", f"/proc/{pid}/status").stdout
        assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)
        assert re.search(r"^Seccomp:\s2$", status, re.MULTILINE)

    def test_calls_during_restarts_all_succeed(self, service):
        """Twenty clients submit, claim and complete while the service is restarted; each item is done once."""
        script = (
            "for n in 1 2 3; do id=$(swarmctl submit -q r item) || exit 1; "
            "swarmctl claim --id $id --agent a$1 -q >/dev/null && swarmctl complete $id --agent a$1 || exit 2; done"
        )
        clients = [
            subprocess.Popen(
                service.command("sh", "-c", script, "sh", str(number)),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd="/",
            )
            for number in range(20)
        ]
        restarts = 0
        while any(client.poll() is None for client in clients):
            service.run("systemctl", "restart", SERVICE)
            restarts += 1
        said = [(client.communicate()[0], client.returncode) for client in clients]
        assert [each for each in said if each[1]] == []
        assert restarts > 1
        done = service.run("swarmctl", "count", "--type", "r", "--state", "done").stdout
        assert done.split()[-1] == "60"

    def test_those_who_wait_do_not_see_a_restart(self, service):
        waits = ["claim --queue w --wait 60s -q", "lock held --wait 60s -- true", "watch --queue w --until-change"]
        first = service.run("swarmctl", "submit", "t", "to wait for").stdout.strip()
        script = "echo $$ >/tmp/holder; exec swarmctl lock held -- sleep 600"
        holder = subprocess.Popen(service.command("sh", "-c", script), cwd="/")
        until(lambda: service.run("swarmctl", "locks", "-q").stdout == "held\n", "somebody has the lock")
        waiting = [
            subprocess.Popen(
                service.command("sh", "-c", f"swarmctl {words}"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd="/",
            )
            for words in (*waits, f"wait {first} --timeout 60")
        ]

        def in_wait() -> bool:
            status = json.loads(service.run("swarmctl", "--json", "status").stdout)
            return bool(status["waiters"] == 4)

        until(in_wait, f"all four wait: {[client.poll() for client in waiting]}")
        service.run("systemctl", "restart", SERVICE)
        until(in_wait, "they wait again")
        service.run("sh", "-c", "kill $(cat /tmp/holder)")
        holder.wait(PATIENCE)
        made = service.run("swarmctl", "submit", "t", "x", "--queue", "w").stdout.strip()
        service.run("swarmctl", "claim", "--id", first, "--agent", "b")
        service.run("swarmctl", "complete", first, "--agent", "b")
        ended = [(client.wait(PATIENCE), *client.communicate()) for client in waiting]
        assert [status for status, *_ in ended] == [0] * 4, ended
        assert ended[0][1].strip() == made

    def test_leases_keep_their_time(self, service):
        made = service.run("swarmctl", "submit", "t", "x").stdout.strip()
        service.run("swarmctl", "claim", "--id", made, "--agent", "l", "--lease", "1h")
        service.run("systemctl", "stop", SERVICE, SOCKET)
        service.run("systemctl", "start", SOCKET, SERVICE)
        row = json.loads(service.run("swarmctl", "--json", "show", made).stdout)
        assert row["state"] == "claimed"
        service.run("swarmctl", "complete", made, "--agent", "l")

    def test_a_crash_is_a_pause(self, service):
        before = int(service.show(SERVICE, "NRestarts"))
        made = service.run("swarmctl", "submit", "t", "x").stdout.strip()
        service.run("kill", "-KILL", str(main_pid(service)))
        assert service.run("swarmctl", "show", made).returncode == 0
        until(lambda: int(service.show(SERVICE, "NRestarts")) == before + 1, "systemd has started it again")
        assert service.show(SERVICE, "ActiveState") == "active"

    def test_a_hung_daemon_is_ended_with_its_stacks_in_the_journal(self, service):
        """Stopped, as by a disk that does not answer; the manager's signal goes through."""
        dropin(service, "[Service]\nWatchdogSec=1\n")
        pid = main_pid(service)
        before = int(service.show(SERVICE, "NRestarts"))
        service.run("kill", "-STOP", str(pid))
        until(lambda: "Watchdog timeout" in service.log("-u", SERVICE), "systemd misses the signs of life")
        until(lambda: int(service.show(SERVICE, "NRestarts")) > before, "it was started again")
        log = service.log("-u", SERVICE)
        assert "Fatal Python error: Aborted" in log
        assert "server/committer.py" in log, log

    def test_reloading_a_bad_file_fails_with_its_line_and_changes_nothing(self, service):
        place = service.root / "etc/swarmsh"
        place.mkdir(exist_ok=True)
        (place / "swarmshd.toml").write_text("batch_size = 700\n")
        (place / "swarmshd.toml").chmod(0o644)
        service.run("systemctl", "reload", SERVICE)
        assert "700" in service.run("swarmctl", "config", "get", "BATCH_SIZE").stdout
        (place / "swarmshd.toml").write_text('batch_size = "many"\n')
        failed = service.run("systemctl", "reload", SERVICE, check=False)
        assert failed.returncode != 0
        assert "swarmshd.toml:1" in service.log("-u", SERVICE)
        assert "700" in service.run("swarmctl", "config", "get", "BATCH_SIZE").stdout
        assert service.show(SERVICE, "ActiveState") == "active"

    def test_a_damaged_journal_is_told_to_every_client_and_started_once(self, service):
        """Twenty clients have their 78 at once, and the service is not started again and again."""
        service.run("swarmctl", "submit", "t", "before the damage")
        service.run("systemctl", "stop", SERVICE, SOCKET)
        (damaged,) = sorted((service.root / "var/lib/swarmsh").glob("segment-*"))[:1]
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        starts = int(service.show(SERVICE, "NRestarts"))
        try:
            service.run("systemctl", "start", SOCKET)
            clients = [
                subprocess.Popen(
                    service.command("swarmctl", "claim"),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd="/",
                )
                for _ in range(20)
            ]
            said = [(client.communicate()[1], client.returncode) for client in clients]
            assert {status for _, status in said} == {78}, said
            assert all("swarmctl journal repair" in line for line, _ in said), said
            assert service.show(SERVICE, "ActiveState") == "active"
            assert service.show(SERVICE, "StatusText").startswith("needs a person")
            assert int(service.show(SERVICE, "NRestarts")) == starts
        finally:
            service.run("systemctl", "stop", SERVICE, SOCKET)
            damaged.write_bytes(whole)
            service.run("systemctl", "start", SOCKET)
        assert service.run("swarmctl", "status").returncode == 0

    def test_stopping_both_ends_it_and_removes_the_node(self, service):
        service.run("systemctl", "stop", SERVICE, SOCKET)
        assert service.show(SERVICE, "Result") == "success"
        assert not (service.root / "run/swarmsh/swarmsh.sock").exists()
        gone = service.run("swarmctl", "--timeout", "1", "status", check=False)
        assert gone.returncode == 69
        service.run("systemctl", "start", SOCKET)
        assert service.run("swarmctl", "status").returncode == 0, "the first client starts it"
        assert service.show(SERVICE, "ActiveState") == "active"

    def test_the_page_is_typed(self, service):
        """Every line of docs/run-as-a-service.md that root types does what it says."""
        page = (ROOT / "docs/run-as-a-service.md").read_text()
        lines = re.findall(r"^    # (.+)$", page, re.MULTILINE)
        assert len(lines) > 12
        (service.root / "etc/swarmsh").mkdir(exist_ok=True)
        try:
            said = {line: service.run("sh", "-c", line).stdout for line in lines}
        finally:
            service.run("swarmctl", "install-units", "--now")
        assert "swarmsh-admin" in said["swarmctl config show | grep ACCESS"]
        assert "10m" in said["swarmctl config get LEASE"]
        assert said["systemctl show -P StatusText swarmshd"].startswith("ready on /run/swarmsh/swarmsh.sock")

    def test_uninstalling_leaves_the_queue(self, service):
        try:
            done = service.run("swarmctl", "install-units", "--uninstall")
            assert service.show(SERVICE, "LoadState") == "not-found"
            assert "the queue stays in /var/lib/swarmsh" in done.stderr
            assert (service.root / "var/lib/swarmsh").is_dir()
        finally:
            service.run("swarmctl", "install-units", "--now")
        assert service.run("swarmctl", "status").returncode == 0


@pytest.fixture
def disk(service: Machine, tmp_path: Path) -> Iterator[str]:
    """A loop device on which the state directory is, empty; its name, under which the machine has it in /dev."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"there is no loop device here: {found.stderr.strip()}")
    device = found.stdout.strip()
    try:
        service.run("mknod", device, "b", *str_numbers(device))
        service.run("systemctl", "stop", SERVICE)
        service.run("mount", device, STATE)
        service.run("chown", "swarmsh:swarmsh", STATE)
        service.run("systemctl", "restart", SERVICE)
        yield Path(device).name
        service.run("systemctl", "stop", SERVICE)
        service.run("umount", STATE)
        service.run("rm", device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def str_numbers(device: str) -> tuple[str, str]:
    """The two numbers of a device."""
    number = os.stat(device).st_rdev
    return str(os.major(number)), str(os.minor(number))


SLOWLY = """\
import sys, time
from swarmshd import main
from swarmshd.engine import recovery
from swarmshd.workqueue.tables import Tables
recovery.TELL_EVERY = 1
replay = Tables.replay
def slowly(*batch):
    time.sleep(0.7)
    replay(*batch)
Tables.replay = slowly
sys.exit(main.main())
"""
"""The daemon, whose journal is as long as it takes."""


class TestServiceOnADiskOfItsOwn:
    """Where the disk can be stopped and tuned, and the journal is no longer than a test needs it."""

    pytestmark = on_a_machine

    def test_a_disk_that_hangs_is_told_with_all_stacks_and_ends_in_a_restart(self, service, disk):
        """The stacks come while it hangs; who waits for a disk cannot be killed, so the restart comes afterwards."""
        dropin(service, "[Service]\nWatchdogSec=1\n")
        kept = service.run("swarmctl", "submit", "t", "before").stdout
        pid, before = main_pid(service), int(service.show(SERVICE, "NRestarts"))
        service.run("fsfreeze", "--freeze", STATE)
        client = subprocess.Popen(
            service.command("swarmctl", "submit", "t", "meanwhile"), stdout=subprocess.PIPE, text=True, cwd="/"
        )
        try:
            until(lambda: "swarmshd/journal/writer.py" in service.log(f"_PID={pid}"), "it says where it is")
            assert "Timeout (0:00:00.9" in service.log(f"_PID={pid}")
            until(lambda: service.show(SERVICE, "Result") == "watchdog", "systemd misses the signs of life")
            assert client.poll() is None, "nothing was promised"
        finally:
            service.run("fsfreeze", "--unfreeze", STATE)
        until(lambda: int(service.show(SERVICE, "NRestarts")) > before, "it was started again")
        said, _ = client.communicate(timeout=PATIENCE)
        assert client.returncode == 0
        assert set(service.run("swarmctl", "list", "-q").stdout.split()) == {kept.strip(), said.strip()}

    def test_systemd_waits_for_a_long_journal(self, service, disk):
        """Longer than TimeoutStartSec, as the daemon says that it needs longer."""
        service.run("sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do swarmctl submit t x || exit; done")
        service.run("systemctl", "stop", SERVICE)
        (service.root / "opt/slowly.py").write_text(SLOWLY)
        (service.root / "opt/slowly.py").chmod(0o644)
        dropin(service, f"[Service]\nTimeoutStartSec=5\nExecStart=\nExecStart={PLACE}/bin/python /opt/slowly.py\n")
        began, ready = (
            int(service.show(SERVICE, f"{name}TimestampMonotonic")) for name in ("InactiveExit", "ActiveEnter")
        )
        assert ready - began > 5_000_000
        assert service.show(SERVICE, "Result") == "success"
        assert service.run("swarmctl", "count").stdout.split()[-1] == "9"

    def test_work_goes_on_over_restarts(self, service, disk):
        """Each COMMAND is run once, and what it did is recorded, whenever the service is restarted."""
        lines = "".join(f'{{"type": "t", "description": "{number}"}}\n' for number in range(12))
        made = service.run("swarmctl", "submit", "--from", "-", input=lines).stdout.split()
        script = "echo $SWARMSH_ITEM >>/tmp/worked; sleep 0.7"
        words = ["swarmctl", "work", "-j", "3", "--until-empty", "--", "sh", "-c", script]
        worker = subprocess.Popen(service.command(*words), stderr=subprocess.PIPE, text=True, cwd="/")
        restarts = 0
        while worker.poll() is None:
            service.run("systemctl", "restart", SERVICE)
            restarts += 1
        _, said = worker.communicate()
        assert worker.returncode == 0, said
        assert restarts > 1
        assert sorted(service.run("cat", "/tmp/worked").stdout.split(), key=int) == made
        assert service.run("swarmctl", "count", "--state", "done").stdout.split()[-1] == "12"

    def test_the_disk_is_tuned_before_the_daemon_and_put_back(self, service, disk):
        """The unit leaves containers alone, and is told here that this is none."""
        place = service.root / "etc/systemd/system/swarmsh-tune.service.d"
        place.mkdir()
        (place / "here.conf").write_text("[Unit]\nConditionVirtualization=\n")
        (service.root / "etc/default").mkdir(exist_ok=True)
        (service.root / "etc/default/swarmsh-tune").write_text(
            f'SWARMSH_TUNE="--device /dev/{disk} --scheduler mq-deadline --nr-requests 64"\n'
        )
        queue = Path("/sys/block", disk, "queue")

        def values() -> tuple[str, str]:
            return (queue / "scheduler").read_text(), (queue / "nr_requests").read_text()

        before = values()
        try:
            service.run("systemctl", "daemon-reload")
            service.run("systemctl", "start", "swarmsh-tune.service")
            assert "[mq-deadline]" in values()[0]
            assert values()[1] == "64\n"
            assert f"{disk}\tnr_requests\t" in service.log("-u", "swarmsh-tune.service")
            service.run("systemctl", "stop", "swarmsh-tune.service")
            assert values() == before
            assert service.show("swarmsh-tune.service", "Result") == "success"
        finally:
            service.run("systemctl", "stop", "swarmsh-tune.service")
            shutil.rmtree(place)


class TestServiceOfAUser:
    """Under a real user's manager, which goes on without a session."""

    pytestmark = on_a_machine

    def test_it_is_installed_restarted_and_removed_by_its_user(self, machine):
        machine.run("systemctl", "start", "dbus.service", "systemd-logind.service")
        machine.run("loginctl", "enable-linger", "alice")
        until(lambda: machine.show("user@1234.service", "ActiveState") == "active", "alice has a manager")

        def alice(*words: str) -> str:
            environment = ("env", "HOME=/home/alice", "XDG_RUNTIME_DIR=/run/user/1234")
            said: str = machine.run(*environment, *words, user="alice").stdout
            return said

        try:
            alice("swarmctl", "install-units", "--user", "--now")
            made = alice("swarmctl", "submit", "t", "of alice")
            alice("systemctl", "--user", "restart", SERVICE)
            assert alice("swarmctl", "list", "-q") == made
            status = json.loads(alice("swarmctl", "--json", "status"))
            assert (status["socket"], status["uid"]) == ("/run/user/1234/swarmsh/swarmsh.sock", 1234)
            assert status["state_dir"].startswith("/home/alice/")
            assert alice("systemctl", "--user", "is-enabled", SERVICE) == "enabled\n"
            alice("swarmctl", "install-units", "--user", "--uninstall")
            assert alice("systemctl", "--user", "show", "-P", "LoadState", SERVICE) == "not-found\n"
            assert not list((machine.root / "home/alice").rglob("*.service"))
        finally:
            machine.run("loginctl", "disable-linger", "alice")


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="only root is asked where the programs are")
def test_programs_that_the_service_could_not_reach_are_refused(tmp_path):
    """This environment's own are in a directory that the sandbox hides, or that only its owner may enter."""
    tmp_path.chmod(0o700)
    for name in ("swarmshd", "swarmctl"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    done = units_of(tmp_path, "--bin-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (78, "")
    assert "python3 -m venv /opt/swarmsh" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_who_is_not_root_is_told_the_whole_command(tmp_path):
    if os.geteuid() == 0:
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if (
            not os.access(sys.executable, os.X_OK)
            or subprocess.run([*drop, sys.executable, "-c", ""], check=False).returncode
        ):
            pytest.skip("another user cannot run this interpreter")
    else:
        drop = []
    command = [*drop, sys.executable, str(ROOT / "bin/swarmctl"), "install-units"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 77
    assert "sudo" in done.stderr
    assert PLACE not in done.stdout
