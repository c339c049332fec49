"""`swarmctl export`, and `import` of what it wrote: real daemons, real files."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Daemon

DATA = ROOT / "tests" / "data" / "swarmsh"

pytestmark = pytest.mark.real


def fill(daemon: Daemon) -> None:
    """Items in every state, and whatever they may have."""
    call = daemon.call
    call("register", agent="a", team="core", labels=["gpu"], slots=9, heartbeat=90_000, key="1")
    call("quiet", agent="a", key="2")
    call("wake", agent="a", key="3")
    call("queue_set", queue="p", limit=7, lease=90_500, key="4")
    call("pause", queue="q", reason="line\nbreak \u202e", lasts=3_600_000, key="5")
    first = call("submit", type="t", description="d\0\n\u2028é", payload=b"\xff\0", ref="r", queue="p", key="6")["id"]
    call("submit", type="t", description="late", after=[first], group="g", require=["gpu"], key="7")
    call("submit", type="t", description="due", delay=10**9, unique="u", max_runtime=1500, key="8")
    held = call("claim", agent="a", queue="p", key="9")["items"][0]
    call("progress", id=first, token=held["token"], percent=40, status="s", checkpoint=b"\xfe", key="10")
    for number, verb in enumerate(("complete", "bury", "fail", "release")):
        item = call("claim_new", agent="a", type="t", description=verb, key=f"c{verb}")["items"][0]
        more: dict[str, Any] = {"complete": {"points": 5, "result": b"\xff", "output": b"o", "note": "n"}}.get(verb, {})
        call(verb, id=item["id"], token=item["token"], key=f"d{number}", **more)
    call("cancel", id=call("submit", type="t", description="no", key="11")["id"], reason="why", key="12")


def exported(daemon: Daemon, *words: str) -> list[Any]:
    done = daemon.ctl("export", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def rows(found: list[Any]) -> list[Any]:
    """The lines between the first and the last, without what a claim that stays changes."""
    return [{name: value for name, value in each.items() if name != "seen_at"} for each in found[1:-1]]


def brought(daemon: Daemon, *words: str, status: int = 0, **more: Any) -> Any:
    done = daemon.ctl("import", "--json", *words, **more)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_everything_but_leases_goes_into_an_empty_daemon_and_is_the_same(make_daemon: Any) -> None:
    first, second = make_daemon().start(), make_daemon().start()
    fill(first)
    whole = first.ctl("export").stdout
    lines = exported(first)
    assert lines[0]["swarmsh"] == "export"
    assert lines[-1] == {"kind": "end", "queues": 2, "agents": 1, "items": 8}
    assert {each["state"] for each in rows(lines) if each["kind"] == "item"} == {
        *("claimed", "blocked", "scheduled", "done", "buried", "ready", "cancelled")
    }
    report = brought(second, "--claimed", "keep", "-", input=whole)
    assert (report["taken"], report["refused"], report["damaged"]) == (11, 0, 0)
    assert rows(exported(second)) == rows(lines)
    assert brought(second, "-", input=whole)["unchanged"] == 11
    assert brought(first, "-", input=whole)["unchanged"] == 11
    second.restart()
    assert rows(exported(second)) == rows(lines)
    late = second.call("submit", type="t", description="new", key="new")["id"]
    assert late > 8, "numbers go on after those that came"
    assert second.call("get", id="r", what="payload")["data"] == b"\xff\0"
    done = second.ctl("claim", "--resume", "--queue", "p", AGENT_ID="a")
    assert done.stdout.startswith("1\t")
    assert second.ctl("complete", "1", AGENT_ID="a").returncode == 0
    assert second.call("show", id=2)["state"] == "ready"


def test_what_is_chosen(daemon: Daemon) -> None:
    fill(daemon)
    assert [each["id"] for each in rows(exported(daemon, "--group", "g"))[2:]] == [2]
    found = exported(daemon, "--queue", "p", "--state", "claimed")
    assert found[0]["chosen"] == {"state": ["claimed"], "queue": ["p"]}
    assert [each["kind"] for each in rows(found)] == ["queue", "item"]


def test_a_file_is_whole_or_not_there(daemon: Daemon, directory: Path) -> None:
    fill(daemon)
    path = directory / "out.jsonl"
    done = daemon.ctl("export", "-o", str(path))
    assert done.stdout == f"{path}\t2 queues\t1 agent\t8 items\n"
    assert path.read_text().splitlines()[1:] == daemon.ctl("export").stdout.splitlines()[1:]
    assert os.listdir(directory) == ["0", "out.jsonl"] or sorted(os.listdir(directory)) == ["0", "out.jsonl"]
    done = daemon.ctl("export", "-o", str(directory / "none" / "out"))
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert json.loads(daemon.ctl("export", "--json", "-o", str(path)).stdout)["item"] == 8


@pytest.mark.parametrize(
    ("spoil", "damaged", "refused", "why"),
    [
        (lambda lines: lines[:-1], 1, 0, "cut"),
        (lambda lines: [*lines[:-2], lines[-2][: len(lines[-2]) // 2]], 2, 0, "cut"),
        (lambda lines: lines[1:], 2, 0, "first line"),
        (lambda lines: [*lines[:3], *lines[4:]], 1, 0, "were written"),
        (lambda lines: [*lines[:3], "garbage", *lines[3:]], 1, 0, "neither"),
        (lambda lines: [*lines[:3], '{"kind":"item","id":99}', *lines[3:]], 1, 1, "missing"),
        (lambda lines: [*lines[:3], '{"kind":"item","created_at":"never"}', *lines[3:]], 1, 1, "cannot be read"),
        (lambda lines: [*lines[:-1], '{"work_item_id":"w","work_type":"t"}', lines[-1]], 0, 1, "standard input"),
    ],
)
def test_a_file_that_is_not_whole_is_told(daemon: Daemon, spoil: Any, damaged: int, refused: int, why: str) -> None:
    fill(daemon)
    lines = daemon.ctl("export").stdout.splitlines()
    report = brought(daemon, "-", input="\n".join(spoil(lines)) + "\n", status=1)
    assert (report["damaged"], report["refused"]) == (damaged, refused)
    assert any(why in each["why"] for each in report["lines"])
    assert report["unchanged"] >= 9


def test_a_dry_run_tells_what_waits_in_vain_as_the_real_one_does(daemon: Daemon) -> None:
    made = {"type": "t", "description": "d", "created_at": "2026-01-01T00:00:00Z", "queue": "q"}

    def line(ref: str, *waits: str, **more: Any) -> str:
        state = {"state": "blocked", "waits": waits} if waits else {"state": "ready"}
        return json.dumps({"kind": "item", "ref": ref, **made, **state, **more})

    items = [
        *(line("first"), line("second", "first"), line("lost", "gone"), line("late", "after"), line("after")),
        *(line("ring-a", "ring-b"), line("ring-b", "ring-a"), line("itself", "itself")),
        *(line("bad", state="no-such-state"), line("on-bad", "bad", "first"), line("on-known", "known")),
        *(line(f"n{number}") for number in range(600)),  # the next ones are in frames of their own
        *(line("far", "first"), line("far-on-bad", "bad")),
    ]
    daemon.ctl("submit", "t", "d", "--ref", "known")
    head = '{"swarmsh":"export","schema":1}'
    end = json.dumps({"kind": "end", "queues": 0, "agents": 0, "items": len(items)})
    text = "\n".join((head, *items, end)) + "\n"
    dry = brought(daemon, "--dry-run", "-", input=text, status=1)
    assert daemon.call("count", all=True)["count"] == 1
    real = brought(daemon, "-", input=text, status=1)
    told = {each["why"] for each in real["lines"] if each["what"] == "held_back"}
    waits = {"lost": "gone", "late": "after", "ring-a": "ring-b", "itself": "itself", "on-bad": "bad"}
    assert told == {
        f"{name} waits for {what}, which did not come in before it"
        for name, what in (*waits.items(), ("far-on-bad", "bad"))
    }
    assert real["held_back"] == 6
    assert {**dry, "dry_run": False} == real


@pytest.mark.parametrize("words", [("export", "-o"), ("backup",)], ids=["export", "backup"])
def test_only_files_are_replaced(daemon: Daemon, tmp_path: Path, words: tuple[str, ...]) -> None:
    daemon.call("submit", type="t", description="d")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        done = daemon.ctl(*words, str(fifo))
        assert (done.returncode, done.stderr) == (0, "")
        assert os.read(reader, 1 << 16), "what is written to a pipe goes into it"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    place, link = tmp_path / "place", tmp_path / "link"
    place.write_bytes(b"before")
    link.symlink_to(place)
    assert daemon.ctl(*words, str(link)).returncode == 0
    assert link.is_symlink()
    assert b"before" not in place.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "link", "place"]


def test_a_later_form_is_left_alone(daemon: Daemon) -> None:
    done = daemon.ctl("import", "-", input='{"swarmsh":"export","schema":2}\n{"kind":"agent","agent":"a"}\n')
    assert done.returncode == 1
    assert "schema '2'; this program reads 1" in done.stderr
    assert daemon.call("agents")["agents"] == []


# -- the old system's files ----------------------------------------------------------------------------------


def test_the_old_files_come_back_as_they_are_read(make_daemon: Any, directory: Path) -> None:
    first, second = make_daemon().start(), make_daemon().start()
    brought(first, str(DATA))
    old, again = directory / "old", directory / "again"
    assert first.ctl("export", "--legacy", str(old)).returncode == 0
    names = {"work_claims.json", "work_claims_fast.jsonl", "coordination_log.json", "velocity_log.txt"}
    assert set(os.listdir(old)) == names | {"agent_status.json", "agents.json", ".swarmctl-export.json"}
    assert len(json.loads((old / "work_claims.json").read_text())) == 99
    assert len(json.loads((old / "agents.json").read_text())) == 44
    assert [json.loads(line)["status"] for line in (old / "work_claims_fast.jsonl").read_text().splitlines()] == [
        "active"
    ] * 9
    report = brought(first, str(old))
    assert (report["taken"], report["unchanged"], report["refused"]) == (0, 291, 0)
    report = brought(second, str(old))
    assert (report["taken"], report["refused"], report["damaged"]) == (291, 0, 0)
    assert second.ctl("export", "--legacy", str(again)).returncode == 0
    for name in os.listdir(old):
        assert (old / name).read_bytes() == (again / name).read_bytes(), name


def test_files_that_export_did_not_write_are_not_replaced(daemon: Daemon, directory: Path) -> None:
    old = directory / "old"
    old.mkdir()
    (old / "work_claims.json").write_text("[]")
    done = daemon.ctl("export", "--legacy", str(old))
    assert done.returncode == 5
    assert done.stderr == f"swarmctl: export: '{old}/work_claims.json' is not what export wrote; --force replaces it\n"
    assert os.listdir(old) == ["work_claims.json"]
    assert daemon.ctl("export", "--legacy", str(old), "--force").returncode == 0
    daemon.call("claim_new", agent="a", type="t", description='say "it"\\', key="k")
    assert daemon.ctl("export", "--legacy", str(old)).returncode == 0, "these it has written itself"
    (claim,) = json.loads((old / "work_claims.json").read_text())
    assert (claim["work_item_id"], claim["description"], claim["status"]) == ("work_1", 'say "it"\\', "active")
    (line,) = (old / "work_claims_fast.jsonl").read_text().splitlines()
    assert json.loads(line) == claim
    (old / "coordination_log.json").write_text("[ ]")
    assert daemon.ctl("export", "--legacy", str(old)).returncode == 5
    for words in (("--legacy", "x", "-o", "y"), ("--force",)):
        assert daemon.ctl("export", *words).returncode == 2


def test_what_was_submitted_here_goes_over_and_back(daemon: Daemon, directory: Path) -> None:
    fill(daemon)
    old = directory / "old"
    assert daemon.ctl("export", "--legacy", str(old)).returncode == 0
    claims = {each["description"][:4]: each for each in json.loads((old / "work_claims.json").read_text())}
    assert {name: claims[name]["status"] for name in ("late", "due", "comp", "bury", "rele", "no")} == {
        "late": "blocked", "due": "pending", "comp": "completed", "bury": "failed", "rele": "pending", "no": "cancelled"
    }  # fmt: skip
    assert claims["d\0\n\u2028"]["progress"] == 40
    assert json.loads((old / "agents.json").read_text())[0]["current_workload"] == 1
    assert (old / "velocity_log.txt").read_text().endswith("Team autonomous_team +5 velocity points\n")
    before = exported(daemon)
    report = brought(daemon, str(old), status=1)
    assert report["taken"] == 0, "what is here is not doubled, but it says other things than the files can"
    assert exported(daemon)[1:] == before[1:]
