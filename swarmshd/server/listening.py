"""The listening socket, and how many connections and watched processes the process can hold."""

import errno
import os
import resource
import socket
import stat
from contextlib import suppress

KEPT_DESCRIPTORS = 256
"""Descriptors for everything but connections and watched processes; strays that peers pass are among them."""

LEAST = 32
"""Connections and watched processes that there are in any case."""

PROBE_PATIENCE = 1.0
"""Seconds that somebody who listens at our path has to take a connection."""


def listen(path: str, mode: int, backlog: int = 1024) -> socket.socket:
    """A listening Unix socket at ``path``; a socket that nobody listens on is replaced.

    Raises:
        OSError: somebody listens there (EADDRINUSE), it is no socket, or the directory does not allow it.
    """
    with suppress(FileNotFoundError, ConnectionRefusedError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "something that is no socket is there already", path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(PROBE_PATIENCE)
            with suppress(BlockingIOError, TimeoutError):  # its backlog is full: somebody listens, if slowly
                probe.connect(path)
        raise OSError(errno.EADDRINUSE, "somebody listens there already", path)
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def descriptor_budget(connections: int, watches: int) -> tuple[int, int]:
    """How many connections and watched processes the process's descriptors allow, of as many as are wanted.

    As many descriptors as may be had are asked for; some are kept for the journal and the rest of the program.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    room = max(soft - KEPT_DESCRIPTORS, 2 * LEAST)
    if connections + watches > room:
        connections = min(connections, room // 2)
        watches = min(watches, room - connections)
    return connections, watches
