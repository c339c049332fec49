"""swarmsh-tune(8), and ``swarmctl tune disk``, against the program."""

import re

import pytest

from swarmctl import cli, tuning, verbs
from swarmshd.tuning import host, planning
from swarmshd.tuning.arguments import FLAGS, USAGE, VERBS, WORD_OPTIONS
from swarmshd.tuning.attributes import TUNABLE
from tests.pages import flags, page, sections

PAGE = page("swarmsh-tune.8")


def chapter(name: str, title: str = "") -> str:
    return "\n".join(next(found for found in sections(PAGE) if (found.chapter, found.title) == (name, title)).lines)


def test_every_verb_and_option_has_its_entry_and_no_other():
    assert re.findall(r"^\.It Cm (\w+)", chapter("DESCRIPTION", "Verbs"), re.MULTILINE) == list(VERBS)
    listed = "\n".join(line for line in chapter("OPTIONS").splitlines() if line.startswith(".It"))
    assert flags(listed) | {"-h"} == WORD_OPTIONS | FLAGS
    assert flags(chapter("SYNOPSIS")) | {"-h"} == WORD_OPTIONS | FLAGS
    for word in (*VERBS, *WORD_OPTIONS, *FLAGS, *planning.PROFILES):
        assert word == "-h" or word in USAGE


def test_every_status_has_its_entry():
    known = {value for name, value in vars(host).items() if name.startswith("EX_")} | {0, 130}
    assert set(map(int, re.findall(r"^\.It (\d+)$", chapter("EXIT STATUS"), re.MULTILINE))) == known


def test_the_client_has_the_same_verbs_and_options():
    verb = verbs.every()["tune disk"]
    assert VERBS == tuning.WHAT
    assert all(word in verb.note for word in VERBS)
    own = {option.flags[0]: option.kind for option in verb.options}
    assert own.keys() == (WORD_OPTIONS | FLAGS) - {"--json", "--help", "-h", "--version"}
    assert {flag for flag, kind in own.items() if kind == "flag"} == FLAGS & own.keys()
    assert {"--" + name.replace("_", "-") for name in TUNABLE} <= own.keys()


@pytest.mark.parametrize("words", [["--bogus"], ["a", "b", "c"], ["--device"]])
def test_a_wrong_command_line_is_64_there_too(capfd, words):
    assert cli.main(["tune", "disk", *words], {}) == 64
    assert capfd.readouterr().err.startswith("swarmctl: tune disk: ")
