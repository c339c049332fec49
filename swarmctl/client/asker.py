"""Who asks: what a client is, whichever way its requests travel.

``Client`` and ``swarmctl.aio.Client`` are both an ``Asker``: the same arguments, the same names and queues put into
requests, the same process watched, the same behaviour after a fork.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from swarmctl.client.ask import Ask
from swarmctl.client.keeping import own_process
from swarmctl.client.pool import PATIENCE, SIZE, setting
from swarmctl.connection import TIMEOUT, mint_key
from swarmctl.identity import agent_id
from swarmshd.protocol import NAME_MAX, READ, VERBS, is_name

_askers: weakref.WeakSet[Asker] = weakref.WeakSet()


class Asker(ABC):
    """An agent that asks the daemon.

    Args:
        agent: who claims; found as ``swarmctl`` finds it if None: ``$SWARMSH_AGENT``, ``$AGENT_ID``, the harness's or
            the terminal's session.
        socket: the daemon's socket; found as ``swarmctl`` finds it if None.
        timeout: seconds for connect, reconnect and reply of each call, on top of what it waits for.
        pool_size: connections at once; CONNECTION_POOL_SIZE in the environment, or 100, if None.
        watch: have the daemon watch this process, so that its claims last while it lives and are free when it dies.

    Raises:
        ValueError: an argument, or what stands in for it in the environment, is of no use.
    """

    def __init__(
        self,
        agent: str | None = None,
        socket: str | None = None,
        timeout: float = TIMEOUT,
        pool_size: int | None = None,
        *,
        watch: bool = True,
    ) -> None:
        self._name, _ = agent_id(agent, os.environ)
        self.agent = self._name
        self._socket = socket
        self._timeout = timeout
        self._pool_size = pool_size
        self._watch = watch
        self._size = setting("CONNECTION_POOL_SIZE", SIZE) if pool_size is None else pool_size
        if self._size < 1:
            raise ValueError(f"a pool has at least one connection, not {self._size}")
        self._patience = setting("CONNECTION_POOL_TIMEOUT", PATIENCE) / 1000
        self._reuse = setting("CONNECTION_REUSE_ENABLED", 1) != 0
        self._begin()
        _askers.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of agent {self.agent}>"

    def __reduce__(self) -> tuple[object, ...]:
        arguments = (self._name, self._socket, self._timeout, self._pool_size)
        return _restored, (type(self), arguments, self._watch, os.getpid())

    def become_child(self) -> None:
        """Take nothing over from the process that this one was copied from, and be the agent NAME.PID."""
        suffix = f".{os.getpid()}"
        self.agent = self._name[: NAME_MAX - len(suffix)] + suffix
        self._abandon()
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Have connections, and what keeps claims, of its own."""

    @abstractmethod
    def _abandon(self) -> None:
        """Close the connections: they are copies of the parent's."""

    @abstractmethod
    def claimed(self, fields: Mapping[str, Any], *, watched: bool) -> Any:
        """A claim as it stands in a reply, in hand."""

    @abstractmethod
    def locked(self, fields: Mapping[str, Any]) -> Any:
        """A lock as it stands in a reply, in hand."""

    @property
    def watches(self) -> bool:
        """Whether the daemon watches this process for the items that it claims; else heartbeats are sent."""
        return self._watch and own_process() is not None

    def arguments(self, ask: Ask[Any]) -> tuple[dict[str, object], Sequence[int]]:
        """The request's arguments with what this client adds: the agent, the queue, the process to watch."""
        arguments = dict(ask.arguments)
        fds: tuple[int, ...] = ()
        if ask.acts:
            arguments.setdefault("agent", self.agent)
        if "queue" not in arguments and ask.verb in ("submit", "claim", "claim_new"):
            queue = os.environ.get("SWARMSH_QUEUE")
            if queue and ask.verb == "claim":
                arguments["queue"] = queue if queue == "*" else queue.split(",")
            elif queue and is_name(queue):
                arguments["queue"] = queue
        if ask.watches and self._watch:
            own = own_process()
            if own is not None:
                arguments["watch"] = True
                fds = (own,)
        return arguments, fds


def keyed(verb: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    """The arguments; a change gets an idempotency key, unless it has one."""
    if "key" in arguments or verb == "heartbeat" or VERBS.get(verb) == READ:
        return arguments
    return {**arguments, "key": mint_key()}


def _restored(kind: type[Asker], arguments: tuple[Any, ...], watch: bool, pid: int) -> Asker:
    """A client that was pickled: in another process it is that process's."""
    asker = kind(*arguments, watch=watch)
    if pid != os.getpid():
        asker.become_child()
    return asker


def _forked() -> None:
    for asker in list(_askers):
        asker.become_child()


os.register_at_fork(after_in_child=_forked)
