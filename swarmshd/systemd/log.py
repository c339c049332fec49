"""What is logged, as its reader wants it: journald with fields, journald by lines, or somebody at a terminal."""

import logging
import os
import socket
import sys
from contextlib import suppress
from typing import TextIO

JOURNAL = "/run/systemd/journal/socket"
"""Where journald takes messages with fields."""

MESSAGE_IDS = {
    "created": "02c5a49be7485f55a7c60c86d3cce57e",  # a new queue was made
    "recovered": "8e3378fc81d251108c1725bbfabec284",  # a start has read the journal
    "torn": "9c786e802f0853569146f4359faf5f4c",  # a torn tail was cut
    "unproven": "8a6e6aa68862573ba2d2d03d8351c995",  # watched processes are not told from others any more
    "stopping": "846119c5458a5c0888ca03a287d910dc",  # a signal ends the daemon
    "leapt": "71139fbc31ba5f159bbd7089021a5cd3",  # the clock leapt
    "closed": "865aefaa225f586590d68b7c3e9157f0",  # a connection was closed by the daemon
    "full": "668f5e8bcc6e53dc9d9e96a9b6cf1487",  # the disk is full
    "healed": "6b4159bb9b0057ef9a4d46657fd37dbe",  # the disk has room again
    "folded": "ea10daacb81d5c0380683e563e93cb2d",  # a snapshot was made
    "fold_failed": "00f3854776025e57a28404a80bb54d00",  # a snapshot could not be made
    "archived": "76de90549568527098f936070e72b8e2",  # segments were compressed or removed
    "memory": "d98e65a0240959d0aed45f8edad24ca5",  # memory runs short
    "reloaded": "b3c60e28e4cd5cfd875eced087bcfe47",  # settings changed
    "refused": "bad509deaf265f25b2bef70a985e5abc",  # settings were refused
    "errand": "bfde0b120ac85d9e861f9925bfd6a3ac",  # a request that takes long failed
}
"""By the ``kind`` that a call gives: what happened, and its MESSAGE_ID. Never changed, and never used again."""

MESSAGE_MAX = 48 << 10
"""Bytes of a message that are sent; a datagram must fit into journald's buffer."""


class LogFormatter(logging.Formatter):
    """One line a message, whatever text of clients is in it, marked as its reader wants it.

    Args:
        for_journal: put the level before every line as ``<N>``, as journald reads it; else date and level's name.
    """

    def __init__(self, *, for_journal: bool) -> None:
        plain = "%(asctime)s %(levelname)s %(message)s"
        super().__init__("%(message)s" if for_journal else plain, "%Y-%m-%dT%H:%M:%S%z")
        self._for_journal = for_journal

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The message without its traceback; control characters are written out."""
        return super().formatMessage(record).translate(WRITTEN_OUT)

    def format(self, record: logging.LogRecord) -> str:
        """The message, and the traceback if there is one, each of whose lines gets the level too."""
        text = self.without_level(record)
        if not self._for_journal:
            return text
        return "\n".join(f"<{level_of(record)}>{line}" for line in text.split("\n"))

    def without_level(self, record: logging.LogRecord) -> str:
        """The message, and the traceback if there is one."""
        return super().format(record)


JOURNAL_LEVELS = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))

WRITTEN_OUT = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {0x0A: "\\n", 0x09: "\\t"}


class JournalHandler(logging.Handler):
    """Sends each message to journald with its fields, and never waits: what does not fit now is dropped and counted.

    A call gives ``extra={"kind": WHAT, "fields": {"position": 5}}``; they become MESSAGE_ID and SWARMSH_POSITION. Where
    journald is away, lines go to ``stream``.
    """

    def __init__(self, stream: TextIO, path: str = JOURNAL) -> None:
        super().__init__()
        self._lines = logging.StreamHandler(stream)
        self._lines.setFormatter(LogFormatter(for_journal=True))
        self._text = LogFormatter(for_journal=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send it."""
        fields = {"dropped": self._dropped} if self._dropped else {}
        try:
            self._socket.sendto(self._datagram(record, fields | getattr(record, "fields", {})), self._path)
        except BlockingIOError:
            self._dropped += 1
        except OSError:
            self._lines.emit(record)
        else:
            self._dropped = 0

    def _datagram(self, record: logging.LogRecord, fields: dict[str, object]) -> bytes:
        text = self._text.without_level(record).encode(errors="replace")[:MESSAGE_MAX]
        found: dict[str, object] = {
            "PRIORITY": level_of(record),
            "SYSLOG_IDENTIFIER": "swarmshd",
            "SYSLOG_PID": os.getpid(),
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName,
            "SWARMSH_LOGGER": record.name,
        }
        kind = MESSAGE_IDS.get(getattr(record, "kind", ""))
        if kind is not None:
            found["MESSAGE_ID"] = kind
        for name, value in fields.items():
            found[f"SWARMSH_{name.upper()}"] = value
        parts = [_field("MESSAGE", text)]
        parts += [_field(name, str(value).encode(errors="replace")) for name, value in found.items()]
        return b"".join(parts)

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()
        super().close()


def _field(name: str, value: bytes) -> bytes:
    """One field; its length goes along, as there may be line breaks in it."""
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def level_of(record: logging.LogRecord) -> int:
    """The syslog priority of a record."""
    return next(number for least, number in JOURNAL_LEVELS if record.levelno >= least)


def log_handler(stream: TextIO = sys.stderr) -> logging.Handler:
    """The handler for a log to ``stream``: with fields if that is connected to the journal, else by lines."""
    descriptor = -1
    with suppress(OSError, ValueError):
        descriptor = stream.fileno()
    if descriptor >= 0 and is_journal(descriptor) and os.path.exists(JOURNAL):
        return JournalHandler(stream)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter(for_journal=descriptor >= 0 and is_journal(descriptor)))
    return handler


def is_journal(descriptor: int) -> bool:
    """Whether what is written to ``descriptor`` goes to journald, as ``JOURNAL_STREAM`` says."""
    found = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
