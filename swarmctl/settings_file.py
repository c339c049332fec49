"""The daemon's configuration file, changed by whole lines: comments, order and everything else stay.

The new text is read back before it takes the place of the old one, in one step: whoever reads the file sees the old or
the new, and a crash leaves one of them.
"""

from __future__ import annotations

import os
import tomllib

from swarmctl.cli import Failure
from swarmctl.parse import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MODE = 0o644
"""Permissions of a file that is made."""


class SettingsFile:
    """The file at ``path``; what a link leads to, if it is one. It need not be there."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)
        self._before: bytes | None = None

    def change(self, lines: Mapping[str, str]) -> None:
        """Have each key's line be this one.

        Raises:
            Failure: it cannot be read or written, or is not what it should be; nothing has changed.
        """
        try:
            with open(self._path, "rb") as file:
                self._before = file.read()
        except FileNotFoundError:
            self._before = None
        except OSError as error:
            raise self._failure("read", error) from None
        try:
            text = (self._before or b"").decode()
            for key, line in lines.items():
                text = changed(text, key, line)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise Failure(f"{show(self._path)} is no TOML: {error}", 78, "config") from None
        self._write(text.encode())

    def put_back(self) -> None:
        """Undo `change`."""
        if self._before is None:
            os.unlink(self._path)
        else:
            self._write(self._before)

    def _write(self, data: bytes) -> None:
        """Replace the file, keeping its owner and permissions."""
        draft = f"{self._path}.{os.getpid()}"
        try:
            if self._before is None:
                os.makedirs(os.path.dirname(self._path), exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
            try:
                if self._before is not None:
                    kept = os.stat(self._path)
                    os.fchown(descriptor, kept.st_uid, kept.st_gid)
                    os.fchmod(descriptor, kept.st_mode & 0o7777)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
                os.replace(draft, self._path)
            except BaseException:
                os.unlink(draft)
                raise
            finally:
                os.close(descriptor)
            directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._failure("write", error) from None

    def _failure(self, doing: str, error: OSError) -> Failure:
        text = f"cannot {doing} {show(self._path)}: {error.strerror}"
        if isinstance(error, PermissionError):
            return Failure(f"{text}; nothing was changed; call it as a user who may, with sudo perhaps", 77, "denied")
        return Failure(f"{text}; nothing was changed")


def changed(text: str, key: str, line: str) -> str:
    """``text``, TOML, with ``line`` as the line of ``key``: in its old place, or at the end.

    Raises:
        tomllib.TOMLDecodeError: ``text`` is no TOML.
    """
    document = tomllib.loads(text)
    wanted = {**document, **tomllib.loads(line)}
    if document == wanted:
        return text
    if key in document:
        lines = text.split("\n")
        for first, candidate in enumerate(lines):
            if candidate.partition("=")[0].strip().strip("\"'") != key:
                continue
            for last in range(first, len(lines)):
                chunk = "\n".join(lines[first : last + 1])
                if _parsed(chunk + "\n") == {key: document[key]}:
                    replaced = "\n".join([*lines[:first], _in_place_of(chunk, line), *lines[last + 1 :]])
                    if _parsed(replaced) == wanted:
                        return replaced
                    break
        raise Failure(f"cannot find the line of {key}: write it plainly, as {line}", 78, "config")
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{line}\n"


def _parsed(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _in_place_of(chunk: str, line: str) -> str:
    """``line`` with the indentation, the comment and the line's end of ``chunk``."""
    indent = chunk[: len(chunk) - len(chunk.lstrip())]
    meant = _parsed(chunk + "\n")
    at = chunk.find("#")
    while at >= 0:
        value = chunk[:at]
        if _parsed(value) == meant:
            return indent + line + value[len(value.rstrip()) :] + chunk[at:]
        at = chunk.find("#", at + 1)
    return indent + line + ("\r" if chunk.endswith("\r") else "")
