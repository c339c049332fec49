"""The facts that the journal keeps, and their bytes.

An event says what became so, never what somebody wished: absolute instants in integer milliseconds, minted
ids and tokens, effects as lists of ids. Applying it needs no clock, no settings and no randomness, so an old
journal means the same under new rules.

The body of a journal batch is one CBOR array ``[time, [entry, ...]]``. An entry is what one command (or one
timer round) did: ``[uid, pid, key, code, event, code, event, ...]``, where ``key`` is the digest of an
idempotency key or null, and ``uid`` is null for what the daemon did by itself. An entry never straddles two
batches. Each event takes one position of the journal, in order.

Fields are only ever added at the end of an event, with a default, so that every later program reads what an
earlier one wrote. Codes are never reused.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cbor2

FORMAT = 1
"""Version of these events and of the rows of a snapshot."""


class EpochStarted(NamedTuple):
    """A daemon began to write. Ids, fences and positions are minted below the given ends."""

    epoch: int
    boot: str
    ids_end: int
    fences_end: int
    positions_end: int


class EpochEnded(NamedTuple):
    """The daemon stopped in good order. Its batch's time is when: leases are moved by the time after it."""


class BlocksReserved(NamedTuple):
    """Ids, fences and positions up to these ends may be minted from now on."""

    ids_end: int
    fences_end: int
    positions_end: int


class ClockShifted(NamedTuple):
    """The clock leapt by ``gap`` (suspend, downtime, a step): every lease and runtime moves with it."""

    gap: int


class ItemSubmitted(NamedTuple):
    """A new item. It is blocked while ``waits`` holds ids, else scheduled if it has ``due_at``, else ready.

    ``options`` holds what few items have: group, ref, unique, lease, max_runtime, max_attempts, on_failure,
    agent (who submitted), reason (why it is blocked from birth).
    """

    id: int
    queue: str
    type: str
    priority: int
    description: str
    due_at: int | None = None
    team: str | None = None
    payload: bytes | None = None
    require: Sequence[str] | None = None
    after: Sequence[int] | None = None
    waits: Sequence[int] | None = None
    options: dict[str, Any] | None = None


class ItemClaimed(NamedTuple):
    """An agent holds the item until ``expires_at``, under the token ``fence.secret``."""

    id: int
    agent: str
    fence: int
    secret: bytes
    expires_at: int
    lease: int
    runtime_until: int | None = None
    watch: Sequence[int] | None = None


class LeasesRenewed(NamedTuple):
    ids: Sequence[int]
    expires_at: int


class ItemProgressed(NamedTuple):
    """Progress of a held item; None leaves a field as it was."""

    id: int
    expires_at: int
    percent: int | None = None
    status: str | None = None
    message: str | None = None
    checkpoint: bytes | None = None


class ItemHeld(NamedTuple):
    """From now on the claim stands and falls with this process."""

    id: int
    expires_at: int
    watch: Sequence[int] | None


class ItemStalled(NamedTuple):
    """The holder's process lives, but half of STALL_AFTER has passed without a word from it."""

    id: int


class ItemCompleted(NamedTuple):
    """``ready`` are the dependants that waited for this item alone."""

    id: int
    ready: Sequence[int] = ()
    note: str | None = None
    points: int | None = None
    exit_status: int | None = None
    result: bytes | None = None
    output: bytes | None = None


FAILED, CRASHED, RELEASED, OUTAGE, EVICTED, UNDELIVERED, TAKEN, UNLOCKED, UNBEGUN = range(9)
CAUSES = ("failed", "crashed", "released", "outage", "evicted", "undelivered", "taken back", "unlocked", "not begun")
"""Why an item went back or was buried; only the first three are counted, each by itself."""


class ItemReturned(NamedTuple):
    """A claim ended without an end of the item: ready again, or scheduled for ``due_at``."""

    id: int
    cause: int
    due_at: int | None = None
    reason: str | None = None
    exit_status: int | None = None
    output: bytes | None = None


class ItemBuried(NamedTuple):
    id: int
    cause: int | None = None
    reason: str | None = None
    exit_status: int | None = None
    output: bytes | None = None


class ItemsDue(NamedTuple):
    """Scheduled items whose time has come."""

    ids: Sequence[int]


class ItemsUnblocked(NamedTuple):
    """Blocked items that no longer wait for ``freed``, which failed; ``ready`` waited for nothing else."""

    freed: int
    ids: Sequence[int]
    ready: Sequence[int]


class ItemsBlocked(NamedTuple):
    """Blocked items learn that what they wait for will not come by itself."""

    ids: Sequence[int]
    reason: str


