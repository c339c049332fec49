"""A path -> the mount that it is on.

The kernel is asked: the number of the mount stands in the fdinfo of a descriptor that only names the path, and the
line with that number in mountinfo. Comparing prefixes of paths would be wrong where one mount hides another; it is done
only for a copied tree, where there is nobody to ask.
"""

import os
import re
from typing import NamedTuple

from swarmshd.tuning.host import EX_DENIED, EX_NOT_FOUND, Host, Refused, shown


class Mount(NamedTuple):
    """A line of mountinfo."""

    number: int
    device: str
    """``major:minor``; the major of file systems without one block device is 0."""
    point: str
    kind: str
    source: str
    options: dict[str, str]
    """Those of the file system."""


def mounts(host: Host) -> list[Mount]:
    """Everything that is mounted; what hides another thing stands later."""
    found = []
    for line in host.lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        head, tail = before.split(" "), after.split(" ")
        if len(head) < 6 or len(tail) < 3:
            continue
        options = dict(word.partition("=")[::2] for word in tail[2].split(","))
        found.append(
            Mount(
                int(head[0]),
                head[2],
                _plain(head[4]),
                tail[0],
                _plain(tail[1]),
                {k: _plain(v) for k, v in options.items()},
            )
        )
    return found


def _plain(field: str) -> str:
    """A field with its blanks: mountinfo writes them as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def mount_of(host: Host, path: str) -> Mount:
    """The mount that ``path`` is on.

    Raises:
        Refused: there is no such path, or it is on nothing.
    """
    table = mounts(host)
    found = _asked(host, path, table) if host.here else _longest(path, table)
    if found is None:
        raise Refused(
            f"{shown(path)}: its mount is not in /proc/self/mountinfo; name the disk: --device DEV", EX_NOT_FOUND
        )
    return found


def _asked(host: Host, path: str, table: list[Mount]) -> Mount | None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except PermissionError:
        raise Refused(f"{shown(path)}: permission denied; sudo, or --device DEV", EX_DENIED, "denied") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Refused(
            f"{shown(path)}: {why}; name a path that is there, or --device DEV", EX_NOT_FOUND, "not_found"
        ) from None
    try:
        for line in host.lines(f"/proc/self/fdinfo/{fd}"):
            if line.startswith("mnt_id:"):
                number = int(line.split()[1])
                return next((mount for mount in table if mount.number == number), None)
    finally:
        os.close(fd)
    return None


def _longest(path: str, table: list[Mount]) -> Mount | None:
    held = [mount for mount in table if (path + "/").startswith(mount.point.rstrip("/") + "/")]
    longest = max((len(mount.point) for mount in held), default=0)
    return next((mount for mount in reversed(held) if len(mount.point) == longest), None)
