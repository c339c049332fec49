"""The commands about agents, queues, settings and the daemon itself."""

from swarmshd.commands.values import (
    Assignments,
    Count,
    Milliseconds,
    Name,
    Note,
    Position,
    QueueName,
)
from swarmshd.commands.wish import wish


@wish
class Hello:
    version: Count
    program: Note | None = None


@wish
class Register:
    agent: Name
    team: Name | None = None
    capacity: Count | None = None
    specialization: Note | None = None
    slots: Count | None = None
    labels: tuple[Name, ...] = ()
    heartbeat: Milliseconds | None = None
    watch: bool = False
    takeover: bool = False


@wish
class Quiet:
    agent: Name


@wish
class Wake:
    agent: Name


@wish
class Evict:
    agent: Name


@wish
class QueueSet:
    queue: QueueName
    closed: bool | None = None
    limit: Count | None = None
    max_length: Count | None = None
    lease: Milliseconds | None = None
    max_attempts: Count | None = None
    crash_cap: Count | None = None
    stall_after: Milliseconds | None = None


@wish
class Pause:
    queue: QueueName | None = None
    all: bool = False
    reason: Note = Note("paused")
    hard: bool = False
    lasts: Milliseconds | None = None
    """After which it ends by itself."""


@wish
class Resume:
    queue: QueueName | None = None
    all: bool = False


@wish
class ConfigSet:
    values: Assignments
    persist: bool = False
    """Only say what is to be written into the file."""


@wish
class ConfigUnset:
    names: tuple[Name, ...]


@wish
class Reload:
    unset: tuple[Name, ...] = ()


@wish
class Snapshot:
    """``upto`` goes on with an earlier request: the position that the reply to it gave."""

    upto: Position | None = None
    wait: Milliseconds = Milliseconds(0)


@wish
class Reindex:
    pass
