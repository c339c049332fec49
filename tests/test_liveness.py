"""Watched processes: real ones, killed with SIGKILL."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading

import pytest
import trio

from swarmshd import liveness
from swarmshd.liveness import NotWatchable, Watches


@pytest.fixture
def start():
    processes = []

    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(command or ("sleep", "600"), stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def deaths():
    return []


@pytest.fixture
def watches(deaths):
    watches = Watches(deaths.append)
    yield watches
    watches.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def kill(process) -> None:
    """Kill it and leave the zombie, as a parent may that never waits."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_without_descriptors_nothing_is_watched_and_nothing_breaks(start, watches):
    """To look at a pidfd takes one more, for a moment."""
    process = start()
    before = descriptors()
    descriptor = os.pidfd_open(process.pid)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor + 1, hard))
    try:
        with pytest.raises(NotWatchable, match="Too many open files"):
            watches.add(descriptor)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (len(watches), descriptors()) == (0, before)
    assert watches.add(os.pidfd_open(process.pid)).alive


async def test_law_5_a_death_is_told_once_and_at_once(nursery, start):
    told, deaths = trio.open_memory_channel[tuple[int, int]](9)
    watches = Watches(told.send_nowait)
    await nursery.start(watches.run)
    process, other = start(), start()
    watch = watches.add(os.pidfd_open(process.pid))
    watches.add(os.pidfd_open(other.pid))
    assert (watch.pid, watch.alive) == (process.pid, True)
    process.kill()
    assert await deaths.receive() == watch.identity
    assert watch.identity not in watches
    assert len(watches) == 1
    with pytest.raises(trio.WouldBlock):
        deaths.receive_nowait()
    nursery.cancel_scope.cancel()


def test_a_zombie_is_dead(watches, deaths, start):
    process = start()
    watch = watches.add(os.pidfd_open(process.pid))
    watches.look()
    assert deaths == []
    kill(process)
    watches.look()
    watches.look()
    assert deaths == [watch.identity]


def test_a_process_is_dead_while_its_children_live(watches, deaths, start):
    shell = start("sh", "-c", "sleep 600 & echo $!; wait")
    child = int(shell.stdout.readline())
    watch = watches.add(os.pidfd_open(shell.pid))
    kill(shell)
    watches.look()
    assert deaths == [watch.identity]
    os.kill(child, 0)
    os.kill(child, signal.SIGKILL)


def test_one_that_is_dead_already_is_not_watched(watches, deaths, start):
    zombie, waited_for = start(), start()
    descriptor = os.pidfd_open(waited_for.pid)
    kill(zombie)
    waited_for.kill()
    waited_for.wait()
    before = descriptors() - 1
    assert not watches.add(os.pidfd_open(zombie.pid)).alive
    assert watches.add(descriptor)._replace(inode=0) == (-1, 0, False)
    assert len(watches) == 0
    assert descriptors() == before
    watches.look()
    assert deaths == []


def test_what_is_no_pidfd_is_refused_and_closed(watches, tmp_path):
    before = descriptors()
    for descriptor in (
        os.open(tmp_path, os.O_RDONLY),
        os.open("/dev/null", os.O_RDONLY),
        os.open(f"/proc/{os.getpid()}", os.O_RDONLY),
        os.eventfd(0),
        os.memfd_create("x"),
        socket.socket(socket.AF_UNIX).detach(),
    ):
        with pytest.raises(NotWatchable, match="is not a pidfd"):
            watches.add(descriptor)
    assert descriptors() == before


def test_the_pidfd_of_a_thread_is_refused(watches):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert thread.native_id is not None
    try:
        descriptor = os.pidfd_open(thread.native_id, os.O_EXCL)
    except OSError as error:
        pytest.skip(f"this kernel has no pidfds of threads: {error}")
    else:
        with pytest.raises(NotWatchable, match="of a thread"):
            watches.add(descriptor)
    finally:
        stop.set()
        thread.join()


def test_the_same_process_twice_shares_a_descriptor(watches, deaths, start):
    process = start()
    first = watches.add(os.pidfd_open(process.pid))
    before = descriptors()
    second = watches.add(os.pidfd_open(process.pid))
    assert first == second
    assert watches.identities() == [first.identity]
    assert descriptors() == before
    kill(process)
    watches.look()
    assert deaths == [first.identity]


def test_what_is_discarded_is_not_told(watches, deaths, start):
    process = start()
    before = descriptors()
    watch = watches.add(os.pidfd_open(process.pid))
    watches.discard(watch.identity)
    watches.discard(watch.identity)
    assert descriptors() == before
    kill(process)
    watches.look()
    assert deaths == []


def test_a_callback_may_add_and_discard(start):
    deaths = []
    processes = [start() for _ in range(4)]
    last = start()

    def on_death(identity: tuple[int, int]) -> None:
        deaths.append(identity)
        for other in identities - {identity}:
            watches.discard(other)
        watches.add(os.pidfd_open(last.pid))

    watches = Watches(on_death)
    identities = {watches.add(os.pidfd_open(process.pid)).identity for process in processes}
    for process in processes:
        kill(process)
    watches.look()
    assert len(deaths) == 1
    assert deaths[0] in identities
    assert len(watches) == 1
    kill(last)
    watches.look()
    assert deaths[1][0] == last.pid
    watches.close()


