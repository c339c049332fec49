"""What went wrong in the system that this one replaces, each as a test: the same commands, and it goes right.

Each test is named after a defect that was reproduced there, D1 to D26, and says in its first line what happened.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE, ROOT, Daemon
from tests.legacy import HELPER, Old, path_with_swarmctl

pytestmark = pytest.mark.real

CLAIMED = re.compile(r"✅ SUCCESS: Claimed work item work_(\d+) for team autonomous_team\n")


@pytest.fixture
def old(daemon: Daemon, tmp_path: Path) -> Old:
    """Somebody who types the old commands."""
    return Old(daemon, tmp_path)


def claimed(old: Old, *words: str) -> int:
    """The number of an item that was claimed just now."""
    ran = old("claim", *(words or ("feature", "something")))
    found = CLAIMED.fullmatch(ran.out)
    assert (ran.status, ran.err, bool(found)) == (0, "", True), ran
    assert found is not None
    return int(found[1])


def show(old: Old, item: int | str) -> Any:
    return old.daemon.call("show", id=item)


def count(old: Old, **which: Any) -> int:
    number: int = old.daemon.call("count", **which)["count"]
    return number


def legacy_files(old: Old) -> Path:
    """What the old system's files would hold now."""
    place = old.directory / "agent_coordination"
    assert old.daemon.ctl("export", "--legacy", str(place)).returncode == 0
    return place


def test_d1_what_was_claimed_with_defaults_can_be_progressed_and_completed(old: Old) -> None:
    """A default claim went into one file, progress and complete looked into another, and all printed success."""
    number = claimed(old, "feature", "Implement it")
    ran = old("progress", f"work_{number}", "50", "in_progress")
    assert ran == (0, f"📈 PROGRESS: Updated work_{number} to 50% (in_progress)\n", "")
    assert (show(old, number)["percent"], show(old, number)["status"]) == (50, "in_progress")
    assert f"work_{number}: Implement it (feature, medium)" in old("list-work").out
    ran = old("complete", f"work_{number}", "success", "8")
    assert ran == (0, f"✅ COMPLETED: Released claim for work_{number} (success) - 8 velocity points\n", "")
    assert (show(old, number)["state"], show(old, number)["points"]) == ("done", 8)
    assert old("list-work") == old("list-work-fast") == (0, "", "")


@pytest.mark.parametrize("together", [10, 20])
def test_d2_of_parallel_claims_none_is_lost(old: Old, together: int) -> None:
    """Of the guide's ten claims with ``&`` two were stored; all ended with 0."""
    ran = old.at_once([("claim", "feature", f"task_{number}", "medium") for number in range(together)])
    numbers = {CLAIMED.fullmatch(each.out)[1] for each in ran}  # type: ignore[index]
    assert [each.status for each in ran] == [0] * together
    assert len(numbers) == together == count(old, state=["claimed"])
    assert {show(old, int(number))["description"] for number in numbers} == {f"task_{n}" for n in range(together)}


def test_d3_of_parallel_slow_claims_none_is_lost(old: Old) -> None:
    """Of twenty one was stored; the others were a CONFLICT, with 0."""
    ran = old.at_once([("claim-slow", "feature", f"task_{number}") for number in range(20)])
    assert all(each.status == 0 and CLAIMED.fullmatch(each.out) for each in ran)
    assert count(old, state=["claimed"]) == 20


def test_d4_claims_that_overlap_are_all_stored(old: Old) -> None:
    """With a claim every 50 ms four of ten were stored: the lock was held for the whole of a claim."""
    running = []
    for number in range(10):
        running.append(old.start("claim", "feature", f"task_{number}"))
        end = time.monotonic() + PATIENCE
        while count(old) < number and time.monotonic() < end:  # the one before is in, and still on its way out
            pass
    assert all(CLAIMED.fullmatch(process.communicate(timeout=PATIENCE)[0]) for process in running)
    assert count(old, state=["claimed"]) == 10


