"""What clients were told, to be held against what a start finds: nothing lost, nothing twice, nothing half."""

from typing import NamedTuple

from swarmshd.engine import Engine


class Lost(AssertionError):
    """Something that was acknowledged is not there, or is there twice, or half."""


class Known(NamedTuple):
    """An item as it was told, or found; a claim whose reply did not come has a token that nobody knows."""

    description: str
    state: str
    token: str | None = ""

    def may_be(self, found: "Known | None") -> bool:
        """Whether it was found so."""
        return found == self or (self.token is None and found is not None and found[:2] == self[:2])


class Ledger:
    """What was told of each item; what the one that is being changed may be instead; who may be there or not."""

    def __init__(self) -> None:
        self.items: dict[int, Known] = {}
        self.under_way: dict[int, Known] = {}
        self.awaited: list[str] = []
        """Descriptions of new items of which nobody was told yet: all or none."""
        self.changes = 0

    def of(self, state: str) -> list[int]:
        """The items in that state."""
        return [number for number, item in self.items.items() if item.state == state]

    def settle(self) -> None:
        """A change was told of."""
        self.under_way, self.awaited = {}, []
        self.changes += 1

    def hold_against(self, engine: Engine) -> None:
        """Raise Lost unless the state is what was told; from now on it is what was found."""
        found = {
            number: Known(item.description, item.state, item.claim.token if item.claim else "")
            for number, item in engine.queue.tables.items.items()
        }
        names = {item.description for item in found.values()}
        if len(names) != len(found):
            raise Lost("an item is there twice")
        for number, said in self.items.items():
            if not any(each.may_be(found.get(number)) for each in (said, self.under_way.get(number, said))):
                raise Lost(f"item {number} was told to be {said}, and is {found.get(number)}")
        more = names - {item.description for item in self.items.values()}
        if more not in (set(), set(self.awaited)):
            raise Lost(f"of {self.awaited} there is only {more}")
        self.items, self.under_way, self.awaited = found, {}, []
