"""An event as it is told to people and programs: to those who watch, and in the history of an item.

This is the one place where a fact of the journal becomes a map for others. It never holds the secret of a token,
nor the bytes of a payload, checkpoint, result or output, of which only the size is told. One event is one map with
one position, so that whoever stopped after any of them can go on after its position. Events that only keep the
daemon's books (blocks of numbers, idempotency keys) are not told.

What an event does not say itself (the queue, type and group of its item) comes from the caller's ``Places``: the
daemon looks into its tables, the reader of old segments into the :class:`Gazetteer` that it keeps while it reads.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from swarmshd import events as e
from swarmshd.protocol import LOCKS, PRIORITIES

Told = dict[str, Any]


class Place(NamedTuple):
    """Where an item belongs."""

    queue: str
    type: str
    group: str | None = None


Places = Callable[[int], Place | None]
"""The place of an item by its id; None if nobody knows it any more."""


class Wanted(NamedTuple):
    """Which events somebody wants to be told of: those of items that fit all that is given; all, if nothing is."""

    ids: frozenset[int] | None = None
    queues: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    group: str | None = None
    locks: bool = True
    """Whether named locks are meant, where nothing else says so."""

    def takes(self, number: int, place: Place | None) -> bool:
        """Whether the item is one of them. Of an item whose place is not known only its id can fit."""
        if self.ids is not None and number not in self.ids:
            return False
        if place is None:
            return not (self.queues or self.types or self.group is not None)
        if place.queue == LOCKS and not self.locks:
            return False
        return (
            (not self.queues or place.queue in self.queues)
            and (not self.types or place.type in self.types)
            and (self.group is None or place.group == self.group)
        )

    def takes_queue(self, queue: str | None) -> bool:
        """Whether what happened to a queue as a whole (None: to every one) is wanted."""
        if self.ids is not None or self.types or self.group is not None:
            return False
        return queue is None or queue in self.queues


EVERYTHING = Wanted()
WORK = Wanted(locks=False)
"""Everything but the takings of named locks."""


Happened = tuple[int | None, int | None, e.Event]
"""An event with the uid and pid of who brought it about; None for the daemon itself."""


def tell(position: int, time: int, happened: Happened, places: Places, wanted: Wanted) -> Told | None:
    """The event as it is told; None if it is not told, or not wanted.

    Args:
        position: of the event itself.
        time: of its batch.
        happened: the event, and by whom.
        places: where items belong.
        wanted: what is asked for.
    """
    uid, pid, event = happened
    kind = type(event)
    teller = TELLERS.get(kind)
    if teller is None:
        return None
    chosen: Sequence[int] | None = None
    if wanted is not EVERYTHING:
        chosen = _chosen(event, places, wanted)
        if chosen is not None and not chosen:
            return None
    told = teller(position, time, event)
    if kind not in NEW:  # that says all by itself
        if "id" in told:
            place = places(event.id)
            if place is not None:
                told.setdefault("queue", place.queue)
                told["type"] = place.type
                if place.group is not None:
                    told["group"] = place.group
        elif chosen is not None and "ids" in told:
            told["ids"] = list(chosen)
    if uid is not None:
        told["uid"], told["pid"] = uid, pid
    return told


def _chosen(event: e.Event, places: Places, wanted: Wanted) -> Sequence[int] | None:
    """Of the items of an event those that are wanted; None for an event of no item that is wanted all the same."""
    kind = type(event)
    if kind is e.QueueSet or kind is e.EverythingPaused:
        return None if wanted is WORK or wanted.takes_queue(event.queue if kind is e.QueueSet else None) else ()
    ids = touched(event)
    if wanted is WORK and not ids:
        return None
    if wanted.ids is not None and wanted.ids.isdisjoint(ids):
        return ()
    if kind in NEW:
        return ids if wanted.takes(event.id, _place_of(event)) else ()
    if kind is e.ItemEdited and (place := places(event.id)) is not None:
        both = [place._replace(queue=queue) for queue in (event.queue, event.former) if queue is not None]
        return ids if any(wanted.takes(event.id, place) for place in both) else ()
    return [number for number in ids if wanted.takes(number, places(number))]


def touched(event: e.Event) -> Sequence[int]:
    """The ids of the items that an event is about, or that it sets free."""
    kind = type(event)
    if kind is e.ItemCompleted:
        return (event.id, *event.ready)
    if kind is e.ItemsUnblocked:
        return list(dict.fromkeys((*event.ids, *event.ready)))
    if hasattr(event, "ids"):
        ids: Sequence[int] = event.ids
        return ids
    return (event.id,) if hasattr(event, "id") else ()


NEW = frozenset((e.ItemSubmitted, e.ItemImported))
"""Events that bring an item in, and say themselves where it belongs."""


def _place_of(event: e.ItemSubmitted | e.ItemImported) -> Place:
    return Place(event.queue, event.type, None if event.options is None else event.options.get("group"))


class Gazetteer(dict[int, Place]):
    """Where items belong, learned from the events in their order."""

    def learn(self, event: e.Event) -> None:
        """Take note of an event, before it is told."""
        kind = type(event)
        if kind in NEW:
            self[event.id] = _place_of(event)
        elif kind is e.ItemEdited and event.former is not None and (place := self.get(event.id)) is not None:
            self[event.id] = place._replace(queue=event.queue)

    def unlearn(self, event: e.Event) -> None:
        """Take note of an event after it was told: nothing more will be heard of what was forgotten."""
        if type(event) is e.ItemsForgotten:
            for number in event.ids:
                self.pop(number, None)


# -- one function for each kind of event -----------------------------------------------------------------


def _facts(position: int, time: int, word: str, **facts: Any) -> Told:
    """The map of an event; what has no value is left out."""
    told: Told = {"position": position, "time": time, "event": word}
    for name, value in facts.items():
        if value is not None:
            told[name] = value
    return told


def _size(data: bytes | None) -> int | None:
    return None if data is None else len(data)


def _pid(watch: Sequence[int] | None) -> int | None:
    return None if watch is None else watch[0]


OF_OPTIONS = "group ref unique on_failure max_attempts lease max_runtime agent reason origin".split()
"""What is told of a new item's options."""


