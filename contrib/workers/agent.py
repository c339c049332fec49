#!/usr/bin/env python3
"""An agent in Python: hashes payloads piece by piece, and goes on where the last holder stopped.

SIGTERM and control-C give the item in hand back; an exception fails it; `--until-empty` ends when nothing is left.
"""

import hashlib
import signal
import sys
from types import FrameType

from swarmctl import Client

PIECE = 1 << 16


def stop(_number: int, _frame: FrameType | None) -> None:
    """Leave like control-C, so that the item in hand is given back."""
    raise KeyboardInterrupt


def main() -> int:
    """Work until told to stop."""
    signal.signal(signal.SIGTERM, stop)
    try:
        with Client() as queue:
            for item in queue.work(type="hash", until_empty="--until-empty" in sys.argv):
                with item:
                    data = item.payload or b""
                    pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
                    digests = (item.checkpoint or b"").decode().split()
                    for number in range(len(digests), len(pieces)):
                        digests.append(hashlib.sha256(pieces[number]).hexdigest())
                        item.progress(100 * (number + 1) // len(pieces), checkpoint=" ".join(digests))
                    item.complete(result=hashlib.sha256("".join(digests).encode()).hexdigest())
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
