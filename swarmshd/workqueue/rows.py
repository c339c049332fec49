"""The state as the rows of a snapshot, and back.

A row is a list that CBOR can carry: its kind, then its fields by position. Fields are only ever added at the
end. Rows come in an order in which each refers only to what came before it: the state as a whole, queues,
agents, items by id, the order in which ended items ended, what was imported and is forgotten, idempotency keys. The
last row is the digest of all others.

The digest is the same for the same state, however it came about: by deciding, by replay, or from a snapshot. Two
fields do not count, as they change without an event: the time, and when an agent was last heard of.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from sys import intern
from typing import TYPE_CHECKING, Any

from swarmshd import events as e
from swarmshd.workqueue.records import CLAIMED, ENDED, ITEM_OVERHEAD, Claim, Item, watch_key

if TYPE_CHECKING:
    from swarmshd.workqueue.tables import Tables

STATE, QUEUE, AGENT, ITEM, ENDED_ORDER, KEY, IMPORTED, DIGEST = range(8)

HELD = 21
"""Where an item's row has its claim."""


ITEM_BYTES, KEY_BYTES, REST_BYTES = 100, 64, 4096
"""What a row of an item or of a key takes beside its texts, and all others together, about."""


def rows_size(tables: "Tables") -> int:
    """Bytes that the rows of this state will take, about, without a walk over them."""
    texts = max(0, tables.bytes - ITEM_OVERHEAD * len(tables.items))
    return texts + ITEM_BYTES * len(tables.items) + KEY_BYTES * len(tables.keys) + REST_BYTES


def rows_of(tables: "Tables") -> Iterator[list[Any]]:
    """Every row, in an order that :func:`restore_row` can take."""
    t = tables
    yield [
        STATE, t.position, t.time, t.epoch, t.boot, t.ids_end, t.fences_end, t.positions_end,
        t.next_id, t.next_fence, t.paused, t.paused_hard, list(t.cascade), t.boot_fence, t.calm_at,
        *([] if t.paused_until is None else [t.paused_until]),  # the digest of a state does not change with a version
    ]  # fmt: skip
    for queue in t.queues.values():
        yield [QUEUE, queue.name, queue.settings]
    for a in t.agents.values():
        yield [
            AGENT, a.name, a.uid, a.team, a.capacity, a.specialization, a.slots, a.labels, a.heartbeat, a.watch,
            a.quiet, a.registered, a.seen, a.died, a.imported, a.legacy,
        ]  # fmt: skip
    for number in t.after(0):
        if number in t.items:
            yield _item_row(t.items[number])
    ended = list(t.ended)
    for start in range(0, len(ended), 1000):
        yield [ENDED_ORDER, ended[start : start + 1000]]
    imported = list(t.imported.items())
    for start in range(0, len(imported), 1000):
        yield [IMPORTED, b"".join([name + content for name, content in imported[start : start + 1000]])]
    for minted, order in enumerate(t.key_order):
        for at, key in order:
            kept = t.keys.get(key)
            content, facts = kept[:2] if kept is not None and kept[2] == at else (None, None)
            yield [KEY, key, bool(minted), at, content, facts]


def _item_row(item: Item) -> list[Any]:
    claim = item.claim
    held = None
    if claim is not None:
        held = [
            claim.agent.name, claim.uid, claim.fence, claim.secret, claim.at, claim.until, claim.lease,
            claim.runtime_until, claim.watch, claim.seen, claim.stalled, claim.resumed,
        ]  # fmt: skip
    return [
        ITEM, item.id, item.queue.name, item.type, item.priority, item.description, item.state, item.created_at,
        item.since, item.uid, item.pid, item.team, item.payload, item.require, item.due_at,
        (item.claims, item.failures, item.crashes, item.releases), item.after,
        None if item.waits is None else sorted(item.waits), item.dependants, item.options, item.notes, held, item.last,
    ]  # fmt: skip


def place_in(row: Sequence[Any]) -> tuple[int, str, str, str | None] | None:
    """Id, queue, type and group of an item's row; None for any other row."""
    if row[0] != ITEM:
        return None
    _, number, queue, kind = row[:4]
    options = row[_OPTIONS]
    return number, queue, kind, None if options is None else options.get("group")


_OPTIONS = 19


