"""How many frames a bulk verb has under way: its own environment says it, else the daemon's setting PARALLEL_JOBS.

The daemon decides one frame while the next is read and made, so one at a time leaves both waiting for each other; many
more than a few cost memory and bring nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from swarmctl.cli import Call

NAME = "PARALLEL_JOBS"

USUAL = 8
"""Where neither says anything."""

MOST = 64


def frames_under_way(call: Call) -> int:
    """The number, at least 1."""
    from swarmctl.connection import Refused

    word = call.environ.get(f"SWARMSH_{NAME}") or call.environ.get(NAME) or ""
    if not (word.isascii() and word.isdigit()):
        try:
            word = str(call.ask("config", {"names": [NAME]})["settings"][0]["value"])
        except Refused as refused:
            if refused.code not in ("not_found", "unknown_verb", "denied"):
                raise
            word = str(USUAL)
    return max(1, min(int(word[:6]), MOST))
