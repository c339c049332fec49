"""The whole on one screen: of queues, agents and failures the few that somebody would look at first.

However much there is, the reply stays short: each list is cut, and what was left out is told by a number. It costs
a look at every queue and every agent, and at none of the items but those that are shown.
"""

from collections import Counter
from collections.abc import Iterable
from heapq import nlargest, nsmallest
from typing import Any

from swarmshd.commands.looks import Dashboard
from swarmshd.workqueue.desk import Desk, queues_of_work
from swarmshd.workqueue.looking import agent_state, agent_view, present, queue_view
from swarmshd.workqueue.records import (
    BLOCKED,
    BURIED,
    CLAIMED,
    FAILURES_KEPT,
    REASON_KEPT,
    SCHEDULED,
    Agent,
    Failure,
    Item,
    Queue,
)
from swarmshd.workqueue.tables import Tables

DESCRIPTION_SHOWN = 200
"""Characters of a description that are told here."""

_RANKS = {"suspect": 0, "active": 1, "quiet": 2, "idle": 3, "gone": 4}
_NEVER = 1 << 62


def dashboard(desk: Desk, command: Dashboard) -> dict[str, Any]:
    """The queue's part of ``dashboard``."""
    tables = desk.tables
    all_queues = queues_of_work(desk)
    queues = nsmallest(command.queues, map(_ranked_queue, all_queues))
    ranked = [_ranked_agent(desk, agent) for agent in tables.agents.values()]
    states = Counter(row[-1] for row in ranked)
    agents = [tables.agents[name] for *_, name, _ in nsmallest(command.agents, ranked)]
    failures = list(tables.failures)[: -command.failures - 1 : -1]
    return {
        "queues": [_queue_row(tables.queues[name], oldest) for *_, name, oldest in queues],
        "queues_total": len(all_queues),
        "agents": [_agent_row(desk, agent) for agent in agents],
        "agents_total": len(tables.agents),
        "agent_states": {state: states[state] for state in _RANKS if state in states},
        "failures": [_failure_row(tables, failure) for failure in failures],
        "failures_total": len(tables.failures),
    }


# -- queues ----------------------------------------------------------------------------------------------


def _ranked_queue(queue: Queue) -> tuple[int, int, str, Item | None]:
    """Smallest for what was ready longest; then for what is worked on, then for what lies there, then by name."""
    oldest = queue.oldest
    if oldest is not None:
        return 0, oldest.since, queue.name, oldest
    items = queue.items
    if items[CLAIMED]:
        return 1, -len(items[CLAIMED]), queue.name, None
    left = len(items[BURIED]) + len(items[SCHEDULED]) + len(items[BLOCKED])
    return 2 if left or queue.settings else 3, -left, queue.name, None


def _queue_row(queue: Queue, oldest: Item | None) -> dict[str, Any]:
    view = queue_view(queue, oldest)
    if oldest is not None:
        view["oldest"] = _short(oldest)
    return view


def _short(item: Item) -> dict[str, Any]:
    return {"id": item.id, "type": item.type, "description": item.description[:DESCRIPTION_SHOWN]}


# -- agents ----------------------------------------------------------------------------------------------


def _ranked_agent(desk: Desk, agent: Agent) -> tuple[int, int, int, str, str]:
    """Smallest for whoever may be in trouble; then for who has held something longest, then by when it was heard."""
    state = agent_state(desk, agent)
    rank = _RANKS[state]
    if not agent.holds:
        return rank, _NEVER, -agent.seen, agent.name, state
    claim = next(iter(agent.holds.values())).claim
    assert claim is not None
    return (0 if claim.stalled else min(rank, 1)), claim.at, 0, agent.name, state


def _agent_row(desk: Desk, agent: Agent) -> dict[str, Any]:
    row = agent_view(desk, agent, counted=True)
    # Held longest: they stand in the order in which they were claimed.
    item = next((item for item in agent.holds.values() if not item.is_lock), None)
    if item is not None:
        claim = item.claim
        assert claim is not None
        row["oldest"] = present(
            {
                **_short(item),
                "queue": item.queue.name,
                "claimed_at": claim.at,
                "lease_until": claim.deadline,
                "stalled": claim.stalled or None,
                "percent": item.note("percent"),
                "message": (item.note("message") or item.note("status") or "")[:DESCRIPTION_SHOWN] or None,
            }
        )
    return row


# -- failures --------------------------------------------------------------------------------------------


def _failure_row(tables: Tables, failure: Failure) -> dict[str, Any]:
    """With what has become of the item since: it may be done by now, or forgotten."""
    item = tables.items.get(failure.id)
    now = {} if item is None else {"state": item.state, "description": item.description[:DESCRIPTION_SHOWN]}
    return present({**failure._asdict(), **now})


def remember_buried(tables: Tables) -> None:
    """After a start: of what was buried before the journal's snapshot only the items themselves tell."""
    known = {failure.id for failure in tables.failures}
    room = FAILURES_KEPT - len(tables.failures)
    buried: Iterable[Item] = (item for queue in tables.queues.values() for item in queue.items[BURIED].values())
    found = nlargest(room, (item for item in buried if item.id not in known), key=lambda item: item.since)
    for item in found:  # from the newest back
        reason = item.note("reason")
        short = None if reason is None else reason[:REASON_KEPT]
        tables.failures.appendleft(Failure(item.since, item.id, item.queue.name, item.type, "buried", None, short))