def test_d5_parallel_registrations_are_all_kept(old: Old) -> None:
    """Twenty left five to seven agents, once an emptied file, once invalid JSON, and said REGISTERED twenty times."""
    ran = old.at_once([("register", f"agent_{number}", "backend", str(number), "databases") for number in range(20)])
    assert {each.status for each in ran} == {0}
    assert {each.out for each in ran} == {
        f"🔧 REGISTERED: Agent agent_{number} in team backend with {number}% capacity\n" for number in range(20)
    }
    agents = {each["agent"]: each for each in old.daemon.call("agents")["agents"]}
    assert {name: each["capacity"] for name, each in agents.items()} == {f"agent_{n}": n for n in range(20)}
    registry = json.loads((legacy_files(old) / "agent_status.json").read_text())
    assert len(registry) == 20


def test_d6_parallel_completions_are_all_kept(old: Old) -> None:
    """Fourteen to eighteen of twenty were marked; in two of seven runs claims and history were gone."""
    numbers = [claimed(old) for _ in range(20)]
    ran = old.at_once([("complete", f"work_{number}", "success", "3") for number in numbers])
    assert {each.status for each in ran} == {0}
    assert count(old, state=["done"]) == 20
    place = legacy_files(old)
    claims = json.loads((place / "work_claims.json").read_text())
    log = json.loads((place / "coordination_log.json").read_text())
    assert [each["status"] for each in claims] == ["completed"] * 20
    assert {each["work_item_id"] for each in log} == {f"work_{number}" for number in numbers}
    assert (place / "velocity_log.txt").read_text().count("+3 velocity points") == 20


def test_d7_parallel_progress_is_all_kept(old: Old) -> None:
    """Of twenty fourteen or eighteen were kept, and once the file was emptied."""
    numbers = [claimed(old) for _ in range(20)]
    ran = old.at_once([("progress", f"work_{number}", str(number)) for number in numbers])
    assert {each.status for each in ran} == {0}
    assert [show(old, number)["percent"] for number in numbers] == numbers


def test_d8_an_emptied_file_is_told_and_hinders_nothing(old: Old) -> None:
    """After an update had emptied the claims, every later claim was a CONFLICT, for ever."""
    emptied = old.directory / "work_claims.json"
    emptied.write_bytes(b"")
    ran = old.daemon.ctl("import", str(emptied))
    assert ran.returncode == 1
    assert "work_claims.json:1 (byte 0): damaged: the file is empty: what it held is lost" in ran.stderr
    claimed(old)


def test_d9_a_truncated_file_is_told_and_what_is_whole_of_it_taken(old: Old) -> None:
    """Claims into it said SUCCESS and stored nothing; the dashboard had no work."""
    claims = [{"work_item_id": f"work_{n}", "work_type": "t", "agent_id": "a1", "status": "active"} for n in (17, 18)]
    cut = old.directory / "work_claims.json"
    cut.write_text(json.dumps(claims, indent=2)[:-20])
    ran = old.daemon.ctl("import", "--claimed", "keep", str(cut))
    assert (ran.returncode, "damaged" in ran.stderr) == (1, True)
    number = claimed(old)
    dashboard = old("dashboard").out
    assert "📊 Active Work Items: 2\n" in dashboard
    assert f"🔧 work_{number}: something (feature, medium)\n" in dashboard


