"""The lines of the tuning guide, typed as they stand there, each against a real daemon: they come true.

What the guide has and this release has not is listed by name (``NOT_YET``, and ``None`` in the tables). A name that is
there in the meantime fails here until it is taken off its list and typed.
"""

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarmctl import parse, verbs
from swarmshd import settings
from tests.conftest import PATIENCE, ROOT, Daemon
from tests.legacy import HELPER, Old

SCRIPTS_PLACE = HELPER.parent / "scripts"

EXPORTS = {
    # NAME=VALUE as it is exported there: how it is shown then; None: no setting of this release
    "BATCH_SIZE=500": "500",
    "BATCH_TIMEOUT=10000": "10s",
    "BATCH_MODE=1": "true",
    "BATCH_FLUSH_INTERVAL=5000": "5s",
    "CONNECTION_POOL_SIZE=100": "100",
    "CONNECTION_POOL_TIMEOUT=60000": "1m",
    "CONNECTION_REUSE_ENABLED=1": "true",
    "PARALLEL_JOBS=8": "8",
    "PARALLEL_WORKERS=16": "16",
    "WORK_QUEUE_INDEX_ENABLED=1": "true",
    "FLOCK_TIMEOUT=30": "30s",
    "FLOCK_RETRIES=3": "3",
    "FLOCK_BACKOFF_MS=50": "50ms",
    "ADAPTIVE_LOCKING=1": "true",
    "LOCK_RETRY_MULTIPLIER=2": "2",
    "TCP_NODELAY=1": None,
    "TCP_KEEPALIVE=60": None,
    "SOCKET_BUFFER_SIZE=65536": "64K",
    "DNS_CACHE_TTL=300": None,
    "DNS_CACHE_SIZE=1000": None,
    "CACHE_ENABLED=1": "true",
    "CACHE_TTL=30": "30s",
    "CACHE_MAX_SIZE=10000": "10000",
    "CACHE_COMPRESSION=1": "true",
    "ASYNC_OPERATIONS=1": "true",
    "ASYNC_BUFFER_SIZE=1000": "1000",
    "ASYNC_FLUSH_INTERVAL=5000": "5s",
    "GC_ENABLED=1": "true",
    "GC_INTERVAL=300000": "5m",
    "GC_THRESHOLD_MB=100": "100M",
    "GC_AGGRESSIVE=0": "false",
    "MEMORY_POOL_ENABLED=1": None,
    "MEMORY_POOL_SIZE=100": None,
    "JSON_COMPRESSION=1": None,
    "TELEMETRY_DELTA_ENCODING=1": None,
    "PROCESS_MEMORY_LIMIT_MB=2048": "2G",
    "MEMORY_WARNING_THRESHOLD_PCT=80": "80",
    "MEMORY_CRITICAL_THRESHOLD_PCT=90": "90",
    "WAL_ENABLED=1": "true",
    "WAL_SYNC_INTERVAL=5000": "5s",
    "DIRECT_IO=1": "true",
    "IO_BUFFER_SIZE=131072": "128K",
    "MMAP_ENABLED=1": "true",
    "TELEMETRY_COMPRESSION=gzip": None,
    "COMPRESSION_LEVEL=6": None,
    "COMPRESSION_MIN_SIZE=1024": None,
    "JOURNAL_ROTATION_MB=100": "100M",
    "JOURNAL_RETENTION_DAYS=30": "30",
    "JOURNAL_COMPRESSION_AGE_DAYS=7": "7",
    "TELEMETRY_SAMPLE_RATE=0.1": None,
    "OTEL_TRACES_SAMPLER=parentbased_traceidratio": None,
    "OTEL_TRACES_SAMPLER_ARG=0.1": None,
    "SAMPLING_CRITICAL_ALWAYS=1": None,
    "OTEL_BLRP_SCHEDULE_DELAY=5000": None,
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE=1000": None,
    "OTEL_BLRP_MAX_QUEUE_SIZE=10000": None,
    "OTEL_EXPORTER_ASYNC=1": None,
    "METRICS_ENABLED=1": None,
    "METRICS_CARDINALITY_LIMIT=1000": None,
    "METRICS_AGGREGATION_ENABLED=1": None,
    "METRICS_AGGREGATION_INTERVAL=60000": None,
    "TELEMETRY_COMPRESSION=1": None,
    "TELEMETRY_RETENTION_DAYS=7": None,
    "TELEMETRY_ARCHIVE_LINES=10000": None,
    "TELEMETRY_ARCHIVE_AGE_DAYS=1": None,
    "LOG_LEVEL=trace": "trace",
}

TAKES_ONE_YET = "WORK_QUEUE_SHARDING=4"
"""The one setting that is there and does not take the guide's value."""

