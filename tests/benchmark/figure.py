"""What was measured, and whether it is what was promised."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A bound of a figure: at most, or at least, so much."""

    bound: float
    least: bool = False

    def met(self, value: float) -> bool:
        """Whether a value keeps to it."""
        return value >= self.bound if self.least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; without a target it is there for comparison.

    Attributes:
        unit: of the value, and of the target's bound; ``x`` is a ratio.
        note: how it came about, in a few words.
    """

    name: str
    value: float
    unit: str
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where nothing was promised."""
        if self.target is None:
            return ""
        return "met" if self.target.met(self.value) else "missed"


@dataclass(frozen=True, slots=True)
class Skipped:
    """What could not be measured here, and why."""

    name: str
    why: str


Found = Iterator[Figure | Skipped]


def at_most(bound: float) -> Target:
    """The value is to be no more than this."""
    return Target(bound)


def at_least(bound: float) -> Target:
    """The value is to be no less than this."""
    return Target(bound, least=True)


def median(values: Sequence[float]) -> float:
    """The middle one of the values."""
    found = sorted(values)
    half = len(found) // 2
    return found[half] if len(found) % 2 else (found[half - 1] + found[half]) / 2


def shown(value: float, unit: str) -> str:
    """A value with its unit, with as many digits as mean something."""
    if unit == "/s" or value >= 1000:
        text = f"{value:,.0f}"
    elif value >= 100:
        text = f"{value:.0f}"
    elif value >= 10:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}"
    return f"{text}{unit}" if unit in ("/s", "x", "%") else f"{text} {unit}"
