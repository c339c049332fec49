"""The verb ``tune disk``: ``swarmsh-tune`` under this program's name.

That one is a program of its own, which may change the host and knows nothing of the daemon; this process becomes it.
What it prints and its exit statuses are its own.
"""

from __future__ import annotations

import os
import sys

WHAT = ("show", "plan", "apply", "verify", "revert", "persist", "unpersist", "bench")
"""The verbs of that program; the shells offer them."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from swarmctl.cli import Call


def disk(call: Call) -> int:
    """Become ``swarmsh-tune`` with the same words; this does not return."""
    assert call.line.verb is not None
    given = [option for option in call.line.verb.options if option.field in call.given]
    flags = [option.flags[0] for option in given if option.kind == "flag"]
    values = [f"{option.flags[0]}={call.given[option.field]}" for option in given if option.kind != "flag"]
    words = [*call.words, *flags, *values]
    if call.json:
        words.append("--json")
    # -P: what lies in the directory that root happens to be in is no part of the program
    command = [sys.executable, "-P", "-m", "swarmshd.tuning", *words]
    os.execv(sys.executable, command)  # noqa: S606 - this program's own other half
