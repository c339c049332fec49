"""Laws 2, 3 and 6 through processes: what was acknowledged survives SIGKILL of the daemon, and replies do not lie.

Client processes write down, each in a file of its own, what they were told and only then go on. The daemon is
killed again and again under their load. In the end its state is held against everything that anybody was told.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmshd.journal.files import listing
from tests.conftest import PATIENCE, ROOT, Daemon

pytestmark = pytest.mark.real

ROUNDS = 20
LOADERS = 4

LOADER = r"""
import json, os, random, sys, time
sys.path.insert(0, sys.argv[1])
from tests.wire import Wire, Refused

path, told, name, seed = sys.argv[2:6]
chance = random.Random(seed)
out = open(told, "a", buffering=1)
stop = told + ".stop"

def tell(*what):
    out.write(json.dumps(what) + "\n")

def connected():
    while not os.path.exists(stop):
        try:
            return Wire(path)
        except OSError:
            time.sleep(0.01)
    sys.exit()

parent = os.getppid()
serial = 0
held = []
pending = None       # a keyed change whose reply has not come: it is sent again until it is answered
wire = connected()
while not os.path.exists(stop) and os.getppid() == parent:
    time.sleep(0.004)
    try:
        if pending is None:
            serial += 1
            key = f"{name}.{serial}"
            draw = chance.random()
            if draw < 0.35:
                pending = ("submit", {"type": "t", "description": key, "unique": key, "key": key})
            elif draw < 0.5:
                lines = [["submit", {"type": "t", "description": f"{key}.{n}"}] for n in range(5)]
                pending = ("batch", {"commands": lines, "atomic": True, "key": key})
            elif draw < 0.75 and len(held) < 20:
                pending = ("claim", {"agent": name, "key": key, "count": 1 + serial % 3})
            elif draw < 0.95 and held:
                item, token = held.pop(chance.randrange(len(held)))
                verb = chance.choice(["complete", "complete", "release", "fail"])
                more = {"no_retry": True} if verb == "fail" else {}
                pending = (verb, {"id": item, "token": token, "key": key, **more})
            else:
                item = chance.randrange(1, 200)
                try:
                    seen = wire.call("show", id=item)
                    tell("seen", item, seen["state"], seen["attempt"])
                except Refused:
                    pass
                continue
        verb, arguments = pending
        try:
            result = wire.call(verb, **arguments)
        except Refused as refused:
            if refused.code == "draining":
                raise EOFError
            tell("refused", verb, refused.code, arguments.get("id"))
            pending = None
            continue
        if verb == "submit":
            tell("submitted", result["id"], arguments["description"])
        elif verb == "batch":
            for (_, reply), line in zip(result["replies"], arguments["commands"]):
                tell("submitted", reply["id"], line[1]["description"])
        elif verb == "claim":
            for each in result["items"]:
                held.append((each["id"], each["token"]))
                tell("claimed", each["id"], each["fence"])
        else:
            tell(verb, result["id"], result["state"])
        pending = None
    except (EOFError, OSError):
        wire.close()
        wire = connected()
"""


def load(daemon: Daemon, place: Path, number: int) -> "subprocess.Popen[bytes]":
    with (place / f"errors{number}").open("wb") as errors:
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                LOADER,
                str(ROOT),
                daemon.socket,
                str(place / f"told{number}"),
                f"n{number}",
                str(number),
            ],
            stderr=errors,
        )


@pytest.fixture
def loaders(daemon: Daemon) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Clients at work; whatever happens, they end with the test."""
    running = [load(daemon, daemon.directory, number) for number in range(LOADERS)]
    yield running
    for loader in running:
        if loader.poll() is None:
            loader.kill()
            loader.wait()


def everything(daemon: Daemon) -> dict[int, dict[str, Any]]:
    """All items, by id."""
    found: dict[int, dict[str, Any]] = {}
    more, after = True, 0
    while more:
        page = daemon.call("list", all=True, limit=1000, after_id=after)
        for item in page["items"]:
            assert item["id"] not in found
            found[item["id"]] = item
        more, after = page["more"], page["after_id"]
    return found


