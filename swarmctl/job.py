"""An item that ``work`` holds: its COMMAND, what that finds in its environment, and what is due for it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

from swarmctl.command import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Facts = dict[str, Any]

HEARTBEAT_MAX = 10.0
"""Seconds between two heartbeats of an item at most: how long a COMMAND may run after its item was cancelled."""

CHECKPOINT_OUT = "checkpoint.out"
CHECKPOINT_READ = 1 << 16
"""Bytes of a checkpoint that are read; the daemon's limit is lower, and says so."""


class Job:
    """An item that is held, with its COMMAND."""

    __slots__ = (
        "asked",
        "beat_at",
        "command",
        "directory",
        "facts",
        "held",
        "kill_at",
        "running",
        "saved",
        "stopped",
        "token",
    )

    def __init__(self, facts: Facts, command: Command, directory: str) -> None:
        self.facts = facts
        self.directory = directory
        self.token: str = facts["token"]
        self.command = command
        self.held = False
        self.running = True
        self.stopped = ""
        """Why COMMAND was told to end: ``lost`` (the item is not ours any more) or ``stop`` (it is, and goes back)."""
        self.kill_at = float("inf")
        self.beat_at = float("inf")
        self.asked = False
        """Whether a heartbeat is under way."""
        self.saved = b""

    @property
    def id(self) -> int:
        """The item's number."""
        number: int = self.facts["id"]
        return number

    def due(self) -> float:
        """When something is to be done for it, on the monotonic clock."""
        return min(self.kill_at, self.beat_at) if self.running else float("inf")

    def beat(self, now: float) -> None:
        """Set the time of the next heartbeat: a third of the lease from now, or sooner."""
        self.beat_at = now + min(self.facts.get("lease", 300_000) / 3000, HEARTBEAT_MAX)

    def new_checkpoint(self) -> bytes | None:
        """What COMMAND has written for the next holder since the last look."""
        try:
            with open(os.path.join(self.directory, CHECKPOINT_OUT), "rb") as file:
                data = file.read(CHECKPOINT_READ)
        except OSError:
            return None
        if not data or data == self.saved:
            return None
        self.saved = data
        return data


def begin(facts: Facts, words: Sequence[str], base: Mapping[str, str], *, prefix: bytes | None, keep: int) -> Job:
    """A claimed item with its keeper, who waits for the word to start COMMAND.

    Raises:
        OSError: no file or no process can be made for it.
    """
    directory = tempfile.mkdtemp(prefix=f"swarmctl-{facts['id']}-")
    try:
        environ = environment(facts, base, directory)
        payload = facts.get("payload", b"")
        command = Command(words, environ, payload, prefix=prefix, keep=keep, directory=directory)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Job(facts, command, directory)


def environment(facts: Facts, base: Mapping[str, str], directory: str) -> dict[str, str]:
    """The environment of the COMMAND for a claimed item; its checkpoint is put into a file of ``directory``."""
    checkpoint = os.path.join(directory, "checkpoint")
    with open(checkpoint, "wb") as file:
        file.write(facts.get("checkpoint", b""))
    return {
        **base,
        "SWARMSH_ITEM": str(facts["id"]),
        "SWARMSH_TOKEN": facts["token"],
        "SWARMSH_TYPE": facts["type"],
        "SWARMSH_PRIORITY": facts["priority"],
        "SWARMSH_QUEUE": facts["queue"],
        "SWARMSH_ATTEMPT": str(facts["attempt"]),
        "SWARMSH_FENCE": str(facts["fence"]),
        "SWARMSH_CHECKPOINT": checkpoint,
        "SWARMSH_CHECKPOINT_OUT": os.path.join(directory, CHECKPOINT_OUT),
    }


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
