"""The verb ``tune check``, also ``doctor``: the checklist of the tuning guide, looked at in a running daemon.

The guide's twelve points are boxes to tick. Here each is a line: whether it holds now, the fact that says so, and the
command that mends it. A point whose part is not in this release says that, and counts neither way.
"""

from __future__ import annotations

from swarmctl.screen import DIM, GREEN, RED
from swarmshd.protocol import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]
    Found = tuple[str, str, str]

PASS, FAIL, ABSENT = "pass", "fail", "absent"
_COLOURS = {PASS: GREEN, FAIL: RED, ABSENT: DIM}

MISSING = "this release has no `{}` yet"


class Live:
    """What a running daemon says of itself."""

    __slots__ = ("rows", "stats", "status")

    def __init__(self, call: Call) -> None:
        self.rows: dict[str, Facts] = {row["name"]: row for row in call.ask("config", {})["settings"]}
        self.stats: dict[str, Facts] = call.ask("stats", {})["sections"]
        self.status: Facts = call.ask("status", {})

    def value(self, name: str) -> str:
        """A setting as ``config get`` has it."""
        return str(self.rows[name]["value"])

    def on(self, name: str) -> bool:
        """Whether a setting is on."""
        return self.value(name) == "true"


def check(call: Call) -> int:
    """The twelve points; status 1 if one does not hold."""
    live = Live(call)
    rows = [(number, name, *look(live)) for number, (name, look) in enumerate(POINTS, 1)]
    if call.json:
        for number, name, verdict, fact, command in rows:
            call.emit({"point": number, "name": name, "verdict": verdict, "fact": fact, "next": command})
    elif call.for_people:
        table = [[n, (verdict, _COLOURS[verdict]), name, fact] for n, name, verdict, fact, _ in rows]
        call.lines(call.screen.table(["", "", "POINT", "FACT"], table))
        mends = [f"  {number}: {command}" for number, _, verdict, _, command in rows if verdict == FAIL]
        call.lines(["", *mends] if mends else [])
    else:
        for number, name, verdict, fact, command in rows:
            if not call.quiet:
                call.out.row(number, verdict, name, fact, command)
            elif verdict == FAIL:
                call.out.row(number)
    return int(any(row[2] == FAIL for row in rows))


# -- the points ----------------------------------------------------------------------------------------


def _absent(verb: str) -> Callable[[Live], Found]:
    return lambda _: (ABSENT, MISSING.format(verb), "")


def _batches(live: Live) -> Found:
    wal = live.stats["wal"]
    if not live.on("BATCH_MODE"):
        return FAIL, "each command has a sync of its own", "swarmctl config set BATCH_MODE=1"
    so_far = f"{counted(wal['commands'], 'command')} in {counted(wal['commits'], 'commit')} so far"
    return PASS, f"at most {live.value('BATCH_SIZE')} in one; {so_far}", ""


def _pool(live: Live) -> Found:
    net, size = live.stats["net"], live.value("CONNECTION_POOL_SIZE")
    if not live.on("CONNECTION_REUSE_ENABLED"):
        return FAIL, "each request has a connection of its own", "swarmctl config set CONNECTION_REUSE_ENABLED=1"
    if net["pool_timeouts"]:
        fact = f"{counted(net['pool_timeouts'], 'request')} found none of {size} places in time"
        return FAIL, fact, f"swarmctl config set CONNECTION_POOL_SIZE={int(size) * 2}"
    return PASS, f"{net['pool_peak']} of {size} places were in use at most", ""


def _locking(live: Live) -> Found:
    locks = live.stats["locks"]
    if not live.on("ADAPTIVE_LOCKING"):
        fact = "a start waits the same time before each try"
        return FAIL, fact, "swarmctl config set --persist ADAPTIVE_LOCKING=1, and restart it"
    return PASS, f"one writer; the last start waited {locks['wait_ms']} ms for its lock", ""


def _cache(live: Live) -> Found:
    cache = live.stats["cache"]
    if not live.on("CACHE_ENABLED"):
        return FAIL, "every look is answered anew", "swarmctl config set CACHE_ENABLED=1"
    return PASS, f"answers kept: {cache['entries']}; found {cache['hits']} times, not found {cache['misses']} times", ""


def _memory(live: Live) -> Found:
    memory = live.stats["memory"]
    if memory["level"] != "ok":
        megabytes = memory["limit_bytes"] * 2 >> 20
        fact = f"items take {memory['used_percent']}% of {live.value('PROCESS_MEMORY_LIMIT_MB')}"
        return FAIL, fact, f"swarmctl config set PROCESS_MEMORY_LIMIT_MB={megabytes}"
    if not live.on("GC_ENABLED"):
        return FAIL, "garbage is collected by nobody", "swarmctl config set GC_ENABLED=1"
    return PASS, f"items take {memory['used_percent']}% of {live.value('PROCESS_MEMORY_LIMIT_MB')}", ""


def _log(live: Live) -> Found:
    interval = live.rows.get("WAL_SYNC_INTERVAL")
    if interval is not None and interval["value"] not in {"0", "0ms", "0s"}:
        fact = f"acknowledged work of up to {interval['value']} may be lost with the power"
        return FAIL, fact, "swarmctl config set WAL_SYNC_INTERVAL=0"
    return PASS, str(live.status["durability"]), ""


def _sampling(live: Live) -> Found:
    rate = live.rows.get("TELEMETRY_SAMPLE_RATE")
    if rate is None:
        return ABSENT, "this release has no telemetry yet", ""
    return PASS, f"{rate['value']} of all traces are kept", ""


def _documented(live: Live) -> Found:
    unsaved = [row for row in live.rows.values() if row["source"] == "set"]
    if unsaved:
        words = " ".join(f"{row['name']}={row['value']}" for row in unsaved)
        fact = f"a restart forgets {', '.join(row['name'] for row in unsaved)}"
        return FAIL, fact, f"swarmctl config set --persist {words}"
    changed = sum(row["value"] != row["default"] for row in live.rows.values())
    if not changed:
        return PASS, "every setting has its default", ""
    return PASS, f"{counted(changed, 'setting')} with another value than the default; `config show` says from where", ""


POINTS: tuple[tuple[str, Callable[[Live], Found]], ...] = (
    ("Establish baseline performance", _absent("baseline")),
    ("Enable batch processing", _batches),
    ("Enable connection pooling", _pool),
    ("Tune file locking parameters", _locking),
    ("Enable caching", _cache),
    ("Optimize memory usage", _memory),
    ("Enable WAL", _log),
    ("Configure telemetry sampling", _sampling),
    ("Run benchmark suite", _absent("bench")),
    ("Monitor for regressions", _absent("regress")),
    ("Document configuration changes", _documented),
    ("Test under load", _absent("load")),
)
"""The guide's words, in its order."""
