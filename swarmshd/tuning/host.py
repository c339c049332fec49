"""The host that is looked at, and the refusal that every part may end with.

All absolute paths of this package are below one root. It is ``/``, or a directory with a copy of another host's /sys
and /proc: then everything can be looked at and planned as if it were here, and nothing applied. Files of sysfs are
small and may vanish at any moment, so reading one gives its text or None.
"""

import os

READ_MAX = 1 << 16
"""Bytes that are read of one file of sysfs or procfs; mountinfo alone may be longer."""

EX_FAILED, EX_PENDING, EX_NOT_FOUND, EX_USAGE, EX_TRY_AGAIN, EX_DENIED, EX_PERSON = 1, 2, 4, 64, 75, 77, 78
"""Exit statuses; those of swarmctl, but that 2 says that changes are pending, and 64 is a wrong command line."""


class Refused(Exception):
    """It cannot be done; the text is one line with what to do next."""

    def __init__(self, message: str, status: int = EX_FAILED, code: str = "failed") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Host:
    """A host's file systems below ``root``."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root).rstrip("/")
        if not os.path.isdir(self.root or "/"):
            raise Refused(f"--root: {root} is no directory", EX_NOT_FOUND, "not_found")

    @property
    def here(self) -> bool:
        """Whether it is the host that this program runs on."""
        return not self.root

    def path(self, path: str) -> str:
        """Where the host's ``path`` really is."""
        return self.root + path

    def read(self, path: str) -> str | None:
        """The stripped text of a small file; None if it is not there or cannot be read."""
        try:
            with open(self.root + path, "rb") as file:
                return file.read(READ_MAX).decode("utf-8", "backslashreplace").strip()
        except OSError:
            return None

    def lines(self, path: str) -> list[str]:
        """The lines of a file of any length; none if it is not there."""
        try:
            with open(self.root + path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read().splitlines()
        except OSError:
            return []

    def names(self, path: str) -> list[str]:
        """What is in a directory, sorted; nothing if there is none."""
        try:
            return sorted(os.listdir(self.root + path))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Whether there is something."""
        return os.path.exists(self.root + path)

    def resolved(self, path: str) -> str:
        """``path`` without links, as the host sees it."""
        real = os.path.realpath(self.root + path)
        return real.removeprefix(self.root) if real.startswith(self.root + "/") else path

    @property
    def boot_id(self) -> str:
        """What tells this start of the host from others; the unit passes it, where the sandbox hides the file."""
        given = os.environ.get("SWARMSH_BOOT_ID") if self.here else None
        return (given or self.read("/proc/sys/kernel/random/boot_id") or "").replace("-", "")


def shown(text: str) -> str:
    """``text`` on one line, without what a terminal could take for a command."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
