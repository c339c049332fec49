"""Whether the processes that hold work are alive, told by the kernel.

A pidfd is a descriptor of a process, not of its number: it becomes readable when the process exits, at once,
also while it is a zombie that nobody has waited for, and it never comes to mean another process. Clients open
one and pass it over their connection; a number from a client is never believed, as it may come from another
PID namespace or be in use again. One task waits for all of them through one epoll set.

A process is known by its identity ``(pid, inode)``. From Linux 6.9 a pidfd has an inode of its own, which no
other process of the same boot gets, so that a process is recognised after the daemon was restarted. Older kernels
give all pidfds one inode: it is 0 here, and such a process can be watched, but not found again.

Nothing is known here of items, agents and leases: what a death means is the callback's business.
"""

import errno
import os
import select
from collections.abc import Callable
from typing import Literal, NamedTuple

import trio

State = Literal["alive", "dead", "unknown"]

BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"

WATCHES_MAX = 16_384
"""Most processes that are watched at a time, as each costs a descriptor."""

GONE = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})
"""What pidfd_open answers when no process has the number; the last two when it is a thread's by now."""


class NotWatchable(Exception):
    """The descriptor cannot be watched. Its text says why, without the program's name."""


class Watch(NamedTuple):
    """A process that a client wants watched. If it is not alive, nothing is watched.

    Attributes:
        pid: in the daemon's PID namespace; 0 if it has none there, -1 if it was gone altogether.
        inode: of its pidfd; 0 where that tells nothing.
    """

    pid: int
    inode: int
    alive: bool

    @property
    def identity(self) -> tuple[int, int]:
        """What the process is known by."""
        return self.pid, self.inode


