"""When what was written is synced: before it is answered, as is the law, or later, where the settings say so.

``WAL_SYNC_INTERVAL`` lets an answer go when it is written, and syncs so many milliseconds later; ``WAL_ENABLED`` off
syncs for its own sake only when nothing happens. Both keep the journal whole: the end of the daemon loses nothing, only
the end of the system does, and then at most what is said here; the numbers that were given out in it are not given
again. Each change is told of it in its answer, and ``status``, ``health`` and ``stats wal`` say it.
"""

from typing import Any

from swarmshd.settings import MIB, Settings

UNSYNCED_MAX = 16 * MIB
"""Bytes after which a sync is due in any case: it bounds what can be lost, and how long one sync takes."""

IDLE = 1000
"""Milliseconds without a batch after which all is synced in any case."""


class Durability:
    """What was written and is not synced yet, and when it is to be."""

    def __init__(self, settings: Settings) -> None:
        self.configure(settings)
        self._since = self._last = self._bytes = 0
        self._open = False
        self._forced = False
        self._longest = self._most = 0

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on, for what is not synced as well."""
        self.strict = settings.wal_enabled and not settings.wal_sync_interval
        """Whether nothing is answered before it is synced."""
        self._interval = settings.wal_sync_interval if settings.wal_enabled else None

    def written(self, now: int, size: int) -> None:
        """A batch of so many bytes was written."""
        if not self._open:
            self._open, self._since, self._bytes = True, now, 0
        self._last = now
        self._bytes += size
        self._most = max(self._most, self._bytes)

    def hurry(self) -> None:
        """Something waits until it is synced."""
        self._forced = True

    def synced(self, now: int) -> None:
        """Everything that was written is durable."""
        if self._open:
            self._longest = max(self._longest, now - self._since)
        self._open = self._forced = False

    def due(self, now: int) -> bool:
        """Whether what was written is to be synced now."""
        if not self._open:
            return False
        if self.strict or self._forced or self._bytes >= UNSYNCED_MAX:
            return True
        deadline = self.deadline()
        return deadline is not None and deadline <= now

    def deadline(self) -> int | None:
        """When it is, at the latest."""
        if not self._open or self.strict:
            return None
        idle = self._last + IDLE
        return idle if self._interval is None else min(idle, self._since + self._interval)

    @property
    def told(self) -> dict[str, Any]:
        """What the answer to a change says of it; nothing where the law is kept."""
        if self.strict:
            return {}
        return {"relaxed": "no sync" if self._interval is None else f"sync within {self._interval} ms"}

    @property
    def words(self) -> str:
        """What is promised, for people."""
        if self.strict:
            return "durable before the answer, but for `--async`"
        most = f"at most {UNSYNCED_MAX // MIB} MiB"
        if self._interval is None:
            how = f"what the system has not written by itself ({most})"
            return f"RELAXED: answered before it is synced (WAL_ENABLED=0); a power cut loses {how}"
        lost = f"the last {self._interval} ms ({most})"
        return f"RELAXED: answered before it is synced (WAL_SYNC_INTERVAL={self._interval}); a power cut loses {lost}"

    def tell(self, now: int) -> dict[str, Any]:
        """Its part of ``stats``."""
        return {
            "strict": self.strict,
            "unsynced": self._open,
            "unsynced_ms": now - self._since if self._open else 0,
            "unsynced_bytes": self._bytes if self._open else 0,
            "unsynced_ms_most": self._longest,
            "unsynced_bytes_most": self._most,
        }
