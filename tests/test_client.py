"""The Python client against a real daemon."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import swarmctl
from swarmctl import Client, Conflict, Empty, LeaseLost, NotFound, Refused, Unreachable
from swarmctl.client import held, keeping
from swarmctl.client.claimed import Claimed
from swarmctl.client.held import last_line
from swarmctl.client.pool import Pool, setting
from swarmctl.connection import Busy
from tests.conftest import PATIENCE, Daemon

pytestmark = pytest.mark.real


@pytest.fixture
def queue(daemon: Daemon) -> Iterator[Client]:
    with Client("tester", daemon.socket) as client:
        yield client


def states(queue: Client) -> dict[str, int]:
    return {state: number for state, number in queue.count_by("state", all=True).items() if number}


# -- one item ------------------------------------------------------------------------------------------


def test_an_agent_in_five_lines(daemon: Daemon, queue: Client) -> None:
    agent = """
from swarmctl import Client
with Client() as queue:
    for item in queue.work(type="greet", until_empty=True):
        with item:
            print("hello", item.payload.decode())
"""
    assert len(agent.strip().splitlines()) == 5
    ids = [queue.submit("greet", "say hello", payload=name) for name in ("ada", "grace")]
    done = subprocess.run(
        [sys.executable, "-c", agent], capture_output=True, text=True, check=True, env=daemon.environment()
    )
    assert done.stdout == "hello ada\nhello grace\n"
    assert [queue.show(number)["state"] for number in ids] == ["done", "done"]


def test_what_is_submitted_is_what_is_claimed(queue: Client) -> None:
    payload = bytes(range(256))
    number = queue.submit(
        "feature",
        "Cache 'it'\n",
        priority="high",
        queue="q",
        team="t",
        payload=payload,
        group="g",
        ref="T-1",
        lease=77.5,
    )
    with queue.claim("feature", queue="q", team=["t", "u"]) as claimed:
        assert (claimed.id, claimed.type, claimed.description) == (number, "feature", "Cache 'it'\n")
        assert (claimed.priority, claimed.queue, claimed.team) == ("high", "q", "t")
        assert (claimed.group, claimed.ref, claimed.payload) == ("g", "T-1", payload)
        assert (claimed.attempt, claimed.lease, claimed.checkpoint) == (1, 77.5, None)
        assert claimed.token is not None
        assert claimed.token.startswith(f"{claimed.fence}.")
        claimed.progress(50, "in_progress", message="half", checkpoint="page 7")
        claimed.heartbeat()
        shown = queue.show("T-1")
        assert (shown["percent"], shown["status"], shown["message"]) == (50, "in_progress", "half")
        assert queue.get(number, "checkpoint") == b"page 7"
        (held,) = queue.held()
        assert (held.id, held.token) == (number, claimed.token)
    assert queue.show(number)["state"] == "done"
    with pytest.raises(NotFound):
        queue.get(number, "output")


def test_an_exception_fails_the_item_with_the_tracebacks_last_line(queue: Client) -> None:
    number = queue.submit("t", max_attempts=1)
    with pytest.raises(KeyError), queue.claim():
        raise KeyError("colour")
    shown = queue.show(number)
    assert (shown["state"], shown["reason"]) == ("buried", "KeyError: 'colour'")


def test_the_next_holder_gets_what_the_last_one_left(queue: Client) -> None:
    queue.submit("t")
    with queue.claim() as first:
        first.progress(30, checkpoint=b"\0")
        first.fail("disk on fire", retry_after=0)
    second = queue.claim(wait=PATIENCE)
    assert (second.checkpoint, second.attempt, second.percent) == (b"\0", 2, 30)
    assert second.last_failure == "disk on fire"
    assert second.fence > first.fence


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_gives_the_item_back(queue: Client, interrupt: type[BaseException]) -> None:
    number = queue.submit("t")
    item = queue.claim()
    item.progress(1)
    with pytest.raises(interrupt), item:
        raise interrupt
    shown = queue.show(number)
    assert (shown["state"], shown["failures"], shown["releases"]) == ("ready", 0, 1)


@pytest.mark.parametrize("begun", [0.0, 3600.0])
def test_an_interrupt_before_the_work_has_begun_is_not_counted(
    queue: Client, monkeypatch: pytest.MonkeyPatch, begun: float
) -> None:
    monkeypatch.setattr(held, "BEGUN", begun)
    number = queue.submit("t")
    queue.claim().fail("before", retry_after=0)
    with pytest.raises(KeyboardInterrupt), queue.claim():
        raise KeyboardInterrupt
    shown = queue.show(number)
    counted = begun == 0
    assert (shown["state"], shown["failures"], shown["releases"]) == ("ready", 1, int(counted))
    assert shown["reason"] == ("KeyboardInterrupt" if counted else "before")


def test_control_c_gives_the_item_back(daemon: Daemon, queue: Client) -> None:
    number = queue.submit("t")
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            """
import signal
from swarmctl import Client
with Client() as queue, queue.claim() as item:
    print(item.id, flush=True)
    signal.pause()
