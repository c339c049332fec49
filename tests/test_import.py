"""`swarmctl import` of the old system's files, against a real daemon."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Daemon

DATA = ROOT / "tests" / "data" / "swarmsh"

pytestmark = pytest.mark.real


def report(daemon: Daemon, *words: str, status: int = 0, **more: Any) -> Any:
    """The report of an import."""
    done = daemon.ctl("import", "--json", *words, **more)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def counts(found: Any, *names: str) -> list[int]:
    return [found[name] for name in names or ("taken", "unchanged", "doubled", "refused", "damaged")]


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_all_that_the_old_system_left_comes_in_once(daemon: Daemon) -> None:
    before = files(DATA)
    dry = report(daemon, "--dry-run", str(DATA))
    assert counts(dry) == [284, 0, 15, 0, 0]
    assert daemon.call("count", all=True) == {"count": 0}
    first = report(daemon, str(DATA))
    assert counts(first) == [284, 0, 15, 0, 0]
    by_file = {Path(each["file"]).name: each for each in first["files"]}
    assert by_file["work_claims.json"]["taken"] == 9
    assert by_file["archived_completed_work.json"]["taken"] == 80
    assert by_file["archived_completed_work.json"]["repaired"] == 2
    assert by_file["coordination_log.json"] == {
        **by_file["coordination_log.json"],
        "kind": "completions",
        "found": 156,
        "taken": 141,
        "doubled": 15,
    }
    assert by_file["agent_status.json"]["taken"] == 44
    assert by_file["real_work_queue.json"]["taken"] == 10
    assert by_file["telemetry_spans.jsonl"]["left_out"] == 737
    assert by_file["velocity_log.txt"]["left_out"] == 163
    assert any("2024 points" in note for note in first["notes"])
    states = daemon.call("count", all=True, by="state")["by"]
    assert states == {"blocked": 9, "ready": 3, "done": 148}
    assert len(daemon.call("agents")["agents"]) == 44
    second = report(daemon, str(DATA))
    assert counts(second) == [0, 284, 15, 0, 0]
    assert files(DATA) == before
    daemon.restart()
    assert counts(report(daemon, str(DATA))) == [0, 284, 15, 0, 0]
    assert daemon.call("count", all=True, by="state")["by"] == states


def test_what_came_in_is_worked_on(daemon: Daemon) -> None:
    report(daemon, str(DATA / "work_claims.json"))
    name = "work_1750740943202476000"
    shown = daemon.call("show", id=name)
    assert shown["description"] == "Implement distributed tracing across S@S workflows"
    assert shown["created_at"] == 1750740943000
    assert shown["submitted_by"]["agent"] == "agent_1750740943199668000"
    assert json.loads(shown["legacy"])["telemetry"]["trace_id"] == "5aaee2d2d9c4ff7942a03a694920dfaa"
    assert daemon.ctl("claim").returncode == 3
    assert daemon.ctl("kick", name).returncode == 0
    assert daemon.ctl("claim", "--id", name, AGENT_ID="a").returncode == 0
    assert daemon.ctl("complete", name, "success", "8", AGENT_ID="a").returncode == 0
    assert daemon.call("show", id=name)["points"] == 8


def test_held_elsewhere_it_stays_with_its_holder_if_that_is_asked_for(daemon: Daemon) -> None:
    report(daemon, "--claimed", "keep", str(DATA / "work_claims.json"))
    done = daemon.ctl("complete", "work_1750740943202476000", AGENT_ID="agent_1750740943199668000")
    assert done.returncode == 0, done.stderr


def test_ids_far_ahead_are_kept_and_no_number_comes_twice(daemon: Daemon) -> None:
    fields = {"type": "t", "description": "d", "state": "ready", "created_at": 1}
    for far in (7, 5_000_000, 40_000_000_000):
        assert daemon.call("import", run="r", rows=[["item", {**fields, "id": far}]], key=f"k{far}")["ids"] == [far]
        assert daemon.call("submit", type="t", description="d", key=f"s{far}")["id"] == far + 1
    daemon.restart()
    later = daemon.call("submit", type="t", description="d", key="later")["id"]
    assert later > 40_000_000_001
    assert daemon.call("import", run="r2", rows=[["item", {**fields, "id": 7}]], key="again")["unchanged"] == [0]
    assert daemon.call("import", run="r2", rows=[["item", {**fields, "id": 9}]], key="below")["ids"] == [later + 1]


def test_what_people_are_shown(daemon: Daemon) -> None:
    done = daemon.ctl("import", str(DATA))
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][:4] == ["file", "kind", "found", "taken"]
    assert lines[-1][0] == "total"
    assert len(lines) == len(files(DATA)) + 2
    assert "coordination_log.json:191 (byte 7874): doubled: test_orchestrator_master" in done.stderr
    assert "priority 'observability_team' is medium now" in done.stderr
    assert daemon.ctl("import", "-q", str(DATA)).stderr.count("\n") == 3
