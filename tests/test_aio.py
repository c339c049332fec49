"""The client for trio against a real daemon."""

import ast
import contextlib
import functools
import inspect
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import swarmctl
from swarmctl import Busy, Conflict, Empty, LeaseLost, NotFound, Refused, Unreachable, aio
from swarmctl.aio import Client
from swarmctl.aio.claimed import Claimed
from swarmctl.client import keeping
from tests.conftest import PATIENCE, Daemon

pytestmark = pytest.mark.real


@pytest.fixture
async def queue(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client("tester", daemon.socket) as client:
        yield client


async def states(queue: Client) -> dict[str, int]:
    return {state: number for state, number in (await queue.count_by("state", all=True)).items() if number}


async def become(true: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is so."""
    with trio.fail_after(PATIENCE):
        while not await true():
            await trio.lowlevel.checkpoint()


# -- the same surface ----------------------------------------------------------------------------------


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_") or name in ("__init__", "__reduce__")}


def parameters(function: Any) -> list[tuple[str, Any, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default, each.annotation) for each in found]


@pytest.mark.parametrize(
    ("blocking", "trio_", "more"),
    [
        (swarmctl.Client, aio.Client, set()),
        (swarmctl.Claimed, aio.Claimed, {"give_back"}),
        (swarmctl.Lock, aio.Lock, set()),
        (swarmctl.client.Pipeline, aio.Pipeline, set()),
    ],
)
def test_both_clients_have_the_same_surface(blocking: type, trio_: type, more: set[str]) -> None:
    assert public(trio_) - public(blocking) == more
    assert public(blocking) <= public(trio_)
    for name in public(blocking):
        if callable(getattr(blocking, name)):
            assert parameters(getattr(trio_, name)) == parameters(getattr(blocking, name)), name


def test_a_new_verb_comes_by_itself() -> None:
    """Whatever can be asked in one request is a method of all four, out of one table."""
    modules = (swarmctl.client.asking, swarmctl.client.governing, swarmctl.client.operating)
    asks = {
        node.name
        for module in modules
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or ast.Constant(None)).startswith("Ask[")
    }
    within = {"page", "batch", "cancel_some"}  # parts of list, submit_many and cancel_group
    offered = {name for name in asks if not name.startswith("_")} - within
    alone = {"wait", "snapshot"}  # they wait, and nothing that waits stands in a batch
    kinds: list[tuple[type, set[str]]] = [
        (swarmctl.Client, set()), (aio.Client, set()), (swarmctl.client.Pipeline, alone), (aio.Pipeline, alone)
    ]  # fmt: skip
    for kind, without in kinds:
        assert offered - without <= public(kind)
        assert all(getattr(kind, name).__doc__ for name in offered - without)


def test_the_blocking_client_does_without_trio() -> None:
    show = "import sys; from swarmctl import Client; Client('a', watch=False); print('trio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- one item ------------------------------------------------------------------------------------------


async def test_an_agent_in_a_few_lines(daemon: Daemon, queue: Client) -> None:
    agent = """
import trio
from swarmctl.aio import Client
async def agent():
    async with Client() as queue:
        async for item in queue.work(type="greet", until_empty=True):
            async with item:
                print("hello", item.payload.decode())
trio.run(agent)
"""
    ids = [await queue.submit("greet", "say hello", payload=name) for name in ("ada", "grace")]
    command = [sys.executable, "-W", "error", "-c", agent]
    done = await trio.run_process(command, capture_stdout=True, env=daemon.environment())
    assert done.stdout == b"hello ada\nhello grace\n"
    assert [(await queue.show(number))["state"] for number in ids] == ["done", "done"]


async def test_what_is_submitted_is_what_is_claimed(queue: Client) -> None:
    payload = bytes(range(256))
    number = await queue.submit(
        "feature", "Cache 'it'\n", priority="high", queue="q", team="t", payload=payload, ref="T-1", lease=77.5
    )
    async with queue.claim("feature", queue="q", team=["t", "u"]) as claimed:
        assert (claimed.id, claimed.type, claimed.description) == (number, "feature", "Cache 'it'\n")
        assert (claimed.ref, claimed.payload, claimed.lease, claimed.watched) == ("T-1", payload, 77.5, True)
        await claimed.progress(50, "in_progress", message="half", checkpoint="page 7")
        await claimed.heartbeat()
        shown = await queue.show("T-1")
        assert (shown["percent"], shown["status"], shown["watching"]) == (50, "in_progress", os.getpid())
        assert await queue.get(number, "checkpoint") == b"page 7"
        (held,) = await queue.held()
        assert (held.id, held.token) == (number, claimed.token)
    assert (await queue.show(number))["state"] == "done"
    with pytest.raises(NotFound):
        await queue.get(number, "output")


async def test_an_exception_fails_the_item_with_the_tracebacks_last_line(queue: Client) -> None:
    number = await queue.submit("t", max_attempts=1)
    with pytest.raises(KeyError):
        async with queue.claim():
            raise KeyError("colour")
    shown = await queue.show(number)
    assert (shown["state"], shown["reason"]) == ("buried", "KeyError: 'colour'")


async def test_a_group_of_exceptions_is_told_by_what_is_in_it(queue: Client) -> None:
    async def broken(text: str) -> None:
        raise ValueError(text)

    number = await queue.submit("t", max_attempts=1)
    with pytest.raises(ExceptionGroup):
        async with queue.claim(), trio.open_nursery() as nursery:
            nursery.start_soon(broken, "disk on fire")
    assert (await queue.show(number))["reason"] == "ValueError: disk on fire"
    number = await queue.submit("t", max_attempts=1)
    with pytest.raises(ExceptionGroup):
        async with queue.claim():
            raise ExceptionGroup("all", [ValueError("a"), ExceptionGroup("of them", [KeyError("b"), OSError("c")])])
    assert (await queue.show(number))["reason"] == "ValueError: a (and 2 others)"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_an_interrupt_gives_the_item_back(queue: Client, interrupt: type[BaseException]) -> None:
    number = await queue.submit("t")
    item = await queue.claim()
    await item.progress(1)
    with pytest.raises(interrupt):
        async with item:
            raise interrupt
    shown = await queue.show(number)
    assert (shown["state"], shown["failures"], shown["releases"]) == ("ready", 0, 1)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (Claimed.complete, "done"),
        (Claimed.bury, "buried"),
        (Claimed.release, "ready"),
        (lambda claimed: claimed.fail("no", no_retry=True), "buried"),
        (lambda claimed: claimed.release(delay=60), "scheduled"),
    ],
)
async def test_an_item_that_was_ended_in_its_block_stays_so(
    queue: Client, end: Callable[[Claimed], Awaitable[None]], state: str
) -> None:
    number = await queue.submit("t")
    async with queue.claim() as claimed:
        await end(claimed)
        assert claimed.ended
    assert (await queue.show(number))["state"] == state
    with pytest.raises(Conflict):
        await claimed.progress(1)


async def test_a_claim_that_was_lost_is_told_when_the_block_is_left(queue: Client) -> None:
    await queue.submit("t")
    with pytest.raises(LeaseLost):
        async with queue.claim() as claimed:
            await queue.cancel(claimed.id, "not needed")
    assert claimed.lost.is_set()


async def test_a_lost_claim_is_not_failed_by_the_error_that_says_so(queue: Client) -> None:
    number = await queue.submit("t")
    with pytest.raises(LeaseLost):  # noqa: PT012
        async with queue.claim() as claimed:
            await queue.evict(queue.agent)
            await claimed.progress(50)
    shown = await queue.show(number)
    assert (shown["state"], shown["failures"]) == ("ready", 0)


async def test_a_refusal_does_not_hide_what_went_wrong(queue: Client) -> None:
    await queue.submit("t")
    with pytest.raises(ZeroDivisionError) as caught:  # noqa: PT012
        async with queue.claim() as claimed:
            await queue.cancel(claimed.id)
            _ = 1 / 0
    assert "could not be given up" in caught.value.__notes__[0]


# -- asking --------------------------------------------------------------------------------------------


async def test_nothing_to_claim_is_empty(queue: Client) -> None:
    with pytest.raises(Empty) as caught:
        await queue.claim()
    assert (caught.value.code, caught.value.exit, caught.value.retryable) == ("empty", 3, True)
    with pytest.raises(Empty):
        async with queue.claim(wait=0.01):
            pytest.fail("there was nothing")


async def test_a_waiting_claim_gets_what_comes_and_keeps_nobody_waiting(queue: Client) -> None:
    found: list[int] = []

    async def claim() -> None:
        found.append((await queue.claim(wait=PATIENCE)).id)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(claim)
        await become(lambda: waiting(queue, 8))
        ids = await queue.submit_many([{"type": "t"}] * 8)
    assert sorted(found) == ids


async def waiting(queue: Client, number: int) -> bool:
    return bool((await queue.status())["waiters"] == number)


async def test_the_other_verbs(queue: Client) -> None:
    one, two, three = await queue.submit_many(
        [{"type": "a"}, {"type": "b", "group": "g"}, {"type": "b", "group": "g"}], atomic=True
    )
    assert await queue.count() == 3
    assert await queue.count_by("type") == {"a": 1, "b": 2}
    assert [item["id"] async for item in queue.list(type="b")] == [two, three]
    assert (await queue.edit(one, priority="critical"))["id"] == one
    assert [claimed.id for claimed in await queue.claim_many(2)] == [one, two]
    assert (await queue.bury(one, "odd"))["state"] == "buried"
    assert (await queue.kick(one))["state"] == "ready"
    assert (await queue.complete(two, "fine", points=3, result=b"r"))["state"] == "done"
    assert await queue.cancel_group("g", "enough") == 1
    assert (await queue.cancel(one))["state"] == "cancelled"
    ended = (await queue.wait(one, two, three, timeout=1))["ended"]
    assert {row["id"]: row["state"] for row in ended} == {one: "cancelled", two: "done", three: "cancelled"}
    agent = await queue.register(team="t", capacity=80, slots=2, labels=["gpu"], specialization="caches")
    assert (agent["slots"], agent["watching"]) == (2, os.getpid())
    async with queue.claim_new("n", "made here") as made:
        assert made.description == "made here"
        assert (await queue.hold(made.id))["watching"] == os.getpid()
    assert [agent["agent"] for agent in await queue.agents()] == ["tester"]
    await queue.pause("default", reason="lunch")
    assert (await queue.queues("default"))[0]["paused"] == "lunch"
    await queue.resume("default")
    assert (await queue.heartbeat())["renewed"] == {}


async def test_waiting_for_items_ends_with_time(queue: Client) -> None:
    number = await queue.submit("t")
    with pytest.raises(Refused) as caught:
        await queue.wait(number, timeout=0.01)
    assert (caught.value.code, caught.value.facts["pending"]) == ("timeout", 1)


async def test_list_goes_through_all_pages(queue: Client) -> None:
    ids = await queue.submit_many([{"type": "t"}] * 450)
    assert [item["id"] async for item in queue.list()] == ids
    async for item in queue.list():
        assert item["id"] == ids[0]
        break


async def test_every_call_is_a_checkpoint(queue: Client) -> None:
    async def checked(call: Awaitable[Any]) -> Any:
        with trio.testing.assert_checkpoints():
            return await call

    number = await checked(queue.submit("t"))
    await checked(queue.submit_many([{"type": "t"}] * 2))
    claimed = await checked(queue.claim())
    with trio.testing.assert_checkpoints():
        async with claimed:
            await checked(claimed.progress(1))
            await checked(claimed.complete())
    with trio.testing.assert_checkpoints():
        async with queue.pipeline():
            pass
    with trio.testing.assert_checkpoints():
        async with queue.pipeline() as p:
            p.show(number)
    rows, work = queue.list(), queue.work(until_empty=True)
    for _ in range(2):
        await checked(rows.__anext__())
    for _ in range(2):
        await checked(work.__anext__())
    with pytest.raises(StopAsyncIteration):
        await checked(work.__anext__())
    await queue.submit("t", group="g")
    await checked(queue.cancel_group("g"))


async def test_a_call_in_a_cancelled_scope_sends_nothing(queue: Client) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await queue.submit("t")
    assert scope.cancelled_caught
    assert await queue.count() == 0


async def test_a_call_that_is_not_awaited_is_told() -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        Client("a", "/nonexistent/s").status()


async def test_a_call_may_be_a_task(queue: Client) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.submit, "t")
    assert await queue.count() == 1


# -- many at once --------------------------------------------------------------------------------------


async def test_tasks_share_one_connection(daemon: Daemon, queue: Client) -> None:
    found: list[int] = []

    async def submit() -> None:
        for _ in range(5):
            found.append(await queue.submit("t", "x" * 3000))
            assert (await queue.show(found[-1]))["description"] == "x" * 3000

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(submit)
    assert len(set(found)) == 500
    assert (await queue.status())["connections"] == 1


async def test_long_requests_and_long_replies_cross(queue: Client) -> None:
    payload = os.urandom(60_000)
    ids = await queue.submit_many([{"type": "t", "payload": payload}] * 20)

    async def look(number: Any) -> None:
        assert await queue.get(number) == payload
        await queue.submit("u", payload=payload)

    async with trio.open_nursery() as nursery:
        for number in ids:
            nursery.start_soon(look, number)
    assert await queue.count() == 40


async def test_submit_many_tells_the_good_from_the_bad(queue: Client) -> None:
    found = await queue.submit_many([{"type": "a"}, {"type": "no good"}, {"type": "c", "after": [99]}])
    assert [getattr(each, "code", "id") for each in found] == ["id", "bad_request", "not_found"]
    with pytest.raises(Refused) as caught:
        await queue.submit_many([{"type": "a"}, {"type": "b", "after": "nothing"}], atomic=True)
    assert caught.value.facts["line"] == 1


async def test_a_pipeline_is_one_frame_with_an_answer_for_each(queue: Client) -> None:
    before = (await queue.status())["journal"]["batches"]
    async with queue.pipeline() as p:
        ids = [p.submit("t", f"number {n}") for n in range(50)]
        claimed = p.claim()
        nothing = p.claim("other")
        count = p.count()
        with pytest.raises(RuntimeError, match="not been sent"):
            count.result()
        with pytest.raises(ValueError, match="cannot stand in a pipeline"):
            p.claim(wait=1)
    assert (await queue.status())["journal"]["batches"] == before + 1
    assert claimed.result().id == ids[0].result()
    with pytest.raises(Empty):
        nothing.result()
    assert count.result() == 50
    async with claimed.result() as item:
        assert item.watched
    assert await states(queue) == {"done": 1, "ready": 49}


async def test_a_pipeline_that_is_left_by_an_exception_sends_nothing(queue: Client) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with queue.pipeline() as p:
            p.submit("t")
            _ = 1 / 0
    assert await queue.count() == 0


async def test_without_a_daemon_everything_is_refused(directory: Path) -> None:
    async with Client(socket=str(directory / "none"), timeout=0.05) as queue:
        with pytest.raises(Unreachable):
            await queue.submit("t")
        with pytest.raises(Unreachable):
            async with queue.claim():
                pytest.fail("of whom?")
        with pytest.raises(Unreachable):
            async with queue.pipeline() as p:
                handle = p.submit("t")
        with pytest.raises(Unreachable):
            handle.result()

        async def ask() -> None:
            with pytest.raises(Unreachable):
                await queue.status()

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)


async def test_without_a_place_it_is_busy(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTION_POOL_TIMEOUT", "10")
    async with Client("a", daemon.socket, pool_size=1) as queue, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: queue.claim(wait=PATIENCE))
        await become(lambda: waiting(queue, 1))
        with pytest.raises(Busy, match="CONNECTION_POOL_SIZE"):
            await queue.claim()
        await queue.submit("t")  # all else has a connection of its own


# -- the loop ------------------------------------------------------------------------------------------


async def test_work_completes_each_and_fails_what_raises(queue: Client, caplog: pytest.LogCaptureFixture) -> None:
    await queue.submit_many([{"type": "t", "description": str(n), "max_attempts": 1} for n in range(6)])
    async for item in queue.work(until_empty=True):
        async with item:
            if item.description == "2":
                raise ValueError("two")
            if item.description == "3":
                await item.release(delay=3600)
    assert await states(queue) == {"done": 4, "buried": 1, "scheduled": 1}
    assert [record.getMessage() for record in caplog.records] == ["item 3 (t) failed"]


async def test_work_without_blocks_completes_when_it_goes_on(queue: Client) -> None:
    ids = await queue.submit_many([{"type": "t"}] * 3)
    seen = []
    async for item in queue.work(wait=0.01):
        seen.append(item.id)
        assert (await queue.show(item.id))["state"] == "claimed"
    assert seen == ids
    assert await states(queue) == {"done": 3}


async def test_a_loop_that_is_left_gives_its_item_back(queue: Client) -> None:
    await queue.submit_many([{"type": "t"}] * 5)
    async for item in queue.work():
        if item.id == 2:
            break
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async for _item in queue.work():
            _ = 1 / 0
    with trio.CancelScope() as scope:
        async for _item in queue.work():
            scope.cancel()
            await trio.sleep_forever()

    async def returned() -> bool:
        return await states(queue) == {"done": 1, "scheduled": 3, "ready": 1}

    await become(returned)
    async with queue.work() as items:
        async for item in items:
            assert item.id == 5
            break
    assert await states(queue) == {"done": 1, "scheduled": 4}
    assert [(await queue.show(number))["failures"] for number in (2, 3, 4, 5)] == [0] * 4


@pytest.mark.parametrize("block", [True, False])
async def test_a_loop_survives_the_loss_of_an_item(
    queue: Client, caplog: pytest.LogCaptureFixture, block: bool
) -> None:
    await queue.submit_many([{"type": "t"}] * 2)
    async for item in queue.work(until_empty=True):
        async with item if block else contextlib.nullcontext():
            if item.id == 1:
                await queue.cancel(1)
    assert await states(queue) == {"done": 1, "cancelled": 1}
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["item 1 was done for nothing"]


# -- what keeps a claim --------------------------------------------------------------------------------


async def test_a_watched_claim_needs_no_heartbeat_and_ends_with_its_process(daemon: Daemon, queue: Client) -> None:
    number = await queue.submit("t", lease=0.2)
    program = """
import sys, trio
from swarmctl.aio import Client
async def main():
    item = await Client("worker").claim()
    print(item.id, item.watched, flush=True)
    sys.stdin.read()  # nothing else of trio runs meanwhile
trio.run(main)
"""
    worker = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=daemon.environment(),
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == f"{number} True\n"
    with pytest.raises(Empty):
        await queue.claim(wait=0.7)  # more than three leases
    worker.kill()
    claimed = await queue.claim(wait=PATIENCE)
    worker.communicate()
    assert (claimed.id, claimed.attempt) == (number, 2)
    assert (await queue.show(number))["crashes"] == 1


async def test_without_a_watch_heartbeats_keep_the_claim_inside_its_block(daemon: Daemon, queue: Client) -> None:
    async with Client("beating", daemon.socket, watch=False) as beating:
        await queue.submit("t", lease=0.3)
        with pytest.raises(LeaseLost):  # noqa: PT012
            async with beating.claim() as claimed:
                assert not claimed.watched
                with pytest.raises(Empty):
                    await queue.claim(wait=1)
                await queue.cancel(claimed.id)
                with trio.fail_after(PATIENCE):
                    await claimed.lost.wait()  # by a heartbeat
                async with beating.claim_new("t", "another", lease=0.3) as other:
                    await other.progress(1)
        assert not claimed.ended
        await beating.claim_new("t", "left alone", lease=0.1)
        assert (await queue.claim(wait=PATIENCE)).description == "left alone"


async def test_where_a_process_cannot_be_watched_heartbeats_are_sent(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pidfd(pid: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    monkeypatch.setattr(keeping, "_own", None)
    async with Client("sandboxed", daemon.socket) as queue:
        await queue.submit("t", lease=0.3)
        async for item in queue.work():
            assert not item.watched
            with pytest.raises(Empty):
                await queue.claim(wait=1)
            break
    monkeypatch.setattr(keeping, "_own", None)


async def test_a_hard_pause_asks_holders_to_stop(daemon: Daemon, queue: Client) -> None:
    async with Client("beating", daemon.socket, watch=False) as beating:
        await queue.submit("t", lease=0.3)
        async with beating.claim() as claimed:
            await queue.pause(all=True, hard=True, reason="fire")
            with trio.fail_after(PATIENCE):
                await claimed.stop.wait()


async def test_heartbeats_go_on_while_the_daemon_restarts(daemon: Daemon) -> None:
    async with Client("beating", daemon.socket, watch=False) as beating:
        await beating.submit("t", lease=1)
        async with beating.claim() as claimed:
            until = claimed.expires_at
            await trio.to_thread.run_sync(daemon.restart)

            async def renewed() -> bool:
                return claimed.expires_at > until + 1

            await become(renewed)
        assert (await beating.show(claimed.id))["state"] == "done"


# -- a restart of the daemon ---------------------------------------------------------------------------


async def test_a_restarted_daemon_is_a_pause(daemon: Daemon, queue: Client) -> None:
    ids: list[int] = []

    async def submit() -> None:
        for number in range(100):
            ids.append(await queue.submit("t", f"number {number}"))
            async with queue.claim_new("u", "in between"):
                pass

    async def restart() -> None:
        for _ in range(3):
            before = len(ids)
            while len(ids) < before + 50:
                await trio.sleep(0.001)
            await trio.to_thread.run_sync(daemon.restart)
        await trio.to_thread.run_sync(daemon.stop)
        await trio.to_thread.run_sync(daemon.start)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(restart)
        for _ in range(6):
            nursery.start_soon(submit)
    assert len(set(ids)) == 600
    assert await states(queue) == {"ready": 600, "done": 600}


async def test_a_claim_outlives_the_daemon(daemon: Daemon, queue: Client) -> None:
    await queue.submit("t")
    async with queue.claim() as claimed:
        await trio.to_thread.run_sync(daemon.restart)
        await claimed.progress(50)
    assert (await queue.show(1))["state"] == "done"


async def test_a_waiting_claim_outlives_the_daemon(daemon: Daemon, queue: Client) -> None:
    found: list[int] = []

    async def claim() -> None:
        found.append((await queue.claim(wait=PATIENCE)).id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await become(lambda: waiting(queue, 1))
        await trio.to_thread.run_sync(daemon.restart)
        number = await queue.submit("t")
    assert found == [number]


# -- runs, threads and processes -----------------------------------------------------------------------


def test_a_client_goes_from_one_run_to_the_next(daemon: Daemon) -> None:
    queue = Client("a", daemon.socket, watch=False)

    async def hold() -> None:
        async with queue.claim_new("t", "d", lease=0.3) as item:
            with pytest.raises(Empty):
                await queue.claim(wait=1)
            await item.progress(1)

    for _ in range(2):
        trio.run(hold)
    queue.close()


async def test_two_runs_at_once_do_not_share_a_client(daemon: Daemon, queue: Client) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.status)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="one of its own"):
            await trio.to_thread.run_sync(trio.run, queue.status)
        os.kill(daemon.pid, signal.SIGCONT)


def drain(queue: Client, found: Any) -> None:
    async def work() -> None:
        async for item in queue.work(until_empty=True):
            async with item:
                found.put((item.id, queue.agent, os.getpid()))

    trio.run(work)
    found.put(None)


@pytest.mark.parametrize(("method", "workers"), [("fork", 16), ("spawn", 4), ("forkserver", 4)])
def test_processes_of_multiprocessing(daemon: Daemon, method: str, workers: int) -> None:
    queue = Client("tester", daemon.socket)

    async def submit() -> list[Any]:
        return [*await queue.submit_many([{"type": "t"}] * 100)]

    ids = trio.run(submit)
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
    assert trio.run(states, queue) == {"done": 100}
    queue.close()


async def test_a_forked_child_leaves_its_parents_claims_and_connections_alone(queue: Client) -> None:
    await queue.submit_many([{"type": "t"}] * 2)
    async with queue.claim() as claimed:
        child = os.fork()
        if child == 0:
            try:
                os._exit(child_of(queue, claimed))
            finally:
                os._exit(3)
        status = await trio.to_thread.run_sync(lambda: os.waitpid(child, 0)[1])
        assert os.waitstatus_to_exitcode(status) == 0
        assert (await queue.show(claimed.id))["state"] == "claimed"
        await claimed.progress(50)
    assert queue.agent == "tester"
    assert await states(queue) == {"done": 2}


def child_of(queue: Client, claimed: Claimed) -> int:
    """What a child does that was forked in the middle of a run: nothing of that run, but one of its own in a thread."""

    async def claim() -> None:
        await claimed.__aexit__(None, None, None)
        async with queue.claim():
            pass

    thread = threading.Thread(target=trio.run, args=(claim,))
    thread.start()
    thread.join()
    return 0 if queue.agent == f"tester.{os.getpid()}" else 1


def test_a_pickled_client_is_the_same_agent_in_the_same_process(daemon: Daemon) -> None:
    queue = Client("tester", daemon.socket)
    copy = pickle.loads(pickle.dumps(queue))
    assert (type(copy), copy.agent) == (Client, "tester")
    assert trio.run(states, copy) == {}
    for each in (queue, copy):
        each.close()


# -- locks ---------------------------------------------------------------------------------------------


async def holder(queue: Client) -> str | None:
    """Who has the lock, if somebody has."""
    found = [item async for item in queue.list(queue="@lock", state="claimed")]
    return found[0]["agent"] if found else None


async def test_a_block_holds_a_lock(daemon: Daemon, queue: Client) -> None:
    async with Client("other", daemon.socket) as other:
        async with queue.lock("l") as lock:
            assert str(lock.token).startswith(f"{lock.fence}.")
            assert await holder(queue) == queue.agent
            with pytest.raises(Refused) as refused:
                await other.lock("l", wait=0.01)
            assert (refused.value.code, refused.value.facts["holder"]) == ("timeout", queue.agent)
        assert await holder(queue) is None
        again = await other.lock("l", wait=5)
        assert again.fence > lock.fence
        await again.unlock()
        await again.unlock()
        with pytest.raises(ZeroDivisionError):
            async with queue.lock("l"):
                _ = 1 / 0
        assert await holder(queue) is None
        with pytest.raises(LeaseLost):
            async with queue.lock("l") as lost:
                await queue.unlock("l", force=True)
        assert lost.lost.is_set()


async def test_a_lock_whose_block_is_cancelled_goes_back(queue: Client) -> None:
    with trio.CancelScope() as scope:
        async with queue.lock("l"):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert await holder(queue) is None


async def test_who_is_cancelled_while_it_waits_for_a_lock_does_not_get_it(queue: Client) -> None:
    lock = await queue.lock("l")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(functools.partial(queue.lock, "l", wait=PATIENCE))

        async def waits() -> bool:
            return bool((await queue.status())["waiters"])

        await become(waits)
        nursery.cancel_scope.cancel()
    await lock.unlock()
    assert await holder(queue) is None


async def test_a_lock_is_kept_by_heartbeats(daemon: Daemon) -> None:
    async with Client("a", daemon.socket, watch=False) as queue, queue.lock("l", lease=0.3) as lock:
        before = lock.expires_at

        async def renewed() -> bool:
            return lock.expires_at > before + 0.4

        await become(renewed)
        assert await holder(queue) == "a"