SCRIPTS = {
    # script: what of swarmctl it is
    "benchmark_baseline": "baseline",
    "monitor_connection_pool": "stats net --watch",
    "rebuild_work_queue_index": "index rebuild",
    "monitor_cache_stats": "stats cache --watch",
    "monitor_async_queue": "stats async --watch",
    "profile_memory": "profile memory",
    "monitor_memory_usage": "stats memory --watch",
    "archive_old_journals": "journal archive",
    "check_journal_performance": "journal check",
    "profile_cpu": "profile cpu",
    "analyze_cpu_profile": "profile cpu analyze",
    "profile_io": "profile io",
    "analyze_io_profile": "profile io analyze",
    "monitor_io_realtime": "monitor io",
    "analyze_traces": "trace analyze",
    "visualize_traces": "trace visualize",
    "detect_regressions": "regress detect",
    "regression_report": "regress report",
    "benchmark_operation": "bench op",
    "benchmark_results": "bench results",
    "stress_test": "stress",
    "stress_test_scenario": "stress scenario",
    "load_test": "load",
    "find_max_throughput": "load max",
    "load_test_report": "load report",
    "compare_configs": "bench compare",
    "ab_benchmark": "bench ab",
    "performance_dashboard": "dashboard --live",
    "performance_graph": "graph",
}

NOT_YET = {
    # scripts: they wait for the verb
    *("benchmark_baseline", "benchmark_operation", "benchmark_results", "compare_configs", "ab_benchmark"),
    *("stress_test", "stress_test_scenario", "load_test", "find_max_throughput", "load_test_report"),
    *("detect_regressions", "regression_report"),
    *("profile_memory", "profile_cpu", "analyze_cpu_profile", "profile_io", "analyze_io_profile"),
    *("monitor_io_realtime", "analyze_traces", "visualize_traces", "performance_graph"),
    # make
    *("telemetry-stats", "profile-cpu-flame", "test-performance"),
}

TARGETS = {"telemetry-stats", "profile-cpu-flame", "test-performance", "benchmark"}

OTHERS_NOT_YET = {
    # line of the guide that no test types yet: the verb for which it waits
    "ps aux | grep coordination_helper | awk '{print $6}' | tail -1": "profile",
    "watch -n 1 'ps aux | grep coordination_helper | awk \"{print \\$6}\"'": "profile",
    "jq '.' baseline_metrics.json": "baseline",
    "watch -n 5 'make telemetry-stats | jq \".performance_metrics\"'": "metrics",
    "open profile_cpu_flamegraph.html": "profile",
}


KNOWN = {*verbs.every(), *parse.SHORT}
"""Every verb, under each of its names."""


def name_of(export: str) -> str:
    return export.partition("=")[0]


def test_the_guide_is_here_as_a_whole():
    names = {name_of(export) for export in (*EXPORTS, TAKES_ONE_YET)}
    assert (len(EXPORTS) + 1, len(names)) == (67, 66)
    assert len(SCRIPTS) == 29
    assert len(TARGETS) == 4
    assert SCRIPTS.keys() | TARGETS >= NOT_YET


def test_a_line_is_typed_as_soon_as_its_verb_is_there():
    first = {name.partition(" ")[0] for name in KNOWN}
    assert {line for line, verb in OTHERS_NOT_YET.items() if verb in first} == set()


def test_a_setting_is_typed_as_soon_as_it_is_there():
    there = {export for export in EXPORTS if name_of(export) in settings.TABLE}
    assert {export for export, shown in EXPORTS.items() if shown is not None} == there
    assert all(settings.TABLE[name_of(export)].guide for export in there)


def test_a_script_is_there_as_soon_as_its_verb_is():
    there = {path.stem for path in SCRIPTS_PLACE.glob("*.sh")}
    assert there == SCRIPTS.keys() - NOT_YET
    assert {path.suffix for path in SCRIPTS_PLACE.iterdir()} == {".sh"}
    for name in there:
        assert (SCRIPTS_PLACE / f"{name}.sh").read_text() == f'#!/bin/sh\nexec swarmctl {SCRIPTS[name]} "$@"\n'
    for name in NOT_YET & SCRIPTS.keys():
        words = SCRIPTS[name].split()
        assert not {words[0], " ".join(words[:2])} & KNOWN, f"{name}: its verb is there"


def test_a_target_is_there_as_soon_as_it_is_off_the_list():
    makefile = (ROOT / "Makefile").read_text()
    assert {each for each in TARGETS if re.search(rf"^{each}:", makefile, re.MULTILINE)} == TARGETS - NOT_YET


# -- typed ---------------------------------------------------------------------------------------------