class ItemsKicked(NamedTuple):
    """Buried items, or blocked ones whose wait is hopeless, are ready again; their counts begin anew."""

    ids: Sequence[int]


class ItemCancelled(NamedTuple):
    id: int
    reason: str | None = None


class ItemEdited(NamedTuple):
    """``former`` is the queue that it was in, if that is another one."""

    id: int
    priority: int
    queue: str
    due_at: int | None = None
    former: str | None = None


class ItemsForgotten(NamedTuple):
    ids: Sequence[int]


class NothingChanged(NamedTuple):
    """A keyed command found what it wants to be so already; only the facts of its reply are kept."""

    facts: dict[str, Any]


class AgentRegistered(NamedTuple):
    agent: str
    team: str | None = None
    capacity: int | None = None
    specialization: str | None = None
    slots: int | None = None
    labels: Sequence[str] = ()
    heartbeat: int | None = None
    watch: Sequence[int] | None = None


class AgentQuieted(NamedTuple):
    agent: str
    quiet: bool


class AgentsForgotten(NamedTuple):
    agents: Sequence[str]


class WatchEnded(NamedTuple):
    """A watched process is gone, or (``proven`` false) nobody can tell any more whether it lives."""

    watch: Sequence[int]
    proven: bool = True


class QueueSet(NamedTuple):
    """Settings of a queue, whole: what is not named is at its default."""

    queue: str
    settings: dict[str, Any]


class EverythingPaused(NamedTuple):
    """No claims anywhere while ``reason`` is not None, or ``until`` comes; ``hard`` also asks holders to stop."""

    reason: str | None
    hard: bool = False
    until: int | None = None


class KeysForgotten(NamedTuple):
    """The oldest idempotency keys of each kind are dropped."""

    chosen: int
    minted: int


class CascadeSettled(NamedTuple):
    """The dependants of the first ``items`` that were buried or cancelled have been looked at."""

    items: int


class ItemImported(NamedTuple):
    """An item came in from elsewhere with its past. Its state is any but claimed: a claim follows by itself.

    ``counts`` are claims, failures, crashes and releases. ``options`` are those of ItemSubmitted, and ``imported`` (run
    and content, eight bytes of digest each), ``origin`` (what it was called elsewhere, if its id is another one here)
    and ``legacy`` (JSON of what we have no word for). ``notes`` are what became of it; ``ended_at`` is among them.
    """

    id: int
    queue: str
    type: str
    priority: int
    description: str
    state: str
    created_at: int
    uid: int | None = None
    counts: Sequence[int] = (0, 0, 0, 0)
    due_at: int | None = None
    team: str | None = None
    payload: bytes | None = None
    require: Sequence[str] | None = None
    after: Sequence[int] | None = None
    waits: Sequence[int] | None = None
    options: dict[str, Any] | None = None
    notes: dict[str, Any] | None = None


class AgentImported(NamedTuple):
    """An agent came in from elsewhere; ``imported`` and ``legacy`` as for an item."""

    agent: str
    uid: int | None
    team: str | None
    capacity: int | None
    specialization: str | None
    slots: int | None
    labels: Sequence[str]
    heartbeat: int | None
    quiet: bool
    registered: bool
    seen_at: int | None
    imported: bytes
    legacy: str | None = None


Event = Any  # one of the classes above; NamedTuple gives them no common base

KINDS: dict[int, type[Any]] = {
    1: EpochStarted,
    2: BlocksReserved,
    3: ClockShifted,
    4: EpochEnded,
    10: ItemSubmitted,
    11: ItemClaimed,
    12: LeasesRenewed,
    13: ItemProgressed,
    14: ItemHeld,
    15: ItemStalled,
    16: ItemCompleted,
    17: ItemReturned,
    18: ItemBuried,
    19: ItemsDue,
    20: ItemsUnblocked,
    21: ItemsBlocked,
    22: ItemsKicked,
    23: ItemCancelled,
    24: ItemEdited,
    25: ItemsForgotten,
    26: NothingChanged,
    30: AgentRegistered,
    31: AgentQuieted,
    32: AgentsForgotten,
    33: WatchEnded,
    40: QueueSet,
    41: EverythingPaused,
    50: KeysForgotten,
    51: CascadeSettled,
    60: ItemImported,
    61: AgentImported,
}
CODES: dict[type[Any], int] = {kind: code for code, kind in KINDS.items()}
_WHOLE: dict[int, tuple[type[Any], int]] = {code: (kind, len(kind._fields)) for code, kind in KINDS.items()}
"""By code: what it is, and how many fields it has where it was written with all that it has now."""

