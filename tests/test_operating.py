"""swarmctl stats and health, heartbeat --async, and the warning about what was exported: with a real daemon."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from swarmctl.connection.pauses import LONGEST, pauses
from swarmctl.screen import Screen
from swarmctl.views.status import draw as draw_status
from tests.conftest import Daemon
from tests.test_cli_verbs import Ctl, runner


@pytest.fixture
def ctl(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> Ctl:
    return runner(daemon, capfd)


@pytest.mark.real
def test_stats_are_a_counter_a_line(ctl: Ctl) -> None:
    ctl("submit", "t", "d")
    found = ctl("stats")
    assert (found.status, found.err) == (0, "")
    assert {row[0] for row in found.rows} == set("queue wal async cache net memory gc threads locks".split())
    assert {len(row) for row in found.rows} == {3}
    rows = {(section, name): value for section, name, value in found.rows}
    assert (rows["queue", "ready"], rows["queue", "since_start.submitted"]) == ("1", "1")
    assert (rows["async", "enabled"], rows["locks", "tries"]) == ("yes", "1")
    wal = ctl("stats", "wal")
    assert {row[0] for row in wal.rows} == {"wal"}
    assert ctl("stats", "journal").rows[0][:2] == wal.rows[0][:2]
    assert ctl("stats", "wal", "--json").json[0]["sections"]["wal"]["commits"] >= 2
    assert ctl("stats", "nosuch").status == 4


@pytest.mark.real
def test_stats_may_be_watched(daemon: Daemon) -> None:
    process = daemon.spawn("stats", "queue", "--watch", "--json")
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert all("queue" in line["sections"] for line in lines)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    process.communicate()


@pytest.mark.real
def test_health_is_a_status(daemon: Daemon, ctl: Ctl) -> None:
    assert ctl("health") == (0, "", "")
    ctl("pause", "--all", "-m", "night")
    paused = ctl("health")
    assert (paused.status, paused.err) == (0, "")
    assert paused.rows[0][:2] == ["queue_paused", "info"]
    assert paused.rows[0][3:] == ["everything is paused: night", "swarmctl resume --all"]
    ctl("resume", "--all")
    ctl("config", "set", "PROCESS_MEMORY_LIMIT_MB=64", "MEMORY_WARNING_THRESHOLD_PCT=1")
    for _ in range(15):
        daemon.call("submit", type="t", description="d", payload=b"x" * 60_000, key=os.urandom(4).hex())
    ctl("config", "set", "GC_INTERVAL=1s")  # and with it memory is looked at sooner
    while not (found := ctl("health", "--json")).json:
        pass
    assert (found.status, found.json[0]["name"], found.json[0]["severity"]) == (1, "memory_high", "warning")
    assert "items take" in daemon.log.read_text()
    assert ctl("health", "-q").out == "memory_high\n"


@pytest.mark.real
def test_a_configuration_that_was_refused_needs_a_person(make_daemon: Any, capfd: pytest.CaptureFixture[str]) -> None:
    made: Daemon = make_daemon()
    file = made.directory / "c.toml"
    file.write_text("lease = 60\n")
    ctl = runner(made.start("--config", str(file)), capfd)
    file.write_text("lease = x\n")
    assert ctl("reload").status == 78
    found = ctl("health")
    assert found.status == 78
    assert found.rows[0][:2] == ["config_refused", "person"]
    assert f"{file}:1: not TOML" in found.rows[0][3]
    assert f"{file}:1" in ctl("status", "--json").json[0]["conditions"][0]
    file.write_text("lease = 60\n")
    assert ctl("reload").status == 0
    assert ctl("health").status == 0


def test_health_without_a_daemon_is_69(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    from swarmctl import cli

    assert cli.main(["--socket", str(tmp_path / "s"), "--timeout", "0.1", "health"], {}) == 69


@pytest.mark.real
def test_an_exported_setting_that_reaches_nobody_is_told(daemon: Daemon, ctl: Ctl) -> None:
    environ = {"BATCH_SIZE": "500", "SWARMSH_LEASE": "9m", "LEASE": "8m", "SWARMSH_FRAME_MAX": "2M"}
    for words in (("status",), ("stats", "wal"), ("config", "show", "LEASE")):
        found = ctl(*words, **environ)
        assert found.status == 0
        assert found.err.splitlines() == [
            f"swarmctl: {' '.join(words[:1] if words[0] != 'config' else words[:2])}: {line}"
            for line in (
                (
                    "BATCH_SIZE=500 of this shell does not reach the daemon, where it is 2000: "
                    "swarmctl config set BATCH_SIZE=500"
                ),
                (
                    "SWARMSH_FRAME_MAX=2M of this shell does not reach the daemon, where it is 1M: "
                    "swarmctl config set --persist FRAME_MAX=2M, and restart it"
                ),
                (
                    "SWARMSH_LEASE=9m of this shell does not reach the daemon, where it is 5m: "
                    "swarmctl config set LEASE=9m"
                ),
            )
        ]
    ctl("config", "set", "BATCH_SIZE=500")
    assert ctl("status", BATCH_SIZE="500", SWARMSH_LEASE="300").err == ""
    assert "is not a whole number" in ctl("status", BATCH_SIZE="many").err
    for words in (("count",), ("submit", "t", "d"), ("list",), ("health",)):
        assert ctl(*words, **environ).err == ""
    assert ctl("status", "--json", **environ).err == ""
    assert ctl("status", PARALLEL_JOBS="3").err == "", "that one the client reads itself"


@pytest.mark.real
def test_a_relaxed_heartbeat(daemon: Daemon, ctl: Ctl) -> None:
    ctl("claim", "t", "d")
    before = daemon.call("status")["position"]
    assert ctl("heartbeat", "--async").status == 0
    assert ctl("heartbeat", "1", "--async", "--json").json[0]["id"] == 1
    assert daemon.call("stats", section="async")["sections"]["async"]["coalesced"] == 1
    assert daemon.call("status")["position"] == before


@pytest.mark.real
def test_every_setting_is_read_from_the_daemons_own_environment(make_daemon: Any) -> None:
    """The guide's exports, as an EnvironmentFile= of the service hands them over."""
    guide = {"BATCH_SIZE": "500", "CACHE_TTL": "5m", "GC_AGGRESSIVE": "1", "WORK_QUEUE_INDEX_ENABLED": "0"}
    made: Daemon = make_daemon()
    environ = made.environment
    made.environment = lambda **more: environ(**guide, **more)  # type: ignore[method-assign]
    made.start()
    rows = {row["name"]: row for row in made.call("config", names=sorted(guide))["settings"]}
    assert {name: (row["value"], row["source"]) for name, row in rows.items()} == {
        "BATCH_SIZE": ("500", "BATCH_SIZE"),
        "CACHE_TTL": ("5m", "CACHE_TTL"),
        "GC_AGGRESSIVE": ("true", "GC_AGGRESSIVE"),
        "WORK_QUEUE_INDEX_ENABLED": ("false", "WORK_QUEUE_INDEX_ENABLED"),
    }
    assert made.call("stats", section="queue")["sections"]["queue"]["indexed"] is False


