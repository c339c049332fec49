"""Many calls in one frame: gathered inside a block, sent when it is left, each with an answer of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from swarmctl.client.verbs import Verbs
from swarmctl.connection import Refused, refusal

if TYPE_CHECKING:
    from swarmctl.client import Client
    from swarmctl.client.ask import Ask, Reply
    from swarmctl.client.asker import Asker

T = TypeVar("T")

DESCRIPTORS_MAX = 16
"""Most descriptors that the daemon takes with one frame."""


class Handle(Generic[T]):
    """The answer to come of one call in a pipeline."""

    __slots__ = ("_ask", "_asker", "_reply", "_value")

    def __init__(self, asker: Asker, ask: Ask[T]) -> None:
        self._asker = asker
        self._ask = ask
        self._reply: Reply | Refused | None = None
        self._value: list[T] = []

    def settle(self, reply: Reply | Refused) -> None:
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
            self._value.append(self._ask.read(self._asker, self._reply))
        return self._value[0]


class Frame(NamedTuple):
    """What a pipeline has gathered, as one request."""

    handles: list[Handle[Any]]
    arguments: dict[str, object]
    fds: list[int]

    def settle(self, answer: Reply | Refused) -> None:
        """Give each handle its reply out of ``answer``."""
        if isinstance(answer, Refused):
            for handle in self.handles:
                handle.settle(answer)
            return
        for handle, (code, body) in zip(self.handles, answer["replies"], strict=True):
            handle.settle(body if code == 0 else refusal(code, body))


class Gathering(Verbs):
    """The calls of a pipeline until they are sent."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._gathered: list[tuple[Ask[Any], Handle[Any]]] = []

    def ask(self, ask: Ask[T]) -> Handle[T]:
        """Gather one request. The methods use it."""
        if ask.wait is not None:
            raise ValueError(f"{ask.verb}: a call that waits cannot stand in a pipeline")
        if ask.watches and sum(gathered.watches for gathered, _ in self._gathered) == DESCRIPTORS_MAX:
            raise ValueError(f"a pipeline has at most {DESCRIPTORS_MAX} claims; claim_many takes more items at once")
        handle = Handle(self._asker, ask)
        self._gathered.append((ask, handle))
        return handle

    def _frame(self) -> Frame:
        """Everything gathered; the next begins empty."""
        gathered, self._gathered = self._gathered, []
        commands: list[list[object]] = []
        fds: list[int] = []
        for ask, _ in gathered:
            arguments, watched = self._asker.arguments(ask)
            commands.append([ask.verb, arguments])
            fds += watched
        return Frame([handle for _, handle in gathered], {"commands": commands}, fds)


class Pipeline(Gathering):
    """``with queue.pipeline() as p:`` calls on ``p`` return a Handle; leaving the block sends them and waits.

    The daemon takes them one after another; each is answered or refused by itself. If the block is left by an
    exception, nothing is sent.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_about: object) -> None:
        frame = self._frame()
        if kind is not None or not frame.handles:
            return
        try:
            frame.settle(self._client.call("batch", frame.arguments, fds=frame.fds))
        except Refused as refused:
            frame.settle(refused)
            raise
