"""The engine's parts of ``stats``: the queue, the journal's commits, and what is answered before it is written."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from swarmshd.commands import Refusal, Request
from swarmshd.engine.client import Client
from swarmshd.workqueue.desk import states_of_work

if TYPE_CHECKING:
    from swarmshd.engine.engine import Engine


def stats(engine: "Engine", client: Client, request: Request) -> dict[str, Any]:
    """All parts, or one."""
    wanted = request.command.section
    if wanted is None:
        return {"sections": {name: part(client) for name, part in engine.sections.items()}}
    if wanted not in engine.sections:
        known = ", ".join(engine.sections)
        raise Refusal("not_found", f"stats: there is no section {wanted}; there are {known}")
    return {"sections": {wanted: engine.sections[wanted](client)}}


def _queue(engine: "Engine", _: Client) -> dict[str, Any]:
    queue = engine.queue
    tables = queue.tables
    now = queue.desk.now
    return {
        **states_of_work(queue.desk),
        "items": len(tables.items),
        "items_bytes": tables.bytes,
        "queues": len(tables.queues),
        "agents": len(tables.agents),
        "waiters": len(queue.waiters),
        "keys": len(tables.keys),
        "shards": engine.settings.work_queue_sharding,
        "indexed": queue.desk.policy.indexed,
        "scanned": queue.ready.scanned,
        "index_buckets": len(queue.ready.buckets),
        "index_shapes": len(queue.ready.shapes),
        **({} if queue.reindexing is None else {"reindexed_percent": round(100 * queue.reindexing.share)}),
        "since_start": engine.rates.totals(),
        **{f"per_second_{name}": rates for name, rates in engine.rates.per_second(now).items()},
    }


def _wal(engine: "Engine", _: Client) -> dict[str, Any]:
    sizes = engine.journal.sizes()
    return {
        **engine.commits.tell(),
        "waiting_commands": len(engine.inbox.tasks),
        "waiting_bytes": engine.inbox.bytes,
        **engine.durability.tell(engine.queue.desk.now),
        "oldest_unflushed_ms": engine.relaxed.oldest_ms(engine.queue.desk.now),
        "recovery_ms": engine.recovery_ms,
        **engine.journal.io(),
        "segments": sizes.segments,
        "disk_bytes": sizes.bytes,
        "snapshot_position": sizes.snapshot_position,
    }


def _async(engine: "Engine", _: Client) -> dict[str, Any]:
    return engine.relaxed.tell(engine.queue.desk.now)


def _cache(engine: "Engine", _: Client) -> dict[str, Any]:
    return engine.cache.tell(engine.queue.desk.now)


SECTIONS: dict[str, Callable[["Engine", Client], dict[str, Any]]] = {
    "queue": _queue,
    "wal": _wal,
    "async": _async,
    "cache": _cache,
}
"""By name; others come from whoever has something to tell."""
