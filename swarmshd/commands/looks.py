"""The commands that change nothing."""

from swarmshd.commands.values import (
    Count,
    Instant,
    ItemId,
    Milliseconds,
    Name,
    Note,
    Position,
    Reference,
)
from swarmshd.commands.wish import wish


@wish
class Show:
    id: Reference


@wish
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
    since: Instant | None = None
    """What came into its state then or later."""


@wish
class List(Filter):
    limit: Count = Count(50)
    after_id: ItemId = ItemId(0)


@wish
class CountItems(Filter):
    by: str | None = None


@wish
class Export:
    state: tuple[str, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    team: tuple[Name, ...] = ()
    group: Name | None = None
    after: Note | None = None


@wish
class Get:
    id: Reference
    what: str


@wish
class Held:
    agent: Name


@wish
class Wait:
    timeout: Milliseconds
    ids: tuple[Reference, ...] = ()
    group: Name | None = None
    any: bool = False


@wish
class Watch:
    """``since`` is a position, None now; ``at`` a moment in its place."""

    since: Position | None = None
    ids: tuple[Reference, ...] = ()
    queue: tuple[Name, ...] = ()
    type: tuple[Name, ...] = ()
    group: Name | None = None
    timeout: Milliseconds = Milliseconds(0)
    limit: Count = Count(1000)
    at: Instant | None = None


@wish
class History:
    ids: tuple[Reference, ...]
    since: Position = Position(0)
    limit: Count = Count(1000)


@wish
class Agents:
    agent: Name | None = None


@wish
class Queues:
    queue: Name | None = None
    stats: bool = False


@wish
class Explain:
    id: Reference | None = None
    agent: Name | None = None
    queue: Name | None = None


@wish
class Status:
    pass


@wish
class Dashboard:
    """How many rows of each kind are wanted."""

    queues: Count = Count(20)
    agents: Count = Count(20)
    failures: Count = Count(10)


@wish
class Stats:
    section: Name | None = None


@wish
class Health:
    pass


@wish
class Config:
    names: tuple[Name, ...] = ()


@wish
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
    prune: Milliseconds | None = None
