"""What a person's terminal shows: how many cells a text takes, what is cut, columns, and colour.

A terminal places characters in cells, and not every character takes one: CJK and most emoji take two, combining marks
none. Programs disagree about sequences (joined emoji, variation selectors, skin tones), so ``shown`` leaves away what
only joins or varies: what is left takes the same cells everywhere, and columns stand. It also shows as its code every
character that a terminal would obey, and ends piles of combining marks, which would cover the lines around.

A ``Screen`` knows its width and whether it takes colour. ``Screen.table`` makes columns fit: a column that is empty in
every row is left out; then the widest names are cut, the least needed columns left out, and the last column has what
is left. Loaded only where something is printed for people; of the standard library only ``unicodedata`` is, and
that when a text is not ASCII.
"""

from __future__ import annotations

import os

from swarmctl.render import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Cell = object
    """Nothing, a text or number, or a text with its colour, ``(text, colour)``."""

COLUMNS, LINES = 80, 24
"""Cells of a line, and lines, where nobody says how many there are."""

NARROW, GAP, NARROW_GAP = 70, 2, 1
"""Cells between two columns; on a screen that is narrower than the first number, fewer."""

LAST_LEAST = 20
"""Cells that the last column gets before columns are left out for it."""

MARKS = 4
"""Combining marks on one character; no script needs more."""

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"

STATES = {
    "ready": GREEN,
    "claimed": CYAN,
    "scheduled": YELLOW,
    "blocked": YELLOW,
    "buried": RED,
    "done": DIM,
    "cancelled": DIM,
    "active": GREEN,
    "suspect": RED,
    "quiet": YELLOW,
    "idle": DIM,
    "gone": RED,
}
"""Colours of the states of items and agents."""

_BREAKS = {0x0A: "↵", 0x0D: "", 0x09: " ", 0x2028: "↵", 0x2029: "↵"}
_SKIN_TONES = range(0x1F3FB, 0x1F400)


# -- text in cells -------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """``text`` on one line, harmless, and of characters whose cells every terminal counts alike."""
    if text.isascii():
        return text if text.isprintable() else harmless(text.translate(_BREAKS))
    from unicodedata import category

    kept: list[str] = []
    marks = MARKS  # a mark at the beginning would sit on whatever stands before the text
    for character in harmless(text.translate(_BREAKS)):
        if character < "\x7f":
            marks = 0
        else:
            kind = category(character)
            if kind in ("Mn", "Me"):
                marks += 1
                if marks > MARKS or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0100":
                    continue
            elif kind in ("Cf", "Cs") or ord(character) in _SKIN_TONES:
                continue
            else:
                marks = 0
        kept.append(character)
    return "".join(kept)


def width(text: str) -> int:
    """Cells that ``text`` takes, which is as ``shown`` made it."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if character < "\u0300":
        return 1
    from unicodedata import category, east_asian_width

    kind = category(character)
    if kind in ("Mn", "Me") or "\u1160" <= character <= "\u11ff":
        return 0  # the vowels and finals of Hangul sit in the cells of their consonant
    if kind == "Cn" and "\U0001f300" <= character <= "\U0001faff":
        return 2  # an emoji that is younger than this interpreter
    return 2 if east_asian_width(character) in "WF" else 1


def clip(text: str, cells: int) -> str:
    """``text`` in at most so many cells; what was cut is shown by ``…``."""
    if width(text) <= cells:
        return text
    return _beginning(text, cells - 1) + "…" if cells > 0 else ""


def _beginning(text: str, cells: int) -> str:
    """As much of ``text`` as fits into so many cells."""
    if text.isascii():
        return text[:cells]
    for at, character in enumerate(text):
        cells -= _cells(character)
        if cells < 0:
            return text[:at]
    return text


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """``text`` filled up to so many cells, at its left with ``right``."""
    blanks = " " * (cells - width(text))
    return blanks + text if right else text + blanks


def wrap(text: str, cells: int) -> list[str]:
    """``text`` as lines of at most so many cells, cut at blanks where there are any."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if width(longer) <= cells:
            line = longer
            continue
        if line:
            lines.append(line)
        while width(word) > cells:
            head = _beginning(word, cells) or word[0]
            lines.append(head)
            word = word[len(head) :]
        line = word
    return [*lines, line]


# -- a screen ------------------------------------------------------------------------------------------


