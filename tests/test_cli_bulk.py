"""Bulk submit: each line in, one line out; what is wrong with a line is said by its number."""

import json
from pathlib import Path
from typing import Any

import pytest

from swarmctl import bulk, cli
from tests.conftest import Daemon
from tests.test_cli_verbs import Ctl, runner


@pytest.fixture
def ctl(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> Ctl:
    return runner(daemon, capfd)


def written(path: Path, *lines: dict[str, Any] | str | bytes) -> str:
    file = path / "items.jsonl"
    with file.open("wb") as out:
        for line in lines:
            text = json.dumps(line) if isinstance(line, dict) else line
            out.write((text.encode() if isinstance(text, str) else text) + b"\n")
    return str(file)


def item(**facts: Any) -> dict[str, Any]:
    return {"type": "t", "description": "d", **facts}


# -- lines, without a daemon ---------------------------------------------------------------------------


def test_a_line_is_read_as_its_options_are(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff")
    line = item(
        priority="high", queue="q", group="g", team="c", delay="5m", after=[1, "@A", "T-2"], on_failure="run",
        require=["gpu", "x"], unique="u", key="k", max_attempts=3, lease=60, max_runtime=1.5, ref="R",
        payload_file=str(tmp_path / "p"),
    )  # fmt: skip
    assert bulk.arguments(json.dumps(line).encode()) == {
        "type": "t", "description": "d", "priority": "high", "queue": "q", "group": "g", "team": "c", "delay": 300_000,
        "after": [1, "A", "T-2"], "on_failure": "run", "require": ["gpu", "x"], "unique": "u", "key": "k",
        "max_attempts": 3, "lease": 60_000, "max_runtime": 1500, "ref": "R", "payload": b"\xff",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "arguments"),
    [
        ({"after": "1,@A"}, {"after": [1, "A"]}),
        ({"after": 7}, {"after": [7]}),
        ({"require": "a,b"}, {"require": ["a", "b"]}),
        ({"at": "1970-01-01T00:00:01Z"}, {"at": 1000}),
        ({"at": "2h"}, {"delay": 7_200_000}),
        ({"payload": "téxt"}, {"payload": "téxt".encode()}),
        ({"payload": {"base64": "/wA="}}, {"payload": b"\xff\0"}),
        ({"unique_strict": "u"}, {"unique": "u", "unique_strict": True}),
    ],
)
def test_other_ways_to_write_a_value(more: dict[str, Any], arguments: dict[str, Any]) -> None:
    read = bulk.arguments(json.dumps(item(**more)).encode())
    assert {name: read[name] for name in arguments} == arguments


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b'{"type": "t", "description": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"type": "t", "description": NaN}', "NaN is not JSON"),
        (b'{"type": "t", "type": "u", "description": "d"}', "a key stands twice"),
        (b'{"type": "t", "description": "\\ud800"}', "description: holds half of a surrogate pair"),
        (b'{"type": "t", "description": "d", "payload": "\\udc00"}', "payload: holds half"),
        (b'{"type": "t"}', "description is missing"),
        (b'{"description": "d"}', "type is missing"),
        (b'{"type": "t", "description": 5}', "description: not a text"),
        (b'{"type": 5, "description": "d"}', "type: '5' is not a text"),
        (b'{"type": "a b", "description": "d"}', "type: 'a b' is not a name"),
        (b'{"type": "t", "description": "d", "prio": 1}', "unknown key 'prio'; did you mean priority?"),
        (b'{"type": "t", "description": "d", "delay": "soon"}', "delay: 'soon' is not a duration"),
        (b'{"type": "t", "description": "d", "delay": -1}', "delay: '-1' is not a duration"),
        (b'{"type": "t", "description": "d", "delay": true}', "delay: 'true' is not a text"),
        (b'{"type": "t", "description": "d", "delay": 1, "at": "2h"}', "delay and at exclude each other"),
        (b'{"type": "t", "description": "d", "max_attempts": "3"}', "max_attempts: not a number"),
        (b'{"type": "t", "description": "d", "max_attempts": 0}', "max_attempts: '0' must be at least 1"),
        (b'{"type": "t", "description": "d", "after": [0]}', "after: '0' is not an item"),
        (b'{"type": "t", "description": "d", "after": [null]}', "after: 'null' is not a text"),
        (b'{"type": "t", "description": "d", "payload": [1]}', "payload: neither a text nor"),
        (b'{"type": "t", "description": "d", "payload": {"base64": "!"}}', "payload: not base64"),
        (b'{"type": "t", "description": "d", "payload_file": "/nonexistent"}', "payload_file: cannot read"),
        (b'{"type": "t", "description": "d", "payload_file": "a\\u0000b"}', "payload_file: "),
        (b'{"type": "t", "description": "d", "key": "a b"}', "key: 'a b' is not a name"),
    ],
)
def test_what_is_wrong_with_a_line(line: bytes, why: str) -> None:
    with pytest.raises(bulk.BadLine) as raised:
        bulk.arguments(line)
    assert str(raised.value).startswith(why)
    assert "\n" not in str(raised.value)


