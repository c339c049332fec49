"""What becomes of the state when a part of its past is lost.

An event is a fact, and applying it to a state that lacks the facts before it can fail. Where a journal was damaged the
later ones are worth having all the same, so here each is made to fit: what it says of items that nobody knows is
left out, and an item that it finds in another state than it must is brought there first, by events of ours. What an
event says is believed: an item that was completed is done, though its claim was lost.

The same for a snapshot of which some rows are lost. What was left out or assumed is kept, for whoever repairs.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from swarmshd import events as e
from swarmshd.workqueue.applying import EFFECTS
from swarmshd.workqueue.records import BLOCKED, BURIED, CLAIMED, ENDED, READY, SCHEDULED, Item
from swarmshd.workqueue.rows import HELD, ITEM
from swarmshd.workqueue.tables import Tables

NOBODY = "lost"
"""The agent of a claim of which only the end is known."""

WHY = "a part of the journal was lost"

Events = Iterable[e.Event]


class Mended:
    """Tables to which events are applied although some before them are lost.

    Attributes:
        unknown: ids that later events spoke of and that nobody knows, and what the last of these said.
        assumed: ids of items that were not in the state in which an event found them, and what it said.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.unknown: dict[int, str] = {}
        self.assumed: dict[int, str] = {}

    def replay(self, batch: e.Batch, after: int = 0) -> None:
        """Apply what fits of a batch, but for its events up to position ``after``."""
        tables = self.tables
        tables.time = max(tables.time, batch.time)
        position = batch.position
        for entry in batch.entries:
            tables.uid, tables.pid = entry.uid, entry.pid
            for event in entry.events:
                position += 1
                if position > after:
                    self._take(event)
                tables.position = position
            if entry.key is not None and position - len(entry.events) >= after and self._all_known(entry.events):
                tables.conclude(entry.key, entry.minted, entry.events)

    def _take(self, event: e.Event) -> None:
        fit = FITS.get(type(event))
        for fitting in (event,) if fit is None else fit(self, event):
            self._apply(fitting)

    def _apply(self, event: e.Event) -> None:
        EFFECTS[type(event)](self.tables, event)

    def _all_known(self, happened: Sequence[e.Event]) -> bool:
        """Whether a reply can be kept of these; else their key is free again."""
        items = self.tables.items
        return all(event.id in items for event in happened if hasattr(event, "id")) and all(
            number in items for event in happened if hasattr(event, "ids") for number in event.ids
        )

    # -- what is known

    def find(self, number: int, event: e.Event) -> Item | None:
        """The item, if it is known."""
        item = self.tables.items.get(number)
        if item is None:
            self.unknown[number] = type(event).__name__
        return item

    def among(self, ids: Iterable[int], event: e.Event, *states: str) -> list[int]:
        """Those that are known and in one of these states."""
        found = [item for item in (self.find(number, event) for number in ids) if item is not None]
        return [item.id for item in found if item.state in states]

    def open(self, number: int, event: e.Event) -> Item | None:
        """The item, if it is known and has not ended."""
        item = self.find(number, event)
        if item is None or item.state in ENDED:
            return None
        return item

    # -- from state to state

    def make_ready(self, item: Item, event: e.Event) -> None:
        """Bring an open item to where it may be claimed."""
        if item.state == READY:
            return
        self.assumed[item.id] = type(event).__name__
        if item.state == CLAIMED:
            self._apply(e.ItemReturned(item.id, e.OUTAGE, None, WHY))
        elif item.state == BURIED:
            self._apply(e.ItemsKicked([item.id]))
        elif item.state == BLOCKED:
            self._apply(e.ItemsUnblocked(0, [], [item.id]))
        if item.state == SCHEDULED:
            self._apply(e.ItemsDue([item.id]))

    def make_claimed(self, item: Item, event: e.Event) -> None:
        """Bring an open item into somebody's hands, if it is in nobody's."""
        if item.state != CLAIMED:
            self.make_ready(item, event)
            self.assumed[item.id] = type(event).__name__
            self._apply(e.ItemClaimed(item.id, NOBODY, self.tables.next_fence, bytes(8), self.tables.time, 0))

    def free(self, name: str, option: str, index: dict[str, int]) -> None:
        """Take a ref or unique key from who has it, as its end or its forgetting was lost."""
        other = self.tables.items.get(index.pop(name, 0))
        if other is not None and other.options is not None:
            self.assumed[other.id] = f"its {option} was given to another"
            other.options = {key: value for key, value in other.options.items() if key != option} or None


# -- what fits of each kind of event: those that are not here fit any state --------------------------------


def _came(m: Mended, event: Any) -> Events:
    if event.id in m.tables.items:
        return
    options = event.options or {}
    if "unique" in options and options["unique"] in m.tables.uniques and getattr(event, "state", READY) not in ENDED:
        m.free(options["unique"], "unique", m.tables.uniques)
    if "ref" in options and options["ref"] in m.tables.refs:
        m.free(options["ref"], "ref", m.tables.refs)
    if event.waits:
        waits = [number for number in event.waits if m.find(number, event) is not None]
        if len(waits) < len(event.waits):
            m.assumed[event.id] = "it waited for an item that is lost"
        event = event._replace(waits=waits or None)
        if not waits and type(event) is e.ItemImported and event.state == BLOCKED:
            event = event._replace(state=READY if event.due_at is None else SCHEDULED)
    yield event


def _claimed(m: Mended, event: e.ItemClaimed) -> Events:
    item = m.open(event.id, event)
    if item is not None:
        if item.claim is None or item.claim.agent.name != event.agent:
            m.make_ready(item, event)
        yield event


def _renewed(m: Mended, event: e.LeasesRenewed) -> Events:
    ids = m.among(event.ids, event, CLAIMED)
    if ids:
        yield event._replace(ids=ids)