@pytest.mark.real
def test_sharding_is_refused_with_what_to_do(make_daemon: Any) -> None:
    made: Daemon = make_daemon("WORK_QUEUE_SHARDING=4")
    done = subprocess.run(made.command(), capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert done.stderr == (
        "swarmshd: --set WORK_QUEUE_SHARDING: 4 is more than this release can: write 1, and start further daemons with "
        "a --state-dir each\n"
    )
    assert sys.executable


def test_how_long_a_client_waits_between_two_tries() -> None:
    def first(count: int, **environ: str) -> list[float]:
        wait = pauses(environ)
        return [next(wait) for _ in range(count)]

    assert first(6) == [0.05, 0.1, 0.2, 0.4, LONGEST, LONGEST]
    assert first(3, FLOCK_BACKOFF_MS="10", LOCK_RETRY_MULTIPLIER="3") == [0.01, 0.03, 0.09]
    assert first(3, FLOCK_BACKOFF_MS="10", SWARMSH_FLOCK_BACKOFF_MS="20") == [0.02, 0.04, 0.08]
    assert first(6, ADAPTIVE_LOCKING="0")[-2:] == [0.8, 1.6]
    assert first(12, ADAPTIVE_LOCKING="0", FLOCK_TIMEOUT="3")[-1] == 3
    assert first(1, FLOCK_BACKOFF_MS="soon", LOCK_RETRY_MULTIPLIER="-1") == [0.05]


@pytest.mark.real
def test_status_fits_a_screen(daemon: Daemon) -> None:
    screen = Screen(80)
    quiet = draw_status(screen, {**daemon.call("status"), "client": "swarmctl 0"})
    assert not any(line.startswith(("conditions", "paused", "per second")) for line in quiet)
    daemon.call("submit", type="t", description="d")
    daemon.call("pause", all=True, reason="the disk is being replaced")
    facts = {**daemon.call("status"), "client": "swarmctl 0", "conditions": ["sync_slow", "buried_growing"]}
    lines = draw_status(screen, facts)
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    shown = {line.split()[0]: line.partition("  ")[2].strip() for line in lines if line and line[0] != " "}
    assert shown["paused"] == "the disk is being replaced"
    assert shown["conditions"] == "sync_slow, buried_growing"
    assert shown["items"].startswith("1 ready; ")
    assert shown["socket"] == daemon.socket
    assert f"(pid {daemon.pid}, uid {os.getuid()}), swarmctl 0" in shown["programs"]
    assert "free of" in shown["disk"]
