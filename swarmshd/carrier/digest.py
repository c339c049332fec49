"""What the daemon's state is at a position, as a digest, to be held against what the journal gives.

The digest takes microseconds an item, and nothing may change meanwhile. So a copy of the process makes it: the kernel
copies what is written to since, page by page, and the daemon goes on. The copy keeps nothing open that is ours (else
the lock and the connections would live on in it), stands back, and ends with us.

We have threads, and of those only the one that forks is in the copy: whatever lock another one held would stay locked
there for ever. From Python 3.12 on that is warned of. The copy takes none that lives across the fork: it imports,
logs and loads nothing, and the system's allocator and the interpreter's own locks are made anew by the fork. Should
it hang all the same it is ended in time. So the warning is left out here, and only here.
"""

import gc
import os
import signal
import warnings
from typing import NamedTuple, NoReturn

import trio

from swarmshd import beside
from swarmshd.commands import Refusal
from swarmshd.engine import Engine
from swarmshd.workqueue.rows import digest_of
from swarmshd.workqueue.tables import Tables

PATIENCE = 600.0
"""Seconds after which the copy is ended: it hangs, or somebody has stopped it."""

WAIT = 0.005
"""Seconds between looks whether a position is durable."""

DESCRIPTORS = 1 << 20


class State(NamedTuple):
    """The digest of the state at a position, which is durable."""

    position: int
    digest: bytes


class _Copy:
    """A process that has the state of this moment."""

    def __init__(self, tables: Tables) -> None:
        self.position = tables.position
        self.output, output = os.pipe()
        parent = os.getpid()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self.pid = os.fork()
        except BaseException:
            os.close(self.output)
            os.close(output)
            raise
        if self.pid == 0:
            _tell(tables, output, parent)
        os.close(output)

    def close(self) -> None:
        """End it, if it has not ended."""
        os.close(self.output)
        os.kill(self.pid, signal.SIGKILL)  # it is ours to reap, so the number is still its own
        os.waitpid(self.pid, 0)


def _tell(tables: Tables, output: int, parent: int) -> NoReturn:
    """Be the copy."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(0, output)
        os.closerange(output + 1, DESCRIPTORS)
        beside.settle(parent)
        gc.disable()
        os.write(output, digest_of(tables))
        status = 0
    finally:
        os._exit(status)


async def state_of(engine: Engine) -> State:
    """The digest of the state that the engine has now, when its position is durable.

    Raises:
        Refusal: it could not be had. OSError: the system lets us have no more processes or descriptors.
    """
    copy = await _copied(engine)
    digest = b""
    try:
        with trio.move_on_after(PATIENCE):
            await trio.lowlevel.wait_readable(copy.output)
            digest = os.read(copy.output, 64)
    finally:
        copy.close()
    if not digest:
        raise Refusal("overloaded", "journal: no digest of the daemon's state could be made; try again later")
    while engine.journal.durable < copy.position:  # noqa: ASYNC110 - a sync is as short, and this is seldom asked for
        await trio.sleep(WAIT)
    return State(copy.position, digest)


async def _copied(engine: Engine) -> _Copy:
    """A copy made at a moment at which a batch ends."""
    done = trio.Event()
    wanted = True
    made: list[_Copy | OSError] = []

    def make() -> None:
        if wanted:
            try:
                made.append(_Copy(engine.queue.tables))
            except OSError as error:
                made.append(error)
            done.set()

    engine.when_written(make)
    try:
        await done.wait()
    except BaseException:
        wanted = False
        for each in made:
            if isinstance(each, _Copy):
                each.close()
        raise
    (found,) = made
    if isinstance(found, OSError):
        raise found
    return found
