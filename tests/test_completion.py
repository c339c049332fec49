"""Completions: each shell loads its script and offers what the table of verbs and the daemon say."""

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swarmctl import options, parse, values, verbs
from swarmctl.completion import SHELLS, places, script
from tests.conftest import PATIENCE, ROOT, Daemon

FILES = {"bash": "swarmctl.bash", "zsh": "_swarmctl", "fish": "swarmctl.fish"}
HOSTILE = "\x1b[2J two\nlines\tand a tab \u202e"


# -- the scripts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_the_file_for_packagers_is_what_the_program_prints(shell: str) -> None:
    assert (ROOT / "contrib/completions" / FILES[shell]).read_text() == script(shell), "run `make completions`"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_option_and_choice_is_in_the_script(shell: str) -> None:
    text = script(shell)
    for name in (*verbs.every(), *parse.SHORT):
        for word in name.split():
            assert word in text
    for option in [*options.GLOBALS, *(option for verb in verbs.every().values() for option in verb.options)]:
        assert f"-l {option.flags[-1][2:]} " in text if shell == "fish" else option.flags[-1] in text
        for word in values.CHOICES.get(option.kind, ()):
            assert word in text


def test_the_files_are_installed_where_the_shells_look() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert {path: place for path, place in installed.items() if path.startswith("contrib/completions/")} == {
        "contrib/completions/swarmctl.bash": "share/bash-completion/completions/swarmctl",
        "contrib/completions/_swarmctl": "share/zsh/site-functions/_swarmctl",
        "contrib/completions/swarmctl.fish": "share/fish/vendor_completions.d/swarmctl.fish",
    }


def test_what_stands_where_is_read_off_the_usage_line() -> None:
    found = {each.name: each for each in places.spoken()}
    complete = found["complete"]
    assert [place.ask for place in complete.positionals] == ["claimed"] * 3
    assert "success" in complete.positionals[1].words
    assert complete.repeats
    assert [place.ask for place in found["queue set"].positionals] == ["queues", ""]
    assert "limit=" in found["queue set"].positionals[1].words
    assert found["completion"].positionals[0].words == SHELLS
    assert found["work"].command
    assert not found["limit"].positionals[1]


def test_every_kind_that_a_script_asks_for_is_answered() -> None:
    asked = {place.ask for each in places.spoken() for place in each.positionals}
    asked |= {places.value(option).ask for each in places.spoken() for option in each.options}
    assert asked - {""} == set(values.CHOICES["of"])


# -- the verb ------------------------------------------------------------------------------------------


@pytest.mark.real
def test_candidates_are_words_with_something_harmless_about_them(daemon: Daemon) -> None:
    daemon.call("submit", type="build", description=HOSTILE, queue="nightly", team="core", key="a")
    daemon.call("submit", type="build", description="plain", key="b")
    daemon.call("claim", agent="agent-7", id=2, key="c")
    daemon.call("lock", agent="me", name="deploy", key="d")

    def of(what: str) -> list[str]:
        done = daemon.ctl("completion", "--of", what)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    assert of("queues") == ["nightly\t1 ready, 0 claimed", "default\t0 ready, 1 claimed"]
    assert sorted(of("agents")) == ["agent-7\tactive", "me\tactive"]
    assert of("items") == ["1\tready build: \\x1b[2J two↵lines and a tab \\u202e", "2\tclaimed build: plain"]
    assert of("claimed") == ["2\tclaimed build: plain"]
    assert of("buried") == []
    assert of("locks") == ["deploy\theld by me"]
    assert of("types") == ["build\t2 open"]
    assert of("teams") == ["core\t1 open"]


