"""Measure and print; see the package's text."""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.benchmark import bytes as in_journal
from tests.benchmark import durable, recovery
from tests.benchmark.agents import death, heartbeats
from tests.benchmark.clients import clients
from tests.benchmark.figure import Figure, Found, Skipped, shown
from tests.benchmark.following import following
from tests.benchmark.ground import DEFAULT_PLACE, Ground, ground, machine
from tests.benchmark.items import items
from tests.benchmark.looks import looks
from tests.benchmark.moving import moving
from tests.benchmark.peers import peers
from tests.benchmark.programs import programs

BENCHMARKS = {
    "programs": programs,
    "lone": durable.lone,
    "crowd": durable.crowd,
    "clients": clients,
    "bulk": durable.bulk,
    "following": following,
    "items": items,
    "recovery": recovery.recovery,
    "room": recovery.room,
    "looks": looks,
    "moving": moving,
    "heartbeats": heartbeats,
    "death": death,
    "journal": in_journal.journal,
    "peers": peers,
}


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description="Measure what is promised.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"only these of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--dir", type=Path, default=DEFAULT_PLACE, help="on the file system to measure (%(default)s)")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no {name}; there are {', '.join(BENCHMARKS)}")
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # above all PYTHONDONTWRITEBYTECODE, under which every start compiles everything
    with ground(options.dir) as found:
        _Report(found, as_json=options.json).run(options.names or list(BENCHMARKS))
    return 0


class _Report:
    def __init__(self, found: Ground, *, as_json: bool) -> None:
        self._ground = found
        self._json = as_json
        self._count = {"met": 0, "missed": 0}

    def run(self, names: list[str]) -> None:
        began = time.perf_counter()
        facts = machine(self._ground.directory)
        if self._json:
            self._object(facts)
        else:
            for name, value in facts.items():
                print(f"{name:12} {value}", flush=True)
        for name in names:
            self._one(name, BENCHMARKS[name](self._ground))
        took = time.perf_counter() - began
        if not self._json:
            print(f"\n{self._count['met']} met, {self._count['missed']} missed; {took:.0f} s")

    def _one(self, name: str, found: Found) -> None:
        if not self._json:
            function = BENCHMARKS[name]
            print(f"\n{name}: {(function.__doc__ or '').splitlines()[0]}", flush=True)
        for figure in found:
            if self._json:
                self._object({"benchmark": name, **asdict(figure), **_verdict(figure)})
            elif isinstance(figure, Skipped):
                print(f"  {figure.name}: skipped: {figure.why}", flush=True)
            else:
                print(f"  {_line(figure)}", flush=True)
            if isinstance(figure, Figure) and figure.verdict:
                self._count[figure.verdict] += 1

    def _object(self, facts: dict[str, object] | dict[str, str]) -> None:
        print(json.dumps({"schema": 1, **facts}, ensure_ascii=False), flush=True)


def _verdict(figure: Figure | Skipped) -> dict[str, object]:
    return {"verdict": figure.verdict} if isinstance(figure, Figure) else {}


def _line(figure: Figure) -> str:
    target = ""
    if figure.target is not None:
        sign = "≥" if figure.target.least else "≤"
        target = f"{sign} {shown(figure.target.bound, figure.unit)}"
    value = shown(figure.value, figure.unit)
    return f"{figure.name:48} {value:>12}  {target:13} {figure.verdict:7} {figure.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
