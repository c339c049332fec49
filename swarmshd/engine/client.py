"""A peer as the engine knows it, and the claims that are on their way to it.

What a peer is owed is bounded here: while it takes no replies, its requests are held back undecided. A claim
whose reply cannot arrive any more is taken back, since nobody knows that it was made.
"""

from collections.abc import Sequence

from swarmshd.commands import Actor
from swarmshd.workqueue.waiting import Waiter

OWED_MAX = 256 * 1024
"""Bytes of replies not taken above which nothing more is decided for a peer, nor read from it."""


class Delivery:
    """The claims that one command made or told of, on their way to whoever asked.

    ``end`` is where the reply ends in the stream to the peer, once it has been handed over.
    """

    __slots__ = ("__weakref__", "claims", "end", "key", "minted")

    def __init__(self, claims: Sequence[tuple[int, int]], key: bytes | None, minted: bool) -> None:
        self.claims = claims
        """Id and fence of each."""
        self.key = key
        self.minted = minted
        self.end = 0


class Client:
    """Who a peer is, what it may do, and where its replies go."""

    __slots__ = ("actor", "aside", "classes", "closing", "owed", "waiting")

    def __init__(self, actor: Actor, classes: frozenset[str]) -> None:
        self.actor = actor
        self.classes = classes
        self.waiting: dict[int, Waiter] = {}
        """What it waits for."""
        self.aside = 0
        """How many of its requests wait for events, or are carried out beside the engine."""
        self.owed = 0
        """Bytes of replies that were decided and that it has not taken. The engine adds to it."""
        self.closing = False
        """Nothing can be sent to it any more."""

    def send(self, frame: bytes, deliveries: Sequence[Delivery] = ()) -> None:
        """Take the frame of a reply, and the claims that it tells of; never blocks."""
        raise NotImplementedError
