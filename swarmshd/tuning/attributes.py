"""The six values of a queue that may be changed: how they are read, bounded, and stored by the kernel.

A write that succeeds is not yet a change: the kernel rounds (``read_ahead_kb`` 33 is kept as 32), or ignores
(``rq_affinity`` 3). So each wanted value is first brought into the form that the kernel keeps, and what it would
change into something else is refused here, with the bounds. The tuple's order is the order of writing: a change of the
scheduler sets ``nr_requests`` anew.
"""

import re
from typing import NamedTuple

from swarmshd.tuning.host import EX_USAGE, Refused, shown

SCHEDULER, NR_REQUESTS, READ_AHEAD, RQ_AFFINITY, NOMERGES, WBT = TUNABLE = (
    "scheduler",
    "nr_requests",
    "read_ahead_kb",
    "rq_affinity",
    "nomerges",
    "wbt_lat_usec",
)

NEVER = {
    "write_cache": "with it the kernel stops flushing, and what was acknowledged is lost with the power",
    "rotational": "it is a fact about the disk, not a setting",
    "zoned": "it is a fact about the disk, not a setting",
    "iostats": "what watches the disk reads them",
    "add_random": "it does nothing for a journal",
    "max_sectors_kb": "it does nothing for a journal's small writes",
    "io_poll": "it needs a driver's own set-up",
    "discard_max_bytes": "it belongs to the file system's own settings",
    "fua": "it is how the disk is told to keep what it was given",
    "write_zeroes_max_bytes": "it is a fact about the disk, not a setting",
}
"""What is never written, and why."""

SCHEDULERS = ("none", "mq-deadline", "kyber", "bfq")
LEGACY = {"deadline": "mq-deadline", "noop": "none", "cfq": "bfq"}
"""Names from before Linux 5.0, which guides still have, and what is there instead."""

PAGE_KB = 4
DEPTH_MAX = 2048
"""The most that any scheduler takes as nr_requests."""

BOUNDS = {
    NR_REQUESTS: (4, DEPTH_MAX),
    READ_AHEAD: (0, 1 << 20),
    RQ_AFFINITY: (0, 2),
    NOMERGES: (0, 2),
    WBT: (-1, 60_000_000),
}
"""Least and most. The kernel takes less than 4 requests, and stores 4; it takes a nomerges of 3, and stores 1."""

WBT_DEFAULT = {"0": "2000", "1": "75000"}
"""What -1 becomes, by ``rotational``."""


class Wanted(NamedTuple):
    """A value that somebody wants, and what there is to say about it."""

    value: str
    remark: str = ""


def wanted(attribute: str, word: str) -> Wanted:
    """What is meant by ``word``.

    Raises:
        Refused: no disk could have that.
    """
    option = "--" + attribute.replace("_", "-")
    if attribute == SCHEDULER:
        name = LEGACY.get(word, word)
        if name not in SCHEDULERS:
            raise Refused(
                f"{option}: there is no scheduler {shown(word)!r}; there are {', '.join(SCHEDULERS)}", EX_USAGE, "usage"
            )
        said = f"{word} is called {name} since Linux 5.0" if word in LEGACY else ""
        return Wanted(name, said)
    least, most = BOUNDS[attribute]
    if not re.fullmatch(r"-?[0-9]{1,12}", word):
        raise Refused(f"{option}: {shown(word)!r} is no whole number; {least} to {most}", EX_USAGE, "usage")
    number = int(word)
    if not least <= number <= most:
        stored = " (the kernel would take it, and store 4)" if attribute == NR_REQUESTS and 0 <= number < least else ""
        raise Refused(f"{option}: {word} is out of bounds, {least} to {most}{stored}", EX_USAGE, "usage")
    if attribute == READ_AHEAD and number % PAGE_KB:
        kept = number - number % PAGE_KB
        return Wanted(str(kept), f"{attribute} {number} is kept as {kept}, a whole number of pages")
    return Wanted(str(number))


def active(text: str | None) -> str | None:
    """The scheduler in brackets; None where there is no choice, as with a lone ``none``."""
    found = re.search(r"\[([^\]]+)\]", text or "")
    return found[1] if found else None


def available(text: str | None) -> list[str]:
    """The schedulers that the disk may have now."""
    return re.findall(r"[\w-]+", text or "")
