"""The Python Client under load: ``python -m tests.benchmark.clients SOCKET THREADS SECONDS``, one process of several.

It costs more than the daemon does, and takes the processor from it; so its rate says what programs in Python get on
this machine together, and not what the daemon can give.
"""

import subprocess
import sys
import threading
import time

from swarmctl import Client
from tests.benchmark.durable import CLIENTS
from tests.benchmark.figure import Figure, Found
from tests.benchmark.ground import Ground
from tests.benchmark.load import DESCRIPTION

PROCESSES = 4
SECONDS = 1.5


def clients(ground: Ground) -> Found:
    """64 threads of the Python Client, in four processes."""
    threads = CLIENTS // PROCESSES
    with ground.daemon() as daemon:
        words = [sys.executable, "-m", "tests.benchmark.clients", daemon.socket, str(threads), str(SECONDS)]
        started = [
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=daemon.environment())
            for _ in range(PROCESSES)
        ]
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            done = sum(int(process.communicate()[0]) for process in _released(started))
        finally:
            for process in started:
                process.kill()
                process.wait()
    yield Figure(f"{CLIENTS} threads of Client, submit", done / SECONDS, "/s", note=f"in {PROCESSES} processes")


def _released(started: "list[subprocess.Popen[str]]") -> "list[subprocess.Popen[str]]":
    """Let all of them begin at once."""
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return started


def main() -> None:
    """Submit from so many threads for so long; print how many were acknowledged."""
    path, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    done = [0] * threads
    with Client("load", path, watch=False) as queue:
        queue.submit("build", DESCRIPTION)
        begin = threading.Barrier(threads + 1)

        def run(number: int) -> None:
            begin.wait()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                queue.submit("build", DESCRIPTION)
                done[number] += 1

        running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        print("ready", flush=True)
        sys.stdin.readline()
        begin.wait()
        for thread in running:
            thread.join()
    print(sum(done))


if __name__ == "__main__":
    main()
