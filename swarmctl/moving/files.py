"""Files that are only read, and files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from swarmctl.cli import Failure
from swarmctl.parse import show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A regular file, for reading only.

    Raises:
        Failure: there is none, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Failure(f"{show(path)} is neither a file nor a directory")
            yield file
    except OSError as error:
        raise Failure(f"cannot read {show(path)}: {error.strerror}") from None


@contextmanager
def replacing(path: str, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file that takes its name, and the place of what had it, when it is whole and on the disk; else it is gone.

    Only a file is replaced, and where a link leads to one it is that file: what is written to a device or a pipe goes
    into it.

    Raises:
        Failure: it cannot be written.
    """
    if not _may_be_replaced(path):
        try:
            with open(path, "wb") as file:
                yield file
        except OSError as error:
            raise Failure(f"cannot write {show(path)}: {error.strerror}") from None
        return
    place = os.path.realpath(path)
    part = f"{place}.{os.getpid()}.part"
    try:
        try:
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, place)
            _sync_directory(os.path.dirname(place))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise
    except OSError as error:
        raise Failure(f"cannot write {show(path)}: {error.strerror}") from None


def _may_be_replaced(path: str) -> bool:
    """Whether there is a file, or nothing."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
