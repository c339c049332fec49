"""``tune check``: the guide's twelve points, from a running daemon."""

from typing import Any

import pytest

from swarmctl import checklist, verbs
from swarmshd import settings
from tests.conftest import Daemon

pytestmark = pytest.mark.real

GUIDE = """
- [ ] Establish baseline performance
- [ ] Enable batch processing
- [ ] Enable connection pooling
- [ ] Tune file locking parameters
- [ ] Enable caching
- [ ] Optimize memory usage
- [ ] Enable WAL
- [ ] Configure telemetry sampling
- [ ] Run benchmark suite
- [ ] Monitor for regressions
- [ ] Document configuration changes
- [ ] Test under load
"""

NOT_YET = {1: "baseline", 8: "", 9: "bench", 10: "regress", 12: "load"}
"""Points whose part is not there, and its verb."""


def verdicts(daemon: Daemon) -> tuple[int, dict[int, list[str]]]:
    done = daemon.ctl("tune", "check")
    assert done.stderr == ""
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return done.returncode, {int(row[0]): row[1:] for row in rows}


def test_a_point_is_looked_at_as_soon_as_its_part_is_there() -> None:
    first = {name.partition(" ")[0] for name in verbs.every()}
    assert {verb for verb in NOT_YET.values() if verb in first} == set()
    assert "TELEMETRY_SAMPLE_RATE" not in settings.TABLE


def test_the_points_are_those_of_the_guide_and_hold_by_default(daemon: Daemon) -> None:
    status, found = verdicts(daemon)
    assert [f"- [ ] {row[1]}" for row in found.values()] == GUIDE.strip().splitlines()
    assert [number for number, row in found.items() if row[0] == "absent"] == list(NOT_YET)
    assert {row[0] for number, row in found.items() if number not in NOT_YET} == {"pass"}
    assert status == 0
    assert daemon.ctl("doctor").stdout == daemon.ctl("tune", "check").stdout
    assert daemon.ctl("doctor", "-q").stdout == ""


FAULTS = {2: "BATCH_MODE=0", 3: "CONNECTION_REUSE_ENABLED=0", 5: "CACHE_ENABLED=0", 6: "GC_ENABLED=0"}


def test_what_fails_is_mended_by_the_command_that_it_names(daemon: Daemon) -> None:
    assert daemon.ctl("config", "set", *FAULTS.values()).returncode == 0
    status, found = verdicts(daemon)
    failing = [number for number, row in found.items() if row[0] == "fail"]
    assert (status, failing) == (1, [*FAULTS, 11])
    assert daemon.ctl("doctor", "-q").stdout == "".join(f"{number}\n" for number in failing)
    for number in FAULTS:
        command = found[number][3].split()
        assert command[:3] == ["swarmctl", "config", "set"]
        assert daemon.ctl(*command[1:]).returncode == 0
    assert daemon.ctl("config", "unset", *(value.partition("=")[0] for value in FAULTS.values())).returncode == 0
    assert verdicts(daemon)[0] == 0


def test_little_memory_and_what_a_start_has_read(make_daemon: Any) -> None:
    little = ("PROCESS_MEMORY_LIMIT_MB=64", "MEMORY_WARNING_THRESHOLD_PCT=1")
    daemon = make_daemon(*little, "ADAPTIVE_LOCKING=0").start()
    lines = "".join(f'{{"type": "t", "description": "{"x" * 8000}"}}\n' for _ in range(100))
    assert daemon.ctl("submit", "--from", "-", "-q", input=lines).returncode == 0
    while daemon.call("stats", section="memory")["sections"]["memory"]["level"] == "ok":  # it is looked at now and then
        pass
    _, found = verdicts(daemon)
    assert {point for point, row in found.items() if row[0] == "fail"} == {4, 6}
    assert found[6][3] == "swarmctl config set PROCESS_MEMORY_LIMIT_MB=128"


def test_json_and_no_daemon(daemon: Daemon) -> None:
    assert len(daemon.ctl("doctor", "--json").stdout.splitlines()) == len(checklist.POINTS) == 12
    daemon.stop()
    assert daemon.ctl("doctor", "--timeout", "0.1s").returncode == 69
