"""The words of a command line of ``swarmsh-tune``."""

import os
from collections.abc import Sequence

from swarmshd.tuning.attributes import NEVER, TUNABLE, wanted
from swarmshd.tuning.host import EX_USAGE, Refused, shown
from swarmshd.tuning.measuring import ROUNDS, ROUNDS_MAX, WRITES, WRITES_MAX
from swarmshd.tuning.planning import PROFILES, REPORT

VERBS = ("show", "plan", "apply", "verify", "revert", "persist", "unpersist", "bench")

USAGE = """\
Usage: swarmsh-tune [VERB] [PATH | --device DEV] [OPTION…]

  show      the devices below PATH: class, values, what else lives on them
  plan      what would be changed (the default); status 2 if anything would
  apply     change it; takes root and --yes
  verify    whether what was applied is still so; status 1 if not
  revert    put back what was there, where nobody else has changed it since
  persist   a udev rule for the next starts of the host; unpersist removes it
  bench     how long a write with its sync takes on PATH, as things are and as
            they would be; takes root and --yes to change anything

PATH is the state directory unless given. --device names a disk instead.

  --profile P            report: only say where the kernel's choice is wrong
                         journal: values for many small writes with a sync
  --scheduler S          none, mq-deadline, kyber or bfq
  --nr-requests N        requests that may queue (4 to 2048)
  --read-ahead-kb N      how far is read ahead, by the file system or device
  --rq-affinity N        where a request completes: 0, 1 or 2
  --nomerges N           0: requests are merged; 1, 2: less, not at all
  --wbt-lat-usec N       write-back throttling: 0 off, -1 the kernel's own
  --yes                  with apply and bench: do it
  --force                with revert: put back what somebody else changed too
  --rounds N  --writes N with bench: so many pairs, and so many writes in each
  --root DIR             look at a copy of a host's /sys and /proc
  --json  --version  --help

Status: 0 done, 1 failed or not as applied, 2 changes pending, 4 not there,
64 wrong command line, 75 another one is at work, 77 denied, 78 damaged record.
"""

VALUE_OPTIONS = {"--" + attribute.replace("_", "-"): attribute for attribute in TUNABLE}
NUMBER_OPTIONS = {"--rounds": (ROUNDS, ROUNDS_MAX), "--writes": (WRITES, WRITES_MAX)}
"""Default and most."""
WORD_OPTIONS = {"--device", "--profile", "--root", *NUMBER_OPTIONS, *VALUE_OPTIONS}
FLAGS = {"--yes", "--force", "--json", "--help", "-h", "--version"}


class Asked:
    """What a command line says."""

    def __init__(self, words: Sequence[str]) -> None:
        self.verb = ""
        self.given: dict[str, str] = {}
        self.flags: set[str] = set()
        self.words = list(words)
        self.path = self._read()
        self.values = {
            name: wanted(name, self.given[flag]) for flag, name in VALUE_OPTIONS.items() if flag in self.given
        }
        self.profile = self.given.get("--profile", REPORT)
        if self.profile not in PROFILES:
            raise usage(f"--profile: there is no profile {shown(self.profile)!r}; there are {', '.join(PROFILES)}")
        self.rounds, self.writes = (self._number(flag) for flag in NUMBER_OPTIONS)
        if self.path is not None and "--device" in self.given and self.verb != "bench":
            raise usage("it takes a PATH or --device, not both")

    def _number(self, flag: str) -> int:
        word = self.given.get(flag)
        default, most = NUMBER_OPTIONS[flag]
        if word is None:
            return default
        if not word.isascii() or not word.isdigit() or not 1 <= int(word[:9]) <= most:
            raise usage(f"{flag}: {shown(word)!r} is no number from 1 to {most}")
        return int(word)

    def _read(self) -> str | None:
        """Take flags and options in; the PATH."""
        waiting = list(self.words)
        positionals = []
        while waiting:
            word = waiting.pop(0)
            if word == "--":
                positionals += waiting
                break
            if not word.startswith("-") or word == "-":
                positionals.append(word)
                continue
            flag, equals, attached = word.partition("=")
            if flag in FLAGS and not equals:
                self.flags.add(flag)
            elif flag in WORD_OPTIONS:
                if not equals and not waiting:
                    raise usage(f"{flag} wants a value")
                self.given[flag] = attached if equals else waiting.pop(0)
            else:
                raise unknown(flag)
        if positionals and positionals[0] in VERBS:
            self.verb = positionals.pop(0)
        elif positionals and "/" not in positionals[0] and not os.path.exists(positionals[0]):
            raise usage(f"there is no verb {shown(positionals[0])!r}; there are {', '.join(VERBS)}")
        if len(positionals) > 1:
            raise usage(f"too many words, from {shown(positionals[1])!r} on; it takes one PATH")
        return positionals[0] if positionals else None


def usage(message: str) -> Refused:
    """A command line that is wrong."""
    return Refused(f"{message} (swarmsh-tune --help)", EX_USAGE, "usage")


def unknown(flag: str) -> Refused:
    """An option that is not there, or never will be."""
    name = flag.lstrip("-").replace("-", "_")
    if name in NEVER:
        return usage(f"{flag}: {name} is never changed: {NEVER[name]}")
    return usage(f"there is no option {shown(flag)}")
