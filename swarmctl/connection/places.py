"""Where the daemon's socket is, how it is opened, and what to do when it cannot be.

The places are those of the documentation, in its order. A socket in /tmp is taken only from a directory that nobody
else can write to; whose daemon answers is looked at again after the connect.
"""

import os
from _socket import AF_UNIX, SCM_RIGHTS, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct

from swarmctl.connection.refused import Denied, Unreachable, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PATH_MAX = 107
"""Bytes that fit into the address of a Unix socket."""

OWNER = "swarmsh"
"""The user that the system's daemon runs as."""

UNITS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
"""Where the daemon is a service, if it is one."""

_CREDENTIALS = Struct("3i")
_SOCKET_TYPE, _TYPE_MASK = 0o140000, 0o170000


def find_socket(explicit: "str | None" = None) -> str:
    """The path of the daemon's socket: ``explicit``, ``$SWARMSH_SOCKET``, or the first place that has one.

    Raises:
        Unreachable: no place has one; ``facts["tried"]`` lists each path and why not. ``retryable`` says whether a
            daemon may appear there without further doing: the directory exists.
        Denied: there may be one, but this user may not open it; the message says which group helps, and how.
        Refused: ``bad_request``, for a named path that is too long.
    """
    named = explicit or os.environ.get("SWARMSH_SOCKET")
    tried: list[list[str]] = []
    closed = None
    hope = False
    for path in [named] if named else _places():
        try:
            why = _why_not(path)
            if why is None:
                return path
        except PermissionError:
            why, closed = "permission denied", closed or path
        except FileNotFoundError:
            why = "no such file"
            hope = hope or os.path.isdir(os.path.dirname(path) or ".")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
        tried.append([path, why])
    if named and len(os.fsencode(named)) > PATH_MAX:
        raise refusal("bad_request", {"message": f"{named}: {tried[0][1]}", "retryable": False})
    if closed:
        raise denied(closed)
    raise unreachable(tried, retryable=hope)


def _places() -> "Iterable[str]":
    uid = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    roots = [runtime] if runtime.startswith("/") else []
    roots += [f"/run/user/{uid}", "/run"]
    places = dict.fromkeys(f"{root.rstrip('/')}/swarmsh/swarmsh.sock" for root in roots)
    return [*places, f"/tmp/swarmsh-{uid}/swarmsh.sock"]  # noqa: S108 - its directory is checked below


def _why_not(path: str) -> "str | None":
    """Why ``path`` cannot be the socket; None if it can. Raises what the file system says."""
    length = len(os.fsencode(path))
    if length > PATH_MAX:
        return f"{length} bytes long; the path of a socket has at most {PATH_MAX}"
    if os.stat(path).st_mode & _TYPE_MASK != _SOCKET_TYPE:
        return "not a socket"
    directory = os.path.dirname(path)
    if directory == f"/tmp/swarmsh-{os.geteuid()}":  # noqa: S108 - anybody can make a directory in /tmp
        status = os.lstat(directory)
        if status.st_mode != 0o040700 or status.st_uid != os.geteuid():
            return f"{directory} is not a directory of yours with mode 0700"
    if not os.access(path, os.W_OK, effective_ids=True):
        raise PermissionError
    return None


def open_socket(path: str) -> socket:
    """A socket that is connected to the daemon at ``path``, and never blocks.

    Raises:
        OSError: nobody is there now, or nobody accepts; it may be tried again.
        Unreachable: trying again is no use.
        Denied: this user may not open it.
    """
    link = socket(AF_UNIX, SOCK_STREAM)
    try:
        link.settimeout(0)  # a Unix socket connects at once, or says EAGAIN when the daemon's backlog is full
        link.connect(path)
        _, uid, _ = _CREDENTIALS.unpack(link.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
        if not is_ours(uid):
            why = f"a socket that is not ours: its owner is uid {uid}, not root, {OWNER} or you"
            raise unreachable([[path, why]], retryable=False)
    except PermissionError:
        link.close()
        raise denied(path) from None
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, InterruptedError):
        link.close()
        raise
    except OSError as error:
        link.close()
        raise unreachable([[path, (error.strerror or str(error)).lower()]], retryable=False) from None
    except BaseException:
        link.close()
        raise
    return link


def rights(fds: "Sequence[int]") -> "list[tuple[int, int, bytes]]":
    """The ancillary data that passes these descriptors."""
    return [(SOL_SOCKET, SCM_RIGHTS, Struct(f"{len(fds)}i").pack(*fds))] if fds else []


def unreachable(tried: "list[list[str]]", *, retryable: bool) -> Unreachable:
    """The refusal that names each path tried and why it would not do."""
    where = "; ".join(f"{path}: {why}" for path, why in tried)
    service = any(os.path.exists(f"{directory}/swarmshd.service") for directory in UNITS)
    return Unreachable(
        "unreachable",
        {
            "message": f"the daemon is not reachable ({where})",
            "retryable": retryable,
            "tried": tried,
            "next": "systemctl start swarmshd" if service else "swarmshd &",
        },
    )


def denied(path: str) -> Denied:
    """What to do about EACCES on ``path``: the group to join, or to log in again for."""
    status, needs = _barrier(path)
    group = _group_of(status.st_gid) if status.st_mode & needs and status.st_gid else None
    if group is None or status.st_gid in (*os.getgroups(), os.getegid()):
        facts = {"message": f"{path}: permission denied; only its owner may use it", "next": "swarmshd"}
    else:
        name, members = group
        user = _user_name()
        now = f"sg {name} -c 'swarmctl status'"
        if user in members:
            facts = {
                "message": f"{path}: permission denied; this session began before {user} was in group {name}: "
                f"log in again (now: {now})",
                "next": now,
            }
        else:
            join = f"sudo usermod -aG {name} {user}"
            facts = {
                "message": f"{path}: permission denied; {user} is not in group {name}: {join}, then log in again "
                f"(now: {now})",
                "next": join,
            }
    return Denied("denied", {**facts, "retryable": False, "path": path})


def _barrier(path: str) -> "tuple[os.stat_result, int]":
    """What keeps us from ``path``, itself or a directory above, and the group's bit in its mode that would let us."""
    try:
        return os.stat(path), 0o020
    except PermissionError:
        pass
    while True:
        path = os.path.dirname(path)
        try:
            return os.stat(path or "."), 0o010
        except PermissionError:
            continue


def _group_of(gid: int) -> "tuple[str, list[str]] | None":
    import grp

    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return None
    return group.gr_name, group.gr_mem


def _user_name() -> str:
    import pwd

    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def is_ours(uid: int) -> bool:
    """Whether a daemon of this uid may be believed: root's, the user's own, or the system's."""
    if uid in (0, os.geteuid()):
        return True
    import pwd

    try:
        return pwd.getpwnam(OWNER).pw_uid == uid
    except KeyError:
        return False
