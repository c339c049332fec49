"""The commands that make items, hold them and end them."""

from swarmshd import protocol
from swarmshd.commands.values import (
    Bytes,
    Count,
    Instant,
    ItemId,
    Milliseconds,
    Name,
    Note,
    Percent,
    Priority,
    QueueName,
    Reference,
    Text,
)
from swarmshd.commands.wish import wish


@wish
class Submit:
    type: Name
    description: Text
    priority: Priority | None = None
    queue: QueueName = QueueName(protocol.DEFAULT_QUEUE)
    team: Name | None = None
    payload: Bytes | None = None
    delay: Milliseconds | None = None
    at: Instant | None = None
    after: tuple[Reference, ...] = ()
    on_failure: str = "hold"
    require: tuple[Name, ...] = ()
    group: Name | None = None
    ref: Name | None = None
    unique: Name | None = None
    unique_strict: bool = False
    max_attempts: Count | None = None
    lease: Milliseconds | None = None
    max_runtime: Milliseconds | None = None
    agent: Name | None = None


@wish
class SubmitAll:
    """An atomic batch: all of these or none."""

    submits: tuple[Submit, ...]


@wish
class Claim:
    agent: Name
    queue: tuple[Name, ...] | None = (Name(protocol.DEFAULT_QUEUE),)
    """None is every queue; on the wire ``"*"``."""
    type: tuple[Name, ...] = ()
    team: tuple[Name, ...] = ()
    count: Count = Count(1)
    wait: Milliseconds = Milliseconds(0)
    lease: Milliseconds | None = None
    resume: bool = False
    id: Reference | None = None
    watch: bool = False


@wish
class ClaimNew:
    """The guide's ``claim TYPE DESCRIPTION``: an item that its submitter holds from the start."""

    agent: Name
    type: Name
    description: Text
    priority: Priority | None = None
    team: Name | None = None
    queue: QueueName = QueueName(protocol.DEFAULT_QUEUE)
    payload: Bytes | None = None
    group: Name | None = None
    ref: Name | None = None
    lease: Milliseconds | None = None
    max_runtime: Milliseconds | None = None
    max_attempts: Count | None = None
    watch: bool = False


@wish
class Heartbeat:
    agent: Name | None = None
    ids: tuple[Reference, ...] | None = None
    token: Note | None = None
    relaxed: bool = False


@wish
class Progress:
    id: Reference
    percent: Percent | None = None
    status: Note | None = None
    message: Note | None = None
    checkpoint: Bytes | None = None
    relaxed: bool = False
    token: Note | None = None
    agent: Name | None = None


@wish
class Complete:
    id: Reference
    note: Note | None = None
    points: Count | None = None
    output: Bytes | None = None
    result: Bytes | None = None
    exit_status: Count | None = None
    token: Note | None = None
    agent: Name | None = None


@wish
class Fail:
    id: Reference
    reason: Note | None = None
    retry_after: Milliseconds | None = None
    no_retry: bool = False
    output: Bytes | None = None
    exit_status: Count | None = None
    token: Note | None = None
    agent: Name | None = None


@wish
class Release:
    id: Reference
    delay: Milliseconds | None = None
    note: Note | None = None
    token: Note | None = None
    agent: Name | None = None
    unbegun: bool = False


@wish
class Bury:
    id: Reference
    reason: Note | None = None
    output: Bytes | None = None
    exit_status: Count | None = None
    token: Note | None = None
    agent: Name | None = None


@wish
class Hold:
    id: Reference
    watch: bool
    token: Note | None = None
    agent: Name | None = None


@wish
class Lock:
    agent: Name
    name: Name
    wait: Milliseconds = Milliseconds(0)
    lease: Milliseconds | None = None
    watch: bool = False


@wish
class Unlock:
    name: Name
    token: Note | None = None
    agent: Name | None = None
    force: bool = False


@wish
class Kick:
    id: Reference | None = None
    queue: QueueName | None = None
    group: Name | None = None
    count: Count = Count(1000)


@wish
class Cancel:
    id: Reference | None = None
    group: Name | None = None
    reason: Note | None = None


@wish
class Clear:
    """``older`` is since an item was made; ``held`` means claimed items too."""

    queue: QueueName
    state: tuple[str, ...] = ()
    older: Milliseconds | None = None
    held: bool = False
    reason: Note | None = None
    after_id: ItemId = ItemId(0)


@wish
class Edit:
    id: Reference
    priority: Priority | None = None
    queue: QueueName | None = None
    delay: Milliseconds | None = None
