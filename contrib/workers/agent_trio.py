#!/usr/bin/env python3
"""An agent for trio: several programs at once, each an item's payload run by the shell.

SIGTERM and control-C cancel what runs and give the items back; a program that fails fails its item;
`--until-empty` ends when nothing is left.
"""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import trio

from swarmctl.aio import Client

AT_ONCE = 4


async def work(queue: Client) -> None:
    """One of those that work side by side."""
    async for item in queue.work(type="shell", until_empty="--until-empty" in sys.argv):
        async with item:
            command = ["/bin/sh", "-c", (item.payload or b"").decode()]
            done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                await item.fail(f"exit status {done.returncode}", output=done.stdout)
            else:
                await item.complete(output=done.stdout)


async def main() -> int:
    """Work until told to stop."""
    async with Client() as queue, trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as workers:
                nursery.start_soon(stop, signals, workers.cancel_scope)
                for _ in range(AT_ONCE):
                    workers.start_soon(work, queue)
        nursery.cancel_scope.cancel()
    return 130 if workers.cancel_scope.cancelled_caught else 0


async def stop(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """Cancel at the first signal."""
    async for _ in signals:
        scope.cancel()
        return


if __name__ == "__main__":
    sys.exit(trio.run(main))
