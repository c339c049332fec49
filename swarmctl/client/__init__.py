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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self, TypeVar, overload

from swarmctl.client import asking, operating, several
from swarmctl.client.ask import Ask, Reference, Reply, Seconds, Words, milliseconds
from swarmctl.client.asker import Asker, keyed
from swarmctl.client.claimed import Claimed
from swarmctl.client.keeping import Keeper
from swarmctl.client.locked import Lock
from swarmctl.client.pipeline import Handle, Pipeline
from swarmctl.client.pool import Pool
from swarmctl.client.several import LEFT_DELAY, WORK_WAIT, Ids, IdsOrRefusals, Pages, Past, Plan
from swarmctl.client.verbs import Verb, Verbs
from swarmctl.client.watching import Events, Followed, filters
from swarmctl.connection import Empty, Refused

__all__ = ["Claimed", "Client", "Events", "Handle", "Lock", "Pipeline"]

T = TypeVar("T")


class Client(Asker, Verbs):
    """The queue, for any number of threads; what it is made from stands at ``Asker``."""

    wait = Verb(asking.wait)
    snapshot = Verb(operating.snapshot)

    def _begin(self) -> None:
        self._pool = Pool(self._socket, self._timeout, self._size, self._patience, reuse=self._reuse)
        self.keeper = Keeper(self)

    def _abandon(self) -> None:
        self._pool.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Items in hand stay in hand, until this process ends or their leases do."""
        self._pool.close()

    def claimed(self, fields: Mapping[str, Any], *, watched: bool) -> Claimed:
        """A claim as it stands in a reply, in hand."""
        return Claimed(self, fields, watched=watched)

    def locked(self, fields: Mapping[str, Any]) -> Lock:
        """A lock as it stands in a reply, in hand."""
        return Lock(self, fields)

    # -- requests

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
        arguments = keyed(verb, arguments)
        with self._pool.connection() as connection:
            return connection.call(verb, arguments, timeout=timeout, wait_ms=milliseconds(wait), fds=fds)

    def ask(self, ask: Ask[T]) -> T:
        """Send one request and read its reply. The methods use it."""
        arguments, fds = self.arguments(ask)
        return ask.read(self, self.call(ask.verb, arguments, wait=ask.wait, fds=fds))

    def pipeline(self) -> Pipeline:
        """Gather calls inside a ``with`` block and send them in one frame at its end."""
        return Pipeline(self)

    # -- what takes several requests

    def _follow(self, plan: Plan[T]) -> T:
        reply: Any = None
        while True:
            try:
                ask = plan.send(reply)
            except StopIteration as end:
                value: T = end.value
                return value
            reply = self.ask(ask)

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
        return self._follow(several.submit_many(self, items, atomic=atomic, key=key))

    def cancel_group(self, group: str, reason: str | None = None) -> int:
        """Cancel all open items of a group; how many there were."""
        return self._follow(several.cancel_group(group, reason))

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
        if claimed.in_hand:
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
        older: Seconds | None = None,
        since: Seconds | datetime | None = None,
    ) -> Iterator[Reply]:
        """Every item that fits, in the order of ids; open ones, unless ``state`` or ``all`` says otherwise.

        Read page by page while it is iterated: what changes meanwhile may or may not be seen.
        """
        pages = Pages(asking.filtered(state, queue, type, team, agent, group, all, older, since), after_id)
        while pages.more:
            yield from pages.take(self.ask(pages.ask()))

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

            for event in queue.watch(type="feature"):
                print(event["event"], event.get("id"))

        It goes on over a restart of the daemon. Its ``position`` is where another watch goes on with ``since``.

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

    def history(self, *ids: Reference) -> Iterator[Reply]:
        """Every event of these items that the journal still holds, oldest first; read page by page.

        An item whose first event is not ``submitted`` or ``imported`` is older than what is left of the journal.

        Raises:
            NotFound: there never was such an item; or its ref is forgotten.
        """
        pages = Past(ids)
        while pages.more:
            yield from pages.take(self.ask(pages.ask()))
