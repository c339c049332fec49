"""Who may import whom, who may read the clock, and what modules may be called.

The table ``ROOMS`` is the drawing of the house; a room that is not in it fails. Everything is read from the
source by ``ast``: imports inside functions and under TYPE_CHECKING count, as they are knowledge too.
"""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.source import ROOT, name_of, nodes, trees

ROOMS = {
    # room: the rooms that it may import
    "cbor": "",
    "settings": "",
    "records": "",
    "liveness": "",
    "tuning": "whereabouts",
    "protocol": "cbor",
    "configuration": "settings",
    "telemetry": "settings",
    "commands": "protocol",
    "events": "protocol",
    "told": "events protocol",
    "workqueue": "commands events protocol",
    "journal": "records",
    "beside": "",
    "compact": "beside workqueue journal records events",
    "history": "beside told workqueue journal events protocol",
    "engine": "workqueue journal commands events told protocol settings",
    "systemd": "engine commands protocol",
    "server": "engine commands protocol settings",
    "salvage": "beside compact told workqueue journal records events settings",
    "keeper": "beside engine journal liveness events settings",
    "carrier": "beside engine keeper salvage workqueue journal commands events protocol",
    "memory": "engine settings",
    "refusing": "carrier commands engine protocol server settings systemd",
    "control": "configuration settings commands engine server systemd",
    "whereabouts": "",
    "main": "*",
}
FOR_CLIENT = {"protocol", "cbor", "settings"}

PURE = {"cbor", "settings", "records", "protocol", "commands", "events", "told", "workqueue"}
IMPURE_MODULES = set(
    "asyncio ctypes datetime fcntl glob logging mmap multiprocessing os pathlib random secrets select selectors shutil "
    "signal socket subprocess tempfile threading time trio uuid".split()
)
IMPURE_CALLS = {"open", "print", "input", "breakpoint"}

OWNERS = {
    # module: the rooms that may import it
    "trio": {"server", "liveness", "systemd", "keeper", "carrier", "memory", "refusing", "main"},
    "logging": {"engine", "server", "keeper", "carrier", "memory", "control", "refusing", "main", "systemd"},
    "cattrs": {"commands"},
    "sdnotify": {"systemd"},
    "tomllib": {"configuration"},
    "asyncio": set(),
}

CLOCK_ROOMS = {"server", "keeper", "carrier", "memory", "refusing", "main", "systemd"}
# they measure how long a sync took, which decides nothing by itself
STOPWATCH_ROOMS = {"journal", "engine", "compact", "salvage", "tuning"}
STOPWATCHES = {"perf_counter", "perf_counter_ns"}
CLOCKS = {
    "time": {
        *("time", "time_ns", "monotonic", "monotonic_ns", "clock_gettime", "clock_gettime_ns"),
        *("process_time", "thread_time", "localtime", "gmtime", "ctime", *STOPWATCHES),
    },
    "datetime": {"now", "utcnow", "today"},
    "trio": {"current_time"},
}

CLIENT_NEVER = {"attr", "attrs", "cattrs", "cbor2", "psutil", "sdnotify", "asyncio"}
CLIENT_TRIO = "swarmctl/aio/"
COMMON_NEVER = CLIENT_NEVER | {"trio", "argparse", "dataclasses", "typing", "re", "socket", "subprocess", "json"}

NO_NAMES = {"utils", "util", "common", "helpers", "helper", "types", "misc", "constants"}

LONGEST = 500


class Import(NamedTuple):
    line: int
    module: str


