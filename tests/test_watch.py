"""``watch`` with real daemons: over restarts, for slow readers, from the shell and from Python."""

import fcntl
import json
import signal
import socket
import struct
import sys
import termios
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import pytest
import trio

from swarmctl import Client, aio
from swarmctl.connection import NotFound
from tests.conftest import PATIENCE, Daemon, until
from tests.wire import Refused, framed

pytestmark = pytest.mark.real

WISH = {"type": "t", "description": "d"}


def lines(output: IO[str] | None, count: int) -> list[dict[str, Any]]:
    """The next lines of a running watch."""
    assert output is not None
    return [json.loads(output.readline()) for _ in range(count)]


def following(daemon: Daemon, count: int) -> None:
    """Wait until so many followers wait."""
    until(lambda: daemon.call("status")["following"]["followers"] == count, f"{count} follow")


def submit(daemon: Daemon, count: int, **more: Any) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        lines = [["submit", WISH | more]] * min(count - len(found), 1000)
        found += [result["id"] for _, result in daemon.call("batch", commands=lines)["replies"]]
    return found


# -- from the shell ------------------------------------------------------------------------------------


def test_a_watch_goes_on_over_a_restart_and_misses_nothing(daemon):
    watching = daemon.spawn("watch")
    following(daemon, 1)
    first = submit(daemon, 3)
    told = lines(watching.stdout, 3)
    daemon.kill()
    daemon.start()
    second = submit(daemon, 3)
    daemon.stop()
    daemon.start()
    third = submit(daemon, 3)
    while len(told) < 3 or told[-1].get("id") != third[-1]:
        told += lines(watching.stdout, 1)
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert [event["id"] for event in told if "id" in event] == first + second + third
    words = [event["event"] for event in told if "id" not in event]
    assert [word for word in words if word != "clock_shifted"] == ["started", "stopped", "started"]
    positions = [event["position"] for event in told]
    assert positions == sorted(set(positions))
    again = daemon.ctl("watch", "--since", str(positions[3]), "--timeout", "0", "--json")
    assert again.returncode == 3
    *rest, end = map(json.loads, again.stdout.splitlines())
    assert rest == told[4:]
    assert end["end"]
    assert end["position"] >= positions[-1]


def test_two_watches_with_different_filters(daemon):
    (mine,) = submit(daemon, 1, queue="a", ref="mine")
    one = daemon.spawn("watch", "mine")
    other = daemon.spawn("watch", "--queue", "b,c", "--type", "t")
    following(daemon, 2)
    (number,) = submit(daemon, 1, queue="c")
    submit(daemon, 1, queue="d")
    for agent in ("x", "y"):
        daemon.call("claim", agent=agent, queue="*")
    daemon.call("edit", id=submit(daemon, 1, queue="d")[0], queue="b")
    assert [(event["event"], event["id"], event["queue"]) for event in lines(one.stdout, 1)] == [("claimed", mine, "a")]
    told = [(event["event"], event["queue"]) for event in lines(other.stdout, 3)]
    assert told == [("submitted", "c"), ("claimed", "c"), ("edited", "b")]
    for watching in (one, other):
        watching.terminate()
        watching.communicate()
    assert number


def test_a_watch_may_begin_at_a_moment(daemon):
    first = submit(daemon, 2)
    told = [json.loads(line) for line in daemon.ctl("watch", "--since", "-1h", "--timeout", "0").stdout.splitlines()]
    assert [event.get("id") for event in told] == [None, *first]
    assert daemon.ctl("journal", "snapshot").returncode == 0
    second = submit(daemon, 1, queue="q")
    (moment,) = [event["time"] for event in told if event.get("id") == first[1]]
    since = [event["id"] for event in told if event["time"] >= moment] + second
    assert since[-2:] == [first[1], *second]
    later = daemon.ctl("watch", "--since", moment, "--timeout", "0").stdout.splitlines()
    assert [json.loads(line).get("id") for line in later] == since
    mine = daemon.ctl("watch", "--since", "-1h", "--queue", "q", "--until-change")
    assert (mine.returncode, json.loads(mine.stdout)["id"]) == (0, second[0])
    with Client("a", daemon.socket) as queue:
        events = queue.watch(since=datetime.fromisoformat(moment), timeout=0)
        assert [event.get("id") for event in events] == since
        assert queue.count(since=0) == 3
        assert [item["id"] for item in queue.list(since=datetime.now(UTC) + timedelta(hours=1))] == []
    refused = daemon.wire()
    with pytest.raises(Refused) as why:
        refused.call("watch", since=1, at=1)
    assert why.value.code == "bad_request"
    refused.close()


def test_until_change_ends_with_the_first_event(daemon):
    mine, other = submit(daemon, 2)
    watching = daemon.spawn("watch", str(mine), "--until-change", "--timeout", "30")
    following(daemon, 1)
    daemon.call("cancel", id=other)
    daemon.call("cancel", id=mine, reason="why")
    out, err = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, err) == (0, "")
    (line,) = out.splitlines()
    found = json.loads(line)
    assert (found["event"], found["id"], found["reason"]) == ("cancelled", mine, "why")
    quiet = daemon.ctl("watch", "-q", "--since", "0", "--until-change", "--type", "t")
    assert (quiet.returncode, quiet.stdout) == (0, f"{mine}\n")


BAD = [
    # words, exit status, what is said
    ("--until-change --timeout 0.05", 3, "time over; --since 2 goes on from here"),
    ("--since 4000000 --until-change", 4, "has not been reached"),
    ("99", 4, "there is no item 99"),
    ("nobody", 4, "there is no item nobody"),
    ("-5", 2, "no option"),
    ("0", 2, "not an item's id"),
    ("--since now", 2, "neither a time ago"),
    ("--since -soon", 2, "neither a time ago"),
    ("--queue a,,b", 2, "has an empty name in it"),
    ("--timeout soon", 2, "not a duration"),
    ("--until done", 2, "no option"),
]


