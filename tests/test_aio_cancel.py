"""Whatever the client for trio is doing, it may be cancelled: nothing stays held, nothing is done twice.

What became of it is always asked of the daemon.
"""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from swarmctl import Empty
from swarmctl.aio import Claimed, Client, claimed
from swarmctl.client import held
from tests.conftest import PATIENCE, Daemon
from tests.test_connection import Daemon as Scripted
from tests.test_connection import Peer

pytestmark = pytest.mark.real

Scenario = Callable[[Client], Awaitable[object]]


@pytest.fixture
async def queue(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client("tester", daemon.socket) as client:
        yield client


async def become(true: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is so."""
    with trio.fail_after(PATIENCE):
        while not await true():
            await trio.lowlevel.checkpoint()


async def states(queue: Client) -> dict[str, int]:
    return {state: number for state, number in (await queue.count_by("state", all=True)).items() if number}


async def waiters(queue: Client) -> int:
    number: int = (await queue.status())["waiters"]
    return number


CUT = object()
"""What came of a call that was cancelled."""


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when a task has been run so many times in it."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.scope = trio.CancelScope()
        self.task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left < 0:
                self.scope.cancel()


async def each_step(call: Callable[[], Awaitable[object]]) -> AsyncIterator[object]:
    """Run this again and again, cancelled when its task has been run never, once, twice, until it ends before.

    Yields what it gave or raised each time.
    """
    steps = 0
    uncut = False
    while not uncut:
        instrument = CancelAtStep(steps)
        trio.lowlevel.add_instrument(instrument)
        came: object = None
        try:
            with instrument.scope:
                came = await call()
        except Exception as error:  # noqa: BLE001 - it is looked at by whoever goes through the steps
            came = error
        finally:
            trio.lowlevel.remove_instrument(instrument)
        uncut = not instrument.scope.cancel_called
        yield CUT if instrument.scope.cancelled_caught else came
        steps += 1
        assert uncut or steps < 100
    assert steps > 1


# -- one call ------------------------------------------------------------------------------------------


async def test_a_waiting_claim_that_is_cancelled_waits_no_more(queue: Client) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(lambda: queue.claim(wait=PATIENCE))
        await become(lambda: _so(waiters, queue, 10))
        nursery.cancel_scope.cancel()
    assert await waiters(queue) == 0
    number = await queue.submit("t")
    shown = await queue.show(number)
    assert (shown["state"], shown["attempt"]) == ("ready", 0)


async def _so(what: Callable[[Client], Awaitable[object]], queue: Client, value: object) -> bool:
    return await what(queue) == value


async def test_a_claim_whose_reply_has_come_but_was_not_read_is_taken_back(
    queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon has claimed, synced and sent; the task is cancelled before it looks."""
    number = await queue.submit("t")
    with trio.CancelScope() as scope:

        async def wait(self: Any, seconds: float) -> None:
            while (await queue.show(number))["attempt"] == 0:  # over the connection of all others
                await real(self, 0.001)
            scope.cancel()
            await trio.lowlevel.checkpoint()

        from swarmctl.aio.connection import Line

        real = Line.wait
        shared = queue._shared
        await queue.status()

        async def only_alone(self: Any, seconds: float) -> None:
            await (real if self is shared._line else wait)(self, seconds)

        monkeypatch.setattr(Line, "wait", only_alone)
        await queue.claim()
    monkeypatch.undo()
    assert scope.cancelled_caught
    shown = await queue.show(number)
    assert (shown["state"], shown["releases"], shown["failures"], shown["crashes"]) == ("ready", 0, 0, 0)


async def one(answer: Awaitable[Claimed]) -> list[Claimed]:
    return [await answer]


async def gathered(queue: Client) -> list[Claimed]:
    async with queue.pipeline() as p:
        handles = [p.claim(), p.claim_new("t", "made"), p.claim()]
    return [handle.result() for handle in handles]


async def worked(queue: Client) -> list[Claimed]:
    async with queue.work(until_empty=True) as items:
        async for item in items:
            await item.release(delay=3600)
    return []


CLAIMS: dict[str, Callable[[Client], Awaitable[list[Claimed]]]] = {
    "claim": lambda queue: one(queue.claim()),
    "claim_many": lambda queue: queue.claim_many(2),
    "wait": lambda queue: queue.claim_many(2, wait=60),
    "nothing": lambda queue: queue.claim_many(2, "other", wait=0.001),
    "resume": lambda queue: queue.claim_many(2, resume=True),
    "claim_new": lambda queue: one(queue.claim_new("t", "made")),
    "pipeline": gathered,
    "work": worked,
}


@pytest.mark.parametrize("verb", CLAIMS)
async def test_a_claim_may_be_cancelled_at_every_step(queue: Client, verb: str) -> None:
    """When it has ended nothing is held that it did not give, and all that it had for a moment is there again."""
    ids = await queue.submit_many([{"type": "t"}] * 3, atomic=True)
    async for came in each_step(lambda: CLAIMS[verb](queue)):
        found = [item.id for item in came] if isinstance(came, list) else []
        assert found or came is CUT or isinstance(came, Empty) or verb == "work"
        held = await queue.held()
        assert sorted(item.id for item in held) == sorted(found)
        for item in held:
            await item.release()
        assert (await queue.status())["waiters"] == 0
    rows = [await queue.show(number) for number in ids]
    ill = [(row["failures"], row["crashes"], row.get("reason")) for row in rows if row["failures"] or row["crashes"]]
    assert not ill, ill
    assert {row["state"] for row in rows} == {"scheduled" if verb == "work" else "ready"}


async def test_a_daemon_that_is_killed_after_a_cancelled_claim_holds_nothing_either(
    daemon: Daemon, queue: Client
) -> None:
    """It reads the claim and what asks for its end at once, and dies as soon as both are answered."""
    await queue.submit("t")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.claim)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
    daemon.restart()
    shown = await queue.show(1)
    assert (shown["state"], shown["releases"], shown["crashes"]) == ("ready", 0, 0)


async def test_a_claim_that_was_sent_twice_and_cancelled_is_asked_for_and_given_back(tmp_path: Path) -> None:
    """The connection broke after it was sent: the daemon that was asked first may have granted it."""
    path = str(tmp_path / "s")
    seen: list[tuple[str, dict[str, Any]]] = []

    def take(peer: Peer) -> int:
        number, verb, arguments = peer.read()
        seen.append((verb, arguments))
        return number

    def cancel(peer: Peer) -> None:
        take(peer)
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        with pytest.raises(EOFError):
            peer.read()

    token, scope = trio.lowlevel.current_trio_token(), trio.CancelScope()
    scripted = Scripted(
        path,
        lambda _: None,  # the connection of all other requests, opened before
        take,
        cancel,
        lambda peer: peer.send(take(peer), 0, {"items": [{"id": 7, "token": "1.ab"}]}),
        lambda peer: peer.send(take(peer), 0, {}),
    )
    async with Client("a", path, watch=False) as queue:
        with scope:
            await queue.claim(wait=60)
        await trio.to_thread.run_sync(scripted.done)
    assert scope.cancelled_caught
    assert [verb for verb, _ in seen] == ["claim", "claim", "claim", "release"]
    assert len({arguments["key"] for _, arguments in seen[:3]}) == 1
    assert seen[2][1]["wait"] == 0
    assert (seen[3][1]["id"], seen[3][1]["token"]) == (7, "1.ab")


@pytest.mark.parametrize("key", ["k", None])
async def test_a_change_may_be_cancelled_at_every_step(queue: Client, key: str | None) -> None:
    made = 0
    async for came in each_step(lambda: queue.submit("t", key=key)):
        made += 1
        assert await queue.count("ready") <= (1 if key else made)
        assert (await queue.status())["connections"] == 1
        assert came is CUT or isinstance(came, int)


# -- an item's block -----------------------------------------------------------------------------------


async def test_a_block_that_is_cancelled_releases_its_item(queue: Client) -> None:
    number = await queue.submit("t")
    with trio.CancelScope() as scope:
        async with queue.claim() as item:
            await item.progress(1)
            scope.deadline = trio.current_time() + 0.01
            await trio.sleep_forever()
    assert scope.cancelled_caught
    shown = await queue.show(number)
    assert (shown["state"], shown["failures"], shown["releases"]) == ("ready", 0, 1)


async def test_blocks_that_are_cancelled_before_their_work_has_begun_bury_nothing(
    queue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "BEGUN", 3600.0)
    number = await queue.submit("t")
    for _ in range(25):  # RELEASE_CAP is 20
        with trio.CancelScope() as scope:
            async with queue.claim():
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
    shown = await queue.show(number)
    assert (shown["state"], shown["attempt"], shown["releases"]) == ("ready", 25, 0)


async def test_a_block_that_came_to_its_end_is_completed_although_it_was_cancelled(queue: Client) -> None:
    number = await queue.submit("t")
    with trio.CancelScope() as scope:
        async with queue.claim():
            scope.cancel()
        pytest.fail("the cancellation was lost")
    assert scope.cancelled_caught
    assert (await queue.show(number))["state"] == "done"


async def test_an_error_in_a_cancelled_block_is_what_counts(queue: Client) -> None:
    number = await queue.submit("t", max_attempts=1)
    with trio.CancelScope() as scope, pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with queue.claim():
            scope.cancel()
            _ = 1 / 0
    assert (await queue.show(number))["reason"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("ending", ["complete", "fail", "release"])
async def test_an_items_end_may_be_cancelled_at_every_step(queue: Client, ending: str) -> None:
    """Once the block has begun, it ends as it would have; before that, nothing is held."""
    begun: list[int] = []

    async def block() -> None:
        async with queue.claim() as item:
            begun.append(item.id)
            if ending == "fail":
                raise ValueError
            if ending == "release":
                await item.progress(50)
                await item.release()

    number = await queue.submit("t", max_attempts=1)
    async for came in each_step(block):
        assert came is CUT or came is None or (ending == "fail" and isinstance(came, ValueError))
        state = (await queue.show(number))["state"]
        assert state == ({"complete": "done", "fail": "buried", "release": "ready"}[ending] if begun else "ready")
        begun.clear()
        if state != "ready":
            number = await queue.submit("t", max_attempts=1)


async def test_a_nursery_that_is_cancelled_releases_all_its_items(queue: Client) -> None:
    await queue.submit_many([{"type": "t"}] * 30)

    async def hold(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with queue.claim():
            task_status.started()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            await nursery.start(hold)
        assert await states(queue) == {"claimed": 30}
        nursery.cancel_scope.cancel()
    assert await states(queue) == {"ready": 30}
    assert sum([row["attempt"] async for row in queue.list(state="ready")]) == 30
    assert sum([row["failures"] + row["crashes"] async for row in queue.list()]) == 0


async def test_a_sibling_that_breaks_releases_the_items_of_the_others(queue: Client) -> None:
    await queue.submit_many([{"type": "t", "max_attempts": 1}] * 3)

    async def hold() -> None:
        async with queue.claim() as item:
            if item.id == 2:
                raise ValueError("two")
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(hold)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert await states(queue) == {"ready": 2, "buried": 1}


async def test_what_cannot_be_given_back_ends_in_bounded_time(
    daemon: Daemon, queue: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claimed, "GRACE", 0.05)
    number = await queue.submit("t")
    with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
        async with queue.claim():
            os.kill(daemon.pid, signal.SIGSTOP)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert [record.getMessage() for record in caplog.records] == ["item 1 could not be given back in 0.05 s"]
    os.kill(daemon.pid, signal.SIGCONT)

    async def ready() -> bool:  # what was sent is carried out
        return bool((await queue.show(number))["state"] == "ready")

    await become(ready)


async def test_a_block_is_left_while_the_daemon_restarts(daemon: Daemon, queue: Client) -> None:
    number = await queue.submit("t")
    with trio.CancelScope() as scope:
        async with queue.claim():
            daemon.kill()
            scope.cancel()
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.shield = True
                nursery.start_soon(trio.to_thread.run_sync, daemon.start)
            await trio.sleep_forever()
    assert (await queue.show(number))["state"] == "ready"


# -- control-C -----------------------------------------------------------------------------------------

HOLDER = """
import sys, trio
from swarmctl.aio import Client
async def main():
    async with Client() as queue:
        async with queue.claim(wait=60) as item:
            print(item.id, flush=True)
            if sys.argv[1] == "sleep":
                await trio.sleep_forever()
            while True:
                if sys.argv[1] == "ask":
                    await queue.status()
trio.run(main)
"""


@pytest.mark.parametrize("doing", ["wait", "sleep", "spin", "ask"])
async def test_control_c_gives_the_item_back(daemon: Daemon, queue: Client, doing: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, doing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=daemon.environment(SWARMSH_AGENT="holder"),
    )
    assert process.stdout is not None
    number = 0
    if doing == "wait":
        await become(lambda: _so(waiters, queue, 1))
    else:
        number = await queue.submit("t")
        assert process.stdout.readline() == f"{number}\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "Group" not in errors
    if doing == "wait":
        await become(lambda: _so(waiters, queue, 0))
    else:
        shown = await queue.show(number)
        assert (shown["state"], shown["failures"], shown["crashes"]) == ("ready", 0, 0)


WORKERS = """
import trio
from swarmctl.aio import Client
async def work(queue):
    while True:
        async with queue.claim(wait=60) as item:
            await item.progress(1)
async def main():
    async with Client() as queue, trio.open_nursery() as nursery:
        print("up", flush=True)
        for _ in range(3):
            nursery.start_soon(work, queue)
        await work(queue)
trio.run(main)
"""


async def test_control_c_at_any_moment_fails_nothing_and_leaves_nothing_held(daemon: Daemon, queue: Client) -> None:
    await queue.submit_many([{"type": "t"}] * 3000)
    for n in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKERS],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=daemon.environment(SWARMSH_AGENT=f"worker-{n}"),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        await trio.sleep(random.random() / 10)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    rows = [row async for row in queue.list(all=True)]
    assert {row["state"] for row in rows} <= {"ready", "done"}
    ill = [(row["failures"], row["crashes"], row.get("reason")) for row in rows if row["failures"] or row["crashes"]]
    assert not ill, ill


STEPS = """
import signal, sys, trio, swarmctl
from swarmctl.aio import Client
from swarmctl.aio import answer, claimed, locked, looping

async def claim(queue):
    async with queue.claim("t") as item:
        await item.progress(1)

async def work(queue):
    async with queue.work("t") as items:
        async for item in items:
            await item.progress(1)
            break

async def lock(queue):
    async with queue.lock("l"):
        await queue.status()

async def main(what):
    async with Client() as queue:
        await what(queue)

def interrupted_at(step, what):
    left = step
    def trace(frame, event, _):
        nonlocal left
        if event in ("call", "line") and frame.f_code.co_filename in files:
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)
        return trace
    sys.settrace(trace)
    try:
        trio.run(main, what)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return left <= 0

files = {module.__file__ for module in (answer, claimed, locked, looping)}
what = globals()[sys.argv[1]]
step = 1
with swarmctl.Client() as after:
    while interrupted_at(step, what):
        if after.held():
            sys.exit(f"held after step {step}: {after.held()}")
        after.lock("l").unlock()
        step += 1
print(step)
"""


@pytest.mark.parametrize("what", ["claim", "work", "lock"])
async def test_control_c_at_every_step_leaves_nothing_held(daemon: Daemon, queue: Client, what: str) -> None:
    """At every line that gives or ends something in hand; the process lives on, so its end gives nothing back."""
    await queue.submit_many([{"type": "t"}] * 1000)
    command = [sys.executable, "-c", STEPS, what]
    done = await trio.run_process(
        command, capture_stdout=True, capture_stderr=True, check=False, env=daemon.environment(SWARMSH_AGENT="holder")
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 10
    rows = [row async for row in queue.list(all=True)]
    assert not [row for row in rows if row["failures"] or row["crashes"]]


# -- everything at once --------------------------------------------------------------------------------


class Ledger:
    """What has been done, by what the tasks saw."""

    def __init__(self) -> None:
        self.done: Counter[int] = Counter()
        self.cut = 0


async def agent(queue: Client, ledger: Ledger, dice: random.Random) -> None:
    """Claims and works, until it is cancelled."""
    while True:
        async with queue.claim(wait=60) as item:
            for percent in range(dice.randrange(3)):
                await item.progress(percent)
            if dice.random() < 0.2:
                await queue.submit("more", unique=f"u{dice.randrange(5)}", group="more")
            if dice.random() < 0.1:
                await trio.sleep(dice.random() / 100)
            ledger.done[item.id] += 1  # from here it is sure to be completed


@pytest.mark.parametrize("seed", range(4))
async def test_cancelled_at_random_nothing_is_held_and_nothing_done_twice(
    daemon: Daemon, queue: Client, seed: int
) -> None:
    dice = random.Random(seed)
    ledger = Ledger()
    ids = await queue.submit_many([{"type": "t"}] * 400, atomic=True)
    descriptors = len(os.listdir("/proc/self/fd"))
    for turn in range(60):
        if turn % 20 == 19 and seed % 2:
            await trio.to_thread.run_sync(daemon.restart)
        async with trio.open_nursery() as nursery:
            for _ in range(dice.randrange(1, 12)):
                nursery.start_soon(agent, queue, ledger, random.Random(dice.random()))
            await trio.sleep(dice.random() / 25)
            nursery.cancel_scope.cancel()
    assert await queue.held() == []
    assert await waiters(queue) == 0
    done = [row["id"] async for row in queue.list(state="done", type="t")]
    assert sorted(number for number, times in ledger.done.items() if number in set(ids)) == done
    assert max(ledger.done.values()) == 1
    rows = [row async for row in queue.list(all=True, type="t")]
    assert {row["state"] for row in rows} <= {"done", "ready"}
    ill = [(row["failures"], row["crashes"], row.get("reason")) for row in rows if row["failures"] or row["crashes"]]
    assert not ill, ill
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 26  # twelve lines, each with its set, and the shared one
    async for item in queue.work(until_empty=True):  # whatever is left can be done
        async with item:
            ledger.done[item.id] += 1
    assert max(ledger.done.values()) == 1
    assert await queue.count() == 0
