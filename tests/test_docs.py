"""The documentation says what the code does: no verb, option, status or setting more or less."""

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from swarmctl import parse, verbs
from swarmctl.options import GLOBALS
from swarmshd import configuration, main, settings
from swarmshd.protocol import EXITS
from swarmshd.settings import HOUR, KIB, MIB, MINUTE, SECOND
from tests.drawing import drawing
from tests.pages import MAN, MARKDOWN, ROOT, code_of, examples, flags, page, prose_of, sections, spans_of
from tests.source import trees
from tests.test_architecture import ROOMS

# -- the programs --------------------------------------------------------------------------------------


def test_every_setting_is_described():
    text = page("swarmshd.toml.5")
    chapter = [line for found in sections(text) if found.chapter == "SETTINGS" for line in found.lines]
    described = dict(
        entry.split("\n", 1) for entry in re.split(r"^\.It Ev ", "\n".join(chapter), flags=re.MULTILINE)[1:]
    )
    assert list(described) == [_setting(row) for row in settings.TABLE.values()]
    for row in settings.TABLE.values():
        said = described[_setting(row)]
        assert said.startswith("Read at a start only.\n") == (not row.live), row.name
        assert len(said.split()) > 1
    bare = next(line for line in text.split(".It\n") if line.startswith("for the names"))
    assert re.findall(r"\.Ev (\w+)", bare) == [row.name for row in settings.TABLE.values() if row.guide]


def _setting(row: settings.Setting) -> str:
    unit = f"{row.unit} , " if row.unit else ""
    allowed = row.bounds().replace('"', "\\(dq")
    return f"{row.name} No = {row.show(row.default) or 'nobody'} ( {unit}{allowed} )"


def test_the_example_of_a_configuration_is_taken(tmp_path):
    (text,) = examples(page("swarmshd.toml.5"), "configuration")
    file = tmp_path / "swarmshd.toml"
    file.write_text(text)
    assert configuration.read_file(str(file)).keys() == {"LEASE", "MAX_ATTEMPTS", "ACCESS_WORK", "ACCESS_ADMIN"}


def test_every_option_of_the_daemon_is_described(capsys):
    with pytest.raises(SystemExit):
        main.main(["--help"])
    assert flags(page("swarmshd.8")) == set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", capsys.readouterr().out))


def statuses(name: str) -> set[int]:
    chapter = next(found for found in sections(page(name)) if found.chapter == "EXIT STATUS")
    return {int(number) for number in re.findall(r"^\.It (\d+)$", "\n".join(chapter.lines), re.MULTILINE)}


def test_every_exit_status_is_described():
    source = (ROOT / "swarmshd/main.py").read_text()
    of_daemon = {getattr(main, name) for name in re.findall(r"Quit\(\s*(EX_\w+)", source)} | {0, 2, 130}
    assert statuses("swarmshd.8") == of_daemon
    assert statuses("swarmctl.1") == EXITS.keys() - {74}
    assert of_daemon <= EXITS.keys()


def test_every_verb_and_option_of_the_client_is_described():
    chapter = "\n".join(
        line for found in sections(page("swarmctl.1")) if found.chapter == "VERBS" for line in found.lines
    )
    described = re.split(r"^\.It Cm ", chapter, flags=re.MULTILINE)[1:]
    found = {each.splitlines()[0].partition(" Ar ")[0]: each for each in described}
    assert found.keys() == verbs.every().keys()
    for name, verb in verbs.every().items():
        documented = {flag for line in found[name].splitlines() if line.startswith(".It Fl") for flag in flags(line)}
        assert documented == {flag for option in verb.options for flag in option.flags}, name
    everywhere = next(found for found in sections(page("swarmctl.1")) if found.chapter == "OPTIONS")
    assert flags("\n".join(everywhere.lines)) == {flag for option in GLOBALS for flag in option.flags}


def test_what_is_said_to_be_logged_is_logged():
    chapter = next(found for found in sections(page("swarmshd.8")) if found.chapter == "DIAGNOSTICS")
    said = [line.removeprefix(".It ") for line in chapter.lines if line.startswith(".It ")]
    phrases = {each.strip(" ,:") for line in said for each in re.findall(r"Sy (.*?)(?= Ar| Sy|$)", line)}
    sources = "".join(path.read_text() for path in (ROOT / "swarmshd").rglob("*.py"))
    assert len(phrases) > 10
    assert {phrase for phrase in phrases if phrase not in sources} == set()


