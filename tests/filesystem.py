"""A file system of a test's own, on a loop device: it can lose its power, be full, and turn read-only.

What is cut off by `cut` is really gone: the kernel drops what was not synced, as it does when the machine stops (and
every call from then on fails with EIO), and the next mount replays the log of the file system. Only root can have
this; a test that cannot is skipped with the reason.
"""

import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import PATIENCE

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN."""

FIBMAP, FIGETBSZ = 1, 2
"""Which block of the device a block of a file is, and how large they are."""

NO_LOG_FLUSH = 2
"""Nothing is written any more, not even the log."""

MEMORY = Path("/dev/shm")
"""Where the images lie: what a sync costs is the file system's work, and no disk's."""


class Ext4:
    """An ext4 file system, mounted at `place`. See `ext4`."""

    def __init__(self, place: Path, image: Path, options: str) -> None:
        self.place = place
        self.image = image
        self.device = ""
        self._options = options

    def attach(self) -> None:
        """Take a free loop device, and make the file system."""
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))
        self.device = run("losetup", "--find", "--show", str(self.image)).strip()
        self.mount()

    def mount(self, *options: str) -> None:
        """Mount it, with these options beside its own."""
        run("mount", "-t", "ext4", "-o", ",".join([self._options, *options]), self.device, str(self.place))

    def unmount(self) -> None:
        """Unmount it, as soon as those who were killed have gone, and wait until the kernel knows nothing of it.

        A mount namespace that somebody has made meanwhile holds it as well, and it would come back as it was cut.
        """
        deadline = time.monotonic() + PATIENCE
        while (done := self._try_to_unmount()).returncode or self._known.exists():
            if not done.returncode and time.monotonic() > deadline:
                pytest.skip("another mount namespace holds the file system")
            assert time.monotonic() < deadline, f"{done.stderr}: {self.open_files()}"
            time.sleep(0.01)

    def _try_to_unmount(self) -> "subprocess.CompletedProcess[str]":
        if not os.path.ismount(self.place):
            return subprocess.CompletedProcess([], 0)
        return subprocess.run(["umount", str(self.place)], capture_output=True, text=True, check=False)

    @property
    def _known(self) -> Path:
        """What is there as long as it is mounted anywhere."""
        return Path("/sys/fs/ext4", Path(self.device).name)

    def open_files(self) -> list[str]:
        """What this process has open in it."""
        links = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/self/fd/{number}"))
        return [link for link in links if link.startswith(str(self.place))]

    def cut(self) -> None:
        """The power is gone: whatever was not synced is lost, and every call fails, until it is mounted again."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def restore(self) -> None:
        """The power is back."""
        self.unmount()
        self.mount()

    def give_up(self) -> None:
        """Have the kernel find an error in it, and so make it read-only under whoever writes to it."""
        (self._known / "trigger_fs_error").write_text("a test\n", encoding="ascii")

    def lose_from(self, path: Path, offset: int) -> None:
        """Have the device fail where it is asked for that byte of a file, or for any that lies behind it."""
        self.unmount()
        self.mount()  # so that nothing of the file is in memory
        with path.open("rb") as file:
            block = int.from_bytes(fcntl.ioctl(file, FIGETBSZ, bytes(4)), sys.byteorder)
            (place,) = struct.unpack("i", fcntl.ioctl(file, FIBMAP, struct.pack("i", offset // block)))
        os.truncate(self.image, place * block)

    def detach(self) -> None:
        """Leave nothing."""
        subprocess.run(["umount", "--lazy", str(self.place)], capture_output=True, check=False)
        if self.device:
            subprocess.run(["losetup", "--detach", self.device], check=True)
        self.image.unlink()


@contextmanager
def ext4(directory: Path, megabytes: int, options: str = "errors=remount-ro") -> Iterator[Ext4]:
    """A new file system in a file, mounted at ``directory/disk``; the test is skipped where that is not possible."""
    place = directory / "disk"
    place.mkdir()
    image = (MEMORY if MEMORY.is_dir() else directory) / f"{directory.name}-{os.getpid()}.ext4"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    made = Ext4(place, image, options)
    try:
        try:
            made.attach()
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            pytest.skip(f"cannot have a file system on a loop device here: {said.strip()}")
        yield made
    finally:
        made.detach()


def run(*words: str) -> str:
    """What a program has said; CalledProcessError if it failed, OSError if there is none of that name."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
