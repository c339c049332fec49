"""The pages of the documentation, read as a program can: mdoc and Markdown."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
MAN = sorted((ROOT / "man").glob("*.[1-8]"))
MARKDOWN = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_VERBATIM = re.compile(r"^\.Bd -(?:literal|unfilled).*?^\.Ed$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```[^\n`]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROSE_MACROS = ("Nd", "Sh", "Ss", "Em", "Dq", "Qq", "Sy")


class Section(NamedTuple):
    """A ``.Sh``, or the ``.Ss`` ``title`` within the one called ``chapter``, with its lines."""

    chapter: str
    title: str
    lines: list[str]


def page(name: str) -> str:
    """The source of a manual page."""
    return (ROOT / "man" / name).read_text()


def sections(text: str) -> Iterator[Section]:
    """The sections of an mdoc page; what stands before the first ``.Ss`` of a chapter has no title."""
    found = Section("", "", [])
    for line in text.splitlines():
        macro, _, rest = line.partition(" ")
        if macro in (".Sh", ".Ss"):
            yield found
            found = Section(rest, "", []) if macro == ".Sh" else Section(found.chapter, rest, [])
        else:
            found.lines.append(line)
    yield found


def examples(text: str, kind: str) -> list[str]:
    """The literal blocks that a comment marks as an example of that kind."""
    found = re.findall(rf'^\.\\" example: {kind}\n\.Bd.*?\n(.*?)^\.Ed$', text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\\\(dq", '"', example) for example in found]


def flags(text: str) -> set[str]:
    """Every option that an mdoc page names."""
    return {"-" + flag for flag in re.findall(r"\bFl (-?[A-Za-z][a-z-]*)", text)}


def code_of(path: Path) -> list[str]:
    """What a page shows as code: in Markdown fenced lines and spans, in mdoc literal blocks and displayed lines."""
    text = path.read_text()
    if path.suffix == ".md":
        fenced = [line for block in _FENCED.findall(text) for line in block.splitlines()]
        return fenced + re.findall(r"^ {4}(.*)$", _FENCED.sub("", text), re.MULTILINE) + spans_of(path)
    shown = [line for block in _VERBATIM.findall(text) for line in block.splitlines()[1:-1]]
    return shown + re.findall(r"^\.(?:D[l1]|Ql|Li) (.*)$", text, re.MULTILINE)


def spans_of(path: Path) -> list[str]:
    """The code spans of a Markdown page."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", _unfenced(path.read_text()))]


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line of prose, with what is code, a path or a link's target blanked."""
    text = path.read_text()
    if path.suffix == ".md":
        text = re.sub(r"`[^`]*`|\]\([^)]*\)", _blanked, _unfenced(text))
        lines = [("" if line.startswith("    ") else line) for line in text.splitlines()]
    else:
        text = re.sub(r"`[^`\n]*`", _blanked, _VERBATIM.sub(_blanked, text))
        lines = [_prose_of_mdoc(line) for line in text.splitlines()]
    yield from enumerate(lines, 1)


def _prose_of_mdoc(line: str) -> str:
    if not line.startswith("."):
        return line
    macro, _, rest = line[1:].partition(" ")
    return rest if macro in _PROSE_MACROS else ""


def _unfenced(text: str) -> str:
    return _FENCED.sub(_blanked, text)


def _blanked(found: re.Match[str]) -> str:
    """As many lines, with nothing in them."""
    return "\n" * found[0].count("\n")
