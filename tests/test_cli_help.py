"""Help: it fits, it is complete, it is true."""

import pytest

from swarmctl import cli, options, parse, verbs
from swarmctl.help import nearest
from swarmshd import __version__
from swarmshd.protocol import CODES, EXITS

pytestmark = pytest.mark.slow


def run(*words: str) -> int:
    return cli.main(words, {})


def said(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(*words) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_the_first_screen_fits_a_terminal_and_needs_no_verb(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    assert said(capfd, "--help") == said(capfd, "-h") == said(capfd, "help") == text


def test_the_first_screen_names_every_verb(capfd: pytest.CaptureFixture[str]) -> None:
    words = said(capfd).replace("(", " ").replace(")", " ").replace("|", " ").split()
    for name in verbs.every():
        if name not in ("limit", "help"):
            assert name.split()[-1] in words


@pytest.mark.parametrize("name", [*verbs.every(), *parse.SHORT, *parse.HABITS, "log"])
def test_each_verb_has_a_page_with_an_example(capfd: pytest.CaptureFixture[str], name: str) -> None:
    page = said(capfd, *name.split(), "--help")
    known = parse.SHORT.get(name) or parse.HABITS.get(name) or (parse.LOG[0] if name == "log" else name)
    verb = verbs.every()[known]
    assert page.startswith(f"Usage: swarmctl {verb.name}")
    assert f"Example:\n  {verb.example}\n" in page
    for option in verb.options:
        assert all(flag in page for flag in option.flags)
    assert all(len(line) <= 80 or verb.example in line for line in page.splitlines())
    if name not in (*parse.NOUNS, "agents"):
        assert said(capfd, "help", *name.split()) == page


def test_help_of_exit_statuses_has_all_of_them(capfd: pytest.CaptureFixture[str]) -> None:
    words = said(capfd, "help", "exit").split()
    assert {str(status) for status in EXITS} <= set(words)
    assert set(CODES) <= set(words)


def test_help_for_agents_is_short_and_names_only_what_exists(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, "help", "agents")
    assert len(text.splitlines()) <= 36
    assert max(map(len, text.splitlines())) <= 80
    for line in text.splitlines():
        command = line.partition("swarmctl ")[2].split()
        if "swarmctl " in line and "`swarmctl`" not in line:
            verb = command[2] if command[0].startswith("--") else command[0]
            assert verb.rstrip(";") in verbs.every()


def test_everything_is_everything(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, "help", "--all")
    for name in (*verbs.every(), *parse.SHORT, *parse.HABITS):
        assert name in text
    for option in options.GLOBALS:
        assert option.flags[-1] in text


def test_a_noun_alone_lists_its_verbs(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, "help", "queue")
    for verb in ("ls", "show", "set", "pause", "resume", "close"):
        assert f"queue {verb}" in text


def test_help_about_nothing_known(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("help", "clam") == 2
    assert capfd.readouterr().err == "swarmctl: help: there is no help about 'clam'; did you mean claim?\n"


def test_the_version_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert said(capfd, "--version") == f"swarmctl {__version__}\n"
    assert said(capfd, "claim", "--version") == f"swarmctl {__version__}\n"


def test_nearest() -> None:
    assert nearest("faild", ["success", "failed"]) == "; did you mean failed?"
    assert nearest("zzz", ["success", "failed"]) == ""