NUMBERS = [
    # page, what it says, the constant, and what that is divided by
    ("man/swarmsh-protocol.7", "text of at most {} bytes", "protocol.NOTE_MAX", 1),
    ("man/swarmsh-protocol.7", "once deciding has taken {} s", "engine.rounds.BATCH_NS", 1_000_000_000),
    ("docs/architecture.md", "a round {} ms", "engine.rounds.ROUND_NS", 1_000_000),
    ("man/swarmsh-protocol.7", "text of 1 to {} characters", "protocol.NAME_MAX", 1),
    ("man/swarmsh-protocol.7", "an array of these, at most {}", "protocol.SUBMITS_MAX", 1),
    ("man/swarmsh-protocol.7", "not before these items are done; at most {}.", "protocol.AFTER_MAX", 1),
    ("man/swarmsh-protocol.7", "claiming agent must have; at most {}.", "protocol.LABELS_MAX", 1),
    ("man/swarmsh-protocol.7", "events of these items, at most {}", "commands.values.WATCHED_MAX", 1),
    ("man/swarmsh-protocol.7", "most events in the answer, 1 to {}", "commands.values.EVENTS_MAX", 1),
    ("man/swarmsh-protocol.7", "are answered at most every {} milliseconds", "engine.following.WAKE_EVERY", 1),
    ("man/swarmsh-protocol.7", "with at most {} events together", "engine.following.WALKED_MAX", 1),
    ("man/swarmsh-protocol.7", "beside all others, {} at a time", "engine.errands.ERRANDS_MAX", 1),
    ("man/swarmsh-protocol.7", "and {} of these for admins", "engine.errands.KEPT_FOR_ADMINS", 1),
    ("man/swarmsh-protocol.7", "than {} others waiting for it", "protocol.DEPENDANTS_MAX", 1),
    ("man/swarmsh-protocol.7", "up to so many, 1 to {}", "commands.values.CLAIM_MAX", 1),
    ("man/swarmsh-protocol.7", "at most {} names here", "commands.values.FILTER_MAX", 1),
    ("man/swarmsh-protocol.7", "there are at most {} locks", "workqueue.locking.LOCKS_MAX", 1),
    ("docs/architecture.md", "| named locks | {},", "workqueue.locking.LOCKS_MAX", 1),
    ("man/swarmsh-protocol.7", "at most {} items are waited for", "workqueue.queue.WAITED_MAX", 1),
    ("man/swarmsh-protocol.7", "fewer if they have more than {} MiB", "workqueue.claiming.CLAIM_BYTES", MIB),
    ("man/swarmsh-protocol.7", "its lists are cut at {} MiB", "engine.rounds.REPLY_MAX", MIB),
    ("man/swarmsh-protocol.7", "or leaves {} KiB of replies untaken", "engine.client.OWED_MAX", KIB),
    ("man/swarmsh-protocol.7", "takes none of them for {} seconds", "server.stuck.STUCK_AFTER", SECOND),
    ("man/swarmsh-protocol.7", "has {} seconds for its first frame", "server.server.FIRST_FRAME", SECOND),
    ("man/swarmsh-protocol.7", "at most {} descriptors may be ahead", "server.connection.DESCRIPTORS_MAX", 1),
    ("man/swarmsh-protocol.7", "and {} on all together", "server.unfinished.STRAYS_MAX", 1),
    ("man/swarmsh-protocol.7", "keys are kept {} hours", "workqueue.policy.KEY_CHOSEN_KEPT", HOUR),
    ("man/swarmsh-protocol.7", "and kept {} minutes", "workqueue.policy.KEY_MINTED_KEPT", MINUTE),
    ("man/swarmsh-protocol.7", "the daemon keeps the latest {}", "workqueue.records.FAILURES_KEPT", 1),
    ("man/swarmsh-protocol.7", "at most, up to {}:", "commands.values.DASHBOARD_MAX", 1),
    ("man/swarmsh-protocol.7", "and {} for admins", "server.places.KEPT_FOR_ADMINS", 1),
    ("man/swarmshd.toml.5", "{} are kept for admins", "server.places.KEPT_FOR_ADMINS", 1),
    ("man/swarmshd.toml.5", "bytes and {} bytes for each", "workqueue.records.ITEM_OVERHEAD", 1),
    ("man/swarmshd.8", "sealed segments exceed {} MiB", "journal.holdings.FOLD_BYTES", MIB),
    ("man/swarmshd.8", "path of a socket has at most {} bytes", "whereabouts.PATH_MAX", 1),
    ("man/swarmshd.toml.5", "have at most {} mib together", "engine.cache.BYTES_MAX", MIB),
    ("man/swarmshd.toml.5", "those of {} kib and more", "engine.cache.COMPRESSED_FROM", KIB),
    ("docs/architecture.md", "`cache_max_size` {} mib |", "engine.cache.BYTES_MAX", MIB),
    ("docs/architecture.md", "| watched processes | {} |", "liveness.WATCHES_MAX", 1),
    ("docs/architecture.md", "at most {} buckets", "workqueue.ready.BUCKETS_MAX", 1),
    ("docs/architecture.md", "and {} shapes", "workqueue.ready.SHAPES_MAX", 1),
    ("docs/architecture.md", "in blocks of {}", "engine.numbers.BLOCK", 1),
    ("docs/architecture.md", "commands, {} MiB of requests", "engine.rounds.ROUND_BYTES", MIB),
    ("docs/architecture.md", "| {} MiB, 64 MiB, 256 MiB of all", "server.server.UNDECIDED_MAX", MIB),
    ("docs/architecture.md", "64 MiB, {} MiB, 256 MiB of all", "server.unfinished.UNFINISHED_MAX", MIB),
    ("docs/architecture.md", "64 MiB, {} MiB of all", "server.stuck.OWED_TOGETHER", MIB),
]


