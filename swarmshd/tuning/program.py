"""What ``swarmsh-tune`` does: one function for each verb, and ``main``, which turns every end into a status."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from swarmshd import __version__
from swarmshd.tuning import applying, measuring, persisting, planning, telling
from swarmshd.tuning.arguments import USAGE, Asked, usage
from swarmshd.tuning.devices import Node
from swarmshd.tuning.host import EX_DENIED, EX_FAILED, EX_PENDING, Host, Refused
from swarmshd.tuning.planning import Plan
from swarmshd.tuning.record import Record, alone
from swarmshd.tuning.stack import Stack, below_device, below_path, nearest
from swarmshd.tuning.telling import Teller
from swarmshd.whereabouts import Nowhere, state_directory


class Run:
    """One run: what was asked, the host, and how to answer."""

    def __init__(self, asked: Asked, teller: Teller) -> None:
        self.asked = asked
        self.teller = teller
        self.host = Host(asked.given.get("--root", "/"))

    def stack(self) -> Stack:
        """What is asked about."""
        if "--device" in self.asked.given:
            return below_device(self.host, self.asked.given["--device"])
        if self.asked.path is not None:
            return below_path(self.host, self.asked.path)
        default = str(state_directory(None))
        there = nearest(default) if self.host.here else default
        stack = below_path(self.host, there)
        if there != default:
            stack.notes.append(f"{default} is not there yet; looked at {there}")
        return stack

    def plan(self, stack: Stack) -> Plan:
        """What is to be done."""
        return planning.plan(stack, self.asked.values, self.asked.profile)

    def names(self) -> set[str] | None:
        """The devices that are asked about by name or path; None for all."""
        if self.asked.path is None and "--device" not in self.asked.given:
            return None
        return {place.node.name for place in self.stack().places}

    def must_be_here(self) -> None:
        """Refuse to change a copy.

        Raises:
            Refused: it is one.
        """
        if not self.host.here:
            raise usage(
                f"{self.asked.verb} changes this host only; with --root there is show, plan, persist and unpersist"
            )

    def must_be_root(self) -> None:
        """Refuse to try what only root can.

        Raises:
            Refused: we are not.
        """
        if os.geteuid() != 0:
            raise Refused(
                f"{self.asked.verb} takes root: sudo swarmsh-tune {' '.join(self.asked.words)}", EX_DENIED, "denied"
            )


def show(run: Run) -> int:
    """``show``."""
    stack = run.stack()
    if run.teller.json:
        run.teller.facts(telling.stack_facts(run.host, stack))
    else:
        telling.show_stack(run.teller, run.host, stack)
    return 0


def plan(run: Run) -> int:
    """``plan``."""
    stack = run.stack()
    made = run.plan(stack)
    _tell_plan(run, stack, made)
    if made.refused:
        return EX_FAILED
    if not made.changes:
        _nothing(run)
        return 0
    return EX_PENDING


def _nothing(run: Run) -> None:
    if not run.teller.json:
        run.teller.say("nothing to do")


def _tell_plan(run: Run, stack: Stack, made: Plan, **more: Any) -> None:
    if run.teller.json:
        facts = telling.stack_facts(run.host, stack) | telling.plan_facts(made)
        run.teller.facts({**facts, "pending": bool(made.changes), **more})
        return
    telling.show_plan(run.teller, run.host, stack, made)
    for line in made.refused:
        run.teller.say(line)


def apply(run: Run) -> int:
    """``apply``: everything or, where something cannot be had at all, nothing."""
    run.must_be_here()
    stack = run.stack()
    made = run.plan(stack)
    if made.refused or not made.changes or "--yes" not in run.asked.flags:
        _tell_plan(run, stack, made)
        if made.refused:
            run.teller.say("nothing was changed")
            return EX_FAILED
        if not made.changes:
            _nothing(run)
            return 0
        run.teller.say("nothing was changed; with --yes it is")
        return EX_PENDING
    run.must_be_root()
    with alone():
        made = run.plan(stack)  # again, now that nobody else changes anything
        record = Record.load(run.host.boot_id)
        if made.refused:
            raise Refused(f"{made.refused[0]}; nothing was changed")
        if not run.teller.json:
            telling.show_plan(run.teller, run.host, stack, made)
        done = applying.apply(record, made)
    return _tell_done(run, done, "applied")


def verify(run: Run) -> int:
    """``verify``: what was applied; with values, these."""
    run.must_be_here()
    if run.asked.values or run.asked.profile != planning.REPORT:
        stack = run.stack()
        made = run.plan(stack)
        _tell_plan(run, stack, made)
        return EX_FAILED if made.changes or made.refused else 0
    record = Record.load(run.host.boot_id)
    done = applying.verify(run.host, record, run.names())
    if not done and not run.teller.json:
        run.teller.say("nothing was applied since the host started")
    return _tell_done(run, done, "as applied")


def revert(run: Run) -> int:
    """``revert``."""
    run.must_be_here()
    run.must_be_root()
    with alone():
        record = Record.load(run.host.boot_id)
        done = applying.revert(run.host, record, run.names(), force="--force" in run.asked.flags)
    if not done and not run.teller.json:
        run.teller.say("nothing to put back")
    return _tell_done(run, done, "put back")


def persist(run: Run) -> int:
    """``persist``: the values that are given, else those that are applied now."""
    stack = run.stack()
    made = run.plan(stack)
    if made.refused:
        _tell_plan(run, stack, made)
        return EX_FAILED
    values = made.values or _applied(run, stack)
    if not values:
        raise usage("persist: nothing is applied; say which values: --profile journal, or --scheduler and others")
    if run.host.here:
        run.must_be_root()
    return _tell_kept(run, *persisting.persist(run.host, values))


def _applied(run: Run, stack: Stack) -> dict[Node, dict[str, str]]:
    """The values of the record, by device."""
    found: dict[Node, dict[str, str]] = {}
    record = Record.load(run.host.boot_id)
    for place in stack.places:
        entries = record.of(place.node) if run.host.here else {}
        values = {name: entry.after or entry.wanted for name, entry in entries.items() if entry.wanted}
        if values:
            found[place.node] = values
    return found


def unpersist(run: Run) -> int:
    """``unpersist``."""
    if run.host.here:
        run.must_be_root()
    asked = run.asked.path is not None or "--device" in run.asked.given
    devices = run.stack().queues if asked else None
    kept, remarks = persisting.unpersist(run.host, devices)
    if not kept and not run.teller.json:
        run.teller.say("there is nothing that persist has written")
    return _tell_kept(run, kept, remarks)


def _tell_kept(run: Run, kept: list[persisting.Kept], remarks: list[str]) -> int:
    if run.teller.json:
        run.teller.facts({"ok": True, "files": [each._asdict() for each in kept], "remarks": remarks})
        return 0
    run.teller.table(("file", "said"), [[each.path, each.said] for each in kept])
    for line in remarks:
        run.teller.say(line)
    return 0


def bench(run: Run) -> int:
    """``bench``."""
    run.must_be_here()
    directory = nearest(str(state_directory(None))) if run.asked.path is None else run.asked.path
    below = below_path(run.host, directory)
    stack = run.stack() if "--device" in run.asked.given else below
    made = run.plan(stack)
    if made.refused:
        _tell_plan(run, stack, made)
        return EX_FAILED
    if made.changes and "--yes" not in run.asked.flags:
        _tell_plan(run, stack, made)
        run.teller.say(
            "nothing was measured: it takes --yes, since these change to and fro meanwhile, for all on the disk"
        )
        return EX_PENDING
    if not made.changes and made.values:
        run.teller.say("all is as wanted already; measured as it is")
    for note in below.notes:
        run.teller.say(note)
    if made.changes:
        run.must_be_root()
    place = measuring.Place(directory, run.asked.writes)
    try:
        if made.changes:
            with alone():
                found = _in_turns(run, place, made)
        else:
            found = measuring.alone(place, run.asked.rounds, run.teller.progress(run.asked.rounds))
    finally:
        place.close()
    return _tell_bench(run, directory, found)


def _in_turns(run: Run, place: measuring.Place, made: Plan) -> list[measuring.Compared]:
    record = Record.load(run.host.boot_id)
    names = {change.node.name for change in made.changes}
    if any(entry.device in names for entry in record.entries.values()):
        raise Refused(
            "something is applied there, which would be lost: swarmsh-tune revert, then bench, then apply again"
        )

    def to_wanted() -> None:
        _all_well(applying.apply(record, made))

    def to_now() -> None:
        _all_well(applying.revert(run.host, record, names))

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return measuring.compare(place, run.asked.rounds, to_wanted, to_now, run.teller.progress(run.asked.rounds))


def _all_well(done: list[applying.Done]) -> None:
    for each in done:
        if each.fault:
            status = EX_DENIED if each.denied else EX_FAILED
            raise Refused(
                f"{each.device}: {each.attribute}: {each.fault}; swarmsh-tune revert puts back what is left", status
            )


def _tell_bench(run: Run, directory: str, found: list[measuring.Compared]) -> int:
    if run.teller.json:
        rows = [each._asdict() | {"verdict": each.verdict} for each in found]
        facts = {"path": directory, "rounds": run.asked.rounds, "writes": run.asked.writes, "bytes": measuring.BLOCK}
        run.teller.facts({"ok": True, **facts, "unit": "microseconds", "percentiles": rows})
    elif found[0].ratio is None:
        run.teller.table(("percentile", "now us"), [[f"p{each.percentile}", f"{each.now:.0f}"] for each in found])
    else:
        columns = ("percentile", "now us", "wanted us", "ratio", "lowest", "highest", "said")
        table = [[f"p{each.percentile}", *_figures(each), each.verdict] for each in found]
        run.teller.table(columns, table)
    return 0


def _figures(each: measuring.Compared) -> list[str]:
    return [f"{each.now:.0f}", f"{each.wanted:.0f}", f"{each.ratio:.2f}", f"{each.lowest:.2f}", f"{each.highest:.2f}"]


def _tell_done(run: Run, done: list[applying.Done], word: str) -> int:
    """Say what became of each value, and what of all."""
    faults = [each for each in done if each.fault]
    if run.teller.json:
        rows = [each._asdict() for each in done]
        run.teller.facts({"ok": not faults, "done": rows, "faults": len(faults)})
    else:
        run.teller.table(
            ("device", "attribute", "before", "now", "said"),
            [[each.device, each.attribute, each.before, each.now, each.fault or word] for each in done],
        )
        for each in faults:
            run.teller.say(f"{each.device}: {each.attribute}: {each.fault}")
        if faults and word == "applied":
            good = len(done) - len(faults)
            more = "; swarmsh-tune revert undoes these" if good else ""
            run.teller.say(f"{good} of {len(done)} applied{more}")
    if any(each.denied for each in done):
        return EX_DENIED
    return EX_FAILED if faults else 0


_FUNCTIONS: dict[str, Callable[[Run], int]] = {
    "show": show,
    "plan": plan,
    "apply": apply,
    "verify": verify,
    "revert": revert,
    "persist": persist,
    "unpersist": unpersist,
    "bench": bench,
}


def main(words: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its status."""
    words = sys.argv[1:] if words is None else words
    telling.prepare()
    teller = Teller("swarmsh-tune", as_json="--json" in words)
    try:
        asked = Asked(words)
        if {"--help", "-h"} & asked.flags:
            sys.stdout.write(USAGE)
            return 0
        if "--version" in asked.flags:
            sys.stdout.write(f"swarmsh-tune {__version__}\n")
            return 0
        asked.verb = asked.verb or "plan"
        return _FUNCTIONS[asked.verb](Run(asked, teller))
    except Refused as refused:
        return teller.refuse(refused)
    except Nowhere as nowhere:
        return teller.refuse(Refused(f"{nowhere}, or name a path"))
    except KeyboardInterrupt:
        return 130