class Digest:
    """The digest of rows, given one by one with their bytes."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)

    def add(self, row: list[Any], encoded: bytes) -> None:
        """The next row, in the order of :func:`rows_of`."""
        if row[0] == STATE:
            encoded = e.encode_row([*row[:_TIME], None, *row[_TIME + 1 :]])
        elif row[0] == AGENT:
            encoded = e.encode_row([*row[:_SEEN], None, *row[_SEEN + 1 :]])
        self._hash.update(encoded)

    @property
    def value(self) -> bytes:
        return self._hash.digest()


_TIME, _SEEN = 2, 12


def digest_of(tables: "Tables") -> bytes:
    """The digest of the state; it takes a few microseconds for each item."""
    digest = Digest()
    for row in rows_of(tables):
        digest.add(row, e.encode_row(row))
    return digest.value


def restore_row(tables: "Tables", row: Sequence[Any]) -> None:
    """Put one row back. ValueError if a later program wrote it."""
    kind = row[0]
    if kind == ITEM:
        _restore_item(tables, row)
    elif kind in _RESTORE:
        _RESTORE[kind](tables, row)
    else:
        raise ValueError(f"snapshot row of kind {kind}")


def _restore_item(tables: "Tables", row: Sequence[Any]) -> None:
    (
        _, number, queue_name, kind, priority, description, state, created_at, since, uid, pid, team, payload,
        require, due_at, counts, after, waits, dependants, options, notes, held, last,
    ) = row  # fmt: skip
    queue = tables.queues.get(queue_name) or tables.queue(queue_name)
    item = Item(number, queue, intern(kind), priority, description)
    item.state = state = intern(state)
    if tables.order:  # the same number is one object for all items that came together: 64 bytes less for each
        before = tables.items[tables.order[-1]]
        created_at = before.created_at if created_at == before.created_at else created_at
        pid = before.pid if pid == before.pid else pid
    item.created_at, item.since = created_at, created_at if since == created_at else since
    item.uid, item.pid = uid, pid
    if team is not None:
        item.team = intern(team)
    item.payload = payload
    if require:
        item.require = tuple(map(intern, require))
    item.due_at = due_at
    item.claims, item.failures, item.crashes, item.releases = counts
    if after:
        item.after = tuple(after)
    if waits is not None:
        item.waits = set(waits)
    item.dependants = dependants
    item.notes = notes
    if last is not None:
        item.last = (last[0], last[1])
    if options is not None:
        item.options = options
        tables.index_options(item, options)
    tables.items[number] = item
    tables.order.append(number)
    queue.items[state][number] = item
    size = item.size()
    tables.bytes += size
    if state in ENDED:
        tables.ended_bytes += size
    else:
        tables.open[number] = item
        if item.is_lock:
            tables.locks[item.type] = item
    if state == CLAIMED:
        _restore_claim(tables, item, held)
    if tables.listener is not None:
        tables.listener.item_moved(item, None)


def _restore_claim(tables: "Tables", item: Item, held: Sequence[Any]) -> None:
    name, uid, fence, secret, at, until, lease, runtime_until, watch, seen, stalled, resumed = held
    agent = tables.agents[name]
    watched = watch_key(watch)
    claim = item.claim = Claim(agent, uid, fence, secret, at, until, lease, runtime_until, watched)
    claim.seen, claim.stalled, claim.resumed = seen, stalled, resumed
    agent.holds[item.id] = item
    agent.locks += item.is_lock
    if watched is not None:
        tables.watched.setdefault(watched, {})[item.id] = None


def _restore_state(tables: "Tables", row: Sequence[Any]) -> None:
    t = tables
    (
        t.position, t.time, t.epoch, t.boot, t.ids_end, t.fences_end, t.positions_end, t.next_id, t.next_fence,
        t.paused, t.paused_hard, cascade, t.boot_fence, t.calm_at, *more,
    ) = row[1:]  # fmt: skip
    t.cascade.extend(cascade)
    t.paused_until = more[0] if more else None
    t.look_at_pauses()


def _restore_queue(tables: "Tables", row: Sequence[Any]) -> None:
    tables.set_queue(tables.queue(row[1]), row[2])


def _restore_agent(tables: "Tables", row: Sequence[Any]) -> None:
    name, uid, team, capacity, specialization, slots, labels, heartbeat, watch, quiet, registered, seen, died = row[
        1:14
    ]
    agent = tables.agent(name, uid)
    agent.team, agent.capacity, agent.specialization, agent.slots = team, capacity, specialization, slots
    agent.labels, agent.heartbeat = tuple(map(intern, labels)), heartbeat
    agent.quiet, agent.registered, agent.seen, agent.died = quiet, registered, seen, died
    agent.imported, agent.legacy = row[14:] or (None, None)
    tables.watch_agent(agent, watch_key(watch))


def _restore_ended(tables: "Tables", row: Sequence[Any]) -> None:
    tables.ended.extend(row[1])


def _restore_key(tables: "Tables", row: Sequence[Any]) -> None:
    _, key, minted, at, content, facts = row
    if content is not None:  # else it was freed; KeysForgotten counts it all the same
        tables.keys[key] = (content, facts, at)
    tables.key_order[minted].append((at, key))


def _restore_imported(tables: "Tables", row: Sequence[Any]) -> None:
    data: bytes = row[1]
    for at in range(0, len(data), 16):
        tables.imported[data[at : at + 8]] = data[at + 8 : at + 16]


def _restore_digest(tables: "Tables", row: Sequence[Any]) -> None:
    tables.digest = row[1]


_RESTORE: dict[int, Callable[["Tables", Sequence[Any]], None]] = {
    STATE: _restore_state,
    QUEUE: _restore_queue,
    AGENT: _restore_agent,
    ENDED_ORDER: _restore_ended,
    KEY: _restore_key,
    IMPORTED: _restore_imported,
    DIGEST: _restore_digest,
}
