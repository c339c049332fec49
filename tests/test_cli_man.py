"""swarmctl(1) against the code: every verb, option, code and status, and a loop that works as printed."""

import re
import shutil
import subprocess
import sys

import pytest

from swarmctl import options, parse, verbs
from swarmshd.protocol import CODES, EXITS
from tests.conftest import ROOT, Daemon

PAGE = (ROOT / "man" / "swarmctl.1").read_text()


def section(name: str) -> str:
    return PAGE.partition(f".Sh {name}\n")[2].partition("\n.Sh ")[0]


def entries(text: str) -> dict[str, str]:
    """The verbs of the page, each with what is said of it."""
    parts = re.split(r"^\.It Cm ", text, flags=re.MULTILINE)[1:]
    found = {}
    for part in parts:
        head, _, body = part.partition("\n")
        found[head.partition(" Ar ")[0]] = body
    return found


def test_every_verb_and_each_of_its_options_has_its_entry_and_no_other() -> None:
    found = entries(section("VERBS"))
    assert list(found) == list(verbs.every())
    for name, verb in verbs.every().items():
        said = set(
            re.findall(r"Fl (-?-?[a-z][a-z-]*)", "\n".join(re.findall(r"^\.It Fl.*$", found[name], re.MULTILINE)))
        )
        assert said == {flag[1:] for option in verb.options for flag in option.flags}, name
        assert verb.example.replace("\\", "\\e") in found[name]
        assert verb.meaning[1:].replace("…", "...") in found[name]


def test_global_options() -> None:
    heads = "\n".join(re.findall(r"^\.It Fl.*$", section("OPTIONS"), re.MULTILINE))
    assert set(re.findall(r"Fl (-?[a-z][a-z-]*)", heads)) == {
        flag[1:] for option in options.GLOBALS for flag in option.flags
    }


def test_other_names() -> None:
    for name in (*parse.SHORT, *parse.HABITS):
        assert re.search(rf"(^|[ ,]){name}[,.]", section("VERBS"), re.MULTILINE), name


def test_statuses_and_codes() -> None:
    text = section("EXIT STATUS")
    statuses = set(map(int, re.findall(r"^\.It (\d+)$", text, re.MULTILINE)))
    assert statuses == set(EXITS) - {74}  # that one is the daemon's
    words = set(text.replace(".", " ").split())
    assert set(CODES) | {"unreachable"} <= words


def test_environment_of_commands_is_described() -> None:
    described = set(re.findall(r"Ev (\w+)", PAGE))
    source = (ROOT / "swarmctl" / "job.py").read_text()
    assert set(re.findall(r'"(SWARMSH_\w+)"', source)) <= described


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_the_page_is_sound_mdoc() -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", str(ROOT / "man" / "swarmctl.1")], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


@pytest.mark.real
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_loop_on_the_page_works_as_printed(daemon: Daemon) -> None:
    for number, description in enumerate(("good one", "bad", "good\ttwo")):
        daemon.call("submit", type="t", description=description, key=f"k{number}")
    loop = PAGE.partition(".Bd -literal -offset indent\n")[2].partition("\n.Ed")[0].replace("\\e", "\\")
    assert loop.count("5m") == 1
    script = f"""
    swarmctl() {{ {sys.executable} -m swarmctl "$@"; }}
    do_it() {{ [ "$1" = t ] && case $2 in good*) ;; *) return 1; esac; }}
    {loop.replace("5m", "0.05s")}
    """
    done = subprocess.run(["bash", "-c", script], env=daemon.environment(), capture_output=True, text=True, check=False)
    assert [line.split()[:2] for line in done.stdout.splitlines() if not line.startswith("watching")] == [
        ["1", "done"],
        ["2", "scheduled"],
        ["3", "done"],
    ]
    assert done.stderr == "swarmctl: claim: nothing to claim in default\n"