class Column:
    """One column of a table; a title alone stands for one that is never cut nor left out.

    Args:
        title: its header.
        least: cells below which it is not cut; 0: it is not cut at all.
        spare: whether it may be left out where there is no room; what has most goes first.
    """

    __slots__ = ("least", "spare", "title")

    def __init__(self, title: str, *, least: int = 0, spare: int = 0) -> None:
        self.title = title
        self.least = least
        self.spare = spare


class Screen:
    """Where something is shown: so many cells wide, with colour or without."""

    __slots__ = ("colour", "width")

    def __init__(self, width: int = COLUMNS, *, colour: bool = False) -> None:
        self.width = width
        self.colour = colour

    @classmethod
    def of(cls, environ: Mapping[str, str], *, terminal: bool) -> Screen:
        """Standard output as it is now. Off a terminal ``COLUMNS`` says how wide it is."""
        columns = 0
        if terminal:
            try:
                columns = os.get_terminal_size(1).columns
            except OSError:
                pass
        if not columns:
            said = environ.get("COLUMNS", "")
            columns = int(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0
        coloured = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(columns or COLUMNS, colour=coloured)

    @staticmethod
    def lines() -> int:
        """How many lines the terminal has."""
        try:
            return os.get_terminal_size(1).lines or LINES
        except OSError:
            return LINES

    def paint(self, text: str, colour: str | None) -> str:
        """``text`` in a colour, if there are colours here."""
        return f"\x1b[{colour}m{text}\x1b[0m" if colour and self.colour and text.strip() else text

    def table(self, header: Sequence[Column | str], rows: Iterable[Sequence[Cell]], indent: int = 0) -> list[str]:
        """Header and rows as lines, none wider than the screen; none at all where there is nothing in any row.

        Columns of numbers stand at their right. The last column is cut where the line ends.
        """
        columns = [one if isinstance(one, Column) else Column(one) for one in header]
        cells = [[_cell(one) for one in row] for row in rows]
        head: list[tuple[str, str | None]] = [(column.title, BOLD) for column in columns]
        drawn = [head, *cells]
        used = [at for at in range(len(columns)) if any(row[at][0] not in ("", "-") for row in cells)]
        if not used:
            return []
        gap = GAP if self.width >= NARROW else NARROW_GAP
        widths = {at: max(width(row[at][0]) for row in drawn) for at in used}
        numbers = {at for at in used if all(_is_number(row[at][0]) for row in cells)}
        self._fit(columns, widths, gap, self.width - indent, None if used[-1] in numbers else used[-1])
        lines = []
        for row in drawn:
            line = []
            for at, room in widths.items():
                text, colour = row[at]
                if text == "-" and at == used[-1]:
                    continue
                text = clip(text, room)
                line.append(
                    self.paint(
                        text if at == used[-1] and at not in numbers else pad(text, room, right=at in numbers), colour
                    )
                )
            lines.append(" " * indent + (" " * gap).join(line).rstrip())
        return lines

    @staticmethod
    def _fit(columns: Sequence[Column], widths: dict[int, int], gap: int, room: int, last: int | None) -> None:
        """Bring ``widths``, by column, down to ``room`` cells; columns that find no place lose theirs."""
        last = -1 if last is None else last
        text = widths.get(last, 0)

        def excess() -> int:
            taken = sum(widths.values()) + gap * (len(widths) - 1)
            return taken - text + min(text, LAST_LEAST) - room

        while (over := excess()) > 0:
            long = [at for at in widths if at != last and columns[at].least and widths[at] > columns[at].least]
            if long:
                most = max(long, key=widths.__getitem__)
                second = max((widths[at] for at in long if at != most), default=0)
                widths[most] = max(columns[most].least, widths[most] - over, min(second, widths[most] - 1))
                continue
            spare = [at for at in widths if at != last and columns[at].spare]
            if not spare:
                break
            del widths[max(spare, key=lambda at: columns[at].spare)]
        if text:
            rest = room - sum(cells for at, cells in widths.items() if at != last) - gap * (len(widths) - 1)
            widths[last] = min(text, max(rest, 1))


def _cell(value: Cell) -> tuple[str, str | None]:
    colour = None
    if type(value) is tuple:
        value, colour = value
    if value is None or value == "":
        return "-", None
    return shown(value) if isinstance(value, str) else str(value), colour


def _is_number(text: str) -> bool:
    """A number, a percentage, an age, or nothing: what is compared digit under digit."""
    return text == "-" or (text[0].isdigit() and text[-1] in "0123456789%smhd" and len(text) <= 8)