def _submitted(position: int, time: int, event: e.ItemSubmitted) -> Told:
    told: Told = {
        "position": position,
        "time": time,
        "event": "submitted",
        "id": event.id,
        "queue": event.queue,
        "type": event.type,
        "state": "blocked" if event.waits else "ready" if event.due_at is None else "scheduled",
        "priority": PRIORITIES[event.priority],
        "description": event.description,
    }
    _describe(told, event)
    return told


def _imported(position: int, time: int, event: e.ItemImported) -> Told:
    told = _facts(
        position,
        time,
        "imported",
        id=event.id,
        queue=event.queue,
        type=event.type,
        state=event.state,
        priority=PRIORITIES[event.priority],
        description=event.description,
        created_at=event.created_at,
    )
    _describe(told, event)
    for name in ("checkpoint", "result", "output"):
        if event.notes is not None and event.notes.get(name) is not None:
            told[f"{name}_size"] = len(event.notes[name])
    return told


def _describe(told: Told, event: e.ItemSubmitted | e.ItemImported) -> None:
    """What few new items have."""
    if event.due_at is not None:
        told["due_at"] = event.due_at
    if event.team is not None:
        told["team"] = event.team
    if event.payload is not None:
        told["payload_size"] = len(event.payload)
    if event.require:
        told["require"] = list(event.require)
    if event.after:
        told["after"] = list(event.after)
    if event.options is not None:
        told |= {name: event.options[name] for name in OF_OPTIONS if name in event.options}


def _claimed(position: int, time: int, event: e.ItemClaimed) -> Told:
    return _facts(
        position,
        time,
        "claimed",
        id=event.id,
        state="claimed",
        agent=event.agent,
        fence=event.fence,
        expires_at=event.expires_at,
        lease=event.lease,
        runtime_until=event.runtime_until,
        watching=_pid(event.watch),
    )


def _progressed(position: int, time: int, event: e.ItemProgressed) -> Told:
    return _facts(
        position,
        time,
        "progressed",
        id=event.id,
        percent=event.percent,
        status=event.status,
        message=event.message,
        checkpoint_size=_size(event.checkpoint),
        expires_at=event.expires_at,
    )


def _completed(position: int, time: int, event: e.ItemCompleted) -> Told:
    return _facts(
        position,
        time,
        "completed",
        id=event.id,
        state="done",
        note=event.note,
        points=event.points,
        exit_status=event.exit_status,
        result_size=_size(event.result),
        output_size=_size(event.output),
        ready=list(event.ready) or None,
    )


def _given_up(
    position: int, time: int, word: str, state: str, due_at: int | None, event: e.ItemReturned | e.ItemBuried
) -> Told:
    return _facts(
        position,
        time,
        word,
        id=event.id,
        state=state,
        due_at=due_at,
        cause=None if event.cause is None else e.CAUSES[event.cause],
        reason=event.reason,
        exit_status=event.exit_status,
        output_size=_size(event.output),
    )