def check(told: list[Any], items: dict[int, dict[str, Any]]) -> None:
    """Hold the state against what anybody was told."""
    descriptions = [item["description"] for item in items.values()]
    assert len(descriptions) == len(set(descriptions)), "something was submitted twice"
    ended: dict[int, str] = {}
    attempts: dict[int, int] = {}
    for verb, *facts in told:
        if verb == "submitted":
            assert items[facts[0]]["description"] == facts[1]
        elif verb == "claimed":
            attempts[facts[0]] = attempts.get(facts[0], 0) + 1
        elif verb == "complete":
            assert facts[0] not in ended, "two were told that they completed it"
            ended[facts[0]] = "done"
        elif verb == "fail":
            assert facts[0] not in ended
            ended[facts[0]] = "buried"
        elif verb == "seen":
            number, state, claims = facts
            assert items[number]["attempt"] >= claims
            if state in ("done", "buried"):
                assert items[number]["state"] == state
    for number, state in ended.items():
        assert items[number]["state"] == state, number
    for number, count in attempts.items():
        assert items[number]["attempt"] >= count
        # each claim that somebody was told of has a fence of its own
    fences = [fact[1] for verb, *fact in told if verb == "claimed"]
    assert len(fences) == len(set(fences))


def test_twenty_rounds_of_sigkill_under_load(daemon, loaders):
    place = daemon.directory
    chance = random.Random(1)
    highest_id = highest_fence = 0
    read = 0
    for _ in range(ROUNDS):
        time.sleep(0.1 + chance.random() * 0.3)
        daemon.kill()
        told = sayings(place)
        daemon.start()
        # Nobody was told anything between kill and start, so all of `told` must be there right now.
        check(told, everything(daemon))
        ids = [fact[0] for verb, *fact in told[read:] if verb == "submitted"]
        fences = [fact[1] for verb, *fact in told if verb == "claimed"]
        number = daemon.call("submit", type="probe", description=f"probe {highest_id}", queue="probe")["id"]
        assert number > max([highest_id, *(fact[0] for verb, *fact in told if verb == "submitted")], default=0)
        (item,) = daemon.call("claim", agent="probe", queue=["probe"])["items"]
        assert item["fence"] > max([highest_fence, *fences])
        highest_id, highest_fence = number, item["fence"]
        assert ids or not read
    for number in range(LOADERS):
        (place / f"told{number}.stop").touch()
    for number, loader in enumerate(loaders):
        assert loader.wait(PATIENCE) == 0, (place / f"errors{number}").read_text()
    told = sayings(place)
    assert len(told) > 500
    assert not [fact for fact in told if fact[0] == "refused" and fact[2] not in ("empty", "capacity")]
    check(told, everything(daemon))
    assert daemon.stop() == 0
    daemon.start()
    check(told, everything(daemon))


def sayings(place: Path) -> list[Any]:
    """Whatever the loaders were told so far, last lines that are being written left out."""
    found = []
    for number in range(LOADERS):
        file = place / f"told{number}"
        if file.exists():
            text = file.read_text()
            found += [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return found


def newest(daemon: Daemon) -> Path:
    """The segment that was written last."""
    return listing(daemon.state).segments[-1][1]


def data_end(content: bytes) -> int:
    """Where the zeroes that were made ahead begin."""
    return len(content.rstrip(b"\0"))


def test_a_torn_tail_is_cut_with_evidence(daemon):
    numbers = [daemon.call("submit", type="t", description=f"{n} " + "x" * 500)["id"] for n in range(20)]
    daemon.kill()
    file = newest(daemon)
    content = file.read_bytes()
    end = data_end(content)
    with file.open("r+b") as writable:
        writable.seek(end - 200)
        writable.write(b"\0" * 200)
    daemon.start()
    log = daemon.log.read_text()
    assert "cut a torn tail" in log
    (copy,) = re.findall(r"kept as (\S+)", log)
    assert Path(copy).exists()
    items = everything(daemon)
    assert set(numbers[:-1]) <= set(items)  # the last batch alone cannot be told from one that was never acknowledged
    after = daemon.call("submit", type="t", description="after")["id"]
    assert after > max(numbers)
    daemon.restart()
    assert after in everything(daemon)


def test_damage_before_the_end_stops_the_start(daemon):
    for n in range(30):
        daemon.call("submit", type="t", description=f"{n} " + "x" * 500)
    daemon.kill()
    file = newest(daemon)
    content = bytearray(file.read_bytes())
    at = data_end(bytes(content)) // 2
    content[at] ^= 0x40
    file.write_bytes(content)
    before = {path: path.read_bytes() for path in daemon.state.rglob("*") if path.is_file() and path.name != "lock"}
    done = subprocess.run(
        daemon.command(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=daemon.environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 78
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("swarmshd: journal damaged: ")
    assert str(file) in line
    assert re.search(r"offset \d+", line)
    assert "swarmctl journal repair" in line
    assert {p: p.read_bytes() for p in daemon.state.rglob("*") if p.is_file() and p.name != "lock"} == before
    assert not os.path.exists(daemon.socket)
    content[at] ^= 0x40
    file.write_bytes(content)
    daemon.start()
    assert daemon.call("count") == {"count": 30}
