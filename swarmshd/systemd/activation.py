"""The listening socket that a service manager hands over."""

import os
import socket
import stat

FIRST_DESCRIPTOR = 3
"""Number of the first descriptor that a manager hands over."""

SOCKET_NAME = "ctl"
"""``FileDescriptorName=`` of our socket, which picks it if there are several."""


class ActivationError(Exception):
    """What the manager handed over is not what we can serve on. Its text says what, and what to do."""


def listening_socket() -> socket.socket | None:
    """The Unix stream socket that the manager listens on for us; None if it handed over nothing.

    It is not ours to bind, unlink or shut down: it outlives this process, with the clients that wait in it.

    Raises:
        ActivationError: it handed over something else. The descriptors have been closed.
    """
    pid, count, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()):
        return None
    if not count.isdecimal():
        raise ActivationError(f"LISTEN_FDS is {count!r}, not a number; start swarmshd without it, or by its unit")
    descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))
    named = dict(zip(descriptors, names.split(":"), strict=False))
    chosen = [fd for fd in descriptors if named.get(fd) == SOCKET_NAME] or list(descriptors)
    for fd in descriptors:
        if len(chosen) > 1 or fd not in chosen:
            _close(fd)
    if len(chosen) > 1:
        raise ActivationError(
            f"{len(chosen)} sockets were handed over; leave one, or name ours FileDescriptorName={SOCKET_NAME}"
        )
    return _checked(chosen[0]) if chosen else None


def _checked(descriptor: int) -> socket.socket:
    """The socket of ``descriptor``. Raises ActivationError if it cannot be served on, and closes it."""
    advice = "the unit needs ListenStream=PATH and Accept=no"
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            _close(descriptor)
            raise ActivationError(f"descriptor {descriptor} is not a socket; {advice}")
    except OSError as error:
        raise ActivationError(f"descriptor {descriptor} is not there: {error.strerror}; {advice}") from error
    handed = socket.socket(fileno=descriptor)
    is_stream = handed.family == socket.AF_UNIX and handed.type == socket.SOCK_STREAM
    if not is_stream or not handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        handed.close()
        what = "does not listen" if is_stream else "is not a Unix stream socket"
        raise ActivationError(f"descriptor {descriptor} {what}; {advice}")
    handed.set_inheritable(False)
    return handed


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass  # it was announced but not there
