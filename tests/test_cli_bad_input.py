"""What goes wrong: one clear line, the right status, nothing half done."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, Daemon
from tests.test_cli_verbs import Ctl, runner

pytestmark = pytest.mark.real

NASTY = "quotes \"'` back\\slash\ttab\nline\r\x1b]52;c;Zm9v\x07\x9b2J\x7f \u202eright\u2066 é 🐝"


@pytest.fixture
def ctl(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> Ctl:
    return runner(daemon, capfd)


BAD: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("submit",), 2, "it takes TYPE and DESCRIPTION"),
    (("submit", "one"), 2, "it takes TYPE and DESCRIPTION"),
    (("submit", "t", "two", "three"), 2, "too many words, from 'three' on"),
    (("submit", "a b", "d"), 2, "TYPE: 'a b' is not a name"),
    (("submit", "t", "d" * 9000), 2, "the limit is 8192"),
    (("submit", "t", "d", "--payload", "/nonexistent"), 1, "cannot read '/nonexistent': No such file or directory"),
    (("submit", "t", "d", "--payload", "/"), 1, "Is a directory"),
    (("submit", "t", "d", "--payload", "/dev/zero"), 2, "longer than 1048576 bytes"),
    (("submit", "t", "d", "--after", "99"), 4, "there is no item 99"),
    (("submit", "t", "d", "--after", "x,,y"), 2, "is not an item's id"),
    (("submit", "t", "d", "--delay", "1m", "--at", "2h"), 2, "exclude each other"),
    (("submit", "t", "d", "--delay", "-1"), 2, "is not a duration"),
    (("submit", "t", "d", "--delay", "4000d"), 2, "longer than ten years"),
    (("submit", "t", "d", "--max-attempts", "0"), 2, "must be at least 1"),
    (("submit", "t", "d", "--max-attempts", "99999999999"), 2, "max_attempts"),
    (("submit", "t", "d", "--queue", "x" * 201), 2, "is not a name"),
    (("submit", "t", "d", "--require", ",".join(f"l{n}" for n in range(17))), 2, "the limit is 16"),
    (("claim", "word"), 2, "TYPE DESCRIPTION creates an item"),
    (("claim", "t", "d", "urgent"), 2, "PRIORITY: 'urgent' is not a priority"),
    (("claim", "t", "d", "--type", "x"), 2, "--type does not go with TYPE DESCRIPTION"),
    (("claim", "t", "d", "--queue", "a,b"), 2, "one queue"),
    (("claim", "--payload", "x"), 2, "for a new item"),
    (("claim", "--count", "0"), 2, "must be at least 1"),
    (("claim", "--count", "1001"), 2, "1 to 1000"),
    (("claim", "--count", "2", "--export"), 2, "one item"),
    (("claim", "--id", "77"), 4, "there is no item 77"),
    (("progress", "1", "101"), 2, "is not a percentage"),
    (("progress", "1", "50.5"), 2, "is not a whole number"),
    (("complete", "0"), 2, "ID: '0' is not an item's id"),
    (("complete", "99999999999999999999"), 2, "is not an item's id"),
    (("complete", "5"), 4, "there is no item 5"),
    (("complete", "5", "success", "many"), 2, "POINTS: 'many' is not a whole number"),
    (("complete", "5", "success", "1", "x"), 2, "too many words"),
    (("complete", "1", "2", "--token", "1.0000000000000000"), 2, "write ID:TOKEN"),
    (("fail", "5", "--retry-after", "1m", "--no-retry"), 2, "exclude each other"),
    (("release",), 2, "it takes ids, or --mine"),
    (("kick",), 2, "it takes ids, or --queue, or --group"),
    (("kick", "1", "--queue", "q"), 2, "it takes ids, or --queue, or --group"),
    (("cancel", "1", "--group", "g"), 2, "it takes ids, or --group"),
    (("cancel", "1", "because"), 4, ""),
    (("show", "no such"), 2, "is not an item's id"),
    (("get", "1", "stuff"), 2, "WHAT is one of payload, checkpoint, output, result"),
    (("queue", "show", "nothing"), 4, "nothing"),
    (("agent", "show", "nobody"), 4, "there is no agent nobody"),
    (("limit", "q", "-1"), 2, "no option '-1'"),
    (("register", "a", "t", "101"), 2, "is not a percentage"),
    (("whoami", "--agent", "a b"), 2, "is not a name"),
    (("claim", "--agent="), 2, "is empty"),
    (("status", "--socket", "/" + "x" * 120), 2, "at most 107"),
    (("status", "--socket", "/etc/passwd"), 69, "not a socket"),
    (("submit", "t", "\udcff"), 2, "'\\xff' is not UTF-8 text"),
    (("submit", "t", "d", "--lease", "2d"), 2, "LEASE_MAX"),
    (("claim", "--lease", "2d"), 2, "LEASE_MAX"),
    (("queue", "set", "q", "lease=2d"), 2, "LEASE_MAX"),
    (("lock", "l", "--lease", "2d", "--", "true"), 125, "LEASE_MAX"),
    (("queue", "set", "q", "limit"), 2, "'limit' wants a value: limit=…"),
    (("list", "--queue", "a,"), 2, "'a,' has an empty name in it"),
    (("complete", "5", "faild"), 2, "a note goes in --note; not 'faild'; did you mean failed?"),
    (("top", "--every", "1ms"), 2, "--every: at least 100ms"),
    (("top", "--rows", "1001"), 2, "--rows: at most 1000"),
    (("work", "--tail", "1M", "--", "true"), 2, "OUTPUT_TAIL"),
)  # fmt: skip


def test_one_line_and_the_status(ctl: Ctl) -> None:
    for words, status, said in BAD:
        answer = ctl(*words)
        assert (answer.status, answer.out) == (status, ""), words
        assert answer.err.startswith(f"swarmctl: {words[0]}"), words
        assert said in answer.err
        assert answer.err.count("\n") == 1 + (words == ("cancel", "1", "because"))
        as_json = ctl("--json", *words)
        assert (as_json.status, as_json.err) == (status, ""), words
        assert {line["exit"] for line in as_json.json} == {status}
        assert not as_json.json[0]["ok"]
    assert ctl("count", "--all").out == "0\n"


def test_environment_that_means_nothing(ctl: Ctl) -> None:
    assert "$SWARMSH_QUEUE: 'a b' is not a name" in ctl("submit", "t", "d", SWARMSH_QUEUE="a b").err
    assert "$SWARMSH_QUEUE" in ctl("claim", SWARMSH_QUEUE="a,,b").err
    assert ctl("whoami", AGENT_ID="a b").status == 2
    assert ctl("whoami", AGENT_ID="").out.endswith("\tthe terminal session\n")
    assert ctl("submit", "t", "d", SWARMSH_QUEUE="").status == 0
    assert ctl("complete", "1", SWARMSH_ITEM="1", SWARMSH_TOKEN="rubbish").status in (2, 5)


def test_text_survives_as_it_was(ctl: Ctl) -> None:
    assert ctl("submit", "t", NASTY).status == 0
    assert ctl("show", "1", "--json").json[0]["description"] == NASTY
    listed = ctl("list").out
    assert listed.count("\n") == 1
    assert ctl("claim").rows[0][4] == listed.rstrip("\n").split("\t")[-1]
    assert ctl("bury", "1", NASTY).status == 0
    assert ctl("show", "1", "--json").json[0]["reason"] == NASTY


def test_text_that_is_not_utf8(daemon: Daemon, tmp_path: Path) -> None:
    for words in ([b"submit", b"t", b"x\xff"], [b"submit", b"t", b"d", b"--group=\xfe"], [b"\xff"]):
        done = subprocess.run(
            [sys.executable.encode(), b"-m", b"swarmctl", *words],
            env=daemon.environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stdout == b""
        assert done.stderr.count(b"\n") == 1
        assert b"not UTF-8" in done.stderr
        done.stderr.decode()
    path = os.fsencode(tmp_path) + b"/\xff"
    with open(path, "wb") as file:
        file.write(b"payload")
    command = [sys.executable.encode(), b"-m", b"swarmctl", b"submit", b"t", b"d", b"--payload", path]
    done = subprocess.run(command, env=daemon.environment(), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"1\n")


def test_any_locale_writes_utf8(daemon: Daemon) -> None:
    daemon.call("submit", type="t", description="é 🐝", key="k")
    for locale in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}):
        assert daemon.ctl("list", **locale).stdout.endswith("\té 🐝\n")


def test_what_belongs_to_others(ctl: Ctl) -> None:
    ctl("claim", "t", "d")
    for words in (("complete", "1"), ("fail", "1"), ("release", "1"), ("progress", "1", "5"), ("bury", "1")):
        refused = ctl(*words, AGENT_ID="you")
        assert refused.status == 5
        assert "held by me since" in refused.err
        assert "you are you (from $AGENT_ID): set AGENT_ID or pass --token" in refused.err
        (as_json,) = ctl(*words, "--json", AGENT_ID="you").json
        assert (as_json["code"], as_json["holder"], as_json["id"]) == ("not_holder", "me", 1)
    assert ctl("show", "1", "--json").json[0]["state"] == "claimed"


def test_stale_tokens(ctl: Ctl) -> None:
    ctl("submit", "t", "d")
    old = ctl("claim").rows[0][1]
    ctl("release", "1")
    ctl("claim", AGENT_ID="you")
    for words in (("complete", "1"), ("fail", "1"), ("progress", "1", "5")):
        refused = ctl(*words, "--token", old)
        assert refused.status == 5
        assert "lease lost (now held by you since " in refused.err
        assert refused.err.endswith("); claim it again\n")
    (as_json,) = ctl("complete", f"1:{old}", "--json").json
    assert (as_json["code"], as_json["next"]) == ("lease_lost", "swarmctl claim --resume")


def test_full_and_closed_queues(ctl: Ctl) -> None:
    ctl("queue", "set", "q", "max-length=1")
    assert ctl("submit", "t", "d", "--queue", "q").status == 0
    full = ctl("submit", "t", "d", "--queue", "q")
    assert full.status == 75
    (as_json,) = ctl("submit", "t", "d", "--queue", "q", "--json").json
    assert (as_json["code"], as_json["retryable"]) == ("queue_full", True)
    assert ctl("count").out == "1\n"


def on_a_terminal(daemon: Daemon, *words: str, **environ: str) -> bytes:
    """What a terminal would get from stdout and stderr."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "swarmctl", *words],
        stdin=slave, stdout=slave, stderr=slave,
        env={**daemon.environment(**environ), "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    said = b""
    try:
        while data := os.read(master, 1 << 16):
            said += data
    except OSError:  # Linux says EIO when the last writer has closed
        pass
    os.close(master)
    process.wait(PATIENCE)
    return said


def test_a_terminal_gets_nothing_that_it_would_obey(daemon: Daemon) -> None:
    daemon.call("submit", type="t", description=NASTY, key="k")
    daemon.call("claim_new", type="t", description=NASTY, agent="a", key="k2")
    daemon.call("bury", id=2, agent="a", reason=NASTY, key="k3")
    daemon.call("register", agent="a", specialization=NASTY, key="k4")
    daemon.call("pause", queue="default", reason=NASTY, key="k5")
    for words in (
        ("list",),
        ("show", "1", "2"),
        ("agents",),
        ("queues",),
        ("claim",),
        ("wait", "2"),
        ("agent", "show", "a"),
    ):
        said = on_a_terminal(daemon, *words, NO_COLOR="1").decode()
        assert not {c for c in said if c not in "\r\n\t" and not c.isprintable()}, words
        assert "quotes" in said, words


def test_colour_and_alignment_are_for_terminals(daemon: Daemon) -> None:
    for number, kind in enumerate(("short", "much-longer")):
        daemon.call("submit", type=kind, description="x" * 300, key=f"k{number}")
    plain = on_a_terminal(daemon, "list", NO_COLOR="1").decode().splitlines()
    assert plain[0].split() == "ID STATE TYPE PRIORITY QUEUE AGE DESCRIPTION".split()
    assert plain[1].index("medium") == plain[2].index("medium") == plain[0].index("PRIORITY")
    assert all(len(line) <= 80 or line.endswith("…") for line in plain)
    assert b"\x1b[32mready" in on_a_terminal(daemon, "list")
    assert "\x1b" not in daemon.ctl("list").stdout
    assert "STATE" not in daemon.ctl("list").stdout


def test_a_bar_on_a_terminal_and_none_elsewhere(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{"type":"t","description":"d"}\n' * 3000)
    said = on_a_terminal(daemon, "submit", "--from", str(tmp_path / "f"))
    assert b"items" in said
    assert b"3000\r\n" in said
    assert b"items" not in on_a_terminal(daemon, "submit", "-q", "--from", str(tmp_path / "f"))
    assert daemon.ctl("submit", "--from", str(tmp_path / "f")).stderr == ""
