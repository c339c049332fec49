"""Replies to questions, as they were encoded, for whoever asks the same before anything has changed.

A reply is kept under its verb and arguments, and all are forgotten with the next event, or when somebody begins or
ceases to wait for a lock, of which no event tells: so none is ever stale. Only questions whose answer is a matter of
that alone are kept; what depends on the moment, or on who asks, is not. On a queue that is busy with changes little is
found here; a dashboard that many look at, or a script that asks and asks, costs next to nothing.
"""

import zlib
from collections import OrderedDict
from typing import Any, NamedTuple

from swarmshd.commands import Request
from swarmshd.commands.looks import Filter
from swarmshd.settings import Settings

CACHED = frozenset(("show", "list", "count", "get", "queues"))
"""The verbs whose replies are kept."""

BYTES_MAX = 64 << 20
"""Bytes that all kept replies, and what was asked, may have together; a reply of more than an eighth is not kept."""

NAME_OVERHEAD = 64
"""Bytes that a name in a question takes beside its letters."""

COMPRESSED_FROM = 1024
"""Bytes of a reply from which on it is worth its while to deflate it."""

LEVEL = 1
"""Of zlib: fast, as whoever asks waits for it."""


class _Kept(NamedTuple):
    body: bytes
    deflated: bool
    size: int
    at: int
    asked: int
    """Bytes of the names in the question."""


class Cache:
    """See the module's text."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: OrderedDict[tuple[str, Any], _Kept] = OrderedDict()
        self._generation = -1
        self._bytes = self._raw_bytes = self._asked = 0
        self.short_of_memory = False
        """Keep a tenth only."""
        self._counts = dict.fromkeys(("hits", "misses", "evicted", "expired", "outdated"), 0)

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on; replies tell of some."""
        self._settings = settings
        self.clear()

    @property
    def enabled(self) -> bool:
        return self._settings.cache_enabled

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._bytes = self._raw_bytes = self._asked = 0

    def get(self, request: Request, generation: int, now: int) -> bytes | None:
        """The encoded result, if the same was asked in this very state, which has that number."""
        if generation != self._generation:
            self._generation = generation
            if self._kept:
                self._counts["outdated"] += len(self._kept)
                self.clear()
        key = (request.verb, request.command)
        kept = self._kept.get(key)
        if kept is not None and now - kept.at > self._settings.cache_ttl:
            self._counts["expired"] += 1
            self._forget(key)
            kept = None
        if kept is None:
            self._counts["misses"] += 1
            return None
        self._counts["hits"] += 1
        self._kept.move_to_end(key)
        return zlib.decompress(kept.body) if kept.deflated else kept.body

    def keep(self, request: Request, body: bytes, now: int) -> None:
        """Keep what was asked for in vain a moment ago."""
        size = len(body)
        if size > BYTES_MAX // 8:
            return
        deflated = self._settings.cache_compression and size >= COMPRESSED_FROM
        if deflated:
            body = zlib.compress(body, LEVEL)
        asked = _names_in(request.command)
        self._kept[request.verb, request.command] = _Kept(body, deflated, size, now, asked)
        self._bytes += len(body)
        self._raw_bytes += size
        self._asked += asked
        while len(self._kept) > self._most or self._bytes + self._asked > BYTES_MAX:
            self._counts["evicted"] += 1
            self._forget(next(iter(self._kept)))

    @property
    def _most(self) -> int:
        most = self._settings.cache_max_size
        return most // 10 if self.short_of_memory else most

    def _forget(self, key: tuple[str, Any]) -> None:
        kept = self._kept.pop(key)
        self._bytes -= len(kept.body)
        self._raw_bytes -= kept.size
        self._asked -= kept.asked

    def tell(self, now: int) -> dict[str, Any]:
        """Its part of ``stats``."""
        asked = self._counts["hits"] + self._counts["misses"]
        oldest = min((each.at for each in self._kept.values()), default=now)
        return {
            "enabled": self.enabled,
            "entries": len(self._kept),
            "limit": self._most,
            "bytes": self._bytes,
            "raw_bytes": self._raw_bytes,
            "oldest_ms": now - oldest,
            **self._counts,
            "hit_percent": round(100 * self._counts["hits"] / asked, 1) if asked else 0.0,
        }


def volatile(command: Any) -> bool:
    """Whether the answer changes without that: it tells counters of the daemon, or goes by the age of items."""
    return getattr(command, "stats", False) or getattr(command, "older", None) is not None


def _names_in(command: Any) -> int:
    """Bytes of the names that a filter lists."""
    if not isinstance(command, Filter):
        return 0
    return sum(NAME_OVERHEAD + len(name) for names in (command.queue, command.type, command.team) for name in names)