@pytest.fixture
def guide(daemon: Daemon, tmp_path: Path) -> Old:
    """Somebody in a directory that has what the guide types: ./coordination_helper.sh and ./scripts."""
    reader = Old(daemon, tmp_path)
    (tmp_path / "scripts").symlink_to(SCRIPTS_PLACE)
    return reader


@pytest.mark.real
def test_what_is_exported_before_the_start_is_in_force(make_daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = dict(export.split("=", 1) for export, shown in EXPORTS.items() if shown is not None)
    for name, value in exports.items():
        monkeypatch.setenv(name, value)
    daemon = make_daemon().start()
    assert "WARNING" not in daemon.log.read_text()
    for name in exports:
        monkeypatch.delenv(name)
    shown = daemon.ctl("config", "show")
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in shown.stdout.splitlines())}
    wanted = {name_of(export): [value, name_of(export)] for export, value in EXPORTS.items() if value is not None}
    assert {name: [rows[name][0], rows[name][2]] for name in wanted} == wanted


@pytest.mark.real
def test_what_is_exported_afterwards_is_told_and_can_be_set(guide: Old) -> None:
    told = guide.bash("export BATCH_SIZE=500; ./coordination_helper.sh config show BATCH_SIZE 2>&1 >/dev/null")
    assert "BATCH_SIZE=500 of this shell does not reach the daemon, where it is 2000" in told
    assert "swarmctl config set BATCH_SIZE=500" in told
    for export, shown in EXPORTS.items():
        row = settings.TABLE.get(name_of(export))
        if row is not None and row.live:
            assert guide.daemon.ctl("config", "set", export).returncode == 0, export
            assert guide.daemon.ctl("config", "get", row.name).stdout == f"{shown}\n"


@pytest.mark.real
def test_more_than_one_shard_is_refused_with_what_to_do_instead(make_daemon: Any) -> None:
    daemon = make_daemon(TAKES_ONE_YET)
    ran = subprocess.run(daemon.command(), capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT)
    assert ran.returncode == 78
    assert "4 is more than this release can: write 1, and start further daemons" in ran.stderr


@pytest.mark.real
def test_the_configuration_of_batches_is_verified(guide: Old) -> None:
    shown = guide.bash("./coordination_helper.sh config show | grep -i batch")
    assert [line.split("\t")[0] for line in shown.splitlines()] == [
        *("BATCH_SIZE", "BATCH_TIMEOUT", "BATCH_MODE", "BATCH_FLUSH_INTERVAL")
    ]


@pytest.mark.real
def test_the_queue_is_optimized_and_verified(guide: Old) -> None:
    assert guide("claim", "feature", "x").status == 0
    guide.daemon.call("submit", type="feature", description="y")
    shown = guide.bash("./scripts/rebuild_work_queue_index.sh && ./coordination_helper.sh queue-stats")
    rebuilt, queue = (line.split("\t") for line in shown.splitlines())
    assert rebuilt[:2] == ["2", "0"]  # items, and how many entries differed
    assert queue[:4] == ["default", "1", "1", "0"]  # ready, claimed, buried


@pytest.mark.real
def test_items_are_claimed_in_parallel(guide: Old) -> None:
    guide.bash("""
        for i in {1..10}; do
          ./coordination_helper.sh claim "feature" "task_$i" "medium" &
        done
        wait
    """)
    items = guide.daemon.call("list", state=["claimed"])["items"]
    assert {each["description"] for each in items} == {f"task_{n}" for n in range(1, 11)}


@pytest.mark.real
def test_progress_is_fired_and_forgotten(guide: Old) -> None:
    assert guide.daemon.ctl("config", "set", "ASYNC_FLUSH_INTERVAL=10ms").returncode == 0
    printed = guide.bash("""
        WORK_ID=$(./coordination_helper.sh claim "feature" "x" --quiet)
        ./coordination_helper.sh progress "$WORK_ID" 50 "in_progress" --async
    """)
    assert printed == "📈 PROGRESS: Queued work_1 to 50% (in_progress)\n"
    while "percent" not in guide.daemon.call("show", id=1):  # it is written within ASYNC_FLUSH_INTERVAL
        pass
    assert guide.daemon.call("show", id=1)["percent"] == 50


@pytest.mark.real
@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - NOT_YET))
def test_the_scripts_run(guide: Old, name: str) -> None:
    process = subprocess.Popen(
        [f"./scripts/{name}.sh"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=guide.directory,
        env=guide.environment,
    )
    assert process.stdout is not None
    if re.search(r"--(watch|live)", SCRIPTS[name]):
        assert process.stdout.readline() != ""
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
    else:
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
        assert all(word in out for word in SAYS.get(name, ()))


SAYS = {"check_journal_performance": ("sound\tyes\n", "append_us\t", "sync_us\t", "read_mib_per_second\t")}
"""What a script must print."""
