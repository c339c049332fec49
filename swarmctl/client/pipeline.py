"""Many calls in one frame: gathered inside a block, sent when it is left, each with an answer of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from swarmctl.client.verbs import Verbs
from swarmctl.connection import Refused, refusal

if TYPE_CHECKING:
    from swarmctl.client import Client
    from swarmctl.client.ask import Ask

T = TypeVar("T")

DESCRIPTORS_MAX = 16
"""Most descriptors that the daemon takes with one frame."""


class Handle(Generic[T]):
    """The answer to come of one call in a pipeline."""

    __slots__ = ("_ask", "_client", "_reply", "_value")

    def __init__(self, client: Client, ask: Ask[T]) -> None:
        self._client = client
        self._ask = ask
        self._reply: dict[str, Any] | Refused | None = None
        self._value: list[T] = []

    def settle(self, reply: dict[str, Any] | Refused) -> None:
        """Take the reply; the pipeline does that."""
        self._reply = reply

    def result(self) -> T:
        """The reply, as the method of the client would have returned it.

        Raises:
            Refused: the refusal of this call, or what kept the pipeline from being answered.
            RuntimeError: the pipeline's block has not been left, or was left by an exception, and nothing was sent.
        """
        if self._reply is None:
            raise RuntimeError(f"{self._ask.verb}: no result; the pipeline has not been sent")
        if isinstance(self._reply, Refused):
            raise self._reply
        if not self._value:
            self._value.append(self._ask.read(self._client, self._reply))
        return self._value[0]


class Pipeline(Verbs):
    """``with queue.pipeline() as p:`` calls on ``p`` return a Handle; leaving the block sends them and waits.

    The daemon takes them one after another; each is answered or refused by itself. If the block is left by an
    exception, nothing is sent.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._gathered: list[tuple[Ask[Any], Handle[Any]]] = []

    def ask(self, ask: Ask[T]) -> Handle[T]:
        """Gather one request. The methods use it."""
        if ask.wait is not None:
            raise ValueError(f"{ask.verb}: a call that waits cannot stand in a pipeline")
        if ask.watches and sum(gathered.watches for gathered, _ in self._gathered) == DESCRIPTORS_MAX:
            raise ValueError(f"a pipeline has at most {DESCRIPTORS_MAX} claims; claim_many takes more items at once")
        handle = Handle(self._client, ask)
        self._gathered.append((ask, handle))
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_about: object) -> None:
        gathered, self._gathered = self._gathered, []
        if kind is not None or not gathered:
            return
        commands: list[list[object]] = []
        fds: list[int] = []
        for ask, _handle in gathered:
            arguments, watched = self._client.arguments(ask)
            commands.append([ask.verb, arguments])
            fds += watched
        try:
            replies = self._client.call("batch", {"commands": commands}, fds=fds)["replies"]
        except Refused as refused:
            for _, handle in gathered:
                handle.settle(refused)
            raise
        for (_, handle), (code, body) in zip(gathered, replies, strict=True):
            handle.settle(body if code == 0 else refusal(code, body))
