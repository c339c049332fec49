"""What a service and its manager tell each other.

``notifier``    how we are: ready, reloading, busy, stopping, alive
``activation``  the socket that the manager listens on for us
``log``         what is logged, as journald wants it

All of it is optional: without a manager the notifier says nothing, no socket is handed over, and lines of the log
carry a date instead of a level. The variables that announce these things are taken out of the environment when
they are read, so that no child believes that they are meant for it.

The protocols are those of sd_notify(3), sd_listen_fds(3), sd-daemon(3) and systemd.journal-fields(7).
"""

from swarmshd.systemd.activation import ActivationError, listening_socket
from swarmshd.systemd.log import MESSAGE_IDS, JournalHandler, LogFormatter, is_journal, log_handler
from swarmshd.systemd.notifier import Notifier

__all__ = [
    "MESSAGE_IDS", "ActivationError", "JournalHandler", "LogFormatter", "Notifier", "is_journal", "listening_socket",
    "log_handler",
]  # fmt: skip
