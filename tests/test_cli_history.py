"""``history`` with a real daemon, from the shell and from Python."""

import json
import re

import pytest

from swarmctl import Client, aio
from swarmctl.connection import NotFound
from tests.conftest import Daemon
from tests.test_watch import submit

pytestmark = pytest.mark.real

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def lived(daemon: Daemon) -> int:
    """An item with a past."""
    number: int = daemon.call("submit", type="t", description="Do it\tnow", payload=b"xyz", group="g")["id"]
    daemon.call("claim", agent="a1")
    daemon.call("fail", id=number, agent="a1", reason="no luck", retry_after=0)
    held = daemon.call("claim", agent="a2", lease=90_000)["items"][0]
    daemon.call("progress", id=number, agent="a2", percent=50, message="half", checkpoint=b"12345")
    daemon.call("complete", id=number, token=held["token"], exit_status=0, output=b"printed")
    return number


def fields(line: str) -> list[str]:
    when, *rest = line.split("\t")
    assert re.fullmatch(TIME, when)
    return [re.sub(r"expires_at=\S+ ?", "", field) for field in rest]


def test_a_line_an_event_with_who_and_what(daemon):
    number = lived(daemon)
    done = daemon.ctl("history", str(number))
    assert (done.returncode, done.stderr) == (0, "")
    assert [fields(line) for line in done.stdout.splitlines()] == [
        ["1", "submitted", "uid 0", "queue=default state=ready priority=medium payload_size=3 Do it\\tnow"],
        ["1", "claimed", "a1", "state=claimed fence=1 lease=5m"],
        ["1", "returned", "a1", "state=ready cause=failed no luck"],
        ["1", "claimed", "a2", "state=claimed fence=2 lease=1m30s"],
        ["1", "progressed", "a2", "percent=50 checkpoint_size=5 half"],
        ["1", "completed", "a2", "state=done exit_status=0 output_size=7"],
    ]


def test_json_has_the_events_and_tells_how_far_back_it_goes(daemon):
    number = lived(daemon)
    (other,) = submit(daemon, 1, ref="other")
    done = daemon.ctl("history", "--json", str(number), "other")
    *events, end = map(json.loads, done.stdout.splitlines())
    assert [event["id"] for event in events] == [number] * 6 + [other]
    assert end == {"schema": 1, "ok": True, "end": True, "oldest": 0, "missing": []}
    watched = daemon.ctl("watch", "--since", "0", "--timeout", "0", str(number), "other")
    assert [json.loads(line) for line in watched.stdout.splitlines()] == events
    assert not [line for line in done.stdout.splitlines() if "token" in line or "xyz" in line or "printed" in line]
    quiet = daemon.ctl("history", "-q", "-", input=f"{number}\n{other}\n")
    assert quiet.stdout.splitlines() == [str(event["position"]) for event in events]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("99",), 4, "swarmctl: history 99: there is no item 99\n"),
        (("nobody",), 4, "swarmctl: history nobody: there is no item nobody\n"),
        ((), 2, "swarmctl: history: too few words: swarmctl history ID…\n"),
        (("0",), 2, "swarmctl: history: ID: '0' is not an item's id (a number from 1, or a ref)\n"),
    ],
)
def test_what_there_is_no_history_of(daemon, words, status, said):
    done = daemon.ctl("history", *words)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_a_part_of_a_history(daemon):
    daemon.call("submit", type="t", description="d")
    daemon.call("cancel", id=1)
    first, last = (json.loads(line)["time"] for line in daemon.ctl("history", "1", "--json").stdout.splitlines()[:2])
    for words, events in (
        (("--since", "-1h"), ["submitted", "cancelled"]),
        (("--until", "-1h"), []),
        (("--since", last), ["cancelled"]),
        (("--until", last), ["submitted"]),
        (("--since", first, "--until", last), ["submitted"]),
    ):
        done = daemon.ctl("history", "1", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split("\t")[2] for line in done.stdout.splitlines()] == events, words


def test_nobody_waits_for_a_history(daemon):
    """While one that has much to read is under way, others are served."""
    ids = submit(daemon, 20_000)
    with daemon.wire() as reader, daemon.wire() as other:
        reader.send("history", ids=ids[:1000:10], limit=10_000)
        for _ in range(20):
            number = other.call("submit", type="t", description="d")["id"]
            assert other.call("show", id=number)["state"] == "ready"
        _, code, result = reader.receive()
        assert code == 0
        assert result["events"] or result["more"]


def test_from_python(daemon):
    number = lived(daemon)
    with Client("a", daemon.socket, watch=False) as queue:
        found = list(queue.history(number))
        assert [event["event"] for event in found][:2] == ["submitted", "claimed"]
        assert found[-1]["output_size"] == 7
        with pytest.raises(NotFound):
            next(queue.history(99))


async def test_from_trio(daemon):
    number = lived(daemon)
    async with aio.Client("a", daemon.socket, watch=False) as queue:
        found = [event async for event in queue.history(number)]
        assert [event["id"] for event in found] == [number] * 6