""",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=daemon.environment(),
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == f"{number}\n"
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=PATIENCE)
    shown = queue.show(number)
    assert (shown["state"], shown["failures"], shown["crashes"]) == ("ready", 0, 0)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (Claimed.complete, "done"),
        (Claimed.bury, "buried"),
        (Claimed.release, "ready"),
        (lambda claimed: claimed.fail("no", no_retry=True), "buried"),
        (lambda claimed: claimed.fail("no"), "scheduled"),
        (lambda claimed: claimed.release(delay=60), "scheduled"),
    ],
)
def test_an_item_that_was_ended_in_its_block_stays_so(
    queue: Client, end: Callable[[Claimed], None], state: str
) -> None:
    number = queue.submit("t")
    with queue.claim() as claimed:
        end(claimed)
        assert claimed.ended
    assert queue.show(number)["state"] == state
    with pytest.raises(Conflict):
        claimed.progress(1)


def test_a_claim_that_was_lost_is_told_when_the_block_is_left(queue: Client) -> None:
    queue.submit("t")
    with pytest.raises(LeaseLost) as caught, queue.claim() as claimed:
        queue.cancel(claimed.id, "not needed")
    assert claimed.lost.is_set()
    assert caught.value.exit == 5


def test_a_lost_claim_is_not_failed_by_the_error_that_says_so(queue: Client) -> None:
    number = queue.submit("t")
    with pytest.raises(LeaseLost), queue.claim() as claimed:  # noqa: PT012 - the block is what is tested
        queue.evict(queue.agent)
        assert queue.show(number)["state"] == "ready"
        claimed.progress(50)
    shown = queue.show(number)
    assert (shown["state"], shown["failures"]) == ("ready", 0)


def test_a_refusal_does_not_hide_what_went_wrong(queue: Client) -> None:
    queue.submit("t")
    with pytest.raises(ZeroDivisionError) as caught, queue.claim() as claimed:  # noqa: PT012
        queue.cancel(claimed.id)
        _ = 1 / 0
    assert "could not be given up" in caught.value.__notes__[0]


def test_what_a_reason_says() -> None:
    class Odd(Exception):
        pass

    assert last_line(ValueError("bad")) == "ValueError: bad"
    assert last_line(ValueError()) == "ValueError"
    assert last_line(Odd("x")).endswith("Odd: x")
    assert last_line(subprocess.TimeoutExpired("ls", 3)).startswith("subprocess.TimeoutExpired: ")
    assert len(last_line(ValueError("ü" * 10_000)).encode()) <= 8192
    assert last_line(ValueError("\ud800")) == "ValueError: ?"


# -- asking --------------------------------------------------------------------------------------------


def test_nothing_to_claim_is_empty(queue: Client) -> None:
    with pytest.raises(Empty) as caught:
        queue.claim()
    assert (caught.value.code, caught.value.exit, caught.value.retryable) == ("empty", 3, True)
    with pytest.raises(Empty):
        queue.claim(wait=0.01)
    queue.submit("t", queue="other")
    with pytest.raises(Empty) as caught:
        queue.claim()
    assert caught.value.facts["elsewhere"] == {"other": 1}
    assert queue.claim(queue="*").queue == "other"


def test_a_waiting_claim_gets_what_comes(queue: Client) -> None:
    found: list[Claimed] = []
    waiter = threading.Thread(target=lambda: found.append(queue.claim(wait=PATIENCE)))
    waiter.start()
    number = queue.submit("t")
    waiter.join()
    assert [claimed.id for claimed in found] == [number]


def test_the_environment_says_which_queue(queue: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMSH_QUEUE", "mine")
    number = queue.submit("t")
    assert queue.show(number)["queue"] == "mine"
    monkeypatch.setenv("SWARMSH_QUEUE", "yours,mine")
    assert queue.claim().id == number


def test_the_other_verbs(queue: Client) -> None:
    one, two, three = queue.submit_many([{"type": "a"}, {"type": "b", "group": "g"}, {"type": "b", "group": "g"}])
    assert queue.count() == 3
    assert queue.count_by("type") == {"a": 1, "b": 2}
    assert [item["id"] for item in queue.list(type="b")] == [two, three]
    assert queue.edit(one, priority="critical")["id"] == one  # type: ignore[arg-type]
    assert [claimed.id for claimed in queue.claim_many(2)] == [one, two]
    assert queue.bury(one, "odd")["state"] == "buried"  # type: ignore[arg-type]
    assert queue.kick(one)["state"] == "ready"  # type: ignore[arg-type]
    assert queue.complete(two, "fine", points=3, result=b"r")["state"] == "done"  # type: ignore[arg-type]
    assert queue.get(two, "result") == b"r"  # type: ignore[arg-type]
    assert queue.cancel_group("g", "enough") == 1
    assert queue.cancel(one)["state"] == "cancelled"  # type: ignore[arg-type]
    ended = queue.wait(one, two, three, timeout=1)["ended"]  # type: ignore[arg-type]
    assert {row["id"]: row["state"] for row in ended} == {one: "cancelled", two: "done", three: "cancelled"}
    agent = queue.register(team="t", capacity=80, slots=2, labels=["gpu"], specialization="caches")
    assert (agent["slots"], agent["watching"]) == (2, os.getpid())
    with queue.claim_new("n", "made here") as made:
        assert made.description == "made here"
    assert [agent["agent"] for agent in queue.agents()] == ["tester"]
    assert queue.pause("default", reason="lunch")["paused"] == "lunch"
    assert queue.queues("default")[0]["paused"] == "lunch"
    queue.resume("default")
    assert queue.queue_set("default", lease=5)["lease"] == 5000
    assert queue.quiet("tester")["state"] == "quiet"
    with pytest.raises(Refused, match="quiet"):
        queue.claim()
    queue.wake("tester")
    assert queue.heartbeat()["renewed"] == {}
    assert queue.evict("tester")["returned"] == 0
    assert queue.status()["pid"] > 0


def test_waiting_for_items_ends_with_time(queue: Client) -> None:
    number = queue.submit("t")
    with pytest.raises(Refused) as caught:
        queue.wait(number, timeout=0.01)
    assert (caught.value.code, caught.value.facts["pending"]) == ("timeout", 1)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_no_duration_is_no_number(queue: Client, seconds: float) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        queue.submit("t", delay=seconds)
    with pytest.raises(ValueError, match="number of seconds"):
        queue.claim(wait=seconds)


def test_list_goes_through_all_pages(queue: Client) -> None:
    ids = queue.submit_many([{"type": "t"}] * 450)
    assert [item["id"] for item in queue.list()] == ids


# -- many at once --------------------------------------------------------------------------------------


def test_submit_many_tells_the_good_from_the_bad(queue: Client) -> None:
    found = queue.submit_many([{"type": "a"}, {"type": "no good"}, {"type": "c", "after": [99]}, {"type": "d"}])
    assert [getattr(each, "code", "id") for each in found] == ["id", "bad_request", "not_found", "id"]
    assert queue.count() == 2


def test_submit_many_all_or_nothing(queue: Client) -> None:
    with pytest.raises(Refused) as caught:
        queue.submit_many([{"type": "a"}, {"type": "b", "after": "nothing"}], atomic=True)
    assert caught.value.facts["line"] == 1
    assert queue.count() == 0
    first, second = queue.submit_many([{"type": "a", "after": "later"}, {"type": "b", "ref": "later"}], atomic=True)
    assert queue.show(first)["blocked_by"] == [second]


def test_submit_many_in_as_many_frames_as_it_takes_and_once(queue: Client) -> None:
    items = [{"type": "t", "description": f"number {n}", "payload": bytes(3000)} for n in range(1000)]
    ids = queue.submit_many(items, key="tonight")
    assert len(set(ids)) == 1000
    assert queue.submit_many(items, key="tonight") == ids
    assert queue.count() == 1000


def test_a_pipeline_is_one_frame_with_an_answer_for_each(queue: Client) -> None:
    before = queue.status()["journal"]["batches"]
    with queue.pipeline() as p:
        ids = [p.submit("t", f"number {n}") for n in range(50)]
        claimed = p.claim()
        nothing = p.claim("other")
        count = p.count()
        with pytest.raises(RuntimeError, match="not been sent"):
            count.result()
    assert queue.status()["journal"]["batches"] == before + 1
    assert sorted(handle.result() for handle in ids) == [handle.result() for handle in ids]
    assert claimed.result() is claimed.result()
    assert claimed.result().id == ids[0].result()
    assert claimed.result().watched
    with pytest.raises(Empty):
        nothing.result()
    assert count.result() == 50
    with claimed.result():
        pass
    assert states(queue) == {"done": 1, "ready": 49}


def test_a_pipeline_that_is_left_by_an_exception_sends_nothing(queue: Client) -> None:
    with pytest.raises(ZeroDivisionError), queue.pipeline() as p:  # noqa: PT012
        handle = p.submit("t")
        _ = 1 / 0
    with pytest.raises(RuntimeError, match="not been sent"):
        handle.result()
    assert queue.count() == 0
    with queue.pipeline():
        pass


def test_a_pipeline_does_not_wait(queue: Client) -> None:
    with queue.pipeline() as p, pytest.raises(ValueError, match="cannot stand in a pipeline"):
        p.claim(wait=1)
    with queue.pipeline() as p:
        for _ in range(16):
            p.claim()
        with pytest.raises(ValueError, match="claim_many"):
            p.claim()


def test_a_pipeline_without_a_daemon_is_refused_everywhere(directory: Path) -> None:
    queue = Client(socket=str(directory / "none"), timeout=0.05)
    with pytest.raises(Unreachable), queue.pipeline() as p:
        handle = p.submit("t")
    with pytest.raises(Unreachable):
        handle.result()


# -- the loop ------------------------------------------------------------------------------------------


def test_work_completes_each_and_fails_what_raises(queue: Client, caplog: pytest.LogCaptureFixture) -> None:
    queue.submit_many([{"type": "t", "description": str(n), "max_attempts": 1} for n in range(6)])
    for item in queue.work(until_empty=True):
        with item:
            if item.description == "2":
                raise ValueError("two")
            if item.description == "3":
                item.release(delay=3600)
    assert states(queue) == {"done": 4, "buried": 1, "scheduled": 1}
    assert [record.getMessage() for record in caplog.records] == ["item 3 (t) failed"]


def test_work_without_blocks_completes_when_it_goes_on(queue: Client) -> None:
    ids = queue.submit_many([{"type": "t"}] * 3)
    seen = []
    for item in queue.work(wait=0.01):
        seen.append(item.id)
        assert queue.show(item.id)["state"] == "claimed"
    assert seen == ids
    assert states(queue) == {"done": 3}


def test_a_loop_that_is_left_gives_its_item_back(queue: Client) -> None:
    queue.submit_many([{"type": "t"}] * 3)
    for item in queue.work():
        if item.id == 2:
            break
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for _item in queue.work():
            _ = 1 / 0
    assert states(queue) == {"done": 1, "scheduled": 2}
    assert [queue.show(number)["failures"] for number in (2, 3)] == [0, 0]


@pytest.mark.parametrize("block", [True, False])
def test_a_loop_survives_the_loss_of_an_item(queue: Client, caplog: pytest.LogCaptureFixture, block: bool) -> None:
    queue.submit_many([{"type": "t"}] * 2)
    for item in queue.work(until_empty=True):
        with item if block else contextlib.nullcontext():
            if item.id == 1:
                queue.cancel(1)
    assert states(queue) == {"done": 1, "cancelled": 1}
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["item 1 was done for nothing"]


def test_an_item_that_cannot_be_failed_is_not_completed_either(daemon: Daemon) -> None:
    queue = Client("tester", daemon.socket, timeout=0.1)
    queue.submit("t")
    with pytest.raises(ZeroDivisionError) as caught:  # noqa: PT012
        for item in queue.work(until_empty=True):
            with item:
                daemon.kill()
                _ = 1 / 0
    assert "could not be given up" in caught.value.__notes__[0]
    daemon.start()
    assert states(queue) == {"claimed": 1}
    queue.close()


# -- what keeps a claim --------------------------------------------------------------------------------


def test_a_watched_claim_needs_no_heartbeat_and_ends_with_its_process(daemon: Daemon, queue: Client) -> None:
    number = queue.submit("t", lease=0.2)
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            """
from swarmctl import Client
item = Client("worker").claim()
print(item.id, item.watched, flush=True)
pow(3, 1 << 40)  # one call into C that keeps every other thread of the process from running
""",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=daemon.environment(),
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == f"{number} True\n"
    with pytest.raises(Empty):
        queue.claim(wait=0.7)  # more than three leases
    worker.kill()
    claimed = queue.claim(wait=PATIENCE)
    worker.communicate()
    assert (claimed.id, claimed.attempt) == (number, 2)
    assert queue.show(number)["crashes"] == 1


def test_without_a_watch_heartbeats_keep_the_claim_inside_its_block(daemon: Daemon, queue: Client) -> None:
    with Client("beating", daemon.socket, watch=False) as beating:
        queue.submit("t", lease=0.3)
        with pytest.raises(LeaseLost), beating.claim() as claimed:  # noqa: PT012
            assert not claimed.watched
            with pytest.raises(Empty):
                queue.claim(wait=1)
            queue.cancel(claimed.id)
            assert claimed.lost.wait(PATIENCE)  # by a heartbeat
            with beating.claim_new("t", "another", lease=0.3) as other:
                other.progress(1)
        assert not claimed.ended
        beating.claim_new("t", "left alone", lease=0.1)
        assert queue.claim(wait=PATIENCE).description == "left alone"


def test_where_a_process_cannot_be_watched_heartbeats_are_sent(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pidfd(pid: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    monkeypatch.setattr(keeping, "_own", None)
    with Client("sandboxed", daemon.socket) as queue:
        assert not queue.watches
        queue.submit("t")
        with queue.claim() as claimed:
            assert not claimed.watched
            assert queue.keeper._thread is not None
    monkeypatch.setattr(keeping, "_own", None)


def test_a_hard_pause_asks_holders_to_stop(daemon: Daemon, queue: Client) -> None:
    with Client("beating", daemon.socket, watch=False) as beating:
        queue.submit("t", lease=0.3)
        with beating.claim() as claimed:
            queue.pause(all=True, hard=True, reason="fire")
            assert claimed.stop.wait(PATIENCE)


def test_a_restarted_daemon_is_a_pause(daemon: Daemon, queue: Client) -> None:
    ids: list[int] = []
    half = threading.Event()

    def submit() -> None:
        for number in range(300):
            if number == 100:
                half.set()
            ids.append(queue.submit("t", f"number {number}"))

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert half.wait(PATIENCE)
    daemon.restart()
    daemon.stop()
    daemon.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1200
    assert queue.count() == 1200


def test_a_claim_outlives_the_daemon(daemon: Daemon, queue: Client) -> None:
    queue.submit("t")
    with queue.claim() as claimed:
        daemon.restart()
        claimed.progress(50)
    assert queue.show(1)["state"] == "done"


def test_a_waiting_claim_outlives_the_daemon(daemon: Daemon, queue: Client) -> None:
    found: list[Claimed] = []
    waiter = threading.Thread(target=lambda: found.append(queue.claim(wait=PATIENCE)))
    waiter.start()
    daemon.restart()
    number = queue.submit("t")
    waiter.join()
    assert [claimed.id for claimed in found] == [number]


# -- threads and processes -----------------------------------------------------------------------------


def test_sixteen_threads_share_a_client(daemon: Daemon) -> None:
    taken: list[int] = []
    with Client("threads", daemon.socket, pool_size=5) as queue:
        ids = queue.submit_many([{"type": "t"}] * 200)

        def drain() -> None:
            for item in queue.work(until_empty=True):
                with item:
                    taken.append(item.id)

        threads = [threading.Thread(target=drain) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == ids
        assert len(queue._pool) <= 5


def test_a_pool_without_a_place_is_busy(directory: Path) -> None:
    pool = Pool(str(directory / "s"), 1, 2, 0.01, reuse=True)
    with pool.connection() as one, pool.connection() as two:
        assert one is not two
        with pytest.raises(Busy, match="CONNECTION_POOL_SIZE"), pool.connection():
            pass
    with pool.connection() as again:
        assert again in (one, two)
    pool.close()
    assert len(pool) == 0
    single = Pool(str(directory / "s"), 1, 2, 0.01, reuse=False)
    with single.connection():
        assert len(single) == 1
    assert len(single) == 0


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert setting("CONNECTION_POOL_SIZE", 100) == 100
    monkeypatch.setenv("CONNECTION_POOL_SIZE", "7")
    assert setting("CONNECTION_POOL_SIZE", 100) == 7
    monkeypatch.setenv("CONNECTION_POOL_SIZE", "many")
    with pytest.warns(RuntimeWarning, match="'many'"):
        assert setting("CONNECTION_POOL_SIZE", 100) == 100
    monkeypatch.setenv("SWARMSH_CONNECTION_POOL_SIZE", "-1")
    with pytest.raises(ValueError, match="SWARMSH_CONNECTION_POOL_SIZE"):
        Client()
    monkeypatch.setenv("SWARMSH_CONNECTION_POOL_SIZE", "0")
    with pytest.raises(ValueError, match="at least one"):
        Client()
    with pytest.raises(ValueError, match="is not a name"):
        Client("no name")


def drain(queue: Client, found: Any) -> None:
    for item in queue.work(until_empty=True):
        with item:
            found.put((item.id, queue.agent, os.getpid()))
    found.put(None)


@pytest.mark.parametrize(("method", "workers"), [("fork", 64), ("spawn", 6), ("forkserver", 6)])
def test_processes_of_multiprocessing(daemon: Daemon, queue: Client, method: str, workers: int) -> None:
    ids = queue.submit_many([{"type": "t"}] * 200)
    context = multiprocessing.get_context(method)
    found: Any = context.Queue()
    processes = [context.Process(target=drain, args=(queue, found)) for _ in range(workers)]  # type: ignore[attr-defined]
    for process in processes:
        process.start()
    rows = []
    for _ in processes:
        rows += list(iter(found.get, None))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found.close()
    found.join_thread()
    assert sorted(number for number, _, _ in rows) == ids
    assert all(agent == f"tester.{pid}" for _, agent, pid in rows)
    assert states(queue) == {"done": 200}


def test_a_forked_child_leaves_its_parents_claim_alone(queue: Client) -> None:
    queue.submit_many([{"type": "t"}] * 2)
    with queue.claim() as claimed:
        child = os.fork()
        if child == 0:
            try:
                claimed.__exit__(None, None, None)
                with queue.claim():
                    pass
                os._exit(0 if queue.agent == f"tester.{os.getpid()}" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert queue.show(claimed.id)["state"] == "claimed"
        claimed.progress(50)
    assert queue.agent == "tester"
    assert states(queue) == {"done": 2}


def test_a_child_that_dies_frees_its_own_claim_only(daemon: Daemon, queue: Client) -> None:
    queue.submit_many([{"type": "t"}] * 2)
    mine = queue.claim()
    child = os.fork()
    if child == 0:
        try:
            queue.claim()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = queue.claim(wait=PATIENCE)  # free again, as its process is gone
    assert theirs.id != mine.id
    mine.complete()


def test_a_pickled_client_is_the_same_agent_in_the_same_process(queue: Client) -> None:
    with pickle.loads(pickle.dumps(queue)) as copy:
        assert copy.agent == queue.agent
        assert copy.status()["pid"] == queue.status()["pid"]


# -- the package ---------------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_else() -> None:
    show = "import sys; before = set(sys.modules); import swarmctl; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["swarmctl"]


def test_every_name_that_is_promised_is_there() -> None:
    for name in swarmctl.__all__:
        assert getattr(swarmctl, name).__name__ == name
        assert name in dir(swarmctl)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = swarmctl.Nonsense


def test_methods_say_what_they_do() -> None:
    for name in ("submit", "claim", "complete", "wait"):
        assert getattr(Client, name).__doc__
    assert Client(watch=False).submit.__name__ == "submit"