def _of_holder(m: Mended, event: Any) -> Events:
    if m.among([event.id], event, CLAIMED):
        yield event


def _completed(m: Mended, event: e.ItemCompleted) -> Events:
    item = m.open(event.id, event)
    if item is not None:
        m.make_claimed(item, event)
        waiting = set(item.dependants or ())
        ready = m.among(event.ready, event, BLOCKED)
        yield event._replace(ready=ready)
        late = [number for number in waiting - set(ready) if _waits_no_more(m.tables.items.get(number))]
        if late:
            yield e.ItemsUnblocked(0, [], sorted(late))


def _waits_no_more(item: Item | None) -> bool:
    """Blocked by nothing, as what it waited for besides is lost."""
    return item is not None and item.state == BLOCKED and item.waits is not None and not item.waits


def _returned(m: Mended, event: e.ItemReturned) -> Events:
    item = m.open(event.id, event)
    if item is not None:
        m.make_claimed(item, event)
        yield event


def _buried(m: Mended, event: e.ItemBuried) -> Events:
    item = m.open(event.id, event)
    if item is not None and item.state != BURIED:
        yield event


def _due(m: Mended, event: e.ItemsDue) -> Events:
    ids = m.among(event.ids, event, SCHEDULED)
    if ids:
        yield event._replace(ids=ids)


def _unblocked(m: Mended, event: e.ItemsUnblocked) -> Events:
    ids = m.among(event.ids, event, BLOCKED)
    ready = m.among(event.ready, event, BLOCKED)
    if ids or ready:
        yield event._replace(ids=ids, ready=ready)


def _blocked(m: Mended, event: e.ItemsBlocked) -> Events:
    ids = m.among(event.ids, event, BLOCKED)
    if ids:
        yield event._replace(ids=ids)


def _kicked(m: Mended, event: e.ItemsKicked) -> Events:
    ids = m.among(event.ids, event, BURIED, BLOCKED)
    if ids:
        yield event._replace(ids=ids)


def _cancelled(m: Mended, event: e.ItemCancelled) -> Events:
    if m.open(event.id, event) is not None:
        yield event


def _edited(m: Mended, event: e.ItemEdited) -> Events:
    item = m.open(event.id, event)
    if item is not None:
        if item.state == CLAIMED:
            m.make_ready(item, event)
        yield event


def _forgotten(m: Mended, event: e.ItemsForgotten) -> Events:
    ids = [number for number in event.ids if m.find(number, event) is not None]
    for number in ids:
        if m.tables.items[number].state not in ENDED:
            m.assumed[number] = type(event).__name__
            yield e.ItemCancelled(number, WHY)
    if ids:
        yield event._replace(ids=ids)


def _quieted(m: Mended, event: e.AgentQuieted) -> Events:
    if event.agent in m.tables.agents:
        yield event


def _agents_gone(m: Mended, event: e.AgentsForgotten) -> Events:
    names = [name for name in event.agents if name in m.tables.agents]
    for name in names:
        for item in list(m.tables.agents[name].holds.values()):
            m.make_ready(item, event)
    if names:
        yield event._replace(agents=names)


def _keys_gone(m: Mended, event: e.KeysForgotten) -> Events:
    chosen, minted = m.tables.key_order
    yield e.KeysForgotten(min(event.chosen, len(chosen)), min(event.minted, len(minted)))


def _settled(m: Mended, event: e.CascadeSettled) -> Events:
    yield e.CascadeSettled(min(event.items, len(m.tables.cascade)))


FITS: dict[type[Any], Callable[[Mended, Any], Events]] = {
    e.ItemSubmitted: _came,
    e.ItemImported: _came,
    e.ItemClaimed: _claimed,
    e.LeasesRenewed: _renewed,
    e.ItemProgressed: _of_holder,
    e.ItemHeld: _of_holder,
    e.ItemStalled: _of_holder,
    e.ItemCompleted: _completed,
    e.ItemReturned: _returned,
    e.ItemBuried: _buried,
    e.ItemsDue: _due,
    e.ItemsUnblocked: _unblocked,
    e.ItemsBlocked: _blocked,
    e.ItemsKicked: _kicked,
    e.ItemCancelled: _cancelled,
    e.ItemEdited: _edited,
    e.ItemsForgotten: _forgotten,
    e.AgentQuieted: _quieted,
    e.AgentsForgotten: _agents_gone,
    e.KeysForgotten: _keys_gone,
    e.CascadeSettled: _settled,
}


# -- a snapshot of which some rows are lost ----------------------------------------------------------------


def restore(tables: Tables, rows: Iterable[Sequence[Any]]) -> None:
    """Take the rows that are left of a snapshot, in their order, and make a whole state of them."""
    for row in rows:
        if row[0] == ITEM and (held := row[HELD]) is not None:
            tables.agent(held[0], held[1])
        tables.restore([row])
    _complete(tables)


def _complete(tables: Tables) -> None:
    """What other rows say of items that are lost is taken away, and what they do not say is added."""
    items = tables.items
    ended = [number for number in tables.ended if number in items]
    known = set(ended)
    tables.ended.clear()
    tables.ended.extend(ended + sorted(n for n, item in items.items() if item.state in ENDED and n not in known))
    tables.next_id = max([tables.next_id, *(number + 1 for number in items)])
    fences = [item.claim.fence + 1 for item in items.values() if item.claim is not None]
    tables.next_fence = max([tables.next_fence, *fences])
    freed = []
    for item in items.values():
        if item.waits is not None:
            item.waits &= items.keys()
            if item.state == BLOCKED and not item.waits:
                freed.append(item.id)
    if freed:
        EFFECTS[e.ItemsUnblocked](tables, e.ItemsUnblocked(0, [], freed))
