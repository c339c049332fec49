"""The pages that a new user types: every command is typed, every program run, and what they show comes out."""

import os
import re
import shutil

import pytest

from tests.pages import ROOT
from tests.typed import Command, alike, blocks, commands, differences, formed, session

TYPED = (
    "tutorial.md",
    "write-an-agent.md",
    "python-client.md",
    "moving-from-swarmsh.md",
    "operate.md",
    "tune-the-disk.md",
)


@pytest.mark.real
@pytest.mark.parametrize("name", TYPED)
def test_what_is_typed_gives_what_is_shown(name):
    page = (ROOT / "docs" / name).read_text()
    if "$ jq " in page and shutil.which("jq") is None:
        pytest.skip("jq is not installed (apt-get install jq)")
    if "$(losetup " in page and (os.getuid() != 0 or not os.path.exists("/dev/loop-control")):
        pytest.skip("needs root, and a loop device")
    wrong = list(differences(page))
    assert not wrong, "\n".join(wrong)


@pytest.mark.real
def test_the_readme_runs_as_it_stands():
    text = (ROOT / "README.md").read_text()
    part = text[text.index("## Run it") : text.index("## What is promised")]
    lines = re.findall(r"^ {4}(swarm.*)$", part, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["swarmshd", "swarmctl", "swarmctl", "swarmctl"]
    shell, python = (block.text for block in blocks(part))
    with session() as opened:
        said = {}
        for line in [*lines, shell.replace("--wait 1m", "--wait 1s"), "swarmctl submit script x >/dev/null"]:
            said[line], status = opened.type(Command(re.sub(r" &\s+#.*", " 2>log &", line), []))
            assert status in (0, 3), said
        (opened.home / "agent.py").write_text(python)
        assert opened.type(Command("python agent.py", [])) == ([], 0)
        states = opened.type(Command("swarmctl count --by state --all", []))[0]
    assert said[lines[1]][-1] == "1"
    assert said[lines[3]] == ["[1] done", "1 done"]
    assert [line.split() for line in states] == [["STATE", "ITEMS"], ["done", "3"]]


@pytest.mark.parametrize("name", TYPED)
def test_every_program_on_a_page_is_run(name):
    page = (ROOT / "docs" / name).read_text()
    typed = "\n".join(block.text for block in blocks(page) if block.kind == "console")
    programs = [block.file for block in blocks(page) if block.file and block.kind in ("python", "sh")]
    assert [file for file in programs if file not in typed] == []
    assert [block.text for block in blocks(page) if block.kind == "python" and not block.file] == []


def test_every_page_that_shows_a_console_is_typed():
    showing = {path.name for path in (ROOT / "docs").rglob("*.md") if "```console" in path.read_text()}
    assert showing == set(TYPED)


# -- the one who types ---------------------------------------------------------------------------------


def test_what_is_typed_and_what_comes_out():
    assert list(commands("$ a\n$ for n in 1; do\n>   b\n> done\nout\n> not typed\n")) == [
        Command("a", []),
        Command("for n in 1; do\n  b\ndone", ["out", "> not typed"]),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1\t1.8ac47b5edbe67efa\tx", "1\t17.0123456789abcdef\tx"),
        ("claimed_at 15:25:51 (241ms ago)", "claimed_at    03:00:00 (4h2m ago)"),
        ("2026-11-25T15:02:54+0000 INFO new", "2031-01-01T00:00:00+0100 INFO new"),
        ("swarmshd: ready on /run/user/1000/swarmsh/swarmsh.sock", "swarmshd: ready on /tmp/x/swarmsh/swarmsh.sock"),
        ("uid 1000, pid 12, agent you.host.4711", "uid 0, pid 4123456, agent root.vm.9"),
    ],
)
def test_what_is_different_each_time_is_compared_by_its_form(one, other):
    assert formed(one) == formed(other)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (["1"], ["2"]),
        (["1"], []),
        ([], ["1"]),
        (["42 done"], ["42 buried"]),
        (["a", "…", "z"], ["a", "b"]),
        (["ready 3"], ["ready 4"]),
        (["1\t1.8ac47b5edbe67efa"], ["1\tno-token"]),
    ],
)
def test_a_lie_is_found(expected, actual):
    assert not alike(expected, actual)


def test_any_lines_may_be_left_out():
    assert alike(["a", "…", "z"], ["a", "b", "c", "z"])
    assert alike(["…"], [])


@pytest.mark.real
def test_a_page_that_lies_is_found():
    page = (
        "```sh say.sh\necho said\n```\n```console\n$ sh say.sh\nsaid\n$ echo 1\n2\n$ false\n$ sh say.sh &\nsaid\n```\n"
    )
    one, failed = differences(page)
    assert one == "$ echo 1\nthe page:\n2\nhere:\n1\n"
    assert failed == "$ false\nit ended with 1, and the page does not show why"
