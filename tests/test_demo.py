"""The demo, as `make demo` runs it, on fewer files; and its proof, which must find what is wrong."""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import PATIENCE, ROOT, until

pytestmark = pytest.mark.real

DEMO = ROOT / "contrib" / "demo"


def start(directory: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(DEMO / "demo.py"), "--dir", str(directory), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        process_group=0,
    )


def processes_of(directory: Path) -> list[str]:
    """The command lines of processes that have to do with the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(directory) in command:
                found.append(f"{entry.name} {command}")
    return found


def await_no_processes_of(directory: Path) -> None:
    """What was killed may take a moment to be gone."""
    until(lambda: not processes_of(directory), "all have ended")


def test_a_swarm_does_every_item_once_though_an_agent_and_the_daemon_are_killed(directory):
    demo = start(directory, "--files", "30")
    out, err = demo.communicate(timeout=5 * PATIENCE)
    assert (demo.returncode, err) == (0, ""), out[-2000:] + err
    items = len((directory / "items.jsonl").read_text().splitlines())
    assert items == 30 * 4 + 1 + 1
    assert f"{items} items, {items} accepted completions" in out
    assert out.count("KILL -9") >= 2
    assert "was taken back" in out
    assert "had when it was killed" in out
    assert "after an unclean stop" in out
    assert "\x1b" not in out, "colour on something that is no terminal"
    agents = {line.split("\t")[4] for line in (directory / "ledger").read_text().splitlines()}
    assert len(agents) == 8
    assert processes_of(directory) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_behind(directory, number):
    demo = start(directory)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "hash" in line:
            break
    demo.send_signal(number)
    _, err = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, err) == (130, "demo: interrupted; nothing of it runs any more\n")
    assert processes_of(directory) == []


def test_killed_it_takes_all_others_with_it(directory):
    demo = start(directory)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "hash" in line:
            break
    demo.kill()
    demo.communicate(timeout=PATIENCE)
    await_no_processes_of(directory)


def test_two_demos_do_not_share_a_place(directory):
    first = start(directory)
    assert first.stdout is not None
    first.stdout.readline()
    second = start(directory)
    _, err = second.communicate(timeout=PATIENCE)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=PATIENCE)
    assert second.returncode == 1
    assert err == f"demo: another demo runs in {directory}; wait for it, or give --dir\n"


# -- the proof -----------------------------------------------------------------------------------------


@pytest.fixture
def demo_modules(monkeypatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(str(DEMO))
    names = ("plan", "proof")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        del sys.modules[name]


class Done:
    """What a demo without a queue leaves behind: every step run once, in order, and what a daemon would say of it."""

    def __init__(self, directory: Path, modules: dict[str, ModuleType]) -> None:
        self.directory = directory
        self._proof = modules["proof"]
        names = ["pyproject.toml", "swarmshd/cbor.py"]
        plan = modules["plan"]
        plan.copy(ROOT, names, directory / "files")
        (directory / "out").mkdir()
        self.plan: list[dict[str, Any]] = plan.lines(names)
        self.items: list[dict[str, Any]] = []
        self.outputs: dict[int, bytes] = {}
        for number, line in enumerate(self.plan, 1):
            self.step(number, line["payload"], fence=100 + number, attempt=1)
            counted = {"attempt": 1, "crashes": 0, "releases": 0, "failures": 0}
            self.items.append({"id": number, "ref": line["ref"], "state": "done", "agent": "a", **counted})

    def step(self, number: int, payload: str, fence: int, attempt: int) -> None:
        environ = {"SWARMSH_ITEM": number, "SWARMSH_FENCE": fence, "SWARMSH_ATTEMPT": attempt, "SWARMSH_AGENT": "a"}
        done = subprocess.run(
            [sys.executable, str(DEMO / "step.py"), str(self.directory)],
            input=payload.encode(),
            env={**os.environ, **{name: str(value) for name, value in environ.items()}},
            stdout=subprocess.PIPE,
            check=True,
        )
        self.outputs[number] = done.stdout

    def problems(self) -> list[str]:
        found: list[str] = self._proof.check(self.directory, self.plan, self.items, self.outputs).problems
        return found


@pytest.fixture
def done(directory, demo_modules):
    return Done(directory, demo_modules)


def test_the_proof_holds_for_what_was_done_once(done):
    assert done.problems() == []


def test_the_proof_takes_a_killed_run_that_had_come_to_its_end_for_what_it_is(done):
    done.step(3, done.plan[2]["payload"], fence=500, attempt=2)
    done.items[2].update(attempt=2, crashes=1)
    assert done.problems() == []


def test_the_proof_finds_a_second_accepted_run(done):
    done.step(3, done.plan[2]["payload"], fence=500, attempt=1)
    (problem,) = done.problems()
    assert "2 completed runs of attempt 1" in problem


def test_the_proof_finds_a_run_after_the_accepted_one(done):
    done.step(3, done.plan[2]["payload"], fence=500, attempt=2)
    assert any("under fence 500 beside the accepted 103" in problem for problem in done.problems())


def test_the_proof_finds_a_fence_that_was_used_twice(done):
    ledger = done.directory / "ledger"
    ledger.write_text(ledger.read_text().replace("\t104\t", "\t103\t"))
    assert any("fence 103: used by items 3 and 4" in problem for problem in done.problems())


def test_the_proof_finds_an_item_that_was_never_run(done):
    ledger = done.directory / "ledger"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if not line.startswith("5\t")))
    (problem,) = done.problems()
    assert problem.startswith("item 5 (hash.1): 0 completed runs")


def test_the_proof_finds_an_item_that_is_not_done_or_not_there(done):
    done.items[1]["state"] = "ready"
    lost = done.items.pop()
    found = done.problems()
    assert "item 2 (compile.0): ready, not done" in found
    assert f"{lost['ref']}: submitted, and the daemon does not have it" in found


PRODUCTS = "hash.0 compile.0 compile.1 compress.1 check.1 gather.0 summary.0".split()


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_proof_finds_a_damaged_product(done, product):
    path = done.directory / "out" / product
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert done.problems()
    path.unlink()
    assert done.problems()