def test_law_7_watches_are_bounded(deaths, start):
    watches = Watches(deaths.append, limit=1)
    first, second = start(), start()
    watch = watches.add(os.pidfd_open(first.pid))
    before = descriptors()
    with pytest.raises(NotWatchable, match="1 processes are watched, which is the limit"):
        watches.add(os.pidfd_open(second.pid))
    assert descriptors() == before
    assert watches.add(os.pidfd_open(first.pid)) == watch
    watches.close()


def test_a_pidfd_that_another_process_opened_and_passed(watches, deaths, start):
    process = start()
    ours, theirs = socket.socketpair()
    program = (
        "import os, socket, sys; s = socket.socket(fileno=int(sys.argv[1]));"
        "socket.send_fds(s, [b'x'], [os.pidfd_open(int(sys.argv[2]))])"
    )
    command = [sys.executable, "-c", program, str(theirs.fileno()), str(process.pid)]
    subprocess.run(command, pass_fds=[theirs.fileno()], check=True)
    _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
    ours.close()
    theirs.close()
    watch = watches.add(descriptor)
    assert watch.pid == process.pid
    assert not os.get_inheritable(descriptor)
    kill(process)
    watches.look()
    assert deaths == [watch.identity]


@pytest.fixture
def recognising(watches):
    if not watches.recognises:
        pytest.skip("pidfds have inodes of their own from Linux 6.9")


@pytest.mark.usefixtures("recognising")
def test_after_a_restart_the_living_are_found_again(watches, deaths, start):
    living, zombie, gone = start(), start(), start()
    old = Watches(lambda identity: pytest.fail(f"{identity} died in the old daemon"))
    known = [old.add(os.pidfd_open(process.pid)).identity for process in (living, zombie, gone)]
    old.close()
    kill(zombie)
    gone.kill()
    gone.wait()
    assert [watches.adopt(*identity) for identity in known] == ["alive", "dead", "dead"]
    assert deaths == []
    assert len(watches) == 1
    assert watches.adopt(*known[0]) == "alive"
    assert watches.add(os.pidfd_open(living.pid)).identity == known[0]
    kill(living)
    watches.look()
    assert deaths == [known[0]]


@pytest.mark.usefixtures("recognising")
def test_another_process_of_the_same_number_is_dead(watches, start):
    process = start()
    watch = watches.add(os.pidfd_open(process.pid))
    watches.discard(watch.identity)
    before = descriptors()
    assert watches.adopt(watch.pid, watch.inode + 1) == "dead"
    assert descriptors() == before


@pytest.fixture
def start_again(start):
    """Starts a process that has the number of one that is gone."""

    def start_again(number: int) -> None:
        for _ in range(100):  # others may fork in between
            try:
                with open("/proc/sys/kernel/ns_last_pid", "w") as file:
                    file.write(str(number - 1))
            except OSError as error:
                pytest.skip(f"the next number cannot be chosen: {error}")
            if start().pid == number:
                return
        pytest.skip("the number was taken by others each time")

    return start_again


@pytest.mark.real
@pytest.mark.usefixtures("recognising")
def test_a_number_that_came_round_again_is_another_process(watches, start, start_again):
    process = start()
    watch = watches.add(os.pidfd_open(process.pid))
    watches.discard(watch.identity)
    process.kill()
    process.wait()
    start_again(process.pid)
    assert watches.adopt(*watch.identity) == "dead"
    again = watches.add(os.pidfd_open(process.pid))
    assert again.pid == watch.pid
    assert again.inode != watch.inode


@pytest.mark.real
def test_a_number_that_came_round_again_on_a_kernel_without_inodes(watches, deaths, start, start_again):
    watches.recognises = False
    process = start()
    first = watches.add(os.pidfd_open(process.pid))
    process.kill()
    process.wait()
    start_again(process.pid)
    again = watches.add(os.pidfd_open(process.pid))
    assert deaths == [first.identity]
    assert again == first
    watches.look()
    assert deaths == [first.identity]
    assert again.identity in watches


@pytest.mark.usefixtures("recognising")
def test_a_number_that_is_a_threads_by_now_is_dead(watches):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert thread.native_id is not None
    assert watches.adopt(thread.native_id, 1) == "dead"
    stop.set()
    thread.join()


@pytest.mark.parametrize("identity", [(0, 7), (-1, 7), (os.getpid(), 0)])
def test_what_cannot_be_known_again_is_unknown(watches, identity):
    assert watches.adopt(*identity) == "unknown"
    assert len(watches) == 0


def test_on_a_kernel_without_inodes_nobody_is_known_again(watches, deaths, start):
    # No such kernel is at hand; what it differs in is this one fact.
    watches.recognises = False
    process = start()
    watch = watches.add(os.pidfd_open(process.pid))
    assert watch == (process.pid, 0, True)
    assert watches.adopt(process.pid, 0) == "unknown"
    assert watches.adopt(process.pid, 7) == "unknown"
    kill(process)
    assert not watches.add(os.pidfd_open(process.pid)).alive
    assert deaths == []
    watches.look()
    assert deaths == [(process.pid, 0)]


def test_the_boot_has_an_identity(monkeypatch):
    found = liveness.boot_id()
    assert len(found) == 32
    assert int(found, 16)
    monkeypatch.setattr(liveness, "BOOT_ID_FILE", "/nonexistent")
    assert liveness.boot_id() == ""
    monkeypatch.setenv("SWARMSH_BOOT_ID", "0123456789abcdef0123456789abcdef")
    assert liveness.boot_id() == "0123456789abcdef0123456789abcdef"
