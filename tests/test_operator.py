"""What operators do to a real daemon: it asks before it clears, and what they asked for outlives a restart."""

import os
import re
import signal
import sys
from typing import Any

import pytest

from tests.conftest import Daemon
from tests.test_live import Watched

pytestmark = pytest.mark.real


def on_terminal(daemon: Daemon, *words: str) -> Watched:
    return Watched(daemon, [sys.executable, "-m", "swarmctl", *words])


def submit(daemon: Daemon, count: int, **more: Any) -> None:
    line = ["submit", {"type": "t", "description": "d", "queue": "q", **more}]
    for _ in range(0, count, 1000):
        daemon.call("batch", commands=[line] * min(count, 1000))


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 3), ("\n", 3)])
def test_on_a_terminal_clear_asks(daemon: Daemon, answer: str, left: int) -> None:
    submit(daemon, 3)
    asked = on_terminal(daemon, "clear", "q")
    try:
        asked.until(lambda written: "3 items of q would be cancelled (3 ready). Cancel them? [y/N]" in written)
        assert daemon.call("count")["count"] == 3
        asked.type(answer)
        assert asked.ended() == (2 if left else 0)
    finally:
        asked.close()
    assert daemon.call("count")["count"] == left
    assert ("nothing was cancelled" in asked.written) == bool(left)


def test_a_clear_that_is_interrupted_says_how_far_it_came_and_the_same_again_does_the_rest(make_daemon: Any) -> None:
    daemon = make_daemon("BATCH_SIZE=1000").start()
    submit(daemon, 10_000)
    clear = on_terminal(daemon, "clear", "q", "--yes")
    try:
        clear.until(lambda written: " items" in written)
        os.kill(clear.process.pid, signal.SIGINT)
        status = clear.ended()
    finally:
        clear.close()
    left = daemon.call("count")["count"]
    if status == 130:  # else it was faster
        (said,) = re.findall(r"cancelled at least (\d+) of 10000 items; the same again does the rest", clear.written)
        assert 10_000 - left - 1000 <= int(said) <= 10_000 - left
    assert daemon.ctl("clear", "q", "--yes").stdout == f"q\t{left}\n"
    assert daemon.call("count", all=True, by="state")["by"] == {"cancelled": 10_000}


def test_on_a_terminal_a_bar_shows_how_far_the_indexes_are(daemon: Daemon) -> None:
    submit(daemon, 1000)
    rebuild = on_terminal(daemon, "index", "rebuild")
    try:
        assert rebuild.ended() == 0
    finally:
        rebuild.close()
    assert "\r[" in rebuild.written
    assert re.search(r"1000 items in [0-9.]+ s: nothing differed\r\n$", rebuild.written)


def test_a_tree_of_what_hangs_together(daemon: Daemon) -> None:
    for text, after in (("first", []), ("second", [1]), ("third", [1, 2]), ("last", [3])):
        daemon.call("submit", type="t", description=text, after=after)
    shown = on_terminal(daemon, "deps", "3")
    try:
        assert shown.ended() == 0
    finally:
        shown.close()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.written).splitlines()
    assert lines == [
        "3  blocked  t  third",
        "",
        "waits for",
        "├─ 1  ready  t  first",
        "└─ 2  blocked  t  second",
        "   └─ 1  ready  t  first",
        "",
        "needed by",
        "└─ 4  blocked  t  last",
    ]


def test_a_terminal_is_told_that_there_is_nothing(daemon: Daemon) -> None:
    for words, says in (
        (("list",), "no open items"),
        (("list", "--all"), "no items"),
        (("list", "--queue", "q"), "no such items"),
        (("held", "--agent", "a7"), "a7 holds nothing"),
        (("locks",), "no lock is held"),
        (("agents",), "no agent is known yet"),
        (("queues",), "no queue is known yet"),
    ):
        shown = on_terminal(daemon, *words)
        try:
            assert shown.ended() == 0
        finally:
            shown.close()
        assert shown.written == f"{says}\r\n", words
        piped = daemon.ctl(*words)
        assert (piped.returncode, piped.stdout, piped.stderr) == (0, "", "")


def test_a_pause_for_a_time_outlives_the_daemon_and_ends_when_it_was_to(daemon: Daemon) -> None:
    submit(daemon, 1)
    until = daemon.call("pause", queue="q", lasts=3_600_000)["paused_until"]
    whole = daemon.call("pause", all=True, lasts=500)["paused_until"]
    daemon.restart()
    (queue,) = daemon.call("queues", queue="q")["queues"]
    assert queue["paused_until"] == until
    daemon.call("pause", queue="q", lasts=500)
    (item,) = daemon.call("claim", agent="a", queue=["q"], wait=20_000)["items"]
    assert daemon.call("show", id=item["id"])["claimed_at"] >= whole
    assert "paused_until" not in daemon.call("status")
