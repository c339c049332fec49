"""The methods that both clients and their pipelines share: the same arguments, and each its own kind of answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from swarmctl.client import asking, governing, operating
from swarmctl.client.ask import Ask

if TYPE_CHECKING:
    from swarmctl import aio
    from swarmctl.aio.answer import Answer
    from swarmctl.client import Client
    from swarmctl.client.claimed import Claimed
    from swarmctl.client.locked import Lock
    from swarmctl.client.pipeline import Handle, Pipeline

P = ParamSpec("P")
T = TypeVar("T")


class Verb(Generic[P, T]):
    """A function of ``asking`` as a method: a client answers with the result, a pipeline with a handle.

    What is claimed is in hand of the client that claimed it; the client for trio has a ``Claimed`` of its own.
    """

    def __init__(self, build: Callable[P, Ask[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> Callable[P, Ask[T]]: ...
    @overload
    def __get__(self, owner: Client, kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, owner: Pipeline, kind: type) -> Callable[P, Handle[T]]: ...
    @overload
    def __get__(self: Verb[P, Claimed], owner: aio.Client, kind: type) -> Callable[P, Answer[aio.Claimed]]: ...
    @overload
    def __get__(
        self: Verb[P, list[Claimed]], owner: aio.Client, kind: type
    ) -> Callable[P, Answer[list[aio.Claimed]]]: ...
    @overload
    def __get__(self: Verb[P, Lock], owner: aio.Client, kind: type) -> Callable[P, Answer[aio.Lock]]: ...
    @overload
    def __get__(self, owner: aio.Client, kind: type) -> Callable[P, Answer[T]]: ...
    @overload
    def __get__(self: Verb[P, Claimed], owner: aio.Pipeline, kind: type) -> Callable[P, Handle[aio.Claimed]]: ...
    @overload
    def __get__(
        self: Verb[P, list[Claimed]], owner: aio.Pipeline, kind: type
    ) -> Callable[P, Handle[list[aio.Claimed]]]: ...
    @overload
    def __get__(self: Verb[P, Lock], owner: aio.Pipeline, kind: type) -> Callable[P, Handle[aio.Lock]]: ...
    @overload
    def __get__(self, owner: aio.Pipeline, kind: type) -> Callable[P, Handle[T]]: ...

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self._build

        @functools.wraps(self._build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return owner.ask(self._build(*args, **kwargs))

        return method


class Verbs:
    """Every verb that is one request."""

    submit = Verb(asking.submit)
    claim = Verb(asking.claim)
    claim_many = Verb(asking.claim_many)
    claim_new = Verb(asking.claim_new)
    heartbeat = Verb(asking.heartbeat)
    progress = Verb(asking.progress)
    complete = Verb(asking.complete)
    fail = Verb(asking.fail)
    release = Verb(asking.release)
    bury = Verb(asking.bury)
    hold = Verb(asking.hold)
    lock = Verb(asking.lock)
    unlock = Verb(asking.unlock)
    kick = Verb(asking.kick)
    cancel = Verb(asking.cancel)
    edit = Verb(asking.edit)
    show = Verb(asking.show)
    count = Verb(asking.count)
    count_by = Verb(asking.count_by)
    get = Verb(asking.get)
    register = Verb(governing.register)
    held = Verb(asking.held)
    agents = Verb(governing.agents)
    explain = Verb(governing.explain)
    queues = Verb(governing.queues)
    queue_set = Verb(governing.queue_set)
    pause = Verb(governing.pause)
    resume = Verb(governing.resume)
    quiet = Verb(governing.quiet)
    wake = Verb(governing.wake)
    evict = Verb(governing.evict)
    clear = Verb(operating.clear)
    reindex = Verb(operating.reindex)
    status = Verb(operating.status)
    dashboard = Verb(operating.dashboard)
    export_page = Verb(operating.export_page)
    journal_part = Verb(operating.journal_part)
    import_rows = Verb(operating.import_rows)
    config = Verb(operating.config)
    config_set = Verb(operating.config_set)
    config_unset = Verb(operating.config_unset)
    reload = Verb(operating.reload)
    stats = Verb(operating.stats)
    health = Verb(operating.health)