@pytest.mark.real
def test_without_an_answer_there_are_no_candidates_and_no_words(daemon: Daemon) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        done = daemon.ctl("completion", "--of", "queues")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    daemon.stop()
    done = daemon.ctl("completion", "--of", "queues")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bash",), ""),
        ((), "which shell: bash, zsh, fish?"),
        (("zhs",), "did you mean zsh?"),
        (("bash", "--of", "queues"), "--of takes no shell"),
        (("--of", "groups"), "is not one of"),
    ],
)
def test_what_is_asked_wrongly_is_said(words: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-m", "swarmctl", "completion", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, said in done.stderr) == ((2, True) if said else (0, True))
    assert bool(done.stdout) != bool(said)


# -- the shells ----------------------------------------------------------------------------------------


class Shell:
    """A real shell that has loaded the script, and a daemon with something to complete."""

    def __init__(self, name: str, daemon: Daemon, directory: Path) -> None:
        self.name = name
        bin_directory = directory / "bin"
        bin_directory.mkdir()
        program = bin_directory / "swarmctl"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m swarmctl "$@"\n')
        program.chmod(0o755)
        path = f"{bin_directory}{os.pathsep}{os.environ['PATH']}"
        self.environ = daemon.environment(HOME=str(directory), PATH=path, TERM="dumb")
        self.script = str(ROOT / "contrib/completions" / FILES[name])
        self.daemon = daemon

    def offers(self, line: str) -> list[str]:
        """What the shell offers where the line ends."""
        done = subprocess.run(
            self._command(line), capture_output=True, text=True, check=False, env=self.environ, timeout=PATIENCE
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        found = [word.partition("\t")[0] for word in done.stdout.splitlines()]
        return list(dict.fromkeys(word.strip() for word in found if word.strip()))

    def _command(self, line: str) -> list[str]:
        if self.name == "fish":
            return ["fish", "--private", "-c", 'source $argv[1]; complete -C "$argv[2]"', self.script, line]
        if self.name == "zsh":
            return ["zsh", "-f", str(ROOT / "tests/complete.zsh"), self.script, line]
        words = line.replace("=", " = ").split() + ([""] if line.endswith((" ", "=")) else [])
        if line.endswith("="):
            words.pop()
        return ["bash", "--norc", "-c", BASH, "bash", self.script, *words]


BASH = """
source "$1"; shift
complete -p swarmctl | grep -q -- '-F _swarmctl ' || exit 9
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_swarmctl swarmctl "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, daemon: Daemon, directory: Path) -> Shell:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed (apt-get install {request.param})")
    daemon.call("submit", type="build", description=HOSTILE, queue="nightly", team="core", key="a")
    daemon.call("submit", type="test", description="plain", queue="night-shift:2", key="b")
    daemon.call("submit", type="test", description="held", key="c")
    daemon.call("claim", agent="agent-7", id=3, key="d")
    daemon.call("lock", agent="agent-7", name="deploy", key="e")
    return Shell(request.param, daemon, directory)


def behind(line: str, offered: list[str]) -> list[str]:
    """The candidates without what the line has already of them: the shells differ in what they repeat."""
    stem = line.rpartition(" ")[2]
    option = stem.partition("=")[0] + "="
    return sorted(word.removeprefix(option).rpartition(",")[2].removesuffix("=") for word in offered)


LINES = {
    "swarmctl su": ["submit"],
    "swarmctl --json --agent me su": ["submit"],
    "swarmctl --agent=me su": ["submit"],
    "swarmctl queue pau": ["pause"],
    "swarmctl que": ["queue", "queue-stats", "queues"],
    "swarmctl submit --prio": ["--priority"],
    "swarmctl submit --pay": ["--payload"],
    "swarmctl --qui": ["--quiet"],
    "swarmctl queue ls --qui": ["--quiet"],
    "swarmctl submit -p ": ["critical", "high", "low", "medium"],
    "swarmctl submit --priority=h": ["high"],
    "swarmctl submit t d --priority=": ["critical", "high", "low", "medium"],
    "swarmctl list --state re": ["ready"],
    "swarmctl list --state done,re": ["ready"],
    "swarmctl list --state=done,re": ["ready"],
    "swarmctl count --by t": ["team", "type"],
    "swarmctl submit ": ["build", "test"],
    "swarmctl submit t d": [],
    "swarmctl submit --team ": ["core"],
    "swarmctl queue show nightl": ["nightly"],
    "swarmctl queues nightl": ["nightly"],
    "swarmctl list --queue nightl": ["nightly"],
    "swarmctl list --queue=default,nightl": ["nightly"],
    "swarmctl limit nightly ": [],
    "swarmctl queue set nightly lim": ["limit"],
    "swarmctl config get BATCH_T": ["BATCH_TIMEOUT"],
    "swarmctl agent show ": ["agent-7"],
    "swarmctl evict ag": ["agent-7"],
    "swarmctl show ": ["1", "2", "3"],
    "swarmctl complete ": ["3"],
    "swarmctl complete 3 suc": ["success"],
    "swarmctl kick ": [],
    "swarmctl get 1 pay": ["payload"],
    "swarmctl completion ": ["bash", "fish", "zsh"],
    "swarmctl nonsense ": [],
    "swarmctl locks ": ["deploy"],
    "swarmctl unlock de": ["deploy"],
    "swarmctl help agen": ["agent", "agents"],
    "swarmctl --socket /nowhere queue show ": [],
    "swarmctl --socket=/nowhere list --queue ": [],
}


@pytest.mark.real
def test_each_shell_offers_what_can_stand_there(shell: Shell) -> None:
    wrong = {}
    for line, wanted in LINES.items():
        found = behind(line, shell.offers(line))
        if found != wanted:
            wrong[line] = found
    assert not wrong


@pytest.mark.real
def test_files_and_commands_are_offered_where_they_belong(shell: Shell, directory: Path) -> None:
    (directory / "payload-of-mine").touch()
    found = shell.offers(f"swarmctl submit t d --payload {directory}/payload-of")
    assert [word.rpartition("/")[2] for word in found] == ["payload-of-mine"]
    assert "bash" in shell.offers("swarmctl work -j 2 -- bas")
    assert "bash" in shell.offers("swarmctl lock deploy --wait 1m -- bas")
    assert shell.offers("swarmctl lock dep") == ["deploy"]
    assert shell.offers("swarmctl list payload") == []


@pytest.mark.real
def test_when_the_daemon_is_away_the_shell_is_not_disturbed(shell: Shell) -> None:
    shell.daemon.stop()
    assert shell.offers("swarmctl queue show ") == []
    assert behind("x", shell.offers("swarmctl submit -p h")) == ["high"]


@pytest.mark.real
def test_bash_gets_back_only_what_stands_behind_a_colon(daemon: Daemon, directory: Path) -> None:
    daemon.call("submit", type="test", description="d", queue="night-shift:2", key="b")
    shell = Shell("bash", daemon, directory)
    command = [*shell._command("")[:6], *"swarmctl queue show night-shift : ".split(), ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=shell.environ)
    assert done.stdout == "2\n"


@pytest.mark.real
def test_bash_completion_finds_it_by_its_name(daemon: Daemon, directory: Path) -> None:
    loader = Path("/usr/share/bash-completion/bash_completion")
    if not loader.exists():
        pytest.skip("bash-completion is not installed (apt-get install bash-completion)")
    shell = Shell("bash", daemon, directory)
    place = directory / "share/bash-completion/completions"
    place.mkdir(parents=True)
    (place / "swarmctl").symlink_to(shell.script)
    code = f"source {loader}; _completion_loader swarmctl; complete -p swarmctl"
    done = subprocess.run(
        ["bash", "--norc", "-ic", code], capture_output=True, text=True, check=False,
        env=shell.environ | {"XDG_DATA_HOME": str(directory / "share")}, start_new_session=True,
    )  # fmt: skip
    assert done.stdout == "complete -F _swarmctl swarmctl\n", done.stderr
