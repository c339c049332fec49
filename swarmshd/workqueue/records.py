"""What the queue remembers: items, claims, agents, queues, groups, and the table along which items move.

These are plain records. Who may change them is settled elsewhere: only :mod:`swarmshd.workqueue.tables` and what it
applies events by write their persistent fields, and only while they apply one.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from swarmshd import protocol

SCHEDULED: Final = "scheduled"
BLOCKED: Final = "blocked"
READY: Final = "ready"
CLAIMED: Final = "claimed"
BURIED: Final = "buried"
DONE: Final = "done"
CANCELLED: Final = "cancelled"

OPEN = frozenset((SCHEDULED, BLOCKED, READY, CLAIMED, BURIED))
ENDED = frozenset((DONE, CANCELLED))
SETTLED = frozenset((DONE, CANCELLED, BURIED))
"""What ``wait`` waits for: nothing more will happen by itself."""

MOVES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    # what happens: (from any of these, to one of these)
    "due": (frozenset((SCHEDULED,)), frozenset((READY,))),
    "unblock": (frozenset((BLOCKED,)), frozenset((READY, SCHEDULED))),
    "claim": (frozenset((READY,)), frozenset((CLAIMED,))),
    "complete": (frozenset((CLAIMED,)), frozenset((DONE,))),
    "return": (frozenset((CLAIMED,)), frozenset((READY, SCHEDULED))),
    "bury": (frozenset((CLAIMED, READY, SCHEDULED, BLOCKED)), frozenset((BURIED,))),
    "kick": (frozenset((BURIED, BLOCKED)), frozenset((READY,))),
    "edit": (frozenset((READY, SCHEDULED)), frozenset((READY, SCHEDULED))),
    "cancel": (OPEN, frozenset((CANCELLED,))),
}
"""Items move along this table and not otherwise; the diagram in the manual is made from it."""

ITEM_OVERHEAD = 640
"""Bytes that an item is counted with beyond its texts; measured at 200,000 queued items."""

OPTIONS_OVERHEAD = 320
"""Bytes that an item with options is counted with beyond their texts."""

AFTER_OVERHEAD = 160
"""Bytes that an item is counted with for each item that it waits for: id, set, and the way back."""

HOLDS_MAX = 100_000
"""Most items, locks among them, that one agent may hold."""

LOCKS: Final = protocol.LOCKS
"""The queue of named locks: each is an item whose type is its name. Queues that begin with @ are the daemon's own."""

DEPARTED_MAX = 32_768
"""Forgotten items whose place is still known."""

_NO_IDS: tuple[int, ...] = ()


class Claim:
    """Who holds an item, under which token, until when.

    ``until`` is when the claim ends if nothing happens: the end of the lease, or, while the holder's process
    is watched, the end of STALL_AFTER. ``seen`` is the holder's last own operation.
    """

    __slots__ = (
        "agent",
        "at",
        "fence",
        "lease",
        "resumed",
        "runtime_until",
        "secret",
        "seen",
        "stalled",
        "uid",
        "until",
        "watch",
    )

    def __init__(
        self,
        agent: "Agent",
        uid: int,
        fence: int,
        secret: bytes,
        at: int,
        until: int,
        lease: int,
        runtime_until: int | None,
        watch: tuple[int, int] | None,
    ) -> None:
        self.agent = agent
        self.uid = uid
        self.fence = fence
        self.secret = secret
        self.at = at
        self.until = until
        self.lease = lease
        self.runtime_until = runtime_until
        self.watch = watch
        self.seen = at
        self.stalled = False
        self.resumed = False
        """Whether the same agent held it before, under another token."""

    @property
    def token(self) -> str:
        """``FENCE.SECRET``, as the holder shows it."""
        return f"{self.fence}.{self.secret.hex()}"

    @property
    def deadline(self) -> int:
        """When the claim ends by itself."""
        if self.runtime_until is not None and self.runtime_until < self.until:
            return self.runtime_until
        return self.until


