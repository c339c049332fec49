"""Where the state directory and the socket of a daemon are, as its options, its manager and its user have it."""

import os
import pwd
from pathlib import Path

PATH_MAX = 107
"""Bytes of a Unix socket's path, as sun_path has them."""


class Nowhere(Exception):
    """The place cannot be had; the text says why, and what to do."""


def state_directory(option: str | None) -> Path:
    """Where the journal lives: the option, systemd's directory, else the user's own place.

    Raises:
        Nowhere: the user has none.
    """
    if option:
        return Path(option)
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if os.getuid() == 0:
        return Path("/var/lib/swarmsh")
    base = os.environ.get("XDG_STATE_HOME") or str(Path(_home(), ".local/state"))
    return Path(base, "swarmsh")


def socket_path(option: str | None) -> str:
    """Where to listen: the option, the environment, else the first place of the client's list that fits us.

    Raises:
        Nowhere: the path is too long, or its directory cannot be had.
    """
    path = option or os.environ.get("SWARMSH_SOCKET") or _default_socket()
    if len(os.fsencode(path)) > PATH_MAX:
        raise Nowhere(f"socket path {path}: {len(os.fsencode(path))} bytes; the kernel takes {PATH_MAX}")
    directory = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(
            directory, mode=0o755 if os.getuid() == 0 and directory.startswith("/run/") else 0o700, exist_ok=True
        )
    except OSError as error:
        raise Nowhere(f"socket directory {directory}: {error.strerror}; give another with --socket") from None
    return path


def _default_socket() -> str:
    uid = os.getuid()
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if runtime:
        return f"{runtime}/swarmsh.sock"
    if uid == 0:
        return "/run/swarmsh/swarmsh.sock"
    for base in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{uid}"):
        if base and os.path.isdir(base) and os.access(base, os.W_OK):
            return f"{base}/swarmsh/swarmsh.sock"
    private = f"/tmp/swarmsh-{uid}"  # noqa: S108 - made by us alone, 0700, and checked before it is used
    os.makedirs(private, mode=0o700, exist_ok=True)
    found = os.lstat(private)
    if found.st_uid != uid or found.st_mode & 0o177077 != 0o040000:
        raise Nowhere(f"{private} is not a directory of ours with mode 0700; remove it, or give --socket")
    return f"{private}/swarmsh.sock"


def _home() -> str:
    try:
        return os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise Nowhere(f"uid {os.getuid()} has no home; set HOME, or give --state-dir") from None
