"""The benchmark runs and says what it found; what it found is not looked at here."""

import json
import subprocess
import sys

import pytest

from tests.benchmark.figure import Figure, at_least, at_most, median, shown
from tests.conftest import ROOT


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    words = (sys.executable, "-m", "tests.benchmark", *words)
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.real
def test_it_prints_the_machine_and_each_figure_with_its_target(directory):
    done = run("--dir", str(directory), "journal", "death")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("date", "cpu", "kernel", "python", "file system", "journal, claim", "≤ 96.0 bytes", "met"):
        assert word in done.stdout
    assert list(directory.iterdir()) == [], "it clears away what it made"


@pytest.mark.real
def test_json_has_one_object_a_line(directory):
    done = run("--dir", str(directory), "--json", "journal")
    assert (done.returncode, done.stderr) == (0, "")
    machine, *figures = map(json.loads, done.stdout.splitlines())
    assert "kernel" in machine
    assert {figure["benchmark"] for figure in figures} == {"journal"}
    assert all(figure["schema"] == 1 and figure["verdict"] in ("met", "missed", "") for figure in figures)


@pytest.mark.slow  # it imports all that is measured
def test_an_unknown_name_is_refused():
    done = run("speed")
    assert done.returncode == 2
    assert "there is no speed; there are programs, lone," in done.stderr


def test_a_target_is_met_at_its_bound():
    assert Figure("f", 3.0, "x", at_most(3)).verdict == "met"
    assert Figure("f", 3.1, "x", at_most(3)).verdict == "missed"
    assert Figure("f", 2.5, "x", at_least(2.5)).verdict == "met"
    assert Figure("f", 2.4, "x", at_least(2.5)).verdict == "missed"
    assert Figure("f", 2.4, "x").verdict == ""


def test_values_are_shown_with_the_digits_that_mean_something():
    assert [shown(v, "ms") for v in (1.234, 12.34, 123.4, 1234.5)] == ["1.23 ms", "12.3 ms", "123 ms", "1,234 ms"]
    assert shown(20_000, "/s") == "20,000/s"
    assert shown(2.5, "x") == "2.50x"


def test_the_median_is_the_middle():
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
