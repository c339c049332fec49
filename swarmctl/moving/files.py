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
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file that takes its name, and the place of what had it, when it is whole and on the disk; else it is gone.

    Raises:
        Failure: it cannot be written.
    """
    part = f"{path}.{os.getpid()}.part"
    try:
        try:
            with open(part, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _sync_directory(os.path.dirname(path) or ".")
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise
    except OSError as error:
        raise Failure(f"cannot write {show(path)}: {error.strerror}") from None


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
