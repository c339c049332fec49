"""The one table of settings: what there is, and what values each takes.

The body of ``Settings`` is the table: one row a setting, with its default, its bounds, the unit of a bare
number, what it means, and whether a running daemon takes a new value. ``configuration`` reads values by it,
``config show`` and swarmshd.toml(5) are made from it; a setting that is not in it does not exist.

Values have one unit inside the program, whatever people write: times are integer milliseconds, sizes are bytes.
People write a bare number, which is in the setting's own unit, or text with a unit: ``"5m"``, ``"64K"``.

Pure, and made of built-in modules only, as ``swarmctl`` reads the table for its help.
"""

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the import
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value = int | str | tuple[str, ...]
"""What a setting may hold."""

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Setting:
    """One row of the table. As an attribute of ``Settings`` it stands for the value, in the program's unit.

    Attributes:
        name: as in the environment and in ``--set``; ``key``, the same in lower case, is for the file.
        default: in the program's unit.
        unit: of a bare number, in words; empty for what is not counted.
        meaning: one line.
        live: whether a running daemon takes a new value at a reload; if not, at its next start.
        guide: whether the tuning guide has it, so that its bare name in the environment counts.
    """

    kind = "text"

    def __init__(
        self, default: "Value", unit: str, meaning: str, *, restart: bool = False, guide: bool = False
    ) -> None:
        self.default = default
        self.unit = unit
        self.meaning = meaning
        self.live = not restart
        self.guide = guide
        self.attribute = self.name = self.key = ""

    def __set_name__(self, owner: type, attribute: str) -> None:
        # An attribute tells the unit of its value, and no value is in MiB.
        self.attribute = attribute
        self.key = attribute.removesuffix("_bytes") + "_mb" if attribute.endswith("_bytes") else attribute
        self.name = self.key.upper()

    def parse(self, text: str) -> "Value":
        """The value that a person means by ``text``. Raises ValueError with what is wrong and what is right."""
        return text

    def convert(self, raw: object) -> "Value":
        """The value that TOML's ``raw`` means. Raises ValueError with what is wrong and what is right."""
        if isinstance(raw, str):
            return self.parse(raw)
        raise self.wrong(raw)

    def show(self, value: "Value") -> str:
        """``value`` as a person would write it; ``parse`` reads it back."""
        return str(value)

    def write(self, value: "Value") -> str:
        """``value`` as it stands in the file."""
        return f'"{self.show(value)}"'

    def bounds(self) -> str:
        """What is allowed, in words."""
        return self.kind

    def wrong(self, raw: object) -> ValueError:
        """What to raise when ``raw`` is not of this kind."""
        return ValueError(f"{brief(raw)} is not {self.kind}")


class Count(Setting):
    """A whole number from ``low`` to ``high``, both allowed."""

    kind = "a whole number"
    suffixes: "Mapping[str, int]" = {}

    def __init__(
        self, default: int, low: int, high: int, unit: str, meaning: str, *, restart: bool = False, guide: bool = False
    ) -> None:
        super().__init__(default, unit, meaning, restart=restart, guide=guide)
        self.low = low
        self.high = high
        self.scale = {"s": SECOND, "MiB": MIB}.get(unit, 1)

    if TYPE_CHECKING:

        def __get__(self, settings: "Settings", owner: type) -> int: ...

    def parse(self, text: str) -> int:
        digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        suffix = text.strip()[len(digits) :]
        amount = digits.removeprefix("-")
        if not amount.isascii() or not amount.isdigit() or len(amount) > 18 or (suffix and suffix not in self.suffixes):
            raise self.wrong(text)
        return self.bounded(int(digits) * (self.suffixes[suffix] if suffix else self.scale))

    def convert(self, raw: object) -> "Value":
        if isinstance(raw, int) and not isinstance(raw, bool):
            return self.bounded(raw * self.scale)
        if isinstance(raw, str) and not self.suffixes:
            raise ValueError(f"{brief(raw)} is text; write {self.kind}, without quotes")
        return super().convert(raw)

    def bounded(self, value: int) -> int:
        """``value`` if it is within the bounds. Raises ValueError naming them."""
        if self.low <= value <= self.high:
            return value
        raise ValueError(f"{self.show(value)} is out of range; write {self.bounds()}")

    def show(self, value: "Value") -> str:
        assert isinstance(value, int)
        fitting = [(size, suffix) for suffix, size in self.suffixes.items() if value and value % size == 0]
        size, suffix = max(fitting, default=(1, ""))
        return f"{value // size}{suffix}"

    def write(self, value: "Value") -> str:
        shown = self.show(value)
        return f'"{shown}"' if shown[-1].isalpha() else shown

    def bounds(self) -> str:
        return f"{self.show(self.low)} to {self.show(self.high)}"


