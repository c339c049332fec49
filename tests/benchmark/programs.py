"""swarmctl as whole processes, beside a bare interpreter: what a shell script pays for each call."""

import os
import sys
import tempfile
from pathlib import Path

from tests.benchmark.figure import Figure, Found, Skipped, Target, at_most, median
from tests.benchmark.ground import Ground, run
from tests.benchmark.load import Client, submit

ROUNDS = 30
WARM = 3


def programs(ground: Ground) -> Found:
    """swarmctl as a whole process, beside `python3 -c pass` of the same interpreter."""
    swarmctl = Path(sys.executable).parent / "swarmctl"
    if not swarmctl.exists():
        yield Skipped("swarmctl", f"{swarmctl} is not installed; make benchmark installs it")
        return
    with ground.daemon() as daemon, tempfile.TemporaryFile() as output:
        client = Client(daemon.socket)
        client.call("batch", commands=[["submit", submit()]] * (ROUNDS + WARM))
        client.close()
        environ = {name: value for name, value in daemon.environment().items() if name != "PYTHONPATH"}
        environ["SWARMSH_AGENT"] = "builder-7"
        took = _rounds(str(swarmctl), environ, output.fileno())
    bare = median(took.pop("pass"))
    yield Figure("python3 -c pass", bare * 1e3, "ms", note=f"median of {ROUNDS}, whole process")
    for verb, seconds in took.items():
        found = median(seconds)
        target: Target | None = at_most(2.5) if verb == "claim" else None
        yield Figure(
            f"swarmctl {verb}", found * 1e3, "ms", note="whole process, durable" if verb != "--version" else ""
        )
        yield Figure(f"swarmctl {verb} / python3 -c pass", found / bare, "x", target, "aim: 2" if target else "")


def _rounds(swarmctl: str, environ: dict[str, str], output: int) -> dict[str, list[float]]:
    """Seconds of each program, measured in turns so that all meet the same machine."""
    took: dict[str, list[float]] = {"pass": [], "claim": [], "complete": [], "submit": [], "--version": []}
    for number in range(ROUNDS + WARM):
        one = {"pass": run([sys.executable, "-c", "pass"], environ, output)}
        at = os.lseek(output, 0, os.SEEK_END)
        one["claim"] = run([swarmctl, "claim"], environ, output)
        item = os.pread(output, 1 << 16, at).split(b"\t")[0].decode()
        one["complete"] = run([swarmctl, "complete", item], environ, output)
        one["submit"] = run([swarmctl, "submit", "build", "compile the module and run its tests"], environ, output)
        one["--version"] = run([swarmctl, "--version"], environ, output)
        if number >= WARM:
            for name, seconds in one.items():
                took[name].append(seconds)
    return took
