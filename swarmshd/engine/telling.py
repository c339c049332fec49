"""What the daemon tells of itself: the replies to ``hello``, ``status`` and ``dashboard``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from swarmshd import __version__
from swarmshd.commands import Refusal, Request
from swarmshd.engine.client import Client
from swarmshd.engine.following import Following
from swarmshd.engine.health import INFO
from swarmshd.engine.stats import stats
from swarmshd.journal import Sizes, fold_threshold
from swarmshd.protocol import VERSION
from swarmshd.workqueue.desk import states_of_work
from swarmshd.workqueue.records import LOCKS

if TYPE_CHECKING:
    from swarmshd.engine.engine import Engine


def _hello(engine: "Engine", client: Client, request: Request) -> dict[str, Any]:
    """Who we are, and what the peer may do; refused if its version is another one."""
    command = request.command
    if command.version != VERSION:
        raise Refusal(
            "version",
            f"the client speaks protocol {command.version}, this daemon (swarmshd {__version__}) speaks {VERSION}",
            protocol=VERSION,
        )
    settings = engine.settings
    return {
        "protocol": VERSION,
        "program": f"swarmshd {__version__}",
        "epoch": engine.queue.tables.epoch,
        "position": engine.journal.durable,
        "capabilities": ["batch", "history", "wait", "watch", "watch-process"],
        "you": {"uid": client.actor.uid, "pid": client.actor.pid, "classes": sorted(client.classes)},
        "limits": {
            "frame_max": settings.frame_max,
            "payload_max": settings.payload_max,
            "output_tail": settings.output_tail,
            "checkpoint_max": settings.checkpoint_max,
            "description_max": settings.description_max,
        },
    }


def _disk(engine: "Engine", sizes: Sizes) -> dict[str, Any]:
    """What the files take and would take, and what to do if that is too much."""
    room = engine.journal.room
    needed = engine.snapshot_size
    rest = sizes.held - sizes.bytes + room.end
    told: dict[str, Any] = {
        "held_bytes": sizes.held,
        "free_bytes": sizes.free,
        "total_bytes": sizes.total,
        "most_bytes": engine.settings.max_disk_bytes,
        "reserve_bytes": sizes.reserve,
        "archive_bytes": sizes.archive,
        "reserve_percent": 100 * sizes.reserve // room.reserve.wanted if room.reserve.wanted else 0,
        "after_fold_bytes": rest + needed,
        "before_fold_bytes": rest + sizes.snapshot + fold_threshold(sizes) + engine.settings.journal_rotation_bytes,
    }
    if engine.space.full is not None:
        told["full"] = str(engine.space.full)
    return told


def _journal(engine: "Engine", sizes: Sizes) -> dict[str, Any]:
    """What recovery would read, and how the commits go."""
    return {
        "segments": sizes.segments,
        "bytes": sizes.bytes,
        "snapshot_position": sizes.snapshot_position,
        "last_sync_us": engine.commits.last_ns // 1000,
        "syncs": engine.commits.syncs,
        "batches": engine.commits.batches,
    }


def _following(following: Following) -> dict[str, Any]:
    """Those who watch, and how far back they can be served from memory."""
    ring = following.ring
    return {"followers": len(following), "ring_bytes": ring.bytes, "oldest_position": ring.first}


def _keys(engine: "Engine") -> dict[str, Any]:
    """How many idempotency keys are kept, and how far back they reach."""
    tables, now = engine.queue.tables, engine.queue.desk.now
    oldest = min((order[0][0] for order in tables.key_order if order), default=now)
    return {"kept": len(tables.keys), "window_ms": max(0, now - oldest)}


def _status(engine: "Engine", _: Client, __: Request) -> dict[str, Any]:
    """How the daemon is."""
    queue = engine.queue
    tables = queue.tables
    states = states_of_work(queue.desk)
    sizes = engine.journal.sizes()
    following = engine.aside.following
    reply: dict[str, Any] = {
        "program": f"swarmshd {__version__}",
        "protocol": VERSION,
        "epoch": tables.epoch,
        "position": tables.position,
        "durable_position": engine.journal.durable,
        "now": queue.desk.now,
        "state": "draining" if engine.draining else "running",
        "states": states,
        "queues": len(tables.queues) - (LOCKS in tables.queues),
        "agents": len(tables.agents),
        "waiters": len(queue.waiters) + len(following),
        "following": _following(following),
        "errands": len(engine.aside.errands),
        "held": states.get("claimed", 0),
        "locks": len(tables.queues[LOCKS].items["claimed"]) if LOCKS in tables.queues else 0,
        "items_bytes": tables.bytes,
        "journal": _journal(engine, sizes),
        "rates": engine.rates.per_second(queue.desk.now),
        "counts": engine.rates.totals(),
        "disk": _disk(engine, sizes),
        "fold": engine.fold,
        "durability": engine.durability.words,
        "relaxed": len(engine.relaxed),
        "keys": _keys(engine),
    }
    conditions = engine.health.recent(queue.desk.now)
    reply["conditions"] = [f"{each['name']}: {each['fact']}" for each in conditions if each["severity"] != INFO]
    if tables.paused is not None:
        reply["paused"] = tables.paused
    if tables.paused_until is not None:
        reply["paused_until"] = tables.paused_until
    return reply | engine.tell()


def _health(engine: "Engine", _: Client, __: Request) -> dict[str, Any]:
    """What is not as it should be."""
    return {"conditions": engine.health.look(engine.queue.desk.now)}


def _dashboard(engine: "Engine", client: Client, request: Request) -> dict[str, Any]:
    """How the daemon is, and of the queue what somebody would look at first."""
    _, overview = engine.queue.execute(request, client.actor)
    return {"status": _status(engine, client, request), **overview}


TELLS: dict[str, Callable[["Engine", Client, Request], dict[str, Any]]] = {
    "hello": _hello,
    "status": _status,
    "dashboard": _dashboard,
    "stats": stats,
    "health": _health,
}
"""The verbs that the engine answers itself."""
