"""The contract of the wire: frames, verbs, refusal codes, exit statuses, limits.

Everything both ends must agree on stands here and nowhere else; swarmsh-protocol(7) is its prose and a
test holds the two together. The module imports built-in modules only, because ``swarmctl`` pays for each
import at every call.

A frame is an unsigned 32-bit big-endian length and one CBOR item of that length. A request is the array
``[id, verb, {arguments}]``; its reply is ``[id, 0, result]`` or ``[id, code, {message, retryable, ...}]``.
Replies may come in any order. Times are integer milliseconds since the epoch, durations integer
milliseconds, ids positive integers, or the text of an item's external ``ref``.

A client that wants a process watched sends the process's pidfd as SCM_RIGHTS ancillary data with the bytes
of the frame whose command has ``watch: true``; descriptors are matched to such commands in order.
"""

from _struct import Struct

VERSION = 1
"""Version of the protocol. A client that sends no ``hello`` is taken to speak version 1."""

FRAME_MAX = 1 << 20
"""Default bound of a frame's body, in bytes; the daemon's FRAME_MAX setting may lower or raise its own."""

LENGTH = Struct(">I")
assert LENGTH.size == 4

READ, WORK, ADMIN = "read", "work", "admin"

VERBS = {
    # verb: class that the peer needs (ACCESS_READ, ACCESS_WORK, ACCESS_ADMIN)
    "hello": READ,
    "show": READ,
    "list": READ,
    "count": READ,
    "get": READ,
    "held": READ,
    "wait": READ,
    "watch": READ,
    "history": READ,
    "agents": READ,
    "queues": READ,
    "export": READ,
    "explain": READ,
    "status": READ,
    "dashboard": READ,
    "config": READ,
    "stats": READ,
    "health": READ,
    "submit": WORK,
    "batch": WORK,
    "claim": WORK,
    "claim_new": WORK,
    "heartbeat": WORK,
    "progress": WORK,
    "complete": WORK,
    "fail": WORK,
    "release": WORK,
    "bury": WORK,
    "kick": WORK,
    "cancel": WORK,
    "edit": WORK,
    "register": WORK,
    "hold": WORK,
    "lock": WORK,
    "unlock": WORK,
    "clear": ADMIN,
    "queue_set": ADMIN,
    "pause": ADMIN,
    "resume": ADMIN,
    "quiet": ADMIN,
    "wake": ADMIN,
    "evict": ADMIN,
    "import": ADMIN,
    "config_set": ADMIN,
    "config_unset": ADMIN,
    "reload": ADMIN,
    "journal": ADMIN,
    "snapshot": ADMIN,
    "reindex": ADMIN,
}
"""Every verb and its class. ``batch`` needs the class of each command in it as well."""

CODES = {
    # code: (exit status, retryable, what it means)
    "bad_request": (2, False, "the request is not well formed"),
    "unknown_verb": (2, False, "there is no such verb"),
    "too_large": (2, False, "a frame, text, payload or list exceeds its limit"),
    "failed": (1, True, "it was tried and failed; the message says why"),
    "empty": (3, True, "nothing to claim"),
    "timeout": (3, True, "what was waited for did not happen in time"),
    "capacity": (3, True, "the agent already holds as many items as its slots allow, or is quiet"),
    "not_found": (4, False, "no such item, agent or queue, or it was forgotten"),
    "position_gone": (4, False, "the journal does not hold that position, or no longer"),
    "lease_lost": (5, False, "the claim is over: its token is stale"),
    "not_holder": (5, False, "another agent holds the item"),
    "conflict": (5, False, "it contradicts what is already so"),
    "duplicate": (5, False, "an item with that ref or unique key exists"),
    "cycle": (5, False, "the dependencies form a circle"),
    "bad_state": (5, False, "the item's state does not allow it"),
    "cancelled": (5, False, "the item was cancelled"),
    "queue_full": (75, True, "the queue has its maximum length"),
    "queue_closed": (75, True, "the queue takes no new items"),
    "draining": (75, True, "the daemon is stopping"),
    "overloaded": (75, True, "the daemon is at its memory or item limit"),
    "busy": (75, True, "too many connections, waiters or requests in flight"),
    "disk_full": (75, True, "no room on the journal's disk"),
    "commit_timeout": (75, True, "the commit did not start in time; nothing happened"),
    "too_many_kinds": (75, True, "too many different queues, types, teams and label sets"),
    "outcome_unknown": (75, True, "no answer came; the same key may be sent again"),
    "denied": (77, False, "the peer may not do this"),
    "version": (78, False, "client and daemon speak different versions"),
    "journal_corrupt": (78, False, "the journal needs a person"),
    "config": (78, False, "the configuration needs a person"),
}
"""Every refusal code: its exit status, whether the same request may succeed later, and its meaning."""