def test_d10_a_stray_byte_costs_no_history(old: Old) -> None:
    """After one stray byte behind 50 completions, the next completion reset the log: 50 became 1."""
    numbers = [claimed(old) for _ in range(3)]
    for number in numbers[:2]:
        assert old("complete", str(number)).status == 0
    old.daemon.kill()
    (segment,) = old.daemon.state.glob("segment-*")
    written = segment.read_bytes().rstrip(b"\0")
    with segment.open("r+b") as file:
        file.seek(len(written) // 8 * 8 + 8)
        file.write(b"x")
    old.daemon.start()
    assert [path.name for path in old.daemon.state.iterdir() if "torn" in path.name]
    assert old("complete", str(numbers[2])).status == 0
    assert count(old, state=["done"]) == 3


def test_d11_a_claim_that_is_killed_hinders_nobody(old: Old) -> None:
    """Its lock file stayed, and every claim after it was a CONFLICT until somebody removed it by hand."""
    os.kill(old.daemon.pid, signal.SIGSTOP)
    process = old.start("claim-slow", "feature", "killed")
    end = time.monotonic() + PATIENCE
    while not _children(process.pid) and time.monotonic() < end:
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    os.kill(old.daemon.pid, signal.SIGCONT)
    claimed(old, "feature", "after it")
    claimed(old.as_agent("a2"), "feature", "of another")


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


def test_d12_the_101st_claim_deletes_nothing(old: Old) -> None:
    """It deleted the 51 oldest ones, and called that optimizing."""
    for number in range(100):
        old.daemon.call("claim_new", agent="a1", type="feature", description=f"task_{number}")
    assert claimed(old) == 101
    assert count(old, state=["claimed"]) == 101
    assert old("optimize").status == 0
    assert count(old, state=["claimed"]) == 101


@pytest.mark.parametrize("text", ['say "hello"', "C:\\new\\table", "it's $HOME `id`", "tab\tand\nnewline", "--all"])
def test_d13_a_description_is_kept_as_it_is(old: Old, text: str) -> None:
    """With a quote or a backslash it was lost with SUCCESS, or broke the file for everybody after it."""
    number = claimed(old, "feature", text)
    assert show(old, number)["description"] == text
    assert old("list-work").status == 0
    place = legacy_files(old)
    assert [each["description"] for each in json.loads((place / "work_claims.json").read_text())] == [text]
    (line,) = (place / "work_claims_fast.jsonl").read_text().splitlines()
    assert json.loads(line)["description"] == text


def test_d14_what_cannot_be_completed_is_not_called_completed(old: Old) -> None:
    """Twice gave double points, an unknown id was logged, "Added notanumber points" was said, and all ended with 0."""
    number = claimed(old)
    wrong = old("complete", f"work_{number}", "success", "notanumber")
    assert (wrong.status, wrong.out) == (2, "")
    assert show(old, number)["state"] == "claimed"
    assert old("complete", f"work_{number}", "success", "8").status == 0
    again = old("complete", f"work_{number}", "success", "8")
    assert again == (5, "", f"swarmctl: complete work_{number}: item {number} is done: nobody holds it\n")
    unknown = old("complete", "work_999")
    assert unknown == (4, "", "swarmctl: complete work_999: there is no item work_999\n")
    log = json.loads((legacy_files(old) / "coordination_log.json").read_text())
    assert [(each["work_item_id"], each["velocity_points"]) for each in log] == [(f"work_{number}", 8)]


def test_d15_what_is_no_progress_is_not_called_progress(old: Old) -> None:
    """150 % and "banana" were stored, other nonsense "Updated" nothing, and all ended with 0."""
    number = claimed(old)
    for words, status in [
        ((f"work_{number}", "150", "banana"), 2),
        ((f"work_{number}", "abc"), 2),
        ((f"work_{number}", "active"), 2),
        ((f"work_{number}",), 2),
        ((), 2),
        (("work_999", "50"), 4),
    ]:
        ran = old("progress", *words)
        assert (ran.status, ran.out, ran.err.count("\n")) == (status, "", 1), words
    assert "percent" not in show(old, number)


def test_d16_what_is_completed_stays_completed(old: Old) -> None:
    """Progress after it put the item back to in_progress, with its result."""
    number = claimed(old)
    assert old("complete", f"work_{number}").status == 0
    ran = old("progress", f"work_{number}", "10")
    assert (ran.status, ran.out) == (5, "")
    assert show(old, number)["state"] == "done"
    assert "percent" not in show(old, number)


def test_d17_nobody_completes_what_another_holds_and_one_of_two_gets_the_work(old: Old) -> None:
    """Two agents took the same work, and a third one completed what the first had."""
    number = claimed(old)
    for verb, word in (("complete", "success"), ("progress", "99")):
        ran = old.as_agent("thief")(verb, f"work_{number}", word)
        assert (ran.status, ran.out) == (5, "")
        assert "held by a1" in ran.err
        assert "you are thief" in ran.err
    assert show(old, number)["state"] == "claimed"
    old.daemon.call("submit", type="build", description="once")
    got = [old.daemon.spawn("claim", "-q", AGENT_ID=agent) for agent in ("a2", "a3")]
    out = [process.communicate(timeout=PATIENCE)[0] for process in got]
    assert sorted(process.returncode for process in got) == [0, 3]
    assert sorted(out) == ["", f"{number + 1}\n"]


def test_d18_work_in_progress_is_listed(old: Old) -> None:
    """After its first progress an item was in no list any more."""
    number = claimed(old)
    before = old("list-work")
    assert old("progress", f"work_{number}", "50", "testing").status == 0
    assert old("list-work") == old("list-work-fast") == before
    assert before.out == f"  🔧 work_{number}: something (feature, medium)\n"


def test_d19_the_dashboard_counts_what_is_there(old: Old) -> None:
    """With three active items, one of them high, it counted none and none."""
    for priority in ("medium", "high", "low"):
        claimed(old, "feature", "something", priority)
    for verb in ("dashboard", "dashboard-fast"):
        shown = old(verb)
        assert shown.status == 0
        assert "  📊 Active Agents: 1\n  🤖 Agent a1: - team (-)\n" in shown.out
        assert "  📊 Active Work Items: 3\n" in shown.out
        assert shown.out.count("(feature, high)") == 1


def test_d20_no_jq_is_needed(old: Old) -> None:
    """Without jq the files were no JSON, and progress and complete said that they had done what they had not."""
    tools = old.directory / "tools"
    tools.mkdir()
    path_with_swarmctl(tools)
    for tool in ("sh", "readlink", "awk", "wc", "date", "cat"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}" if os.path.exists(f"/usr/bin/{tool}") else f"/bin/{tool}")
    number = CLAIMED.fullmatch(old("claim", "feature", "x", PATH=str(tools)).out)[1]  # type: ignore[index]
    claimed(old)
    assert old("progress", f"work_{number}", "50", PATH=str(tools)).status == 0
    assert old("complete", f"work_{number}", PATH=str(tools)).status == 0
    assert old("register", "a2", "backend", PATH=str(tools)).status == 0
    assert "Active Work Items: 1\n" in old("dashboard", PATH=str(tools)).out
    place = legacy_files(old)
    assert len(json.loads((place / "work_claims.json").read_text())) == 2
    assert len(json.loads((place / "coordination_log.json").read_text())) == 1
    assert [each["agent_id"] for each in json.loads((place / "agents.json").read_text())] == ["a2"]


def test_d21_the_lines_of_its_tutorial_do_what_they_say(old: Old) -> None:
    """``register 100 active …`` registered nothing, and WORK_ID had five lines, on which nothing acted."""
    before = old.daemon.call("agents")["agents"]
    wrong = old("register", "100", "active", "backend_development")
    assert (wrong.status, wrong.out) == (2, "")
    assert "CAPACITY: 'backend_development' is not a whole number" in wrong.err
    assert old.daemon.call("agents")["agents"] == before
    printed = old.bash("""
        set -e
        WORK_ID=$(coordination_helper.sh claim feature "Implement it" high backend --quiet)
        echo "$WORK_ID"
        coordination_helper.sh progress "$WORK_ID" 50 in_progress
        coordination_helper.sh complete "$WORK_ID" success 5
        OTHER=$(coordination_helper.sh claim feature "Another" | grep -o 'work_[0-9]*')
        CURRENT_WORK_ITEM=$OTHER coordination_helper.sh complete
    """)
    assert printed == (
        "work_1\n"
        "📈 PROGRESS: Updated work_1 to 50% (in_progress)\n"
        "✅ COMPLETED: Released claim for work_1 (success) - 5 velocity points\n"
        "✅ COMPLETED: Released claim for work_2 (success) - 5 velocity points\n"
    )
    assert count(old, state=["done"]) == 2


def test_d22_a_trace_id_is_told_only_where_the_item_has_it(old: Old) -> None:
    """A claim printed and stored one trace id, its span had another, and no span had an id of its own."""
    item = claimed(old)
    ran = [old("progress", f"work_{item}", "50"), old("complete", f"work_{item}", "success", "5")]
    assert [each.status for each in ran] == [0, 0]
    told = "".join(each.out + each.err for each in ran) + old("list-work").out
    past = [json.loads(line) for line in old.daemon.ctl("history", str(item), "--json").stdout.splitlines()]
    stored = {
        str(fact[name]) for fact in (show(old, item), *past) for name in fact if "trace" in name or "span" in name
    }
    assert set(re.findall(r"(?i)(?:trace|span)\W*(?:id)?\W*([0-9a-f]{16,32})", told)) == stored
    assert "" not in stored
    spans = [path for path in legacy_files(old).iterdir() if "span" in path.name or "telemetry" in path.name]
    assert spans == [], "there is no telemetry here yet, and none is made up"


def test_d23_a_collector_that_never_answers_keeps_nobody_waiting(old: Old) -> None:
    """A claim hung for as long as the collector did, with the lock in its hand."""
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen()
        collector.setblocking(False)
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        assert old("claim", "feature", "x", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint).status == 0
        with pytest.raises(BlockingIOError):
            collector.accept()


def test_d24_a_place_that_cannot_be_written_is_called_that(make_daemon: Any, tmp_path: Path) -> None:
    """It was "CONFLICT: Another process is updating work claims", with 0."""
    daemon = make_daemon()
    (tmp_path / "file").touch()
    daemon.state = tmp_path / "file" / "state"
    ran = subprocess.run(daemon.command(), capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT)
    assert ran.returncode not in (0, 1)
    assert f"{daemon.state}" in ran.stderr
    assert "Not a directory" in ran.stderr
    claim = Old(daemon, tmp_path)("claim", "feature", "x", FLOCK_TIMEOUT="0.1")
    assert (claim.status, claim.out) == (69, "")
    assert "CONFLICT" not in claim.err


def test_d25_every_verb_of_its_help_works(old: Old) -> None:
    """Four of its own twenty tests passed, under a badge that said 100 %."""
    help_text = old("help").out
    verbs = re.findall(r"^  ([a-z-]+)(?= )", help_text, re.MULTILINE)
    words: dict[str, tuple[str, ...]] = {
        "claim": ("feature", "x"),
        "progress": ("work_1", "50"),
        "complete": ("work_1",),
        "register": ("a1",),
        "config": ("show", "LEASE"),
    }
    assert len(verbs) == 9
    for verb in verbs:
        ran = old(verb, *words.get(verb, ()))
        assert (ran.status, ran.err) == (0, ""), verb
    assert old("--version").out.count("\n") == 1
    for gone in ("pi-planning", "claude-health", "no-such-verb"):
        ran = old(gone)
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert not re.search(r"\d %|\d%|badge", (ROOT / "README.md").read_text())


HEREDOC = """
cat > baseline_system.json << EOF
{
  "timestamp": "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
  "system": {
    "os": "$(uname -s)",
    "kernel": "$(uname -r)",
    "cpu_count": $(nproc),
    "memory_gb": $(free -g | awk 'NR==2 {print $2}'),
    "disk_gb": $(df -BG / | awk 'NR==2 {print $2 + 0}')
  },
  "swarmsh": {
    "version": "$(coordination_helper.sh --version)",
    "agents": "$(cat agent_coordination/agents.json | jq 'length')",
    "active_work": "$(cat agent_coordination/work_claims.json | jq 'length')"
  }
}
EOF
"""


def test_d26_the_description_of_the_system_is_json(old: Old) -> None:
    """The version was 68 lines of help, two of the files were not there, and a number had a G behind it."""
    for tool, package in (("jq", "jq"), ("free", "procps")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt-get install {package})")
    assert old("register", "a1").status == 0
    claimed(old)
    legacy_files(old)
    old.bash(HEREDOC)
    system = json.loads((old.directory / "baseline_system.json").read_text())
    version = subprocess.run(
        [sys.executable, "-m", "swarmctl", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert system["swarmsh"] == {"version": version.stdout.strip(), "agents": "1", "active_work": "1"}
    assert system["system"]["disk_gb"] > 0


# -- the script itself -----------------------------------------------------------------------------------


def test_the_scripts_have_no_fault_that_can_be_seen() -> None:
    scripts = [*HELPER.parent.rglob("*.sh"), *(ROOT / "contrib/workers").glob("*.sh")]
    checker = Path(sys.executable).with_name("shellcheck")
    ran = subprocess.run([checker, *scripts], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_it_is_installed_beside_swarmctl() -> None:
    assert Path(sys.executable).with_name(HELPER.name).read_text() == HELPER.read_text()


@pytest.mark.parametrize("full", [True, False], ids=["full", "closed"])
def test_a_claim_that_cannot_be_printed_is_given_back(old: Old, full: bool) -> None:
    read, write = (None, os.open("/dev/full", os.O_WRONLY)) if full else os.pipe()
    if read is not None:
        os.close(read)
    process = subprocess.run(["/bin/sh", HELPER, "claim", "a", "b"], stdout=write, env=old.environment, check=False)
    os.close(write)
    assert process.returncode == 1
    shown = show(old, 1)
    assert (shown["state"], shown["attempt"], shown["releases"]) == ("ready", 1, 0)


def test_who_reads_the_beginning_only_gets_no_error(old: Old) -> None:
    assert old.bash("coordination_helper.sh dashboard 2>&1 | head -1") == "👥 AGENT TEAMS & STATUS:\n"


def test_another_result_than_success_is_told_as_it_is(old: Old) -> None:
    failed, blocked, said = (claimed(old) for _ in range(3))
    ran = old("complete", f"work_{failed}", "failed")
    assert ran.status == 0
    assert ran.out.startswith(f"❌ NOT COMPLETED: Released claim for work_{failed} (failed): scheduled ")
    ran = old("complete", f"work_{blocked}", "blocked")
    assert ran.out == f"❌ NOT COMPLETED: Released claim for work_{blocked} (blocked): buried\n"
    ran = old("complete", f"work_{said}", "faild", "3")
    assert ran.out == f"✅ COMPLETED: Released claim for work_{said} (faild) - 3 velocity points\n"
    assert ran.err == f"coordination_helper.sh: complete work_{said}: done; its RESULT is kept as the note\n"
    assert [show(old, each)["state"] for each in (failed, blocked, said)] == ["scheduled", "buried", "done"]
    assert show(old, said)["note"] == "faild"


def test_only_progress_may_be_answered_before_it_is_written(old: Old) -> None:
    number = claimed(old)
    ran = old("progress", f"work_{number}", "50", "in_progress", "--async")
    assert ran == (0, f"📈 PROGRESS: Queued work_{number} to 50% (in_progress)\n", "")
    for words in (("claim", "a", "b"), ("complete", f"work_{number}")):
        ran = old(*words, "--async")
        assert (ran.status, ran.out) == (2, "")
    assert show(old, number)["state"] == "claimed"


def test_what_a_terminal_would_obey_is_not_shown(old: Old) -> None:
    claimed(old, "feature", "\x1b[31mred\x07 \x9b2J \u202egnp\u2066.")
    for verb in ("list-work", "dashboard"):
        assert "?[31mred? ?2J ?gnp?." in old(verb).out
