"""The commands about agents, queues, settings and the daemon itself."""

from attrs import frozen

from swarmshd.commands.values import (
    Assignments,
    Count,
    Milliseconds,
    Name,
    Note,
    Position,
    QueueName,
)


@frozen(slots=False)
class Hello:
    version: Count
    program: Note | None = None


@frozen(slots=False)
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


@frozen(slots=False)
class Quiet:
    agent: Name


@frozen(slots=False)
class Wake:
    agent: Name


@frozen(slots=False)
class Evict:
    agent: Name


@frozen(slots=False)
class QueueSet:
    queue: QueueName
    closed: bool | None = None
    limit: Count | None = None
    max_length: Count | None = None
    lease: Milliseconds | None = None
    max_attempts: Count | None = None
    crash_cap: Count | None = None
    stall_after: Milliseconds | None = None


@frozen(slots=False)
class Pause:
    queue: QueueName | None = None
    all: bool = False
    reason: Note = Note("paused")
    hard: bool = False
    lasts: Milliseconds | None = None
    """After which it ends by itself."""


@frozen(slots=False)
class Resume:
    queue: QueueName | None = None
    all: bool = False


@frozen(slots=False)
class ConfigSet:
    values: Assignments
    persist: bool = False
    """Only say what is to be written into the file."""


@frozen(slots=False)
class ConfigUnset:
    names: tuple[Name, ...]


@frozen(slots=False)
class Reload:
    unset: tuple[Name, ...] = ()


@frozen(slots=False)
class Snapshot:
    """``upto`` goes on with an earlier request: the position that the reply to it gave."""

    upto: Position | None = None
    wait: Milliseconds = Milliseconds(0)


@frozen(slots=False)
class Reindex:
    pass
