"""Law 9: success is told only when it is true; a refusal has a stable code, an exit status, and one sentence."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from swarmshd.protocol import CODES, EXITS, VERBS
from tests.conftest import Daemon
from tests.source import ROOT, name_of, nodes, trees

LATER = {"position_gone", "journal_corrupt", "config"}
"""Codes that are settled, and that no verb of this release gives."""


def refusals_in(path: Path) -> list[str]:
    """The codes of the refusals that a module makes with a literal code."""
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Call) and name_of(node.func).split(".")[-1] == "Refusal" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant):
                found.append(str(first.value))
    return found


def test_law_say_what_happened_every_refusal_has_a_code_of_the_table():
    used = {code for path in trees() if path.is_relative_to(ROOT / "swarmshd") for code in refusals_in(path)}
    assert used <= CODES.keys()
    assert CODES.keys() - used - LATER == {"outcome_unknown"}, "which is the client's own"
    assert all(status in EXITS for status, _, _ in CODES.values())


REFUSED = {
    # words of swarmctl: the code that the daemon refuses with
    "show 99": "not_found",
    "complete 1 --agent stranger": "not_holder",
    "complete 1 --token 7.0123456789abcdef": "lease_lost",
    "edit 1 -p low": "bad_state",
    "kick 1": "bad_state",
    "claim --queue nothing": "empty",
    "claim --id 1": "conflict",
    "wait 1 --timeout 0": "timeout",
    "submit t d --ref taken": "duplicate",
    "submit t d --ref loop --after loop": "cycle",
    "submit t d --queue closed": "queue_closed",
    "submit t d --queue short": "queue_full",
    "evict nobody": "not_found",
}


@pytest.fixture
def set_up(daemon: Daemon) -> Daemon:
    daemon.call("submit", type="t", description="d", ref="taken")
    daemon.call("claim", agent="holder")
    daemon.call("submit", type="t", description="d", queue="closed")
    daemon.call("queue_set", queue="closed", closed=True)
    daemon.call("submit", type="t", description="d", queue="short")
    daemon.call("queue_set", queue="short", max_length=1)
    return daemon


@pytest.mark.real
def test_law_say_what_happened_a_refusal_is_one_line_and_its_status(set_up: Daemon) -> None:
    before = set_up.call("count", all=True, by="state")
    for words, code in REFUSED.items():
        status, retryable, _ = CODES[code]
        said = set_up.ctl(*words.split(), "--timeout", "5") if "--timeout" not in words else set_up.ctl(*words.split())
        assert (said.returncode, said.stdout) == (status, ""), words
        assert said.stderr.startswith(f"swarmctl: {words.split()[0]}"), words
        assert said.stderr.count("\n") == 1, words
        said = set_up.ctl("--json", *words.split())
        assert (said.returncode, said.stderr) == (status, ""), words
        told: dict[str, Any] = json.loads(said.stdout.splitlines()[0])
        assert (told["schema"], told["ok"], told["code"], told["exit"]) == (1, False, code, status), words
        assert told["retryable"] is retryable, words
        assert told["message"], words
        assert "\n" not in told["message"], words
    assert set_up.call("count", all=True, by="state") == before, "nothing was half done"


@pytest.mark.real
def test_law_say_what_happened_success_is_told_only_when_it_is_true(daemon: Daemon) -> None:
    """What swarmctl printed is there after the daemon was killed the moment it had printed it."""
    for _ in range(5):
        said = daemon.ctl("submit", "t", "d")
        daemon.restart()
        assert daemon.call("show", id=int(said.stdout))["state"] == "ready"
        claimed = daemon.ctl("claim", "-q")
        daemon.restart()
        assert daemon.call("show", id=int(claimed.stdout))["state"] == "claimed"
        assert daemon.ctl("complete", claimed.stdout.strip()).returncode == 0
        daemon.restart()
        assert daemon.call("show", id=int(claimed.stdout))["state"] == "done"


def test_law_say_what_happened_every_verb_has_a_class():
    assert set(VERBS.values()) == {"read", "work", "admin"}