class Duration(Count):
    """A time, in milliseconds."""

    kind = "a duration such as 90, 30s, 5m, 2h or 1d"
    suffixes = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


class Size(Count):
    """An amount of memory or disk, in bytes."""

    kind = "a size such as 4096, 64K, 100M or 2G"
    suffixes = {"K": KIB, "M": MIB, "G": GIB}


class Flag(Setting):
    """On or off."""

    kind = "true or false"

    if TYPE_CHECKING:

        def __get__(self, settings: "Settings", owner: type) -> bool: ...

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        if word not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
            raise self.wrong(text)
        return word in ("1", "true", "yes", "on")

    def convert(self, raw: object) -> "Value":
        if isinstance(raw, int) and raw in (0, 1):  # TOML's booleans, and 0 and 1 as in the guide
            return bool(raw)
        if isinstance(raw, str):
            raise ValueError(f"{brief(raw)} is text; write {self.kind}, without quotes")
        raise self.wrong(raw)

    def show(self, value: "Value") -> str:
        return "true" if value else "false"

    def write(self, value: "Value") -> str:
        return self.show(value)


class Single(Count):
    """A number that can only be 1 in this release."""

    kind = "1"

    def __init__(self, unit: str, meaning: str, *, guide: bool = False) -> None:
        super().__init__(1, 1, 1, unit, meaning, restart=True, guide=guide)

    def bounded(self, value: int) -> int:
        if value == 1:
            return value
        raise ValueError(
            f"{value} is more than this release can: write 1, and start further daemons with a --state-dir each"
        )

    def bounds(self) -> str:
        return self.kind


class Choice(Setting):
    """One of a few words."""

    def __init__(self, default: str, words: tuple[str, ...], meaning: str, *, guide: bool = False) -> None:
        super().__init__(default, "", meaning, guide=guide)
        self.words = words
        self.kind = "one of " + ", ".join(words)

    if TYPE_CHECKING:

        def __get__(self, settings: "Settings", owner: type) -> str: ...

    def parse(self, text: str) -> str:
        word = text.strip().lower()
        if word not in self.words:
            raise self.wrong(text)
        return word


class Mode(Setting):
    """The permissions of a file."""

    kind = 'octal permissions from "0600" to "0777", as text'

    if TYPE_CHECKING:

        def __get__(self, settings: "Settings", owner: type) -> int: ...

    def parse(self, text: str) -> int:
        digits = text.strip()
        if not 0 < len(digits) <= 4 or not set("01234567").issuperset(digits) or int(digits, 8) & ~0o177 != 0o600:
            raise self.wrong(text)
        return int(digits, 8)

    def show(self, value: "Value") -> str:
        assert isinstance(value, int)
        return f"{value:04o}"


class Names(Setting):
    """Whom something is open to."""

    kind = "a list of user names, uids, @groups, or * for everybody"

    if TYPE_CHECKING:

        def __get__(self, settings: "Settings", owner: type) -> tuple[str, ...]: ...

    def parse(self, text: str) -> tuple[str, ...]:
        names = text.replace(",", " ").split()
        for name in names:
            if name != "*" and not PRINCIPAL.issuperset(name.removeprefix("@") or " "):
                raise ValueError(f"{brief(name)} is not a user name, uid, @group or *")
        return tuple(names)

    def convert(self, raw: object) -> "Value":
        if not isinstance(raw, list):
            return super().convert(raw)
        names: list[str] = []
        for name in raw:
            if isinstance(name, bool) or not isinstance(name, str | int):
                raise ValueError(f"{brief(name)} is not a user name, uid, @group or *")
            names += self.parse(str(name))
        return tuple(names)

    def show(self, value: "Value") -> str:
        assert isinstance(value, tuple)
        return ",".join(value)

    def write(self, value: "Value") -> str:
        assert isinstance(value, tuple)
        return "[" + ", ".join(f'"{name}"' for name in value) + "]"


PRINCIPAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@$+-")

LEVELS = ("trace", "debug", "info", "warning", "error")


class Settings:
    """The values that one daemon runs with, and where each came from. Does not change once it is made.

    Args:
        values: by name, in the program's unit; the others are the defaults.
        sources: by name, where a value came from, in words.
        warnings: sentences for the log: what was skipped, and why.
    """

    # -- the journal and its rounds
    batch_size = Count(2000, 1, 100_000, "commands", "most commands in one group commit", guide=True)
    batch_timeout = Duration(
        10 * SECOND, 100, HOUR, "ms", "longest that a command waits for its commit to begin", guide=True
    )
    batch_mode = Flag(True, "", "one sync for all that came together; false for one a request", guide=True)
    batch_flush_interval = Duration(
        5 * SECOND, 1, DAY, "ms", "longest that anything waits which was answered before it was written", guide=True
    )
    async_operations = Flag(True, "", "progress and heartbeats may be answered before they are written", guide=True)
    async_buffer_size = Count(1000, 1, 1_000_000, "items", "most items of which such a thing waits", guide=True)
    async_flush_interval = Duration(5 * SECOND, 1, DAY, "ms", "when that is written at the latest", guide=True)
    wal_enabled = Flag(
        True, "", "changes are synced; false leaves that to the system, and a power cut loses them", guide=True
    )
    wal_sync_interval = Duration(
        0, 0, HOUR, "ms", "0 to sync before each answer; else how long after it, and what a power cut loses", guide=True
    )
    direct_io = Flag(False, "", "the journal is written past the page cache", restart=True, guide=True)
    io_buffer_size = Size(
        128 * KIB,
        4 * KIB,
        16 * MIB,
        "bytes",
        "largest piece in which files are read and zeroed",
        restart=True,
        guide=True,
    )
    mmap_enabled = Flag(True, "", "sealed segments are read by mapping them into memory", restart=True, guide=True)
    journal_rotation_bytes = Size(100 * MIB, MIB, 16 * GIB, "MiB", "size at which a segment is sealed", guide=True)
    journal_reserve_bytes = Size(
        8 * MIB, MIB, 16 * GIB, "MiB", "disk kept for finishing work when it is full", restart=True
    )
    max_disk_bytes = Size(
        10 * GIB, 0, 1024 * GIB, "MiB", "most that all files in the state directory take; 0 for no bound", restart=True
    )
    journal_compression_age_days = Count(
        7, 0, 36_500, "days", "age at which an archived segment is compressed", guide=True
    )
    journal_retention_days = Count(30, 0, 36_500, "days", "age at which an archived segment is removed", guide=True)
    archive_max_bytes = Size(1024 * MIB, 0, 1024 * GIB, "MiB", "most that the archive takes; 0 for no archive")

    # -- start and stop
    flock_timeout = Duration(
        30 * SECOND, 0, HOUR, "s", "longest wait for the state directory's lock", restart=True, guide=True
    )
    flock_retries = Count(3, 0, 1000, "tries", "further tries to get that lock", restart=True, guide=True)
    flock_backoff_ms = Duration(50, 1, MINUTE, "ms", "wait before the first of these", restart=True, guide=True)
    lock_retry_multiplier = Count(2, 1, 100, "", "each further wait is so many times longer", restart=True, guide=True)
    adaptive_locking = Flag(
        True, "", "a wait for the lock ends as soon as its holder's process does", restart=True, guide=True
    )
    stop_timeout = Duration(5 * SECOND, 0, HOUR, "s", "longest that a stopping daemon waits for its clients")

    # -- the rules of items
    lease = Duration(300 * SECOND, SECOND, 30 * DAY, "s", "how long a claim lasts without a sign of its holder")
    lease_max = Duration(24 * HOUR, SECOND, 365 * DAY, "s", "longest lease that an item, queue or claim may ask for")
    stall_after = Duration(
        HOUR, SECOND, 365 * DAY, "s", "how long a living watched process keeps a claim without an operation"
    )
    max_attempts = Count(5, 1, 1_000_000, "failures", "failures that bury an item")
    backoff_base = Duration(15 * SECOND, 0, DAY, "s", "wait after an item's first failure; doubles with each")
    backoff_max = Duration(HOUR, 0, 365 * DAY, "s", "longest wait after a failure")
    crash_cap = Count(3, 1, 1_000_000, "crashes", "deaths of its holders that bury an item")
    release_cap = Count(20, 1, 1_000_000, "releases", "releases that bury an item")
    retain_done = Duration(24 * HOUR, 0, 3650 * DAY, "s", "how long an ended item is remembered")
    retain_done_items = Count(100_000, 0, 10_000_000, "items", "most ended items that are remembered")
    retain_done_bytes = Size(256 * MIB, 0, 64 * GIB, "MiB", "most memory that ended items take")

    work_queue_index_enabled = Flag(
        True, "", "ready items and what is looked for are found by indexes, not by scans", restart=True, guide=True
    )
    work_queue_sharding = Single("daemons", "parts of the queue, each a daemon with its own journal", guide=True)

    # -- limits
    max_items = Count(2_000_000, 1, 100_000_000, "items", "most items")
    queue_max_length = Count(
        1_000_000, 1, 100_000_000, "items", "most open items of a queue without a limit of its own"
    )
    queues = Count(10_000, 1, 1_000_000, "queues", "most queues")
    agents = Count(10_000, 1, 1_000_000, "agents", "most agents")
    payload_max = Size(64 * KIB, 0, 64 * MIB, "bytes", "largest payload")
    checkpoint_max = Size(4 * KIB, 0, MIB, "bytes", "largest checkpoint")
    output_tail = Size(64 * KIB, 0, MIB, "bytes", "largest output of an item; swarmctl keeps its end")
    description_max = Size(8 * KIB, 64, MIB, "bytes", "longest description")
    keys_max = Count(200_000, 1000, 10_000_000, "keys", "most idempotency keys that are remembered")
    waiters_max = Count(10_000, 1, 1_000_000, "requests", "most claims, waits and watches that wait")
    watch_ring = Size(16 * MIB, 64 * KIB, 16 * GIB, "bytes", "memory of the last events, for those who watch")
    in_flight_max = Count(1024, 1, 65_536, "requests", "most unanswered requests of one connection")
    cache_enabled = Flag(True, "", "replies to questions are kept until something changes", guide=True)
    cache_ttl = Duration(30 * SECOND, 1, DAY, "s", "longest that such a reply is kept", guide=True)
    cache_max_size = Count(10_000, 1, 10_000_000, "replies", "most replies that are kept", guide=True)
    cache_compression = Flag(False, "", "they are kept deflated", guide=True)

    # -- memory
    process_memory_limit_bytes = Size(2048 * MIB, 64 * MIB, 1024 * GIB, "MiB", "memory that items may take", guide=True)
    memory_warning_threshold_pct = Count(80, 1, 100, "percent", "part of that from which on caches shrink", guide=True)
    memory_critical_threshold_pct = Count(
        90, 1, 100, "percent", "part of that from which on new items are refused", guide=True
    )
    gc_enabled = Flag(True, "", "Python's collector runs", guide=True)
    gc_interval = Duration(300 * SECOND, 0, DAY, "ms", "time between its passes by the clock; 0 for none", guide=True)
    gc_threshold_bytes = Size(
        100 * MIB, 0, 1024 * GIB, "MiB", "growth of the process that leads to a pass; 0 for none", guide=True
    )
    gc_aggressive = Flag(False, "", "its passes collect everything and give free memory back", guide=True)
    parallel_workers = Count(16, 1, 1000, "threads", "most threads for what would block the daemon", guide=True)

    # -- the socket
    max_connections = Count(4096, 32, 1_000_000, "connections", "most connections", restart=True)
    frame_max = Size(MIB, 16 * KIB, 256 * MIB, "bytes", "largest frame", restart=True)
    connection_pool_size = Count(100, 1, 1_000_000, "connections", "most connections that are busy", guide=True)
    connection_pool_timeout = Duration(60 * SECOND, 1, HOUR, "ms", "longest wait for a busy place", guide=True)
    connection_reuse_enabled = Flag(True, "", "many requests a connection; false closes it after each", guide=True)
    socket_buffer_size = Size(
        0, 0, 64 * MIB, "bytes", "send and receive buffer of a new connection; 0 for the kernel's", guide=True
    )
    parallel_jobs = Count(8, 1, 64, "frames", "frames that swarmctl's bulk verbs have under way", guide=True)
    socket_mode = Mode(0o660, "", "permissions of the socket that the daemon makes", restart=True)

    # -- who may do what
    require_token = Flag(False, "", "a change to a claimed item needs the claim's token")
    access_read = Names(("*",), "", "who may look")
    access_work = Names(("*",), "", "who may submit, claim and finish")
    access_admin = Names(
        ("@swarmsh-admin",), "", "who may run queues and agents, beside root and the daemon's own user"
    )

    log_level = Choice("info", LEVELS, "least grave of the messages that are logged", guide=True)

    def __init__(
        self,
        values: "Mapping[str, Value] | None" = None,
        sources: "Mapping[str, str] | None" = None,
        warnings: "Iterable[str]" = (),
    ) -> None:
        values = values or {}
        assert TABLE.keys() >= values.keys()
        self.__dict__["sources"] = dict(sources or {})
        self.__dict__["warnings"] = tuple(warnings)
        # A row is no data descriptor, so that an instance's own dict goes before it: reading a value is one look-up.
        for setting in TABLE.values():
            self.__dict__[setting.attribute] = values.get(setting.name, setting.default)

    if TYPE_CHECKING:
        sources: Mapping[str, str]
        warnings: tuple[str, ...]

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(f"{attribute}: Settings do not change; make new ones")

    def __repr__(self) -> str:
        changed = [f"{row.name}={row.show(self.value(row.name))}" for row in TABLE.values() if row.name in self.sources]
        return f"Settings({', '.join(changed)})"

    def value(self, name: str) -> "Value":
        """The value of the setting ``name``, in the program's unit. Raises KeyError."""
        value: Value = self.__dict__[TABLE[name].attribute]
        return value

    def source(self, name: str) -> str:
        """Where it came from: ``set``, ``--set``, ``SWARMSH_X``, ``X``, ``FILE:LINE`` or ``default``."""
        return self.sources.get(TABLE[name].name, "default")


TABLE: "dict[str, Setting]" = {row.name: row for row in vars(Settings).values() if isinstance(row, Setting)}
"""Every setting by its name, in the order of the documentation."""


def defaults() -> Settings:
    """Every setting at its default."""
    return Settings()


def describe(settings: Settings, names: "Iterable[str]" = ()) -> "list[dict[str, str | bool]]":
    """A row for each of these settings, or for all: everything about it as text, but for ``live``."""
    return [
        {
            "name": row.name,
            "key": row.key,
            "value": row.show(settings.value(row.name)),
            "default": row.show(row.default),
            "unit": row.unit,
            "allowed": row.bounds(),
            "meaning": row.meaning,
            "source": settings.source(row.name),
            "live": row.live,
        }
        for row in ([TABLE[name] for name in names] or TABLE.values())
    ]


def nearest(name: str) -> str:
    """The setting whose name is most like ``name``, or empty text."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.upper(), TABLE, n=1)), "")


def brief(raw: object) -> str:
    """``raw`` quoted for a message: one line, printable, short."""
    shown = ascii(raw)
    return shown if len(shown) <= 60 else shown[:57] + "..."
