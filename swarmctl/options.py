"""What the verb table is made of: an option, a verb, and the options that several verbs share."""

from __future__ import annotations


class Option:
    """One option: its spellings, how its word is read (a kind of ``values.READERS``, or ``flag``), and its meaning."""

    __slots__ = ("field", "flags", "kind", "meaning", "meta")

    def __init__(self, flags: str, kind: str, meta: str, meaning: str) -> None:
        self.flags = flags.split()
        self.field = self.flags[-1][2:].replace("-", "_")
        self.kind = kind
        self.meta = meta
        self.meaning = meaning


class Verb:
    """One verb. ``takes`` is its positionals in the notation of usage lines: ``ID [RESULT] [POINTS]``, ``ID…``."""

    __slots__ = ("example", "group", "meaning", "name", "note", "options", "run", "takes", "wire")

    def __init__(
        self,
        name: str,
        takes: str,
        options: tuple[Option, ...],
        *,
        wire: str,
        run: str,
        group: str,
        meaning: str,
        example: str,
        note: str = "",
    ) -> None:
        self.name = name
        self.takes = takes
        self.options = options
        self.wire = wire
        self.run = run
        self.group = group
        self.meaning = meaning
        self.example = example
        self.note = note

    def bounds(self) -> tuple[int, int]:
        """The least and the most positionals; the most is -1 where there is no limit. COMMAND stands after ``--``."""
        least = most = depth = 0
        for word in self.takes.partition("--")[0].split():
            depth += word.count("[")
            most += 1
            least += not depth
            depth -= word.count("]")
        return least, -1 if "…" in self.takes.partition("--")[0] else most


GLOBALS = (
    Option("--agent", "name", "ID", "who acts: else $SWARMSH_AGENT, $AGENT_ID, a harness's session id, USER.HOST.SID"),
    Option("--token", "text", "FENCE.SECRET", "proof of the claim: else $SWARMSH_TOKEN for the item in $SWARMSH_ITEM"),
    Option("--key", "name", "KEY", "idempotency key: the same change sent twice is done once"),
    Option("--socket", "path", "PATH", "the daemon's socket: else $SWARMSH_SOCKET, else the usual places"),
    Option("--timeout", "duration", "D", "longest time to connect, reconnect and be answered (30s)"),
    Option("--json", "flag", "", "one JSON object a line on stdout, refusals too"),
    Option("-q --quiet", "flag", "", "ids only, or nothing"),
    Option("-h --help", "flag", "", "this help"),
    Option("--version", "flag", "", "the version, on one line"),
)
"""Options of every verb; they stand before or after it."""

QUEUE = Option("--queue", "name", "Q", "the queue (default: $SWARMSH_QUEUE, else default)")
QUEUES = Option(
    "--queue", "queues", "Q,…", "from these queues, '*' for every one (default: $SWARMSH_QUEUE, else default)"
)
IN_QUEUE = Option("--queue", "names", "Q,…", "only of these queues")
TYPES = Option("--type", "names", "T,…", "only of these types")
TEAMS = Option("--team", "names", "T,…", "only of these teams")
TEAM = Option("--team", "name", "T", "the team that it is meant for")
GROUP = Option("--group", "name", "G", "the group that it belongs to")
OF_GROUP = Option("--group", "name", "G", "all items of this group")
PRIORITY = Option("-p --priority", "priority", "P", "low, medium, high or critical (medium)")
REF = Option("--ref", "name", "REF", "a name of your own for it, accepted wherever an id is")
PAYLOAD = Option("--payload", "path", "FILE|-", "the bytes that whoever does the work gets")
LEASE = Option("--lease", "duration", "D", "how long a claim lasts without a word from its holder")
MAX_RUNTIME = Option("--max-runtime", "duration", "D", "longest time of one attempt")
MAX_ATTEMPTS = Option("--max-attempts", "count", "N", "failures before it is buried")
PID = Option("--pid", "text", "PID|auto", "the process to watch; auto: the nearest ancestor that is not a shell")
MESSAGE = Option("-m --message", "text", "TEXT", "why")
OUTPUT = Option("--output", "path", "FILE|-", "what the work printed; its tail is kept")
DELAY = Option("--delay", "duration", "D", "not before that time has passed")
STATES = Option("--state", "states", "S,…", "only in these states")
OF_AGENT = Option("--agent", "name", "ID", "only what this agent holds")
ASYNC = Option("--async", "flag", "", "do not wait for the disk: recorded with others within 5 s, or lost by a crash")
MINE = Option("--mine", "flag", "", "only what this agent (see whoami) holds")

EVERY = Option("--every", "duration", "D", "the time between two looks (2s)")
ROWS = Option("--rows", "count", "N", "so many queues, agents and failures at most, instead of what fits")

OLDER = Option("--older", "duration", "D", "only what was submitted longer ago than that")
SINCE = Option("--since", "past", "TIME", "only what came into its state since then (-8h, 03:00, RFC 3339)")
YES = Option("--yes", "flag", "", "do not ask")

SELECT = (STATES, IN_QUEUE, TYPES, TEAMS, OF_AGENT, MINE, OF_GROUP, OLDER, SINCE)

WORK, LOOK, MEND, PARTS, DAEMON = "Work", "Look", "Mend", "Parts", "Daemon"

STATE_DIR = Option(
    "--state-dir", "path", "DIR", "without asking a daemon: the state directory of one that does not run"
)