EXITS = {
    0: "done",
    1: "the operation, or the awaited item, failed",
    2: "usage",
    3: "nothing to claim, or timed out",
    4: "not found",
    5: "conflict: lease lost, stale token, not the holder, duplicate, cycle",
    69: "the daemon is not reachable",
    74: "the journal could not be written (swarmshd)",
    75: "try again: draining, full, overloaded, closed queue, outcome unknown",
    77: "denied",
    78: "configuration, version, or journal needs a person",
    130: "interrupted",
}
"""Every exit status of swarmctl and swarmshd."""

PRIORITIES = ("critical", "high", "medium", "low")
"""Names of the priorities; an item's priority is the index, so that smaller goes first."""

STATES = ("scheduled", "blocked", "ready", "claimed", "buried", "done", "cancelled")
"""The states of an item. The last two are ended; the others are open."""

ON_FAILURE = ("hold", "cancel", "run")
"""What a dependant does when one that it waits for is buried or cancelled."""

DEFAULT_QUEUE = "default"

LOCKS = "@lock"
"""The queue of named locks. Queues that begin with @ are the daemon's own."""

NAME_MAX = 200
"""Bytes of a name: queue, type, team, agent, label, group, ref, unique key, idempotency key."""

NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/@+-")

AFTER_MAX = 64
"""Most dependencies of one item."""

LABELS_MAX = 16
"""Most labels of an item or an agent."""

DEPENDANTS_MAX = 1000
"""Most items that may wait for one item."""

NOTE_MAX = 8192
"""Bytes of a reason, note, status text or message."""

MINTED_PREFIX = "auto:"
"""How an idempotency key begins that a client made up for one change; such keys are kept 15 minutes only."""

JOURNAL_WANTS = ("list", "check", "dump", "archive", "backup", "upgrade")
"""What ``journal`` gives: what is said of the journal's files, or what is in them."""

CLAIMED_BECOMES = ("hold", "ready", "keep")
"""What an imported item that somebody holds elsewhere becomes: blocked, ready, or held by that one."""

IMPORTS_MAX = 1000
"""Most rows of one ``import``."""

LEGACY_MAX = 4096
"""Bytes of what an imported row keeps besides, as JSON."""

SUBMITS_MAX = 10_000
"""Most commands in one ``batch``."""


class FrameTooLarge(Exception):
    """The peer announced a frame larger than the limit; the stream cannot be followed any further.

    ``bodies`` are those of the whole frames before it that the same bytes completed.
    """

    def __init__(self, announced: int, limit: int, bodies: "list[bytes] | None" = None) -> None:
        super().__init__(f"frame of {announced} bytes; the limit is {limit}")
        self.announced = announced
        self.limit = limit
        self.bodies = bodies or []


class Decoder:
    """Cuts a byte stream into frame bodies. Memory is bounded by one frame and what one ``feed`` brings."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int = FRAME_MAX) -> None:
        self._buffer = bytearray()
        self.limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the bodies of the frames that they complete.

        Raises:
            FrameTooLarge: a length above the limit was announced.
        """
        buffer = self._buffer
        if not buffer and len(data) >= 4 and LENGTH.unpack_from(data)[0] == len(data) - 4:
            if len(data) - 4 > self.limit:
                raise FrameTooLarge(len(data) - 4, self.limit)
            return [data[4:]]  # the common case: one read brought exactly one frame
        buffer += data
        bodies: list[bytes] = []
        at, end = 0, len(buffer)
        while end - at >= 4:
            (length,) = LENGTH.unpack_from(buffer, at)
            if length > self.limit:
                raise FrameTooLarge(length, self.limit, bodies)
            if end - at - 4 < length:
                break
            bodies.append(bytes(buffer[at + 4 : at + 4 + length]))
            at += 4 + length
        if at:
            del buffer[:at]
        return bodies

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not whole yet."""
        return len(self._buffer)


def frame(body: bytes) -> bytes:
    """The frame that carries ``body``."""
    return LENGTH.pack(len(body)) + body


def counted(number: int, noun: str, many: str = "") -> str:
    """A number of things in words, as both ends say it: ``1 item``, ``2 items``; ``many`` is a plural without s."""
    return f"{number} {noun if number == 1 else many or noun + 's'}"


def is_name(text: str) -> bool:
    """Whether ``text`` may name a queue, type, team, agent, label, group, ref or key."""
    return 0 < len(text) <= NAME_MAX and text[0] != "-" and NAME_CHARACTERS.issuperset(text)
