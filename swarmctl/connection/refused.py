"""What a call raises when it is refused: one class for each kind of answer that a caller treats differently."""

from swarmshd.protocol import CODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OWN_CODES = {"unreachable": (69, True, "the daemon is not reachable")}


class Refused(Exception):
    """The daemon, or the way to it, said no.

    ``code`` is a word of ``protocol.CODES`` (or ``unreachable``), ``exit`` the exit status that belongs to it,
    ``retryable`` whether the same request may succeed later, ``message`` one sentence, ``facts`` everything that came
    with it, such as ``next``, the command that mends it.
    """

    def __init__(self, code: str, facts: "dict[str, Any]") -> None:
        super().__init__(code, facts)  # both, so that it survives pickling between processes
        status, retryable, meaning = CODES.get(code) or _OWN_CODES.get(code) or (1, False, code)
        self.code = code
        self.facts = facts
        self.exit = status
        self.retryable = bool(facts.get("retryable", retryable))
        self.message = str(facts.get("message") or meaning)

    def __str__(self) -> str:
        return self.message


class Empty(Refused):
    """Nothing to claim."""


class NotFound(Refused):
    """No such item, agent, queue or position."""


class Conflict(Refused):
    """It contradicts what is already so: not the holder, a duplicate, a wrong state."""


class LeaseLost(Conflict):
    """The claim is over: the lease ended, or the item was cancelled."""


class Busy(Refused):
    """Not now: draining, full, closed, overloaded; nothing happened."""


class Denied(Refused):
    """The peer may not do this, or may not open the socket."""


class Unreachable(Refused):
    """There is no daemon to talk to, or a read got no answer."""


class OutcomeUnknown(Refused):
    """A change was sent and no answer came: it may have happened. ``facts["key"]``, if any, repeats it safely."""


_BY_CODE: "dict[str, type[Refused]]" = {
    "empty": Empty,
    "lease_lost": LeaseLost,
    "cancelled": LeaseLost,
    "outcome_unknown": OutcomeUnknown,
    "unreachable": Unreachable,
}
_BY_EXIT: "dict[int, type[Refused]]" = {4: NotFound, 5: Conflict, 75: Busy, 77: Denied}


def refusal(code: str, facts: "dict[str, Any]") -> Refused:
    """The exception, of the class that fits, for a refusal as it stands in a reply."""
    kind = _BY_CODE.get(code) or _BY_EXIT.get(CODES[code][0] if code in CODES else 0) or Refused
    return kind(code, facts)