_NONE: tuple[type[Any], int] = tuple, -1


class Entry(NamedTuple):
    """What one command did: by whom, under which idempotency key (digest, minted by the client), and the events."""

    uid: int | None
    pid: int | None
    key: bytes | None
    minted: bool
    events: Sequence[Event]


class Batch(NamedTuple):
    """The entries of one round, with the position before its first event and the round's time."""

    position: int
    time: int
    entries: Sequence[Entry]


class UnknownEvent(ValueError):
    """The bytes are sound but say something this program does not know: a later program wrote them."""


def encode_entry(entry: Entry) -> list[object]:
    """The entry as it stands in a batch."""
    key: bytes | None = entry.key
    if key is not None and entry.minted:
        key = key + b"\0"  # the seventeenth byte says that the client minted the key
    row: list[object] = [entry.uid, entry.pid, key]
    for event in entry.events:
        row.append(CODES[type(event)])
        row.append(event)
    return row


def happened(entries: Iterable[list[Any]]) -> Iterator[tuple[int | None, int | None, Event]]:
    """Each event of what :func:`encode_entry` gave, in order, with the uid and pid of its entry."""
    for row in entries:
        uid, pid = row[:2]
        for at in range(4, len(row), 2):
            yield uid, pid, row[at]


def encode_batch(time: int, entries: Iterable[list[object]]) -> bytes:
    """The body of a journal batch, from what :func:`encode_entry` gave."""
    return cbor2.dumps([time, entries])


def decode_batch(body: bytes, position: int) -> Batch:
    """The batch that ``body`` holds; ``position`` is that of its first event less one.

    Raises:
        UnknownEvent: a code or a field that this version does not have.
        ValueError: the bytes are no batch, though their checksum is right.
    """
    time, rows = _array(body, 2)
    return Batch(position, time, [_entry(row) for row in rows])


def _entry(row: list[Any]) -> Entry:
    if len(row) == 5:  # nearly all: one event of one command
        uid, pid, key, code, fields = row
        kind, size = _WHOLE.get(code, _NONE)
        found = [_new(kind, fields) if len(fields) == size else _older(code, fields)]
    else:
        uid, pid, key = row[:3]
        found = []
        for at in range(3, len(row), 2):
            code, fields = row[at], row[at + 1]
            kind, size = _WHOLE.get(code, _NONE)
            found.append(_new(kind, fields) if len(fields) == size else _older(code, fields))
    minted = key is not None and len(key) > 16
    entry: Entry = _new(Entry, (uid, pid, key[:16] if minted else key, minted, found))
    return entry


_new: Any = tuple.__new__
"""Makes a named tuple at half the cost of calling its class, which has a function in between."""


def _older(code: int, fields: list[Any]) -> Event:
    """An event that was written before it had all the fields that it has now."""
    kind = KINDS.get(code)
    if kind is None:
        raise UnknownEvent(f"event code {code}")
    try:
        return kind(*fields)
    except TypeError as error:
        raise UnknownEvent(f"{kind.__name__}: {error}") from None


def encode_rows(rows: Sequence[object]) -> bytes:
    """A chunk of snapshot rows."""
    return cbor2.dumps(rows)


def encode_row(row: object) -> bytes:
    """One row of a snapshot."""
    return cbor2.dumps(row)


def join_rows(encoded: Sequence[bytes]) -> bytes:
    """The chunk of rows that were encoded one by one; the same bytes as `encode_rows` gives."""
    count = len(encoded)
    size = (count | 0x80).to_bytes(1, "big") if count < 24 else b"\x9a" + count.to_bytes(4, "big")
    if 24 <= count < 1 << 16:
        size = b"\x98" + count.to_bytes(1, "big") if count < 256 else b"\x99" + count.to_bytes(2, "big")
    return size + b"".join(encoded)


def decode_rows(chunk: bytes) -> list[Any]:
    """The rows of a snapshot chunk; ValueError if the bytes are none."""
    return _array(chunk, None)


def _array(data: bytes, length: int | None) -> list[Any]:
    try:
        value = cbor2.loads(data)
    except cbor2.CBORError as error:
        raise ValueError(f"not CBOR: {error}") from None
    if type(value) is not list or (length is not None and len(value) != length):
        raise ValueError("not the array that was expected")
    return value


def flatten(batch: Batch) -> Iterator[tuple[Entry, Event]]:
    """Each event of the batch with its entry, in order of position."""
    for entry in batch.entries:
        for event in entry.events:
            yield entry, event