def _returned(position: int, time: int, event: e.ItemReturned) -> Told:
    state = "ready" if event.due_at is None else "scheduled"
    return _given_up(position, time, "returned", state, event.due_at, event)


def _buried(position: int, time: int, event: e.ItemBuried) -> Told:
    return _given_up(position, time, "buried", "buried", None, event)


def _new_agent(position: int, time: int, word: str, event: e.AgentRegistered | e.AgentImported) -> Told:
    return _facts(
        position,
        time,
        word,
        agent=event.agent,
        team=event.team,
        capacity=event.capacity,
        specialization=event.specialization,
        slots=event.slots,
        labels=list(event.labels) or None,
        heartbeat=event.heartbeat,
    )


def _registered(position: int, time: int, event: e.AgentRegistered) -> Told:
    told = _new_agent(position, time, "registered", event)
    if event.watch is not None:
        told["watching"] = event.watch[0]
    return told


def _unblocked(position: int, time: int, event: e.ItemsUnblocked) -> Told:
    ready = list(event.ready) or None
    return _facts(position, time, "unblocked", ids=list(touched(event)), freed=event.freed, ready=ready)


def _edited(position: int, time: int, event: e.ItemEdited) -> Told:
    return _facts(
        position,
        time,
        "edited",
        id=event.id,
        queue=event.queue,
        former_queue=event.former,
        priority=PRIORITIES[event.priority],
        due_at=event.due_at,
    )


def _paused(position: int, time: int, event: e.EverythingPaused) -> Told:
    if event.reason is None:
        return _facts(position, time, "resumed")
    return _facts(position, time, "paused", reason=event.reason, hard=event.hard, until=event.until)


TELLERS: dict[type[Any], Callable[[int, int, Any], Told]] = {
    e.EpochStarted: lambda p, t, event: _facts(p, t, "started", epoch=event.epoch),
    e.EpochEnded: lambda p, t, _: _facts(p, t, "stopped"),
    e.ClockShifted: lambda p, t, event: _facts(p, t, "clock_shifted", gap=event.gap),
    e.ItemSubmitted: _submitted,
    e.ItemImported: _imported,
    e.ItemClaimed: _claimed,
    e.LeasesRenewed: lambda p, t, event: _facts(p, t, "renewed", ids=list(event.ids), expires_at=event.expires_at),
    e.ItemProgressed: _progressed,
    e.ItemHeld: lambda p, t, event: _facts(
        p, t, "held", id=event.id, watching=_pid(event.watch), expires_at=event.expires_at
    ),
    e.ItemStalled: lambda p, t, event: _facts(p, t, "stalled", id=event.id),
    e.ItemCompleted: _completed,
    e.ItemReturned: _returned,
    e.ItemBuried: _buried,
    e.ItemsDue: lambda p, t, event: _facts(p, t, "due", ids=list(event.ids), state="ready"),
    e.ItemsUnblocked: _unblocked,
    e.ItemsBlocked: lambda p, t, event: _facts(p, t, "blocked", ids=list(event.ids), reason=event.reason),
    e.ItemsKicked: lambda p, t, event: _facts(p, t, "kicked", ids=list(event.ids), state="ready"),
    e.ItemCancelled: lambda p, t, event: _facts(p, t, "cancelled", id=event.id, state="cancelled", reason=event.reason),
    e.ItemEdited: _edited,
    e.ItemsForgotten: lambda p, t, event: _facts(p, t, "forgotten", ids=list(event.ids)),
    e.AgentRegistered: _registered,
    e.AgentImported: lambda p, t, event: _new_agent(p, t, "agent_imported", event),
    e.AgentQuieted: lambda p, t, event: _facts(p, t, "quieted" if event.quiet else "woken", agent=event.agent),
    e.AgentsForgotten: lambda p, t, event: _facts(p, t, "agents_forgotten", agents=list(event.agents)),
    e.WatchEnded: lambda p, t, event: _facts(p, t, "process_ended", watching=event.watch[0], proven=event.proven),
    e.QueueSet: lambda p, t, event: _facts(p, t, "queue_set", queue=event.queue, settings=dict(event.settings)),
    e.EverythingPaused: _paused,
}
"""How each kind of event is told: from its position, its time, and itself."""

UNTOLD = frozenset((e.BlocksReserved, e.NothingChanged, e.KeysForgotten, e.CascadeSettled))
"""Events that keep the daemon's books and concern nobody else."""

assert {*TELLERS, *UNTOLD} == set(e.KINDS.values())
