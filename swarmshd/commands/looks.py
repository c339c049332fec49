"""The commands that change nothing."""

from attrs import frozen

from swarmshd.commands.values import (
    Count,
    ItemId,
    Milliseconds,
    Name,
    Note,
    Position,
    Reference,
)


@frozen(slots=False)
class Show:
    id: Reference


@frozen(slots=False)
class Filter:
    """What ``list`` and ``count`` select; an empty tuple selects everything."""

    state: tuple[str, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    team: tuple[Name, ...] = ()
    agent: Name | None = None
    group: Name | None = None
    older: Milliseconds | None = None
    all: bool = False


@frozen(slots=False)
class List(Filter):
    limit: Count = Count(50)
    after_id: ItemId = ItemId(0)


@frozen(slots=False)
class CountItems(Filter):
    by: str | None = None


@frozen(slots=False)
class Export:
    state: tuple[str, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    team: tuple[Name, ...] = ()
    group: Name | None = None
    after: Note | None = None


@frozen(slots=False)
class Get:
    id: Reference
    what: str


@frozen(slots=False)
class Held:
    agent: Name


@frozen(slots=False)
class Wait:
    timeout: Milliseconds
    ids: tuple[Reference, ...] = ()
    group: Name | None = None
    any: bool = False


@frozen(slots=False)
class Watch:
    since: Position | None = None
    """None is now."""
    ids: tuple[Reference, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    group: Name | None = None
    timeout: Milliseconds = Milliseconds(0)
    limit: Count = Count(1000)


@frozen(slots=False)
class History:
    ids: tuple[Reference, ...]
    since: Position = Position(0)
    limit: Count = Count(1000)


@frozen(slots=False)
class Agents:
    agent: Name | None = None


@frozen(slots=False)
class Queues:
    queue: Name | None = None
    stats: bool = False


@frozen(slots=False)
class Explain:
    id: Reference | None = None
    agent: Name | None = None
    queue: Name | None = None


@frozen(slots=False)
class Status:
    pass


@frozen(slots=False)
class Dashboard:
    """How many rows of each kind are wanted."""

    queues: Count = Count(20)
    agents: Count = Count(20)
    failures: Count = Count(10)


@frozen(slots=False)
class Stats:
    section: Name | None = None


@frozen(slots=False)
class Health:
    pass


@frozen(slots=False)
class Config:
    names: tuple[Name, ...] = ()


@frozen(slots=False)
class JournalFiles:
    """A stream of what the journal's files hold, or the next part of the one that has begun as ``stream``."""

    want: str
    stream: Count | None = None
    deep: bool = False
    measure: bool = True
    digest: bool = False
    since: Position = Position(0)
    id: ItemId | None = None
    all: bool = False
    dry_run: bool = False