class Source:
    """One module's path below the repository, where it stands, and what is in it."""

    def __init__(self, path: str, nodes: list[ast.AST]) -> None:
        self.path = path
        self.package = path.split("/", maxsplit=1)[0]
        parts = path.removesuffix(".py").split("/")
        self.room = parts[1] if len(parts) > 1 else ""
        self.parents = parts[:-1]
        self.nodes = nodes

    def imports(self) -> Iterator[Import]:
        """Every import as the dotted name of what is imported, module or member."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = self.parents[: len(self.parents) - node.level + 1] if node.level else []
                for alias in node.names:
                    yield Import(node.lineno, ".".join([*base, *filter(None, [node.module]), alias.name]))

    def calls(self) -> Iterator[tuple[int, str]]:
        """Line and name of every call of a name or of a member of a name: ``open``, ``time.time``."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield node.lineno, name_of(node.func)


def faults(source: Source) -> Iterator[tuple[int, str]]:
    """Line and sentence for everything in ``source`` that the house does not allow."""
    if source.package == "swarmshd":
        yield from faults_of_daemon(source)
    else:
        yield from faults_of_client(source)
    if Path(source.path).stem in NO_NAMES:
        yield 1, "this module's name says nothing about what is in it"


def faults_of_daemon(source: Source) -> Iterator[tuple[int, str]]:
    room = source.room
    if room == "__init__":
        yield from ((line, "swarmshd/__init__ imports nothing") for line, _ in source.imports())
        return
    if room not in ROOMS:
        yield 1, f"the room {room} is not in the table of tests/test_architecture.py"
        return
    for line, module in source.imports():
        top, _, rest = module.partition(".")
        target = rest.split(".")[0]
        if top == "swarmctl":
            yield line, f"{room} imports the client"
        elif top == "swarmshd" and target not in {room, "__version__"} and ROOMS[room] != "*":
            if target not in ROOMS[room].split():
                yield (
                    line,
                    f"{room} must not import {target or 'the package'}; it may: {ROOMS[room] or 'nothing of ours'}",
                )
        elif top in OWNERS and room not in OWNERS[top]:
            yield line, f"{room} must not import {top}; it may be imported in: {', '.join(sorted(OWNERS[top]))}"
        elif room in PURE and top in IMPURE_MODULES:
            yield line, f"{room} is pure and must not import {top}"
    for line, call in source.calls():
        if room in PURE and call in IMPURE_CALLS:
            yield line, f"{room} is pure and must not call {call}"
    if room not in CLOCK_ROOMS:
        yield from readings_of_the_clock(source)


def readings_of_the_clock(source: Source) -> Iterator[tuple[int, str]]:
    what = f"{source.room} must not read the clock; time is an argument"
    allowed = STOPWATCHES if source.room in STOPWATCH_ROOMS else set()
    for line, module in source.imports():
        top, _, name = module.partition(".")
        if name in CLOCKS.get(top, set()) - allowed:
            yield line, what
    for line, call in source.calls():
        *owner, name = call.split(".")
        if owner and name in CLOCKS.get(owner[0], set()) - allowed:
            yield line, what


def faults_of_client(source: Source) -> Iterator[tuple[int, str]]:
    for line, module in source.imports():
        top, _, rest = module.partition(".")
        target = rest.split(".")[0]
        if top == "swarmshd" and target not in FOR_CLIENT | {"__version__"}:
            yield line, f"swarmctl must not import swarmshd.{target}; it may: {', '.join(sorted(FOR_CLIENT))}"
        elif top in CLIENT_NEVER or (top == "trio" and not source.path.startswith(CLIENT_TRIO)):
            yield line, f"swarmctl must not import {top}"


def sources() -> Iterator[Source]:
    for path in trees():
        yield Source(str(path.relative_to(ROOT)), nodes(path))


def test_the_house_is_as_it_is_drawn():
    found = [f"{source.path}:{line}: {what}" for source in sources() for line, what in sorted(faults(source))]
    if found:
        pytest.fail("\n" + "\n".join(found), pytrace=False)


def test_modules_are_short():
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in trees()}
    found = [f"{path}:{n}: longer than {LONGEST} lines" for path, n in lengths.items() if n > LONGEST]
    if found:
        pytest.fail("\n" + "\n".join(found), pytrace=False)


