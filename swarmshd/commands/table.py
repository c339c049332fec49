"""Every verb of the wire, and the class of its command."""

from typing import Any, NamedTuple

from swarmshd import protocol
from swarmshd.commands.governing import (
    ConfigSet,
    ConfigUnset,
    Evict,
    Hello,
    Pause,
    QueueSet,
    Quiet,
    Register,
    Reindex,
    Reload,
    Resume,
    Snapshot,
    Wake,
)
from swarmshd.commands.looks import (
    Agents,
    Config,
    CountItems,
    Dashboard,
    Explain,
    Export,
    Get,
    Health,
    Held,
    History,
    JournalFiles,
    List,
    Queues,
    Show,
    Stats,
    Status,
    Wait,
    Watch,
)
from swarmshd.commands.refusal import Refusal
from swarmshd.commands.rows import Import
from swarmshd.commands.wish import wish
from swarmshd.commands.work import (
    Bury,
    Cancel,
    Claim,
    ClaimNew,
    Clear,
    Complete,
    Edit,
    Fail,
    Heartbeat,
    Hold,
    Kick,
    Lock,
    Progress,
    Release,
    Submit,
    Unlock,
)


class Request(NamedTuple):
    """One command with the verb it came under and the digest of its idempotency key, if it had one.

    The digest is 16 bytes: ten of (uid, verb, key), which are the key, and six of the content, which tell a
    repetition from another command under the same key. ``minted`` says that the client made the key up for
    this one change; such keys are forgotten sooner than those that a user chose.
    """

    verb: str
    command: Any
    key: bytes | None = None
    minted: bool = False


@wish
class Batch:
    """Commands that are decided one after another, each with its own reply, or with its refusal."""

    requests: tuple[Request | Refusal, ...]


COMMANDS: dict[str, type] = {
    "hello": Hello,
    "show": Show,
    "list": List,
    "count": CountItems,
    "get": Get,
    "held": Held,
    "wait": Wait,
    "watch": Watch,
    "history": History,
    "agents": Agents,
    "queues": Queues,
    "export": Export,
    "explain": Explain,
    "status": Status,
    "dashboard": Dashboard,
    "config": Config,
    "stats": Stats,
    "health": Health,
    "submit": Submit,
    "batch": Batch,
    "claim": Claim,
    "claim_new": ClaimNew,
    "heartbeat": Heartbeat,
    "progress": Progress,
    "complete": Complete,
    "fail": Fail,
    "release": Release,
    "bury": Bury,
    "kick": Kick,
    "cancel": Cancel,
    "clear": Clear,
    "edit": Edit,
    "register": Register,
    "hold": Hold,
    "lock": Lock,
    "unlock": Unlock,
    "queue_set": QueueSet,
    "pause": Pause,
    "resume": Resume,
    "quiet": Quiet,
    "wake": Wake,
    "evict": Evict,
    "import": Import,
    "config_set": ConfigSet,
    "config_unset": ConfigUnset,
    "reload": Reload,
    "journal": JournalFiles,
    "snapshot": Snapshot,
    "reindex": Reindex,
}
"""Every verb of the wire and the class of its command."""

READS = frozenset(verb for verb, access in protocol.VERBS.items() if access == protocol.READ)
"""Verbs that change nothing; they take no idempotency key."""

NOT_IN_BATCH = frozenset(
    ("hello", "batch", "wait", "watch", "history", "import", "journal", "snapshot", "reindex"),
)
"""Verbs that stand alone in their frame."""

WATCHING = frozenset(("claim", "claim_new", "register", "hold", "lock"))
"""Verbs that may have a process watched, whose descriptor comes along."""
