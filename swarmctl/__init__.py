"""swarmctl: the client of swarmshd, as a program and as a library.

``from swarmctl import Client`` is the library's door; the exceptions stand beside it. Nothing is imported until it
is asked for, because the program imports this package at every call.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from swarmctl.client import Claimed, Client, Lock
    from swarmctl.connection import (
        Busy,
        Conflict,
        Denied,
        Empty,
        LeaseLost,
        NotFound,
        OutcomeUnknown,
        Refused,
        Unreachable,
    )

__all__ = [
    "Busy",
    "Claimed",
    "Client",
    "Conflict",
    "Denied",
    "Empty",
    "LeaseLost",
    "Lock",
    "NotFound",
    "OutcomeUnknown",
    "Refused",
    "Unreachable",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'swarmctl' has no attribute {name!r}")
    if name in ("Client", "Claimed", "Lock"):
        from swarmctl import client

        value: object = getattr(client, name)
    else:
        from swarmctl import connection

        value = getattr(connection, name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})
