"""The blocking client for Python: an agent in five lines.

    from swarmctl import Client

    with Client() as queue:
        for item in queue.work(type="feature"):
            with item:
                item.progress(50, "halfway")

A Client may be shared by threads. It finds the socket as ``swarmctl`` does, gives every change an idempotency key, and
sends it again when the daemon restarts, until its timeout. Errors are exceptions: ``Refused`` and its kinds, with the
refusal's ``code``, ``exit``, ``retryable`` and ``facts``. After a fork, or in a process that multiprocessing started,
it has connections of its own and is the agent ``NAME.PID``.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar, overload

from swarmctl.client import asking
from swarmctl.client.ask import Ask, Reply, Seconds, Words, milliseconds
from swarmctl.client.claimed import Claimed
from swarmctl.client.keeping import Keeper, own_process
from swarmctl.client.pipeline import Handle, Pipeline
from swarmctl.client.pool import PATIENCE, SIZE, Pool, setting
from swarmctl.client.verbs import Verb, Verbs
from swarmctl.connection import TIMEOUT, Empty, Refused, mint_key, refusal
from swarmctl.identity import agent_id
from swarmshd.protocol import NAME_MAX, READ, SUBMITS_MAX, VERBS, is_name

__all__ = ["Claimed", "Client", "Handle", "Pipeline"]

T = TypeVar("T")

PAGE = 200
"""Items that one request of ``list`` asks for."""

FRAME_FILL = 512 * 1024
"""Bytes, roughly, that ``submit_many`` puts into one frame; half of what a frame may have."""

WORK_WAIT = 60.0
"""Seconds that one claim of ``work`` waits, before it asks again."""

LEFT_DELAY = 15.0
"""Seconds until an item is ready again whose loop was left: if its work broke the loop, others come first."""

_clients: weakref.WeakSet[Client] = weakref.WeakSet()


class Client(Verbs):
    """The queue, for any number of threads.

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

    wait = Verb(asking.wait)

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
        size = setting("CONNECTION_POOL_SIZE", SIZE) if pool_size is None else pool_size
        if size < 1:
            raise ValueError(f"a pool has at least one connection, not {size}")
        patience = setting("CONNECTION_POOL_TIMEOUT", PATIENCE) / 1000
        reuse = setting("CONNECTION_REUSE_ENABLED", 1) != 0
        self._pool = Pool(socket, timeout, size, patience, reuse=reuse)
        self.keeper = Keeper(self)
        _clients.add(self)

    def __repr__(self) -> str:
        return f"<Client of agent {self.agent}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Items in hand stay in hand, until this process ends or their leases do."""
        self._pool.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (self._name, self._socket, self._timeout, self._pool_size, self._watch, os.getpid())

    def become_child(self) -> None:
        """Take nothing over from the process that this one was copied from, and be the agent NAME.PID."""
        suffix = f".{os.getpid()}"
        self.agent = self._name[: NAME_MAX - len(suffix)] + suffix
        self._pool.reset()
        self.keeper = Keeper(self)

    # -- requests

    @property
    def watches(self) -> bool:
        """Whether the daemon watches this process for the items that it claims; else heartbeats are sent."""
        return self._watch and own_process() is not None

    def call(
        self,
        verb: str,
        arguments: Mapping[str, object],
        *,
        wait: Seconds | None = None,
        timeout: float | None = None,
        fds: Sequence[int] = (),
    ) -> Reply:
        """One request as the protocol has it; a change gets an idempotency key.

        Raises:
            Refused: the daemon's refusal, or that it could not be reached.
        """
        if "key" not in arguments and verb != "heartbeat" and VERBS.get(verb) != READ:
            arguments = {**arguments, "key": mint_key()}
        with self._pool.connection() as connection:
            return connection.call(verb, arguments, timeout=timeout, wait_ms=milliseconds(wait), fds=fds)

    def ask(self, ask: Ask[T]) -> T:
        """Send one request and read its reply. The methods use it."""
        arguments, fds = self.arguments(ask)
        return ask.read(self, self.call(ask.verb, arguments, wait=ask.wait, fds=fds))

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

    def pipeline(self) -> Pipeline:
        """Gather calls inside a ``with`` block and send them in one frame at its end."""
        return Pipeline(self)

    # -- what takes several requests

    @overload
    def submit_many(
        self, items: Iterable[Mapping[str, Any]], *, atomic: Literal[True], key: str | None = None
    ) -> Ids: ...
    @overload
    def submit_many(
        self, items: Iterable[Mapping[str, Any]], *, atomic: bool = False, key: str | None = None
    ) -> IdsOrRefusals: ...

    def submit_many(
        self, items: Iterable[Mapping[str, Any]], *, atomic: bool = False, key: str | None = None
    ) -> Ids | IdsOrRefusals:
        """Put many items in, each given as the arguments of ``submit``; the ids in their order.

        With ``atomic`` all are put in or none, by one frame, and ``after`` may name refs of later items. Otherwise
        they go in as many frames as they need, and where one was refused, its place has the Refused instead of an id.
        ``key`` makes the whole repeatable: the same items under the same key are put in once.

        Raises:
            Refused: with ``atomic``, the refusal of the first bad item; ``facts["line"]`` is its index. Otherwise only
                what kept a whole frame from being answered.
        """
        commands = [["submit", self.arguments(asking.submit(**item))[0]] for item in items]
        if atomic:
            extra: dict[str, object] = {} if key is None else {"key": key}
            replies = self.call("batch", {"commands": commands, "atomic": True, **extra})["replies"]
            return [body["id"] for _, body in replies]
        found: IdsOrRefusals = []
        for number, frame in enumerate(_frames(commands)):
            extra = {} if key is None else {"key": f"{key}:{number}"}
            replies = self.call("batch", {"commands": frame, **extra})["replies"]
            found += [body["id"] if code == 0 else refusal(code, body) for code, body in replies]
        return found

    def cancel_group(self, group: str, reason: str | None = None) -> int:
        """Cancel all open items of a group; how many there were."""
        cancelled: int = 0
        while True:
            arguments = {"group": group} if reason is None else {"group": group, "reason": reason}
            reply = self.call("cancel", arguments)
            cancelled += reply["cancelled"]
            if not reply["more"]:
                return cancelled

    def work(
        self,
        type: Words | None = None,
        *,
        queue: Words | None = None,
        team: Words | None = None,
        until_empty: bool = False,
        wait: Seconds | None = None,
        lease: Seconds | None = None,
    ) -> Iterator[Claimed]:
        """Claim one item after another; each is completed when the loop goes on to the next, unless it was ended.

            for item in queue.work(type="feature"):
                with item:
                    ...

        A loop cannot see its own exceptions. With the item's block inside, an exception fails the item, is logged
        (logger ``swarmctl``), and the loop goes on; only if the item could not be failed, the exception ends the
        loop. Without the block, an exception ends it like ``break`` does, and the item in hand goes back, to be ready
        again in 15 seconds, no attempt spent.

        Args:
            type: as for ``claim``.
            queue: as for ``claim``.
            team: as for ``claim``.
            lease: as for ``claim``.
            until_empty: end when there is nothing to claim.
            wait: end when nothing came for so many seconds; None: never.
        """
        pause = 0 if until_empty else WORK_WAIT if wait is None else wait
        while True:
            try:
                claimed = self.claim(type, queue=queue, team=team, wait=pause, lease=lease)
            except Empty:
                if until_empty or wait is not None:
                    return
                continue
            claimed.in_loop = True
            if not claimed.watched:
                self.keeper.keep(claimed)
            try:
                yield claimed
            except BaseException:
                self._leave(claimed)
                raise
            finally:
                self.keeper.drop(claimed)
            if not claimed.ended and not claimed.left:
                claimed.finish()

    def _leave(self, claimed: Claimed) -> None:
        """Give back what was in hand when a loop was left."""
        if claimed.is_ours and not (claimed.ended or claimed.left or claimed.lost.is_set()):
            try:
                claimed.release(delay=LEFT_DELAY, note="its loop was left")
            except Refused as refused:
                logging.getLogger("swarmctl").warning("item %d could not be given back: %s", claimed.id, refused)

    def list(
        self,
        state: Words | None = None,
        queue: Words | None = None,
        type: Words | None = None,
        team: Words | None = None,
        agent: str | None = None,
        group: str | None = None,
        all: bool | None = None,
        after_id: int | None = None,
    ) -> Iterator[Reply]:
        """Every item that fits, in the order of ids; open ones, unless ``state`` or ``all`` says otherwise.

        Read page by page while it is iterated: what changes meanwhile may or may not be seen.
        """
        filters = asking.filtered(state, queue, type, team, agent, group, all)
        more = True
        while more:
            reply = self.ask(asking.page(filters, PAGE, after_id))
            yield from reply["items"]
            more, after_id = reply["more"], reply["after_id"]


Ids = list[int]
IdsOrRefusals = list[int | Refused]


def _frames(commands: list[list[Any]]) -> Iterator[list[list[Any]]]:
    """Cut a long list of submits into what one frame carries."""
    frame: list[list[Any]] = []
    size = 0
    for command in commands:
        arguments = command[1]
        length = 300 + 4 * len(arguments["description"]) + len(arguments.get("payload", b""))
        length += 200 * len(arguments.get("after", ())) + 200 * len(arguments.get("require", ()))
        if frame and (size + length > FRAME_FILL or len(frame) == SUBMITS_MAX):
            yield frame
            frame, size = [], 0
        frame.append(command)
        size += length
    if frame:
        yield frame


def _restored(name: str, socket: str | None, timeout: float, size: int | None, watch: bool, pid: int) -> Client:
    """A client that was pickled: in another process it is that process's."""
    client = Client(name, socket, timeout, size, watch=watch)
    if pid != os.getpid():
        client.become_child()
    return client


def _forked() -> None:
    for client in list(_clients):
        client.become_child()


os.register_at_fork(after_in_child=_forked)