def test_bad_words_and_gone_positions_are_one_line(daemon):
    submit(daemon, 1)
    for words, status, said in BAD:
        done = daemon.ctl("watch", *words.split())
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("swarmctl: watch")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_what_the_ring_has_lost_is_read_from_the_journal(make_daemon):
    daemon = make_daemon("WATCH_RING=64K").start()
    ids = submit(daemon, 5000)
    done = daemon.ctl("watch", "--since", "1", "--timeout", "0", "--json")
    *events, end = map(json.loads, done.stdout.splitlines())
    assert [event["id"] for event in events] == ids
    assert (done.returncode, end["position"]) == (3, events[-1]["position"])


def test_ten_thousand_events_through_a_pipe_that_is_read_slowly(daemon):
    watching = daemon.spawn("watch", "--type", "t")
    following(daemon, 1)
    ids = submit(daemon, 10_000)
    until(lambda: _unread(watching.stdout) >= PIPE - 1000, "its pipe is full")
    submit(daemon, 1, type="other")
    assert daemon.call("count")["count"] == 10_001, "nobody else waits for it"
    assert [event["id"] for event in lines(watching.stdout, 10_000)] == ids
    watching.terminate()
    watching.communicate()


PIPE = 1 << 16


def _unread(output: IO[str] | None) -> int:
    """Bytes that wait in a pipe."""
    assert output is not None
    return int.from_bytes(fcntl.ioctl(output, termios.FIONREAD, bytes(4)), sys.byteorder)


# -- on the wire ---------------------------------------------------------------------------------------


def test_a_peer_that_takes_no_answer_holds_nobody_up(daemon):
    """It asks for everything many times over, and reads nothing: its requests wait, and nobody else's do."""
    submit(daemon, 2000)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as greedy:
        greedy.connect(daemon.socket)
        greedy.setblocking(False)
        for number in range(200):
            greedy.send(framed([number, "watch", {"since": 0, "limit": 1000}]))
        with daemon.wire() as wire:
            asked = wire.call("watch")["position"]
            (number,) = submit(daemon, 1)
            assert wire.call("watch", since=asked, timeout=30_000)["events"][0]["id"] == number
        greedy.setblocking(True)
        greedy.settimeout(PATIENCE)
        taken = 0
        for _ in range(200):
            (length,) = struct.unpack(">I", _exactly(greedy, 4))
            taken += len(_exactly(greedy, length))
        assert taken > 200 * 1000 * 50


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += peer.recv(size - len(data))
    return data


def test_a_watch_is_forgotten_with_its_connection(daemon):
    with daemon.wire() as wire:
        wire.send("watch", timeout=600_000)
        wire.send("watch", queue=["q"], timeout=600_000)
        following(daemon, 2)
        assert daemon.call("status")["waiters"] == 2
    following(daemon, 0)
    submit(daemon, 1)


def test_the_capability_is_told(daemon):
    assert "watch" in daemon.call("hello", version=1)["capabilities"]


# -- from Python ---------------------------------------------------------------------------------------


def test_an_iterator_over_events_goes_on_over_a_restart(daemon):
    with Client("a", daemon.socket, watch=False) as queue:
        events = queue.watch(type="t", queue=["q", "r"])
        begun = events.position
        first = queue.submit("t", "d", queue="q")
        queue.submit("t", "d", queue="elsewhere")
        assert next(events)["id"] == first
        assert events.position > begun
        daemon.restart()
        second = queue.submit("t", "d", queue="r", ref="mine")
        event = next(events)
        assert (event["event"], event["id"], event["queue"]) == ("submitted", second, "r")
        assert events.position == event["position"]
        again = queue.watch("mine", since=begun, timeout=0)
        assert [event["id"] for event in again] == [second]
        assert again.position >= event["position"]
        claimed = queue.claim(id=second)
        claimed.complete("done")
        since = again.position
        (only,) = queue.watch("mine", since=since, until_change=True)
        assert only["event"] == "claimed"
        assert [each["event"] for each in queue.watch(second, since=since, timeout=0)] == ["claimed", "completed"]
        assert list(queue.watch(group="nothing", timeout=0)) == []
        with pytest.raises(NotFound) as gone:
            next(queue.watch(since=1 << 50))
        assert gone.value.code == "position_gone"
        with pytest.raises(NotFound):
            queue.watch("nobody")
        with pytest.raises(ValueError, match="a duration"):
            queue.watch(timeout=-1)


async def test_the_same_for_trio(daemon):
    async with aio.Client("a", daemon.socket, watch=False) as queue:
        events = await queue.watch(type="t", timeout=PATIENCE)
        begun = events.position
        number = await queue.submit("t", "d", queue="q")
        with trio.fail_after(PATIENCE):
            event = await anext(events)
            assert (event["event"], event["id"], event["queue"]) == ("submitted", number, "q")
            assert events.position == event["position"] > begun
            daemon.restart()
            (claimed,) = [await queue.claim(queue="*")]
            assert [each["event"] async for each in queue.watch(number, since=begun, until_change=True)] == [
                "submitted"
            ]
            assert (await anext(events))["event"] == "claimed"
            await claimed.complete()
        assert [each["event"] async for each in queue.watch(number, since=events.position, timeout=0)] == ["completed"]
        with trio.move_on_after(0.01) as left:
            async for _ in queue.watch(group="nothing"):
                raise AssertionError("there is nothing")
        assert left.cancelled_caught
        following(daemon, 0)