class Watches:
    """The watched processes.

    Args:
        on_death: called once for each identity that is watched, when its process has exited. It is called from
            ``run`` or ``look``; from within, watches may be added and discarded.
        limit: most processes watched at a time.
    """

    def __init__(self, on_death: Callable[[tuple[int, int]], None], limit: int = WATCHES_MAX) -> None:
        self._on_death = on_death
        self._limit = limit
        self._epoll = select.epoll()
        self._by_identity: dict[tuple[int, int], int] = {}
        self._by_descriptor: dict[int, tuple[int, int]] = {}
        self.recognises = _pidfds_have_inodes(self._epoll.fileno())
        """Whether a process can be found again after a restart."""

    def __len__(self) -> int:
        return len(self._by_identity)

    def __contains__(self, identity: tuple[int, int]) -> bool:
        return identity in self._by_identity

    def identities(self) -> list[tuple[int, int]]:
        """All that are watched."""
        return list(self._by_identity)

    def add(self, descriptor: int) -> Watch:
        """Watch the process of ``descriptor``, a pidfd that a client has passed; the descriptor is ours from now on.

        Raises:
            NotWatchable: it is no pidfd, or of a single thread, or there are too many, or the system lets us have no
                more; it has been closed.
        """
        kept = False
        try:
            os.set_inheritable(descriptor, False)
            pid = _pid_of(descriptor)
            watch = Watch(pid, self._inode(descriptor), pid != -1 and not _has_exited(descriptor))
            if watch.alive:
                self._make_way(watch)
                if watch.identity not in self._by_identity:
                    self._keep(watch.identity, descriptor)
                    kept = True
        except OSError as error:  # no client may end the daemon by asking at such a time
            raise NotWatchable(f"it cannot be watched now: {error.strerror}") from None
        finally:
            if not kept:
                os.close(descriptor)
        return watch

    def adopt(self, pid: int, inode: int) -> State:
        """Watch a process again that was watched before this daemon was started, in the same boot.

        ``dead`` means that it has exited, or another one has its number by now; ``unknown`` that this cannot be
        told, so that nothing is watched and its lease must decide. ``on_death`` is not called for what is dead here.
        """
        if pid <= 0 or inode == 0 or not self.recognises:
            return "unknown"
        if (pid, inode) in self._by_identity:
            return "alive"
        try:
            descriptor = os.pidfd_open(pid)
        except OSError as error:
            return "dead" if error.errno in GONE else "unknown"
        if self._inode(descriptor) != inode or _has_exited(descriptor):
            os.close(descriptor)
            return "dead"
        if len(self) >= self._limit:
            os.close(descriptor)
            return "unknown"
        self._keep((pid, inode), descriptor)
        return "alive"

    def discard(self, identity: tuple[int, int]) -> None:
        """Watch the process no longer, whoever asked for it; nothing happens if it is not watched."""
        descriptor = self._by_identity.pop(identity, None)
        if descriptor is not None:
            del self._by_descriptor[descriptor]
            self._epoll.unregister(descriptor)
            os.close(descriptor)

    def look(self) -> None:
        """Call ``on_death`` for every watched process that has exited, without waiting."""
        while events := self._epoll.poll(0):
            for descriptor, _ in events:
                # A callback may have discarded a later one of these, and its number may be another watch's by now.
                identity = self._by_descriptor.get(descriptor)
                if identity is not None and _has_exited(descriptor):
                    self._bury(identity)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The task that reports deaths as they happen, until it is cancelled."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.look()

    def close(self) -> None:
        """Watch nothing any more; ``run`` must have ended."""
        for identity in list(self._by_identity):
            self.discard(identity)
        self._epoll.close()

    def _inode(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_ino if self.recognises else 0

    def _make_way(self, watch: Watch) -> None:
        """Make sure that a watch under the same identity is of the same process, and that there is room."""
        older = self._by_identity.get(watch.identity)
        if older is not None and _has_exited(older):
            self._bury(watch.identity)  # where inodes tell nothing, its number is in use again
            older = None
        if older is None and watch.identity == (0, 0):
            raise NotWatchable("the process has no number in the daemon's PID namespace, and this kernel is too old")
        if older is None and len(self) >= self._limit:
            raise NotWatchable(f"{self._limit} processes are watched, which is the limit")

    def _keep(self, identity: tuple[int, int], descriptor: int) -> None:
        self._epoll.register(descriptor, select.EPOLLIN)
        self._by_identity[identity] = descriptor
        self._by_descriptor[descriptor] = identity

    def _bury(self, identity: tuple[int, int]) -> None:
        self.discard(identity)
        self._on_death(identity)


def boot_id() -> str:
    """Identity of the running boot, as 32 hexadecimal digits; empty if the system does not tell.

    A unit with ``ProcSubset=pid`` hides the kernel's file; it passes ``Environment=SWARMSH_BOOT_ID=%b`` then.
    """
    try:
        with open(BOOT_ID_FILE) as file:
            text = file.read()
    except OSError:
        text = os.environ.get("SWARMSH_BOOT_ID", "")
    return text.strip().replace("-", "")


def _pidfds_have_inodes(anonymous: int) -> bool:
    """Whether pidfds lie in a file system of their own, and not all in the one inode of ``anonymous``, an epoll set."""
    try:
        own = os.pidfd_open(os.getpid())
    except OSError:
        return False
    try:
        ours, shared = os.fstat(own), os.fstat(anonymous)
        return (ours.st_dev, ours.st_ino) != (shared.st_dev, shared.st_ino)
    finally:
        os.close(own)


def _pid_of(descriptor: int) -> int:
    """The number of the process; -1 if it has been waited for, 0 if it has none in our namespace.

    Raises:
        NotWatchable: it is no pidfd, or of a single thread.
    """
    with open(f"/proc/self/fdinfo/{descriptor}") as file:
        facts = dict(line.split(":", 1) for line in file if ":" in line)
    if "Pid" not in facts:
        raise NotWatchable("the descriptor is not a pidfd")
    if int(facts["flags"], 8) & os.O_EXCL:  # PIDFD_THREAD
        raise NotWatchable("the pidfd is of a thread; open one of the process")
    return int(facts["Pid"])


def _has_exited(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
