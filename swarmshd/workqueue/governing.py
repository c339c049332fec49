"""Agents and queues themselves: register, quiet, wake, evict, pause, resume, and the settings of a queue."""

from itertools import islice
from typing import Any

from swarmshd import events as e
from swarmshd.commands import Refusal
from swarmshd.commands.governing import Evict, Pause, QueueSet, Quiet, Register, Resume, Wake
from swarmshd.protocol import counted
from swarmshd.workqueue.desk import Desk, agent_for, check_lease, room_for_agent
from swarmshd.workqueue.policy import AGENT_GONE_KEPT, AGENT_IDLE_KEPT
from swarmshd.workqueue.records import Agent


def register(desk: Desk, command: Register) -> list[e.Event]:
    """Make the agent known. A second living process under one name must say that it takes over."""
    agent = agent_for(desk, command.agent)
    if agent is None:
        room_for_agent(desk)
    elif agent.watch is not None and agent.watch != desk.watch and desk.watch is not None and not command.takeover:
        raise Refusal(
            "conflict",
            f"agent {agent.name} is alive as process {agent.watch[0]}; stop it, use another name, or pass --takeover",
            watching=agent.watch[0],
        )
    if command.watch and desk.watch is None:
        raise Refusal("bad_request", "register: watch is set, but no process descriptor came along")
    happened: list[e.Event] = []
    if agent is not None and command.takeover:
        if len(agent.holds) > desk.policy.batch_size:
            held = counted(len(agent.holds), "item")
            text = f"agent {agent.name} holds {held}; `swarmctl evict {agent.name}` gives them back"
            raise Refusal("busy", text, limit=desk.policy.batch_size)
        reason = f"agent {agent.name} was taken over"
        happened += [e.ItemReturned(item.id, e.TAKEN, None, reason) for item in agent.holds.values()]
    registered = e.AgentRegistered(
        command.agent,
        command.team,
        command.capacity,
        command.specialization,
        command.slots or None,
        tuple(sorted(set(command.labels))),
        command.heartbeat or None,
        desk.watch if command.watch else None,
    )
    return [*happened, registered]


SWEPT_BYTES = 64 << 10
"""Bytes of names of agents that are forgotten at once: an entry of the journal has them."""


def idle_agents(desk: Desk) -> list[str]:
    """Agents that nobody misses, so many at a time.

    They hold nothing. Those that never registered are silent for long, or one of too many; those that did are
    one of too many, and their process died or they are silent for a day.
    """
    crowded = len(desk.tables.agents) > desk.policy.agents // 2
    silent = desk.now - AGENT_IDLE_KEPT
    gone = desk.now - AGENT_GONE_KEPT
    idle = (
        agent.name
        for agent in desk.tables.agents.values()
        if not agent.quiet
        and not agent.holds
        and (
            (crowded and (agent.died is not None or agent.seen < gone) and agent.watch is None)
            if agent.registered
            else (crowded or agent.seen < silent)
        )
    )
    names: list[str] = []
    size = 0
    for name in idle:
        names.append(name)
        size += len(name)
        if size >= SWEPT_BYTES:
            break
    return names


def _known(desk: Desk, name: str) -> Agent:
    agent = desk.tables.agents.get(name)
    if agent is None:
        raise Refusal("not_found", f"there is no agent {name}")
    return agent


def quiet(desk: Desk, command: Quiet) -> list[e.Event]:
    """The agent claims nothing more; what it holds it may finish."""
    return [] if _known(desk, command.agent).quiet else [e.AgentQuieted(command.agent, True)]


def wake(desk: Desk, command: Wake) -> list[e.Event]:
    """The agent may claim again."""
    return [e.AgentQuieted(command.agent, False)] if _known(desk, command.agent).quiet else []


def evict(desk: Desk, command: Evict) -> list[e.Event]:
    """Take from the agent all that it holds and forget it; in parts, if it is very much."""
    agent = _known(desk, command.agent)
    limit = desk.policy.batch_size
    reason = f"agent {agent.name} was evicted"
    happened: list[e.Event] = [
        e.ItemReturned(item.id, e.EVICTED, None, reason) for item in islice(agent.holds.values(), limit)
    ]
    if len(agent.holds) <= limit:
        happened.append(e.AgentsForgotten([agent.name]))
    return happened


def queue_set(desk: Desk, command: QueueSet) -> list[e.Event]:
    """Change the settings that are named; 0 puts one back to its default."""
    queue = desk.tables.queues.get(command.queue)
    if queue is None and len(desk.tables.queues) >= desk.policy.queues:
        raise Refusal("too_many_kinds", f"there are {desk.policy.queues} queues (QUEUES); use one of them")
    check_lease(desk, command.lease)
    before = {} if queue is None else queue.settings
    settings = dict(before)
    for name in ("closed", "limit", "max_length", "lease", "max_attempts", "crash_cap", "stall_after"):
        value = getattr(command, name)
        if value:
            settings[name] = value
        elif value is not None:
            settings.pop(name, None)
    return [] if settings == before else [e.QueueSet(command.queue, settings)]


def pause(desk: Desk, command: Pause) -> list[e.Event]:
    """No claims from the queue, or from any; holders may finish, unless ``hard`` asks them to stop."""
    until = None if command.lasts is None else desk.now + command.lasts
    if command.all:
        return [e.EverythingPaused(command.reason, command.hard, until)]
    if command.hard:
        raise Refusal("bad_request", "pause: hard goes with all")
    return _with(desk, str(command.queue), paused=command.reason, paused_until=until)


def resume(desk: Desk, command: Resume) -> list[e.Event]:
    """Claims are allowed again, from the queue or from all that are not paused themselves."""
    if command.all:
        return [] if desk.tables.paused is None else [e.EverythingPaused(None)]
    return _with(desk, str(command.queue), paused=None, paused_until=None)


def pauses_over(desk: Desk, limit: int) -> list[e.Event]:
    """End the pauses whose time is over, of at most so many queues."""
    tables = desk.tables
    if tables.resume_at is None or tables.resume_at > desk.now:
        return []
    over = islice((name for name, until in tables.resumes.items() if until <= desk.now), limit)
    happened: list[e.Event] = [event for name in over for event in _with(desk, name, paused=None, paused_until=None)]
    if tables.paused_until is not None and tables.paused_until <= desk.now:
        happened.append(e.EverythingPaused(None))
    return happened


def _with(desk: Desk, name: str, **changed: Any) -> list[e.Event]:
    queue = desk.tables.queues.get(name)
    if queue is None and len(desk.tables.queues) >= desk.policy.queues:
        raise Refusal("too_many_kinds", f"there are {desk.policy.queues} queues (QUEUES); use one of them")
    before = {} if queue is None else queue.settings
    settings = {key: value for key, value in {**before, **changed}.items() if value is not None}
    return [] if settings == before else [e.QueueSet(name, settings)]
