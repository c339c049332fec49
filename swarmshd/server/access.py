"""Who a peer is, as the kernel tells it, and which classes of verbs it may use.

The settings ACCESS_READ, ACCESS_WORK and ACCESS_ADMIN name users (by name or number), groups (``@name``), or
everybody (``*``). Each class includes the one before it. Root and the daemon's own user may do everything. The group
of the default need not exist: then nobody is in it.

The kernel shows whoever it cannot name in our user namespace as 65534. That may be anybody, so it is nobody: it has
only what is given to that user by name or number.
"""

import grp
import os
import pwd
import socket
import struct
from collections.abc import Sequence

from swarmshd.commands import Actor
from swarmshd.protocol import ADMIN, READ, WORK
from swarmshd.settings import Settings

_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59
UNKNOWN = 65534
"""The uid and gid of whoever has none here; what the kernel calls the overflow id."""

_GROUPS_MAX = 256
"""As many as Python's getsockopt has room for; of a peer that is in more, only the primary one counts."""


class Access:
    """The rights that the settings give.

    Raises:
        LookupError: a user or group is named that there is not; the text says where and which.
    """

    def __init__(self, settings: Settings) -> None:
        self._rules: list[tuple[str, _Members]] = []
        for level, name, members in (
            (READ, "ACCESS_READ", settings.access_read),
            (WORK, "ACCESS_WORK", settings.access_work),
            (ADMIN, "ACCESS_ADMIN", settings.access_admin),
        ):
            source = settings.source(name)
            try:
                self._rules.append((level, _Members(members)))
            except LookupError as error:
                if source == "default":
                    self._rules.append((level, _Members(())))
                    continue
                place = f"{source}: " if ":" in source else ""
                raise LookupError(f"{place}{name}: {error.args[0]}; name another") from None
        self._owners = {0, os.getuid()}

    def peer(self, connected: socket.socket) -> tuple[Actor, frozenset[str]]:
        """The peer of a connected Unix socket, and the classes it may use."""
        pid, uid, gid = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid in self._owners:
            return Actor(uid, pid, admin=True), frozenset((READ, WORK, ADMIN))
        groups = {gid, *_peer_groups(connected)}
        granted: set[str] = set()
        for level, (_, members) in enumerate(self._rules):
            if members.include(uid, groups):
                granted.update(name for name, _ in self._rules[: level + 1])
        return Actor(uid, pid, admin=ADMIN in granted), frozenset(granted)


class _Members:
    """A list of users and groups, looked up once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._everybody = "*" in names
        self._users: set[int] = set()
        self._groups: set[int] = set()
        for name in names:
            if name.startswith("@"):
                self._groups.add(_lookup(name[1:], "group"))
            elif name != "*":
                self._users.add(_lookup(name, "user"))

    def include(self, uid: int, groups: set[int]) -> bool:
        if uid in self._users:
            return True
        if uid == UNKNOWN:
            return False
        return self._everybody or not self._groups.isdisjoint(groups - {UNKNOWN})


def _lookup(name: str, kind: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise LookupError(f"there is no {kind} {name}") from None


def _peer_groups(connected: socket.socket) -> Sequence[int]:
    """The supplementary groups of the peer; Linux has told them since 4.13."""
    try:
        data = connected.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _GROUPS_MAX)
    except OSError:
        return ()
    return struct.unpack(f"{len(data) // 4}I", data)