class Item:
    """A unit of work.

    ``since`` is when the item came into its state; ``due_at`` is kept only while it may still matter.
    ``options`` has what few items have (see ItemSubmitted), ``notes`` what became of it (percent, status,
    message, checkpoint, note, points, exit_status, reason, result, output, blocked).
    """

    __slots__ = (
        "after",
        "bucket",
        "claim",
        "claims",
        "crashes",
        "created_at",
        "dependants",
        "description",
        "due_at",
        "failures",
        "id",
        "last",
        "notes",
        "options",
        "payload",
        "pid",
        "priority",
        "queue",
        "releases",
        "require",
        "since",
        "state",
        "team",
        "type",
        "uid",
        "waits",
    )

    def __init__(self, number: int, queue: "Queue", kind: str, priority: int, description: str) -> None:
        self.id = number
        self.queue = queue
        self.type = kind
        self.priority = priority
        self.description = description
        self.state = BLOCKED
        self.team: str | None = None
        self.payload: bytes | None = None
        self.require: tuple[str, ...] = ()
        self.due_at: int | None = None
        self.created_at = 0
        self.since = 0
        self.uid: int | None = None
        self.pid: int | None = None
        self.claims = 0
        self.failures = 0
        self.crashes = 0
        self.releases = 0
        self.after: tuple[int, ...] = _NO_IDS
        self.waits: set[int] | None = None
        self.dependants: list[int] | None = None
        self.options: dict[str, Any] | None = None
        self.notes: dict[str, Any] | None = None
        self.claim: Claim | None = None
        self.last: tuple[int, bytes] | None = None
        """Token under which the item was completed: its holder may ask again."""
        self.bucket: Any = None
        """The ready index's; volatile."""

    @property
    def is_lock(self) -> bool:
        """Whether it is a named lock, and no work."""
        return self.queue.name == LOCKS

    def option(self, name: str, default: Any = None) -> Any:
        return default if self.options is None else self.options.get(name, default)

    def note(self, name: str) -> Any:
        return None if self.notes is None else self.notes.get(name)

    @property
    def name(self) -> str:
        """What the item is called wherever it goes.

        That is its ref; else its id and the time at which it was made, where it was made: ``#5@CREATED``.
        """
        name: str = self.option("ref") or self.option("origin") or f"#{self.id}@{self.created_at}"
        return name

    def waits_for(self, number: int) -> bool:
        """Whether the item is held back by that one."""
        return self.waits is not None and number in self.waits

    def size(self) -> int:
        """Bytes that the item is counted with."""
        size = ITEM_OVERHEAD + len(self.description)
        if self.payload is not None:
            size += len(self.payload)
        if self.options is not None:
            size += options_size(self.options)
        if self.after:
            size += AFTER_OVERHEAD * len(self.after)
        if self.notes is not None:
            size += sum(len(value) for value in self.notes.values() if isinstance(value, (bytes, str)))
        return size


def options_size(options: dict[str, Any]) -> int:
    """Bytes that an item's options are counted with."""
    return OPTIONS_OVERHEAD + sum(len(value) for value in options.values() if isinstance(value, str))


def name_digest(name: str) -> bytes:
    """Eight bytes for an item's name."""
    return blake2b(name.encode(), digest_size=8).digest()


class Agent:
    """Who does work. ``registered`` agents stay until evicted; others go when they hold nothing for long."""

    __slots__ = (
        "capacity",
        "died",
        "heartbeat",
        "holds",
        "imported",
        "labels",
        "legacy",
        "locks",
        "name",
        "quiet",
        "registered",
        "seen",
        "slots",
        "specialization",
        "team",
        "uid",
        "watch",
    )

    def __init__(self, name: str, uid: int | None) -> None:
        self.name = name
        self.uid = uid
        self.team: str | None = None
        self.capacity: int | None = None
        self.specialization: str | None = None
        self.slots: int | None = None
        self.labels: tuple[str, ...] = ()
        self.heartbeat: int | None = None
        self.watch: tuple[int, int] | None = None
        self.died: int | None = None
        """When its watched process died, if nothing was heard in its name since."""
        self.quiet = False
        self.registered = False
        self.imported: bytes | None = None
        """Which run brought it in, and the digest of what it was then."""
        self.legacy: str | None = None
        """JSON of what it was elsewhere, as far as we have no word for it."""
        self.holds: dict[int, Item] = {}
        self.locks = 0
        """How many of what it holds are locks, which take up no slot."""
        self.seen = 0
        """Last operation; volatile, so that a heartbeat costs no write."""

    @property
    def full(self) -> bool:
        """Whether its slots allow no further claim."""
        held = len(self.holds)
        return held >= HOLDS_MAX or (bool(self.slots) and held - self.locks >= (self.slots or 0))


