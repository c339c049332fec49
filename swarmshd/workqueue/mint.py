"""What the rules cannot make themselves: numbers that are never used twice, and chance.

The engine owns both. It hands out numbers only below ends that are durable, so that not even a crash makes a
number come twice, and it draws secrets and jitter; the rules stay a pure function of what they are given.
"""

from typing import Protocol


class Mint(Protocol):
    """What ``decide`` draws from."""

    def id(self) -> int:
        """The id of a new item."""

    def keep(self, number: int) -> bool:
        """Whether an item that comes from elsewhere may keep its id: no id as large was ever handed out here."""

    def fence(self) -> int:
        """The fencing number of a new claim, larger than all before it."""

    def secret(self) -> bytes:
        """Eight bytes that nobody can guess."""

    def chance(self) -> float:
        """A number from 0 to 1, exclusive."""
