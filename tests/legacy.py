"""Runs the old system's command against a daemon, as its scripts did; the starting point of what replaces them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.conftest import PATIENCE, ROOT, Daemon

HELPER = ROOT / "contrib" / "legacy" / "coordination_helper.sh"


class Ran(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str


def path_with_swarmctl(directory: Path) -> str:
    """A PATH in which swarmctl is ours, and coordination_helper.sh too."""
    (script := directory / "swarmctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m swarmctl "$@"\n')
    script.chmod(0o755)
    if not (link := directory / HELPER.name).exists():
        link.symlink_to(HELPER)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


class Old:
    """Somebody who types the old commands; ``agent`` is what AGENT_ID says."""

    def __init__(self, daemon: Daemon, directory: Path, agent: str = "a1") -> None:
        self.daemon = daemon
        self.directory = directory
        self.environment = daemon.environment(PATH=path_with_swarmctl(directory), AGENT_ID=agent)

    def as_agent(self, agent: str) -> "Old":
        """The same as another agent."""
        return Old(self.daemon, self.directory, agent)

    def start(self, *words: str, **environ: str) -> "subprocess.Popen[str]":
        """Type one command and go on."""
        return subprocess.Popen(
            ["/bin/sh", str(HELPER), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env={**self.environment, **environ},
            process_group=0,
        )

    def __call__(self, *words: str, **environ: str) -> Ran:
        """Type one command."""
        return _ended(self.start(*words, **environ))

    def at_once(self, commands: Sequence[Sequence[str]]) -> list[Ran]:
        """Type all commands at the same time, each with ``&``, and wait."""
        return [_ended(process) for process in [self.start(*words) for words in commands]]

    def bash(self, script: str, status: int = 0) -> str:
        """Run lines of a script, and give what they print."""
        ran = subprocess.run(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.directory,
            env=self.environment,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout


def _ended(process: "subprocess.Popen[str]") -> Ran:
    out, err = process.communicate(timeout=PATIENCE)
    return Ran(process.returncode, out, err)
