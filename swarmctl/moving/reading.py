"""A file -> its JSON objects, one by one, whatever they lie in, and a line about all that is none.

The old system left arrays, arrays inside an object, one object a line, objects over many lines in files that say they
have one a line, and files that were cut or written by two at once. Here all of them are a stream of objects with
blanks, commas and brackets between them. What cannot be read is passed over up to the next place where an object may
begin, and reported with its place and length: nothing is lost without a word, and the sound objects around it come in.

Memory is bounded by ``OBJECT_MAX``; a larger object is damage.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

CHUNK = 1 << 18

OBJECT_MAX = 1 << 20
"""Characters of the longest object that is read."""

WRAPPERS = ("agents", "work_claims", "work_items", "claims", "completed_work")
"""Names of arrays inside an object that is nothing but their wrapping."""

_BETWEEN = re.compile(r"[\s,\[\]]*")
_WRAPPED = re.compile(rf'\s*\{{\s*"(?:{"|".join(WRAPPERS)})"\s*:\s*\[')
_LINE_START = re.compile(r"\n[ \t]*(\{)")
_COMPACT = re.compile(r'[,\[\]}]\s*(\{)\s*["}]')
_BEGIN_MAX = 64
"""Characters that are kept when more is read in search of the beginning of an object."""

_CUT_WITHIN = 16
"""An error so near to the end of what was read may be for want of what follows."""


class Found(NamedTuple):
    """An object, and where in the file it begins."""

    value: dict[str, Any]
    line: int
    offset: int


class Damage(NamedTuple):
    """Bytes that are no object: where they begin, how many were passed over, and why."""

    line: int
    offset: int
    size: int
    why: str


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode


def objects(file: BinaryIO) -> Iterator[Found | Damage]:
    """Every object in the file, and every damage, in their order."""
    return _Scan(file).run()


class _Scan:
    """Where the reading of a file has come to: ``at`` in ``text``. ``line`` and ``offset`` are those of ``placed``."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = ""
        self.at = 0
        self.placed = 0
        self.line = 1
        self.offset = 0
        self.ended = False
        self.cut = False
        self.open_arrays = 0
        self.wrapped = False

    def run(self) -> Iterator[Found | Damage]:
        self._begin()
        while True:
            between = _BETWEEN.match(self.text, self.at)
            assert between is not None
            gap = between.group()
            if gap:
                self.open_arrays += gap.count("[") - gap.count("]")
                self.at = between.end()
            if self.at == len(self.text):
                if not self._more():
                    break
            elif self.wrapped and self.text[self.at] == "}" and not self.open_arrays:
                self.at += 1
            elif self.text[self.at] != "{":
                yield self._pass_over(self.at, "neither an object nor an array of objects")
            else:
                yield from self._object()
        if self.open_arrays > 0 and not self.cut:
            yield Damage(*self._place(), 0, "the file ends within its array: it was cut")

    def _begin(self) -> None:
        self._more()
        self.at = self.text.startswith("\ufeff")
        wrapped = _WRAPPED.match(self.text, self.at)
        if wrapped is not None:
            self.wrapped = True
            self.at = wrapped.end() - 1

    def _place(self) -> tuple[int, int]:
        """Line and offset of ``at``, which only goes forward."""
        passed = self.text[self.placed : self.at]
        self.line += passed.count("\n")
        self.offset += len(passed) if passed.isascii() else len(passed.encode("utf-8", "surrogateescape"))
        self.placed = self.at
        return self.line, self.offset

    def _more(self) -> bool:
        """Forget what was read before ``at`` and read on; False at the end of the file."""
        self._place()
        self.text = self.text[self.at :]
        self.at = self.placed = 0
        if self.ended:
            return False
        data = self.file.read(CHUNK)
        self.ended = not data
        self.text += self.decoder.decode(data, self.ended)
        return True

    def _object(self) -> Iterator[Found | Damage]:
        """The object that begins at ``at``, or those that it wraps; nothing if more must be read first."""
        try:
            value, end = _decode(self.text, self.at)
        except json.JSONDecodeError as error:
            into = error.pos - self.at
            wanting = error.pos >= len(self.text) - _CUT_WITHIN or error.msg.startswith("Unterminated string")
            if wanting and len(self.text) - self.at < OBJECT_MAX and self._more():
                return
            why = f"an object of more than {OBJECT_MAX} characters" if wanting and not self.ended else error.msg
            yield self._pass_over(self.at + into, why)
            return
        except (ValueError, RecursionError) as error:
            yield self._pass_over(self.at + 1, str(error))
            return
        place = self._place()
        self.at = end
        wrapping = [name for name in WRAPPERS if type(value.get(name)) is list]
        if not wrapping:
            yield Found(value, *place)
        for name in wrapping:
            for each in value[name]:
                yield (
                    Found(each, *place)
                    if type(each) is dict
                    else Damage(*place, 0, f"{name}: an element that is no object")
                )

    def _pass_over(self, fault: int, why: str) -> Damage:
        """Go on at the next place where an object may begin, after the one at ``at``, of which ``fault`` is wrong."""
        line, offset = self._place()
        self.at += self.text[self.at] == "{"
        while True:
            matches = (_LINE_START.search(self.text, self.at), _COMPACT.search(self.text, max(fault, self.at)))
            found = [match.start(1) for match in matches if match is not None]
            if found:
                self.at = min(found)
                break
            passed = max(self.at, len(self.text) - _BEGIN_MAX)  # the beginning of an object may be cut in two
            fault -= passed
            self.at = passed
            if not self._more():
                self.at = len(self.text)
                self.cut = True
                break
        return Damage(line, offset, self._place()[1] - offset, why)