def test_a_common_verb_of_the_client_starts_light():
    program = "import sys; import swarmctl.cli; print(*sys.modules)"
    # -S and -I: what site-packages' own hooks import is not the client's doing
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    assert COMMON_NEVER.isdisjoint(run.stdout.split())


def test_every_manual_page_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = project["tool"]["hatch"]["build"]["targets"]["wheel"].get("shared-data", {})
    pages = {f"man/{page.name}": f"share/man/man{page.name[-1]}/{page.name}" for page in (ROOT / "man").glob("*.[1-8]")}
    assert {path: place for path, place in installed.items() if path.startswith("man/")} == pages


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("swarmshd/server.py", "import trio\nfrom swarmshd import journal\n", 2),
        ("swarmshd/journal/files.py", "from swarmshd import records, engine\n", 1),
        ("swarmshd/journal/files.py", "from .. import engine\n", 1),
        ("swarmshd/journal/files.py", "def f():\n    import swarmshd.engine\n", 2),
        ("swarmshd/journal/files.py", "import trio\n", 1),
        ("swarmshd/journal/files.py", "import time\n\ntime.monotonic()\n", 3),
        ("swarmshd/journal/files.py", "from time import time\n", 1),
        ("swarmshd/engine.py", "from datetime import datetime\ndatetime.now()\n", 2),
        ("swarmshd/workqueue/rows.py", "if TYPE_CHECKING:\n    from swarmshd.engine import Engine\n", 2),
        ("swarmshd/workqueue/rows.py", "import random\n", 1),
        ("swarmshd/workqueue/rows.py", "print(1)\n", 1),
        ("swarmshd/workqueue/rows.py", "import logging\n", 1),
        ("swarmshd/events.py", "from cattrs import structure\n", 1),
        ("swarmshd/engine.py", "import swarmctl\n", 1),
        ("swarmshd/attic.py", "", 1),
        ("swarmshd/engine/utils.py", "", 1),
        ("swarmshd/__init__.py", "import os\n", 1),
        ("swarmctl/client.py", "from swarmshd.engine import Engine\n", 1),
        ("swarmctl/client.py", "import swarmshd.workqueue\n", 1),
        ("swarmctl/client.py", "import trio\n", 1),
        ("swarmctl/client.py", "import cbor2\n", 1),
        ("swarmctl/helpers.py", "", 1),
    ],
)
def test_what_is_forbidden_is_found(path, text, line):
    assert [at for at, _ in faults(Source(path, list(ast.walk(ast.parse(text)))))] == [line]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("swarmshd/server.py", "import time\nimport trio\nfrom swarmshd import __version__, engine\ntime.time()\n"),
        (
            "swarmshd/journal/files.py",
            "from swarmshd.journal import disk\nfrom . import scan\nfrom .. import records\n",
        ),
        ("swarmshd/journal/writer.py", "from time import perf_counter\nperf_counter()\n"),
        ("swarmshd/main.py", "import logging\nfrom swarmshd import journal, workqueue\n"),
        ("swarmctl/client.py", "from swarmshd import __version__, protocol\nfrom swarmshd.settings import TABLE\n"),
        ("swarmctl/aio/connection.py", "import trio\n"),
    ],
)
def test_what_is_allowed_is_not(path, text):
    assert list(faults(Source(path, text))) == []


@pytest.mark.parametrize("room", sorted(path.parent.name for path in (ROOT / "swarmshd").glob("*/__init__.py")))
def test_the_head_of_a_room_names_all_its_modules(room):
    head = ast.get_docstring(ast.parse((ROOT / "swarmshd" / room / "__init__.py").read_text()))
    modules = {path.stem for path in (ROOT / "swarmshd" / room).glob("*.py")} - {"__init__", "__main__"}
    assert head is not None
    assert not [module for module in sorted(modules) if f"`{module}`" not in head]