# -- with one ------------------------------------------------------------------------------------------


@pytest.mark.real
def test_one_line_out_for_each_line_in(ctl: Ctl, tmp_path: Path) -> None:
    file = written(tmp_path, item(), "{", item(after=[99]), item(queue="own"), b"\xff", item())
    answer = ctl("submit", "--from", file, "--queue", "q")
    assert answer.status == 1
    assert answer.out == "1\n-\n-\n2\n-\n3\n"
    lines = answer.err.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == ["line 2", "line 3", "line 5"]
    assert lines[1] == "swarmctl: line 3: not_found: there is no item 99"
    assert [one["queue"] for one in ctl("list", "--json").json[:-1]] == ["q", "own", "q"]


@pytest.mark.real
def test_refusals_are_objects_with_json(ctl: Ctl, tmp_path: Path) -> None:
    answer = ctl("submit", "--json", "--from", written(tmp_path, item(), "x", item(after=["nobody"])))
    assert answer.err == ""
    assert [(one["line"], one["ok"], one.get("code")) for one in answer.json] == [
        (1, True, None),
        (2, False, "bad_request"),
        (3, False, "not_found"),
    ]


@pytest.mark.real
def test_a_line_may_wait_for_an_earlier_one(ctl: Ctl, tmp_path: Path) -> None:
    file = written(tmp_path, item(ref="A"), item(ref="B", after=["@A"]), item(after=["@A", "@B"]))
    assert ctl("submit", "--from", file).out == "1\n2\n3\n"
    assert [one["state"] for one in ctl("list", "--json").json[:-1]] == ["ready", "blocked", "blocked"]
    assert ctl("show", "3", "--json").json[0]["after"] == [1, 2]


@pytest.mark.real
def test_with_a_key_the_file_can_be_run_again(ctl: Ctl, tmp_path: Path) -> None:
    file = written(tmp_path, *[item(description=f"d{number}") for number in range(2500)])
    first = ctl("submit", "--from", file, "--key", "night")
    assert first.status == 0
    assert first.out == "".join(f"{number}\n" for number in range(1, 2501))
    assert ctl("submit", "--from", file, "--key", "night").out == first.out
    assert ctl("count").out == "2500\n"
    changed = ctl("submit", "--from", written(tmp_path, item(description="other")), "--key", "night")
    assert changed.status == 1
    assert "conflict" in changed.err


@pytest.mark.real
def test_all_or_nothing(ctl: Ctl, tmp_path: Path) -> None:
    whole = ["submit", "--all-or-nothing", "--from"]
    circle = written(tmp_path, item(ref="A", after=["@B"]), item(ref="B", after=["@A"]))
    refused = ctl(*whole, circle)
    assert refused.status == 5
    assert refused.out == ""
    assert "line " in refused.err
    assert "nothing was submitted" in refused.err
    assert ctl(*whole, written(tmp_path, item(), "x")) == (
        1,
        "",
        "swarmctl: submit: line 2: not JSON: Expecting value: line 1 column 1 (char 0); nothing was submitted\n",
    )
    assert ctl("count").out == "0\n"
    forward = written(tmp_path, item(after=["@B"]), item(ref="B"))
    first = ctl(*whole, forward, "--key", "k")
    assert first.status == 0
    assert len(first.rows) == 2
    assert ctl(*whole, forward, "--key", "k").out == first.out
    assert ctl("count", "--by", "state").rows == [["blocked", "1"], ["ready", "1"]]


@pytest.mark.real
def test_from_standard_input(daemon: Daemon) -> None:
    answer = daemon.ctl("submit", "--from", "-", input='{"type":"t","description":"d"}\n{"type":"t","description":"e"}')
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "1\n2\n", "")


@pytest.mark.real
def test_a_line_as_long_as_a_frame(ctl: Ctl, tmp_path: Path) -> None:
    file = written(tmp_path, item(), b'{"x": "' + b"x" * (3 << 20) + b'"}', item(payload="x" * 900_000), item())
    answer = ctl("submit", "--from", file)
    assert (answer.status, answer.out) == (1, "1\n-\n-\n2\n")
    assert "line 2: longer than" in answer.err
    assert "line 3: too_large" in answer.err


def test_what_does_not_go_with_from(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (("t", "d"), ("--ref", "R"), ("--unique", "U"), ("--payload", "-")):
        assert cli.main(["submit", "--from", "-", *words], {}) == 2
    assert cli.main(["submit", "--from", "/nonexistent"], {}) == 1
    assert cli.main(["submit", "t", "d", "--all-or-nothing"], {}) == 2
    assert len(capfd.readouterr().err.splitlines()) == 6