@pytest.mark.parametrize(("path", "says", "constant", "unit"), NUMBERS)
def test_numbers_are_those_of_the_code(path, says, constant, unit):
    module, _, name = constant.rpartition(".")
    number = getattr(import_module(f"swarmshd.{module}"), name) // unit
    text = " ".join((ROOT / path).read_text().replace(",", "").lower().split())
    assert says.format(number).replace(",", "").lower() in text


# -- all pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MAN, ids=lambda path: path.name)
def test_the_manual_is_sound(path):
    mandoc = shutil.which("mandoc")
    if mandoc is None:
        pytest.skip("mandoc is not installed (apt-get install mandoc)")
    ran = subprocess.run([mandoc, "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_drawings_are_those_of_the_code():
    text = (ROOT / "docs/architecture.md").read_text()
    assert re.findall(r"<!-- drawing -->\n\n(.*?)\n\n<!-- end of drawing -->", text, re.DOTALL) == [drawing()]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE))
    drawn = {room: set(re.findall(r"`(\w+)`", allowed)) or allowed for room, allowed in rows.items()}
    words = {"": "nothing", "*": "everything"}
    rooms = {room: words.get(allowed) or set(allowed.split()) for room, allowed in ROOMS.items()}
    here = {
        path.stem for path in (ROOT / "swarmshd").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert drawn == {room: allowed for room, allowed in rooms.items() if room in here}


def names_in_code() -> set[str]:
    """``Class.method`` and ``module.function`` of the whole source."""
    found = set()
    for path, tree in trees().items():
        owners: list[tuple[str, Any]] = [(path.stem, tree)]
        owners += [(node.name, node) for node in owners[0][1].body if isinstance(node, ast.ClassDef)]
        for owner, node in owners:
            for each in ast.walk(node) if isinstance(node, ast.ClassDef) else node.body:
                name = getattr(each, "name", None) or (each.attr if isinstance(each, ast.Attribute) else None)
                found.add(f"{owner}.{name}")
    return found


def test_the_names_in_the_architecture_exist():
    known = names_in_code()
    spans = {
        span for span in spans_of(ROOT / "docs/architecture.md") if re.fullmatch(r"[\w.]*[A-Za-z_]\.[a-z_]+", span)
    }
    dotted = {".".join(span.split(".")[-2:]) for span in spans if not (ROOT / "swarmshd" / span).exists()}
    assert {span for span in dotted if span not in known} == set()
    files = {span for span in spans_of(ROOT / "docs/architecture.md") if span.endswith(".py")}
    assert not [file for file in files if not (ROOT / file).exists() and not (ROOT / "swarmshd" / file).exists()]


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_paths_and_targets_exist(path):
    text = "\n".join(code_of(path))
    tops = "|".join(
        re.escape(each) for each in (".ci", "bin", "contrib", "docs", "man", "tests", "swarmctl", "systemd")
    )
    paths = set(re.findall(rf"(?<![\w/$.-])(?:\./)?((?:{tops})/[\w./-]*\w)", text))
    assert not [each for each in paths if not (ROOT / each).exists()]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= targets
    assert set(re.findall(r"python -m ([\w.]+)", text)) <= {
        "swarmshd.compact",
        "swarmshd.history",
        "swarmshd.salvage",
        "tests.drawing",
        "tests.benchmark",
    }


def commands_in(line: str) -> Iterator[list[str]]:
    """The words of each ``swarmctl`` in a shell's line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        words = list(lexer)
    except ValueError:  # the line is no shell
        words = line.split()
    while "swarmctl" in words:
        before, words = words[: words.index("swarmctl")], words[words.index("swarmctl") + 1 :]
        if before[-1:] == ["from"]:  # that is Python
            continue
        end = next((n for n, word in enumerate(words) if set(word) <= set("();<>|&")), len(words))
        yield words[:end]


def spoken(words: list[str]) -> str | None:
    """The verb that a command line names; None if it names none."""
    while words and words[0].startswith("-"):
        option = next((each for each in GLOBALS if words[0] in each.flags), None)
        words = words[2 if option is not None and option.kind != "flag" else 1 :]
    if not words or not re.fullmatch(r"[a-z]+", words[0]):
        return None
    return (
        " ".join(words[:2]) if words[0] in parse.NOUNS and re.fullmatch(r"[a-z]+", " ".join(words[1:2])) else words[0]
    )


@pytest.mark.parametrize("path", [*MARKDOWN, *MAN], ids=lambda path: path.name)
def test_only_verbs_that_exist_are_named(path):
    known = {*verbs.every(), *parse.SHORT, *parse.HABITS, "log"}
    named = {spoken(words) for line in code_of(path) for words in commands_in(line)}
    assert named - {None} <= known


@pytest.mark.parametrize("path", [path for path in MARKDOWN if path.parent == ROOT], ids=lambda path: path.name)
def test_command_lines_are_understood(path):
    for line in re.findall(r"^ {4}(swarmctl .*)$", path.read_text(), re.MULTILINE):
        for words in commands_in(line):
            parse.parse([re.sub(r"\$\w+", "7", word) for word in words])


FORBIDDEN = re.compile(
    r"\b(jobs?|tasks?|workers?|consumers?|tubes?|topics?|(?:en|de)queue\w*|TTR|visibility timeouts?|dead[- ]letters?"
    r"|LSN|transactions?|work items?)\b",
    re.IGNORECASE,
)
ALLOWED = {
    # (page, word): what is meant by it
    ("architecture.md", "task"): "trio's",
    ("decisions.md", "task"): "trio's",
    ("decisions.md", "worker"): "pytest's",
    ("swarmctl.1", "worker"): "what `work` is: the worker loop",
    ("swarmctl.1", "work items"): "the client's own word, in its first line",
    ("python-client.md", "tasks"): "trio's",
    ("README.md", "workers"): "what the people who come here call their programs: batch workers",
}


@pytest.mark.parametrize("path", [*MARKDOWN, *MAN], ids=lambda path: path.name)
def test_one_word_for_each_thing(path: Path):
    found = [(n, word) for n, line in prose_of(path) for word in FORBIDDEN.findall(line)]
    wrong = [f"{path.name}:{n}: {word}" for n, word in found if (path.name, word.lower()) not in ALLOWED]
    assert not wrong
