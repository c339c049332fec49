"""The client for trio: an agent in six lines.

    from swarmctl.aio import Client

    async def agent():
        async with Client() as queue:
            async for item in queue.work(type="feature"):
                async with item:
                    await item.progress(50, "halfway")

It is ``swarmctl.Client`` with ``await``: the same names, arguments and exceptions (which are those of ``swarmctl``). A
claim is awaited, or entered: ``async with queue.claim() as item:``. Tasks share a Client without more ado, and it needs
no nursery. Their requests travel over one connection, many at a time; a claim or a wait has one of its own while it
runs, which is closed when its task is cancelled, so that the daemon takes back an item or lock that nobody got.

Every call is a checkpoint and may be cancelled. What was asked then may have happened or not, like everything that is
cancelled under way. An item whose block is cancelled is given back.

A Client belongs to one run of trio at a time. After a fork, or in a process that multiprocessing started, it has
connections of its own and is the agent ``NAME.PID``; trio itself does not survive a fork, so the child needs a run of
its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self, TypeVar, overload

import trio

from swarmctl.aio.alone import Alone
from swarmctl.aio.answer import Answer
from swarmctl.aio.claimed import Claimed
from swarmctl.aio.connection import Connection
from swarmctl.aio.keeping import Keeper
from swarmctl.aio.locked import Lock
from swarmctl.aio.looping import Events, Rows, Work
from swarmctl.aio.pipeline import Pipeline
from swarmctl.client import asking, operating, several
from swarmctl.client.ask import Ask, Reference, Reply, Seconds, Words, milliseconds
from swarmctl.client.asker import Asker, keyed
from swarmctl.client.pipeline import Handle
from swarmctl.client.several import WORK_WAIT, Ids, IdsOrRefusals, Pages, Past, Plan
from swarmctl.client.verbs import Verb, Verbs
from swarmctl.client.watching import Followed, filters
from swarmctl.connection.exchange import CLAIMS, WAITS

__all__ = ["Answer", "Claimed", "Client", "Events", "Handle", "Lock", "Pipeline"]

T = TypeVar("T")


class Client(Asker, Verbs):
    """The queue, for any number of tasks of trio; what it is made from stands at ``Asker``.

    Of its connections (``pool_size``) claims and waits have one each while they run; all else shares one more.
    """

    wait = Verb(asking.wait)
    snapshot = Verb(operating.snapshot)

    def _begin(self) -> None:
        self._shared = Connection(self._socket, self._timeout)
        self._alone = Alone(self._shared, self._socket, self._timeout, self._size, self._patience, reuse=self._reuse)
        self.keeper = Keeper(self)

    def _abandon(self) -> None:
        self._shared.abandon()
        self._alone.abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Items in hand stay in hand, until this process ends or their leases do."""
        self._shared.close()
        self._alone.close()

    def claimed(self, fields: Mapping[str, Any], *, watched: bool) -> Claimed:
        """A claim as it stands in a reply, in hand."""
        return Claimed(self, fields, watched=watched)

    def locked(self, fields: Mapping[str, Any]) -> Lock:
        """A lock as it stands in a reply, in hand."""
        return Lock(self, fields)

    # -- requests

    async def call(
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
        arguments = keyed(verb, arguments)
        wait_ms = milliseconds(wait)
        commands: Any = arguments.get("commands", ()) if verb == "batch" else ()
        if verb in WAITS or verb in CLAIMS or any(command[0] in CLAIMS for command in commands):
            return await self._alone.call(verb, arguments, timeout=timeout, wait_ms=wait_ms, fds=fds)
        return await self._shared.call(verb, arguments, timeout=timeout, wait_ms=wait_ms, fds=fds)

    def ask(self, ask: Ask[T]) -> Answer[T]:
        """Send one request and read its reply. The methods use it."""
        return Answer(self._ask(ask))

    @trio.lowlevel.enable_ki_protection
    async def _ask(self, ask: Ask[T]) -> T:
        arguments, fds = self.arguments(ask)
        return ask.read(self, await self.call(ask.verb, arguments, wait=ask.wait, fds=fds))

    def pipeline(self) -> Pipeline:
        """Gather calls inside an ``async with`` block and send them in one frame at its end."""
        return Pipeline(self)

    # -- what takes several requests

    async def _follow(self, plan: Plan[T]) -> T:
        reply: Any = None
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                ask = plan.send(reply)
            except StopIteration as end:
                value: T = end.value
                return value
            reply = await self.ask(ask)

    @overload
    async def submit_many(
        self, items: Iterable[Mapping[str, Any]], *, atomic: Literal[True], key: str | None = None
    ) -> Ids: ...
    @overload
    async def submit_many(
        self, items: Iterable[Mapping[str, Any]], *, atomic: bool = False, key: str | None = None
    ) -> IdsOrRefusals: ...

    async def submit_many(
        self, items: Iterable[Mapping[str, Any]], *, atomic: bool = False, key: str | None = None
    ) -> Ids | IdsOrRefusals:
        """Put many items in, as ``swarmctl.Client.submit_many`` does."""
        return await self._follow(several.submit_many(self, items, atomic=atomic, key=key))

    async def cancel_group(self, group: str, reason: str | None = None) -> int:
        """Cancel all open items of a group; how many there were."""
        return await self._follow(several.cancel_group(group, reason))

    def work(
        self,
        type: Words | None = None,
        *,
        queue: Words | None = None,
        team: Words | None = None,
        until_empty: bool = False,
        wait: Seconds | None = None,
        lease: Seconds | None = None,
    ) -> Work:
        """Claim one item after another; each is completed when the loop goes on to the next, unless it was ended.

            async for item in queue.work(type="feature"):
                async with item:
                    ...

        With the item's block inside, an exception fails the item, is logged (logger ``swarmctl``), and the loop goes
        on; only if the item could not be failed, the exception ends the loop. Without the block, an exception ends it
        like ``break`` does, and the item in hand goes back, to be ready again in 15 seconds, no attempt spent.

        Args:
            type: as for ``claim``.
            queue: as for ``claim``.
            team: as for ``claim``.
            lease: as for ``claim``.
            until_empty: end when there is nothing to claim.
            wait: end when nothing came for so many seconds; None: never.
        """
        pause = 0 if until_empty else WORK_WAIT if wait is None else wait
        filters = {"type": type, "queue": queue, "team": team, "lease": lease}
        return Work(self, pause, filters, endless=not until_empty and wait is None)

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
        older: Seconds | None = None,
        since: Seconds | datetime | None = None,
    ) -> Rows:
        """Every item that fits, in the order of ids; open ones, unless ``state`` or ``all`` says otherwise.

        Read page by page while it is iterated: what changes meanwhile may or may not be seen.
        """
        return Rows(self, Pages(asking.filtered(state, queue, type, team, agent, group, all, older, since), after_id))

    def watch(
        self,
        *ids: Reference,
        queue: Words | None = None,
        type: Words | None = None,
        group: str | None = None,
        since: int | datetime | None = None,
        until_change: bool = False,
        timeout: Seconds | None = None,
    ) -> Events:
        """What happens from now on to these items, or to those that fit; everything, if nothing is given.

            async for event in queue.watch(type="feature"):
                print(event["event"], event.get("id"))

        It begins with the loop, or when it is awaited: ``events = await queue.watch()``. It goes on over a restart of
        the daemon. Its ``position`` is where another watch goes on with ``since``.

        Args:
            ids: only what happens to these.
            queue: only to items of these queues; and to the queues themselves.
            type: only to items of these types.
            group: only to items of this group.
            since: what happened after this position, or from this moment on, instead of now.
            until_change: end after the first event.
            timeout: end after so many seconds; None: never.

        Raises:
            NotFound: there is no such item; or, with the code ``position_gone``, when it goes on to events that the
                journal does not have any more.
        """
        wanted = filters(ids, queue, type, group)
        return Events(self, Followed(wanted, since, timeout, once=until_change))

    def history(self, *ids: Reference) -> Rows:
        """Every event of these items that the journal still holds, oldest first; read page by page.

        An item whose first event is not ``submitted`` or ``imported`` is older than what is left of the journal.

        Raises:
            NotFound: there never was such an item; or its ref is forgotten.
        """
        return Rows(self, Past(ids))
