"""Law 5, work comes back: real processes that hold work, killed; across restarts of the daemon as well.

The processes' descriptors go over the socket as a client passes them. How soon the work was back is reported
with ``-rP`` and not asserted beyond a generous bound.
"""

import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from swarmshd.liveness import Watches
from tests.conftest import PATIENCE, ROOT, Daemon
from tests.wire import Wire

pytestmark = pytest.mark.real


class Holder:
    """A process that holds work, and its descriptor."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "1000"])
        self.pid = self.process.pid
        self.descriptor = os.pidfd_open(self.pid)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        os.close(self.descriptor)


@pytest.fixture
def holders():
    made: list[Holder] = []

    def make() -> Holder:
        made.append(Holder())
        return made[-1]

    yield make
    for holder in made:
        holder.close()


def submit(wire: Wire, count: int = 1, **more: Any) -> list[int]:
    return [wire.call("submit", type="t", description="d", **more)["id"] for _ in range(count)]


def back(wire: Wire, number: int) -> float:
    """Wait until the item is not claimed any more; how long that took, in ms."""
    began = time.monotonic()
    while wire.call("show", id=number)["state"] == "claimed":
        assert time.monotonic() - began < PATIENCE
    return (time.monotonic() - began) * 1000


def test_a_registered_agent_s_death_frees_all_that_it_holds(daemon, holders):
    holder = holders()
    with daemon.wire() as wire:
        assert wire.call("register", [holder.descriptor], agent="a", watch=True)["watching"] == holder.pid
        ids = submit(wire, 20)
        assert len(wire.call("claim", agent="a", count=20)["items"]) == 20
        holder.kill()
        took = back(wire, ids[-1])
        print(f"20 items were back after {took:.1f} ms")
        for number in ids:
            item = wire.call("show", id=number)
            assert (item["state"], item["crashes"], item["failures"]) == ("ready", 1, 0)
            assert str(holder.pid) in item["reason"]
        assert "watching" not in wire.call("agents", agent="a")["agents"][0]
        assert wire.call("claim", agent="b")["items"][0]["id"] == ids[0]


@pytest.mark.parametrize("way", ["claim", "hold", "claim_new"])
def test_a_watched_claim_ends_with_its_process_and_no_other(daemon, holders, way):
    holder = holders()
    with daemon.wire() as wire:
        plain, watched = submit(wire, 2)
        if way == "claim_new":
            wire.call("cancel", id=watched)
        wire.call("claim", agent="a", id=plain)
        if way == "claim":
            wire.call("claim", [holder.descriptor], agent="a", id=watched, watch=True)
        elif way == "hold":
            (item,) = wire.call("claim", agent="a", id=watched)["items"]
            reply = wire.call("hold", [holder.descriptor], id=watched, token=item["token"], watch=True)
            assert reply["watching"] == holder.pid
        else:
            (item,) = wire.call("claim_new", [holder.descriptor], agent="a", type="t", description="d", watch=True)[
                "items"
            ]
            watched = item["id"]
        assert wire.call("show", id=watched)["watching"] == holder.pid
        holder.kill()
        print(f"back after {back(wire, watched):.1f} ms")
        assert wire.call("show", id=watched)["state"] == "ready"
        assert wire.call("show", id=plain)["state"] == "claimed"


def test_the_end_of_a_one_shot_client_frees_nothing(daemon, holders):
    holder = holders()
    with daemon.wire() as wire:
        (number,) = submit(wire)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from tests.wire import Wire; "
        "wire = Wire(sys.argv[2]); "
        "wire.call('claim', [os.pidfd_open(int(sys.argv[3]))], agent='a', watch=True)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(ROOT), daemon.socket, str(holder.pid)], check=True, timeout=PATIENCE
    )
    with daemon.wire() as wire:
        for _ in range(20):
            assert wire.call("show", id=number)["state"] == "claimed"
        holder.kill()
        back(wire, number)


def test_a_zombie_is_dead(daemon, holders):
    holder = holders()
    with daemon.wire() as wire:
        (number,) = submit(wire)
        wire.call("claim", [holder.descriptor], agent="a", watch=True)
        holder.process.kill()  # and nobody waits for it
        back(wire, number)
        holder.process.wait()


def test_a_short_lease_lives_as_long_as_its_process(daemon, holders):
    holder = holders()
    with daemon.wire() as wire:
        watched, plain = submit(wire, 2)
        wire.call("claim", [holder.descriptor], agent="a", id=watched, lease=1, watch=True)
        wire.call("claim", agent="b", id=plain, lease=1)
        back(wire, plain)
        assert wire.call("show", id=watched)["state"] == "claimed"
        assert wire.call("show", id=watched)["lease_until"] > wire.call("status")["now"] + 60_000


def test_ended_work_is_not_touched_by_a_death(daemon, holders):
    holder = holders()
    with daemon.wire() as wire:
        (number,) = submit(wire)
        (item,) = wire.call("claim", [holder.descriptor], agent="a", watch=True)["items"]
        wire.call("complete", id=number, token=item["token"])
        holder.kill()
        submit(wire)
        assert wire.call("show", id=number)["state"] == "done"


def test_past_the_crash_cap_it_is_buried(daemon, holders):
    with daemon.wire() as wire:
        (number,) = submit(wire)
        wire.call("queue_set", queue="default", crash_cap=3)
        for crash in range(1, 4):
            holder = holders()
            wire.call("claim", [holder.descriptor], agent=f"a{crash}", watch=True)
            holder.kill()
            back(wire, number)
            assert wire.call("show", id=number)["crashes"] == crash
        assert wire.call("show", id=number)["state"] == "buried"


# -- across restarts of the daemon ---------------------------------------------------------------------


def recognises() -> bool:
    """Whether this kernel gives pidfds an identity."""
    watches = Watches(print)
    try:
        return watches.recognises
    finally:
        watches.close()


@pytest.mark.skipif(not recognises(), reason="pidfds have no identity before Linux 6.9")
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_keeps_the_living_and_frees_the_dead(daemon, holders, end):
    living, dies = holders(), holders()
    with daemon.wire() as wire:
        kept, lost = submit(wire, 2)
        wire.call("claim", [living.descriptor], agent="living", id=kept, watch=True)
        wire.call("register", [dies.descriptor], agent="dies", watch=True)
        wire.call("claim", agent="dies", id=lost)
    getattr(daemon, end)()
    dies.kill()
    daemon.start()
    with daemon.wire() as wire:
        item = wire.call("show", id=lost)
        assert (item["state"], item["crashes"], item["failures"]) == ("ready", 0, 0)  # nobody looked: not counted
        item = wire.call("show", id=kept)
        assert (item["state"], item["watching"], item["agent"]) == ("claimed", living.pid, "living")
        living.kill()
        print(f"back after {back(wire, kept):.1f} ms")
        assert wire.call("show", id=kept)["crashes"] == 1


@pytest.mark.skipif(not recognises(), reason="pidfds have no identity before Linux 6.9")
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to choose the next pid")
def test_another_process_under_the_same_number_is_not_taken_for_it(daemon, holders):
    holder = holders()
    with daemon.wire() as wire:
        (number,) = submit(wire)
        wire.call("claim", [holder.descriptor], agent="a", watch=True)
    daemon.kill()
    holder.kill()
    again = process_with_pid(holder.pid)
    if again is None:
        pytest.skip("somebody else got the number")
    try:
        daemon.start()
        with daemon.wire() as wire:
            assert wire.call("show", id=number)["state"] == "ready"
    finally:
        again.kill()
        again.wait()


def process_with_pid(pid: int) -> "subprocess.Popen[bytes] | None":
    """A new process of exactly this number, if that can be had."""
    for _ in range(50):
        try:
            with open("/proc/sys/kernel/ns_last_pid", "w") as file:
                file.write(str(pid - 1))
        except OSError:
            return None
        found = subprocess.Popen(["sleep", "1000"])
        if found.pid == pid:
            return found
        found.kill()
        found.wait()
    return None


@pytest.mark.skipif(not recognises(), reason="pidfds have no identity before Linux 6.9")
def test_a_resumed_agent_keeps_its_work_across_both_restarts(daemon, holders):
    first, second = holders(), holders()
    with daemon.wire() as wire:
        (number,) = submit(wire)
        wire.call("register", [first.descriptor], agent="a", watch=True)
        (item,) = wire.call("claim", agent="a")["items"]
    daemon.restart()
    with daemon.wire() as wire:
        wire.call("register", [second.descriptor], agent="a", watch=True, takeover=True)
        (again,) = wire.call("claim", agent="a", resume=True)["items"]
        assert again["id"] == number
        assert again["fence"] > item["fence"]
        first.kill()
        wire.call("progress", id=number, token=again["token"], percent=50)
        second.kill()
        back(wire, number)


# -- many at once --------------------------------------------------------------------------------------


def test_a_hundred_deaths_at_once(daemon, holders):
    many = [holders() for _ in range(100)]
    with daemon.wire() as wire:
        ids = submit(wire, 100)
        for holder, number in zip(many, ids, strict=True):
            wire.call("claim", [holder.descriptor], agent=f"a{number}", id=number, watch=True)
        for holder in many:
            os.kill(holder.pid, signal.SIGKILL)
        began = time.monotonic()
        while wire.call("count", state=["claimed"])["count"]:
            assert time.monotonic() - began < PATIENCE
        print(f"100 items were back after {(time.monotonic() - began) * 1000:.1f} ms")
        poll = select.poll()
        poll.register(many[0].descriptor, select.POLLIN)
        assert poll.poll(0)


def test_watched_processes_leave_no_descriptors_behind(daemon: Daemon, holders):
    with daemon.wire() as wire:
        held = holders()
        (number,) = submit(wire)
        wire.call("claim", [held.descriptor], agent="b", id=number, watch=True)
        assert daemon.pidfds() == 1
        for _ in range(20):
            (number,) = submit(wire)
            holder = holders()
            wire.call("claim", [holder.descriptor], agent="a", id=number, watch=True)
            holder.kill()
            back(wire, number)
        assert daemon.pidfds() == 1
