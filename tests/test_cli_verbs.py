"""Every verb of swarmctl against a real daemon: what it prints, where, and its status."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from swarmctl import cli
from tests.conftest import PATIENCE, Daemon


class Said(NamedTuple):
    """What one call answered."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Ctl = Callable[..., Said]

pytestmark = pytest.mark.real


def runner(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> Ctl:
    """Runs swarmctl in this process, as agent ``me`` unless told otherwise."""

    def run(*words: str, **environ: str) -> Said:
        status = cli.main(["--socket", daemon.socket, *words], {"AGENT_ID": "me", **environ})
        return Said(status, *capfd.readouterr())

    return run


@pytest.fixture
def ctl(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> Ctl:
    return runner(daemon, capfd)


def test_what_hangs_together(ctl: Ctl) -> None:
    for words in (("first",), ("second", "--after", "1"), ("third", "--after", "1,2"), ("aside",)):
        assert ctl("submit", "t", *words).status == 0
    assert ctl("deps", "2").out == "2\t1\tblocked\tt\tsecond\n1\t-\tready\tt\tfirst\n3\t1,2\tblocked\tt\tthird\n"
    assert ctl("deps", "1").out.splitlines()[0] == "1\t-\tready\tt\tfirst"
    assert [line["id"] for line in ctl("deps", "1", "--json").json] == [1, 2, 3]
    assert ctl("deps", "1", "--json").json[0]["needed_by"] == [2, 3]
    assert ctl("deps", "4").out == "4\t-\tready\tt\taside\n"
    assert ctl("deps", "2", "--mermaid").out.splitlines() == [
        "graph TD",
        *(f'    i{number}["{number} t ({state})"]' for number, state in ((2, "blocked"), (1, "ready"), (3, "blocked"))),
        *("    i1 --> i2", "    i1 --> i3", "    i2 --> i3"),
    ]
    for typed, status in (("99", 4), ("1 2", 2), ("2 --mermaid --json", 2)):
        assert ctl("deps", *typed.split()).status == status
    assert ctl("claim", "--id", "1").status == ctl("complete", "1").status == 0
    assert ctl("show", "1", "--json").json[0].get("needed_by") is None, "nobody waits any more"
    assert ctl("deps", "3").out.splitlines()[1] == "1\t-\tdone\tt\tfirst"


def test_from_submit_to_complete(ctl: Ctl) -> None:
    assert ctl("submit", "feature", "Implement caching", "-p", "high") == (0, "1\n", "")
    claimed = ctl("claim")
    assert claimed.status == 0
    ((number, token, *rest),) = claimed.rows
    assert (number, rest) == ("1", ["feature", "high", "Implement caching"])
    assert re.fullmatch(r"\d+\.[0-9a-f]{16}", token)
    assert ctl("held").out == claimed.out
    assert ctl("progress", "1", "50", "in_progress", "--token", token) == (0, "", "")
    assert ctl("heartbeat", "1") == (0, "", "")
    assert ctl("complete", f"1:{token}") == (0, "1 done\n", "")
    assert ctl("complete", f"1:{token}") == (0, "1 done\n", "")
    assert ctl("held") == (0, "", "")
    assert ctl("claim") == (3, "", "swarmctl: claim: nothing to claim in default\n")


def test_submit_prints_only_the_id_and_says_when_it_exists_already(ctl: Ctl) -> None:
    assert ctl("submit", "t", "d", "--unique", "u") == (0, "1\n", "")
    assert ctl("submit", "t", "d", "--unique", "u") == (0, "1\n", "swarmctl: submit: already open as 1\n")
    again = ctl("submit", "t", "d", "--unique", "u", "--json")
    assert again.err == ""
    assert again.json == [{"schema": 1, "ok": True, "id": 1, "created": False}]
    strict = ctl("submit", "t", "d", "--unique-strict", "u")
    assert strict.status == 5
    assert strict.out == ""


def test_a_key_makes_a_change_once(ctl: Ctl) -> None:
    assert ctl("submit", "t", "d", "--key", "k").out == "1\n"
    assert ctl("submit", "t", "d", "--key", "k") == (0, "1\n", "")
    assert ctl("submit", "t", "other", "--key", "k").status == 5
    assert ctl("cancel", "1", "--key", "k").status == 0
    assert ctl("cancel", "1", "--key", "k").status == 0


def test_everything_that_a_submit_can_say(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"pay\xffload")
    ctl("submit", "t", "first")
    words = [
        "-p", "low", "--queue", "q", "--team", "core", "--payload", str(tmp_path / "p"), "--delay", "1h",
        "--after", "1", "--on-failure", "run", "--require", "gpu,x", "--group", "g", "--ref", "T-1",
        "--max-attempts", "2", "--lease", "1m", "--max-runtime", "90s",
    ]  # fmt: skip
    assert ctl("submit", "t", "second", *words).status == 0
    (item,) = ctl("show", "T-1", "--json").json
    assert item["payload"] == {"base64": "cGF5/2xvYWQ="}
    want = {
        "id": 2, "type": "t", "description": "second", "priority": "low", "queue": "q", "team": "core", "after": [1],
        "on_failure": "run", "require": ["gpu", "x"], "group": "g", "ref": "T-1", "attempts_max": 2, "lease": 60,
        "max_runtime": 90,
    }  # fmt: skip
    assert {name: item[name] for name in want} == want
    assert ctl("get", "T-1", "payload", "-o", str(tmp_path / "out")) == (0, "", "")
    assert (tmp_path / "out").read_bytes() == b"pay\xffload"


def test_the_queue_of_the_environment_is_for_submit_and_claim(ctl: Ctl) -> None:
    ctl("submit", "t", "d", SWARMSH_QUEUE="q")
    assert ctl("claim") == (3, "", "swarmctl: claim: nothing to claim in default (1 ready in q)\n")
    assert ctl("claim", "-q", SWARMSH_QUEUE="q").out == "1\n"
    ctl("submit", "t", "d", "--queue", "r", SWARMSH_QUEUE="q")
    assert ctl("claim", "--queue", "*", "-q").out == "2\n"


def test_the_creating_form_prints_the_id_and_holds_the_item(ctl: Ctl) -> None:
    assert ctl("claim", "feature", "task_1", "high", "core", "--ref", "R") == (0, "1\n", "")
    (item,) = ctl("show", "1", "--json").json
    assert (item["state"], item["priority"], item["team"], item["agent"]) == ("claimed", "high", "core", "me")
    assert ctl("complete", "R") == (0, "1 done\n", "")


def test_claim_options(ctl: Ctl) -> None:
    for kind in "abc":
        ctl("submit", kind, f"of {kind}", "--team", f"t{kind}")
    assert ctl("claim", "--type", "b,x", "-q").out == "2\n"
    assert ctl("claim", "--team", "tc", "-q").out == "3\n"
    assert ctl("claim", "--id", "1", "--lease", "10m", "--json").json[0]["lease"] == 600
    assert ctl("claim", "--id", "1", AGENT_ID="you").status == 5
    tokens = {row[0]: row[1] for row in ctl("held").rows}
    resumed = {row[0]: row[1] for row in ctl("claim", "--resume", "--count", "5").rows}
    assert resumed.keys() == tokens.keys()
    assert all(resumed[number] != tokens[number] for number in tokens)
    assert ctl("complete", f"1:{tokens['1']}").status == 5
    assert sorted(ctl("release", "--mine").rows) == [["1 ready"], ["2 ready"], ["3 ready"]]
    assert ctl("claim", "--count", "2", "-q").out == "1\n2\n"


def test_claim_waits(ctl: Ctl, daemon: Daemon) -> None:
    waiting = daemon.spawn("claim", "--wait", "30", "--type", "late", "-q")
    while daemon.call("status")["waiters"] == 0:
        pass
    ctl("submit", "late", "d")
    assert waiting.communicate(timeout=PATIENCE) == ("1\n", "")
    assert waiting.returncode == 0
    assert ctl("claim", "--wait", "0.05").status == 3


def test_export_can_be_evaluated(ctl: Ctl, daemon: Daemon) -> None:
    nasty = 'it\'s $(touch x) `id` "quoted"\nline'
    ctl("submit", "t", nasty)
    text = ctl("claim", "--export").out
    script = f'{text}\nprintf "%s|%s|%s" "$SWARMSH_ITEM" "$SWARMSH_DESCRIPTION" "$SWARMSH_PRIORITY"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"1|{nasty}|medium"
    nothing = ctl("claim", "--export")
    assert nothing.status == 3
    assert subprocess.run(["/bin/sh", "-c", f'eval "{nothing.out}"'], check=False).returncode == 3
    environ = dict(re.findall(r"export (\w+)='(.*?)'$", text, re.MULTILINE))
    assert ctl("complete", "1", AGENT_ID="another", **environ) == (0, "1 done\n", "")


def test_the_token_of_the_environment_is_only_for_its_item(ctl: Ctl) -> None:
    ctl("claim", "t", "one")
    ctl("claim", "t", "two", AGENT_ID="you")
    token = ctl("held").rows[0][1]
    refused = ctl("complete", "2", SWARMSH_ITEM="1", SWARMSH_TOKEN=token)
    assert refused.status == 5
    assert "held by you since" in refused.err
    assert "you are me (from $AGENT_ID): set AGENT_ID or pass --token" in refused.err


def test_what_complete_says_of_each_result(ctl: Ctl) -> None:
    for _ in range(6):
        ctl("claim", "t", "d")
    assert ctl("complete", "1", "success", "5").out == "1 done\n"
    failed = ctl("complete", "2", "failed", "3").out
    assert re.fullmatch(r"2 scheduled (\S+ )?\d\d:\d\d:\d\d attempt 2 of 5\n", failed)
    assert ctl("complete", "3", "blocked", "--note", "no access").out == "3 buried\n"
    assert ctl("complete", "4", "all tests pass").out == "4 done\n"
    assert ctl("complete", "5", "merged", "2").out == "5 done\n"
    for typo, meant in (("faild", "failed"), ("failure", "failed"), ("Failed", "failed"), ("block", "blocked")):
        refused = ctl("complete", "6", typo)
        assert refused.status == 2
        assert f"a note goes in --note; not {typo!r}; did you mean {meant}?" in refused.err
    items = ctl("list", "--all", "--json").json
    assert [item.get("points") for item in items[:-1]] == [5, None, None, None, 2, None]
    assert items[2]["reason"] == "no access"
    assert items[3]["note"] == "all tests pass"
    assert items[4]["note"] == "merged"
    assert items[5]["state"] == "claimed"


def test_complete_keeps_output_and_result(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "o").write_bytes(b"x" * 70_000 + b"end")
    (tmp_path / "r").write_bytes(b"\0result")
    ctl("claim", "t", "d")
    done = ctl("complete", "1", "--output", str(tmp_path / "o"), "--result", str(tmp_path / "r"))
    assert done == (
        0,
        "1 done\n",
        "swarmctl: complete: of 70003 bytes of output the last 65536 are kept (OUTPUT_TAIL)\n",
    )
    assert ctl("log", "1").out == "x" * 65533 + "end"
    assert ctl("get", "1", "result", "--json").json[0]["data"] == "\0result"
    assert ctl("get", "1", "payload").status == 4


def test_fail_release_bury_and_kick(ctl: Ctl) -> None:
    for _ in range(4):
        ctl("claim", "t", "d")
    assert "attempt 2 of 5" in ctl("fail", "1", "the mirror is down", "--retry-after", "10m").out
    assert ctl("fail", "2", "--no-retry", "-m", "hopeless").out == "2 buried\n"
    assert ctl("release", "3", "--note", "not mine").out == "3 ready\n"
    assert ctl("bury", "4", "needs a decision").out == "4 buried\n"
    assert ctl("kick", "2").out == "2 ready\n"
    assert ctl("kick", "--queue", "default").out == "1\n"
    assert ctl("kick", "2") == (5, "", "swarmctl: kick 2: it is ready, not buried\n")
    assert ctl("fail", "1", "a", "-m", "b").status == 2


def test_many_ids_and_the_worst_status(ctl: Ctl, daemon: Daemon) -> None:
    for _ in range(4):
        ctl("submit", "t", "d")
    answer = ctl("cancel", "1", "99", "2", "-m", "wrong")
    assert answer == (4, "1 cancelled\n2 cancelled\n", "swarmctl: cancel 99: there is no item 99\n")
    answer = ctl("cancel", "1", "99", "3")
    assert (answer.status, answer.out) == (5, "3 cancelled\n")
    as_json = ctl("cancel", "1", "4", "--json")
    assert as_json.status == 5
    assert [(one["ok"], one["id"], one.get("code")) for one in as_json.json] == [
        (False, 1, "bad_state"),
        (True, 4, None),
    ]
    assert as_json.err == ""


def test_ids_from_standard_input(daemon: Daemon) -> None:
    for number in range(1, 5):
        daemon.call("submit", type="t", description=f"{number} 3 3", key=f"k{number}")
    listed = daemon.ctl("list").stdout
    assert daemon.ctl("cancel", "-", input=listed.splitlines(keepends=True)[0]).stdout == "1 cancelled\n"
    assert daemon.ctl("cancel", "-", input="2 3\n\n4\n").stdout == "2 cancelled\n3 cancelled\n4 cancelled\n"
    assert daemon.ctl("cancel", "-", input="").returncode == 0
    assert daemon.ctl("cancel", "-", input="1\nfoo bar\x00\n").returncode == 2


def test_cancel_of_a_group_and_of_what_is_held(ctl: Ctl) -> None:
    ctl("submit", "t", "d", "--group", "g")
    ctl("claim", "-q")
    ctl("submit", "t", "d", "--group", "g")
    assert ctl("cancel", "--group", "g", "-m", "stop").out == "2\n"
    lost = ctl("progress", "1", "10")
    assert lost.status == 5
    assert "cancelled" in lost.err


def test_edit(ctl: Ctl) -> None:
    ctl("submit", "t", "d")
    assert ctl("edit", "1", "-p", "critical", "--queue", "q").out == "1 ready\n"
    assert ctl("edit", "1", "--delay", "1h").out == "1 scheduled\n"
    (item,) = ctl("show", "1", "--json").json
    assert (item["priority"], item["queue"]) == ("critical", "q")
    assert ctl("edit", "1").status == 2


def test_list_count_and_where_they_stop(ctl: Ctl) -> None:
    for number in range(60):
        ctl("submit", "ab"[number % 2], f"d{number}")
    first = ctl("list")
    assert len(first.rows) == 50
    assert first.err == "swarmctl: list: 50 of 60; --limit 0 for all, --after-id 50 for the next\n"
    assert [row[0] for row in ctl("list", "--after-id", "50").rows] == [str(number) for number in range(51, 61)]
    assert len(ctl("list", "--limit", "0").rows) == len(ctl("list", "--all").rows) == 60
    assert ctl("list", "--type", "a", "--limit", "2", "-q").out == "1\n3\n"
    *rows, end = ctl("list", "--limit", "7", "--json").json
    assert len(rows) == 7
    assert end == {"schema": 1, "ok": True, "end": True, "shown": 7, "total": 60, "after_id": 7}
    assert ctl("count").out == "60\n"
    assert ctl("count", "--by", "type").rows == [["a", "30"], ["b", "30"]]
    assert ctl("count", "--by", "type", "--json").json[0]["by"] == {"a": 30, "b": 30}
    ctl("claim")
    assert ctl("list", "--mine", "-q").out == ctl("list", "--agent", "me", "-q").out == "1\n"
    assert ctl("list", "--state", "claimed,done", "-q").out == "1\n"


def test_list_has_tabs_and_escapes_on_a_pipe(ctl: Ctl) -> None:
    ctl("submit", "t", "a\tb\nc\\")
    ((*fields, created, description),) = ctl("list").rows
    assert fields == ["1", "ready", "t", "medium", "default", "-", "-", "-"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created)
    assert description == "a\\tb\\nc\\\\"
    assert ctl("list", "--json").json[0]["description"] == "a\tb\nc\\"


def test_show_many_and_one_that_is_unknown(ctl: Ctl) -> None:
    ctl("submit", "t", "d")
    shown = ctl("show", "1")
    assert ["state", "ready"] in shown.rows
    assert shown.rows[0] == ["id", "1"]
    assert ctl("show", "7") == (4, "", "swarmctl: show 7: there is no item 7\n")
    both = ctl("show", "1", "7")
    assert (both.status, both.out) == (4, shown.out)


def test_wait_tells_what_became_of_them(ctl: Ctl) -> None:
    for _ in range(4):
        ctl("claim", "t", "d")
    ctl("complete", "1")
    ctl("bury", "2", "why\tnot")
    ctl("cancel", "3")
    assert ctl("wait", "1") == (0, "", "")
    assert ctl("wait", "1", "2", "3") == (1, "2\tburied\t-\twhy\\tnot\n3\tcancelled\t-\t-\n", "")
    assert ctl("wait", "1", "4", "--any") == (0, "", "")
    over = ctl("wait", "1", "4", "--timeout", "0.05")
    assert over.status == 3
    assert ctl("wait", "2", "4", "--timeout", "0.05").out.startswith("2\tburied")
    assert ctl("wait", "99").status == 4
    end = ctl("wait", "1", "2", "--json").json
    assert end[0]["state"] == "buried"
    assert end[-1] == {"schema": 1, "ok": True, "end": True, "total": 2, "pending": 0, "failed": 1}
    assert ctl("wait").status == ctl("wait", "1", "--group", "g").status == 2


def test_wait_for_a_group_ends_with_it(ctl: Ctl, daemon: Daemon) -> None:
    ctl("submit", "t", "d", "--group", "g")
    waiting = daemon.spawn("wait", "--group", "g")
    while daemon.call("status")["waiters"] == 0:
        pass
    ctl("claim")
    ctl("complete", "1")
    assert waiting.communicate(timeout=PATIENCE) == ("", "")
    assert waiting.returncode == 0


def test_agents(ctl: Ctl) -> None:
    words = ["a1", "core", "80", "data bases", "--slots", "1", "--label", "gpu", "--label", "x"]
    assert ctl("register", *words) == (0, "a1\n", "")
    (agent,) = ctl("agent", "show", "a1", "--json").json
    want = {"agent": "a1", "team": "core", "capacity": 80, "specialization": "data bases", "slots": 1}
    assert {name: agent[name] for name in want} == want
    assert agent["labels"] == ["gpu", "x"]
    assert ctl("agents").rows[0][:5] == ["a1", "active", "core", "0", "1"]
    assert ctl("agents", "-q").out == "a1\n"
    ctl("submit", "t", "d")
    assert ctl("quiet", "a1").out == "a1\tquiet\n"
    assert ctl("claim", "--agent", "a1").status == 3
    assert ctl("agent", "wake", "a1", "nobody") == (
        4,
        "a1\tactive\n",
        "swarmctl: agent wake nobody: there is no agent nobody\n",
    )
    assert ctl("claim", "--agent", "a1", "-q").out == "1\n"
    assert ctl("claim", "t", "more", "--agent", "a1").status == 3
    assert ctl("evict", "a1").out == "a1\t1\n"
    assert ctl("count", "--state", "ready").out == "1\n"
    assert ctl("register").out == "me\n"
    assert ctl("register", "a1", "--agent", "a2").status == 2


def test_queues(ctl: Ctl) -> None:
    ctl("submit", "t", "d", "--queue", "q")
    assert (
        ctl("queue", "set", "q", "limit=3", "lease=10m", "max-length=5").out == "q\tlimit=3\tmax-length=5\tlease=10m\n"
    )
    assert ctl("limit", "q", "0").out == "q\tmax-length=5\tlease=10m\n"
    assert ctl("queues", "-q").out == "q\n"
    assert ctl("queue", "ls").rows[0][:2] == ["q", "1"]
    assert ["lease", "10m"] in ctl("queue", "show", "q").rows
    assert ctl("queue", "show", "q", "--json").json[0]["lease"] == 600
    assert ctl("drain", "q").out == "q\tclosed\n"
    closed = ctl("submit", "t", "d", "--queue", "q")
    assert closed.status == 75
    assert ctl("queue", "set", "q", "closed=no").status == 0
    assert ctl("submit", "t", "d", "--queue", "q").status == 0
    wrong = ctl("queue", "set", "q", "limt=3")
    assert wrong.status == 2
    assert "did you mean limit?" in wrong.err
    assert ctl("queue", "set", "q", "limit=-3").status == ctl("queue", "set", "q", "closed=maybe").status == 2


def test_pause_and_resume(ctl: Ctl) -> None:
    ctl("submit", "t", "d")
    assert ctl("pause", "default", "-m", "disk work").out == "default\tdisk work\n"
    assert ctl("claim") == (3, "", "swarmctl: claim: nothing to claim in default (paused: disk work)\n")
    assert ctl("resume", "default").out == ctl("resume", "default").out == "default\trunning\n"
    assert ctl("claim", "-q").status == 0
    assert ctl("pause", "--all", "--hard", "-m", "stop all").out == "all\tstop all\n"
    assert "stop this work" in ctl("progress", "1", "5").err
    assert ctl("heartbeat", "1", "--json").json[0]["stop"] is True
    assert ["paused", "stop all"] in ctl("status").rows
    assert ctl("queue", "resume", "--all").status == 0
    assert ctl("pause").status == ctl("pause", "q", "--all").status == ctl("pause", "q", "--hard").status == 2


def test_clear_says_what_it_would_do_and_does_it(ctl: Ctl) -> None:
    for _ in range(3):
        ctl("submit", "t", "d", "--queue", "q")
    ctl("submit", "t", "d", "--queue", "q", "--delay", "1h")
    ctl("claim", "--queue", "q")
    asked = ctl("clear", "q")
    assert asked == (2, "", "swarmctl: clear: 3 items of q would be cancelled (2 ready, 1 scheduled); say --yes\n")
    assert ctl("queue", "clear", "q", "--held", "--json").json[0]["message"].startswith("4 items of q would be")
    assert ctl("count", "--queue", "q").out == "4\n"
    assert ctl("clear", "q", "--older", "1h", "--yes").out == "q\t0\n"
    assert ctl("clear", "q", "--state", "scheduled", "--yes", "--json").json[0]["cleared"] == 1
    assert ctl("clear", "q", "--yes", "-m", "wrong file") == (0, "q\t2\n", "")
    assert ctl("clear", "q", "--yes") == (0, "q\t0\n", "")
    assert ["reason", "wrong file"] in ctl("show", "2").rows
    assert ctl("clear", "q", "--yes", "--held", "-q") == (0, "", "")
    assert ctl("count", "--queue", "q").out == "0\n"
    assert ctl("clear", "nosuch", "--yes").status == 4
    for wrong in (["--state", "done"], ["--state", "claimed"], ["--state", "gone"], ["--older", "old"]):
        assert ctl("clear", "q", "--yes", *wrong).status == 2
    assert ctl("clear").status == ctl("clear", "q", "r").status == 2


def test_queue_stats(ctl: Ctl) -> None:
    ctl("submit", "t", "d", "--queue", "q")
    ctl("submit", "u", "d", "--queue", "q")
    ctl("claim", "--queue", "q")
    ctl("complete", "1")
    (row,) = ctl("queue-stats").rows
    assert row[:4] == ["q", "1", "0", "0"]
    assert row[5:9] == ["0", "1", "1", "0"]
    assert row[10] == "1"
    queue, index = ctl("queue", "ls", "--stats", "--json").json
    assert queue["since_start"]["claimed"] == 1
    assert re.fullmatch(r"\d{4}-.*Z", queue["last_claim_at"])
    assert index["index"] == {"ordered": True, "kinds": 2, "filters": 1, "scanned": 0}
    assert ctl("queue-stats", "q", "-q").out == "q\n"
    assert ctl("queue-stats", "none").status == 4


def test_a_pause_for_a_time(ctl: Ctl) -> None:
    ctl("submit", "t", "d")
    said = ctl("pause", "default", "--for", "1h", "-m", "deploy").rows
    assert said[0][:2] == ["default", "deploy"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said[0][2])
    assert ctl("queue", "show", "default", "--json").json[0]["paused_until"] == said[0][2]
    assert ["paused_until", said[0][2]] in ctl("queue", "show", "default").rows
    assert "paused for another 59m" in ctl("explain", "--queue", "default").out
    assert ctl("resume", "default").out == "default\trunning\n"
    assert len(ctl("pause", "--all", "--for", "90s").rows[0]) == 3
    assert "paused_until" in ctl("status", "--json").json[0]
    assert ctl("claim").status == 3
    assert ctl("pause", "--all", "--for", "100ms").status == 0
    assert ctl("claim", "--wait", "20s").status == 0
    assert ctl("pause", "q", "--for", "0").status == ctl("pause", "q", "--for", "soon").status == 2


def test_heartbeat_renews_and_reports_what_is_lost(ctl: Ctl) -> None:
    ctl("claim", "t", "d")
    ctl("claim", "t", "d")
    assert [row[0] for row in ctl("heartbeat").rows] == ["1", "2"]
    assert ctl("heartbeat", "-q").out == "1\n2\n"
    ctl("cancel", "2")
    lost = ctl("heartbeat", "1", "2")
    assert lost.status == 5
    assert lost.out == ""
    assert lost.err.startswith("swarmctl: heartbeat 2: ")


def test_checkpoints_are_handed_on(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"half way")
    ctl("submit", "t", "d", "--payload", str(tmp_path / "c"))
    ctl("claim")
    assert ctl("progress", "1", "--checkpoint", str(tmp_path / "c")).status == 0
    assert ctl("progress", "1", "50%", "testing", "--message", "m").status == 0
    ctl("release", "1")
    (item,) = ctl("claim", "--json", AGENT_ID="you").json
    assert (item["checkpoint"], item["payload"], item["percent"]) == ("half way", "half way", 50)
    assert ctl("get", "1", "checkpoint").out == "half way"
    assert ctl("progress", "1").status == 2


def test_hold_and_register_watch_a_process(ctl: Ctl, daemon: Daemon) -> None:
    ctl("claim", "t", "d")
    held = ctl("hold", "1", "--pid", str(daemon.pid))
    assert re.fullmatch(rf"watching {daemon.pid} \(\S+\)\n", held.out)
    assert ctl("show", "1", "--json").json[0]["watching"] == daemon.pid
    assert ctl("register", "w", "--pid", str(daemon.pid), "--json").json[0]["watching"] == daemon.pid
    for spec in ("1", "0", "-3", "x", str(os.getpid()), "4194999"):
        refused = ctl("hold", "1", f"--pid={spec}")
        assert refused.status == 2
        assert refused.err.startswith("swarmctl: hold: --pid: ")


def test_status_and_whoami(ctl: Ctl, daemon: Daemon) -> None:
    (status,) = ctl("status", "--json").json
    assert status["pid"] == daemon.pid
    assert ["socket", daemon.socket] in ctl("status").rows
    assert len(ctl("status").rows) <= 32
    assert ctl("whoami").rows == [["me", "$AGENT_ID"]]
    assert ctl("whoami", "-q", "--agent", "x").out == "x\n"
    assert ctl("whoami", SWARMSH_AGENT="y", CODEX_THREAD_ID="z").rows == [["y", "$SWARMSH_AGENT"]]


def test_names_from_elsewhere_do_the_same(ctl: Ctl) -> None:
    assert ctl("put", "t", "d").out == "1\n"
    assert ctl("reserve", "-q").out == "1\n"
    assert ctl("touch", "1").status == 0
    assert "scheduled" in ctl("nack", "1", "--retry-after", "0.001").out
    while ctl("reserve", "--wait", "5", "-q").status:
        pass
    assert ctl("delete", "1").out == "1 done\n"
    assert ctl("rm", "1").status == 5
    assert ctl("ps", "--all", "-q").out == "1\n"
    assert ["id", "1"] in ctl("describe", "1").rows


def test_a_call_of_many_changes_can_be_repeated_under_its_key(ctl: Ctl) -> None:
    for _ in range(3):
        ctl("submit", "t", "d")
    first = ctl("cancel", "1", "2", "3", "--key", "k")
    assert first.status == 0
    assert ctl("cancel", "1", "2", "3", "--key", "k") == first
    assert ctl("cancel", "1", "2", "3").status == 5
    assert ctl("pause", "a", "b", "--key", "k2") == ctl("pause", "a", "b", "--key", "k2")