FAILURES_KEPT = 100
"""So many of the latest failures are told of together; how many there were, the counts say."""

REASON_KEPT = 200
"""Characters of a failure's reason that are told there; ``show`` has all of it."""


class Failure(NamedTuple):
    """A claim that failed or crashed, or an item that was buried: what somebody may want to look at.

    Attributes:
        cause: of ``events.CAUSES``, or ``buried`` if no claim ended that way.
        agent: who held the item; None if nobody did, or if it is not known any more.
    """

    at: int
    id: int
    queue: str
    type: str
    cause: str
    agent: str | None
    reason: str | None


QUEUE_SETTINGS = (
    *("paused", "paused_until", "closed", "limit", "max_length", "lease", "max_attempts", "crash_cap", "stall_after"),
)


class Queue:
    """A named set of items, with the settings that differ from the defaults."""

    __slots__ = ("buckets", "claimed_at", "entered", "items", "name", "settings")

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}
        self.claimed_at = 0
        """When an item of it was last claimed; not kept in snapshots."""
        self.entered = dict.fromkeys((READY, CLAIMED, DONE, BURIED, CANCELLED, SCHEDULED, BLOCKED), 0)
        """How often an item of it came into each state, since the daemon serves; volatile."""
        self.items: dict[str, dict[int, Item]] = {
            state: {} for state in (SCHEDULED, BLOCKED, READY, CLAIMED, BURIED, DONE, CANCELLED)
        }
        self.buckets: dict[Any, None] = {}
        """The ready index's; volatile."""

    @property
    def open(self) -> int:
        """Items that are not ended."""
        items = self.items
        return (
            len(items[READY]) + len(items[CLAIMED]) + len(items[SCHEDULED]) + len(items[BLOCKED]) + len(items[BURIED])
        )

    @property
    def oldest(self) -> Item | None:
        """The item that is ready for longest. Not free of cost: it lies behind those that were claimed before it."""
        return next(iter(self.items[READY].values()), None)

    @property
    def offers(self) -> bool:
        """Whether its ready items may be claimed now."""
        if not self.settings:
            return True
        limit = self.settings.get("limit")
        return "paused" not in self.settings and not (limit and len(self.items[CLAIMED]) >= limit)

    @property
    def empty(self) -> bool:
        return not self.settings and not any(self.items.values())


class Group:
    """Items that were submitted under one name, by id; ``pending`` of them are not settled yet."""

    __slots__ = ("ended", "open", "pending")

    def __init__(self) -> None:
        self.open: dict[int, Item] = {}
        self.ended: dict[int, Item] = {}
        self.pending = 0

    def __len__(self) -> int:
        return len(self.open) + len(self.ended)


class Departed:
    """Where items belonged that were forgotten lately, for those who still hear of what happened to them before."""

    __slots__ = ("_before", "_young")

    def __init__(self) -> None:
        self._young: dict[int, tuple[str, str, str | None]] = {}
        self._before: dict[int, tuple[str, str, str | None]] = {}

    def add(self, item: Item) -> None:
        """The item is being forgotten."""
        if len(self._young) >= DEPARTED_MAX // 2:
            self._before, self._young = self._young, {}
        self._young[item.id] = (item.queue.name, item.type, item.option("group"))

    def get(self, number: int) -> tuple[str, str, str | None] | None:
        """Queue, type and group of the item; None if it was forgotten long ago."""
        return self._young.get(number) or self._before.get(number)


def watch_key(watch: Sequence[int] | None) -> tuple[int, int] | None:
    """The identity of a watched process, from an event's field."""
    return None if watch is None else (watch[0], watch[1])
